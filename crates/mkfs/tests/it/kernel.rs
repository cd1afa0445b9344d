//! The kernel shows every file of the tree as the tree has it.

use crate::{
    populate::{SETS, options, written},
    trees,
};
use anyhow::{Result, ensure};
use ext4_mkfs::{Options, Plan, Room, fit, plan};
use ext4_testkit::{
    mount::Mount,
    oracle::{self, FsckMode, Need},
};
use ext4_tree::{Contents, Kind, Node, NodeId, Tree};
use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::Path,
    sync::Arc,
};

fn bytes_of(contents: &Contents) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(contents.size)?];
    let open = contents.open()?;
    for part in &contents.data {
        let range = usize::try_from(part.start)?..usize::try_from(part.end)?;
        open.read_at(part.start, &mut bytes[range])?;
    }
    Ok(bytes)
}

/// Whether the file at `path` is what the tree says.
fn check(path: &Path, node: &Node, has_nsec: bool) -> Result<()> {
    let found = fs::symlink_metadata(path)?;
    let it = &node.attributes;
    ensure!((found.uid(), found.gid()) == (it.uid, it.gid), "owner");
    ensure!(found.mode() & 0o7777 == u32::from(it.perms), "mode {:o}", found.mode());
    let nsec = if has_nsec { i64::from(it.mtime.nsec) } else { 0 };
    ensure!((found.mtime(), found.mtime_nsec()) == (it.mtime.sec, nsec), "time");
    match &node.kind {
        Kind::Regular(contents) => {
            ensure!(found.is_file() && found.len() == contents.size, "{} bytes", found.len());
            ensure!(found.blocks() * 512 <= contents.data_len() + (1 << 21), "holes were filled");
            if contents.size < 1 << 20 {
                ensure!(fs::read(path)? == bytes_of(contents)?, "contents");
            }
        }
        Kind::Symlink(target) => {
            ensure!(fs::read_link(path)?.as_os_str().as_bytes() == &**target, "target");
        }
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            let dev = found.rdev();
            let numbers = (rustix::fs::major(dev), rustix::fs::minor(dev));
            ensure!(numbers == (*major, *minor), "device {numbers:?}");
        }
        Kind::Directory(_) => ensure!(found.is_dir(), "no directory"),
        Kind::Fifo | Kind::Socket => {}
    }
    for (name, value) in &it.xattrs {
        let mut buf = vec![0; 70_000];
        let len = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut buf[..])?;
        ensure!(buf[..len] == **value, "attribute {}", name.escape_ascii());
    }
    Ok(())
}

/// What is not as the tree has it, and how many files were looked at.
pub(crate) fn compare(root: &Path, tree: &Tree, has_nsec: bool) -> (usize, Vec<String>) {
    let mut wrong = Vec::new();
    let mut n_files = 0;
    let mut to_visit = vec![(root.to_path_buf(), NodeId::ROOT)];
    while let Some((path, node)) = to_visit.pop() {
        n_files += 1;
        if let Err(err) = check(&path, tree.node(node), has_nsec) {
            wrong.push(format!("{}: {err}", path.display()));
        }
        if !matches!(tree.node(node).kind, Kind::Directory(_)) {
            continue;
        }
        let names = tree.names(node).map(|(name, it)| (path.join(OsStr::from_bytes(name)), it));
        let before = to_visit.len();
        to_visit.extend(names);
        let made = usize::from(node == NodeId::ROOT && tree.child(node, b"lost+found").is_none());
        let found = fs::read_dir(&path).unwrap().count();
        if found != to_visit.len() - before + made {
            wrong.push(format!("{}: {found} names", path.display()));
        }
    }
    (n_files, wrong)
}

#[test]
fn the_kernel_shows_what_the_tree_has() {
    eprintln!("{}", the_kernel_agrees(|options| plan(options, 96 << 20).unwrap()));
}

#[test]
fn the_kernel_shows_it_in_the_smallest_filesystem_too() {
    eprintln!("{}", the_kernel_agrees(|options| fit(options, Room::Min).unwrap().plan));
}

