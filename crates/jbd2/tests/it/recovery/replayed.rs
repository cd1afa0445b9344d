//! Logs that are good: what comes home, what does not.

use super::forge::{BS, Forge, HOMES, Kind, SIZE, V3, contents, options, scan, shared};
use crate::rig;
use ext4_blockdev::BlockDevice;
use ext4_jbd2::{
    Journal, Log,
    recovery::{self, LogEnd, RecordKind, Replayed},
};
use ext4_ondisk::{
    checksum::Csum,
    jbd2::{Checksums, Class, JournalSuperblock, MAGIC},
};
use ext4_units::{BlockNr, BlockRange, Tid};
use std::sync::Arc;

#[test]
fn s125_a_transaction_comes_home_in_every_layout() {
    for kind in Kind::all() {
        let mut it = Forge::new(kind);
        it.log_blocks([5, 6, 7, 100, 2999, 0, 1]).commit();
        it.recovers_as_by_kernel(1);
    }
}

#[test]
fn s124_an_empty_log_is_left_alone_whatever_lies_in_it() {
    let mut it = Forge::new(V3);
    it.log_blocks([5]).commit();
    it.superblock.start = 0;
    it.superblock.sequence = Tid(10);
    it.superblock.head = 7;
    it.write_superblock();
    let (device, log) = (it.device(), it.at_home());
    let scan = scan(&device, &log);
    assert!(scan.is_empty());
    assert_eq!(scan.replay(&device, &log, &mut |_, _| {}).unwrap(), Replayed::default());
    let after = scan.reset(&device, &log).unwrap();
    assert_eq!((after.sequence, after.head), (Tid(10), 7));
    assert!(device.contents() == it.image);
    it.kernel_leaves_it_alone();

    // The next transaction is the one after the number in the superblock: what lies there of that
    // number is never taken for a part of it.
    let journal = Journal::open(Arc::new(device), SIZE, log, rig::options()).unwrap();
    let mut handle = journal.start(1).unwrap();
    handle.write(BlockNr(5), contents(5, Tid(11))).unwrap();
    assert_eq!(handle.stop().unwrap(), Tid(11));
}

#[test]
fn s126_full_descriptors_and_transactions_of_several_come_home() {
    for kind in Kind::all() {
        let per = Forge::new(kind).format.tags_per_descriptor() as u64;
        for n in [per - 1, per, per + 1, 3 * per] {
            let mut it = Forge::new(kind);
            it.log_blocks(10..10 + n).commit();
            it.log_blocks(20..20 + n).commit();
            it.recovers(2);
            if n == 3 * per && !kind.has_fc {
                it.recovers_as_by_kernel(2);
            }
        }
    }
}

#[test]
fn s126_transactions_of_only_revokes_or_nothing_at_all_count() {
    for kind in Kind::all() {
        let mut it = Forge::new(kind);
        it.log_blocks([50, 51, 52]).commit();
        it.revoke(&[51, 60]).commit();
        it.commit();
        it.log_blocks([60]).commit();
        it.recovers_as_by_kernel(4);
    }
}

#[test]
fn s127_a_transaction_wraps_at_each_of_its_blocks() {
    for kind in Kind::all() {
        let ring = Forge::new(kind).ring();
        for before in 0..12 {
            let mut it = Forge::starting(kind, ring.end - 1 - before, Tid(10));
            it.revoke(&[7]).log_blocks(3..8).commit();
            it.log_blocks([8, 3]).commit();
            it.recovers(2);
            assert!(it.at < 20, "the log went round");
            // In the descriptor, its copies, the commit block; once for each layout is enough.
            if before == [0, 1, 2, 6, 7, 8][usize::from(kind.is_64bit) + kind.checksums as usize] {
                it.recovers_as_by_kernel(2);
            }
        }
    }
}

#[test]
fn a_log_that_fills_the_whole_ring_ends_where_it_begins() {
    let mut it = Forge::starting(V3, 500, Tid(10));
    // 3 blocks each; the ring has 1099.
    for n in 0..366 {
        it.log_blocks([n % 100]).commit();
    }
    assert_eq!(it.ring().distance(it.at, 500), 1);
    it.recovers(366);
    it.commit();
    assert_eq!(it.at, 500);
    it.recovers(367);
}

