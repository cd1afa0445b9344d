//! Opening, reading, writing and refusing.

use crate::{folders, image, pattern};
use ext4_blockdev::{
    AlignedBuf, BlockDevice, Completion, DirectIo, Error, FileDevice, OpenError, OpenMode, Overlay,
    Write,
};
use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    panic::UnwindSafe,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

#[test]
fn reads_and_writes_of_any_alignment_are_whole() {
    for folder in folders() {
        let path = image(&folder, "disk.img", 100_001);
        let device = FileDevice::open(&path, OpenMode::Exclusive).unwrap();
        println!("{}: {:?}", path.display(), device.direct_io());
        assert_eq!(device.len(), 100_001);
        let mut model = pattern(100_001);
        for (at, len) in [(0, 1), (511, 2), (4095, 4098), (99_999, 2), (0, 0), (8192, 65536)] {
            device.write_at(at as u64, &vec![0xEE; len]).unwrap();
            model[at..at + len].fill(0xEE);
        }
        device.flush().unwrap();
        let mut all = vec![0; 100_001];
        device.read_at(0, &mut all).unwrap();
        assert!(all == model);
        drop(device);
        assert!(std::fs::read(&path).unwrap() == model);
    }
}

#[test]
fn nothing_passes_the_end() {
    let folder = &folders()[0];
    let path = image(folder, "disk.img", 1000);
    let device = FileDevice::open(&path, OpenMode::Exclusive).unwrap();
    for at in [999, 1000, u64::MAX] {
        assert!(matches!(device.write_at(at, &[0; 2]), Err(Error::OutOfRange { .. })));
        assert!(matches!(device.read_at(at, &mut [0; 2]), Err(Error::OutOfRange { .. })));
        assert!(matches!(device.discard(at, 2), Err(Error::OutOfRange { .. })));
    }
    device.prefetch(u64::MAX, 5);
    drop(device);
    assert_eq!(std::fs::read(&path).unwrap(), pattern(1000));
}

#[test]
fn what_the_host_never_stored_is_passed_over() {
    const MIB: u64 = 1 << 20;
    for folder in folders() {
        let path = image(&folder, "sparse.img", 5000);
        File::options().write(true).open(&path).unwrap().set_len(64 * MIB).unwrap();
        let device = FileDevice::open(&path, OpenMode::Exclusive).unwrap();
        device.write_at(32 * MIB, &[7; 4096]).unwrap();
        assert_eq!(device.next_data(100, 64 * MIB), 100);
        assert_eq!(device.next_data(40 * MIB, 64 * MIB), 64 * MIB);
        assert_eq!(device.next_data(MIB, 2 * MIB), 2 * MIB);
        assert_eq!(device.next_data(MIB, 64 * MIB), 32 * MIB);
        // What was written above it counts too.
        let overlay = Overlay::new(Arc::new(device));
        overlay.write_at(16 * MIB + 5, &[1]).unwrap();
        assert_eq!(overlay.next_data(MIB, 64 * MIB), 16 * MIB);
        assert_eq!(overlay.next_data(16 * MIB + 5, 64 * MIB), 16 * MIB + 5);
        assert_eq!(overlay.next_data(16 * MIB + 512, 64 * MIB), 32 * MIB);
        assert_eq!(overlay.next_data(MIB, 2 * MIB), 2 * MIB);
    }
}

#[test]
fn a_read_only_device_takes_no_write() {
    let folder = &folders()[0];
    let path = image(folder, "disk.img", 1024);
    let device = FileDevice::open(&path, OpenMode::ReadOnly).unwrap();
    assert!(device.is_read_only());
    assert!(matches!(device.write_at(0, &[1]), Err(Error::ReadOnly)));
    assert!(matches!(device.discard(0, 512), Err(Error::ReadOnly)));
    device.flush().unwrap();
    device.read_at(0, &mut [0; 1024]).unwrap();
}

#[test]
fn a_file_cut_short_meanwhile_is_a_read_error() {
    let folder = &folders()[0];
    let path = image(folder, "disk.img", 4096);
    let device = FileDevice::open(&path, OpenMode::ReadOnly).unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1000).unwrap();
    assert!(matches!(device.read_at(0, &mut [0; 4096]), Err(Error::Read { .. })));
}

