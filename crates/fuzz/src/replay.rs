//! Recovery: a log made of the input is replayed, and what it leaves is checked.

use crate::{base, check, input::Input, log};
use ext4_blockdev::{BlockDevice, Overlay};
use ext4_fs::{Filesystem, RecoverOptions, Report, Scope, recover_into};
use ext4_jbd2::Clock;
use ext4_ondisk::features::Incompat;
use std::{sync::Arc, time::Duration};
use zerocopy::{FromBytes as _, IntoBytes as _};

/// Writes a log to a filesystem that says it needs recovery, recovers it, and checks it. It has to end,
/// and a second recovery has nothing left to replay.
///
/// # Panics
/// When one of these does not hold.
pub fn replay(data: &[u8]) {
    let base = base::journaled();
    let overlay = Arc::new(Overlay::new(Arc::clone(&base.device) as Arc<dyn BlockDevice>));
    let mut input = Input(data);
    if log::write(base, &overlay, &mut input).is_none() || needs_recovery(&overlay).is_none() {
        return;
    }
    let device = Arc::clone(&overlay) as Arc<dyn BlockDevice>;
    let mut options = RecoverOptions::new(Clock::fixed(Duration::from_secs(1_780_000_000)));
    let mut is_done = true;
    for scope in [Scope::Replay, Scope::Possible] {
        options.scope = scope;
        let mut report = Report::default();
        let res = recover_into(&device, &options, &mut report).and_then(Filesystem::close);
        is_done &= res.is_ok();
    }
    if is_done {
        let mut report = Report::default();
        let again = recover_into(&device, &options, &mut report).and_then(Filesystem::close);
        assert!(again.is_ok(), "recovered, and then not: {again:?}");
        assert_eq!(report.replayed, None, "replayed twice");
    }
    check::verdict(&overlay, 1);
}

/// Sets the flag that says so.
fn needs_recovery(overlay: &Overlay) -> Option<()> {
    let mut bytes = vec![0; 1024];
    overlay.read_at(1024, &mut bytes).ok()?;
    let mut raw = ext4_ondisk::superblock::RawSuperblock::read_from_bytes(&bytes).ok()?;
    raw.s_feature_incompat.set(raw.s_feature_incompat.get() | Incompat::RECOVER.bits());
    raw.update_checksum();
    overlay.write_at(1024, raw.as_bytes()).ok()
}
