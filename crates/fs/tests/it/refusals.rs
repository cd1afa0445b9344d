//! What is refused, and that nothing has happened then.

use crate::rig::{image, open, write};
use ext4_blockdev::{BlockDevice, MemoryDevice};
use ext4_fs::{Filesystem, Last, NewFile, Replace, SetXattr, Setattr};
use ext4_ondisk::inode::{FileType, InodeFlags};
use ext4_testkit::{image::Recipe, image::assert_clean, judge::judge};
use ext4_units::{InodeNr, LogicalBlock};
use std::sync::Arc;

const ROOT: InodeNr = InodeNr::ROOT;
const FILE: NewFile = NewFile::of_root(0o644);
const DIR: NewFile = NewFile::of_root(0o755);

fn fresh(profile: &str) -> Option<(Filesystem, Arc<MemoryDevice>)> {
    let device = image(profile)?.device();
    Some((open(Arc::clone(&device) as _), device))
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: ext4_fs::Result<T>, errno: i32) {
    let err = result.unwrap_err();
    assert_eq!(err.errno(), errno, "{err}");
}

fn set_flags(fs: &Filesystem, ino: InodeNr, flags: InodeFlags) -> ext4_fs::Result<()> {
    let flags = fs.inode(fs.meta(), ino)?.flags | flags;
    fs.setattr(ino, &Setattr { flags: Some(flags), ..Setattr::default() })
}

#[test]
fn names_that_cannot_be() {
    let Some((fs, device)) = fresh("ext4-1k") else { return };
    let file = fs.create(ROOT, b"f", &FILE).unwrap();
    let dir = fs.mkdir(ROOT, b"d", &DIR).unwrap();
    refused(fs.create(ROOT, &[b'x'; 256], &FILE), 36);
    fs.create(ROOT, &[b'x'; 255], &FILE).unwrap();
    for name in [&b""[..], b".", b"..", b"a/b", b"a\0b"] {
        refused(fs.create(ROOT, name, &FILE), 22);
        refused(fs.unlink(ROOT, name), 22);
        refused(fs.rename(ROOT, b"f", ROOT, name, Replace::Yes), 22);
    }
    refused(fs.create(ROOT, b"f", &FILE), 17);
    refused(fs.mkdir(ROOT, b"f", &DIR), 17);
    refused(fs.link(file, ROOT, b"d"), 17);
    refused(fs.link(dir, ROOT, b"d2"), 21);
    refused(fs.create(file, b"below", &FILE), 20);
    refused(fs.unlink(ROOT, b"d"), 21);
    refused(fs.unlink(ROOT, b"none"), 2);
    refused(fs.rmdir(ROOT, b"f"), 20);
    refused(fs.symlink(ROOT, b"l", b"", &FILE), 22);
    refused(fs.symlink(ROOT, b"l", &[b't'; 1024], &FILE), 36);
    fs.create(dir, b"in", &FILE).unwrap();
    refused(fs.rmdir(ROOT, b"d"), 39);
    refused(fs.rename(ROOT, b"f", ROOT, b"d", Replace::Yes), 21);
    refused(fs.rename(ROOT, b"d", ROOT, b"f", Replace::Yes), 20);
    refused(fs.rename(ROOT, b"d", dir, b"inside", Replace::Yes), 22);
    refused(fs.rename(ROOT, b"f", dir, b"in", Replace::No), 17);
    refused(fs.mkdir_all(b"/f/x", &DIR), 20);
    refused(fs.mknod(ROOT, b"dev", FileType::BlockDevice, (5000, 0), &FILE), 95);
    refused(fs.truncate(dir, 0), 21);
    refused(fs.fallocate(file, 0, 0, false), 22);
    refused(fs.fallocate(file, 1 << 62, 1, false), 27);
    refused(fs.punch_hole(dir, 0, 1), 21);
    fs.close().unwrap();
    assert_eq!(judge(&*device), []);
    assert_clean(&*device).unwrap();
}

