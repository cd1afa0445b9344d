//! The devices against real files of the host.
#![cfg(test)]

mod file_device;
mod partitions;
mod transfer_queue;
mod users;

use std::path::{Path, PathBuf};

/// A folder on the disk that holds the build, which takes O_DIRECT on most hosts, and one on a
/// tmpfs where there is one.
fn folders() -> Vec<tempfile::TempDir> {
    let build = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut folders = vec![tempfile::tempdir_in(build).unwrap()];
    match tempfile::tempdir_in("/dev/shm") {
        Ok(folder) => folders.push(folder),
        Err(err) => println!("skipped: no tmpfs at /dev/shm: {err}"),
    }
    folders
}

/// A file of `len` bytes, each byte telling which 512-byte sector it is in.
fn image(folder: &tempfile::TempDir, name: &str, len: usize) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, pattern(len)).unwrap();
    path
}

fn pattern(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    for (nr, sector) in bytes.chunks_mut(512).enumerate() {
        sector.fill(u8::try_from(nr % 251).unwrap());
    }
    bytes
}
