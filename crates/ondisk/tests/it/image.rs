//! An image in memory, seen through its geometry.

use ext4_ondisk::{
    extent::{RawExtent, RawExtentHeader},
    geometry::Geometry,
    group_desc::{DescFormat, GroupDesc},
    inode::{Inode, InodeFormat},
    superblock::{RawSuperblock, Superblock},
};
use ext4_testkit::image::Image;
use ext4_units::{BlockNr, GroupNr, InodeNr};
use zerocopy::FromBytes;

pub(crate) struct Opened {
    pub(crate) image: Image,
    pub(crate) sb: Superblock,
    pub(crate) geo: Geometry,
    pub(crate) descs: DescFormat,
    pub(crate) inodes: InodeFormat,
}

impl Opened {
    #[track_caller]
    pub(crate) fn new(image: Image) -> Self {
        let sb = Superblock::decode(RawSuperblock::of(&image.bytes()[1024..]).unwrap()).unwrap();
        let geo = Geometry::new(&sb);
        Self { descs: DescFormat::new(&sb), inodes: InodeFormat::new(&sb), image, sb, geo }
    }

    pub(crate) fn raw(&self) -> &RawSuperblock {
        RawSuperblock::of(&self.image.bytes()[1024..]).unwrap()
    }

    pub(crate) fn block(&self, blk: BlockNr) -> &[u8] {
        let start = usize::try_from(blk.byte(self.geo.block_size)).unwrap();
        &self.image.bytes()[start..start + self.geo.block_size.len()]
    }

    pub(crate) fn desc_bytes(&self, group: GroupNr) -> &[u8] {
        let (blk, offset) = self.geo.desc_place(group);
        &self.block(blk)[offset..offset + usize::from(self.geo.desc_size)]
    }

    #[track_caller]
    pub(crate) fn desc(&self, group: GroupNr) -> GroupDesc {
        GroupDesc::decode(self.desc_bytes(group), group, &self.descs).unwrap()
    }

    pub(crate) fn inode_bytes(&self, ino: InodeNr) -> &[u8] {
        let place = self.geo.inode_place(ino).unwrap();
        let table = self.desc(place.group).inode_table.plus(place.table_block.into());
        &self.block(table)[place.offset..place.offset + usize::from(self.geo.inode_size)]
    }

    #[track_caller]
    pub(crate) fn inode(&self, ino: InodeNr) -> Inode {
        Inode::decode(self.inode_bytes(ino), ino, &self.inodes).unwrap()
    }

    /// The blocks of a file whose extents all lie in its inode.
    pub(crate) fn blocks_of(inode: &Inode) -> Vec<BlockNr> {
        let (head, entries) = inode.i_block.split_at(size_of::<RawExtentHeader>());
        let head = RawExtentHeader::ref_from_bytes(head).unwrap();
        assert_eq!(head.eh_depth.get(), 0);
        let extents = entries.chunks_exact(size_of::<RawExtent>());
        let extents = extents.take(head.eh_entries.get().into());
        let runs = extents.map(|raw| RawExtent::ref_from_bytes(raw).unwrap());
        runs.flat_map(|raw| (0..u64::from(raw.len())).map(|i| raw.start().plus(i))).collect()
    }

    /// The inodes that the bitmaps say are used.
    pub(crate) fn used_inodes(&self) -> Vec<InodeNr> {
        let mut found = Vec::new();
        for group in self.geo.groups() {
            let desc = self.desc(group);
            if desc.has_uninit_inode_bitmap(&self.sb) {
                continue;
            }
            let bitmap = self.block(desc.inode_bitmap);
            let bits = (0..self.geo.inodes_per_group)
                .filter(|&bit| ext4_ondisk::bitmap::is_set(bitmap, bit));
            found.extend(bits.filter_map(|bit| self.geo.inode_at(group, bit)));
        }
        found
    }
}
