//! The pass over the log that finds its end and verifies each block as it goes by (`do_one_pass`
//! with `PASS_SCAN`).

use super::{CommitInfo, LogEnd, Logged, Scan, Transaction, reader::LogReader};
use crate::{Log, Result, Ring};
use ext4_blockdev::BlockDevice;
use ext4_ondisk::{
    Corrupt,
    checksum::crc32_be,
    jbd2::{self, BlockHeader, BlockKind, Checksums, Class, Commit, CommitCheck, LogFormat, Tag},
};
use ext4_units::Tid;
use std::collections::HashMap;

/// Why a logged block cannot be written home.
#[derive(Clone, Copy, Debug)]
pub(super) enum BadCopy {
    /// The device does not give it.
    Unreadable,
    /// It is not what its tag says.
    Checksum { found: u32, expected: u32 },
}

/// What the pass found that matters only if the log would be replayed but for it.
#[derive(Debug, Default)]
pub(super) struct Bad {
    /// Logged blocks by log block. One that is revoked does no harm.
    pub(super) copies: HashMap<u32, BadCopy>,
    /// A bad commit block; the kernel tells of it last, after replaying what came before.
    pub(super) failed_commit: Option<(Tid, u32, Corrupt)>,
}

/// How much of what the pass sees still counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// All of it.
    Live,
    /// A commit with a wrong checksum, in a log with asynchronous commits, was the end; damage can
    /// still turn up behind it.
    AfterBadCommit,
    /// Only the transaction ids: what follows on must not come back to life later.
    Ids,
}

struct Pass<'a> {
    format: LogFormat,
    ring: Ring,
    reader: LogReader<'a>,
    mode: Mode,
    /// The next log block.
    at: u32,
    /// How many blocks of the ring were taken so far.
    taken: u64,
    /// The transaction being read.
    current: Transaction,
    /// Commit time of the transaction before; 0 at first.
    last_sec: u64,
    /// A descriptor or revoke block of the current transaction with a bad checksum. What that means
    /// is decided by the time in the commit block.
    suspect: Option<(u32, Corrupt)>,
    /// The v1 checksum of the current transaction; `None` when a block of it could not be read.
    crc: Option<u32>,
    bad: Bad,
}

/// Walks the log from `start`, filling in all of `scan` but revokes and fast commits.
pub(super) fn run(scan: &mut Scan, device: &dyn BlockDevice, log: &Log, start: u32) -> Result<Bad> {
    let superblock = &scan.superblock;
    let format = superblock.format();
    let mut pass = Pass {
        format,
        ring: scan.ring(),
        reader: LogReader::new(device, log, format.block_size, superblock.max_len),
        mode: Mode::Live,
        at: start,
        taken: 0,
        current: Transaction::new(superblock.sequence, start),
        last_sec: 0,
        suspect: None,
        crc: Some(!0),
        bad: Bad::default(),
    };
    scan.head = start;
    let end = loop {
        match pass.step(scan) {
            Ok(None) => {}
            Ok(Some(end)) => break end,
            // Behind the end nothing is needed any more.
            Err(_) if pass.mode == Mode::Ids => break LogEnd::Damaged,
            Err(err) => return Err(err),
        }
    };
    if pass.mode == Mode::Live {
        pass.set_end(scan, end);
    }
    scan.next = pass.current.tid.next();
    Ok(pass.bad)
}

