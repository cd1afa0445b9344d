//! The same operations done by the kernel and by us leave the same filesystem; and what the kernel
//! made, we change.

use crate::rig::{image, open, write};
use ext4_blockdev::{BlockDevice, MemoryDevice};
use ext4_fs::{Filesystem, Last, NewFile, Replace, SetXattr, Setattr};
use ext4_ondisk::{acl, inode::InodeFlags};
use ext4_testkit::{
    image::{Image, Recipe, assert_clean},
    judge::judge,
    mount::Mount,
    oracle::{self, Need, skip_without},
    view::View,
};
use ext4_units::InodeNr;
use rustix::fs::{FallocateFlags, IFlags, XattrFlags};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink},
    path::Path,
    sync::Arc,
};

const ROOT: InodeNr = InodeNr::ROOT;

/// user::rwx user:1000:rwx group::r-x mask::rwx other::r-x, as programs write it.
fn default_acl() -> Vec<u8> {
    let entry = |tag: u16, perm: u16, id: u32| {
        [&tag.to_le_bytes()[..], &perm.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let none = u32::MAX;
    let entries = [(1, 7, none), (2, 7, 1000), (4, 5, none), (16, 7, none), (32, 5, none)];
    let entries = entries.into_iter().flat_map(|(tag, perm, id)| entry(tag, perm, id));
    2_u32.to_le_bytes().into_iter().chain(entries).collect()
}

fn long(n: usize) -> String {
    format!("{n:y>60}")
}

fn create(path: std::path::PathBuf, mode: u32) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

fn mkdir(path: std::path::PathBuf) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o755).create(path)
}

/// What the kernel does.
fn by_kernel(root: &Path) -> io::Result<()> {
    rustix::process::umask(rustix::fs::Mode::empty());
    mkdir(root.join("d"))?;
    mkdir(root.join("d/e"))?;
    create(root.join("d/f"), 0o644)?;
    for n in [1, 59, 60, 500] {
        symlink("t".repeat(n), root.join(format!("link{n}")))?;
    }
    fs::hard_link(root.join("d/f"), root.join("g"))?;
    mkdir(root.join("many"))?;
    for n in 0..150 {
        create(root.join("many").join(long(n)), 0o600)?;
    }
    for n in (0..150).step_by(7) {
        fs::remove_file(root.join("many").join(long(n)))?;
    }
    fs::rename(root.join("d/f"), root.join("d/e/f2"))?;
    fs::rename(root.join("d/e"), root.join("moved"))?;
    mkdir(root.join("gone"))?;
    fs::remove_dir(root.join("gone"))?;
    mkdir(root.join("onto"))?;
    mkdir(root.join("over"))?;
    fs::rename(root.join("onto"), root.join("over"))?;
    mkdir(root.join("sg"))?;
    std::os::unix::fs::chown(root.join("sg"), None, Some(77))?;
    fs::set_permissions(root.join("sg"), fs::Permissions::from_mode(0o2775))?;
    create(root.join("sg/x"), 0o644)?;
    mkdir(root.join("sg/y"))?;
    mkdir(root.join("fl"))?;
    let dir = File::open(root.join("fl"))?;
    rustix::fs::ioctl_setflags(
        &dir,
        rustix::fs::ioctl_getflags(&dir)? | IFlags::NODUMP | IFlags::NOATIME | IFlags::DIRSYNC,
    )?;
    create(root.join("fl/file"), 0o644)?;
    mkdir(root.join("fl/dir"))?;
    symlink("x", root.join("fl/link"))?;
    mkdir(root.join("acl"))?;
    let name = "system.posix_acl_default";
    rustix::fs::setxattr(root.join("acl"), name, &default_acl(), XattrFlags::empty())?;
    create(root.join("acl/file"), 0o640)?;
    mkdir(root.join("acl/dir"))?;
    fs::set_permissions(root.join("acl/file"), fs::Permissions::from_mode(0o604))?;
    for (name, len) in [("user.a", 20), ("user.b", 100), ("user.c", 450), ("user.a", 300)] {
        let value = vec![b'v'; len];
        rustix::fs::setxattr(root.join("g"), name, &value, XattrFlags::empty())?;
    }
    rustix::fs::removexattr(root.join("g"), "user.b")?;
    let file = create(root.join("sized"), 0o644)?;
    file.set_len(100_000)?;
    file.set_len(70_001)?;
    let file = create(root.join("prealloc"), 0o644)?;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 5000, 300_000) {
        Err(rustix::io::Errno::OPNOTSUPP) => {}
        result => {
            result?;
            rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 300_000, 90_000)?;
            let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(&file, punch, 40_000, 50_000)?;
        }
    }
    Ok(())
}

