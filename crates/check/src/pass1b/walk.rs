//! Everything an inode has: blocks of contents, blocks of its map, its block of attributes. For inodes
//! that pass 1 let pass; what does not hold together is left out.

use crate::{Result, session::Session};
use ext4_ondisk::{
    extent::{Extent, Index, MAX_DEPTH, RawExtent, RawExtentHeader, RawExtentIdx},
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

/// All pieces of an inode, contents in the order of the file.
pub(crate) fn pieces(session: &Session<'_, '_>, inode: &Inode) -> Result<Vec<Piece>> {
    let mut walk = Walk { session, pieces: Vec::new() };
    if let Some(acl) = inode.file_acl {
        walk.add(What::Attributes, acl, 1);
    }
    let has_map = match inode.file_type() {
        FileType::Regular | FileType::Directory | FileType::Unknown => true,
        // A short target is in the place of the map.
        FileType::Symlink => inode.sectors > 0 && (inode.size >= 60 || inode.file_acl.is_none()),
        _ => false,
    };
    if !has_map || inode.flags.contains(InodeFlags::INLINE_DATA) {
        return Ok(walk.pieces);
    }
    if inode.flags.contains(InodeFlags::EXTENTS) {
        walk.node(&inode.i_block, MAX_DEPTH)?;
    } else {
        walk.pointers(&inode.i_block)?;
    }
    Ok(walk.pieces)
}

struct Walk<'w, 'r, 'a> {
    session: &'w Session<'r, 'a>,
    pieces: Vec<Piece>,
}

impl Walk<'_, '_, '_> {
    fn add(&mut self, what: What, start: BlockNr, len: u64) {
        let end = self.session.geo.blocks_count.min(self.session.image.n_blocks());
        let is_inside = start.0.checked_add(len).is_some_and(|it| it <= end);
        if len > 0 && start.0 > 0 && is_inside {
            self.pieces.push(Piece { what, start, len });
        }
    }

    /// A node of an extent tree, at most `depth` levels high: each level is one less, so that no circle
    /// can be walked twice.
    fn node(&mut self, bytes: &[u8], depth: u16) -> Result<()> {
        let Ok((header, rest)) = RawExtentHeader::ref_from_prefix(bytes) else { return Ok(()) };
        let (own, n) = (header.eh_depth.get(), usize::from(header.eh_entries.get()));
        if own > depth {
            return Ok(());
        }
        if own == 0 {
            let Ok((entries, _)) = <[RawExtent]>::ref_from_prefix_with_elems(rest, n) else {
                return Ok(());
            };
            for raw in entries {
                let Ok(Extent { lblk, len, start, unwritten }) = Extent::from_raw(raw) else {
                    continue;
                };
                let what = What::Contents { lblk: lblk.0.into(), unwritten };
                self.add(what, start, len.into());
            }
            return Ok(());
        }
        let Ok((entries, _)) = <[RawExtentIdx]>::ref_from_prefix_with_elems(rest, n) else {
            return Ok(());
        };
        for raw in entries {
            let leaf = Index::from_raw(raw).child;
            self.add(What::Node, leaf, 1);
            if let Ok(block) = self.session.image.read(leaf) {
                self.node(&block, own - 1)?;
            }
        }
        Ok(())
    }

    /// The pointers of an inode.
    fn pointers(&mut self, i_block: &[u8; 60]) -> Result<()> {
        let size = self.session.geo.block_size;
        for (slot, word) in (0..).zip(i_block.as_chunks::<4>().0) {
            let blk = BlockNr(u32::from_le_bytes(*word).into());
            let lblk = indirect::root_slot_start(slot, size);
            self.pointer(blk, indirect::root_slot_levels(slot), lblk)?;
        }
        Ok(())
    }

    /// What a pointer leads to, `levels` blocks of pointers above the contents.
    fn pointer(&mut self, blk: BlockNr, levels: u32, lblk: u64) -> Result<()> {
        if blk.0 == 0 {
            return Ok(());
        }
        if levels == 0 {
            self.add(What::Contents { lblk, unwritten: false }, blk, 1);
            return Ok(());
        }
        self.add(What::Node, blk, 1);
        let size = self.session.geo.block_size;
        let Ok(block) = self.session.image.read(blk) else { return Ok(()) };
        let span = indirect::span(size, levels - 1);
        for (nr, word) in (0..).zip(block.as_chunks::<4>().0) {
            let blk = BlockNr(u32::from_le_bytes(*word).into());
            self.pointer(blk, levels - 1, lblk.saturating_add(span.saturating_mul(nr)))?;
        }
        Ok(())
    }
}
