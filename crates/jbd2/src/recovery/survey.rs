//! Everything that lies in the ring, live or not: for looking at, not for recovery.

use super::{Logged, reader::LogReader};
use crate::{Log, Result, Ring};
use ext4_blockdev::BlockDevice;
use ext4_ondisk::jbd2::{
    self, BlockHeader, BlockKind, Commit, CommitCheck, JournalSuperblock, LogFormat,
};
use ext4_units::{BlockNr, Tid};

/// A block of the ring that has a journal header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The log block.
    pub at: u32,
    /// The transaction.
    pub tid: Tid,
    /// What it is.
    pub kind: RecordKind,
}

/// What a [`Record`] holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A descriptor. In a leftover one the blocks after it may since be something else.
    Descriptor {
        /// Its tags, with the log blocks where their copies should be.
        logged: Vec<Logged>,
        /// Whether its checksum is good (or the log has none).
        is_sound: bool,
    },
    /// Revoke records.
    Revoke {
        /// The blocks; `None` when the count makes no sense.
        blocks: Option<Vec<BlockNr>>,
        /// Whether its checksum is good (or the log has none).
        is_sound: bool,
    },
    /// A commit block.
    Commit {
        /// Seconds since 1970.
        sec: u64,
        /// Nanoseconds.
        nsec: u32,
        /// Its own checksum; `None` for the v1 one, which covers the transaction and not the block.
        check: Option<CommitCheck>,
    },
    /// Something else with a header.
    Other(u32),
}

/// All records in the ring, once round from where the log starts, or from where the next transaction
/// would go when it is empty. Blocks without a header (logged blocks, and what was never written)
/// are passed over.
pub fn survey<'a>(
    device: &'a dyn BlockDevice,
    log: &'a Log,
    superblock: &JournalSuperblock,
) -> Survey<'a> {
    let ring = Ring::of(superblock);
    let is_in_ring = |at: &u32| (ring.first..ring.end).contains(at);
    let from = [superblock.start, superblock.head].into_iter().find(is_in_ring);
    let reader = LogReader::new(device, log, superblock.block_size, superblock.max_len);
    Survey {
        reader,
        format: superblock.format(),
        ring,
        at: from.unwrap_or(ring.first),
        left: ring.len(),
    }
}

/// Iterator of [`survey`]. An unreadable block is an error in its place; the rest follows.
#[derive(Debug)]
pub struct Survey<'a> {
    reader: LogReader<'a>,
    format: LogFormat,
    ring: Ring,
    at: u32,
    left: u32,
}

impl Survey<'_> {
    /// Only what lies in the first `n` blocks.
    #[must_use]
    pub fn first(mut self, n: u32) -> Self {
        self.left = self.left.min(n);
        self
    }
}

impl Iterator for Survey<'_> {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Result<Record>> {
        while self.left > 0 {
            let at = self.at;
            self.at = self.ring.next(at);
            self.left -= 1;
            let block = match self.reader.block(at) {
                Ok(block) => block,
                Err(err) => return Some(Err(err)),
            };
            if let Some(BlockHeader { kind, tid }) = BlockHeader::decode(block) {
                let kind = record(self.format, self.ring, at, kind, block);
                return Some(Ok(Record { at, tid, kind }));
            }
        }
        None
    }
}

/// What a block with a header of kind `kind` holds.
fn record(format: LogFormat, ring: Ring, at: u32, kind: BlockKind, block: &[u8]) -> RecordKind {
    let is_sound = format.check_tail(block).is_ok();
    match kind {
        BlockKind::Descriptor => {
            let positions = std::iter::successors(Some(ring.next(at)), |&at| Some(ring.next(at)));
            let logged = jbd2::tags(&format, block).zip(positions).map(|(tag, at)| Logged {
                home: tag.block,
                at,
                checksum: tag.checksum,
                flags: tag.flags,
            });
            RecordKind::Descriptor { logged: logged.collect(), is_sound }
        }
        BlockKind::Revoke => {
            let blocks = jbd2::revokes(&format, block).ok().map(Iterator::collect);
            RecordKind::Revoke { blocks, is_sound }
        }
        BlockKind::Commit => {
            let is_own = format.checksums != jbd2::Checksums::V1;
            let check = is_own.then(|| Commit::check(&format, block, 0));
            let (sec, nsec) = Commit::decode(block).map_or((0, 0), |it| (it.sec, it.nsec));
            RecordKind::Commit { sec, nsec, check }
        }
        BlockKind::SuperblockV1 | BlockKind::SuperblockV2 | BlockKind::Unknown(_) => {
            RecordKind::Other(kind.raw())
        }
    }
}
