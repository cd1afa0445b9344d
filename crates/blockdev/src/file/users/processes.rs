//! Processes that have a file open for writing or locked. Our own process is left out: its locks
//! against itself are flocks.

use super::{Identity, parse};
use std::{fs, io, os::unix::ffi::OsStrExt, path::Path};

/// Access modes of open(2) in the octal flags of fdinfo.
const O_ACCMODE: u32 = 0o3;

/// A phrase for each process found to have `target` open for writing.
pub(super) fn writers(proc: &Path, target: Identity) -> Vec<String> {
    let mut users = Vec::new();
    let own = std::process::id();
    for entry in fs::read_dir(proc).into_iter().flatten().filter_map(io::Result::ok) {
        let Some(pid) = entry.file_name().to_str().and_then(|it| it.parse::<u32>().ok()) else {
            continue;
        };
        // A process of another user does not show its descriptors, one that ends has none.
        if pid != own && has_open_for_writing(&entry.path(), target).unwrap_or(false) {
            users.push(format!("open for writing by {}", describe(proc, pid)));
        }
    }
    users
}

/// Of a lock of fcntl(2) whose process is not known.
pub(super) const UNSEEN_LOCK: &str = "locked by a process that cannot be seen (as qemu does)";

/// A phrase for a lock of fcntl(2) that another process has on `target`.
pub(super) fn lock_holder(proc: &Path, target: Identity) -> Option<String> {
    let own = std::process::id();
    let locks = fs::read_to_string(proc.join("locks")).ok()?;
    let foreign = |it: &parse::Lock| !it.is_flock && it.pid != Some(own) && is_of(it, target);
    let lock = parse::locks(&locks).find(foreign)?;
    Some(match lock.pid {
        Some(pid) => format!("locked by {}", describe(proc, pid)),
        None => UNSEEN_LOCK.to_owned(),
    })
}

/// The process that holds a flock on `target`.
pub(super) fn flock_holder(proc: &Path, target: Identity) -> Option<String> {
    let locks = fs::read_to_string(proc.join("locks")).ok()?;
    let lock = parse::locks(&locks).find(|it| it.is_flock && it.is_write && is_of(it, target))?;
    lock.pid.map(|pid| describe(proc, pid))
}

/// Locks of a block device lie on its node's inode, which the device's number does not tell.
fn is_of(lock: &parse::Lock, target: Identity) -> bool {
    target == Identity::File { dev: lock.dev, ino: lock.ino }
}

fn has_open_for_writing(process: &Path, target: Identity) -> io::Result<bool> {
    for entry in fs::read_dir(process.join("fdinfo"))?.filter_map(io::Result::ok) {
        let Ok(info) = fs::read_to_string(entry.path()) else { continue };
        let field = |name| info.lines().find_map(|it| it.strip_prefix(name)).map(str::trim);
        let flags = field("flags:").and_then(|it| u32::from_str_radix(it, 8).ok());
        if flags.is_none_or(|it| it & O_ACCMODE == 0) {
            continue;
        }
        let link = process.join("fd").join(entry.file_name());
        // What surely is another file is not looked at: it may be on a server that hangs.
        let may_be_it = match target {
            Identity::File { ino, .. } => {
                field("ino:").is_none_or(|it| it.parse() == Ok(ino)) // Linux 5.14
            }
            Identity::Device(_) => {
                fs::read_link(&link).is_ok_and(|it| it.as_os_str().as_bytes().starts_with(b"/dev/"))
            }
        };
        if may_be_it && Identity::of_path(&link) == Some(target) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `NAME (process PID)`.
fn describe(proc: &Path, pid: u32) -> String {
    let name = fs::read_to_string(proc.join(pid.to_string()).join("comm")).unwrap_or_default();
    match name.trim_end() {
        "" => format!("process {pid}"),
        name => format!("{name} (process {pid})"),
    }
}