#[test]
fn attributes_that_cannot_be() {
    let Some((fs, device)) = fresh("ext4-1k") else { return };
    let file = fs.create(ROOT, b"f", &FILE).unwrap();
    let link = fs.symlink(ROOT, b"l", b"f", &FILE).unwrap();
    let any = SetXattr::Any;
    refused(fs.set_xattr(file, b"system.data", b"x", any), 95);
    refused(fs.set_xattr(file, b"strange.x", b"x", any), 95);
    refused(fs.set_xattr(file, b"user.", b"x", any), 95);
    refused(fs.set_xattr(file, &[&b"user."[..], &[b'n'; 256]].concat(), b"x", any), 36);
    refused(fs.set_xattr(link, b"user.x", b"x", any), 22);
    refused(fs.set_xattr(file, b"system.posix_acl_default", &[1, 0, 0, 0], any), 22);
    refused(fs.set_xattr(file, b"system.posix_acl_access", b"nonsense", any), 95);
    refused(fs.set_xattr(file, b"user.x", &vec![0; 65537], any), 27);
    refused(fs.set_xattr(file, b"user.x", &[0; 2000], any), 28);
    refused(fs.set_xattr(file, b"user.x", b"", SetXattr::Replace), 61);
    fs.set_xattr(file, b"user.x", b"", SetXattr::Create).unwrap();
    refused(fs.set_xattr(file, b"user.x", b"", SetXattr::Create), 17);
    refused(fs.remove_xattr(file, b"user.y"), 61);
    fs.close().unwrap();
    assert_clean(&*device).unwrap();
}

#[test]
fn flags_protect() {
    let Some((fs, device)) = fresh("ext4-1k") else { return };
    let file = fs.create(ROOT, b"f", &FILE).unwrap();
    let dir = fs.mkdir(ROOT, b"d", &DIR).unwrap();
    fs.create(dir, b"in", &FILE).unwrap();
    for flag in [InodeFlags::IMMUTABLE, InodeFlags::APPEND] {
        set_flags(&fs, file, flag).unwrap();
        set_flags(&fs, dir, flag).unwrap();
        refused(fs.unlink(ROOT, b"f"), 1);
        refused(fs.link(file, ROOT, b"g"), 1);
        refused(fs.rename(ROOT, b"f", ROOT, b"g", Replace::Yes), 1);
        refused(fs.unlink(dir, b"in"), 1);
        refused(fs.truncate(file, 0), 1);
        refused(fs.punch_hole(file, 0, 1), 1);
        refused(fs.set_xattr(file, b"user.x", b"", SetXattr::Any), 1);
        refused(fs.setattr(file, &Setattr { mode: Some(0), ..Setattr::default() }), 1);
        let made = fs.create(dir, b"more", &FILE);
        if flag == InodeFlags::IMMUTABLE {
            refused(made, 1);
        } else {
            made.unwrap();
        }
        for ino in [file, dir] {
            let flags = fs.inode(fs.meta(), ino).unwrap().flags - flag;
            fs.setattr(ino, &Setattr { flags: Some(flags), ..Setattr::default() }).unwrap();
        }
    }
    refused(set_flags(&fs, file, InodeFlags::JOURNAL_DATA), 95);
    fs.unlink(ROOT, b"f").unwrap();
    fs.close().unwrap();
    assert_clean(&*device).unwrap();
}

#[test]
fn directories_that_need_more_than_bytes_to_compare_are_refused() {
    let recipe = Recipe::new("ext4-4k").options("-O casefold,encrypt");
    let Some(image) = recipe.image() else { return };
    let device = image.device();
    let fs = open(Arc::clone(&device) as _);
    for flag in [InodeFlags::CASEFOLD, InodeFlags::ENCRYPT] {
        let dir = fs.mkdir(ROOT, format!("{flag:?}").as_bytes(), &DIR).unwrap();
        let mut h = fs.start(2).unwrap();
        let mut inode = h.inode(dir).unwrap();
        inode.disk.flags |= flag;
        h.put_inode(&inode).unwrap();
        h.stop().unwrap();
        refused(fs.create(dir, b"x", &FILE), 95);
        refused(fs.mkdir(dir, b"x", &DIR), 95);
    }
    let old = fs.create(ROOT, b"old", &FILE).unwrap();
    assert_eq!(fs.resolve(fs.meta(), b"/old", Last::Stay).unwrap().ino, old);
    drop(fs);
}

