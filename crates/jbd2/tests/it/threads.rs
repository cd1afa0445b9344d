//! Many threads on one journal.

use crate::rig::{Hooked, Rig, Shape, open, options};
use ext4_blockdev::MemoryDevice;
use ext4_jbd2::{Journal, MetaRead, Options};
use ext4_units::{BlockNr, BlockRange};
use std::{sync::Arc, thread};

/// Two blocks that every handle changes together.
const PAIR: (BlockNr, BlockNr) = (BlockNr(3), BlockNr(60));

#[test]
fn writers_take_turns_and_readers_see_whole_blocks() {
    let options = Options { cache_bytes: 0, committed_bytes: 2 << 10, ..options() };
    let rig = Rig::new(Shape::new(), options);
    let journal = &rig.journal;
    let n = |data: &[u8]| u64::from_be_bytes(data[..8].try_into().unwrap());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let mut handle = journal.start(2).unwrap();
                    for blk in [PAIR.0, PAIR.1] {
                        let next = n(&handle.read(blk).unwrap()) + 1;
                        handle.write(blk, next.to_be_bytes().repeat(128)).unwrap();
                    }
                    let tid = handle.stop().unwrap();
                    journal.commit_tid(tid).unwrap();
                }
            });
        }
        scope.spawn(|| {
            let mut last = 0;
            while last < 400 {
                let data = journal.read(PAIR.0).unwrap();
                assert!(data.chunks_exact(8).all(|it| it == &data[..8]), "half a block");
                assert!(n(&data) >= last, "an older version");
                last = n(&data);
            }
        });
    });
    assert_eq!(n(&journal.read(PAIR.1).unwrap()), 400);
    journal.checkpoint().unwrap();
    assert_eq!(n(&rig.memory.contents()[60 * 1024..]), 400);
}

/// A journal with no cache and next to no memory for committed blocks, on a device with hooks.
fn hooked() -> (Arc<MemoryDevice>, Arc<Hooked>, Arc<Journal>) {
    let memory = Arc::new(MemoryDevice::new(Shape::new().image()));
    let device = Arc::new(Hooked::new(memory.clone()));
    let options = Options { cache_bytes: 0, committed_bytes: 0, ..options() };
    let journal = open(device.clone(), &Shape::new(), options).unwrap();
    (memory, device, Arc::new(journal))
}

fn put(journal: &Journal, blk: u64, byte: u8) {
    let mut handle = journal.start(1).unwrap();
    handle.write(BlockNr(blk), vec![byte; 1024]).unwrap();
    handle.stop().unwrap();
}

#[test]
fn a_reader_that_a_checkpoint_overtook_reads_again() {
    for as_run in [false, true] {
        let (memory, device, journal) = hooked();
        let writer = Arc::clone(&journal);
        // Half of the block is read, then it is written, committed and home.
        device.at_next_read(move || {
            put(&writer, 5, 7);
            writer.commit().unwrap();
        });
        let data = if as_run {
            journal.read_run(BlockRange::new(BlockNr(5), 1)).unwrap().remove(0)
        } else {
            journal.read(BlockNr(5)).unwrap()
        };
        assert_eq!(memory.contents()[5 * 1024], 7, "it is home");
        assert!(data.iter().all(|&byte| byte == 7), "half a block");
    }
}

#[test]
fn a_checkpoint_does_not_write_home_what_is_not_committed() {
    let (memory, device, journal) = hooked();
    put(&journal, 5, 1);
    let writer = Arc::clone(&journal);
    // While the first version is being committed the next transaction makes a second one.
    device.at_next_flush(move || put(&writer, 5, 2));
    journal.commit().unwrap();
    assert_eq!(memory.contents()[5 * 1024], 1);
    assert_eq!(journal.read(BlockNr(5)).unwrap()[0], 2);
    journal.commit().unwrap();
    assert_eq!(memory.contents()[5 * 1024], 2);
}

#[test]
fn a_block_freed_during_a_commit_waits_for_the_next() {
    let (_, device, journal) = hooked();
    let freed = BlockRange::new(BlockNr(5), 1);
    put(&journal, 5, 1);
    let writer = Arc::clone(&journal);
    device.at_next_flush(move || {
        let mut handle = writer.start(1).unwrap();
        handle.free(freed);
        handle.stop().unwrap();
    });
    journal.commit().unwrap();
    assert!(journal.is_pending_free(freed));
    journal.commit().unwrap();
    assert!(!journal.is_pending_free(freed));
}