/// The same by us.
fn by_us(fs: &Filesystem) -> ext4_fs::Result<()> {
    let dir = NewFile::of_root(0o755);
    let file = NewFile::of_root(0o644);
    let ino = |path: &str| fs.resolve(fs.meta(), path.as_bytes(), Last::Stay).unwrap().ino;
    let d = fs.mkdir(ROOT, b"d", &dir)?;
    fs.mkdir(d, b"e", &dir)?;
    let f = fs.create(d, b"f", &file)?;
    for n in [1, 59, 60, 500] {
        fs.symlink(ROOT, format!("link{n}").as_bytes(), "t".repeat(n).as_bytes(), &file)?;
    }
    fs.link(f, ROOT, b"g")?;
    let many = fs.mkdir(ROOT, b"many", &dir)?;
    for n in 0..150 {
        fs.create(many, long(n).as_bytes(), &NewFile::of_root(0o600))?;
    }
    for n in (0..150).step_by(7) {
        fs.unlink(many, long(n).as_bytes())?;
    }
    fs.rename(d, b"f", ino("/d/e"), b"f2", Replace::No)?;
    fs.rename(d, b"e", ROOT, b"moved", Replace::No)?;
    fs.mkdir(ROOT, b"gone", &dir)?;
    fs.rmdir(ROOT, b"gone")?;
    fs.mkdir(ROOT, b"onto", &dir)?;
    fs.mkdir(ROOT, b"over", &dir)?;
    fs.rename(ROOT, b"onto", ROOT, b"over", Replace::Yes)?;
    let sg = fs.mkdir(ROOT, b"sg", &dir)?;
    fs.setattr(sg, &Setattr { gid: Some(77), mode: Some(0o2775), ..Setattr::default() })?;
    fs.create(sg, b"x", &file)?;
    fs.mkdir(sg, b"y", &dir)?;
    let fl = fs.mkdir(ROOT, b"fl", &dir)?;
    let flags = fs.inode(fs.meta(), fl)?.flags
        | InodeFlags::NODUMP
        | InodeFlags::NOATIME
        | InodeFlags::DIRSYNC;
    fs.setattr(fl, &Setattr { flags: Some(flags), ..Setattr::default() })?;
    fs.create(fl, b"file", &file)?;
    fs.mkdir(fl, b"dir", &dir)?;
    fs.symlink(fl, b"link", b"x", &file)?;
    let with_acl = fs.mkdir(ROOT, b"acl", &dir)?;
    let default = acl::to_disk(&default_acl()).unwrap();
    fs.set_xattr(with_acl, b"system.posix_acl_default", &default, SetXattr::Create)?;
    let limited = fs.create(with_acl, b"file", &NewFile::of_root(0o640))?;
    fs.mkdir(with_acl, b"dir", &dir)?;
    fs.setattr(limited, &Setattr { mode: Some(0o604), ..Setattr::default() })?;
    for (name, len) in [("user.a", 20), ("user.b", 100), ("user.c", 450), ("user.a", 300)] {
        fs.set_xattr(f, name.as_bytes(), &vec![b'v'; len], SetXattr::Any)?;
    }
    fs.remove_xattr(f, b"user.b")?;
    let sized = fs.create(ROOT, b"sized", &file)?;
    fs.truncate(sized, 100_000)?;
    fs.truncate(sized, 70_001)?;
    let prealloc = fs.create(ROOT, b"prealloc", &file)?;
    match fs.fallocate(prealloc, 5000, 300_000, false) {
        Err(err) if err.errno() == 95 => {}
        result => {
            result?;
            fs.fallocate(prealloc, 300_000, 90_000, true)?;
            fs.punch_hole(prealloc, 40_000, 50_000)?;
        }
    }
    Ok(())
}