#[test]
fn files_without_extents_cannot_be_preallocated() {
    let Some((fs, device)) = fresh("ext3-1k") else { return };
    let file = fs.create(ROOT, b"f", &FILE).unwrap();
    refused(fs.fallocate(file, 0, 1000, false), 95);
    fs.close().unwrap();
    assert_clean(&*device).unwrap();
}

#[test]
fn a_file_without_names_stays_while_it_is_open() {
    for profile in ["ext4-1k", "orphan-1k"] {
        let Some((fs, device)) = fresh(profile) else { return };
        let file = fs.create(ROOT, b"f", &FILE).unwrap();
        write(&fs, file, 0, &[7; 5000]).unwrap();
        let gone = fs.unlink_open(ROOT, b"f").unwrap();
        assert!(gone.is_last && gone.ino == file && fs.is_orphan(file));
        // Still there to be written, but not to be named.
        write(&fs, file, 5000, &[8; 5000]).unwrap();
        refused(fs.link(file, ROOT, b"again"), 116);
        fs.truncate(file, 8000).unwrap();
        assert!(fs.is_orphan(file), "a truncate leaves the record of the unlink");
        fs.commit().unwrap();

        let crashed = Arc::new(MemoryDevice::new(device.contents()));
        let other = open(Arc::clone(&crashed) as _);
        refused(other.release(file), 116);
        other.close().unwrap();
        assert_eq!(judge(&*crashed), [], "{profile}: recovery deletes it");

        fs.release(file).unwrap();
        refused(fs.release(file), 116);
        fs.close().unwrap();
        assert_eq!(judge(&*device), [], "{profile}");
        assert_clean(&*device).unwrap();
    }
}

#[test]
fn missing_directories_on_a_path_are_made() {
    let Some((fs, device)) = fresh("inline-4k") else { return };
    let deep = fs.mkdir_all(b"/a/b//c/", &DIR).unwrap();
    assert_eq!(fs.mkdir_all(b"a/b/c", &DIR).unwrap(), deep);
    fs.symlink(ROOT, b"l", b"a/b", &FILE).unwrap();
    let beside = fs.mkdir_all(b"/l/d", &DIR).unwrap();
    assert_eq!(fs.resolve(fs.meta(), b"/a/b/d", Last::Stay).unwrap().ino, beside);
    fs.close().unwrap();
    assert_clean(&*device).unwrap();
    assert!(device.len() > 0);
}

#[test]
fn scenario_30_no_file_has_a_block_behind_the_last_number() {
    // A mapping call of the kernel's direct write is EINVAL there (`ext4_iomap_begin`); the largest
    // file ends before, so that no request comes so far.
    let Some(image) = Recipe::new("ext4-4k").image() else { return };
    let device = image.device();
    let fs = open(Arc::clone(&device) as _);
    let ino = fs.create(ROOT, b"f", &FILE).unwrap();
    fs.commit().unwrap();
    let before = device.contents();
    let inode = fs.inode(fs.meta(), ino).unwrap();
    assert!(fs.geometry().max_bytes <= u64::from(u32::MAX) * 4096);
    let past = LogicalBlock(u32::MAX);
    let mut h = fs.start(fs.allocate_credits(&inode, 1).unwrap() + 1).unwrap();
    let mut changed = h.inode(ino).unwrap();
    let res = h.allocate(&mut changed, past, 1, true);
    drop(h);
    assert_eq!(res.map_err(|err| err.errno()), Err(22));
    assert!(device.contents() == before);
    // The block before is the last one that there is.
    let mut h = fs.start(fs.allocate_credits(&inode, 1).unwrap() + 1).unwrap();
    let mut changed = h.inode(ino).unwrap();
    let mapping = h.allocate(&mut changed, LogicalBlock(u32::MAX - 1), 1, true).unwrap();
    assert_eq!((mapping.lblk.0, mapping.len), (u32::MAX - 1, 1));
    drop(h);
    fs.close().unwrap();
}