/// Runs a test in a freshly mounted filesystem of this kind, and unmounts it whatever happened.
fn in_mount(kind: &str, options: &str, test: impl FnOnce(&Path) + UnwindSafe) {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mut mount = Command::new("mount");
    mount.args(["-t", kind, "-o", options, "none"]).arg(at);
    if !mount.status().is_ok_and(|it| it.success()) {
        println!("skipped: cannot mount a {kind} (needs root)");
        return;
    }
    let res = std::panic::catch_unwind(|| test(at));
    let unmounted = Command::new("umount").arg(at).status().unwrap();
    assert!(unmounted.success());
    res.unwrap();
}

#[test]
fn after_a_failed_write_nothing_more_is_written() {
    in_mount("tmpfs", "size=64k", |folder| {
        let path = folder.join("sparse.img");
        File::create(&path).unwrap().set_len(1 << 20).unwrap();
        let device = FileDevice::open(&path, OpenMode::Exclusive).unwrap();
        device.write_at(0, &[1; 4096]).unwrap();
        let Error::Write { source, .. } = device.write_at(4096, &vec![2; 200_000]).unwrap_err()
        else {
            panic!("not a write error")
        };
        assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
        assert!(matches!(device.write_at(0, &[3; 512]), Err(Error::Poisoned)));
        assert!(matches!(device.discard(0, 512), Err(Error::Poisoned)));
        assert!(matches!(device.flush(), Err(Error::Poisoned)));
        let mut first = [0; 512];
        device.read_at(0, &mut first).unwrap();
        assert_eq!(first, [1; 512]);
    });
}

#[test]
fn a_full_host_fails_queued_writes_and_gives_their_buffers_back() {
    in_mount("tmpfs", "size=1m", |folder| {
        let path = folder.join("sparse.img");
        File::create(&path).unwrap().set_len(16 << 20).unwrap();
        let device = FileDevice::open(&path, OpenMode::Exclusive).unwrap();
        let mut queue = device.queue(4);
        let mut done = Vec::new();
        for tag in 0..32 {
            let buf = AlignedBuf::copy_of(&vec![7; 128 << 10]);
            queue.submit(Write { offset: tag * (128 << 10), buf, tag }).unwrap();
            if tag >= 4 {
                done.extend(queue.wait());
            }
        }
        done.extend(std::iter::from_fn(|| queue.wait()));
        drop(queue);
        assert!(done.iter().all(|it| it.buf.len() == 128 << 10));
        let tags: std::collections::BTreeSet<_> = done.iter().map(|it| it.tag).collect();
        assert_eq!((done.len(), tags.len()), (32, 32));
        let full = |it: &&Completion| {
            matches!(&it.result, Err(Error::Write { source, .. })
                if source.kind() == std::io::ErrorKind::StorageFull)
        };
        let poisoned = |it: &&Completion| matches!(it.result, Err(Error::Poisoned));
        let n = (done.iter().filter(full).count(), done.iter().filter(poisoned).count());
        let n_good = done.iter().filter(|it| it.result.is_ok()).count();
        println!("{n_good} written, {} failed, {} refused", n.0, n.1);
        assert!(n.0 >= 1 && n.1 >= 1 && n_good >= 1 && n.0 + n.1 + n_good == 32);
        assert!(matches!(device.flush(), Err(Error::Poisoned)));
    });
}

#[test]
fn a_host_without_direct_io_is_written_through_its_page_cache() {
    in_mount("ramfs", "mode=700", |folder| {
        let path = folder.join("disk.img");
        std::fs::write(&path, pattern(1 << 20)).unwrap();
        let device = FileDevice::open(&path, OpenMode::Exclusive).unwrap();
        let DirectIo::No { reason } = device.direct_io() else { panic!("ramfs took O_DIRECT") };
        assert_eq!(reason, "the host's filesystem does not take O_DIRECT");
        let mut queue = device.queue(4);
        for tag in 0..8 {
            let buf = AlignedBuf::copy_of(&vec![9; 128 << 10]);
            queue.submit(Write { offset: tag * (128 << 10), buf, tag }).unwrap();
        }
        while let Some(done) = queue.wait() {
            done.result.unwrap();
        }
        drop(queue);
        device.flush().unwrap();
        drop(device);
        assert!(std::fs::read(&path).unwrap() == vec![9; 1 << 20]);
    });
}

