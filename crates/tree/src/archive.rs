//! A tree from a tar archive: plain, or compressed with gzip, xz, lzip or zstd.
//!
//! Nothing is read twice. A plain archive in a file is walked from header to header and the contents
//! stay where they are; one that is compressed or comes through a pipe is unpacked once, contents
//! going into a file without a name.
//!
//! What GNU tar, bsdtar, Python and star write is understood: v7, ustar, GNU (long names, numbers in
//! base 256, sparse files) and PAX (with sparse files 0.0, 0.1 and 1.0, extended attributes and
//! ACLs). Entries mean what they mean to `tar -x`: a later one replaces an earlier one, a hard link
//! is to what has the name at that moment, leading slashes are dropped. What is different on
//! purpose: a path with `..` or through a symbolic link is refused instead of being skipped; a
//! hard link may come before its target; an archive without its end mark is refused, because
//! it is hard to tell from one that was cut; names of users and groups in access control lists are
//! looked up in the archive and in [`Names`], not on the host. Whiteouts of container layers (`.wh.x`) are names as any
//! other. Extended attributes outside of `user.`, `trusted.`, `security.` and `system.`, which no
//! file on Linux can have, are left out.

mod compression;
mod entry;
mod header;
mod input;
mod owners;
mod pax;
mod place;
mod sparse;
mod spool;

use crate::{Error, Result, Tree};
pub use owners::Names;

use compression::Compression;
use entry::Entries;
use input::Input;
use place::Placing;
use std::{
    fs::File,
    io::{Read, Seek as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

/// How an archive becomes a tree.
#[derive(Clone, Debug)]
pub struct ArchiveOptions {
    /// The folder for the file without a name that unpacked contents go into.
    pub spool: PathBuf,
    /// The most bytes that an archive may unpack to, headers included; `u64::MAX` for as many as
    /// the folder has room for.
    pub limit: u64,
    /// The most threads that undo xz at the same time, where it is made of blocks; fewer when they
    /// would take much memory. The tree does not depend on it.
    pub threads: u32,
    /// Users and groups that access control lists may have by name. Those that the archive tells the
    /// numbers of need not be among them.
    pub names: Names,
}

/// Makes a tree of an archive in `file`, from its current position on; `path` names it in messages.
///
/// Directories that only the paths of others tell of belong to root, with permissions 0755 and a
/// modification time of 0; so does the root, when there is no entry `./`.
///
/// `progress` is given the bytes of the archive that were read so far and stops the work with
/// `false`.
///
/// # Errors
/// [`Error::Host`] when reading fails, [`Error::Archive`] when the archive is damaged or cannot be a
/// tree, [`Error::Stopped`].
pub fn from_archive(
    mut file: File,
    path: &Path,
    options: &ArchiveOptions,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Tree> {
    let host = |source| Error::Host { path: path.to_owned(), source };
    let metadata = file.metadata().map_err(host)?;
    if metadata.is_file() {
        let start = file.stream_position().map_err(host)?;
        let mut head = [0; header::BLOCK];
        let n_head = read_at(&file, start, &mut head).map_err(host)?;
        let head = head.get(..n_head).unwrap_or_default();
        if let Ok(Compression::None) = Compression::of(head) {
            let input = Input::seekable(file, path, start, metadata.len(), options.limit, progress);
            return read(input, options);
        }
    }
    from_stream(file, path, options, progress)
}

/// Makes a tree of an archive that can only be read from one end to the other: standard input. As
/// [`from_archive`] otherwise.
///
/// The input is read by a thread of its own. When an error or `progress` ends the work early, that
/// thread ends with the read it is in.
///
/// # Errors
/// As [`from_archive`].
pub fn from_stream(
    input: impl Read + Send + 'static,
    path: &Path,
    options: &ArchiveOptions,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Tree> {
    read(Input::stream(input, path, options, progress)?, options)
}

fn read(mut input: Input<'_>, options: &ArchiveOptions) -> Result<Tree> {
    let mut placing = Placing::new();
    let mut entries = Entries::new(options.names.clone());
    while let Some(entry) = entries.next(&mut input)? {
        let at = entry.at;
        placing.put(entry).map_err(|why| input.damage_at(at, why))?;
    }
    input.drain()?;
    placing.finish(&entries.owners).map_err(|(at, why)| input.damage_at(at, why))
}

/// Reads until `buf` is full or the file ends.
fn read_at(file: &File, offset: u64, buf: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buf.get_mut(filled..).filter(|it| !it.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(err) if err.kind() == std::io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    Ok(filled)
}
