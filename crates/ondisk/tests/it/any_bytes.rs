//! Any bytes are valid input: decoding says what is wrong, or gives something that no arithmetic
//! on it overflows.

use crate::image::Opened;
use ext4_ondisk::{
    geometry::Geometry,
    group_desc::{DescFormat, GroupDesc},
    inode::{Inode, InodeFlags, InodeFormat},
    quota,
    superblock::{RawSuperblock, Superblock},
    xattr,
};
use ext4_testkit::image::Recipe;
use ext4_units::{BlockNr, BlockRange, GroupNr, InodeNr};
use zerocopy::{FromBytes, IntoBytes};

/// The same sequence at every run (xorshift64*).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    /// A number as damage likes them: extreme, a power of two, or any.
    fn number(&mut self) -> u32 {
        match self.below(4) {
            0 => [0, 1, 2, u32::MAX, u32::MAX - 1, 0x7FFF_FFFF][self.below(6)],
            1 => 1 << self.below(32),
            2 => (1u32 << self.below(32)).wrapping_sub(1),
            _ => (self.next() >> 32) as u32,
        }
    }
}

fn use_geometry(geo: &Geometry, rng: &mut Rng) {
    let groups = [0, 1, geo.groups_count / 2, geo.groups_count - 1, geo.groups_count, u32::MAX];
    for group in groups.map(GroupNr).into_iter().chain([GroupNr(rng.number())]) {
        let _ = (geo.group_blocks(group), geo.group_clusters(group), geo.has_super(group));
        let _ =
            (geo.base_metadata(group), geo.flex_group(group), geo.inode_at(group, rng.number()));
        if group.0 < geo.groups_count {
            let (blk, offset) = geo.desc_place(group);
            assert!(offset + usize::from(geo.desc_size) <= geo.block_size.len());
            let _ = geo.contains(blk);
        }
        let _ = geo.cluster_block(group, rng.number());
    }
    for ino in [1, 2, geo.inodes_count, rng.number().max(1)] {
        let ino = InodeNr::new(ino).unwrap();
        if let Some(place) = geo.inode_place(ino) {
            assert_eq!(geo.inode_at(place.group, place.index), Some(ino));
            assert!(place.offset + usize::from(geo.inode_size) <= geo.block_size.len());
            assert!(place.table_block < geo.itable_blocks());
        }
    }
    for blk in [0, 1, geo.blocks_count - 1, geo.blocks_count, rng.next(), u64::MAX] {
        let blk = BlockNr(blk);
        if let Some((group, bit)) = geo.cluster_bit(blk) {
            assert!(bit < geo.group_clusters(group));
            let first = geo.cluster_block(group, bit);
            assert!(first <= blk && blk.0 - first.0 < u64::from(geo.cluster_ratio()));
        }
        let _ = geo.contains_range(BlockRange::new(blk, rng.next()));
    }
    assert!(geo.max_bytes > 0 && geo.bitmap_max_bytes > 0);
}

#[test]
fn a_superblock_that_is_accepted_has_a_geometry_without_overflows() {
    let mut rng = Rng(0x5EED);
    let mut n_good = 0;
    for name in ["ext4-4k", "ext4-1k", "bigalloc-1k", "metabg-1k", "super2-4k", "ext2-1k"] {
        let Some(image) = Recipe::new(name).image() else { return };
        let it = Opened::new(image);
        for _ in 0..4000 {
            let mut raw = it.raw().clone();
            for _ in 0..=rng.below(4) {
                // Most fields are words; the layout is in the first 0x60 bytes and around 0x100.
                let words = [
                    0x00..0x30usize,
                    0x48..0x68,
                    0xCC..0xD0,
                    0xFC..0x108,
                    0x150..0x15C,
                    0x174..0x178,
                ];
                let range = words[rng.below(words.len())].clone();
                let at = range.start + rng.below(range.len() / 4) * 4;
                raw.as_mut_bytes()[at..at + 4].copy_from_slice(&rng.number().to_le_bytes());
            }
            // A field may need its neighbour to be believed.
            if rng.below(2) == 0 {
                let groups = raw.blocks_count().wrapping_sub(raw.s_first_data_block.get().into());
                let groups = groups.div_ceil(u64::from(raw.s_blocks_per_group.get()).max(1));
                let inodes = groups.wrapping_mul(raw.s_inodes_per_group.get().into());
                raw.s_inodes_count.set((inodes & 0xFFFF_FFFF) as u32);
            }
            if let Ok(sb) = Superblock::decode_unverified(&raw) {
                n_good += 1;
                use_geometry(&Geometry::new(&sb), &mut rng);
                let _ = (DescFormat::new(&sb), InodeFormat::new(&sb), sb.cluster_bytes());
                raw.update_checksum();
                assert!(
                    raw.s_checksum_type != 1
                        || raw.s_magic.get() != RawSuperblock::MAGIC
                        || Superblock::decode(&raw).is_ok()
                );
            }
        }
    }
    assert!(n_good > 2000, "only {n_good} were accepted: the test sees too little");
}

#[test]
fn other_structures_take_any_bytes() {
    let Some(image) = Recipe::new("ext4-nocsum").image() else { return };
    let it = Opened::new(image);
    let mut rng = Rng(0xB17E5);
    for round in 0..20_000usize {
        let mut bytes: Vec<u8> = (0..1024).map(|_| (rng.next() >> 56) as u8).collect();
        if round.is_multiple_of(2) {
            let zeros = rng.below(1024);
            bytes[zeros..].fill(0);
        }
        let ino = InodeNr::new(rng.number().max(1)).unwrap();
        if let Ok(mut inode) = Inode::decode(&bytes, ino, &it.inodes) {
            // The unit of i_blocks follows from the count when it is written.
            inode.flags.remove(InodeFlags::HUGE_FILE);
            let mut again = bytes.clone();
            if inode.encode(&mut again, ino, &it.inodes).is_ok() {
                let mut second = Inode::decode(&again, ino, &it.inodes).unwrap();
                second.flags.remove(InodeFlags::HUGE_FILE);
                assert_eq!(second, inode);
            }
        }
        let group = GroupNr(rng.number());
        if let Ok(desc) = GroupDesc::decode(&bytes, group, &it.descs) {
            let _ = it.geo.check_group_desc(GroupNr(0), &desc);
        }
        bytes[..4].copy_from_slice(&xattr::MAGIC.to_le_bytes());
        bytes[8..12].copy_from_slice(&1u32.to_le_bytes());
        let _ = xattr::parse_body(&bytes, ino);
        let _ = xattr::XattrBlock::decode(&bytes, BlockNr(1), None);
        let _ = ext4_ondisk::acl::from_disk(&bytes);
        if let Ok((raw, _)) = quota::RawRecord::ref_from_prefix(&bytes) {
            let record = quota::Record::decode(raw).unwrap_or_default();
            assert_eq!(quota::Record::decode(&record.encode()), Some(record));
        }
    }
}