#[test]
fn what_is_no_device_is_refused_in_one_line() {
    let folder = &folders()[0];
    let dir = folder.path();
    let check = |path: &Path, expected: &str| {
        let err = FileDevice::open(path, OpenMode::Exclusive).unwrap_err().to_string();
        assert_eq!(err, format!("{}: {expected}", path.display()));
    };
    check(dir, "found a directory, expected an image file or block device");
    let null = Path::new("/dev/null");
    check(null, "found a character device, expected an image file or block device");
    check(&dir.join("none"), "No such file or directory (os error 2)");
    check(&image(folder, "empty.img", 0), "found 0 bytes, expected an image");
    let fifo = dir.join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    check(&fifo, "found a fifo, expected an image file or block device");
}

#[test]
fn a_second_writer_is_refused_and_a_reader_is_told() {
    let folder = &folders()[0];
    let path = image(folder, "disk.img", 1024);
    let reader = FileDevice::open(&path, OpenMode::ReadOnly).unwrap();
    assert!(reader.notes().is_empty());
    let writer = FileDevice::open(&path, OpenMode::Exclusive).unwrap();
    let second = FileDevice::open(&path, OpenMode::Exclusive);
    assert!(matches!(second, Err(OpenError::InUse { .. })));
    let late_reader = FileDevice::open(&path, OpenMode::ReadOnly).unwrap();
    assert_eq!(late_reader.notes().len(), 1);
    drop(writer);
    FileDevice::open(&path, OpenMode::Exclusive).unwrap();
}

/// A process that only reads, and has a lock of fcntl(2) as qemu does.
const LOCKER: &str = "import fcntl, sys
file = open(sys.argv[1])
fcntl.lockf(file, fcntl.LOCK_SH, 1, 100)
print('locked', flush=True)
sys.stdin.read()";

#[test]
fn a_lock_of_another_process_is_respected_whatever_its_kind() {
    let folder = &folders()[0];
    let path = image(folder, "disk.img", 1024);
    let mut python = Command::new("python3");
    python.args(["-c", LOCKER]).arg(&path).stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut locker) = python.spawn() else {
        println!("skipped: no python3");
        return;
    };
    let mut said = String::new();
    BufReader::new(locker.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "locked\n");
    let refused = FileDevice::open(&path, OpenMode::Exclusive).unwrap_err().to_string();
    let who = format!("locked by python3 (process {})", locker.id());
    assert!(refused.ends_with(&who), "{refused}");
    let reader = FileDevice::open(&path, OpenMode::ReadOnly).unwrap();
    assert!(reader.notes()[0].starts_with(&who), "{:?}", reader.notes());
    drop(locker.stdin.take());
    locker.wait().unwrap();
    FileDevice::open(&path, OpenMode::Exclusive).unwrap();
}

#[test]
fn discarded_bytes_free_the_hosts_blocks() {
    for folder in folders() {
        let path = image(&folder, "disk.img", 1 << 20);
        let device = FileDevice::open(&path, OpenMode::Exclusive).unwrap();
        device.flush().unwrap();
        device.discard(100, (1 << 20) - 200).unwrap();
        let mut all = vec![0; 1 << 20];
        device.read_at(0, &mut all).unwrap();
        let before = pattern(1 << 20);
        assert_eq!(all[..512], before[..512]);
        assert_eq!(all[(1 << 20) - 512..], before[(1 << 20) - 512..]);
    }
}

#[test]
fn the_limits_are_the_hosts() {
    for folder in folders() {
        let path = image(&folder, "disk.img", 1 << 16);
        let device = FileDevice::open(&path, OpenMode::Exclusive).unwrap();
        match device.direct_io() {
            DirectIo::Yes(limits) => {
                assert_eq!(device.limits(), *limits);
                assert!(limits.sector >= 512 && limits.sector.is_power_of_two());
            }
            DirectIo::No { reason } => assert!(!reason.is_empty()),
            other => panic!("{other:?}"),
        }
    }
}
