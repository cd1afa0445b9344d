//! The log as its writer sees it: a ring of blocks, a head, and the transactions still needed.

use crate::{Error, Log, Options, Result, home::MAX_WRITE, log::Ring};
use ext4_blockdev::{AlignedBuf, BlockDevice};
use ext4_ondisk::jbd2::{
    BlockKind, DEFAULT_FC_BLOCKS, JournalCompat, JournalIncompat, JournalSuperblock, LogFormat,
    MIN_LOG_BLOCKS,
};
use ext4_units::{BlockSize, Tid};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use zerocopy::IntoBytes;

/// `-EIO`, what an abort records (`jbd2_journal_abort`).
const EIO: i32 = -5;

/// A committed transaction whose blocks are not all home: its part of the log must stay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Logged {
    pub(crate) tid: Tid,
    /// Its first block in the log.
    pub(crate) start: u32,
    /// How many blocks of the log it takes.
    pub(crate) len: u32,
}

/// The log and its superblock. One thread at a time commits or checkpoints.
#[derive(Debug)]
pub(crate) struct Writer {
    /// The filesystem's device.
    fs: Arc<dyn BlockDevice>,
    log: Log,
    ring: Ring,
    pub(crate) format: LogFormat,
    /// As on disk, or as it will be written next.
    sb: JournalSuperblock,
    /// Whether `sb` has features that the disk has not.
    is_sb_stale: bool,
    /// Whether the disk has a version 1 superblock.
    is_v1_on_disk: bool,
    /// Whether the disk's superblock has FAST_COMMIT.
    fc_on_disk: bool,
    /// Where the next block goes.
    head: u32,
    /// The id of the first transaction.
    first_tid: Tid,
    /// Oldest first, one behind the other in the ring.
    logged: VecDeque<Logged>,
    /// The time in the last commit block; the next is not less.
    last_commit: Duration,
}

impl Writer {
    /// Opens a log, which must be empty.
    pub(crate) fn open(
        fs: Arc<dyn BlockDevice>,
        size: BlockSize,
        log: Log,
        options: &Options,
    ) -> Result<Self> {
        let mut sb = log.read_superblock(&*fs, size)?;
        let resumed = options.resume.filter(|&at| at == (sb.start, sb.sequence));
        if sb.start != 0 && resumed.is_none() {
            return Err(Error::NeedsRecovery { start: sb.start });
        }
        let fc_on_disk = sb.incompat.contains(JournalIncompat::FAST_COMMIT);
        let is_v1_on_disk = sb.kind == BlockKind::SuperblockV1;
        if is_v1_on_disk {
            sb = as_v2(&sb, log.len())?;
        }
        let is_sb_stale = add_features(&mut sb, options) || is_v1_on_disk;
        // Going on where the last writer stopped is what the kernel does (JBD2_CYCLE_RECORD). The
        // first block is always right too, because transaction ids only grow.
        let in_ring = (sb.first..sb.ring_end()).contains(&sb.head);
        let head = resumed.map_or(if in_ring { sb.head } else { sb.first }, |(start, _)| start);
        let first_tid = resumed.map_or(sb.sequence.next(), |(_, tid)| tid);
        Ok(Self {
            fs,
            log,
            ring: Ring::of(&sb),
            format: sb.format(),
            sb,
            is_sb_stale,
            is_v1_on_disk,
            fc_on_disk,
            head,
            first_tid,
            logged: VecDeque::new(),
            last_commit: Duration::ZERO,
        })
    }

    /// Makes what was written to the log durable.
    pub(crate) fn flush(&self) -> Result<()> {
        self.log.device(&*self.fs).flush().map_err(Error::Flush)
    }

    /// The id of the first transaction: the one after `s_sequence`, which a writer that crashed
    /// may have begun to write (`jbd2_journal_recover`), unless [`Options::resume`] says otherwise.
    pub(crate) fn first_tid(&self) -> Tid {
        self.first_tid
    }

    /// Blocks in the ring.
    pub(crate) const fn len(&self) -> u32 {
        self.ring.len()
    }

    /// Blocks that can be written. One always stays free, or a full ring would look like an empty
    /// one.
    pub(crate) fn n_free(&self) -> u32 {
        self.len() - 1 - self.logged.iter().map(|it| it.len).sum::<u32>()
    }

