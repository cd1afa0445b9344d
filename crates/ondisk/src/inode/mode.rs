//! File types in `i_mode`, and device numbers in `i_block`.

use crate::dir_entry::FileType;

impl FileType {
    /// The type bits of `i_mode`, to be or-ed with permissions; 0 for an unknown type.
    pub const fn mode_bits(self) -> u16 {
        match self {
            Self::Unknown => 0,
            Self::Fifo => 0x1000,
            Self::CharDevice => 0x2000,
            Self::Directory => 0x4000,
            Self::BlockDevice => 0x6000,
            Self::Regular => 0x8000,
            Self::Symlink => 0xA000,
            Self::Socket => 0xC000,
        }
    }

    /// The letter that find(1) shows: `f` for a regular file, `?` for an unknown type.
    pub const fn letter(self) -> char {
        match self {
            Self::Unknown => '?',
            Self::Fifo => 'p',
            Self::CharDevice => 'c',
            Self::Directory => 'd',
            Self::BlockDevice => 'b',
            Self::Regular => 'f',
            Self::Symlink => 'l',
            Self::Socket => 's',
        }
    }
}

/// The major and minor number of a device inode: in the first word of `i_block` with 8 bits each,
/// or, when that is zero, in the second with 12 and 20 (`old_decode_dev`, `new_decode_dev`).
pub fn decode_device(i_block: &[u8; 60]) -> (u32, u32) {
    let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| i_block[at + i]));
    match word(0) {
        0 => {
            let dev = word(4);
            ((dev & 0xF_FF00) >> 8, dev & 0xFF | dev >> 12 & 0xF_FF00)
        }
        old => (old >> 8 & 0xFF, old & 0xFF),
    }
}

/// The `i_block` of a device inode; `None` when the numbers don't fit into 12 and 20 bits.
pub fn encode_device(major: u32, minor: u32) -> Option<[u8; 60]> {
    let mut i_block = [0; 60];
    if major < 0x100 && minor < 0x100 {
        i_block[..4].copy_from_slice(&(major << 8 | minor).to_le_bytes());
    } else if major < 0x1000 && minor < 0x10_0000 {
        let dev = minor & 0xFF | major << 8 | (minor & !0xFF) << 12;
        i_block[4..8].copy_from_slice(&dev.to_le_bytes());
    } else {
        return None;
    }
    Some(i_block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_survive() {
        for (major, minor) in [(1, 3), (255, 255), (256, 0), (8, 256), (0xFFF, 0xF_FFFF)] {
            let i_block = encode_device(major, minor).unwrap();
            assert_eq!(decode_device(&i_block), (major, minor));
        }
        assert_eq!(encode_device(0x1000, 0), None);
    }

    #[test]
    fn types_survive() {
        for mode in 0..=0xFFFF {
            let kind = FileType::of_mode(mode);
            if kind != FileType::Unknown {
                assert_eq!(kind.mode_bits(), mode & 0xF000);
            }
        }
    }
}
