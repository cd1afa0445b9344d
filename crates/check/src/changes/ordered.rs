//! The way without a journal: an order of writes.

use super::{Changes, superblock_sectors};
use crate::Result;
use ext4_blockdev::BlockDevice;
use ext4_ondisk::superblock::{RawSuperblock, State};
use zerocopy::{FromZeros as _, IntoBytes as _};

/// Writes everything, each step durable before the next.
pub(super) fn write(changes: &Changes<'_>, device: &dyn BlockDevice) -> Result<()> {
    mark_unsound(device)?;
    // Cut here: as before, but known not to be in order.
    device.flush()?;
    changes.put(device, &changes.fresh)?;
    // Cut here: blocks that nobody uses yet have new contents.
    device.flush()?;
    changes.put(device, &changes.others)?;
    // Cut inside: each block is as it was, or as it will be. What moves from one block to another
    // was written to a fresh one before, so a second run finds it in at least one of both.
    device.flush()?;
    changes.put(device, &changes.sources)?;
    // Cut inside: the copies are in use, and blocks that were shared may have new contents; what the
    // log held is home, and the log may be empty.
    device.flush()?;
    let place = superblock_sectors();
    device.write_at(place.start, &changes.read(&place)?)?;
    device.flush()?;
    Ok(())
}

/// Sets the state that makes everybody check again, if there is a superblock that says otherwise.
///
/// # Errors
/// [`Error::Device`](crate::Error::Device).
pub fn mark_unsound(device: &dyn BlockDevice) -> Result<()> {
    let mut raw = RawSuperblock::new_zeroed();
    device.read_at(RawSuperblock::OFFSET, raw.as_mut_bytes())?;
    let is_one = raw.s_magic.get() == RawSuperblock::MAGIC
        && (!raw.has_checksum() || raw.s_checksum.get() == raw.checksum());
    if is_one {
        must_be_checked(&mut raw);
        raw.update_checksum();
        device.write_at(RawSuperblock::OFFSET, raw.as_bytes())?;
    }
    Ok(())
}

/// Sets the state that makes everybody check again.
pub(super) fn must_be_checked(raw: &mut RawSuperblock) {
    raw.s_state.set(raw.s_state.get() & !State::VALID.bits() | State::ERROR.bits());
}
