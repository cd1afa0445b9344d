//! Trees from tar archives: those that real tars write, and those that nobody should.

mod damage;
mod made;
mod tars;

use ext4_tree::{ArchiveOptions, Names, Result, Tree, from_archive, from_stream};
use std::{
    fs::File,
    io::{Cursor, Seek as _, Write as _},
    path::Path,
};

fn options() -> ArchiveOptions {
    let names = Names::default();
    ArchiveOptions { spool: std::env::temp_dir(), limit: 1 << 32, threads: 2, names }
}

/// Reads an archive from a file and from a stream, which must say the same.
fn read(archive: &[u8]) -> Result<Tree> {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(archive).and_then(|()| file.rewind()).expect("writes");
    let name = Path::new("test.tar");
    let streamed = from_stream(Cursor::new(archive.to_vec()), name, &options(), &mut |_| true);
    let tree = from_archive(file, name, &options(), &mut |_| true);
    match (&tree, &streamed) {
        (Ok(a), Ok(b)) => {
            assert_eq!(crate::listing::of_tree(a), crate::listing::of_tree(b));
        }
        (Err(a), Err(b)) => assert_eq!(a.to_string(), b.to_string()),
        (a, b) => panic!("from a file: {a:?}, from a stream: {b:?}"),
    }
    tree
}

fn read_file(path: &Path) -> Tree {
    let file = File::open(path).expect("opens");
    from_archive(file, path, &options(), &mut |_| true).unwrap_or_else(|err| panic!("{err}"))
}

#[track_caller]
fn refused(archive: &[u8], why: &str) {
    match read(archive) {
        Ok(tree) => panic!("not refused: {:#?}", crate::listing::of_tree(&tree)),
        Err(err) => assert_eq!(err.to_string(), why),
    }
}
