//! The device under check: opened, looked at, and recovered as after a crash, in memory first.

use ext4_blockdev::{BlockDevice, Overlay};
use ext4_fs::{Error, RecoverOptions, Scope, recover_into};
use ext4_jbd2::Clock;
use ext4_ondisk::{
    features::Incompat,
    superblock::{JournalPlace, RawSuperblock, State, Superblock},
};
use std::{sync::Arc, time::Duration};
use zerocopy::{FromZeros as _, IntoBytes as _};

/// What the device says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    /// Why it wants to be checked; `None` when an unattended run may pass it over.
    pub(crate) due: Option<String>,
    /// Inodes in use, and all.
    pub(crate) inodes: [u64; 2],
    /// Blocks in use, and all.
    pub(crate) blocks: [u64; 2],
}

/// The superblock, in both shapes; `None` when it cannot be believed.
fn superblock(device: &dyn BlockDevice) -> Option<(RawSuperblock, Superblock)> {
    let mut raw = RawSuperblock::new_zeroed();
    device.read_at(RawSuperblock::OFFSET, raw.as_mut_bytes()).ok()?;
    let sb = Superblock::decode(&raw).ok()?;
    Some((raw, sb))
}

/// The superblock's own word at `now`, in seconds since 1970; `None` when it cannot be believed.
pub(crate) fn summary(device: &dyn BlockDevice, now: u64) -> Option<Summary> {
    let (raw, sb) = superblock(device)?;
    let inodes = u64::from(sb.inodes_count);
    Some(Summary {
        due: due(&raw, &sb, now),
        inodes: [inodes.saturating_sub(sb.free_inodes_count.into()), inodes],
        blocks: [sb.blocks_count.saturating_sub(sb.free_blocks_count), sb.blocks_count],
    })
}

/// The first reason to check, in the order of e2fsck's `check_if_skip`.
fn due(raw: &RawSuperblock, sb: &Superblock, now: u64) -> Option<String> {
    let (mounts, most) = (raw.s_mnt_count.get(), raw.s_max_mnt_count.get().cast_signed());
    let (last, interval) = (raw.lastcheck(), u64::from(raw.s_checkinterval.get()));
    if sb.state.contains(State::ERROR) {
        Some("errors are on record".to_owned())
    } else if !sb.state.contains(State::VALID) {
        Some("it was not unmounted".to_owned())
    } else if sb.features.has_incompat(Incompat::RECOVER) {
        Some("the journal is to be replayed".to_owned())
    } else if sb.last_orphan.is_some() {
        Some("there are orphans".to_owned())
    } else if most > 0 && mounts >= most.unsigned_abs() {
        Some(format!(
            "it was mounted {mounts} times since the last check, at most {most} are allowed"
        ))
    } else if interval > 0 && now >= last.saturating_add(interval) {
        let days = now.saturating_sub(last) / 86_400;
        Some(format!(
            "the last check was {days} days ago, at most {} are allowed",
            interval / 86_400
        ))
    } else {
        None
    }
}

/// Whether the log holds, or may hold, what is not yet home: the power was cut.
fn is_in_use(device: &dyn BlockDevice) -> bool {
    superblock(device).is_some_and(|(_raw, sb)| sb.features.has_incompat(Incompat::RECOVER))
}

/// What recovery met that a power cut does not leave.
fn doubt(report: &ext4_fs::Report, scope: Scope) -> Option<String> {
    let why = if report.mended_superblock {
        "the superblock was torn"
    } else if report.discarded_log {
        "the journal held transactions that nobody asked for"
    } else if report.dropped_list.is_some() || (report.orphans_left && scope != Scope::Replay) {
        "there are orphans"
    } else if report.has_errors {
        "errors are on record"
    } else {
        return None;
    };
    Some(why.to_owned())
}

/// Whether the log is on another device and holds what is not yet home: without it nothing of what is
/// here can be judged, and a repair would lose what is there.
pub(crate) fn needs_other_device(device: &dyn BlockDevice) -> bool {
    superblock(device).is_some_and(|(_raw, sb)| {
        matches!(sb.journal, JournalPlace::Device(_)) && sb.features.has_incompat(Incompat::RECOVER)
    })
}

