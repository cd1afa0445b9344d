//! The same, done by the kernel on a loop mount.

use super::{ID, Op, PATH, Write, face::Face};
use anyhow::{Context as _, Result, bail};
use ext4_blockdev::{AlignedBuf, BlockDevice};
use ext4_dio::Sync;
use ext4_testkit::{
    image::Image,
    model::pattern,
    mount::Mount,
    oracle::{self, Need},
    process,
};
use rustix::{
    fs::{FallocateFlags, OFlags, fallocate},
    io::{ReadWriteFlags, pwritev2},
};
use std::{fs, io::IoSlice, os::unix::fs::OpenOptionsExt as _, path::Path};

/// Results of operations, as a system call has them.
pub(super) type Results = Vec<Result<u64, i32>>;

/// Whether the kernel can be asked; says so if not.
pub(super) fn is_here() -> bool {
    !oracle::skip_without(&[Need::Kernel])
}

/// Has the kernel do everything on a copy of an image.
pub(super) fn run(image: &Image, opts: &str, ops: &[Op]) -> Result<(Results, Face)> {
    let (results, image) = run_on_copy(image, opts, ops)?;
    Ok((results, Face::of(&image)?))
}

/// As [`run`], with the whole image afterwards.
pub(super) fn run_on_copy(image: &Image, opts: &str, ops: &[Op]) -> Result<(Results, Image)> {
    let scratch = oracle::scratch()?;
    let file = scratch.path().join("image");
    image.save(&file)?;
    let mount = Mount::new(&file, opts)?;
    let path = mount.join(PATH);
    let results = ops.iter().map(|op| one(&path, op)).collect::<Result<_>>()?;
    mount.unmount()?;
    Ok((results, Image::load(&file)?))
}

/// Has the kernel recover a copy of a crashed device, by mounting it.
pub(super) fn recover(device: &dyn BlockDevice) -> Result<Image> {
    let scratch = oracle::scratch()?;
    let file = scratch.path().join("image");
    oracle::save(device, &file)?;
    Mount::new(&file, "")?.unmount()?;
    Image::load(&file)
}

fn one(path: &Path, op: &Op) -> Result<Result<u64, i32>> {
    let open = || fs::OpenOptions::new().write(true).open(path);
    let done =
        |res: rustix::io::Result<()>| res.map(|()| 0).map_err(rustix::io::Errno::raw_os_error);
    Ok(match *op {
        Op::Truncate(size) => match open()?.set_len(size) {
            Ok(()) => Ok(0),
            Err(err) => Err(err.raw_os_error().context("an errno")?),
        },
        Op::Allocate(offset, len) => done(fallocate(open()?, FallocateFlags::empty(), offset, len)),
        Op::Keep(offset, len) => done(fallocate(open()?, FallocateFlags::KEEP_SIZE, offset, len)),
        Op::Punch(offset, len) => {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            done(fallocate(open()?, flags, offset, len))
        }
        Op::Write(write) if write.limit.is_some() || !write.fsetid => by_dd(path, &write)?,
        Op::Write(write) => direct(path, &write)?,
    })
}

fn direct(path: &Path, write: &Write) -> Result<Result<u64, i32>> {
    let mut flags = OFlags::DIRECT;
    if write.at.is_none() {
        flags |= OFlags::APPEND;
    }
    let flags = i32::try_from(flags.bits())?;
    let file = fs::OpenOptions::new().write(true).custom_flags(flags).open(path)?;
    let at = match write.at {
        Some(at) => at,
        None => file.metadata()?.len(),
    };
    let bytes = AlignedBuf::copy_of(&pattern(ID, write.generation, at, write.len));
    let mut how = match write.sync {
        Sync::None => ReadWriteFlags::empty(),
        Sync::Data => ReadWriteFlags::DSYNC,
        Sync::Full => ReadWriteFlags::SYNC,
    };
    if write.nowait {
        how |= ReadWriteFlags::NOWAIT;
    }
    let res = pwritev2(&file, &[IoSlice::new(&bytes)], at, how);
    Ok(res.map(|n| n as u64).map_err(rustix::io::Errno::raw_os_error))
}

/// A write by another process, under limits that are not to be ours.
fn by_dd(path: &Path, write: &Write) -> Result<Result<u64, i32>> {
    let at = write.at.context("dd appends otherwise")?;
    let scratch = oracle::scratch()?;
    let input = scratch.path().join("input");
    fs::write(&input, pattern(ID, write.generation, at, write.len))?;
    let mut words = match write.limit {
        Some(limit) => vec!["prlimit".to_owned(), format!("--fsize={limit}")],
        None => ["setpriv", "--bounding-set=-fsetid", "--inh-caps=-fsetid"].map(Into::into).into(),
    };
    words.extend(["dd", "oflag=direct,seek_bytes", "conv=notrunc", "status=none"].map(Into::into));
    words.extend([
        format!("bs={}", write.len),
        "count=1".into(),
        format!("seek={at}"),
        format!("if={}", input.display()),
        format!("of={}", path.display()),
    ]);
    let before = fs::metadata(path)?.len();
    let out = process::run(&words[0], &words[1..], &[], b"", oracle::LIMIT)?;
    let text = out.text();
    // dd goes on after a short write, and meets the limit then: by a signal, or an error.
    let n = fs::metadata(path)?.len().saturating_sub(at.max(before));
    Ok(if out.ok() {
        Ok(write.len as u64)
    } else if n > 0 {
        Ok(n)
    } else if text.contains("Invalid argument") {
        Err(super::errno::EINVAL)
    } else if text.contains("File too large") || out.code.is_none() {
        Err(super::errno::EFBIG)
    } else {
        bail!("{words:?}: {text}")
    })
}

/// What the kernel leaves behind when the power fails, from ops of `act` on a mount that never
/// commits by itself. `/g` has to be there: its fsync is what commits, if asked for, and nothing of
/// `/f` is written back by it.
pub(super) fn crash(
    image: &Image,
    commits: bool,
    act: impl FnOnce(&Path) -> Result<()>,
) -> Result<Image> {
    let scratch = oracle::scratch()?;
    let file = scratch.path().join("image");
    image.save(&file)?;
    let mount = Mount::new(&file, "commit=600")?;
    act(&mount.join(PATH))?;
    if commits {
        let other = fs::OpenOptions::new().write(true).open(mount.join("/g"))?;
        other.set_len(4096)?;
        other.sync_all()?;
    }
    let cut = scratch.path().join("cut");
    fs::copy(&file, &cut)?;
    mount.unmount()?;
    Image::load(&cut)
}

/// A direct write by the kernel, at a place.
pub(super) fn write_directly(path: &Path, write: &Write) -> Result<()> {
    direct(path, write)?.map(drop).map_err(|errno| anyhow::anyhow!("errno {errno}"))
}