#[test]
fn s128_a_block_that_looks_like_the_journals_own_comes_back_whole() {
    for kind in Kind::all() {
        let mut it = Forge::new(kind);
        let mut block = contents(9, Tid(10));
        block[..4].copy_from_slice(&MAGIC.to_be_bytes());
        let places = {
            it.log(&[(8, contents(8, Tid(10))), (9, block), (10, contents(10, Tid(10)))]);
            it.commit()
        };
        assert_eq!(it.log_mut(places.copies[1])[..4], [0; 4]);
        it.recovers_as_by_kernel(1);
    }
}

#[test]
fn s129_a_revoke_hides_copies_of_its_own_and_older_transactions_only() {
    for kind in Kind::all() {
        let mut it = Forge::new(kind);
        it.log_blocks([1, 2, 3, 4]).commit();
        it.revoke(&[2, 3]).log_blocks([3, 5]).commit();
        it.log_blocks([3, 4]).commit();
        it.revoke(&[4]).commit();
        it.recovers_as_by_kernel(4);
        // The words of the rule, apart from the forge's model:
        let homes: Vec<_> = it.expected(4).into_keys().collect();
        assert_eq!(homes, [1, 3, 5]);
        let (device, log) = (it.device(), it.at_home());
        let report = scan(&device, &log).replay(&device, &log, &mut |_, _| {}).unwrap();
        let expected = Replayed { transactions: 4, blocks: 3, superseded: 0, revoked: 5 };
        assert_eq!(report, expected);
        assert_eq!(device.contents()[2 * BS..3 * BS], it.image[2 * BS..3 * BS]);
    }
}

#[test]
fn s129_a_revoke_that_was_not_committed_hides_nothing() {
    let mut it = Forge::new(V3);
    it.log_blocks([1, 2]).commit();
    it.revoke(&[2]).log_blocks([9]);
    it.recovers_as_by_kernel(1);
}

#[test]
fn s130_ids_go_on_after_the_highest() {
    for first in [u32::MAX - 1, u32::MAX, 0, u32::MAX - 2, i32::MAX.cast_unsigned()] {
        let mut it = Forge::starting(V3, 1, Tid(first));
        it.log_blocks([1, 2, 3, 4]).commit();
        it.log_blocks([2]).revoke(&[4]).commit();
        it.log_blocks([3]).commit();
        it.recovers_as_by_kernel(3);
    }
}

#[test]
fn the_newest_of_many_copies_is_written_and_only_once() {
    let mut it = Forge::new(V3);
    for _ in 0..50 {
        it.log_blocks([100, 7, 200]).commit();
    }
    it.recovers(50);
    let (device, log) = (it.device(), it.at_home());
    let report = scan(&device, &log).replay(&device, &log, &mut |_, _| {}).unwrap();
    let expected = Replayed { transactions: 50, blocks: 3, superseded: 147, revoked: 0 };
    assert_eq!(report, expected);
}

#[test]
fn s132_without_its_commit_block_a_transaction_never_was() {
    for kind in Kind::all() {
        let mut it = Forge::new(kind);
        it.log_blocks([1, 2]).commit();
        let lost = it.log_blocks([2, 3]).commit();
        it.log_blocks([4]).commit();
        it.log_mut(lost.commit).fill(0);
        it.recovers_as_by_kernel(1);
        let scan = scan(&it.device(), &it.at_home());
        assert_eq!(scan.log_end, LogEnd::NoHeader);
        let incomplete = scan.incomplete.unwrap();
        assert_eq!((incomplete.tid, incomplete.logged.len()), (Tid(11), 2));
    }
}

#[test]
fn s131_leftovers_behind_the_end_do_not_come_back() {
    let tid = Tid(11);
    let leftovers = [
        (Forge::header(2, Tid(9)), LogEnd::OtherTransaction(Tid(9))),
        (Forge::header(2, Tid(12)), LogEnd::OtherTransaction(Tid(12))),
        (Forge::header(9, tid), LogEnd::UnknownKind(9)),
        (Forge::header(4, tid), LogEnd::UnknownKind(4)),
        (vec![0xC0; BS], LogEnd::NoHeader),
    ];
    for (block, end) in leftovers {
        let mut it = Forge::new(V3);
        it.log_blocks([1, 2]).commit();
        it.put(&block);
        it.recovers_as_by_kernel(1);
        assert_eq!(scan(&it.device(), &it.at_home()).log_end, end);
    }
}

