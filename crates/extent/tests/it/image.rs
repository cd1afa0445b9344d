//! The maps of a file system image, found with as little as possible.

use crate::store::Error;
use ext4_extent::{Context, Format, NodeRead};
use ext4_ondisk::{
    geometry::Geometry,
    group_desc::{DescFormat, GroupDesc},
    inode::{Inode, InodeFlags, InodeFormat},
    superblock::{RawSuperblock, Superblock},
};
use ext4_units::{BlockNr, InodeNr};
use std::{fs, path::Path, sync::Arc};
use zerocopy::FromBytes;

pub(crate) struct Image {
    bytes: Vec<u8>,
    sb: Superblock,
    geometry: Geometry,
}

impl NodeRead for Image {
    type Error = Error;

    fn read(&self, blk: BlockNr) -> Result<Arc<[u8]>, Error> {
        let start = usize::try_from(blk.byte(self.sb.block_size)).unwrap();
        Ok(self.bytes[start..start + self.sb.block_size.len()].into())
    }
}

impl Image {
    pub(crate) fn open(file: &Path) -> Self {
        let bytes = fs::read(file).unwrap();
        let (raw, _) = RawSuperblock::ref_from_prefix(&bytes[1024..]).unwrap();
        let sb = Superblock::decode(raw).unwrap();
        let geometry = Geometry::new(&sb);
        Self { bytes, sb, geometry }
    }

    pub(crate) fn inode(&self, ino: u32) -> Inode {
        let ino = InodeNr::new(ino).unwrap();
        let place = self.geometry.inode_place(ino).unwrap();
        let (desc_block, offset) = self.geometry.desc_place(place.group);
        let format = DescFormat::new(&self.sb);
        let block = self.read(desc_block).unwrap();
        let desc = &block[offset..offset + format.desc_size()];
        let desc = GroupDesc::decode(desc, place.group, &format).unwrap();
        let block = self.read(desc.inode_table.plus(u64::from(place.table_block))).unwrap();
        let format = InodeFormat::new(&self.sb);
        let bytes = &block[place.offset..place.offset + format.inode_size()];
        Inode::decode(bytes, ino, &format).unwrap()
    }

    /// How an inode maps its blocks; `None` when it has no map.
    pub(crate) fn format(inode: &Inode) -> Option<Format> {
        let kind = inode.mode & 0xF000;
        let is_fast_symlink = kind == 0xA000 && inode.size < 60;
        if inode.flags.contains(InodeFlags::INLINE_DATA)
            || !matches!(kind, 0x4000 | 0x8000 | 0xA000)
            || is_fast_symlink
        {
            return None;
        }
        let extents = inode.flags.contains(InodeFlags::EXTENTS);
        Some(if extents { Format::Extents } else { Format::Indirect })
    }

    pub(crate) fn context(&self, ino: u32, inode: &Inode) -> Context {
        let ino = InodeNr::new(ino).unwrap();
        Context {
            ino,
            block_size: self.sb.block_size,
            csum: InodeFormat::new(&self.sb).seed(ino, inode.generation),
            blocks: self.geometry.all_blocks(),
            zones: Arc::new([]),
            checked: None,
        }
    }
}
