//! What a check leaves in the superblock when all is well: that it was made, and that all is well.

use crate::{Result, session::Session};
use ext4_ondisk::superblock::{RawSuperblock, State};
use zerocopy::IntoBytes as _;

/// Sets state, time and count of the last check, and forgets the errors that are on record. Changes
/// nothing on a filesystem that says all that already, unless it wants to be checked from time to time.
pub(crate) fn run(session: &mut Session<'_, '_>, has_repaired: bool) -> Result<()> {
    let raw = &mut session.raw;
    let state = raw.s_state.get();
    let sound = state & !State::ERROR.bits() | State::VALID.bits();
    let history = |raw: &RawSuperblock| {
        RawSuperblock::ERROR_HISTORY
            .into_iter()
            .any(|range| raw.as_bytes()[range].iter().any(|byte| *byte != 0))
    };
    let is_periodic = raw.s_checkinterval.get() != 0;
    let says_so = state == sound && raw.s_mnt_count.get() == 0 && !history(raw);
    if says_so && !has_repaired && !is_periodic {
        return Ok(());
    }
    raw.s_state.set(sound);
    raw.s_mnt_count.set(0);
    raw.set_lastcheck(session.now);
    for range in RawSuperblock::ERROR_HISTORY {
        raw.as_mut_bytes()[range].fill(0);
    }
    session.put_superblock()
}