impl Pass<'_> {
    /// Takes the next block of the log with all that belongs to it; `Some` when the log ends there.
    fn step(&mut self, scan: &mut Scan) -> Result<Option<LogEnd>> {
        let at = self.at;
        let Some(header) = BlockHeader::decode(self.reader.block(at)?) else {
            return Ok(Some(LogEnd::NoHeader));
        };
        if header.tid != self.current.tid {
            return Ok(Some(LogEnd::OtherTransaction(header.tid)));
        }
        // Only a forged log can go on after a whole round: one transaction without a commit block. The
        // kernel would go round for ever.
        if self.taken >= u64::from(self.ring.len()) {
            if self.mode != Mode::Ids {
                let fault = Corrupt::new("log", "runs over its own start");
                scan.report(Class::Corrupt, header.tid, at, fault);
            }
            return Ok(Some(LogEnd::Damaged));
        }
        match header.kind {
            BlockKind::Descriptor => self.descriptor()?,
            BlockKind::Revoke => self.revoke(scan)?,
            BlockKind::Commit => return self.commit(scan),
            BlockKind::SuperblockV1 | BlockKind::SuperblockV2 | BlockKind::Unknown(_) => {
                return Ok(Some(LogEnd::UnknownKind(header.kind.raw())));
            }
        }
        Ok(None)
    }

    /// Moves on by `n` blocks, which belong to the current transaction.
    fn take(&mut self, n: u32) {
        self.at = self.ring.advance(self.at, n);
        self.taken += u64::from(n);
        self.current.blocks = self.current.blocks.saturating_add(n);
    }

    /// A descriptor and the blocks after it.
    fn descriptor(&mut self) -> Result<()> {
        let at = self.at;
        let block = self.reader.block(at)?;
        if let Err((found, expected)) = self.format.check_tail(block) {
            let fault = Corrupt::checksum("descriptor", found, expected);
            self.suspect.get_or_insert((at, fault));
        }
        let tags: Vec<Tag> = jbd2::tags(&self.format, block).collect();
        if self.format.checksums == Checksums::V1 {
            self.crc = self.crc.map(|crc| crc32_be(crc, block));
        }
        self.take(1);
        for tag in &tags {
            // The tags of a bad descriptor say nothing about the blocks.
            if self.mode == Mode::Live && self.suspect.is_none() {
                self.copy(tag);
            }
            self.take(1);
        }
        self.current.descriptors += 1;
        Ok(())
    }

    /// A logged block.
    fn copy(&mut self, tag: &Tag) {
        let at = self.at;
        let Tag { block: home, flags, checksum } = *tag;
        self.current.logged.push(Logged { home, at, checksum, flags });
        match self.reader.block(at) {
            Err(_) => {
                self.crc = None;
                self.bad.copies.insert(at, BadCopy::Unreadable);
            }
            Ok(block) => {
                if self.format.checksums == Checksums::V1 {
                    self.crc = self.crc.map(|crc| crc32_be(crc, block));
                } else if let Err((found, expected)) =
                    tag.check(&self.format, self.current.tid, block)
                {
                    self.bad.copies.insert(at, BadCopy::Checksum { found, expected });
                }
            }
        }
    }

    /// A block of revoke records.
    fn revoke(&mut self, scan: &mut Scan) -> Result<()> {
        let at = self.at;
        let block = self.reader.block(at)?;
        if let Err((found, expected)) = self.format.check_tail(block) {
            let fault = Corrupt::checksum("revoke block", found, expected);
            self.suspect.get_or_insert((at, fault));
        }
        match jbd2::revokes(&self.format, block).map(|it| it.len()) {
            Ok(count) => {
                self.current.revoke_count += count as u64;
                self.current.revoke_blocks.push(at);
            }
            // The kernel counts records as it comes to them, and fails at once: before it looks at
            // checksums, and whether there is a commit block or not.
            Err(damage) if self.mode != Mode::Ids => {
                scan.report(damage.class, self.current.tid, at, damage.what);
                self.end(scan, LogEnd::Damaged);
            }
            Err(_) => {}
        }
        self.take(1);
        Ok(())
    }

    /// A commit block: what came before it in its transaction counts, or not.
    fn commit(&mut self, scan: &mut Scan) -> Result<Option<LogEnd>> {
        let at = self.at;
        let block = self.reader.block(at)?;
        let commit =
            Commit::decode(block).unwrap_or(Commit { tid: self.current.tid, sec: 0, nsec: 0 });
        let check = match (self.format.checksums, self.crc) {
            // A block could not be read: that is what is wrong, and is told for that block.
            (Checksums::V1, None) => CommitCheck::Good,
            (_, crc) => Commit::check(&self.format, block, crc.unwrap_or(!0)),
        };
        // Times only grow: an older one was there before the log came round to it, or before the
        // journal was made.
        let is_older = commit.sec < self.last_sec;
        let tid = self.current.tid;
        if let Some((bad_at, fault)) = self.suspect.take() {
            if is_older {
                return Ok(Some(LogEnd::Stale));
            }
            if self.mode != Mode::Ids {
                scan.report(Class::BadChecksum, tid, bad_at, fault);
                self.end(scan, LogEnd::Damaged);
            }
        } else if self.mode == Mode::AfterBadCommit && self.format.checksums == Checksums::V1 {
            // A later commit was begun, so the bad one had been complete.
            let fault = Corrupt::new("commit block", "follows one with a wrong checksum");
            self.bad.failed_commit = Some((tid, at, fault));
            scan.log_end = LogEnd::Damaged;
            self.mode = Mode::Ids;
        } else if let CommitCheck::Bad { found, expected } = check {
            if is_older {
                return Ok(Some(LogEnd::Stale));
            }
            if self.mode == Mode::Live && self.format.async_commit {
                self.set_end(scan, LogEnd::BadCommit);
                self.mode = Mode::AfterBadCommit;
            } else if self.mode == Mode::Live {
                let fault = Corrupt::checksum("commit block", found, expected);
                self.bad.failed_commit = Some((tid, at, fault));
                self.end(scan, LogEnd::Damaged);
            }
        }
        self.take(1);
        self.last_sec = commit.sec;
        self.crc = Some(!0);
        let next = Transaction::new(tid.next(), self.at);
        let mut done = std::mem::replace(&mut self.current, next);
        if self.mode == Mode::Live {
            done.commit = Some(CommitInfo {
                at,
                sec: commit.sec,
                nsec: commit.nsec,
                is_torn: check == CommitCheck::Torn,
            });
            scan.transactions.push(done);
            scan.head = self.at;
        }
        Ok(None)
    }

    /// The current transaction is the first that is not complete.
    fn set_end(&self, scan: &mut Scan, end: LogEnd) {
        scan.end = self.current.tid;
        scan.log_end = end;
        if self.current.blocks > 0 {
            scan.incomplete = Some(self.current.clone());
        }
    }

    /// As [`set_end`](Self::set_end), unless the end is known already; from here on only ids count.
    fn end(&mut self, scan: &mut Scan, end: LogEnd) {
        if self.mode == Mode::Live {
            self.set_end(scan, end);
        }
        scan.log_end = end;
        self.mode = Mode::Ids;
    }
}
