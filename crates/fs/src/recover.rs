//! Bringing a filesystem back after a crash, as a mount would: replay the log, keep the history of
//! errors, then finish what is on the orphan record.
//!
//! A crash in here is like the one before: the log stays as it is until everything is home and
//! durable, and orphans are finished through the log.

use crate::{
    Error, Filesystem, Orphan, Result, mmp,
    open::Writing,
    pages::Delayed,
    superblock::{self, Found},
};
use ext4_blockdev::{BlockDevice, Overlay};
use ext4_jbd2::{
    Clock, Journal, Log,
    recovery::{self, Replayed, Scan},
};
use ext4_ondisk::{
    Corrupt,
    features::{Compat, Incompat, Operation, RoCompat, Unsupported, check},
    superblock::{RawSuperblock, State, Superblock, keep_error_history},
};
use ext4_units::{BlockNr, InodeNr, Tid};
use std::{fmt, sync::Arc};

/// What recovery needs besides the device.
#[derive(Clone, Debug)]
pub struct Options {
    /// The time of what it changes.
    pub clock: Clock,
    /// The device of an external journal.
    pub journal_device: Option<Arc<dyn BlockDevice>>,
    /// For tests: each handle gets a transaction of its own.
    pub commit_every_handle: bool,
    /// How far to go.
    pub scope: Scope,
    /// Asked between two steps whether to end with [`Error::Stopped`].
    pub stop: Option<Stop>,
    /// How buffered writes are done afterwards.
    pub delayed: Delayed,
}

impl Options {
    /// Recovery by this clock, the log inside the filesystem, to be written to afterwards.
    pub const fn new(clock: Clock) -> Self {
        Self {
            clock,
            journal_device: None,
            commit_every_handle: false,
            scope: Scope::Write,
            stop: None,
            delayed: Delayed::DEFAULT,
        }
    }

    fn check_stop(&self) -> Result<()> {
        match &self.stop {
            Some(stop) if stop.is_requested() => Err(Error::Stopped),
            _ => Ok(()),
        }
    }
}

/// How far recovery goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of it; a feature that cannot be written is an error, after the replay.
    Write,
    /// As much as the features allow: with one that cannot be written the log is replayed and the
    /// orphans are left ([`Report::held_back`]), as at a read-only mount.
    Possible,
    /// The log only.
    Replay,
}

/// Whether somebody wants recovery to stop: a signal came.
#[derive(Clone)]
pub struct Stop(Arc<dyn Fn() -> bool + Send + Sync>);

impl Stop {
    /// Asks `is_requested` between steps.
    pub fn new(is_requested: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is_requested))
    }

    /// Whether to stop.
    pub fn is_requested(&self) -> bool {
        (self.0)()
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stop")
    }
}

/// What recovery did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Report {
    /// The superblock's last write had been cut in two, and was made whole.
    pub mended_superblock: bool,
    /// The log, when it held anything.
    pub replayed: Option<Replayed>,
    /// The log held transactions, but `needs_recovery` was clear: it was thrown away, as the kernel
    /// does.
    pub discarded_log: bool,
    /// The error that the journal had recorded (`s_errno`); the filesystem is marked as having
    /// errors.
    pub journal_errno: i32,
    /// Operations of fast commits.
    pub fast_commit_ops: u64,
    /// The inodes that fast commits changed, in order.
    pub fast_commit_inodes: Vec<InodeNr>,
    /// The recorded inodes, in the order they were dealt with.
    pub orphans: Vec<Orphan>,
    /// The first inode of the orphan list, which was dropped unread because errors are recorded.
    pub dropped_list: Option<u32>,
    /// Whether there are orphans on record that were left: [`Scope`] says why.
    pub orphans_left: bool,
    /// The features that cannot be written, so that orphans are left.
    pub held_back: Option<Unsupported>,
    /// The superblock's counts of free blocks and inodes were not the sums over the groups, which
    /// is normal after a crash.
    pub corrected_counts: bool,
    /// Errors are recorded in the superblock: a full check is due.
    pub has_errors: bool,
}

impl Report {
    /// Whether there was nothing to do.
    pub fn is_clean(&self) -> bool {
        !self.mended_superblock
            && self.replayed.is_none()
            && !self.discarded_log
            && self.journal_errno == 0
            && self.orphans.is_empty()
            && self.dropped_list.is_none()
            && !self.corrected_counts
    }
}

