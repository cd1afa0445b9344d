//! The fast-commit area: what counts, what is left over, what is damage.

use super::forge::{BS, Forge, Kind, SIZE, V3, scan};
use ext4_jbd2::recovery::FastCommitEnd;
use ext4_ondisk::{
    checksum::Csum,
    fast_commit::{Op, Tlv, first_tlv},
    jbd2::Class,
};
use ext4_units::{BlockNr, InodeNr, LogicalBlock, Tid};

const FIRST: u32 = 1101;
const BLOCKS: u32 = 39;

fn ino(nr: u32) -> InodeNr {
    InodeNr::new(nr).unwrap()
}

fn ops(seed: u32) -> Vec<Op> {
    let name = format!("name {seed}").into_bytes();
    let (parent, file) = (ino(2), ino(12 + seed));
    vec![
        Op::Inode { ino: file, raw: vec![seed.to_le_bytes()[0]; 160] },
        Op::AddRange {
            ino: file,
            lblk: LogicalBlock(seed),
            len: 8,
            start: BlockNr(900),
            is_unwritten: seed.is_multiple_of(2),
        },
        Op::DelRange { ino: file, lblk: LogicalBlock(9), len: 3 },
        Op::Creat { parent, ino: file, name: name.clone() },
        Op::Link { parent, ino: file, name: b"x".to_vec() },
        Op::Unlink { parent, ino: file, name },
    ]
}

/// A writer of the area: fast commits begin at a block, and their tail covers the rest of its last.
struct Area {
    it: Forge,
    at: u32,
}

impl Area {
    /// A log with one transaction, 10, so that fast commits are for 11.
    fn new() -> Self {
        let mut it = Forge::new(Kind { has_fc: true, ..V3 });
        it.log_blocks([1, 2]).commit();
        Self { it, at: FIRST }
    }

    /// One fast commit, with a head if it is the first; `change` may damage its blocks.
    fn fast_commit(
        &mut self,
        head: Option<(u32, Tid)>,
        tid: Tid,
        ops: &[Op],
        change: impl Fn(&mut Vec<u8>),
    ) {
        let mut bytes = vec![];
        if let Some((features, tid)) = head {
            Tlv::Head { features, tid }.encode(&mut bytes);
        }
        for op in ops {
            let mut one = vec![];
            Tlv::Op(op.clone()).encode(&mut one);
            // Records do not cross blocks, and a tail must still fit.
            let left = BS - bytes.len() % BS;
            if left < one.len() + 4 {
                bytes.extend(7u16.to_le_bytes());
                bytes.extend(u16::try_from(left - 4).unwrap().to_le_bytes());
                bytes.resize(bytes.len() + left - 4, 0);
            }
            bytes.extend(one);
        }
        let left = BS - bytes.len() % BS;
        bytes.extend(8u16.to_le_bytes());
        bytes.extend(u16::try_from(left - 4).unwrap().to_le_bytes());
        bytes.extend(tid.0.to_le_bytes());
        let crc = Csum(0).over(&bytes).0;
        bytes.extend(crc.to_le_bytes());
        bytes.resize(bytes.len().next_multiple_of(BS), 0);
        change(&mut bytes);
        for block in bytes.chunks(BS) {
            let at = self.at;
            self.it.log_mut(at).copy_from_slice(block);
            self.at += 1;
        }
    }

    fn first(&mut self, ops: &[Op]) -> &mut Self {
        self.fast_commit(Some((0, Tid(11))), Tid(11), ops, |_| {});
        self
    }

    fn more(&mut self, ops: &[Op]) -> &mut Self {
        self.fast_commit(None, Tid(11), ops, |_| {});
        self
    }

    /// Asserts that the log is good and these are its fast commits.
    fn has(&self, commits: u32, end: FastCommitEnd, expected: &[Op]) {
        let (device, log) = (self.it.device(), self.it.at_home());
        let scan = scan(&device, &log);
        assert_eq!(scan.verdict(), Ok(()));
        assert_eq!(scan.transactions.len(), 1);
        assert_eq!((scan.fast_commits.commits, scan.fast_commits.end), (commits, end));
        let ops: Vec<_> =
            scan.fast_commits.ops(&device, &log, SIZE).collect::<Result<_, _>>().unwrap();
        assert_eq!(ops, expected);
        self.it.recovers(1);
    }
}

#[test]
fn fast_commits_of_the_current_transaction_are_read_in_order() {
    let mut it = Area::new();
    it.first(&ops(0));
    it.has(1, FastCommitEnd::BadRecord, &ops(0));
    it.more(&ops(1)).more(&[]).more(&ops(2));
    it.has(4, FastCommitEnd::BadRecord, &[ops(0), ops(1), ops(2)].concat());
}

