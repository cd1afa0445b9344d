//! Writing home what the log holds.

use super::Scan;
use crate::{Error, Log, Result};
use ext4_blockdev::{AlignedBuf, BlockDevice};
use ext4_ondisk::{
    Corrupt,
    jbd2::{self, Class, Damage, LogFormat, Tag, TagFlags},
};
use ext4_units::{BlockNr, Tid};

/// Bytes of home blocks brought together before they are written.
const BATCH: usize = 8 << 20;

/// What a replay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Transactions replayed.
    pub transactions: u64,
    /// Home blocks written, each once.
    pub blocks: u64,
    /// Copies not written because a newer one of the same block was.
    pub superseded: u64,
    /// Copies not written because their block was revoked.
    pub revoked: u64,
}

/// The newest copy of one home block.
#[derive(Clone, Copy, Debug)]
struct Copy {
    home: BlockNr,
    at: u32,
    tid: Tid,
    checksum: u32,
    flags: TagFlags,
}

impl Scan {
    /// Writes the newest copy of each logged block home, ordered by block, and flushes the device.
    /// Refuses a log with damage. The log is not touched: until [`reset`](Self::reset) everything can
    /// be done again.
    ///
    /// `change` sees each block before it is written and may change it: the filesystem's superblock
    /// keeps its error history that way. That block is written alone, after all others are durable:
    /// should a crash tear it, nothing else depends on it any more.
    pub fn replay(
        &self,
        device: &dyn BlockDevice,
        log: &Log,
        change: &mut dyn FnMut(BlockNr, &mut [u8]),
    ) -> Result<Replayed> {
        self.verdict()?;
        if self.is_empty() {
            return Ok(Replayed::default());
        }
        let (copies, report) = self.plan();
        let format = self.superblock.format();
        let mut batch = Batch { device, log, format, change, buf: AlignedBuf::zeroed(0) };
        let (superblock, others): (Vec<_>, Vec<_>) =
            copies.into_iter().partition(|it| it.home == self.fs_superblock);
        for part in [others, superblock] {
            for copies in part.chunks((BATCH / format.block_size.len()).max(1)) {
                batch.write(copies)?;
            }
            if !part.is_empty() {
                device.flush().map_err(Error::Flush)?;
            }
        }
        Ok(report)
    }

    /// The home blocks that [`replay`](Self::replay) would write, in order.
    pub fn homes(&self) -> Vec<BlockNr> {
        self.plan().0.into_iter().map(|it| it.home).collect()
    }

    /// The newest copy of each block that is not revoked, by home block.
    fn plan(&self) -> (Vec<Copy>, Replayed) {
        let mut report =
            Replayed { transactions: self.transactions.len() as u64, ..Replayed::default() };
        let mut copies: Vec<Copy> = vec![];
        for tx in &self.transactions {
            for it in &tx.logged {
                if self.is_revoked(it.home, tx.tid) {
                    report.revoked += 1;
                } else {
                    copies.push(Copy {
                        home: it.home,
                        at: it.at,
                        tid: tx.tid,
                        checksum: it.checksum,
                        flags: it.flags,
                    });
                }
            }
        }
        // The sort is stable: among copies of one block the newest stays last.
        copies.sort_by_key(|it| it.home);
        let all = copies.len();
        copies.dedup_by(|next, kept| {
            let is_same = next.home == kept.home;
            if is_same {
                *kept = *next;
            }
            is_same
        });
        report.blocks = copies.len() as u64;
        report.superseded = (all - copies.len()) as u64;
        (copies, report)
    }
}

/// Home blocks on their way from the log.
struct Batch<'a> {
    device: &'a dyn BlockDevice,
    log: &'a Log,
    format: LogFormat,
    change: &'a mut dyn FnMut(BlockNr, &mut [u8]),
    buf: AlignedBuf,
}

impl Batch<'_> {
    /// Writes `copies`, which are ordered by home block.
    fn write(&mut self, copies: &[Copy]) -> Result<()> {
        let size = self.format.block_size;
        self.buf.resize(copies.len() * size.len());
        self.read(copies)?;
        for (copy, block) in copies.iter().zip(self.buf.chunks_exact_mut(size.len())) {
            let tag = Tag { block: copy.home, flags: copy.flags, checksum: copy.checksum };
            // Verified by the scan; this is what is really written.
            if let Err((found, expected)) = tag.check(&self.format, copy.tid, block) {
                let place = format!("copy of block {} in log block {}", copy.home, copy.at);
                let what = Corrupt::checksum(place, found, expected);
                return Err(Damage { class: Class::BadChecksum, what }.into());
            }
            if copy.flags.contains(TagFlags::ESCAPE) {
                jbd2::unescape(block);
            }
            (self.change)(copy.home, block);
        }
        let mut bytes = &self.buf[..];
        for run in copies.chunk_by(|a, b| a.home.0.checked_add(1) == Some(b.home.0)) {
            let (head, rest) = bytes.split_at(run.len() * size.len());
            bytes = rest;
            let Some(first) = run.first() else { continue };
            let blk = first.home;
            let at = blk.checked_byte(size).ok_or(Error::OutOfRange { blk })?;
            self.device.write_at(at, head).map_err(|source| Error::Io { blk, source })?;
        }
        Ok(())
    }

    /// Fills the buffer from the log, in the log's order: neighbours there come with one read.
    fn read(&mut self, copies: &[Copy]) -> Result<()> {
        let size = self.format.block_size;
        let mut order: Vec<usize> = (0..copies.len()).collect();
        order.sort_by_key(|&i| copies[i].at);
        // Neighbours in the log are as a rule neighbours at home, so that most runs land in place.
        let follows =
            |a: usize, b: usize| b == a + 1 && copies[a].at.checked_add(1) == Some(copies[b].at);
        for run in order.chunk_by(|&a, &b| follows(a, b)) {
            let Some(&first) = run.first() else { continue };
            let from = first * size.len();
            let part = &mut self.buf[from..from + run.len() * size.len()];
            self.log.read(self.device, size, copies[first].at, part)?;
        }
        Ok(())
    }
}
