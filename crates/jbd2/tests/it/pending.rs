//! Freed blocks: not reused before the commit, never brought back after it.

use crate::{
    reference,
    rig::{Rig, Shape, open, options, trace_of},
};
use ext4_blockdev::BlockDevice;
use ext4_jbd2::{Error, MetaRead, Options};
use ext4_ondisk::jbd2::JournalIncompat;
use ext4_testkit::{
    crash::{self, Plan},
    image::Image,
};
use ext4_units::{BlockNr, BlockRange};
use std::{ops::ControlFlow, sync::Arc};

fn one(blk: u64) -> BlockRange {
    BlockRange::new(BlockNr(blk), 1)
}

#[test]
fn freed_blocks_are_pending_until_their_transaction_is_durable() {
    let rig = Rig::new(Shape::new(), options());
    let journal = &rig.journal;
    let before = journal.pending_free_generation();
    let mut handle = journal.start(2).unwrap();
    handle.write(BlockNr(1), vec![1; 1024]).unwrap();
    handle.free(BlockRange::new(BlockNr(10), 4));
    handle.revoke(BlockNr(14));
    assert!(handle.is_pending_free(one(10)) && !journal.is_pending_free(one(10)));
    handle.stop().unwrap();
    assert!(journal.is_pending_free(BlockRange::new(BlockNr(0), 11)));
    assert!(!journal.is_pending_free(BlockRange::new(BlockNr(0), 10)));
    assert_eq!(journal.freed_in_running(), 5);
    let pending = journal.pending_free();
    assert_eq!(pending.ranges, [BlockRange::new(BlockNr(10), 5)]);
    assert_ne!(pending.generation, before);
    journal.commit().unwrap();
    assert!(!journal.is_pending_free(one(10)));
    assert_eq!(journal.freed_in_running(), 0);
    assert_ne!(journal.pending_free().generation, pending.generation);
}

#[test]
fn a_freed_metadata_block_is_revoked_in_the_same_transaction() {
    let rig = Rig::new(Shape::new(), options());
    rig.put(5, 1);
    rig.journal.commit().unwrap();
    let mut handle = rig.journal.start(2).unwrap();
    handle.revoke(BlockNr(5));
    handle.write(BlockNr(6), vec![2; 1024]).unwrap();
    handle.stop().unwrap();
    rig.journal.commit().unwrap();
    let (sb, log) = reference::scan(&rig.memory.contents(), &rig.shape);
    assert!(sb.incompat.contains(JournalIncompat::REVOKE));
    assert_eq!(log[1].revoked.iter().copied().collect::<Vec<_>>(), [BlockNr(5)]);
    assert!(!reference::homes(&log).contains_key(&BlockNr(5)));
}

#[test]
fn a_block_journaled_again_in_the_same_transaction_is_not_revoked() {
    let rig = Rig::new(Shape::new(), options());
    rig.put(5, 1);
    rig.journal.commit().unwrap();
    let mut handle = rig.journal.start(1).unwrap();
    handle.revoke(BlockNr(5));
    handle.stop().unwrap();
    rig.put(5, 3);
    assert!(!rig.journal.is_pending_free(one(5)));
    rig.journal.commit().unwrap();
    let log = rig.logged();
    assert!(log[1].revoked.is_empty());
    assert_eq!(reference::homes(&log)[&BlockNr(5)][0], 3);
}

#[test]
fn freeing_a_journaled_block_as_data_revokes_it_too() {
    let rig = Rig::new(Shape::new(), options());
    rig.put(5, 1);
    rig.put(7, 1);
    rig.journal.commit().unwrap();
    let mut handle = rig.journal.start(2).unwrap();
    handle.write(BlockNr(8), vec![1; 1024]).unwrap();
    handle.free(BlockRange::new(BlockNr(4), 5));
    handle.stop().unwrap();
    rig.journal.commit().unwrap();
    let log = rig.logged();
    assert!(log[1].blocks.is_empty());
    assert_eq!(log[1].revoked.iter().map(|it| it.0).collect::<Vec<_>>(), [5, 7, 8]);
}

