//! Archives with any bytes changed: an error or a tree, never a panic.

use super::{options, read};
use ext4_tree::from_stream;
use proptest::prelude::*;
use std::{
    fs::{self, File},
    io::Cursor,
    os::unix::fs::FileExt as _,
    path::Path,
    process::Command,
    sync::LazyLock,
};

/// One of each kind, by GNU tar, in several formats; empty without it.
static ARCHIVES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    fs::create_dir(root.join("d")).expect("makes");
    fs::write(root.join("d").join("n".repeat(200)), b"long").expect("writes");
    fs::hard_link(root.join("d").join("n".repeat(200)), root.join("link")).expect("links");
    let holes = File::create(root.join("holes")).expect("makes");
    for i in 0..30 {
        holes.write_all_at(b"data", i * 65536).expect("writes");
    }
    std::os::unix::fs::symlink("t".repeat(150), root.join("s")).expect("links");
    let formats = [
        "--format=gnu",
        "--format=pax --sparse-version=0.0",
        "--format=pax --sparse-version=0.1",
        "--format=pax --sparse-version=1.0",
    ];
    let archives = formats.into_iter().map(|format| {
        let command = format!("tar --sparse -b 1 {format} -cf - .");
        let out = Command::new("sh").args(["-c", &command]).current_dir(root).output();
        out.expect("sh").stdout
    });
    archives.filter(|it| !it.is_empty()).collect()
});

/// Gives every block that looks like a header a right checksum again, so that what is behind the
/// checksum is seen.
fn mend(archive: &mut [u8]) {
    for block in archive.as_chunks_mut::<512>().0 {
        if block[257..262] == *b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|it| u32::from(*it)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn changed_bytes_never_panic(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec(
            (any::<prop::sample::Index>(), prop_oneof![
                any::<u8>(), Just(b'0'), Just(b'7'), Just(b'9'), Just(b'x'), Just(b'g'), Just(b'L'),
                Just(b'1'), Just(b'S'), Just(0x80), Just(0xFF), Just(b'\n'), Just(b'='), Just(b'/'),
            ]),
            0..6,
        ),
        cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
        is_mended in prop::bool::weighted(0.9),
    ) {
        if ARCHIVES.is_empty() {
            println!("skipped: no tar");
            return Ok(());
        }
        let mut archive = which.get(&ARCHIVES).clone();
        for (at, byte) in changes {
            let at = at.index(archive.len());
            archive[at] = byte;
        }
        if is_mended {
            mend(&mut archive);
        }
        if let Some(cut) = cut {
            archive.truncate(cut.index(archive.len()));
        }
        if let Err(err) = read(&archive) {
            prop_assert_eq!(err.to_string().lines().count(), 1);
        }
    }

    #[test]
    fn damaged_compression_never_panics(
        kind in 0..3_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let Some(archive) = ARCHIVES.first() else {
            println!("skipped: no tar");
            return Ok(());
        };
        let mut packed = pack(kind, archive);
        let is_whole = changes.is_empty() && cut.is_none();
        for (at, byte) in changes {
            let at = at.index(packed.len());
            packed[at] = byte;
        }
        let mut is_cut = false;
        if let Some(cut) = cut {
            let len = cut.index(packed.len());
            is_cut = true;
            packed.truncate(len);
        }
        let found = from_stream(Cursor::new(packed), Path::new("t"), &options(), &mut |_| true);
        prop_assert!(found.is_ok() || !is_whole);
        prop_assert!(found.is_err() || !is_cut, "a cut archive is taken for a whole one");
        if let Err(err) = found {
            prop_assert_eq!(err.to_string().lines().count(), 1);
        }
    }
}

fn pack(kind: usize, archive: &[u8]) -> Vec<u8> {
    use std::io::Read as _;
    let mut packed = Vec::new();
    let done = match kind {
        0 => flate2::read::GzEncoder::new(archive, flate2::Compression::fast())
            .read_to_end(&mut packed),
        1 => liblzma::read::XzEncoder::new(archive, 0).read_to_end(&mut packed),
        _ => zstd::stream::copy_encode(archive, &mut packed, 1).map(|()| 0),
    };
    done.expect("packs");
    packed
}
