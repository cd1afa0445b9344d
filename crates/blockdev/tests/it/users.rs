//! Refusing what somebody else uses.

use crate::{folders, image, pattern};
use ext4_blockdev::{AlignedBuf, BlockDevice, FileDevice, OpenMode, Write};
use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The reason of a refusal, and that a reader is told the same.
#[track_caller]
fn refusal(path: &Path) -> String {
    let err = FileDevice::open(path, OpenMode::Exclusive).unwrap_err().to_string();
    let by = err.strip_prefix(&format!("{}: ", path.display())).unwrap();
    let reader = FileDevice::open(path, OpenMode::ReadOnly).unwrap();
    assert_eq!(reader.notes(), [format!("{by}: what is read may change meanwhile")]);
    by.to_owned()
}

#[test]
fn a_process_that_has_it_open_for_writing_is_named() {
    for folder in folders() {
        let path = image(&folder, "disk.img", 4096);
        // Another name of the same file does not hide it.
        let link = folder.path().join("link.img");
        std::fs::hard_link(&path, &link).unwrap();
        let mut child = Command::new("sh")
            .args(["-c", "exec 3<>\"$0\"; echo open; read line"])
            .arg(&link)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let by = std::panic::catch_unwind(|| refusal(&path));
        let pid = child.id();
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(by.unwrap(), format!("open for writing by sh (process {pid})"));
        FileDevice::open(&path, OpenMode::Exclusive).unwrap();
    }
}

#[test]
fn a_process_that_only_reads_is_no_hindrance() {
    let folder = &folders()[0];
    let path = image(folder, "disk.img", 4096);
    let mut child = Command::new("sh")
        .args(["-c", "exec 3<\"$0\"; echo open; read line"])
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let res = FileDevice::open(&path, OpenMode::Exclusive);
    drop(child.stdin.take());
    child.wait().unwrap();
    res.unwrap();
}

/// A loop device over a file; detached when dropped, whatever became of the test.
pub(crate) struct Loop(pub(crate) PathBuf);

impl Loop {
    pub(crate) fn attach(file: &Path, options: &[&str]) -> Option<Self> {
        let mut losetup = Command::new("losetup");
        let out = losetup.args(["--find", "--show"]).args(options).arg(file).output().ok()?;
        out.status.success().then(|| Self(String::from_utf8(out.stdout).unwrap().trim_end().into()))
    }

    fn name(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

/// A mount; undone when dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(device: &Path, at: &Path) -> Option<Self> {
        let status = Command::new("mount").arg(device).arg(at).status().ok()?;
        status.success().then(|| Self(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn an_image_behind_a_loop_device_and_the_mounted_device_are_refused() {
    let folder = &folders()[0];
    let path = image(folder, "disk.img", 8 << 20);
    let at = tempfile::tempdir().unwrap();
    let Some(device) = Loop::attach(&path, &[]) else {
        println!("skipped: cannot attach a loop device (needs root and losetup)");
        return;
    };
    assert_eq!(refusal(&path), format!("attached to {}", device.name()));

    // The loop device itself may be written, through the page cache and directly.
    let opened = FileDevice::open(&device.0, OpenMode::Exclusive).unwrap();
    println!("{}: {:?}", device.name(), opened.direct_io());
    assert_eq!(opened.len(), 8 << 20);
    opened.write_at(1000, &[0xAB; 100]).unwrap();
    opened.flush().unwrap();
    let second = FileDevice::open(&device.0, OpenMode::Exclusive).unwrap_err().to_string();
    assert!(second.starts_with(&format!("{}: ", device.name())), "{second}");
    drop(opened);
    assert_eq!(std::fs::read(&path).unwrap()[1000..1100], [0xAB; 100]);

    let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&device.0).status();
    if !made.is_ok_and(|it| it.success()) {
        println!("skipped: no mkfs.ext4, so no mounted device");
        return;
    }
    let Some(mount) = Mount::new(&device.0, at.path()) else {
        println!("skipped: cannot mount");
        return;
    };
    let mounted = format!("mounted at {}", at.path().display());
    assert_eq!(refusal(&device.0), mounted);
    assert_eq!(refusal(&path), format!("attached to {}, which is {mounted}", device.name()));
    drop(mount);
    drop(device);
    FileDevice::open(&path, OpenMode::Exclusive).unwrap();
}

#[test]
fn a_device_of_large_sectors_is_written_whole_sectors_at_a_time() {
    let folder = &folders()[0];
    let path = image(folder, "disk.img", 1 << 20);
    let Some(device) = Loop::attach(&path, &["--sector-size", "4096"]) else {
        println!("skipped: cannot attach a loop device (needs root and losetup)");
        return;
    };
    let opened = FileDevice::open(&device.0, OpenMode::Exclusive).unwrap();
    println!("{:?}", opened.direct_io());
    assert_eq!(opened.limits().sector, 4096);
    let mut queue = opened.queue(4);
    let mut model = pattern(1 << 20);
    for (offset, len) in [(8192, 4096), (1024, 1024), (512, 512), (65536, 131_072), (5000, 3)] {
        let buf = AlignedBuf::copy_of(&vec![0xEE; len]);
        queue.submit(Write { offset: offset as u64, buf, tag: 0 }).unwrap();
        model[offset..offset + len].fill(0xEE);
    }
    while let Some(done) = queue.wait() {
        done.result.unwrap();
    }
    drop(queue);
    opened.flush().unwrap();
    let mut all = vec![0; 1 << 20];
    opened.read_at(0, &mut all).unwrap();
    assert!(all == model);
    drop(opened);
    drop(device);
    assert!(std::fs::read(&path).unwrap() == model);
}