/// A filesystem open for writing, and what it took to get there.
#[derive(Debug)]
pub struct Recovered {
    /// The filesystem. [`Filesystem::close`] it, or the log stays in use.
    pub fs: Filesystem,
    /// What was done.
    pub report: Report,
}

/// Opens a filesystem for writing, recovering it first where needed.
///
/// On a clean filesystem nothing is written. On an error the device is as far as recovery had come,
/// and can be recovered again.
#[expect(clippy::needless_pass_by_value, reason = "the filesystem keeps it")]
pub fn recover(device: Arc<dyn BlockDevice>, options: &Options) -> Result<Recovered> {
    let mut report = Report::default();
    let fs = recover_into(&device, options, &mut report)?;
    Ok(Recovered { fs, report })
}

/// As [`recover`], with the report kept up to date on the way: it says what was done before an
/// error, too. With another scope than [`Scope::Write`] the filesystem may come back open for
/// reading only.
pub fn recover_into(
    device: &Arc<dyn BlockDevice>,
    options: &Options,
    report: &mut Report,
) -> Result<Filesystem> {
    let raw = superblock::read_raw(&**device)?;
    // Anything else on the device is told as that, not as the first field that makes no sense.
    Superblock::check_magic(&raw)?;
    let sb = Superblock::decode_unverified(&raw)?;
    mmp::check(&**device, &sb)?;
    if has_fast_commits(device, options)? {
        // What they say is known to make sense only when it is done: refused before the first write.
        let rehearsal = Options {
            journal_device: options.journal_device.clone().map(in_memory),
            scope: Scope::Replay,
            ..options.clone()
        };
        run(&in_memory(Arc::clone(device)), &rehearsal, &mut Report::default())?;
    }
    run(device, options, report)
}

/// Whether there are fast commits to be applied. Damage is found by the recovery itself.
fn has_fast_commits(device: &Arc<dyn BlockDevice>, options: &Options) -> Result<bool> {
    let sb = Superblock::decode_unverified(&superblock::read_raw(&**device)?)?;
    if !sb.features.has_compat(Compat::FAST_COMMIT)
        || check(Operation::Replay, sb.features).is_err()
    {
        return Ok(false);
    }
    let log = reader(device, sb.clone())?.find_log(options.journal_device.as_ref())?;
    let Some(log) = log else { return Ok(false) };
    Ok(scan_log(device, &log, &sb)?.fast_commits.commits > 0)
}

fn in_memory(device: Arc<dyn BlockDevice>) -> Arc<dyn BlockDevice> {
    Arc::new(Overlay::new(device))
}

fn run(
    device: &Arc<dyn BlockDevice>,
    options: &Options,
    report: &mut Report,
) -> Result<Filesystem> {
    let found = find_superblock(device, options, report)?;
    let sb = found.superblock;
    check(Operation::Replay, sb.features)?;
    let reader = reader(device, sb.clone())?;
    let log = reader.find_log(options.journal_device.as_ref())?;
    let mut sb = sb;
    options.check_stop()?;
    if let Some(log) = &log {
        let scan = scan_log(device, log, &sb)?;
        if !scan.is_empty() || sb.features.has_incompat(Incompat::RECOVER) {
            mmp::claim(&**device, &sb)?;
        }
        let place = reader.geometry().superblock_place();
        replay_log(device, log, &scan, &found.raw, place, report)?;
        sb = superblock::read(&**device)?.superblock;
        if sb.features.has_incompat(Incompat::RECOVER) {
            apply_fast_commits(device, log, &sb, options, report)?;
            sb = superblock::read(&**device)?.superblock;
        }
    }
    let writable = check(Operation::Write, sb.features);
    if options.scope == Scope::Replay || (options.scope == Scope::Possible && writable.is_err()) {
        report.held_back = writable.err();
        sb = mark_replayed(device)?;
        mmp::release(&**device, &sb)?;
        let fs = self::reader(device, sb)?;
        report.has_errors = fs.has_errors()?;
        report.orphans_left = fs.has_orphan_records()?;
        return Ok(fs);
    }
    writable?;
    let fs = open(device, sb, log, options, None)?;
    fs.clean_orphans(report, &|| options.check_stop())?;
    report.corrected_counts = fs.correct_counts()?;
    report.has_errors = fs.has_errors()?;
    Ok(fs)
}

