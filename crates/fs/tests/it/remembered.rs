//! What was checked once is not checked again while it is the same, and is as soon as it is not.

use crate::rig::{open, write};
use ext4_fs::{Error, NewFile};
use ext4_testkit::image::Recipe;
use ext4_units::{BlockNr, BlockRange, InodeNr, LogicalBlock};

/// Flips a bit of the device behind the filesystem's back, and lets it forget its copy.
fn damage(fs: &ext4_fs::Filesystem, blk: BlockNr, at: usize) {
    let byte = blk.byte(fs.geometry().block_size) + at as u64;
    let mut found = [0];
    fs.device().read_at(byte, &mut found).unwrap();
    fs.device().write_at(byte, &[found[0] ^ 1]).unwrap();
    fs.journal().forget_cached(BlockRange::new(blk, 1));
}

#[test]
fn damage_of_what_was_good_a_moment_ago_is_seen() {
    let Some(image) = Recipe::new("ext4-4k").image() else { return };
    let device = image.device();
    let fs = open(device.clone());
    let ino = fs.create(InodeNr::ROOT, b"comb", &NewFile::of_root(0o644)).unwrap();
    for at in 0..20 {
        write(&fs, ino, at * 8192, b"a tree of two levels").unwrap();
    }
    fs.close().unwrap();

    let fs = open(device);
    let inode = || fs.inode(fs.meta(), ino);
    let is_damage = |res: Result<(), Error>| matches!(res, Err(Error::Corrupt(_)));

    let (table, offset) = fs.inode_place(fs.meta(), ino).unwrap();
    let good = inode().unwrap();
    assert_eq!(inode().unwrap(), good);
    damage(&fs, table, offset + 0x10);
    assert!(is_damage(inode().map(drop)));
    damage(&fs, table, offset + 0x10);
    assert_eq!(inode().unwrap(), good);

    let node = u32::from_le_bytes(good.i_block[16..20].try_into().unwrap());
    let lookup = || fs.lookup(fs.meta(), &good, LogicalBlock(6)).map(drop);
    lookup().unwrap();
    damage(&fs, BlockNr(node.into()), 3000);
    assert!(is_damage(lookup()));
    damage(&fs, BlockNr(node.into()), 3000);
    lookup().unwrap();

    let group = fs.geometry().inode_place(ino).unwrap().group;
    let desc = fs.group(fs.meta(), group).unwrap();
    let bitmap = || fs.block_bitmap(fs.meta(), group).map(drop);
    bitmap().unwrap();
    damage(&fs, desc.block_bitmap, 700);
    assert!(is_damage(bitmap()));
}
