//! Copies of the superblock, for when the first one is damaged.

use ext4_blockdev::{BlockDevice, Overlay};
use ext4_ondisk::superblock::{RawSuperblock, Superblock};
use ext4_units::{BlockNr, BlockSize};
use std::sync::Arc;
use zerocopy::IntoBytes as _;

/// Groups that have a copy on most filesystems (sparse_super).
const GROUPS: [u64; 6] = [1, 3, 5, 7, 9, 25];

/// The first superblock's bytes.
pub(crate) fn raw(device: &dyn BlockDevice) -> Option<RawSuperblock> {
    read(device, RawSuperblock::OFFSET)
}

fn read(device: &dyn BlockDevice, at: u64) -> Option<RawSuperblock> {
    let mut bytes = [0; RawSuperblock::SIZE];
    let end = at.checked_add(bytes.len() as u64)?;
    if end > device.len() {
        return None;
    }
    device.read_at(at, &mut bytes).ok()?;
    RawSuperblock::of(&bytes).cloned()
}

/// The good superblock in block `nr`, whatever the block size is.
fn copy_in(device: &dyn BlockDevice, nr: BlockNr) -> Option<RawSuperblock> {
    (BlockSize::MIN.bits()..=BlockSize::MAX.bits()).find_map(|bits| {
        let size = BlockSize::from_bits(bits)?;
        // With blocks of more than 1 KiB the first one is inside block 0.
        let within = if nr.0 == 0 { RawSuperblock::OFFSET } else { 0 };
        let raw = read(device, nr.checked_byte(size)?.checked_add(within)?)?;
        let sb = Superblock::decode(&raw).ok()?;
        (sb.block_size == size).then_some(raw)
    })
}

/// The first good copy there is, where mke2fs puts them.
pub(crate) fn find(device: &dyn BlockDevice) -> Option<BlockNr> {
    (BlockSize::MIN.bits()..=BlockSize::MAX.bits()).find_map(|bits| {
        let size = BlockSize::from_bits(bits)?;
        let per_group = u64::from(size.bytes()) * 8;
        let first = u64::from(size == BlockSize::MIN);
        let at = |group: &u64| BlockNr(group * per_group + first);
        GROUPS.iter().map(at).find(|&nr| copy_in(device, nr).is_some())
    })
}

/// The device with the copy in block `nr` in the place of the first superblock, in memory.
///
/// # Errors
/// There is none in that block.
pub(crate) fn put_first(
    device: Arc<dyn BlockDevice>,
    nr: BlockNr,
) -> Result<Arc<dyn BlockDevice>, String> {
    let raw = copy_in(&*device, nr)
        .ok_or_else(|| format!("block {nr}: expected a good copy of the superblock"))?;
    let overlay = Overlay::new(device);
    overlay.write_at(RawSuperblock::OFFSET, raw.as_bytes()).map_err(|err| err.to_string())?;
    Ok(Arc::new(overlay))
}
