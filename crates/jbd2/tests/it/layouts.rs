//! Every layout of tags and checksums, every block size, logs on devices of their own.

use crate::{
    reference::{self, scan_log},
    rig::{Owner, Rig, Shape, Version, Workload, contents, open, options},
};
use ext4_blockdev::{Event, MemoryDevice, Recorder};
use ext4_jbd2::{Error, Journal, Log, Options};
use ext4_ondisk::jbd2::{JournalCompat, JournalIncompat, JournalSuperblock, MIN_LOG_BLOCKS};
use ext4_units::{BlockNr, BlockSize};
use std::sync::Arc;

const SUMS: [(JournalCompat, JournalIncompat); 4] = [
    (JournalCompat::empty(), JournalIncompat::empty()),
    (JournalCompat::CHECKSUM, JournalIncompat::empty()),
    (JournalCompat::empty(), JournalIncompat::CSUM_V2),
    (JournalCompat::empty(), JournalIncompat::CSUM_V3),
];

#[test]
fn every_layout_holds_what_was_written() {
    for bits in [10, 12, 16] {
        for (compat, sums) in SUMS {
            for wide in [JournalIncompat::empty(), JournalIncompat::BIT64] {
                let size = BlockSize::from_bits(bits).unwrap();
                let incompat = sums | wide;
                let shape = Shape { size, compat, incompat, ..Shape::new() };
                let rig = Rig::new(shape, options());
                let mut work = Workload::new(u64::from(bits));
                for _ in 0..12 {
                    work.step(&rig.journal, size, 90, |_| {}).unwrap();
                }
                let mut handle = rig.journal.start(2).unwrap();
                handle.revoke(BlockNr(0x1234_5678));
                handle.write(BlockNr(0), contents(0, 0, size)).unwrap();
                handle.stop().unwrap();
                rig.journal.commit().unwrap();
                let log = rig.logged();
                assert!(log.last().unwrap().revoked.contains(&BlockNr(0x1234_5678)));
                let homes = reference::homes(&log);
                for (&blk, &owner) in work.last().iter().filter(|it| *it.0 != 0) {
                    let home = homes.get(&BlockNr(blk));
                    let expected: Option<Version> = match owner {
                        Owner::Meta(stamp) => Some(contents(blk, stamp, size)),
                        Owner::Data(_) | Owner::Free => None,
                    };
                    assert!(home == expected.as_ref(), "{incompat:?} {size} {blk}");
                }
            }
        }
    }
}

#[test]
fn a_log_of_32_bit_numbers_refuses_blocks_beyond_them() {
    let shape = Shape { incompat: JournalIncompat::CSUM_V3, ..Shape::new() };
    let rig = Rig::new(shape.clone(), options());
    let write = |journal: &Journal| {
        let mut handle = journal.start(1).unwrap();
        handle.write(BlockNr(1 << 32), vec![1; 1024]).unwrap();
        handle.stop()
    };
    assert!(matches!(write(&rig.journal), Err(Error::Unsupported(_))));

    let rig = Rig::new(shape, Options { is_64bit: true, ..options() });
    write(&rig.journal).unwrap();
    rig.journal.commit().unwrap();
    assert_eq!(rig.logged()[0].blocks[0].0, BlockNr(1 << 32));
}

#[test]
fn the_log_gets_the_features_a_mount_would_give_it() {
    let bare = Shape { incompat: JournalIncompat::empty(), ..Shape::new() };
    let options = Options { is_64bit: true, metadata_csum: true, ..options() };
    let rig = Rig::new(bare.clone(), options.clone());
    rig.put(1, 1);
    rig.journal.commit().unwrap();
    let (sb, log) = reference::scan(&rig.memory.contents(), &rig.shape);
    assert_eq!(sb.incompat, JournalIncompat::CSUM_V3 | JournalIncompat::BIT64);
    assert_eq!(log.len(), 1);

    let v1 = Shape { compat: JournalCompat::CHECKSUM, ..bare };
    let rig = Rig::new(v1, options);
    rig.put(1, 1);
    rig.journal.commit().unwrap();
    let (sb, log) = reference::scan(&rig.memory.contents(), &rig.shape);
    assert_eq!(sb.compat, JournalCompat::empty());
    assert_eq!(log.len(), 1);
}

