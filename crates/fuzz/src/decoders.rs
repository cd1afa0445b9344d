//! Every decoder of a structure on disk.

use crate::input::Input;
use ext4_ondisk::{
    checksum::Csum,
    dir_entry::{self, Area, Records},
    extent, fast_commit,
    features::{Compat, Features, Incompat, RoCompat},
    geometry::Geometry,
    group_desc::{DescFormat, GroupDesc},
    htree::{self, DxContext},
    inline_data,
    inode::{Inode, InodeFormat},
    jbd2::{BlockHeader, Checksums, Commit, JournalSuperblock, LogFormat, revokes, tags},
    mmp, orphan_file, quota,
    superblock::{RawSuperblock, Superblock},
    xattr,
};
use ext4_units::{BlockNr, BlockSize, GroupNr, InodeNr, LogicalBlock};
use zerocopy::FromBytes as _;

/// Gives the input to a decoder, or to one after the other where the second needs the first.
pub fn decoders(data: &[u8]) {
    let mut input = Input(data);
    let kind = input.byte();
    let size = BlockSize::from_bits(10 + u32::from(kind >> 6)).unwrap_or(BlockSize::MIN);
    let csum = (kind & 0x20 != 0).then_some(Csum(input.word()));
    let rest = input.0;
    match kind & 0x0F {
        0 => frame(rest),
        1 => inode(rest),
        2 => extents(rest, size),
        3 => drop(xattr::XattrBlock::decode(rest, BlockNr(7), csum)),
        4 => drop(xattr::parse_body(rest, InodeNr::ROOT)),
        5 => directory(rest, size, csum),
        6 => index(rest, size, csum),
        7 => journal(rest, size),
        8 => log_block(rest, size),
        9 => fast_commits(rest),
        10 => drop(mmp::RawMmp::decode(rest, BlockNr(7), csum)),
        11 => {
            drop(orphan_file::verify(rest, BlockNr(7), csum));
            drop(orphan_file::entries(rest).collect::<Vec<_>>());
        }
        12 => drop(quota::all(&Quota(rest))),
        13 => drop(quota::find(&Quota(rest), 1000)),
        _ => {
            drop(ext4_ondisk::acl::from_disk(rest));
            drop(ext4_ondisk::acl::to_disk(rest));
        }
    }
}

/// Superblock, geometry, descriptors.
fn frame(bytes: &[u8]) {
    let mut whole = [0; 1024];
    let n = bytes.len().min(1024);
    whole[..n].copy_from_slice(&bytes[..n]);
    let Ok((raw, _)) = RawSuperblock::read_from_prefix(&whole) else { return };
    drop(Superblock::decode(&raw));
    let Ok(sb) = Superblock::decode_unverified(&raw) else { return };
    let geo = Geometry::new(&sb);
    let format = DescFormat::new(&sb);
    for group in [0, 1, geo.groups_count.saturating_sub(1), geo.groups_count, u32::MAX] {
        let _ = geo.desc_place(GroupNr(group));
        drop(GroupDesc::decode(bytes, GroupNr(group), &format));
        drop(GroupDesc::decode_unverified(bytes, GroupNr(group), &format));
    }
    for ino in [1, 11, sb.inodes_count, u32::MAX] {
        let _ = InodeNr::new(ino).map(|it| geo.inode_place(it));
    }
}

/// An inode by the format that its first bytes choose.
fn inode(bytes: &[u8]) {
    let mut input = Input(bytes);
    let Some(format) = format_of(&mut input) else { return };
    let bytes = input.filled(format.inode_size());
    drop(Inode::decode(&bytes, InodeNr::ROOT, &format));
    let Ok(inode) = Inode::decode_unverified(&bytes, InodeNr::ROOT, &format) else { return };
    let entries = xattr::parse_body(&inode.ibody, InodeNr::ROOT).unwrap_or_default();
    let value = inline_data::attribute(&entries).unwrap_or_default();
    drop(inline_data::contents(&inode.i_block, value));
    let mut again = vec![0; bytes.len()];
    let _ = inode.encode(&mut again, InodeNr::ROOT, &format);
}