/// Every path with what its inode says, but for numbers and times; and where its blocks are mapped.
fn shapes(device: &dyn BlockDevice) -> Vec<String> {
    let view = View::new(device).unwrap();
    let mut lines = Vec::new();
    for (path, ino) in view.paths().unwrap() {
        let node = view.inode(ino).unwrap();
        let raw = &node.raw;
        // Where blocks lie is each one's own choice, and so is how many runs they are in.
        let mut runs: Vec<(String, u64, u64)> = Vec::new();
        for run in view.runs(&node).unwrap() {
            let kind = format!("{:?}", run.kind);
            match runs.last_mut() {
                Some((last, lblk, len)) if *last == kind && *lblk + *len == run.lblk => {
                    *len += run.len;
                }
                _ => runs.push((kind, run.lblk, run.len)),
            }
        }
        let (mode, flags) = (raw.i_mode.get(), raw.i_flags.get());
        lines.push(format!(
            "{path}: mode {mode:o} flags {flags:#x} links {} size {} sectors {} extra {} acl {} map {runs:?}",
            raw.i_links_count.get(),
            node.size(),
            view.sectors(&node),
            raw.i_extra_isize.get(),
            node.acl_block() != 0,
        ));
    }
    lines
}

#[test]
fn the_kernel_and_we_make_the_same_filesystem() {
    if skip_without(&[Need::Kernel, Need::E2fsck]) {
        return;
    }
    let profiles = [
        "ext4-4k",
        "ext4-1k",
        "ext3-1k",
        "ext3-4k",
        "bigalloc-4k",
        "inline-4k",
        "ea-inode-1k",
        "orphan-4k",
        "inode128-4k",
        "nojournal-4k",
    ];
    for profile in profiles {
        let recipe = Recipe::new(profile).kernel("names", "", by_kernel);
        let Some(theirs) = recipe.image() else { return };
        let device = image(profile).unwrap().device();
        let fs = open(Arc::clone(&device) as _);
        by_us(&fs).unwrap_or_else(|err| panic!("{profile}: {err}"));
        fs.close().unwrap();
        assert_clean(&*device).unwrap_or_else(|err| panic!("{profile}: {err:#}"));
        let (theirs_seen, ours_seen) = (manifest(&theirs), manifest(&*device));
        let differences = theirs_seen.differences(&ours_seen);
        assert_eq!(differences, Vec::<String>::new(), "{profile}: the kernel's / ours");
        let (a, b) = (shapes(&theirs), shapes(&*device));
        let differing: Vec<_> = a.iter().zip(&b).filter(|(a, b)| a != b).collect();
        assert!(differing.is_empty() && a.len() == b.len(), "{profile}: {differing:#?}");
    }
}

fn manifest(device: &dyn BlockDevice) -> ext4_testkit::manifest::Manifest {
    let scratch = oracle::scratch().unwrap();
    let file = scratch.path().join("image");
    oracle::save(device, &file).unwrap();
    let mount = Mount::new(&file, "ro").unwrap();
    let manifest = mount.manifest().unwrap();
    mount.unmount().unwrap();
    manifest
}

fn shared_attributes(root: &Path) -> io::Result<()> {
    for name in ["a", "b", "c"] {
        create(root.join(name), 0o644)?;
        let (large, small) = (vec![b'L'; 3000], vec![b's'; 400]);
        rustix::fs::setxattr(root.join(name), "user.large", &large, XattrFlags::empty())?;
        rustix::fs::setxattr(root.join(name), "user.small", &small, XattrFlags::empty())?;
    }
    Ok(())
}

