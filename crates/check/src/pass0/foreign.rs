//! What a device without a superblock holds instead, in one line for who gave the wrong name.

use crate::Result;
use ext4_blockdev::{BlockDevice, Overlay};

/// Something that lies on devices: its name, and bytes at a place.
const KNOWN: &[(&str, u64, &[u8])] = &[
    ("an XFS filesystem", 0, b"XFSB"),
    ("a Btrfs filesystem", 0x1_0040, b"_BHRfS_M"),
    ("swap space", 4086, b"SWAPSPACE2"),
    ("swap space", 65526, b"SWAPSPACE2"),
    ("a LUKS container", 0, b"LUKS\xBA\xBE"),
    ("a physical volume of LVM", 0x218, b"LVM2 001"),
    ("an ISO 9660 filesystem", 0x8001, b"CD001"),
    ("an NTFS filesystem", 3, b"NTFS    "),
    ("a FAT filesystem", 0x52, b"FAT32   "),
    ("a FAT filesystem", 0x36, b"FAT1"),
    ("a SquashFS filesystem", 0, b"hsqs"),
    ("an F2FS filesystem", 1024, &[0x10, 0x20, 0xF5, 0xF2]),
    ("an EROFS filesystem", 1024, &[0xE2, 0xE1, 0xF5, 0xE0]),
    ("a GPT partition table", 512, b"EFI PART"),
    ("a qcow2 image", 0, b"QFI\xFB"),
    ("a gzip file", 0, &[0x1F, 0x8B]),
    ("an xz file", 0, &[0xFD, b'7', b'z', b'X', b'Z', 0]),
    ("a zstd file", 0, &[0x28, 0xB5, 0x2F, 0xFD]),
    ("an Android sparse image", 0, &[0x3A, 0xFF, 0x26, 0xED]),
    ("a DOS partition table", 510, &[0x55, 0xAA]),
];

/// Bytes from the start that are looked at for zeros.
const HEAD: usize = 64 << 10;

/// What the device holds; `None` for what is not known.
pub(super) fn name(overlay: &Overlay) -> Result<Option<&'static str>> {
    if overlay.is_empty() {
        return Ok(Some("nothing at all"));
    }
    for &(name, at, magic) in KNOWN {
        let mut bytes = vec![0; magic.len()];
        if at + magic.len() as u64 <= overlay.len() {
            overlay.read_at(at, &mut bytes)?;
            if bytes == magic {
                return Ok(Some(name));
            }
        }
    }
    let mut head = vec![0; usize::try_from(overlay.len()).unwrap_or(HEAD).min(HEAD)];
    overlay.read_at(0, &mut head)?;
    Ok(head.iter().all(|&byte| byte == 0).then_some("zeros"))
}
