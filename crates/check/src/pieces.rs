//! Everything an inode has: blocks of contents, blocks of its map, its block of attributes. What does
//! not hold together is left out, so that also an inode can be asked that nobody has checked.

use crate::{Error, Result, image::Image};
use ext4_ondisk::{
    extent::{Extent, Index, MAGIC, MAX_DEPTH, RawExtent, RawExtentHeader, RawExtentIdx},
    geometry::Geometry,
    indirect,
    inode::{FileType, Inode, InodeFlags},
};
use ext4_units::BlockNr;
use zerocopy::FromBytes as _;

/// A run of blocks that an inode has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) what: What,
    pub(crate) start: BlockNr,
    pub(crate) len: u64,
}

/// What a run of blocks is to its inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Contents from this block of the file on.
    Contents { lblk: u64, unwritten: bool },
    /// A block of the map.
    Node,
    /// The block of attributes.
    Attributes,
}

/// All pieces of an inode that pass 1 let pass, contents in the order of the file. Each block of its map
/// is a block of the device, and gone to once.
pub(crate) fn pieces(image: &Image, geo: &Geometry, inode: &Inode) -> Result<Vec<Piece>> {
    let (mut all, mut nodes_left) = (Vec::new(), image.n_blocks());
    walk(image, geo, inode, &mut nodes_left, &mut |it| all.push(it))?;
    Ok(all)
}

/// Goes to all pieces of an inode. Each block of its map costs one of `nodes_left`; with none left the
/// rest is not gone to.
///
/// # Errors
/// The device's, where it did not give a block of the map: what is below it was not gone to.
pub(crate) fn walk(
    image: &Image,
    geo: &Geometry,
    inode: &Inode,
    nodes_left: &mut u64,
    visit: &mut dyn FnMut(Piece),
) -> Result<()> {
    let mut walk = Walk { image, geo, nodes_left, visit, fault: None };
    if let Some(acl) = inode.file_acl {
        walk.add(What::Attributes, acl, 1);
    }
    if has_map(inode) {
        if inode.flags.contains(InodeFlags::EXTENTS) {
            walk.node(&inode.i_block, MAX_DEPTH);
        } else {
            walk.pointers(&inode.i_block);
        }
    }
    walk.fault.map_or(Ok(()), |it| Err(it.into()))
}

/// Whether an inode has a map: its contents are neither inside it nor none at all.
pub(crate) fn has_map(inode: &Inode) -> bool {
    let can_have = match inode.file_type() {
        FileType::Regular | FileType::Directory | FileType::Unknown => true,
        // A short target is in the place of the map.
        FileType::Symlink => inode.sectors > 0 && (inode.size >= 60 || inode.file_acl.is_none()),
        _ => false,
    };
    can_have && !inode.flags.contains(InodeFlags::INLINE_DATA)
}

struct Walk<'w> {
    image: &'w Image,
    geo: &'w Geometry,
    nodes_left: &'w mut u64,
    visit: &'w mut dyn FnMut(Piece),
    /// Why the device did not give a block of the map: what is below it is not known then.
    fault: Option<ext4_blockdev::Error>,
}

impl Walk<'_> {
    /// The part of a run that is on the device.
    fn add(&mut self, what: What, start: BlockNr, len: u64) {
        let end = self.geo.blocks_count.min(self.image.n_blocks());
        let len = len.min(end.saturating_sub(start.0));
        if len > 0 && start.0 > 0 {
            (self.visit)(Piece { what, start, len });
        }
    }

    /// The contents of a block of the map, if there is any and it may still be read.
    fn read(&mut self, blk: BlockNr) -> Option<Vec<u8>> {
        *self.nodes_left = self.nodes_left.checked_sub(1)?;
        match self.image.read(blk) {
            Ok(block) => Some(block),
            Err(Error::Device(fault)) => {
                self.fault = Some(fault);
                None
            }
            Err(_) => None,
        }
    }

    /// A node of an extent tree, at most `depth` levels high: each level is one less, so that no circle
    /// can be walked twice.
    fn node(&mut self, bytes: &[u8], depth: u16) {
        let Ok((header, rest)) = RawExtentHeader::ref_from_prefix(bytes) else { return };
        let (own, n) = (header.eh_depth.get(), usize::from(header.eh_entries.get()));
        if own > depth || header.eh_magic.get() != MAGIC {
            return;
        }
        if own == 0 {
            let Ok((entries, _)) = <[RawExtent]>::ref_from_prefix_with_elems(rest, n) else {
                return;
            };
            for raw in entries {
                let Ok(Extent { lblk, len, start, unwritten }) = Extent::from_raw(raw) else {
                    continue;
                };
                let what = What::Contents { lblk: lblk.0.into(), unwritten };
                self.add(what, start, len.into());
            }
            return;
        }
        let Ok((entries, _)) = <[RawExtentIdx]>::ref_from_prefix_with_elems(rest, n) else {
            return;
        };
        for raw in entries {
            let leaf = Index::from_raw(raw).child;
            self.add(What::Node, leaf, 1);
            if let Some(block) = self.read(leaf) {
                self.node(&block, own - 1);
            }
        }
    }

    /// The pointers of an inode.
    fn pointers(&mut self, i_block: &[u8; 60]) {
        let size = self.geo.block_size;
        for (slot, word) in (0..).zip(i_block.as_chunks::<4>().0) {
            let blk = BlockNr(u32::from_le_bytes(*word).into());
            let lblk = indirect::root_slot_start(slot, size);
            self.pointer(blk, indirect::root_slot_levels(slot), lblk);
        }
    }

    /// What a pointer leads to, `levels` blocks of pointers above the contents.
    fn pointer(&mut self, blk: BlockNr, levels: u32, lblk: u64) {
        if blk.0 == 0 {
            return;
        }
        if levels == 0 {
            self.add(What::Contents { lblk, unwritten: false }, blk, 1);
            return;
        }
        self.add(What::Node, blk, 1);
        let size = self.geo.block_size;
        let Some(block) = self.read(blk) else { return };
        let span = indirect::span(size, levels - 1);
        for (nr, word) in (0..).zip(block.as_chunks::<4>().0) {
            let blk = BlockNr(u32::from_le_bytes(*word).into());
            self.pointer(blk, levels - 1, lblk.saturating_add(span.saturating_mul(nr)));
        }
    }
}
