//! What reaches the device before what.

use super::{NODELALLOC, ORDERED, create, journal_data, open_as, put};
use ext4_blockdev::{Event, Recorder};
use ext4_fs::{Delayed, Filesystem, LockMode};
use ext4_testkit::image::Recipe;
use ext4_units::{InodeNr, LogicalBlock};
use std::sync::Arc;

/// Distinct from anything else on the device.
const BYTES: [u8; 4096] = [0xB7; 4096];

/// What a test wants to know of the events on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Data,
    Flush,
    /// A commit block of the log.
    Commit,
    /// Data, in the log.
    Logged,
}

/// Does `work` on a recorded device and tells what reached it.
fn events(
    profile: &str,
    delayed: Delayed,
    journaled: bool,
    work: impl FnOnce(&Filesystem, InodeNr),
) -> Option<Vec<What>> {
    let image = Recipe::new(profile).image()?;
    let recorder = Arc::new(Recorder::new(image.overlay()));
    let fs = open_as(recorder.clone(), delayed);
    let ino = create(&fs, "f");
    if journaled {
        journal_data(&fs, ino);
    }
    fs.commit().unwrap();
    recorder.take_events();
    work(&fs, ino);
    let is_commit = |block: &[u8]| block.starts_with(&[0xC0, 0x3B, 0x39, 0x98, 0, 0, 0, 2]);
    let inode = fs.inode(fs.meta(), ino).unwrap();
    let home = fs.lookup(fs.meta(), &inode, LogicalBlock(0)).unwrap().blocks();
    let home = home.map(|it| it.start.byte(fs.geometry().block_size));
    let mut found = Vec::new();
    for event in recorder.take_events() {
        match event {
            Event::Flush { .. } => found.push(Flush),
            Event::Write { offset, data, .. } => {
                let blocks = || data.chunks(1024);
                let has_data = blocks().any(|it| it.iter().all(|&byte| byte == BYTES[0]));
                if blocks().any(is_commit) {
                    found.push(Commit);
                } else if has_data {
                    let range = offset..offset + data.len() as u64;
                    let is_home = home.is_some_and(|home| range.contains(&home));
                    found.push(if is_home { Data } else { Logged });
                }
            }
            _ => {}
        }
    }
    Some(found)
}

/// Whether each of these occurs, in this order, others in between.
fn has(found: &[What], order: &[What]) -> bool {
    let mut left = order.iter().peekable();
    for it in found {
        left.next_if(|next| **next == *it);
    }
    left.peek().is_none()
}

use What::{Commit, Data, Flush, Logged};

#[test]
fn data_is_durable_before_the_commit_that_shows_it() {
    for (profile, delayed) in [
        ("ext4-4k", Delayed::DEFAULT),
        ("ext4-4k", ORDERED),
        ("ext3-4k", Delayed::DEFAULT),
        ("ext3-1k", NODELALLOC),
        ("bigalloc-4k", ORDERED),
    ] {
        let work = |fs: &Filesystem, ino| {
            put(fs, ino, 0, &BYTES).unwrap();
            fs.fsync(ino, true).unwrap();
        };
        let Some(found) = events(profile, delayed, false, work) else { return };
        assert!(has(&found, &[Data, Flush, Commit, Flush]), "{profile}: {found:?}");
        assert_eq!(found.iter().filter(|&&it| it == Commit).count(), 1, "{profile}: {found:?}");
        assert!(!has(&found, &[Commit, Data]), "{profile}: {found:?}");
    }
}

#[test]
fn a_commit_alone_writes_no_page() {
    let work = |fs: &Filesystem, ino| {
        put(fs, ino, 0, &BYTES).unwrap();
        fs.commit().unwrap();
        // Nor does a plain change of the inode.
        let mut h = fs.start(1).unwrap();
        let inode = h.inode(ino).unwrap();
        h.put_inode(&inode).unwrap();
        h.stop().unwrap();
        fs.commit().unwrap();
        assert!(fs.has_dirty_pages(ino, 0..1));
    };
    let Some(found) = events("ext4-4k", Delayed::DEFAULT, false, work) else { return };
    assert!(!found.contains(&Data) && !found.contains(&Logged), "{found:?}");
}

#[test]
fn journaled_data_goes_through_the_log_and_never_waits_in_pages() {
    let work = |fs: &Filesystem, ino| {
        put(fs, ino, 0, &BYTES).unwrap();
        assert!(!fs.has_pages(ino, 0..1));
        fs.fsync(ino, false).unwrap();
    };
    let Some(found) = events("ext4-4k", Delayed::DEFAULT, true, work) else { return };
    assert!(has(&found, &[Logged, Flush, Commit]) && !found.contains(&Data), "{found:?}");
}

#[test]
fn an_overwrite_that_is_synced_needs_no_commit() {
    let work = |fs: &Filesystem, ino| {
        put(fs, ino, 0, &[1; 4096]).unwrap();
        fs.fsync(ino, true).unwrap();
        fs.device().flush().unwrap();
        put(fs, ino, 0, &BYTES).unwrap();
        fs.fsync(ino, true).unwrap();
    };
    let Some(found) = events("ext4-4k", Delayed::DEFAULT, false, work) else { return };
    assert!(has(&found, &[Commit, Flush, Data, Flush]), "{found:?}");
    assert!(!has(&found, &[Data, Commit]), "{found:?}");
}

#[test]
fn an_open_handle_keeps_no_writer_of_written_blocks_waiting() {
    let Some(image) = Recipe::new("ext4-4k").image() else { return };
    let fs = open_as(image.device(), Delayed::DEFAULT);
    let ino = create(&fs, "f");
    put(&fs, ino, 0, &BYTES).unwrap();
    fs.sync().unwrap();
    let handle = fs.start(1).unwrap();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let guard = fs.incore(ino).lock(LockMode::Exclusive);
            fs.buffered_write(&guard, 5, b"hello").unwrap();
            drop(guard);
            ext4_fs::Writeback::new(&fs, ino, 0..4096).run().unwrap();
        });
        other.join().unwrap();
    });
    drop(handle);
    assert_eq!(super::read(&fs, ino, 5, 5), b"hello");
    fs.close().unwrap();
}