    /// The transactions the log still needs, oldest first.
    pub(crate) fn logged(&self) -> impl ExactSizeIterator<Item = Logged> {
        self.logged.iter().copied()
    }

    /// How many blocks of the log a transaction takes: revoke blocks, descriptors, copies, commit.
    pub(crate) fn need(&self, n_blocks: usize, n_revoked: usize) -> u32 {
        let n = n_blocks
            .saturating_add(n_blocks.div_ceil(self.format.tags_per_descriptor()))
            .saturating_add(n_revoked.div_ceil(self.format.revokes_per_block()))
            .saturating_add(1);
        u32::try_from(n).unwrap_or(u32::MAX)
    }

    /// Prepares the superblock for a transaction, and writes it if the disk's does not do.
    ///
    /// Not flushed: the flush before the commit block covers it. A crash before that leaves an
    /// `s_start` at which there is no complete transaction, which is an empty log; the commit
    /// block never gets to the disk before it.
    pub(crate) fn begin(&mut self, tid: Tid, has_revokes: bool) -> Result<()> {
        let mut is_stale = self.is_sb_stale;
        if self.logged.is_empty() {
            self.sb.start = self.head;
            self.sb.sequence = tid;
            is_stale = true;
        }
        if has_revokes && !self.sb.incompat.contains(JournalIncompat::REVOKE) {
            self.sb.incompat.insert(JournalIncompat::REVOKE);
            is_stale = true;
        }
        if is_stale { self.write_superblock() } else { Ok(()) }
    }

    /// The time of the commit about to be made: never before that of the last one, because recovery
    /// tells the leftovers of an older log by it.
    pub(crate) fn commit_time(&mut self, now: Duration) -> Duration {
        self.last_commit = self.last_commit.max(now);
        self.last_commit
    }

    /// The uuid after the first tag of each descriptor.
    pub(crate) fn uuid(&self) -> [u8; 16] {
        self.sb.uuid
    }

    /// Whether the log has a device of its own.
    pub(crate) const fn is_external(&self) -> bool {
        self.log.is_external()
    }

    /// A batch of blocks that begins `n` blocks after the head.
    pub(crate) fn batch_at(&self, n: u32) -> Batch<'_> {
        let at = self.ring.advance(self.head, n);
        Batch { writer: self, at, buf: AlignedBuf::zeroed(0), n_pushed: 0 }
    }

    /// Moves the head over the `len` blocks of a transaction whose commit block is durable.
    pub(crate) fn advance(&mut self, tid: Tid, len: u32) {
        self.logged.push_back(Logged { tid, start: self.head, len });
        self.head = self.ring.advance(self.head, len);
    }

    /// Forgets the oldest `n` transactions, whose blocks are all home and durable, and makes that
    /// durable before their part of the log can be written again.
    ///
    /// A crash before the flush leaves the old tail: they are replayed once more, which changes
    /// nothing. With none left the log is empty.
    pub(crate) fn forget_oldest(&mut self, n: usize) -> Result<()> {
        if let Some(oldest) = self.logged.get(n) {
            self.sb.start = oldest.start;
            self.sb.sequence = oldest.tid;
        } else {
            if let Some(newest) = self.logged.back() {
                self.sb.sequence = newest.tid.next();
            }
            self.sb.start = 0;
            self.sb.head = self.head;
        }
        self.write_superblock()?;
        self.flush()?;
        self.logged.drain(..n);
        Ok(())
    }

    /// Makes sure that an empty log is said to be without fast commits, as after a clean unmount
    /// (`jbd2_mark_journal_empty`). An untouched log is not written.
    pub(crate) fn settle(&mut self) -> Result<()> {
        if self.logged.is_empty() && self.fc_on_disk { self.forget_oldest(0) } else { Ok(()) }
    }

    /// Records the failure that ended writing, if the device still takes it.
    pub(crate) fn record_abort(&mut self) {
        if self.sb.errno == 0 {
            self.sb.errno = EIO;
            // The journal is dead already; whoever opens it next learns of it or replays as ever.
            let _ = self.write_superblock().and_then(|()| self.flush());
        }
    }

    /// Writes the superblock. All that changes lies in one sector, so that a crash leaves the old
    /// or the new one.
    fn write_superblock(&mut self) -> Result<()> {
        let mut sb = self.sb.clone();
        if sb.start == 0 {
            sb.incompat.remove(JournalIncompat::FAST_COMMIT);
        }
        if self.is_v1_on_disk {
            let size = sb.block_size;
            self.log.write(&*self.fs, size, self.log.superblock_at(size), &sb.encode())?;
        } else {
            self.log.write_superblock(&*self.fs, &sb)?;
        }
        self.is_v1_on_disk = false;
        self.is_sb_stale = false;
        self.fc_on_disk = sb.incompat.contains(JournalIncompat::FAST_COMMIT);
        Ok(())
    }
}

