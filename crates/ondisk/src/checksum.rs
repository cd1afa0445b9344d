//! The checksums of ext4 and jbd2: crc32c without the final inversion, crc16, and their seeds.
//!
//! Only the arithmetic and the seeds; what a checksum covers is said beside each structure.

use ext4_units::InodeNr;

/// A running crc32c (Castagnoli, reflected) as ext4 keeps it: without the final inversion.
///
/// `ext4_chksum` in the kernel; `crc32c_le` in e2fsprogs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Csum(pub u32);

impl Csum {
    /// The start value `~0`, for the superblocks of ext4 and jbd2.
    pub const START: Self = Self(!0);

    /// This checksum continued over `data`.
    #[must_use]
    pub fn over(self, data: &[u8]) -> Self {
        // The crate inverts on the way in and out; ext4 does neither.
        Self(!crc32c::crc32c_append(!self.0, data))
    }

    /// The filesystem's seed from its uuid, `crc32c(~0, s_uuid)`. With INCOMPAT csum_seed use
    /// `Csum(s_checksum_seed)` instead. Also the seed of a jbd2 v2/v3 journal, from its own uuid.
    pub fn of_uuid(uuid: &[u8; 16]) -> Self {
        Self::START.over(uuid)
    }

    /// The seed of an inode's own checksum and of everything that belongs to it (extent nodes,
    /// directory blocks, orphan-file blocks). Called on the filesystem's seed.
    #[must_use]
    pub fn inode_seed(self, ino: InodeNr, generation: u32) -> Self {
        self.over(&ino.get().to_le_bytes()).over(&generation.to_le_bytes())
    }
}

/// crc16 as used by group descriptors with RO_COMPAT gdt_csum and no metadata_csum: polynomial
/// 0x8005 reflected (IBM/ARC), start value given by the caller (`0xFFFF`), no final inversion.
pub fn crc16(start: u16, data: &[u8]) -> u16 {
    data.iter().fold(start, |crc, &byte| {
        (0..8).fold(
            crc ^ u16::from(byte),
            |crc, _| {
                if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 }
            },
        )
    })
}

/// The big-endian CRC32 (polynomial 0x04C11DB7, not reflected, no final inversion) of jbd2's v1
/// commit checksum, `crc32_be`. Starts at `~0`.
pub fn crc32_be(start: u32, data: &[u8]) -> u32 {
    data.iter()
        .fold(start, |crc, &byte| (crc << 8) ^ CRC32_BE[usize::from((crc >> 24) as u8 ^ byte)])
}

const CRC32_BE: [u32; 256] = {
    let mut table = [0u32; 256];
    let mut i = 0u32;
    while i < 256 {
        let mut crc = i << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000_0000 != 0 { crc << 1 ^ 0x04C1_1DB7 } else { crc << 1 };
            bit += 1;
        }
        table[i as usize] = crc;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    // The catalogue's check values for "123456789" (CRC-32C, CRC-16/MODBUS, CRC-32/BZIP2), with
    // their final inversions undone.
    #[test]
    fn the_three_sums_have_their_catalogue_values() {
        let check = b"123456789";
        assert_eq!(Csum::START.over(check).0, !0xE306_9283);
        assert_eq!(crc16(0xFFFF, check), 0x4B37);
        assert_eq!(crc32_be(!0, check), !0xFC89_1918);
    }
}
