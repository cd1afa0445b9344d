//! Full logs, full transactions, full memory.

use crate::{
    reference,
    rig::{Rig, Shape, Workload, options},
};
use ext4_blockdev::Event;
use ext4_jbd2::{Error, MetaRead, Options};
use ext4_ondisk::jbd2::JournalSuperblock;
use ext4_units::{BlockNr, BlockRange, Tid};

#[test]
fn thousands_of_handles_never_overfill_the_smallest_log() {
    let rig = Rig::new(Shape::new(), Options { committed_bytes: 1 << 30, ..options() });
    let mut work = Workload::new(7);
    let mut laps = 0;
    let mut last_start = 0;
    for nr in 0..5000 {
        work.step(&rig.journal, rig.shape.size, 40, |_| {}).unwrap();
        if nr % 50 == 0 {
            let mut device = rig.memory.contents();
            let (sb, log) = reference::scan(&device, &rig.shape);
            // Whatever is in the log now, with the homes as they are, is a state not older than the
            // last acknowledged one: nothing that is still needed was overwritten.
            for (blk, data) in reference::homes(&log) {
                let at = usize::try_from(blk.byte(rig.shape.size)).unwrap();
                device[at..at + data.len()].copy_from_slice(&data);
            }
            work.check(&device, rig.shape.size, work.acknowledged);
            laps += usize::from(sb.start < last_start);
            last_start = sb.start;
        }
        rig.recorder.take_events();
    }
    assert!(laps > 5, "the log never wrapped: {laps}");
}

#[test]
fn one_block_of_the_log_always_stays_free() {
    let rig = Rig::new(Shape::new(), Options { committed_bytes: 1 << 30, ..options() });
    // Three log blocks each: 341 transactions would fill the ring of 1023 to the last block.
    for nr in 0..340 {
        rig.put(nr % 90, 1);
        rig.journal.commit().unwrap();
    }
    assert_eq!(rig.logged().len(), 340);
    rig.put(1, 2);
    rig.journal.commit().unwrap();
    assert!(rig.logged().len() < 340);
}

#[test]
fn a_transaction_that_straddles_the_end_of_the_log_is_whole() {
    let shape = Shape { head: 1020, ..Shape::new() };
    let rig = Rig::new(shape, options());
    let mut handle = rig.journal.start(10).unwrap();
    for blk in 0..10 {
        handle.write(BlockNr(blk), vec![5; 1024]).unwrap();
    }
    handle.stop().unwrap();
    rig.journal.commit().unwrap();
    let (sb, log) = reference::scan(&rig.memory.contents(), &rig.shape);
    assert_eq!((sb.start, log.len(), log[0].blocks.len()), (1020, 1, 10));
}

#[test]
fn ids_wrap_around_zero() {
    let rig = Rig::new(Shape { sequence: Tid(u32::MAX - 3), ..Shape::new() }, options());
    for byte in 0..6 {
        rig.put(u64::from(byte % 2), byte);
        rig.journal.commit().unwrap();
    }
    let tids: Vec<_> = rig.logged().iter().map(|it| it.tid.0).collect();
    assert_eq!(tids, [u32::MAX - 2, u32::MAX - 1, u32::MAX, 0, 1, 2]);
    rig.journal.checkpoint().unwrap();
    assert_eq!(rig.memory.contents()[0], 4);
    assert_eq!(rig.memory.contents()[1024], 5);
}

#[test]
fn a_full_transaction_is_committed_before_the_next_handle_starts() {
    let rig = Rig::new(Shape::new(), Options { max_transaction: Some(4), ..options() });
    for blk in 0..4 {
        rig.put(blk, 1);
    }
    assert!(rig.logged().is_empty());
    rig.put(9, 1);
    assert_eq!(rig.logged().len(), 1);
    assert_eq!(rig.journal.max_credits(), 4);
    let err = rig.journal.start(5).unwrap_err();
    assert!(matches!(err, Error::TransactionTooBig { asked: 5, max: 4 }), "{err}");
}

#[test]
fn a_transaction_takes_a_third_of_the_log_at_most() {
    let rig = Rig::new(Shape::new(), options());
    assert_eq!(rig.journal.max_credits(), 341);
}

#[test]
#[should_panic(expected = "a handle of 1 credits changed 2 blocks")]
#[cfg(debug_assertions)]
fn a_handle_that_passes_its_credits_is_a_bug() {
    let rig = Rig::new(Shape::new(), options());
    let mut handle = rig.journal.start(1).unwrap();
    handle.write(BlockNr(1), vec![1; 1024]).unwrap();
    handle.revoke(BlockNr(2));
    let _ = handle.stop();
}

#[test]
fn committed_blocks_in_memory_are_bounded() {
    // 16 blocks at most: the oldest go home, the rest stays in the log.
    let rig = Rig::new(Shape::new(), Options { committed_bytes: 16 << 10, ..options() });
    for blk in 0..16 {
        rig.put(blk, 1);
        rig.journal.commit().unwrap();
    }
    let n_home = |rig: &Rig| {
        let is_home =
            |it: &&Event| matches!(it, Event::Write { offset, .. } if rig.shape.is_home(*offset));
        rig.recorder.events().iter().filter(is_home).count()
    };
    assert_eq!(n_home(&rig), 0);
    rig.put(16, 1);
    rig.journal.commit().unwrap();
    // Nine neighbours in one write.
    assert_eq!(n_home(&rig), 1);
    assert_eq!(rig.logged().len(), 8);
    assert_eq!(rig.journal.read(BlockNr(3)).unwrap()[0], 1);
}

#[test]
fn a_log_that_is_not_empty_or_too_short_is_refused() {
    let shape = Shape::new();
    let rig = Rig::new(shape.clone(), options());
    rig.put(1, 1);
    rig.journal.commit().unwrap();
    let err = crate::rig::open(rig.memory.clone(), &shape, options()).unwrap_err();
    assert!(matches!(err, Error::NeedsRecovery { start: 1 }), "{err}");

    let mut image = shape.image();
    let at = usize::try_from(shape.superblock_byte()).unwrap();
    let mut sb: JournalSuperblock = shape.superblock(1000);
    sb.sequence = Tid(1);
    image[at..at + 1024].copy_from_slice(&sb.encode());
    let dev = std::sync::Arc::new(ext4_blockdev::MemoryDevice::new(image));
    let err = crate::rig::open(dev, &shape, options()).unwrap_err();
    assert!(matches!(err, Error::Unsupported(_)), "{err}");
}

#[test]
fn a_handle_without_changes_needs_no_commit() {
    let rig = Rig::new(Shape::new(), options());
    let tid = rig.journal.start(3).unwrap().stop().unwrap();
    rig.journal.commit_tid(tid).unwrap();
    assert_eq!(rig.recorder.n_events(), 0);
    let mut handle = rig.journal.start(3).unwrap();
    handle.free(BlockRange::new(BlockNr(40), 0));
    handle.stop().unwrap();
    rig.journal.commit().unwrap();
    assert_eq!(rig.recorder.n_events(), 0);
}
