//! Recovery after a crash: reads and verifies the whole log, then writes home what it holds.
//!
//! [`scan`] never writes. [`Scan::replay`] writes homes and never the log; [`Scan::reset`] then marks
//! the log empty. A crash between any two writes leaves the log as it was, so that all of it can be
//! done again.
//!
//! What is accepted and refused follows `jbd2_journal_recover`, with one difference: the kernel
//! writes as it verifies, and can leave half a log replayed when it comes to a bad block. Here
//! nothing is written before every block has been verified, and then nothing that is damaged.

mod fast_commit;
mod finding;
mod pass;
mod reader;
mod replay;
mod revoked;
mod survey;
mod transaction;

pub use fast_commit::{FastCommitEnd, FastCommits, Ops};
pub use finding::Finding;
pub use replay::Replayed;
pub use survey::{Record, RecordKind, Survey, survey};
pub use transaction::{CommitInfo, Logged, Transaction};

use crate::{Error, Log, Result, Ring};
use ext4_blockdev::BlockDevice;
use ext4_ondisk::{
    Corrupt,
    jbd2::{BlockHeader, BlockKind, Class, Damage, JournalSuperblock},
};
use ext4_units::{BlockNr, BlockRange, BlockSize, Tid};
use std::collections::HashMap;

/// What recovery must know of the filesystem.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The filesystem's block size, which the journal's must equal.
    pub block_size: BlockSize,
    /// The blocks that the log may name: all of the filesystem. While a filesystem is being grown its
    /// log names blocks beyond the old end; then this is all of the device.
    pub home: BlockRange,
    /// The filesystem's inode size, for fast commits.
    pub inode_size: u16,
    /// Whether the filesystem has RO_COMPAT `metadata_csum`. A non-empty log with a version 1
    /// superblock is then refused: it cannot say which layout its tags have, and the kernel replays
    /// garbage from it.
    pub metadata_csum: bool,
}

/// How the log ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogEnd {
    /// `s_start` is 0: nothing to be replayed, not even fast commits.
    Empty,
    /// A block that is not the journal's.
    NoHeader,
    /// A block of another transaction, mostly a leftover.
    OtherTransaction(Tid),
    /// A block of no known kind.
    UnknownKind(u32),
    /// Damaged blocks that are older than what comes before them: leftovers of an older journal.
    Stale,
    /// A commit block with a wrong checksum: with ASYNC_COMMIT that of a commit which was cut off.
    BadCommit,
    /// Blocks that are damaged.
    Damaged,
}

/// What lies in the log. Holds where things are, never their contents: at most some 24 bytes for each
/// block of the log.
#[derive(Debug)]
pub struct Scan {
    /// The journal superblock as it was read.
    pub superblock: JournalSuperblock,
    /// The complete transactions, oldest first: what is to be replayed.
    pub transactions: Vec<Transaction>,
    /// What there is of a transaction that has no commit block, or not a good one. Its contents are
    /// not verified.
    pub incomplete: Option<Transaction>,
    /// The first transaction that is not complete. Fast commits are for this one.
    pub end: Tid,
    /// `s_sequence` after the recovery: greater than that of any block that follows on in the log,
    /// so that none of them can ever be taken for a new one.
    pub next: Tid,
    /// The log block where the next transaction goes.
    pub head: u32,
    /// How the log ended.
    pub log_end: LogEnd,
    /// The fast commits on top of the transactions.
    pub fast_commits: FastCommits,
    /// What is damaged, in the order in which the kernel comes to it; the first decides the errno.
    /// At most [`Finding::MAX`].
    pub findings: Vec<Finding>,
    /// How many findings there were in all.
    pub finding_count: u64,
    /// The blocks of the log that are revoked, with the last transaction that did so.
    revoked: HashMap<BlockNr, Tid>,
    /// Home block of the filesystem's superblock.
    fs_superblock: BlockNr,
}

/// Reads the log and verifies all of it: superblock, descriptors, commits, revokes, each logged
/// block, fast commits. Writes nothing.
///
/// An `Err` is a log that cannot be read at all (the journal superblock, the device); damage inside
/// the log is told by [`Scan::verdict`].
pub fn scan(device: &dyn BlockDevice, log: &Log, options: &Options) -> Result<Scan> {
    let superblock = log.read_superblock(device, options.block_size)?;
    let start = superblock.checked_start()?;
    if start.is_some() && options.metadata_csum && superblock.kind == BlockKind::SuperblockV1 {
        return Err(Error::Damaged(Damage::invalid(Corrupt::new(
            "journal superblock",
            "version 1 with a log to be replayed, expected version 2 with metadata_csum",
        ))));
    }
    let mut scan = Scan::empty(superblock, options);
    if let Some(start) = start {
        let bad = pass::run(&mut scan, device, log, start)?;
        if scan.log_end != LogEnd::Damaged {
            scan.fast_commits = fast_commit::scan(&mut scan, device, log, options.inode_size);
        }
        scan.collect_revokes(device, log)?;
        scan.verify_logged(log, options.home, &bad);
        if let Some((tid, at, fault)) = bad.failed_commit {
            scan.report(Class::Corrupt, tid, at, fault);
        }
    }
    Ok(scan)
}