#[test]
fn attributes_that_the_kernel_shares_among_files_change_for_one_only() {
    if skip_without(&[Need::Kernel, Need::E2fsck]) {
        return;
    }
    for profile in ["ext4-4k", "ea-inode-1k", "ext3-4k"] {
        let large: fn(&Path) -> io::Result<()> = shared_attributes;
        let Some(image) = Recipe::new(profile).kernel("shared", "", large).image() else { return };
        let device: Arc<MemoryDevice> = image.device();
        let fs = open(Arc::clone(&device) as _);
        let ino = |name: &str| fs.resolve(fs.meta(), name.as_bytes(), Last::Stay).unwrap().ino;
        let before = shapes(&image);
        assert!(before.iter().any(|it| it.contains("acl true")), "{profile}: no block to share");
        fs.set_xattr(ino("/a"), b"user.small", b"mine", SetXattr::Replace).unwrap();
        fs.set_xattr(ino("/a"), b"user.more", &[b'm'; 300], SetXattr::Create).unwrap();
        fs.remove_xattr(ino("/b"), b"user.large").unwrap();
        let value = |name: &str, attribute: &[u8]| {
            let inode = fs.inode(fs.meta(), ino(name)).unwrap();
            fs.xattr(fs.meta(), &inode, attribute).unwrap()
        };
        assert_eq!(value("/c", b"user.small").unwrap(), vec![b's'; 400]);
        assert_eq!(value("/c", b"user.large").unwrap(), vec![b'L'; 3000]);
        assert_eq!(value("/a", b"user.large").unwrap(), vec![b'L'; 3000]);
        assert_eq!(value("/a", b"user.small").unwrap(), b"mine");
        assert_eq!(value("/b", b"user.large"), None);
        fs.unlink(ROOT, b"c").unwrap();
        fs.close().unwrap();
        assert_clean(&*device).unwrap_or_else(|err| panic!("{profile}: {err:#}"));
        assert_eq!(judge(&*device), [], "{profile}");
        manifest(&*device);
    }
}

fn preallocate(root: &Path) -> io::Result<()> {
    let file = create(root.join("p"), 0o644)?;
    Ok(rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 100 << 20)?)
}

#[test]
fn scenario_40_a_large_preallocation_is_in_extents_of_32767_blocks() {
    if skip_without(&[Need::Kernel]) {
        return;
    }
    let recipe = Recipe::new("ext4-1k").mib(160);
    let Some(theirs) = recipe.clone().kernel("prealloc", "", preallocate).image() else { return };
    let device = recipe.image().unwrap().device();
    let fs = open(Arc::clone(&device) as _);
    let ino = fs.create(ROOT, b"p", &NewFile::of_root(0o644)).unwrap();
    fs.fallocate(ino, 0, 100 << 20, false).unwrap();
    fs.close().unwrap();
    assert_clean(&*device).unwrap();
    let sum = |device: &dyn BlockDevice| {
        let view = View::new(device).unwrap();
        let node = view.inode(view.paths().unwrap()["p"]).unwrap();
        let runs = view.runs(&node).unwrap();
        assert!(runs.iter().all(|run| run.len <= 32767));
        (node.size(), runs.iter().map(|run| run.len).sum::<u64>())
    };
    assert_eq!(sum(&theirs), sum(&*device));
    assert_eq!(sum(&*device), (100 << 20, 100 << 10));
}

fn inline_files(root: &Path) -> io::Result<()> {
    for len in [1, 60, 61, 130] {
        fs::write(root.join(format!("f{len}")), vec![b'k'; len])?;
    }
    mkdir(root.join("dir"))?;
    for n in 0..3 {
        create(root.join(format!("dir/{n}")), 0o644)?;
    }
    Ok(())
}