/// With an empty log `needs_recovery` has no meaning any more. One bit and the checksum change: a
/// torn write is mended at the next open.
fn mark_replayed(device: &Arc<dyn BlockDevice>) -> Result<Superblock> {
    let mut found = superblock::read(&**device)?;
    let incompat = &mut found.raw.s_feature_incompat;
    if incompat.get() & Incompat::RECOVER.bits() != 0 {
        incompat.set(incompat.get() & !Incompat::RECOVER.bits());
        found.raw.update_checksum();
        write_superblock(&**device, &found.raw)?;
    }
    Ok(superblock::read(&**device)?.superblock)
}

/// The primary superblock, mended if its last write was torn.
///
/// One that fits no flags may still be torn by the write of a checkpoint. Then the log has a whole
/// copy of it, and its bytes are good enough to find the log: nothing that says where things are
/// ever changes.
fn find_superblock(
    device: &Arc<dyn BlockDevice>,
    options: &Options,
    report: &mut Report,
) -> Result<Found> {
    let err = match superblock::read(&**device) {
        Ok(found) if !found.was_torn => return Ok(found),
        Ok(found) => {
            report.mended_superblock = true;
            write_superblock(&**device, &found.raw)?;
            return Ok(found);
        }
        Err(Error::Corrupt(err)) if err.is_checksum => err,
        Err(err) => return Err(err),
    };
    let raw = superblock::read_raw(&**device)?;
    let sb = Superblock::decode_unverified(&raw)?;
    check(Operation::Replay, sb.features)?;
    let reader = reader(device, sb.clone())?;
    let Some(log) = reader.find_log(options.journal_device.as_ref())? else {
        return Err(err.into());
    };
    let scan = scan_log(device, &log, &sb)?;
    if !scan.homes().contains(&reader.geometry().superblock_place().0) {
        return Err(err.into());
    }
    report.mended_superblock = true;
    replay_log(device, &log, &scan, &raw, reader.geometry().superblock_place(), report)?;
    superblock::read(&**device)
}

fn write_superblock(device: &dyn BlockDevice, raw: &RawSuperblock) -> Result<()> {
    device.write_at(RawSuperblock::OFFSET, zerocopy::IntoBytes::as_bytes(raw))?;
    Ok(device.flush()?)
}

fn reader(device: &Arc<dyn BlockDevice>, sb: Superblock) -> Result<Filesystem> {
    let journal = Journal::without_log(Arc::clone(device), sb.block_size);
    Filesystem::assemble(Arc::clone(device), journal, sb, None)
}

fn scan_log(device: &Arc<dyn BlockDevice>, log: &Log, sb: &Superblock) -> Result<Scan> {
    let geo = ext4_ondisk::geometry::Geometry::new(sb);
    let options = recovery::Options {
        block_size: sb.block_size,
        home: geo.all_blocks(),
        inode_size: sb.inode_size,
        metadata_csum: sb.metadata_csum().is_some(),
    };
    Ok(recovery::scan(&**device, log, &options)?)
}

/// Replays the log and empties it. `before` is the superblock as it was: its error history and
/// error state survive an older copy in the log (`ext4_load_journal`).
fn replay_log(
    device: &Arc<dyn BlockDevice>,
    log: &Log,
    scan: &Scan,
    before: &RawSuperblock,
    superblock_place: (BlockNr, usize),
    report: &mut Report,
) -> Result<()> {
    report.journal_errno = scan.superblock.errno;
    let needs_recovery = before.s_feature_incompat.get() & Incompat::RECOVER.bits() != 0;
    if !scan.is_empty() && (needs_recovery || report.mended_superblock) {
        let (superblock_blk, offset) = superblock_place;
        let replayed = scan.replay(&**device, log, &mut |blk, bytes| {
            if blk == superblock_blk
                && let Some(new) = bytes.get_mut(offset..).and_then(RawSuperblock::of_mut)
            {
                keep_error_history(before, new);
            }
        })?;
        report.replayed = Some(replayed);
    } else if !scan.is_empty() {
        report.discarded_log = true;
    }
    if scan.superblock.errno != 0 {
        // Crash here: the journal still has the error, and will be asked again.
        let mut raw = superblock::read(&**device)?.raw;
        raw.s_state.set(raw.s_state.get() | State::ERROR.bits());
        raw.update_checksum();
        write_superblock(&**device, &raw)?;
    }
    if report.replayed.is_some() && scan.fast_commits.commits > 0 {
        scan.keep_fast_commits(&**device, log)?;
    } else {
        scan.reset(&**device, log)?;
    }
    Ok(())
}

