//! Who else uses a file or device: mounts, loop devices, swap, holders, locks and open descriptors.
//!
//! What cannot be known from here: a process of another user when we are not root, a writable
//! mapping whose descriptor was closed, and anyone on another machine that shares the file. A
//! block device is also opened with O_EXCL, which the kernel refuses while a mount, swap, RAID or
//! LVM of any mount namespace holds it.

mod parse;
mod processes;

use rustix::{fs::FlockOperation, io::Errno};
use std::{
    fs::{self, File},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

/// What identifies a file or block device, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// A regular file: the device number of its filesystem and its inode.
    File { dev: u64, ino: u64 },
    /// A block device: its own number.
    Device(u64),
}

impl Identity {
    /// Of what a path leads to; `None` if there is nothing or it is something else.
    fn of_path(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().as_ref().and_then(Self::of)
    }

    pub(super) fn of(meta: &fs::Metadata) -> Option<Self> {
        let kind = meta.file_type();
        if kind.is_file() {
            Some(Self::File { dev: meta.dev(), ino: meta.ino() })
        } else if kind.is_block_device() {
            Some(Self::Device(meta.rdev()))
        } else {
            None
        }
    }
}

/// The system's lists, as paths so that tests can lay out their own.
#[derive(Debug)]
struct System {
    proc: PathBuf,
    sys: PathBuf,
}

/// Everybody found to use `target` in a way that does not go with our writing (or, for a reader,
/// with a content that stays): a phrase each, such as "mounted at /mnt".
pub(super) fn find(target: Identity) -> Vec<String> {
    let mut users = of_kernel(target);
    // The processes are only of interest if the kernel itself is not: their list is long.
    if users.is_empty() {
        users = of_processes(target, None);
    }
    users
}

/// What the kernel itself has it for: mounts, loop devices, swap, partitions.
pub(super) fn of_kernel(target: Identity) -> Vec<String> {
    System { proc: "/proc".into(), sys: "/sys".into() }.kernel_users(target)
}

/// Processes that have it open for writing, or locked. Where we have it open for writing ourselves,
/// that descriptor tells about locks.
pub(super) fn of_processes(target: Identity, ours: Option<&File>) -> Vec<String> {
    let proc = Path::new("/proc");
    let mut users = processes::writers(proc, target);
    if users.is_empty() {
        users.extend(match ours.map(is_locked) {
            Some(Ok(false)) => None,
            Some(Ok(true)) => {
                let holder = processes::lock_holder(proc, target);
                Some(holder.unwrap_or_else(|| processes::UNSEEN_LOCK.to_owned()))
            }
            Some(Err(_)) | None => processes::lock_holder(proc, target),
        });
    }
    users
}

/// Whether another process has a lock of fcntl(2) on a file that is open for writing: by trying to
/// take one. The list of all locks waits for every CPU of the host (`locks_start` takes a per-CPU
/// semaphore), tens of milliseconds at times.
fn is_locked(file: &File) -> io::Result<bool> {
    match rustix::fs::fcntl_lock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            rustix::fs::fcntl_lock(file, FlockOperation::Unlock)?;
            Ok(false)
        }
        Err(Errno::WOULDBLOCK | Errno::ACCESS) => Ok(true),
        Err(err) => Err(err.into()),
    }
}

/// Who holds the flock on `target`, as far as can be seen.
pub(super) fn lock_holder(target: Identity) -> String {
    processes::flock_holder(Path::new("/proc"), target)
        .map_or_else(|| "locked by another tool".to_owned(), |it| format!("locked by {it}"))
}

impl System {
    fn kernel_users(&self, target: Identity) -> Vec<String> {
        let mut users = Vec::new();
        match target {
            Identity::Device(dev) => {
                users.extend(self.uses_of_device(dev));
                for (name, part) in self.partitions_of(dev) {
                    let uses = self.uses_of_device(part);
                    users
                        .extend(uses.into_iter().map(|it| format!("its partition {name} is {it}")));
                }
                if let Some((name, whole)) = self.whole_disk_of(dev) {
                    let uses = self.uses_of_device(whole);
                    users.extend(uses.into_iter().map(|it| format!("its disk {name} is {it}")));
                }
            }
            Identity::File { .. } => {}
        }
        users.extend(self.swap_on(target));
        users.extend(self.loops_over(target));
        users
    }

    /// Mounts of a block device, and the devices stacked on it (dm, md).
    fn uses_of_device(&self, dev: u64) -> Vec<String> {
        let mounts = self.read("self/mountinfo");
        let mut users: Vec<_> = parse::mounts(&mounts)
            .filter(|it| {
                // btrfs and others show a number of their own: there the source tells.
                it.dev == dev || is_device(&it.source, dev)
            })
            .map(|it| format!("mounted at {}", it.target.display()))
            .take(1)
            .collect();
        let holders = self.sys_device(dev).join("holders");
        users.extend(names(&holders).map(|it| format!("held by {it}")));
        users
    }

    fn swap_on(&self, target: Identity) -> Option<String> {
        parse::swaps(&self.read("swaps"))
            .any(|it| Identity::of_path(&it) == Some(target))
            .then(|| "in use as swap".to_owned())
    }