#[test]
fn many_revokes_take_as_many_blocks_as_they_need() {
    let rig = Rig::new(Shape::new(), options());
    let mut handle = rig.journal.start(300).unwrap();
    handle.revoke_run(BlockRange::new(BlockNr(1 << 40), 300));
    handle.stop().unwrap();
    rig.journal.commit().unwrap();
    assert_eq!(rig.logged()[0].revoked.len(), 300);
    rig.put(1, 1);
    rig.journal.commit().unwrap();
    assert_eq!(rig.logged().len(), 2);
}

/// Metadata is written, freed, and the block reused for file data that goes around the journal. No
/// crash after the data was made durable may bring the metadata back, whatever was checkpointed.
#[test]
fn data_in_a_block_that_was_metadata_survives_every_crash() {
    for checkpointed in [false, true] {
        let rig = Rig::new(Shape::new(), Options { committed_bytes: 4 << 10, ..options() });
        let (journal, dev) = (&rig.journal, &rig.recorder);
        rig.put(5, 1);
        journal.commit().unwrap();
        if checkpointed {
            journal.checkpoint().unwrap();
        }
        rig.put(5, 2);
        rig.put(6, 2);
        journal.commit().unwrap();
        let mut handle = journal.start(2).unwrap();
        handle.revoke(BlockNr(5));
        handle.write(BlockNr(6), vec![3; 1024]).unwrap();
        handle.stop().unwrap();
        assert!(journal.is_pending_free(one(5)));
        journal.commit().unwrap();
        dev.write_at(BlockNr(5).byte(rig.shape.size), &[0xDA; 1024]).unwrap();
        journal.sync_data().unwrap();
        dev.mark(0, "data");
        // Enough to push everything older home.
        for byte in 10..20 {
            rig.put(u64::from(byte), byte);
            journal.commit().unwrap();
        }
        journal.checkpoint().unwrap();

        let base = Image::new(rig.shape.image());
        let trace = Arc::new(trace_of(&dev.events()));
        let mut n_states = 0;
        for epoch in crash::epochs(&base, &trace) {
            let _ = crash::enumerate(&epoch, &Plan::default(), &mut |state| {
                if state.marks().any(|mark| mark == "data") {
                    n_states += 1;
                    let bytes = state.image().bytes().to_vec();
                    let (_, log) = reference::scan(&bytes, &rig.shape);
                    let found = match reference::homes(&log).get(&BlockNr(5)) {
                        Some(replayed) => replayed[0],
                        None => bytes[5 * 1024],
                    };
                    assert_eq!(found, 0xDA, "{state:?}");
                }
                ControlFlow::Continue(())
            });
        }
        assert!(n_states > 50, "{n_states}");
    }
}

#[test]
fn no_stale_copy_of_a_freed_block_is_kept() {
    let rig = Rig::new(Shape::new(), options());
    rig.put(5, 1);
    rig.journal.checkpoint().unwrap();
    let mut handle = rig.journal.start(1).unwrap();
    handle.revoke(BlockNr(5));
    handle.stop().unwrap();
    // Somebody looks at it once more, which puts it into the cache.
    assert_eq!(rig.journal.read(BlockNr(5)).unwrap()[0], 1);
    rig.journal.commit().unwrap();
    rig.recorder.write_at(5 * 1024, &[0xDA; 1024]).unwrap();
    assert_eq!(rig.journal.read(BlockNr(5)).unwrap()[0], 0xDA);
}

#[test]
fn a_block_of_a_transaction_is_not_written_around_it() {
    let rig = Rig::new(Shape::new(), options());
    rig.put(5, 1);
    let refused = |blk: u64| {
        let res = rig.journal.write_through(BlockNr(blk), vec![9; 1024]);
        matches!(res, Err(Error::InTransaction { blk: BlockNr(5) }))
    };
    assert!(refused(5));
    rig.journal.commit().unwrap();
    assert!(refused(5));
    rig.journal.checkpoint().unwrap();
    rig.journal.write_through(BlockNr(5), vec![9; 1024]).unwrap();
    assert_eq!(rig.journal.read(BlockNr(5)).unwrap()[0], 9);
    assert_eq!(rig.memory.contents()[5 * 1024], 9);
    rig.recorder.write_at(5 * 1024, &[4; 1024]).unwrap();
    rig.journal.forget_cached(one(5));
    assert_eq!(rig.journal.read(BlockNr(5)).unwrap()[0], 4);
    let journal = open(rig.memory.clone(), &rig.shape, options()).unwrap();
    assert_eq!(journal.read(BlockNr(5)).unwrap()[0], 4);
}
