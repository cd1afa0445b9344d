//! The MMP block: who has the filesystem mounted (multiple mount protection).

use crate::{Corrupt, checksum::Csum};
use ext4_units::BlockNr;
use std::mem::offset_of;
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32, U64},
};

/// `EXT4_MMP_MAGIC`.
pub const MAGIC: u32 = 0x004D_4D50;
/// `EXT4_MMP_SEQ_CLEAN`: nobody has it.
pub const SEQ_CLEAN: u32 = 0xFF4D_4D50;
/// `EXT4_MMP_SEQ_FSCK`: a checker has it.
pub const SEQ_FSCK: u32 = 0xE24D_4D50;
/// `EXT4_MMP_SEQ_MAX`: the highest number of one who has it mounted.
pub const SEQ_MAX: u32 = 0xE24D_4D4F;
/// `EXT4_MMP_MIN_CHECK_INTERVAL`, seconds: who finds a number waits at least twice this, and one
/// second more, to see whether it changes.
pub const MIN_CHECK_INTERVAL: u16 = 5;

/// `struct mmp_struct` as it lies on the disk.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawMmp {
    /// 000: [`MAGIC`].
    pub mmp_magic: U32,
    /// 004: A number that whoever has it mounted changes all the time, or one of the constants.
    pub mmp_seq: U32,
    /// 008: When it was changed, seconds; for people.
    pub mmp_time: U64,
    /// 010: Host.
    pub mmp_nodename: [u8; 64],
    /// 050: Device there.
    pub mmp_bdevname: [u8; 32],
    /// 070: Seconds between looks.
    pub mmp_check_interval: U16,
    /// 072: Unused.
    pub mmp_pad1: U16,
    /// 074: Unused.
    pub mmp_pad2: [U32; 226],
    /// 3fc: crc32c of all before it.
    pub mmp_checksum: U32,
}

const _: () = assert!(size_of::<RawMmp>() == 1024);
const _: () = assert!(offset_of!(RawMmp, mmp_check_interval) == 0x70);
const _: () = assert!(offset_of!(RawMmp, mmp_checksum) == 0x3FC);

/// Who has the filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Nobody.
    Clean,
    /// A checker.
    Fsck,
    /// One who has it mounted, or had when it crashed.
    Running(u32),
    /// A number that means nothing: taken for an owner who can't be waited for.
    Invalid(u32),
}

impl RawMmp {
    /// Decodes the MMP block at `blk`, verifying magic and, with the filesystem's seed, checksum
    /// (`read_mmp_block`).
    pub fn decode(bytes: &[u8], blk: BlockNr, csum: Option<Csum>) -> Result<Self, Corrupt> {
        let place = || format!("MMP block {blk}");
        let (raw, _) = Self::read_from_prefix(bytes).map_err(|_short| {
            Corrupt::new(place(), format!("{} bytes, expected 1024", bytes.len()))
        })?;
        let magic = raw.mmp_magic.get();
        if magic != MAGIC {
            let fault = format!("magic {magic:#010x}, expected {MAGIC:#010x}");
            return Err(Corrupt::new(place(), fault));
        }
        if let Some(seed) = csum {
            let (found, expected) = (raw.mmp_checksum.get(), raw.checksum(seed));
            if found != expected {
                return Err(Corrupt::checksum(place(), found, expected));
            }
        }
        Ok(raw)
    }

    /// Who has the filesystem.
    pub fn owner(&self) -> Owner {
        match self.mmp_seq.get() {
            SEQ_CLEAN => Owner::Clean,
            SEQ_FSCK => Owner::Fsck,
            seq if seq <= SEQ_MAX => Owner::Running(seq),
            seq => Owner::Invalid(seq),
        }
    }

    /// Writes the structure over the start of its block, with a new checksum.
    ///
    /// # Panics
    /// When `block` has fewer than 1024 bytes, which only a caller's mistake can bring about.
    pub fn encode(&self, block: &mut [u8], csum: Option<Csum>) {
        let mut raw = self.clone();
        if let Some(seed) = csum {
            raw.mmp_checksum.set(raw.checksum(seed));
        }
        block[..size_of::<Self>()].copy_from_slice(raw.as_bytes());
    }

    /// crc32c from the filesystem's seed over all before the checksum (`ext4_mmp_csum`).
    fn checksum(&self, seed: Csum) -> u32 {
        seed.over(&self.as_bytes()[..offset_of!(Self, mmp_checksum)]).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    #[test]
    fn a_block_survives_and_a_changed_one_does_not() {
        let mut raw = RawMmp::new_zeroed();
        raw.mmp_magic.set(MAGIC);
        raw.mmp_seq.set(SEQ_CLEAN);
        let mut block = vec![0; 4096];
        raw.encode(&mut block, Some(Csum(3)));
        let again = RawMmp::decode(&block, BlockNr(9), Some(Csum(3))).unwrap();
        assert_eq!(again.owner(), Owner::Clean);
        block[4] ^= 1;
        assert!(RawMmp::decode(&block, BlockNr(9), Some(Csum(3))).unwrap_err().is_checksum);
        let owner = RawMmp::decode(&block, BlockNr(9), None).unwrap().owner();
        assert_eq!(owner, Owner::Invalid(SEQ_CLEAN ^ 1));
        assert!(RawMmp::decode(&block[..1023], BlockNr(9), None).is_err());
    }
}
