//! A folder full of files that are easy to get wrong.

use anyhow::{Context, Result};
use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags},
    process::geteuid,
};
use std::{
    ffi::OsStr,
    fs::{self, File, Permissions},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileExt as _, PermissionsExt as _, chown, lchown, symlink},
    },
    path::Path,
};

/// Which of them.
#[derive(Clone, Copy, Debug)]
pub struct Oddities {
    /// The length of the longest value of an extended attribute: of one block's room in a small
    /// filesystem if it has no other place.
    pub longest_xattr: usize,
    /// Bytes of the longest symbolic link: one less than a block.
    pub longest_target: usize,
    /// A directory of this many subdirectories.
    pub subdirectories: u32,
}

impl Default for Oddities {
    /// For every filesystem with blocks of 1024 bytes.
    fn default() -> Self {
        Self { longest_xattr: 600, longest_target: 1023, subdirectories: 300 }
    }
}

/// Bytes that are different in each block and never zero.
fn bytes(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i / 7 + i / 1021 + seed) % 255).unwrap_or(0) + 1).collect()
}

fn mknod(path: &Path, kind: FileType, dev: u64) -> Result<()> {
    let mode = Mode::from_raw_mode(0o640);
    rustix::fs::mknodat(CWD, path, kind, mode, dev).with_context(|| path.display().to_string())
}

