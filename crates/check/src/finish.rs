//! What a check leaves in the superblock when all is well: that it was made, and that all is well.

use crate::{Result, session::Session};
use ext4_ondisk::superblock::{RawSuperblock, State};
use zerocopy::IntoBytes as _;

/// Sets state, time and count of the last check, and forgets the errors that are on record. Changes
/// nothing on a filesystem that says all that already.
pub(crate) fn run(session: &mut Session<'_, '_>, has_repaired: bool) -> Result<()> {
    let raw = &mut session.raw;
    let state = raw.s_state.get();
    let sound = state & !State::ERROR.bits() | State::VALID.bits();
    let history = |raw: &RawSuperblock| {
        RawSuperblock::ERROR_HISTORY
            .into_iter()
            .any(|range| raw.as_bytes()[range].iter().any(|byte| *byte != 0))
    };
    if !has_repaired && state == sound && raw.s_mnt_count.get() == 0 && !history(raw) {
        return Ok(());
    }
    raw.s_state.set(sound);
    raw.s_mnt_count.set(0);
    raw.s_lastcheck.set((session.now & 0xFFFF_FFFF) as u32);
    raw.s_lastcheck_hi = (session.now >> 32 & 0xFF) as u8;
    for range in RawSuperblock::ERROR_HISTORY {
        raw.as_mut_bytes()[range].fill(0);
    }
    session.put_superblock()
}