#[test]
fn s131_damaged_blocks_older_than_the_log_are_its_end() {
    for checksums in [Checksums::V2, Checksums::V3] {
        for part in ["descriptor", "revoke", "commit"] {
            let mut it = Forge::new(Kind { checksums, ..V3 });
            it.log_blocks([1, 2]).commit();
            it.sec -= 2;
            let old = it.revoke(&[1]).log_blocks([2, 3]).commit();
            let at = match part {
                "descriptor" => old.descriptors[0],
                "revoke" => old.revokes[0],
                _ => old.commit,
            };
            it.log_mut(at)[40] ^= 1;
            it.recovers_as_by_kernel(1);
            assert_eq!(scan(&it.device(), &it.at_home()).log_end, LogEnd::Stale, "{part}");
        }
    }
}

#[test]
fn a_v1_transaction_without_a_checksum_is_taken() {
    let mut it = Forge::new(Kind { checksums: Checksums::V1, ..V3 });
    let places = it.log_blocks([1, 2]).commit();
    it.log_mut(places.commit)[12..20].fill(0);
    it.log_blocks([3]).commit();
    it.recovers(2);
}

#[test]
fn s143_with_asynchronous_commits_a_bad_last_commit_is_one_that_was_cut_off() {
    for checksums in [Checksums::V1, Checksums::V2, Checksums::V3] {
        let mut it = Forge::new(Kind { checksums, is_async: true, ..V3 });
        it.log_blocks([1, 2]).commit();
        let cut = it.log_blocks([2, 3]).commit();
        it.log_mut(cut.commit)[17] ^= 1;
        it.recovers_as_by_kernel(1);
        // Its id is never used again: the rest of it may come to be on the disk yet.
        assert_eq!(scan(&it.device(), &it.at_home()).next, Tid(13));
    }
}

#[test]
fn s143_with_asynchronous_commits_good_ones_behind_a_bad_one_are_dropped_for_good() {
    let mut it = Forge::new(Kind { is_async: true, ..V3 });
    it.log_blocks([1, 2]).commit();
    let cut = it.log_blocks([2, 3]).commit();
    it.log_blocks([4]).commit();
    it.log_mut(cut.commit)[17] ^= 1;
    it.recovers(1);
    assert_eq!(scan(&it.device(), &it.at_home()).next, Tid(14));
}

#[test]
fn a_log_in_pieces_is_replayed_and_never_written() {
    let mut it = Forge::starting(V3, 1090, Tid(10));
    it.log_blocks(0..30).commit();
    it.log_blocks(20..60).commit();
    // The second half of the log lies in front of the first.
    let at = HOMES as usize * BS;
    let (a, b) = (at + 600 * BS, at + 1100 * BS);
    let image = [&it.image[..at], &it.image[a..b], &it.image[at..a]].concat();
    let log = Log::internal(vec![
        BlockRange::new(BlockNr(HOMES + 500), 600),
        BlockRange::new(BlockNr(HOMES), 500),
    ]);
    let device = shared(image.clone());
    let scan = scan(&*device, &log);
    assert_eq!(scan.verdict(), Ok(()));
    scan.replay(&*device, &log, &mut |_, _| {}).unwrap();
    let after = device.contents();
    for (home, data) in it.expected(2) {
        assert!(after[home as usize * BS..][..BS] == data, "home block {home}");
    }
    assert!(after[at..] == image[at..]);
}