/// The format of inodes of one of a few filesystems.
fn format_of(input: &mut Input<'_>) -> Option<InodeFormat> {
    let mut sb = crate::base::superblock(input.below(crate::base::count()))?;
    let choice = input.byte();
    sb.inode_size = [128, 256, 512, 1024][usize::from(choice & 3)];
    sb.features = Features {
        compat: Compat::from_bits_retain(input.word()),
        incompat: Incompat::from_bits_retain(input.word()),
        ro_compat: RoCompat::from_bits_retain(input.word()),
    };
    Some(InodeFormat::new(&sb))
}

fn extents(bytes: &[u8], size: BlockSize) {
    let mut node = bytes.to_vec();
    node.resize(size.len(), 0);
    let max = u16::from_le_bytes([node[4], node[5]]);
    let _ = extent::stored_checksum(&node, max);
    let _ = extent::checksum(Csum(1), &node, max);
    for entry in node[12..].chunks_exact(12) {
        if let Ok(raw) = extent::RawExtent::ref_from_bytes(entry) {
            drop(extent::Extent::from_raw(raw).map(|it| it.within(1, 9)));
        }
        if let Ok(raw) = extent::RawExtentIdx::ref_from_bytes(entry) {
            let _ = extent::Index::from_raw(raw);
        }
    }
}

fn directory(bytes: &[u8], size: BlockSize, csum: Option<Csum>) {
    let place = Area::Block { ino: InodeNr::ROOT, lblk: LogicalBlock(0) };
    let mut block = bytes.to_vec();
    for record in Records::new(bytes, place, size, 1000) {
        if record.is_err() {
            break;
        }
    }
    block.resize(size.len(), 0);
    if let Some(csum) = csum {
        drop(dir_entry::verify_tail(&block, csum, place));
    }
    drop(Records::new(&block, place, size, u32::MAX).collect::<Vec<_>>());
}

fn index(bytes: &[u8], size: BlockSize, csum: Option<Csum>) {
    let mut block = bytes.to_vec();
    block.resize(size.len(), 0);
    for has_largedir in [false, true] {
        let context =
            DxContext { ino: InodeNr::ROOT, block_size: size, csum, has_largedir, n_blocks: 100 };
        let _ = htree::is_node(&block, size);
        drop(context.parse_root(&block));
        drop(context.parse_node(&block, LogicalBlock(1)));
        drop(context.reseal(&mut block.clone()));
        drop(context.reseal_root(&mut block.clone()));
    }
}

fn journal(bytes: &[u8], size: BlockSize) {
    let Ok(sb) = JournalSuperblock::decode(bytes, size, 4096) else { return };
    let _ = sb.checked_start();
    let _ = (sb.format(), sb.ring_end(), sb.fc_area());
}

/// A block of the log, as each kind there is.
fn log_block(bytes: &[u8], size: BlockSize) {
    let mut block = bytes.to_vec();
    block.resize(size.len(), 0);
    let _ = BlockHeader::decode(&block);
    for checksums in [Checksums::None, Checksums::V1, Checksums::V2, Checksums::V3] {
        let format = LogFormat {
            block_size: size,
            is_64bit: bytes.len().is_multiple_of(2),
            checksums,
            async_commit: false,
            seed: Csum(7),
        };
        let _ = format.check_tail(&block);
        drop(tags(&format, &block).collect::<Vec<_>>());
        drop(revokes(&format, &block).map(Iterator::collect::<Vec<_>>));
        let _ = (Commit::decode(&block), Commit::check(&format, &block, 3));
    }
}

fn fast_commits(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(tlv) = fast_commit::first_tlv(rest, 256) {
        drop(tlv.decode());
        let _ = tlv.sum(Csum(0));
        rest = rest.get(tlv.bytes.len()..).unwrap_or_default();
    }
}

/// A quota file of these bytes.
struct Quota<'a>(&'a [u8]);

impl quota::Blocks for Quota<'_> {
    type Error = ext4_ondisk::Corrupt;

    fn read(&self, blk: u32) -> Result<Vec<u8>, Self::Error> {
        let mut block = self.0.chunks(1024).nth(blk as usize).unwrap_or_default().to_vec();
        block.resize(1024, 0);
        Ok(block)
    }

    fn len(&self) -> u32 {
        u32::try_from(self.0.len().div_ceil(1024)).unwrap_or(u32::MAX)
    }
}