/// What recovery did, in memory or for good.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recovery {
    pub(crate) transactions: u64,
    pub(crate) orphans: u64,
    /// The steps that did something.
    steps: Vec<Scope>,
    /// Why it did not come to its end.
    pub(crate) failure: Option<String>,
    /// Why what it left is to be checked: it met more than a power cut leaves.
    pub(crate) doubt: Option<String>,
}

/// A filesystem in memory, over what is on its devices.
#[derive(Debug)]
pub(crate) struct InMemory {
    pub(crate) filesystem: Overlay,
    /// Its journal, when that is on a device of its own.
    pub(crate) journal: Option<Overlay>,
}

impl InMemory {
    /// The same once more, to be changed by itself.
    pub(crate) fn fork(&self) -> Self {
        let journal = self.journal.as_ref().map(Overlay::fork);
        Self { filesystem: self.filesystem.fork(), journal }
    }
}

/// The journal is replayed and orphans are cleaned as `fsck-orphans` does: the replay alone first, so that
/// a damaged list of orphans does not keep it from being done.
pub(crate) const BOTH: &[Scope] = &[Scope::Replay, Scope::Possible];
/// The replay alone.
pub(crate) const REPLAY: &[Scope] = &[Scope::Replay];

/// Recovers in memory, one scope after the other.
pub(crate) fn recover(
    device: &Arc<dyn BlockDevice>,
    journal: Option<&Arc<dyn BlockDevice>>,
    now: u64,
    scopes: &[Scope],
) -> (InMemory, Recovery) {
    let now = Duration::from_secs(now);
    let mut best = InMemory {
        filesystem: Overlay::new(Arc::clone(device)),
        journal: journal.map(|it| Overlay::new(Arc::clone(it))),
    };
    let mut recovery = Recovery::default();
    let was_in_use = is_in_use(&**device);
    for &scope in scopes {
        let InMemory { filesystem, journal } = best.fork();
        let filesystem = Arc::new(filesystem);
        let journal = journal.map(Arc::new);
        let as_device: Arc<dyn BlockDevice> = Arc::clone(&filesystem) as _;
        let as_journal = journal.clone().map(|it| it as Arc<dyn BlockDevice>);
        match step(&as_device, as_journal, now, scope) {
            Ok(report) => {
                recovery.doubt = recovery.doubt.or_else(|| doubt(&report, scope));
                // Totals alone are for the check to tell of. Not so where the power was cut: the kernel
                // keeps them only when it unmounts, and even an empty log is to be marked as replayed.
                let is_calm =
                    ext4_fs::Report { corrected_counts: false, ..report.clone() }.is_clean();
                if is_calm && !was_in_use {
                    continue;
                }
                recovery.transactions += report.replayed.as_ref().map_or(0, |it| it.transactions);
                recovery.orphans += report.orphans.len() as u64;
                best = InMemory {
                    filesystem: filesystem.fork(),
                    journal: journal.map(|it| it.fork()),
                };
                recovery.steps.push(scope);
            }
            Err(err) => {
                recovery.failure = Some(err.to_string());
                break;
            }
        }
    }
    (best, recovery)
}

impl Recovery {
    /// Does on a device with its journal inside what was done in memory: through the log, which a
    /// repair needs empty.
    pub(crate) fn carry_out(&self, device: &Arc<dyn BlockDevice>, now: u64) -> Result<(), Error> {
        for &scope in &self.steps {
            step(device, None, Duration::from_secs(now), scope)?;
        }
        Ok(())
    }
}

fn step(
    device: &Arc<dyn BlockDevice>,
    journal: Option<Arc<dyn BlockDevice>>,
    now: Duration,
    scope: Scope,
) -> Result<ext4_fs::Report, Error> {
    let mut options = RecoverOptions::new(Clock::fixed(now));
    options.scope = scope;
    options.journal_device = journal;
    let mut report = ext4_fs::Report::default();
    recover_into(device, &options, &mut report)?.close()?;
    Ok(report)
}
