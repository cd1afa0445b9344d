//! Usage types: what a filesystem is for, and so its block size and inode ratio.

use crate::error::{Result, conflict};

/// One usage type of mke2fs.conf (e2fsprogs 1.47).
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Its name.
    pub name: &'static str,
    /// Bytes in a block; `None` for 4096.
    pub block_size: Option<u32>,
    /// Bytes of space for each inode; `None` for 16384.
    pub inode_ratio: Option<u32>,
}

const fn usage(name: &'static str, block_size: Option<u32>, inode_ratio: Option<u32>) -> Usage {
    Usage { name, block_size, inode_ratio }
}

/// All of them.
pub const USAGES: &[Usage] = &[
    usage("floppy", Some(1024), Some(8192)),
    usage("small", Some(1024), Some(4096)),
    usage("default", None, None),
    usage("big", None, Some(32768)),
    usage("huge", None, Some(65536)),
    usage("news", None, Some(4096)),
    usage("largefile", Some(4096), Some(1 << 20)),
    usage("largefile4", Some(4096), Some(4 << 20)),
];

/// Block size and inode ratio of the named types, a later one before an earlier one.
pub(crate) fn named(names: &[String]) -> Result<(u32, u32)> {
    let (mut block_size, mut inode_ratio) = (4096, 16384);
    for name in names {
        let Some(it) = USAGES.iter().find(|it| it.name == name) else {
            let known: Vec<_> = USAGES.iter().map(|it| it.name).collect();
            return conflict(format!(
                "`{name}` is no usage type, expected one of {}",
                known.join(", ")
            ));
        };
        block_size = it.block_size.unwrap_or(block_size);
        inode_ratio = it.inode_ratio.unwrap_or(inode_ratio);
    }
    Ok((block_size, inode_ratio))
}

/// Bytes from which on another type goes with the size.
pub(crate) const SIZES: [u64; 4] = [3 << 20, 512 << 20, 4 << 40, 16 << 40];

/// The type that goes with a size in bytes.
pub(crate) const fn of_size(bytes: u64) -> &'static str {
    let [small, default, big, huge] = SIZES;
    match bytes {
        it if it < small => "floppy",
        it if it < default => "small",
        it if it < big => "default",
        it if it < huge => "big",
        _ => "huge",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_chooses_a_type_and_names_overrule_it() {
        assert_eq!(of_size((3 << 20) - 1), "floppy");
        assert_eq!(of_size(3 << 20), "small");
        assert_eq!(of_size(512 << 20), "default");
        assert_eq!(of_size(4 << 40), "big");
        assert_eq!(of_size(16 << 40), "huge");
        let names = ["small", "largefile"].map(str::to_owned);
        assert_eq!(named(&names).unwrap(), (4096, 1 << 20));
        assert!(named(&["tiny".to_owned()]).is_err());
    }
}