impl Scan {
    /// The scan of an empty log.
    fn empty(superblock: JournalSuperblock, options: &Options) -> Self {
        Self {
            transactions: vec![],
            incomplete: None,
            end: superblock.sequence,
            next: superblock.sequence,
            head: superblock.head,
            log_end: LogEnd::Empty,
            fast_commits: FastCommits::none(options.inode_size),
            findings: vec![],
            finding_count: 0,
            revoked: HashMap::new(),
            fs_superblock: BlockNr(1024 >> options.block_size.bits()),
            superblock,
        }
    }

    /// Whether there is nothing in the log.
    pub fn is_empty(&self) -> bool {
        self.log_end == LogEnd::Empty
    }

    /// The ring that the log is.
    pub const fn ring(&self) -> Ring {
        Ring::of(&self.superblock)
    }

    /// Whether the log may be replayed, and if not, why: the first finding.
    pub fn verdict(&self) -> std::result::Result<(), Damage> {
        match self.findings.first() {
            None => Ok(()),
            Some(finding) => Err(finding.damage.clone()),
        }
    }

    /// Whether a copy of `block` in transaction `tid` must not be replayed.
    /// `jbd2_journal_test_revoke`.
    pub fn is_revoked(&self, block: BlockNr, tid: Tid) -> bool {
        self.revoked.get(&block).is_some_and(|by| by.is_at_or_after(tid))
    }

    /// How many of the blocks in the log are revoked by some transaction.
    pub fn revoked_blocks(&self) -> usize {
        self.revoked.len()
    }

    /// Marks the log empty, in one sector, and makes that durable: `s_start` 0, `s_sequence`
    /// [`next`](Self::next), `s_head`, no `s_errno`. Returns what the superblock now is.
    ///
    /// To be called when everything is home and durable; or, to throw a damaged log away, instead.
    /// Writes nothing when there is nothing to change.
    pub fn reset(&self, device: &dyn BlockDevice, log: &Log) -> Result<JournalSuperblock> {
        let mut superblock = self.superblock.clone();
        if self.is_empty() && superblock.errno == 0 {
            return Ok(superblock);
        }
        superblock.start = 0;
        superblock.sequence = self.next;
        superblock.head = self.head;
        superblock.errno = 0;
        log.write_superblock(device, &superblock)?;
        log.device(device).flush().map_err(Error::Flush)?;
        Ok(superblock)
    }

    /// Takes the transactions out of the log, in one sector and durably, and leaves the fast commits:
    /// `s_start` and `s_sequence` say where the transaction goes that the fast commits are for.
    /// Returns both, for [`Options::resume`](crate::Options::resume).
    ///
    /// To be called when the transactions are home and durable. A crash before the next commit
    /// comes to the same fast commits again.
    pub fn keep_fast_commits(&self, device: &dyn BlockDevice, log: &Log) -> Result<(u32, Tid)> {
        let mut superblock = self.superblock.clone();
        superblock.start = self.head;
        superblock.sequence = self.end;
        superblock.errno = 0;
        let is_there = (self.superblock.start, self.superblock.sequence) == (self.head, self.end);
        let size = self.superblock.block_size;
        let mut block = vec![0; size.len()];
        log.read(device, size, self.head, &mut block)?;
        if BlockHeader::decode(&block).is_some_and(|header| header.tid == self.end) {
            // A leftover which is known for one by the transactions before it only.
            log.write(device, size, self.head, &vec![0; size.len()])?;
            log.device(device).flush().map_err(Error::Flush)?;
        }
        if !is_there || self.superblock.errno != 0 {
            log.write_superblock(device, &superblock)?;
            log.device(device).flush().map_err(Error::Flush)?;
        }
        Ok((self.head, self.end))
    }

    /// Remembers damage.
    fn report(&mut self, class: Class, tid: Tid, at: u32, fault: Corrupt) {
        self.finding_count += 1;
        if self.findings.len() < Finding::MAX {
            self.findings.push(Finding::new(class, tid, at, fault));
        }
    }
}
