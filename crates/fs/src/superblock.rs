//! Reading the superblock, also one whose last write was cut in two.
//!
//! The checksum lies in the second 512-byte sector, everything that changes while a filesystem is
//! in use in the first. A power cut between the two leaves a checksum that fits the flags before or
//! after the write, so trying the flags that a write in place can have changed finds it out. Writes
//! of more than flags are in the log as well ([`crate::recover`]).

use crate::{Error, Result};
use ext4_blockdev::BlockDevice;
use ext4_ondisk::{
    Corrupt,
    features::{Incompat, RoCompat},
    superblock::{RawSuperblock, State, Superblock},
};

/// A superblock that was read, and how far it can be believed.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Its bytes; after a torn write the flags that fit the checksum.
    pub(crate) raw: RawSuperblock,
    /// Its meaning.
    pub(crate) superblock: Superblock,
    /// Whether the bytes on disk are others, and must be written again.
    pub(crate) was_torn: bool,
}

/// Reads and checks the primary superblock.
pub(crate) fn read(device: &dyn BlockDevice) -> Result<Found> {
    let raw = read_raw(device)?;
    match Superblock::decode(&raw) {
        Ok(superblock) => Ok(Found { raw, superblock, was_torn: false }),
        Err(err) if err.is_checksum => {
            let raw = untorn(&raw).ok_or(err)?;
            let superblock = Superblock::decode(&raw)?;
            Ok(Found { raw, superblock, was_torn: true })
        }
        Err(err) => Err(err.into()),
    }
}

/// Reads the primary superblock's bytes.
pub(crate) fn read_raw(device: &dyn BlockDevice) -> Result<RawSuperblock> {
    let mut bytes = [0; RawSuperblock::SIZE];
    let need = RawSuperblock::OFFSET + RawSuperblock::SIZE as u64;
    if device.len() < need {
        let fault = format!("the device has {} bytes, expected at least {need}", device.len());
        return Err(Error::corrupt("superblock", fault));
    }
    device.read_at(RawSuperblock::OFFSET, &mut bytes)?;
    let raw = RawSuperblock::of(&bytes).ok_or_else(|| Corrupt::new("superblock", "too short"))?;
    Ok(raw.clone())
}

/// The bytes with those flags that fit the checksum, if any do.
fn untorn(raw: &RawSuperblock) -> Option<RawSuperblock> {
    (1..8u8).find_map(|change| {
        let mut tried = raw.clone();
        if change & 1 != 0 {
            tried.s_feature_incompat.set(raw.s_feature_incompat.get() ^ Incompat::RECOVER.bits());
        }
        if change & 2 != 0 {
            let bit = RoCompat::ORPHAN_PRESENT.bits();
            tried.s_feature_ro_compat.set(raw.s_feature_ro_compat.get() ^ bit);
        }
        if change & 4 != 0 {
            tried.s_state.set(raw.s_state.get() ^ State::VALID.bits());
        }
        (tried.checksum() == tried.s_checksum.get()).then_some(tried)
    })
}
