//! The plainest reader of a log there can be: all of it in memory, every fault a panic. What the
//! writer's tests compare with.

use crate::rig::{Shape, Version};
use ext4_jbd2::{Log, Ring};
use ext4_ondisk::{
    checksum::crc32_be,
    jbd2::{
        BlockHeader, BlockKind, Checksums, Commit, CommitCheck, JournalSuperblock, TagFlags,
        revokes, tags, unescape,
    },
};
use ext4_units::{BlockNr, Tid};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// A complete transaction in a log.
#[derive(Debug)]
pub(crate) struct Logged {
    pub(crate) tid: Tid,
    pub(crate) time: Duration,
    pub(crate) blocks: Vec<(BlockNr, Version)>,
    pub(crate) revoked: BTreeSet<BlockNr>,
}

/// The journal superblock and the complete transactions, from the bytes of a device.
pub(crate) fn scan(bytes: &[u8], shape: &Shape) -> (JournalSuperblock, Vec<Logged>) {
    scan_log(bytes, shape, &shape.log())
}

pub(crate) fn scan_log(bytes: &[u8], shape: &Shape, log: &Log) -> (JournalSuperblock, Vec<Logged>) {
    let size = shape.size;
    let block = |at: u32| {
        let start = usize::try_from(log.block(at).unwrap().byte(size)).unwrap();
        &bytes[start..start + size.len()]
    };
    let sb = JournalSuperblock::decode(block(log.superblock_at(size)), size, log.len()).unwrap();
    let (format, ring) = (sb.format(), Ring::of(&sb));
    let mut found = Vec::new();
    let Some(mut at) = sb.checked_start().unwrap() else { return (sb, found) };
    let mut tid = sb.sequence;
    let mut next = Logged::new(tid);
    let mut crc = !0;
    for _ in 0..ring.len() {
        let Some(header) = BlockHeader::decode(block(at)).filter(|it| it.tid == tid) else { break };
        match header.kind {
            BlockKind::Descriptor => {
                let descriptor = block(at);
                if format.check_tail(descriptor).is_err() {
                    break;
                }
                crc = crc32_be(crc, descriptor);
                for tag in tags(&format, descriptor) {
                    at = ring.next(at);
                    let mut data = block(at).to_vec();
                    crc = crc32_be(crc, &data);
                    // A tag that does not match is either an unfinished transaction or one that
                    // must not have been committed; the second shows up at the commit block.
                    let is_good = tag.check(&format, tid, &data).is_ok();
                    if tag.flags.contains(TagFlags::ESCAPE) {
                        unescape(&mut data);
                    }
                    next.blocks.push((tag.block, if is_good { data } else { Vec::new() }));
                }
            }
            BlockKind::Revoke => {
                if format.check_tail(block(at)).is_err() {
                    break;
                }
                next.revoked.extend(revokes(&format, block(at)).unwrap());
            }
            BlockKind::Commit => {
                match Commit::check(&format, block(at), crc) {
                    CommitCheck::Good | CommitCheck::Torn => {}
                    // Half of a commit block.
                    CommitCheck::Bad { .. } => break,
                }
                assert!(
                    next.blocks.iter().all(|(_, data)| !data.is_empty()),
                    "transaction {tid} is committed, but its blocks are not all there"
                );
                let commit = Commit::decode(block(at)).unwrap();
                next.time = Duration::new(commit.sec, commit.nsec);
                tid = tid.next();
                found.push(std::mem::replace(&mut next, Logged::new(tid)));
                crc = !0;
            }
            kind => panic!("{kind:?} in the log"),
        }
        at = ring.next(at);
    }
    if format.checksums == Checksums::V1 {
        assert!(sb.compat.contains(ext4_ondisk::jbd2::JournalCompat::CHECKSUM));
    }
    (sb, found)
}

/// What replay would write home.
pub(crate) fn homes(transactions: &[Logged]) -> BTreeMap<BlockNr, Version> {
    let mut homes = BTreeMap::new();
    for (i, tx) in transactions.iter().enumerate() {
        for (blk, data) in &tx.blocks {
            if !transactions[i..].iter().any(|later| later.revoked.contains(blk)) {
                homes.insert(*blk, data.clone());
            }
        }
    }
    homes
}

impl Logged {
    fn new(tid: Tid) -> Self {
        Self { tid, time: Duration::ZERO, blocks: Vec::new(), revoked: BTreeSet::new() }
    }
}