#[test]
fn a_version_1_superblock_becomes_version_2_with_the_first_commit() {
    let shape = Shape { incompat: JournalIncompat::empty(), ..Shape::new() };
    let mut image = shape.image();
    let at = usize::try_from(shape.superblock_byte()).unwrap();
    image[at + 7] = 3;
    image[at + 0x24..at + 1024].fill(0xEE);
    let memory = Arc::new(MemoryDevice::new(image));
    let journal = open(memory.clone(), &shape, options()).unwrap();
    let mut handle = journal.start(1).unwrap();
    handle.revoke(BlockNr(3));
    handle.stop().unwrap();
    journal.commit().unwrap();
    let (sb, log) = reference::scan(&memory.contents(), &shape);
    assert_eq!((sb.incompat, sb.nr_users), (JournalIncompat::REVOKE, 1));
    assert_eq!(log[0].revoked.len(), 1);
}

#[test]
fn the_fast_commit_area_is_left_alone_and_the_feature_dropped_at_the_end() {
    let shape = Shape { log_len: MIN_LOG_BLOCKS + 256, head: 1010, ..Shape::new() };
    let rig = Rig::new(shape, Options { fast_commit: true, ..options() });
    let mut work = Workload::new(3);
    for _ in 0..8 {
        work.step(&rig.journal, rig.shape.size, 20, |_| {}).unwrap();
    }
    rig.journal.commit().unwrap();
    let (sb, log) = reference::scan(&rig.memory.contents(), &rig.shape);
    assert!(sb.incompat.contains(JournalIncompat::FAST_COMMIT) && !log.is_empty());
    let area = rig.shape.log().block(MIN_LOG_BLOCKS).unwrap().byte(rig.shape.size);
    let is_in_area = |it: &Event| matches!(it, Event::Write { offset, data, .. } if offset + data.len() as u64 > area);
    assert!(!rig.recorder.events().iter().any(is_in_area));
    let (memory, shape) = (rig.memory, rig.shape);
    rig.journal.close().unwrap();
    let (sb, _) = reference::scan(&memory.contents(), &shape);
    assert!(!sb.incompat.contains(JournalIncompat::FAST_COMMIT) && sb.head < MIN_LOG_BLOCKS);
}

#[test]
fn closing_drops_the_fast_commit_feature_even_of_an_unused_log() {
    let incompat = Shape::new().incompat | JournalIncompat::FAST_COMMIT;
    let shape = Shape { log_len: MIN_LOG_BLOCKS + 256, incompat, ..Shape::new() };
    let rig = Rig::new(shape, options());
    rig.journal.close().unwrap();
    let (sb, _) = reference::scan(&rig.memory.contents(), &rig.shape);
    assert!(!sb.incompat.contains(JournalIncompat::FAST_COMMIT));
    assert_eq!((sb.start, sb.sequence), (0, rig.shape.sequence));
}

#[test]
fn with_an_external_log_both_devices_are_flushed_before_the_commit_block() {
    let shape = Shape::new();
    let (size, len) = (shape.size, MIN_LOG_BLOCKS + 3);
    let first = 3;
    let mut sb: JournalSuperblock = Shape { log_len: len, ..shape.clone() }.superblock(first);
    sb.sequence = shape.sequence;
    let mut bytes = vec![0; len as usize * size.len()];
    bytes[2048..3072].copy_from_slice(&sb.encode());
    let log_memory = Arc::new(MemoryDevice::new(bytes));
    let log_dev = Arc::new(Recorder::new(log_memory.clone()));
    let fs_dev = Arc::new(Recorder::new(Arc::new(MemoryDevice::new(shape.image()))));
    let log = Log::external(log_dev.clone(), u64::from(len));
    let journal = Journal::open(fs_dev.clone(), size, log.clone(), options()).unwrap();
    let mut handle = journal.start(1).unwrap();
    handle.write(BlockNr(9), vec![4; size.len()]).unwrap();
    handle.stop().unwrap();
    journal.commit().unwrap();
    assert!(matches!(fs_dev.events()[..], [Event::Flush { .. }]));
    let is_flush = |it: &Event| matches!(it, Event::Flush { .. });
    let flushes: Vec<_> = log_dev.events().iter().map(is_flush).collect();
    // Superblock, descriptor and copy, flush, commit block, flush.
    assert_eq!(flushes, [false, false, true, false, true]);
    let (_, logged) = scan_log(&log_memory.contents(), &shape, &log);
    assert_eq!(logged[0].blocks[0].0, BlockNr(9));
    journal.close().unwrap();
    assert!(matches!(fs_dev.events()[1..], [Event::Write { .. }, Event::Flush { .. }]));
    assert_eq!(scan_log(&log_memory.contents(), &shape, &log).0.start, 0);
}