#[test]
fn what_the_kernel_keeps_in_inodes_we_change_and_move_out() {
    if skip_without(&[Need::Kernel, Need::E2fsck]) {
        return;
    }
    for options in ["", "-I 512", "-I 1024"] {
        let recipe = Recipe::new("inline-4k").options(options).kernel("inline", "", inline_files);
        let Some(image) = recipe.image() else { return };
        let device = image.device();
        let fs = open(Arc::clone(&device) as _);
        let inode = |name: &str| fs.resolve(fs.meta(), name.as_bytes(), Last::Stay).unwrap();
        let read = |name: &str| {
            let inode = inode(name);
            let mut bytes = vec![0; usize::try_from(inode.i_size).unwrap()];
            fs.read_at(fs.meta(), &inode, 0, &mut bytes).unwrap();
            bytes
        };
        assert!(inode("/f1").has_inline_data() && inode("/dir").has_inline_data());
        assert!(fs.inline_write(inode("/f1").ino, 30, b"more").unwrap());
        assert_eq!(read("/f1"), [&b"k"[..], &[0; 29], b"more"].concat());
        fs.truncate(inode("/f61").ino, 20).unwrap();
        fs.truncate(inode("/f61").ino, 59).unwrap();
        assert_eq!(read("/f61"), [&[b'k'; 20][..], &[0; 39]].concat());
        fs.truncate(inode("/f60").ino, 100_000).unwrap();
        assert!(!inode("/f60").has_inline_data());
        assert_eq!(read("/f60")[..61], [&[b'k'; 60][..], &[0]].concat());
        fs.inline_to_blocks(inode("/f130").ino).unwrap();
        write(&fs, inode("/f130").ino, 5000, b"far").unwrap();
        assert_eq!(read("/f130")[..130], [b'k'; 130]);
        let dir = inode("/dir").ino;
        for n in 3..60 {
            fs.create(dir, format!("{n}").as_bytes(), &NewFile::of_root(0o644)).unwrap();
        }
        fs.unlink(dir, b"1").unwrap();
        // An attribute next to the contents takes room from them, never the other way round.
        fs.set_xattr(inode("/f61").ino, b"user.beside", &[1; 16], SetXattr::Any).unwrap();
        assert_eq!(read("/f61").len(), 59);
        let sizes = ["f1", "f61", "f60", "f130"].map(|it| read(&format!("/{it}")).len() as u64);
        fs.close().unwrap();
        assert_clean(&*device).unwrap_or_else(|err| panic!("{options}: {err:#}"));
        let seen = manifest(&*device);
        assert_eq!(["f1", "f61", "f60", "f130"].map(|it| seen.0[it].size), sizes);
        assert_eq!(seen.0.keys().filter(|it| it.starts_with("dir/")).count(), 59);
    }
}

#[test]
fn the_kernel_goes_on_with_what_we_made() {
    if skip_without(&[Need::Kernel, Need::E2fsck]) {
        return;
    }
    for profile in ["ext4-1k", "inline-4k", "ea-inode-1k", "bigalloc-4k", "ext3-1k"] {
        let Some(image) = image(profile) else { return };
        let device = image.device();
        let fs = open(Arc::clone(&device) as _);
        by_us(&fs).unwrap();
        fs.close().unwrap();
        let scratch = oracle::scratch().unwrap();
        let file = scratch.path().join("image");
        oracle::save(&*device, &file).unwrap();
        let mount = Mount::new(&file, "").unwrap();
        let root = mount.path();
        for n in 200..260 {
            create(root.join("many").join(long(n)), 0o600).unwrap();
        }
        fs::remove_dir_all(root.join("moved")).unwrap();
        fs::write(root.join("prealloc"), vec![5; 200_000]).unwrap();
        fs::write(root.join("acl/dir/new"), b"inherits").unwrap();
        let name = "user.c";
        rustix::fs::setxattr(root.join("g"), name, b"short", XattrFlags::REPLACE).unwrap();
        fs::remove_dir_all(root.join("fl")).unwrap();
        mount.unmount().unwrap();
        assert_clean(&Image::load(&file).unwrap())
            .unwrap_or_else(|err| panic!("{profile}: {err:#}"));
    }
}
