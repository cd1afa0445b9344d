//! What is there already: a filesystem or a partition table that would be overwritten.

use ext4_blockdev::BlockDevice;
use ext4_ondisk::{
    superblock::{RawSuperblock, Superblock},
    uuid,
};
use std::fmt;

/// Something with contents, as far as its first bytes tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is, with label and uuid where they are known.
    pub what: String,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.what.fmt(f)
    }
}

/// Bytes at the start where signatures lie.
const LEN: usize = 72 << 10;

/// A signature: where, which bytes, of what.
const SIGNATURES: &[(usize, &[u8], &str)] = &[
    (0, b"XFSB", "an XFS filesystem"),
    (0x1_0040, b"_BHRfS_M", "a btrfs filesystem"),
    (1024, &[0x10, 0x20, 0xf5, 0xf2], "an F2FS filesystem"),
    (1024, &[0xe2, 0xe1, 0xf5, 0xe0], "an EROFS filesystem"),
    (0, b"hsqs", "a squashfs image"),
    (0x8001, b"CD001", "an ISO 9660 filesystem"),
    (3, b"NTFS    ", "an NTFS filesystem"),
    (3, b"EXFAT   ", "an exFAT filesystem"),
    (54, b"FAT12   ", "a FAT filesystem"),
    (54, b"FAT16   ", "a FAT filesystem"),
    (82, b"FAT32   ", "a FAT filesystem"),
    (0, b"LUKS\xba\xbe", "a LUKS volume"),
    (512, b"LABELONE", "an LVM volume"),
    (4086, b"SWAPSPACE2", "swap space"),
    (4086, b"SWAP-SPACE", "swap space"),
    (4096, &[0xfc, 0x4e, 0x2b, 0xa9], "a member of a RAID"),
    (0, &[0xfc, 0x4e, 0x2b, 0xa9], "a member of a RAID"),
    (512, b"EFI PART", "a GPT partition table"),
    (4096, b"EFI PART", "a GPT partition table"),
];

/// What `device` holds, if anything is recognised.
///
/// # Errors
/// When it cannot be read.
pub fn probe(device: &dyn BlockDevice) -> ext4_blockdev::Result<Option<Found>> {
    let len = usize::try_from(device.len()).unwrap_or(LEN).min(LEN);
    let mut start = vec![0; len];
    device.read_at(0, &mut start)?;
    let found = ext(&start).or_else(|| signature(&start)).or_else(|| mbr(&start));
    Ok(found.map(|what| Found { what }))
}

fn ext(start: &[u8]) -> Option<String> {
    let raw = RawSuperblock::of(start.get(1024..)?)?;
    Superblock::check_magic(raw).ok()?;
    let label = raw.s_volume_name.iter().take_while(|&&it| it != 0).copied().collect::<Vec<_>>();
    let kind = match raw.s_feature_incompat.get() & 0x8 {
        0 => "an ext2, ext3 or ext4 filesystem",
        _ => "an external journal",
    };
    let mut what = kind.to_owned();
    if !label.is_empty() {
        what = format!("{what} labelled `{}`", String::from_utf8_lossy(&label));
    }
    Some(format!("{what}, uuid {}", uuid::text(&raw.s_uuid)))
}

fn signature(start: &[u8]) -> Option<String> {
    let holds = |at: usize, bytes: &[u8]| start.get(at..).is_some_and(|it| it.starts_with(bytes));
    let found = SIGNATURES.iter().find(|(at, bytes, _)| holds(*at, bytes));
    found.map(|(_, _, what)| (*what).to_owned())
}

/// A table with at least one entry that has a type and a length; the signature alone is also that
/// of a boot sector.
fn mbr(start: &[u8]) -> Option<String> {
    if start.get(510..512)? != [0x55, 0xAA] {
        return None;
    }
    let entries = start.get(446..510)?.chunks_exact(16);
    let used = entries
        .filter(|it| matches!(it[0], 0 | 0x80) && it[4] != 0 && it[12..16] != [0; 4])
        .count();
    (used > 0).then(|| format!("an MBR partition table with {used} partitions"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ext4_blockdev::MemoryDevice;

    fn of(at: usize, bytes: &[u8]) -> Option<String> {
        let mut image = vec![0; 128 << 10];
        image[at..at + bytes.len()].copy_from_slice(bytes);
        probe(&MemoryDevice::new(image)).unwrap().map(|it| it.what)
    }

    #[test]
    fn what_is_there_is_named() {
        assert_eq!(of(0, b""), None);
        assert_eq!(of(0, b"XFSB").unwrap(), "an XFS filesystem");
        assert_eq!(of(0x1_0040, b"_BHRfS_M").unwrap(), "a btrfs filesystem");
        let ext = of(1024 + 0x38, &[0x53, 0xEF]).unwrap();
        assert!(ext.starts_with("an ext2, ext3 or ext4 filesystem, uuid 0000"), "{ext}");
        assert_eq!(of(510, &[0x55, 0xAA]), None, "a boot sector without partitions");
        let mut table = [0; 66];
        (table[4], table[12], table[64], table[65]) = (0x83, 1, 0x55, 0xAA);
        assert_eq!(of(446, &table).unwrap(), "an MBR partition table with 1 partitions");
    }

    #[test]
    fn a_tiny_device_is_no_trouble() {
        assert_eq!(probe(&MemoryDevice::new(vec![1; 10])).unwrap(), None);
    }
}