#[test]
fn a_fast_commit_may_take_several_blocks() {
    let many: Vec<_> = (0..9).flat_map(ops).collect();
    let mut it = Area::new();
    it.first(&many).more(&many);
    assert!(it.at > FIRST + 4);
    it.has(2, FastCommitEnd::BadRecord, &[many.clone(), many].concat());
}

#[test]
fn an_area_that_is_exactly_full_ends_with_its_last_block() {
    let mut it = Area::new();
    it.first(&ops(0));
    for _ in 1..BLOCKS {
        it.more(&ops(0));
    }
    assert_eq!(it.at, it.it.superblock.max_len);
    let expected: Vec<_> = (0..BLOCKS).flat_map(|_| ops(0)).collect();
    it.has(BLOCKS, FastCommitEnd::Full, &expected);
}

#[test]
fn without_a_head_there_are_none() {
    let it = Area::new();
    it.has(0, FastCommitEnd::NoHead, &[]);
    let mut it = Area::new();
    it.more(&ops(0));
    it.has(0, FastCommitEnd::NoHead, &[]);
}

#[test]
fn fast_commits_of_an_older_transaction_are_left_over_and_the_log_is_replayed() {
    let mut it = Area::new();
    it.fast_commit(Some((0, Tid(10))), Tid(10), &ops(0), |_| {});
    it.has(0, FastCommitEnd::StaleHead(Tid(10)), &[]);
}

#[test]
fn what_follows_the_last_complete_one_is_dropped() {
    let mut it = Area::new();
    it.first(&ops(0));
    it.fast_commit(None, Tid(10), &ops(1), |_| {});
    it.has(1, FastCommitEnd::BadTail, &ops(0));

    let mut it = Area::new();
    it.first(&ops(0));
    it.fast_commit(None, Tid(11), &ops(1), |bytes| bytes[30] ^= 1);
    it.more(&ops(2));
    it.has(1, FastCommitEnd::BadTail, &ops(0));

    let mut it = Area::new();
    it.first(&ops(0)).more(&ops(1));
    it.fast_commit(Some((0, Tid(10))), Tid(10), &ops(2), |_| {});
    it.has(2, FastCommitEnd::StaleHead(Tid(10)), &[ops(0), ops(1)].concat());
}

#[test]
fn a_first_one_that_is_damaged_is_refused() {
    let refused = |class, head, tid, change: fn(&mut Vec<u8>)| {
        let mut it = Area::new();
        it.fast_commit(Some(head), tid, &ops(0), change);
        let scan = it.it.is_refused(class);
        assert_eq!(scan.fast_commits.end, FastCommitEnd::Damaged);
        assert_eq!(scan.transactions.len(), 1);
    };
    let head = (0, Tid(11));
    refused(Class::BadChecksum, head, Tid(11), |bytes| bytes[30] ^= 1);
    refused(Class::BadChecksum, head, Tid(10), |_| {});
    refused(Class::NotSupported, (1, Tid(11)), Tid(11), |_| {});
    refused(Class::NotSupported, (1, Tid(10)), Tid(10), |_| {});
    refused(Class::Cancelled, head, Tid(11), |bytes| bytes[12] = 77);
    refused(Class::Cancelled, head, Tid(11), |bytes| bytes[14..16].fill(0xFF));
}

#[test]
fn an_empty_log_has_no_fast_commits() {
    let mut it = Area::new();
    it.first(&ops(0));
    it.it.superblock.start = 0;
    it.it.write_superblock();
    let (device, log) = (it.it.device(), it.it.at_home());
    let scan = scan(&device, &log);
    assert!(scan.is_empty());
    assert_eq!(scan.fast_commits.end, FastCommitEnd::NoArea);
    assert_eq!(scan.fast_commits.ops(&device, &log, SIZE).count(), 0);
}

#[test]
fn random_bytes_behind_a_head_never_hang() {
    use proptest::prelude::*;
    proptest!(ProptestConfig::with_cases(256), |(
        bytes in proptest::collection::vec(any::<u8>(), 4 * BS),
        tags in proptest::collection::vec((0usize..4 * BS - 4, 1u16..10, 0u16..200), 0..60),
    )| {
        let mut it = Area::new();
        let mut bytes = bytes;
        for (at, tag, len) in tags {
            bytes[at..at + 2].copy_from_slice(&tag.to_le_bytes());
            bytes[at + 2..at + 4].copy_from_slice(&len.to_le_bytes());
        }
        let mut head = vec![];
        Tlv::Head { features: 0, tid: Tid(11) }.encode(&mut head);
        bytes[..head.len()].copy_from_slice(&head);
        for (i, block) in bytes.chunks(BS).enumerate() {
            it.it.log_mut(FIRST + i as u32).copy_from_slice(block);
        }
        let (device, log) = (it.it.device(), it.it.at_home());
        let scan = scan(&device, &log);
        prop_assert!(scan.fast_commits.ops(&device, &log, SIZE).all(|it| it.is_ok()));
        let _ = first_tlv(&bytes, 256);
    });
}