/// A version 1 superblock turned into version 2, as the kernel does when it needs a feature: what
/// lies behind the fields of version 1 means nothing yet.
fn as_v2(v1: &JournalSuperblock, log_len: u64) -> Result<JournalSuperblock> {
    const V1_LEN: usize = 0x24;
    let mut raw = *v1.raw();
    raw.as_mut_bytes()[V1_LEN..].fill(0);
    raw.s_header.h_blocktype.set(BlockKind::SuperblockV2.raw());
    raw.s_nr_users.set(1);
    Ok(JournalSuperblock::decode(raw.as_bytes(), v1.block_size, log_len)?)
}

/// Gives an empty log the features a mount would give it; whether that changed anything.
fn add_features(sb: &mut JournalSuperblock, options: &Options) -> bool {
    let before = (sb.compat, sb.incompat);
    if options.is_64bit {
        sb.incompat.insert(JournalIncompat::BIT64);
    }
    if options.metadata_csum && !sb.checksums().per_block() {
        sb.compat.remove(JournalCompat::CHECKSUM);
        sb.incompat.insert(JournalIncompat::CSUM_V3);
    }
    // While the log is in use the ring ends where the kernel's would. Were it longer, a kernel
    // that replays it could find its head inside what it takes for the fast-commit area.
    if options.fast_commit {
        let fc_blocks = match sb.raw().s_num_fc_blks.get() {
            0 => DEFAULT_FC_BLOCKS,
            n => n,
        };
        if sb.max_len.checked_sub(fc_blocks).is_some_and(|rest| rest >= MIN_LOG_BLOCKS) {
            sb.incompat.insert(JournalIncompat::FAST_COMMIT);
            sb.fc_blocks = fc_blocks;
        }
    }
    before != (sb.compat, sb.incompat)
}

/// Blocks that go one behind the other into the log, as few writes as possible.
pub(crate) struct Batch<'a> {
    writer: &'a Writer,
    /// The log block of the first block in `buf`.
    at: u32,
    buf: AlignedBuf,
    n_pushed: u32,
}

impl Batch<'_> {
    /// Appends one block and hands out its copy in memory, to be changed before the next is pushed.
    pub(crate) fn push(&mut self, data: &[u8]) -> Result<&mut [u8]> {
        let size = self.writer.format.block_size;
        let n = size.blocks_for(self.buf.len() as u64);
        let n = u32::try_from(n).expect("a batch in memory has at most a MiB");
        let is_full = self.buf.len() + size.len() > MAX_WRITE;
        if n > 0 && (is_full || n >= self.writer.ring.until_wrap(self.at)) {
            self.write()?;
        }
        let from = self.buf.len();
        self.buf.resize(from + size.len());
        self.n_pushed += 1;
        let slot = self.buf.get_mut(from..).expect("made just now");
        slot.copy_from_slice(data);
        Ok(slot)
    }

    /// Writes what is still in memory and tells how many blocks were pushed; not flushed.
    pub(crate) fn finish(mut self) -> Result<u32> {
        self.write()?;
        Ok(self.n_pushed)
    }

    fn write(&mut self) -> Result<()> {
        let size = self.writer.format.block_size;
        self.writer.log.write(&*self.writer.fs, size, self.at, &self.buf)?;
        let n = size.blocks_for(self.buf.len() as u64);
        let n = u32::try_from(n).expect("a batch in memory has at most a MiB");
        self.at = self.writer.ring.advance(self.at, n);
        self.buf.resize(0);
        Ok(())
    }
}