#[test]
fn an_external_log_is_read_from_and_reset_on_its_own_device() {
    let mut it = Forge::starting(V3, 5, Tid(10));
    it.superblock = JournalSuperblock::new(
        SIZE,
        1100,
        3,
        (it.superblock.compat, it.superblock.incompat),
        it.superblock.uuid,
        0,
    )
    .unwrap();
    it.superblock.start = 1095;
    it.at = 1095;
    it.superblock.sequence = Tid(10);
    it.log_blocks(1..20).commit();
    let at = HOMES as usize * BS;
    let mut journal = it.image[at..].to_vec();
    journal[2 * BS..2 * BS + 1024].copy_from_slice(&it.superblock.encode());
    let fs = shared(it.image[..at].to_vec());
    let journal = shared(journal);
    let log = Log::external(journal.clone(), 1100);
    let found = scan(&*fs, &log);
    assert_eq!((found.verdict(), found.transactions.len()), (Ok(()), 1));
    found.replay(&*fs, &log, &mut |_, _| {}).unwrap();
    for (home, data) in it.expected(1) {
        assert!(fs.contents()[home as usize * BS..][..BS] == data, "home block {home}");
    }
    let before = fs.contents();
    found.reset(&*fs, &log).unwrap();
    assert!(fs.contents() == before);
    assert!(scan(&*fs, &log).is_empty());
    assert_eq!(journal.len(), 1100 * 1024);

    // Shared by two filesystems.
    let mut raw = log.read_superblock(&*fs, SIZE).unwrap().encode();
    raw[0x43] = 2;
    raw[0xFC..0x100].fill(0);
    let sum = Csum::START.over(&raw).0;
    raw[0xFC..0x100].copy_from_slice(&sum.to_be_bytes());
    log.write(&*fs, SIZE, 2, &raw).unwrap();
    let err = recovery::scan(&*fs, &log, &options()).unwrap_err();
    assert_eq!(err.class(), Some(Class::Invalid));
}

#[test]
fn the_superblock_goes_last_and_its_history_is_the_callers() {
    let mut it = Forge::new(V3);
    it.log_blocks([1, 9, 0]).commit();
    let device = super::interrupted::Recorder::new(&it.image);
    let log = it.at_home();
    let mut seen = vec![];
    scan(&device, &log)
        .replay(&device, &log, &mut |block, bytes| {
            seen.push(block.0);
            if block == BlockNr(1) {
                bytes[100..104].copy_from_slice(b"kept");
            }
        })
        .unwrap();
    assert_eq!(seen, [0, 9, 1]);
    assert_eq!(device.writes_and_flushes(), ["0+1024", "9216+1024", "flush", "1024+1024", "flush"]);
    assert_eq!(device.contents()[1024 + 100..1024 + 104], *b"kept");
}

#[test]
fn an_errno_is_told_and_cleared_by_the_reset() {
    let mut it = Forge::new(V3);
    it.log_blocks([1]).commit();
    it.superblock.errno = -5;
    it.write_superblock();
    assert_eq!(scan(&it.device(), &it.at_home()).superblock.errno, -5);
    it.recovers(1);

    it.superblock.start = 0;
    it.write_superblock();
    let (device, log) = (it.device(), it.at_home());
    assert_eq!(scan(&device, &log).reset(&device, &log).unwrap().errno, 0);
    assert_eq!(scan(&device, &log).superblock.errno, 0);
}

#[test]
fn a_survey_finds_what_is_live_and_what_is_left_over() {
    let mut it = Forge::starting(V3, 1097, Tid(10));
    it.log_blocks([1, 2]).commit();
    it.revoke(&[2, 3]).commit();
    it.superblock.start = 0;
    it.superblock.head = 1097;
    it.write_superblock();
    let (device, log) = (it.device(), it.at_home());
    let records: Vec<_> =
        recovery::survey(&device, &log, &it.superblock).map(Result::unwrap).collect();
    let brief: Vec<_> = records.iter().map(|it| (it.at, it.tid.0)).collect();
    assert_eq!(brief, [(1097, 10), (1, 10), (2, 11), (3, 11)]);
    let RecordKind::Descriptor { logged, is_sound: true } = &records[0].kind else {
        panic!("{records:?}")
    };
    let homes: Vec<_> = logged.iter().map(|it| (it.home.0, it.at)).collect();
    assert_eq!(homes, [(1, 1098), (2, 1099)]);
    let RecordKind::Revoke { blocks: Some(blocks), is_sound: true } = &records[2].kind else {
        panic!("{records:?}")
    };
    assert_eq!(*blocks, [BlockNr(2), BlockNr(3)]);
    assert!(matches!(records[3].kind, RecordKind::Commit { sec: 1001, .. }));
}

#[test]
fn version_1_of_the_superblock_is_refused_where_it_cannot_be_right() {
    let mut it = Forge::new(Kind { checksums: Checksums::None, is_64bit: false, ..V3 });
    it.log_blocks([1, 2]).commit();
    it.log_mut(0)[7] = 3;
    it.recovers(1);
    let mc = recovery::Options { metadata_csum: true, ..options() };
    let err = recovery::scan(&it.device(), &it.at_home(), &mc).unwrap_err();
    assert_eq!(err.class(), Some(Class::Invalid));
}
