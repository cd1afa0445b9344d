//! Damaged inodes, directories, attributes and bitmaps: every operation says what is wrong, or
//! works; none panics or runs for ever.

use crate::rig::{Pair, open, write};
use ext4_blockdev::BlockDevice;
use ext4_fs::{Filesystem, NewFile, RecoverOptions, Replace, SetXattr, Setattr, recover};
use ext4_testkit::{image::Image, image::Recipe, rng::Rng, view::View};
use ext4_units::InodeNr;
use std::sync::Arc;

/// Where the bytes are that operations look at.
fn interesting(image: &Image) -> Vec<(u64, u64)> {
    let view = View::new(image).unwrap();
    let bs = view.block_size as u64;
    let mut places = Vec::new();
    for (path, ino) in view.paths().unwrap() {
        let node = view.inode(ino).unwrap();
        let per_group = u64::from(view.sb.s_inodes_per_group.get());
        let (group, idx) = ((u64::from(ino) - 1) / per_group, (u64::from(ino) - 1) % per_group);
        let table = view.groups[usize::try_from(group).unwrap()].inode_table;
        let size = view.inode_size() as u64;
        places.push((table * bs + idx * size, size));
        if node.acl_block() != 0 {
            places.push((node.acl_block() * bs, bs));
        }
        for blk in view.map_blocks(&node).unwrap() {
            places.push((blk * bs, 60));
        }
        if node.file_type() == 0o040_000 && path != "lost+found" {
            for run in view.runs(&node).unwrap() {
                places.push((run.start * bs, run.len * bs));
            }
        }
    }
    for group in &view.groups {
        places.push((group.block_bitmap * bs, 64));
        places.push((group.inode_bitmap * bs, 16));
    }
    places
}

fn all_operations(fs: &Filesystem, inodes: &[(InodeNr, InodeNr, Vec<u8>)]) {
    let file = NewFile::of_root(0o644);
    for (i, (dir, ino, name)) in inodes.iter().enumerate() {
        let new = format!("new{i}");
        let _ = fs.create(*ino, new.as_bytes(), &file);
        let _ = fs.mkdir(*dir, new.as_bytes(), &file);
        let _ = fs.link(*ino, *dir, format!("link{i}").as_bytes());
        let _ = fs.set_xattr(*ino, b"user.a", &[1; 200], SetXattr::Any);
        let _ = fs.set_xattr(*ino, b"user.b", &[1; 700], SetXattr::Any);
        let _ = fs.remove_xattr(*ino, b"user.bb");
        let _ = fs.setattr(*ino, &Setattr { mode: Some(0o600), ..Setattr::default() });
        let _ = fs.inline_write(*ino, 10, b"bytes");
        if fs.inode(fs.meta(), *ino).is_ok_and(|it| it.is_regular()) {
            let _ = write(fs, *ino, 3000, &[3; 3000]);
        }
        let _ = fs.fallocate(*ino, 10_000, 9000, false);
        let _ = fs.punch_hole(*ino, 500, 9000);
        let _ = fs.truncate(*ino, 100);
        let _ = fs.inline_to_blocks(*ino);
        match i % 3 {
            0 => drop(fs.rename(*dir, name, InodeNr::ROOT, new.as_bytes(), Replace::Yes)),
            1 => drop(fs.unlink(*dir, name)),
            _ => drop(fs.rmdir(*dir, name)),
        }
    }
}

fn mutate(profile: &str, options: &str, n: u64) {
    let Some(empty) = Recipe::new(profile).mib(8).options(options).image() else { return };
    let device = empty.device();
    let mut pair = Pair::new(open(Arc::clone(&device) as _), 11);
    for _ in 0..150 {
        pair.step().unwrap();
    }
    let inodes: Vec<_> = pair
        .names
        .keys()
        .filter(|path| !path.is_empty())
        .map(|path| {
            let dir = pair.node(crate::rig::parent_of(path)).ino;
            (dir, pair.node(path).ino, crate::rig::name_of(path).to_vec())
        })
        .collect();
    pair.fs.close().unwrap();
    let image = Image::new(device.contents());
    let places = interesting(&image);
    for seed in 0..n {
        let mut rng = Rng::new(seed);
        let device = image.overlay();
        for _ in 0..=rng.below(4) {
            let &(start, len) = rng.pick(&places);
            let at = start + rng.next_u64() % len;
            let value = [0, 1, 0x80, 0xFF, rng.next_u64().to_le_bytes()[0]][rng.below(5)];
            device.write_at(at, &[value]).unwrap();
        }
        let options = RecoverOptions::new(crate::rig::clock());
        let Ok(recovered) = recover(device, &options) else { continue };
        all_operations(&recovered.fs, &inodes);
        let _ = recovered.fs.close();
    }
}

#[test]
fn no_damage_makes_an_operation_panic() {
    mutate("ext4-nocsum", "-b 1024", 60);
    mutate("ext3-1k", "", 60);
    mutate("inline-4k", "-O ^metadata_csum", 60);
    mutate("ea-inode-1k", "-O ^metadata_csum", 60);
    mutate("bigalloc-1k", "-O ^metadata_csum", 60);
    mutate("ext4-1k", "", 20);
}