    /// Loop devices whose file this is, compared by what the path leads to, not by its text.
    fn loops_over(&self, target: Identity) -> Vec<String> {
        let block = self.sys.join("block");
        let mut users = Vec::new();
        for name in names(&block).filter(|it| it.starts_with("loop")) {
            let device = block.join(&name);
            let Ok(file) = fs::read_to_string(device.join("loop/backing_file")) else { continue };
            let file = file.strip_suffix('\n').unwrap_or(&file);
            if Identity::of_path(Path::new(file)) != Some(target) {
                continue;
            }
            let number = read_number(&device.join("dev"));
            let uses = number.map(|it| self.uses_of_device(it)).unwrap_or_default();
            users.push(match uses.first() {
                Some(first) => format!("attached to /dev/{name}, which is {first}"),
                None => format!("attached to /dev/{name}"),
            });
        }
        users
    }

    fn sys_device(&self, dev: u64) -> PathBuf {
        let (major, minor) = (rustix::fs::major(dev), rustix::fs::minor(dev));
        self.sys.join(format!("dev/block/{major}:{minor}"))
    }

    /// Name and number of each partition of a disk.
    fn partitions_of(&self, dev: u64) -> Vec<(String, u64)> {
        let disk = self.sys_device(dev);
        names(&disk)
            .filter(|it| disk.join(it).join("partition").exists())
            .filter_map(|it| Some((it.clone(), read_number(&disk.join(it).join("dev"))?)))
            .collect()
    }

    /// Name and number of the disk that a partition is of.
    fn whole_disk_of(&self, dev: u64) -> Option<(String, u64)> {
        let part = fs::canonicalize(self.sys_device(dev)).ok()?;
        if !part.join("partition").exists() {
            return None;
        }
        let disk = part.parent()?;
        Some((disk.file_name()?.to_string_lossy().into_owned(), read_number(&disk.join("dev"))?))
    }

    /// A list below /proc; empty where there is none.
    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.proc.join(name)).unwrap_or_default()
    }
}

fn is_device(path: &Path, dev: u64) -> bool {
    path.is_absolute() && Identity::of_path(path) == Some(Identity::Device(dev))
}

/// The names in a folder, sorted; none where it cannot be read.
fn names(folder: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<_> = entries
        .filter_map(io::Result::ok)
        .map(|it| it.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names.into_iter()
}

/// A device number from a file that holds `MAJOR:MINOR`.
fn read_number(path: &Path) -> Option<u64> {
    parse::device_number(fs::read_to_string(path).ok()?.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A made-up system of a disk 8:0 with partitions 8:1 and 8:2 and a loop device 7:0.
    fn system(folder: &Path, mountinfo: &str, backing_file: &Path) -> System {
        let (proc, sys) = (folder.join("proc"), folder.join("sys"));
        fs::create_dir_all(proc.join("self")).unwrap();
        fs::write(proc.join("self/mountinfo"), mountinfo).unwrap();
        let write = |name: &str, text: &str| {
            let path = sys.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (at, nr) in [("sda", "8:0"), ("sda/sda1", "8:1"), ("sda/sda2", "8:2"), ("loop0", "7:0")]
        {
            write(&format!("block/{at}/dev"), &format!("{nr}\n"));
            if at.contains('/') {
                write(&format!("block/{at}/partition"), "1\n");
            }
            fs::create_dir_all(sys.join("dev/block")).unwrap();
            let link = sys.join("dev/block").join(nr);
            std::os::unix::fs::symlink(sys.join("block").join(at), link).unwrap();
        }
        let file = format!("{}\n", backing_file.display());
        write("block/loop0/loop/backing_file", &file);
        write("block/sda/sda2/holders/dm-3/x", "");
        System { proc, sys }
    }

    fn dev(major: u32, minor: u32) -> Identity {
        Identity::Device(rustix::fs::makedev(major, minor))
    }

    #[test]
    fn a_mount_is_found_through_partition_disk_and_loop() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("disk.img");
        fs::write(&image, "x").unwrap();
        let mounts = "30 1 8:1 / /mnt/with\\040space rw - ext4 /dev/none rw\n\
                      31 1 7:0 / /mnt/loop rw shared:1 - ext4 /dev/none rw\n";
        // The kernel may know the file by another name than ours.
        let link = folder.path().join("link.img");
        fs::hard_link(&image, &link).unwrap();
        let system = system(folder.path(), mounts, &link);

        assert_eq!(system.kernel_users(dev(8, 1)), ["mounted at /mnt/with space"]);
        assert_eq!(
            system.kernel_users(dev(8, 0)),
            [
                "its partition sda1 is mounted at /mnt/with space",
                "its partition sda2 is held by dm-3"
            ]
        );
        assert_eq!(system.kernel_users(dev(8, 2)), ["held by dm-3"]);
        let file = Identity::of_path(&image).unwrap();
        assert_eq!(
            system.kernel_users(file),
            ["attached to /dev/loop0, which is mounted at /mnt/loop"]
        );
        assert!(system.kernel_users(dev(9, 9)).is_empty());
    }

    #[test]
    fn a_mounted_disk_keeps_its_partitions() {
        let folder = tempfile::tempdir().unwrap();
        let mounts = "30 1 8:0 / /mnt rw - ext4 /dev/none rw\n";
        let system = system(folder.path(), mounts, Path::new("/none"));
        assert_eq!(system.kernel_users(dev(8, 2))[1], "its disk sda is mounted at /mnt");
    }

    #[test]
    fn swap_is_found_by_what_the_path_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("swap file");
        fs::write(&image, "x").unwrap();
        let system = system(folder.path(), "", Path::new("/none"));
        let line = image.display().to_string().replace(' ', "\\040");
        let swaps = format!("Filename Type Size Used Priority\n{line} file 1 0 -2\n");
        fs::write(folder.path().join("proc/swaps"), swaps).unwrap();
        assert_eq!(system.kernel_users(Identity::of_path(&image).unwrap()), ["in use as swap"]);
    }
}
