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
    /// It was left in order, and no errors are on record.
    pub(crate) is_clean: bool,
    /// Inodes in use, and all.
    pub(crate) inodes: [u64; 2],
    /// Blocks in use, and all.
    pub(crate) blocks: [u64; 2],
}

/// The superblock's own word; `None` when it cannot be believed.
pub(crate) fn summary(device: &dyn BlockDevice) -> Option<Summary> {
    let mut raw = RawSuperblock::new_zeroed();
    device.read_at(RawSuperblock::OFFSET, raw.as_mut_bytes()).ok()?;
    let sb = Superblock::decode(&raw).ok()?;
    let is_valid = sb.state.contains(State::VALID) && !sb.state.contains(State::ERROR);
    let is_recovered = !sb.features.has_incompat(Incompat::RECOVER) && sb.last_orphan.is_none();
    let inodes = u64::from(sb.inodes_count);
    Some(Summary {
        is_clean: is_valid && is_recovered,
        inodes: [inodes.saturating_sub(sb.free_inodes_count.into()), inodes],
        blocks: [sb.blocks_count.saturating_sub(sb.free_blocks_count), sb.blocks_count],
    })
}

/// Whether the log is on another device and holds what is not yet home: without it nothing of what is
/// here can be judged, and a repair would lose what is there.
pub(crate) fn needs_other_device(device: &dyn BlockDevice) -> bool {
    let mut raw = RawSuperblock::new_zeroed();
    let is_read = device.read_at(RawSuperblock::OFFSET, raw.as_mut_bytes()).is_ok();
    is_read
        && Superblock::decode(&raw).is_ok_and(|sb| {
            matches!(sb.journal, JournalPlace::Device(_))
                && sb.features.has_incompat(Incompat::RECOVER)
        })
}

/// What recovery did, in memory or for good.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recovery {
    pub(crate) transactions: u64,
    pub(crate) orphans: u64,
    /// Why it did not come to its end.
    pub(crate) failure: Option<String>,
}

/// Replays the journal and cleans the orphans as `fsck-orphans` does: the replay alone first, so that
/// a damaged list of orphans does not keep it from being done.
pub(crate) fn recover(
    device: &Arc<dyn BlockDevice>,
    journal: Option<&Arc<dyn BlockDevice>>,
    now: u64,
) -> (Overlay, Recovery) {
    let now = Duration::from_secs(now);
    let mut best = Overlay::new(Arc::clone(device));
    let mut recovery = Recovery::default();
    for scope in [Scope::Replay, Scope::Possible] {
        let next = Arc::new(best.fork());
        let as_device: Arc<dyn BlockDevice> = Arc::clone(&next) as _;
        match step(&as_device, journal, now, scope) {
            Ok(report) if report.is_clean() => {}
            Ok(report) => {
                recovery.transactions += report.replayed.as_ref().map_or(0, |it| it.transactions);
                recovery.orphans += report.orphans.len() as u64;
                best = next.fork();
            }
            Err(err) => {
                recovery.failure = Some(err.to_string());
                break;
            }
        }
    }
    (best, recovery)
}

fn step(
    device: &Arc<dyn BlockDevice>,
    journal: Option<&Arc<dyn BlockDevice>>,
    now: Duration,
    scope: Scope,
) -> Result<ext4_fs::Report, Error> {
    let mut options = RecoverOptions::new(Clock::fixed(now));
    options.scope = scope;
    options.journal_device = journal.cloned();
    let mut report = ext4_fs::Report::default();
    recover_into(device, &options, &mut report)?.close()?;
    Ok(report)
}