fn touch(path: &Path, sec: i64, nsec: i64) -> Result<()> {
    let time = Timespec { tv_sec: sec, tv_nsec: nsec };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Fills the empty folder `root`. Devices, owners and privileged attributes only for root; what the
/// folder's filesystem refuses is an error.
///
/// # Errors
/// When the host refuses.
pub fn fill(root: &Path, which: Oddities) -> Result<()> {
    let is_root = geteuid().is_root();
    let dir = |name: &str| -> Result<std::path::PathBuf> {
        let path = root.join(name);
        fs::create_dir(&path)?;
        Ok(path)
    };
    lengths(&dir("lengths")?)?;
    sparse(&dir("sparse")?)?;
    links(&dir("links")?, which.longest_target)?;
    names(&dir("names")?)?;
    times(&dir("times")?)?;
    modes(&dir("modes")?, is_root)?;
    xattrs(&dir("xattrs")?, is_root, which.longest_xattr)?;
    let special = dir("special")?;
    mknod(&special.join("fifo"), FileType::Fifo, 0)?;
    mknod(&special.join("socket"), FileType::Socket, 0)?;
    if is_root {
        let node = |name: &str, kind, major, minor| {
            mknod(&special.join(name), kind, rustix::fs::makedev(major, minor))
        };
        node("null", FileType::CharacterDevice, 1, 3)?;
        node("old-last", FileType::CharacterDevice, 255, 255)?;
        node("sda", FileType::BlockDevice, 8, 0)?;
        node("new-minor", FileType::BlockDevice, 8, 256)?;
        node("new-major", FileType::BlockDevice, 259, 1)?;
        node("largest", FileType::CharacterDevice, 4095, (1 << 20) - 1)?;
        fs::hard_link(special.join("null"), special.join("null-too"))?;
    }
    fs::hard_link(special.join("fifo"), special.join("fifo-too"))?;
    directories(&dir("directories")?, which.subdirectories)?;
    // Last, for what is made in a directory changes its time.
    touch(&root.join("names"), 1_234_567_890, 123_456_789)?;
    touch(root, 999_999_999, 1)
}

/// Files of the lengths where something begins or ends: inline data, blocks, indirect blocks.
fn lengths(dir: &Path) -> Result<()> {
    let mut lengths: Vec<usize> = (0..=12).collect();
    lengths.extend(55..=70);
    lengths.extend(90..=170);
    for edge in [1024, 2048, 4096, 8192, 16384, 65536, 12 << 10, 268 << 10, 12 << 12, 1036 << 12] {
        lengths.extend([edge - 1, edge, edge + 1]);
    }
    lengths.sort_unstable();
    lengths.dedup();
    for len in lengths {
        fs::write(dir.join(format!("{len}")), bytes(len, len))?;
    }
    // A block of zeros is data, not a hole.
    fs::write(dir.join("zeros"), vec![0; 20_000])?;
    Ok(())
}

fn sparse(dir: &Path) -> Result<()> {
    let make = |name: &str, size: u64, parts: &[(u64, usize)]| -> Result<()> {
        let file = File::create(dir.join(name))?;
        file.set_len(size)?;
        for (at, len) in parts {
            file.write_all_at(&bytes(*len, name.len()), *at)?;
        }
        // Where the holes are is known once the blocks are chosen.
        Ok(file.sync_all()?)
    };
    make("all", 1 << 20, &[])?;
    make("start", 1 << 20, &[((1 << 20) - 8192, 8192)])?;
    make("middle", 1 << 20, &[(0, 8192), ((1 << 20) - 8192, 8192)])?;
    make("end", 1 << 20, &[(0, 8192)])?;
    make("end-odd", (1 << 20) + 77, &[(0, 8192)])?;
    make("last-byte", 3_000_001, &[(3_000_000, 1)])?;
    make("large", (5 << 30) + 1, &[(0, 4096), (3 << 30, 100_000), ((5 << 30) - 4096, 4097)])?;
    // At each depth of indirect blocks of 1 KiB and of 4 KiB.
    let depths = [12 << 10, 268 << 10, 65_804 << 10, 12 << 12, 1036 << 12, 1_049_612 << 12];
    let parts: Vec<_> = depths.into_iter().map(|at: u64| (at & !4095, 4096)).collect();
    make("depths", 5 << 30, &parts)?;
    // More pieces than the inode, and one block of a map, have room for.
    let parts: Vec<_> = (0..1000).map(|i| (i * 8192, 4096)).collect();
    make("comb", 1000 * 8192, &parts)
}

fn links(dir: &Path, longest: usize) -> Result<()> {
    fs::write(dir.join("one"), b"one file")?;
    fs::create_dir(dir.join("below"))?;
    fs::hard_link(dir.join("one"), dir.join("below/two"))?;
    fs::hard_link(dir.join("one"), dir.join("three"))?;
    for i in 0..200 {
        fs::hard_link(dir.join("one"), dir.join(format!("below/many{i}")))?;
    }
    for len in [1, 58, 59, 60, 61, 100, 159, 160, 1023, 1024, 2000, 4094, 4095] {
        // No two slashes in a row.
        let target: Vec<u8> = (0..len).map(|i| if i % 200 == 199 { b'/' } else { b't' }).collect();
        if len <= longest {
            symlink(OsStr::from_bytes(&target), dir.join(format!("target{len}")))?;
        }
    }
    fs::hard_link(dir.join("target59"), dir.join("target59-too"))?;
    fs::hard_link(dir.join("target1023"), dir.join("below/target1023-too"))?;
    symlink("one", dir.join("to-one"))?;
    Ok(symlink("..", dir.join("below/loop"))?)
}

fn names(dir: &Path) -> Result<()> {
    let odd: &[&[u8]] = &[
        b"...",
        b" ",
        b"-rf",
        b"*",
        b"\\",
        b"new\nline",
        b"tab\t",
        b"\x01",
        b"\xff\xfe",
        b"\xc3\x28",
        "\u{c4}pfel".as_bytes(),
        b"lost+found",
        b".hidden",
        b"~",
        b"UPPER",
        b"upper",
        b"\x7f",
    ];
    for name in odd {
        fs::write(dir.join(OsStr::from_bytes(name)), name)?;
    }
    let longest = fs::create_dir(dir.join("longest")).map(|()| dir.join("longest"))?;
    for i in 0..600 {
        let name = format!("{i:03}{}", "n".repeat(252));
        fs::write(longest.join(name), b"")?;
    }
    let mut deep = dir.to_path_buf();
    for level in 0..10 {
        deep.push(format!("{level}{}", "deep".repeat(62)));
    }
    fs::create_dir_all(&deep)?;
    fs::write(deep.join("bottom"), b"far below")?;
    let levels = (0..100).map(|it| it.to_string()).collect::<Vec<_>>().join("/");
    Ok(fs::create_dir_all(dir.join(levels))?)
}

fn times(dir: &Path) -> Result<()> {
    let times = [
        (0, 0),
        (0, 999_999_999),
        (-1, 5),
        (-2_147_483_648, 0),
        ((1 << 31) - 1, 999_999_999),
        (1 << 31, 1),
        (1 << 32, 0),
        (6_442_450_943, 999_999_999),
        (6_442_450_944, 1),
        (15_032_385_534, 123),
        // The last second there is: the kernel takes no part of it (`timestamp_truncate`).
        (15_032_385_535, 0),
        (1_700_000_000, 1),
    ];
    for (sec, nsec) in times {
        let path = dir.join(format!("{sec}.{nsec}"));
        fs::write(&path, b"")?;
        touch(&path, sec, nsec)?;
        let path = dir.join(format!("link{sec}.{nsec}"));
        symlink("x", &path)?;
        touch(&path, sec, nsec)?;
    }
    touch(dir, -2_000_000_000, 500_000_000)
}

fn modes(dir: &Path, is_root: bool) -> Result<()> {
    for mode in [0o0, 0o400, 0o644, 0o777, 0o4755, 0o2755, 0o6711, 0o1644, 0o7777] {
        if !is_root && mode & 0o400 == 0 {
            continue;
        }
        let path = dir.join(format!("{mode:o}"));
        fs::write(&path, format!("{mode:o}"))?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
        let path = dir.join(format!("dir{mode:o}"));
        fs::create_dir(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(mode | if is_root { 0 } else { 0o500 }))?;
    }
    if is_root {
        for id in [1, 65_534, 65_535, 65_536, 100_000, 0xFFFF_FFFE] {
            let path = dir.join(format!("of{id}"));
            fs::write(&path, b"")?;
            chown(&path, Some(id), Some(id / 3))?;
            symlink("nowhere", dir.join(format!("link-of{id}")))?;
            lchown(dir.join(format!("link-of{id}")), Some(id / 3), Some(id))?;
        }
    }
    Ok(())
}

/// An ACL as the kernel takes it: entries of tag, permissions and id.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, perms, id) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(perms.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

fn xattrs(dir: &Path, is_root: bool, longest: usize) -> Result<()> {
    const NONE: u32 = u32::MAX;
    let list = acl(&[
        (1, 7, NONE),
        (2, 6, 100_000),
        (4, 5, NONE),
        (8, 4, 70_007),
        (16, 7, NONE),
        (32, 0, NONE),
    ]);
    let set = |path: &Path, name: &str, value: &[u8]| {
        let res = rustix::fs::lsetxattr(path, name, value, XattrFlags::empty());
        res.with_context(|| format!("{name} on {}", path.display()))
    };
    let file = |name: &str, len: usize| -> Result<std::path::PathBuf> {
        let path = dir.join(name);
        fs::write(&path, bytes(len, 3))?;
        Ok(path)
    };
    set(&file("small", 10)?, "user.s", b"v")?;
    set(&file("empty", 0)?, "user.empty", b"")?;
    for len in [40, 70, 90, 100, 110, 300] {
        set(&file(&format!("len{len}"), len)?, "user.l", &bytes(len, len))?;
    }
    for i in 0..20 {
        // The same on several files, which may share a block.
        set(&file(&format!("shared{i}"), 200)?, "user.shared", &bytes(500, 1))?;
    }
    let many = file("many", 5000)?;
    for i in 0..20 {
        set(&many, &format!("user.name{}{i}", "x".repeat(i % 5)), &bytes(i * 2 % 15, i))?;
    }
    set(&file("long", 1)?, "user.long", &bytes(longest, 9))?;
    set(&file("long-too", 100)?, "user.long", &bytes(longest, 9))?;
    set(&file("long-name", 0)?, &format!("user.{}", "n".repeat(250)), b"value")?;
    let below = dir.join("dir");
    fs::create_dir(&below)?;
    set(&below, "user.on-dir", b"1")?;
    set(&below, "system.posix_acl_default", &list)?;
    let inherits = below.join("inherits");
    fs::write(&inherits, b"")?;
    set(&file("acl", 100)?, "system.posix_acl_access", &list)?;
    let both = file("acl-and-more", 100)?;
    set(&both, "system.posix_acl_access", &list)?;
    set(&both, "user.more", &bytes(120, 8))?;
    if is_root {
        const LABEL: &[u8] = b"system_u:object_r:etc_t:s0\0";
        set(&file("label", 100)?, "security.selinux", LABEL)?;
        set(&below, "security.selinux", LABEL)?;
        set(&both, "security.selinux", LABEL)?;
        symlink("nowhere", dir.join("label-on-link"))?;
        set(&dir.join("label-on-link"), "security.selinux", LABEL)?;
        let long = "t".repeat(200);
        symlink(&long, dir.join("label-on-long-link"))?;
        set(&dir.join("label-on-long-link"), "trusted.t", LABEL)?;
        mknod(&dir.join("label-on-fifo"), FileType::Fifo, 0)?;
        set(&dir.join("label-on-fifo"), "security.selinux", LABEL)?;
        set(&file("trusted", 0)?, "trusted.overlay.opaque", b"y")?;
        // VFS_CAP_REVISION_2 with the effective bit, and cap_net_raw.
        let mut capability = vec![1, 0, 0, 2, 0, 0x20, 0, 0];
        capability.resize(20, 0);
        set(&file("capability", 100)?, "security.capability", &capability)?;
    }
    Ok(())
}

fn directories(dir: &Path, subdirectories: u32) -> Result<()> {
    for (name, count) in [("empty", 0), ("one", 1), ("two", 2), ("300", 300), ("5000", 5000)] {
        let path = dir.join(name);
        fs::create_dir(&path)?;
        let open = rustix::fs::open(&path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        for i in 0..count {
            // Names of many lengths, not in their own order.
            let name = format!("{:x}-{i}", (i * 7919) % 65_536 * (1 << (i % 13)));
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(&open, &*name, flags, Mode::from_raw_mode(0o644))?;
        }
    }
    let path = dir.join("subdirectories");
    fs::create_dir(&path)?;
    for i in 0..subdirectories {
        fs::create_dir(path.join(i.to_string()))?;
    }
    Ok(())
}