/// Applies the fast commits that the replay has left, as the transaction that they are for, and
/// empties the log.
fn apply_fast_commits(
    device: &Arc<dyn BlockDevice>,
    log: &Log,
    sb: &Superblock,
    options: &Options,
    report: &mut Report,
) -> Result<()> {
    let scan = scan_log(device, log, sb)?;
    if scan.fast_commits.commits == 0 {
        return Ok(());
    }
    // What a replay cannot do without changing more than blocks needs what any write needs.
    check(Operation::Write, sb.features)?;
    let resume = scan.keep_fast_commits(&**device, log)?;
    let fs = open(device, sb.clone(), Some(log.clone()), options, Some(resume))?;
    let ops = || scan.fast_commits.ops(&**device, log, sb.block_size).map(|op| Ok(op?));
    let applied = fs.apply_fast_commits(ops)?;
    report.fast_commit_ops = applied.ops;
    report.fast_commit_inodes = applied.inodes;
    // Crash here: a log with one transaction, which is replayed.
    fs.journal().checkpoint()?;
    // Nothing that lies in the log behind it may ever be taken for a new transaction.
    let mut superblock = log.read_superblock(&**device, sb.block_size)?;
    if !superblock.sequence.is_at_or_after(scan.next) {
        superblock.sequence = scan.next;
        log.write_superblock(&**device, &superblock)?;
        log.device(&**device).flush().map_err(ext4_jbd2::Error::Flush)?;
    }
    Ok(())
}

fn open(
    device: &Arc<dyn BlockDevice>,
    sb: Superblock,
    log: Option<Log>,
    options: &Options,
    resume: Option<(u32, Tid)>,
) -> Result<Filesystem> {
    // In use already, as far as the superblock goes: with an orphan file that is two flags.
    let is_marked = sb.features.has_incompat(Incompat::RECOVER)
        && (!sb.features.has_compat(Compat::ORPHAN_FILE)
            || sb.features.has_ro_compat(RoCompat::ORPHAN_PRESENT));
    let journal = match log {
        None => Journal::without_log(Arc::clone(device), sb.block_size),
        Some(log) => {
            let mut journal = ext4_jbd2::Options::new(options.clock.clone());
            journal.is_64bit = sb.features.has_incompat(Incompat::BIT64);
            journal.metadata_csum = sb.metadata_csum().is_some();
            journal.fast_commit = sb.features.has_compat(Compat::FAST_COMMIT);
            journal.commit_every_handle = options.commit_every_handle;
            journal.resume = resume;
            Journal::open(Arc::clone(device), sb.block_size, log, journal)?
        }
    };
    let writing = Writing::new(options.clock.clone(), is_marked, options.delayed);
    Filesystem::assemble(Arc::clone(device), journal, sb, Some(writing))
}

impl Filesystem {
    /// Makes the superblock's free counts the sums over the groups: the kernel keeps them current
    /// only at unmount (`ext4_percpu_param_init` at a mount).
    fn correct_counts(&self) -> Result<bool> {
        let (mut clusters, mut inodes) = (0u64, 0u64);
        for gi in self.geometry().groups() {
            let desc = self.group(self.meta(), gi)?;
            clusters += u64::from(desc.free_clusters);
            inodes += u64::from(desc.free_inodes);
        }
        let blocks = clusters << self.geometry().cluster_ratio_bits;
        let inodes = u32::try_from(inodes).map_err(|_too_many| {
            Corrupt::new("group descriptors", format!("{inodes} free inodes in all"))
        })?;
        let raw = self.raw_superblock(self.meta())?;
        if raw.free_blocks_count() == blocks && raw.s_free_inodes_count.get() == inodes {
            return Ok(false);
        }
        let mut h = self.start(1)?;
        h.modify_superblock(|raw| {
            raw.set_free_blocks_count(blocks);
            raw.s_free_inodes_count.set(inodes);
        })?;
        h.stop()?;
        Ok(true)
    }
}