/// Says which of the option sets this kernel does not mount.
fn the_kernel_agrees(planned: impl Fn(&Options) -> Plan) -> String {
    if oracle::skip_without(&[Need::Kernel]) {
        return String::new();
    }
    let (mut wrong, mut mounted, mut skipped) = (Vec::new(), 0, Vec::new());
    let attributed = [false, true].map(|has_large| Arc::new(trees::attributed(has_large)));
    let mixed = Arc::new(trees::mixed());
    for (kind, words, change) in SETS {
        for tree in [&mixed, &attributed[usize::from(words.contains("ea_inode"))]] {
            let options = options(*kind, words, *change, tree);
            if options.revision == 0 && !Arc::ptr_eq(tree, &mixed) {
                continue;
            }
            let plan = planned(&options);
            let dir = oracle::scratch().unwrap();
            let image = dir.path().join("disk.img");
            oracle::save(&written(&plan), &image).unwrap();
            let Ok(mount) = Mount::new(&image, "noload,ro") else {
                skipped.push((kind, words));
                continue;
            };
            let has_nsec = plan.geometry.inode_size > 128;
            let (_, found) = compare(mount.path(), tree, has_nsec);
            wrong.extend(found.into_iter().map(|line| format!("{kind:?} {words}: {line}")));
            mounted += 1;
            mount.unmount().unwrap();
        }
    }
    assert!(mounted > 10);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    format!("{mounted} mounted; the kernel cannot mount {skipped:?}")
}

/// Removes files, adds some, and gives others away and other attributes, in every directory of the
/// root.
fn work(root: &Path) -> Result<()> {
    for dir in fs::read_dir(root)? {
        let dir = dir?.path();
        if !fs::symlink_metadata(&dir)?.is_dir() {
            continue;
        }
        let mut names: Vec<_> =
            fs::read_dir(&dir)?.map(|it| it.map(|it| it.path())).collect::<std::io::Result<_>>()?;
        names.sort();
        for (path, nr) in names.iter().zip(0..) {
            let is_directory = fs::symlink_metadata(path)?.is_dir();
            match nr % 5 {
                0 if is_directory => {
                    // Not empty, some of them.
                    let _ = fs::remove_dir(path);
                }
                0 => fs::remove_file(path)?,
                1 if !is_directory => {
                    fs::rename(path, dir.join(format!("a new name, longer than before {nr}")))?;
                }
                2 => std::os::unix::fs::lchown(path, Some(7), Some(8))?,
                3 => {
                    let name = "trusted.new";
                    let flags = rustix::fs::XattrFlags::empty();
                    rustix::fs::lsetxattr(path, name, &[u8::try_from(nr % 200)?; 50], flags)?;
                }
                _ => {}
            }
        }
        for nr in 0..60 {
            fs::write(dir.join(format!("one more file {nr}")), vec![1; nr * 20])?;
        }
    }
    Ok(())
}

#[test]
fn the_kernel_works_on_what_was_planned() {
    if oracle::skip_without(&[Need::Kernel, Need::E2fsck]) {
        return;
    }
    let (mut wrong, mut worked) = (Vec::new(), 0);
    let attributed = [false, true].map(|has_large| Arc::new(trees::attributed(has_large)));
    let mixed = Arc::new(trees::mixed());
    for (kind, words, change) in SETS {
        for tree in [&mixed, &attributed[usize::from(words.contains("ea_inode"))]] {
            let mut options = options(*kind, words, *change, tree);
            if options.revision == 0 && !Arc::ptr_eq(tree, &mixed) {
                continue;
            }
            options.inodes = Some(5000);
            let plan = plan(&options, 96 << 20).unwrap();
            let dir = oracle::scratch().unwrap();
            let image = dir.path().join("disk.img");
            oracle::save(&written(&plan), &image).unwrap();
            let Ok(mount) = Mount::new(&image, "") else { continue };
            if let Err(err) = work(mount.path()) {
                wrong.push(format!("{kind:?} {words}: {err}"));
            }
            mount.unmount().unwrap();
            let fsck = oracle::e2fsck(&image, FsckMode::Check).unwrap();
            if !fsck.is_clean() {
                wrong.push(format!("{kind:?} {words}: {fsck:?}"));
            }
            worked += 1;
        }
    }
    assert!(worked > 10);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
