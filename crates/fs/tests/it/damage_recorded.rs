//! Damage met while writing is on record afterwards, as `ext4_error` puts it there: the same state,
//! inode and code as the kernel's after the same operation on the same damaged image.

use crate::rig::{clock, open};
use ext4_blockdev::{BlockDevice, Fault, FaultDevice, Op};
use ext4_fs::{Filesystem, Last, NewFile, RecoverOptions, recover};
use ext4_ondisk::superblock::RawSuperblock;
use ext4_testkit::{
    image::{Image, Recipe},
    mount::Mount,
    oracle::{self, FsckMode, Need, skip_without},
    view::View,
};
use ext4_units::InodeNr;
use std::{fs::OpenOptions, io, path::Path, sync::Arc};

/// What the superblock says of errors.
#[derive(Debug, PartialEq, Eq)]
struct History {
    state: u16,
    has_errors: bool,
    /// Inode and code of the first one. The last one is the kernel's word for the operation that
    /// met it, without an inode.
    first: (u32, u8),
    has_times: bool,
    has_function: bool,
}

fn superblock(device: &dyn BlockDevice) -> RawSuperblock {
    let mut bytes = [0; RawSuperblock::SIZE];
    device.read_at(RawSuperblock::OFFSET, &mut bytes).unwrap();
    RawSuperblock::of(&bytes).unwrap().clone()
}

fn history(device: &dyn BlockDevice) -> History {
    let raw = superblock(device);
    History {
        state: raw.s_state.get(),
        has_errors: raw.s_error_count.get() > 0,
        first: (raw.s_first_error_ino.get(), raw.s_first_error_errcode),
        has_times: raw.s_first_error_time.get() != 0 && raw.s_last_error_time.get() != 0,
        has_function: raw.s_first_error_func[0] != 0 && raw.s_last_error_func[0] != 0,
    }
}

/// A file `/f` with a tree of depth 1, a directory `/d` with a name, and an inode `/i`.
fn sound(profile: &str) -> Option<Image> {
    let recipe = Recipe::new(profile).write("/f", vec![7; 20 << 10]).mkdir("/d");
    let recipe = (0..10).fold(recipe, |it, n| it.debugfs(&format!("punch /f {0} {0}", 2 * n)));
    recipe.write("/d/name", *b"x").write("/i", *b"y").image()
}

struct Case {
    name: &'static str,
    /// Which byte is changed.
    at: fn(&View<'_>) -> u64,
    by_us: fn(&Filesystem) -> ext4_fs::Result<()>,
    by_kernel: fn(&Path) -> io::Result<()>,
}

fn number(view: &View<'_>, path: &str) -> u32 {
    view.paths().unwrap()[path]
}

fn ino(fs: &Filesystem, path: &str) -> InodeNr {
    fs.resolve(fs.meta(), path.as_bytes(), Last::Stay).unwrap().ino
}

fn leaf(view: &View<'_>) -> u64 {
    let node = view.inode(number(view, "f")).unwrap();
    view.map_blocks(&node).unwrap()[0] * view.block_size as u64
}

fn directory(view: &View<'_>) -> u64 {
    let node = view.inode(number(view, "d")).unwrap();
    view.runs(&node).unwrap()[0].start * view.block_size as u64
}

const CASES: &[Case] = &[
    Case {
        name: "extent node, magic",
        at: leaf,
        by_us: |fs| fs.truncate(ino(fs, "/f"), 1000),
        by_kernel: |root| OpenOptions::new().write(true).open(root.join("f"))?.set_len(1000),
    },
    Case {
        name: "extent node, what no check but the checksum sees",
        at: |view| leaf(view) + 8,
        by_us: |fs| fs.truncate(ino(fs, "/f"), 1000),
        by_kernel: |root| OpenOptions::new().write(true).open(root.join("f"))?.set_len(1000),
    },
    Case {
        name: "directory block, a length",
        at: |view| directory(view) + 4,
        by_us: |fs| fs.unlink(ino(fs, "/d"), b"name"),
        by_kernel: |root| std::fs::remove_file(root.join("d/name")),
    },
];

/// The kernel's errno, 0 for success, and the image afterwards.
fn by_kernel(image: &Image, case: &Case) -> Option<(i32, Image)> {
    if skip_without(&[Need::Kernel]) {
        return None;
    }
    let scratch = oracle::scratch().unwrap();
    let file = scratch.path().join("image");
    image.save(&file).unwrap();
    let mount = Mount::new(&file, "errors=continue").unwrap();
    let errno = (case.by_kernel)(mount.path()).err().map_or(0, |err| err.raw_os_error().unwrap());
    mount.unmount().unwrap();
    Some((errno, Image::load(&file).unwrap()))
}

fn damaged(profile: &str, case: &Case) -> Option<Image> {
    let image = sound(profile)?;
    let at = (case.at)(&View::new(&image).unwrap());
    let byte = [image.bytes()[usize::try_from(at).unwrap()] ^ 0x55];
    Some(image.patched([(at, &byte[..])]).unwrap())
}

/// What dumpe2fs has lines for, of those about errors.
fn error_lines(device: &dyn BlockDevice) -> Vec<String> {
    let scratch = oracle::scratch().unwrap();
    let file = scratch.path().join("image");
    oracle::save(device, &file).unwrap();
    let out = oracle::tool("dumpe2fs", ["-h", file.to_str().unwrap()], b"").unwrap();
    let text = out.expect_ok("dumpe2fs").unwrap();
    let lines = text.lines().filter_map(|line| line.split_once(':')).map(|it| it.0.to_owned());
    lines.filter(|it| it.contains("rror")).collect()
}

#[test]
fn damage_met_while_writing_is_recorded_as_the_kernel_records_it() {
    for profile in ["ext4-1k", "ext4-gdtcsum-1k", "orphan-1k"] {
        for case in CASES {
            let Some(image) = damaged(profile, case) else { return };
            let name = format!("{profile}, {}", case.name);
            let device = image.device();
            let fs = open(Arc::clone(&device) as _);
            let res = (case.by_us)(&fs);
            // Met again, it is no second one.
            assert_eq!((case.by_us)(&fs).is_ok(), res.is_ok(), "{name}");
            fs.close().unwrap();
            let ours = history(&*device);
            assert_eq!(superblock(&*device).s_error_count.get(), u32::from(res.is_err()), "{name}");
            let errno = res.map_or_else(|err| err.errno(), |()| 0);
            assert!(errno == 0 || matches!(errno, 74 | 117), "{name}: {errno}");
            let Some((kernels_errno, kernel)) = by_kernel(&image, case) else { continue };
            assert_eq!(errno, kernels_errno, "{name}");
            if profile == "ext4-gdtcsum-1k" && case.name.starts_with("directory") {
                // The kernel has the errno for it, but no record.
                assert_eq!(superblock(&kernel).s_error_count.get(), 0, "{name}");
                continue;
            }
            assert_eq!(ours, history(&kernel), "{name}: ours and the kernel's");
            if !skip_without(&[Need::Dumpe2fs]) {
                // We tell more: a block, and the inode of the last one too.
                let (ours, kernels) = (error_lines(&*device), error_lines(&kernel));
                assert!(kernels.iter().all(|it| ours.contains(it)), "{name}: {ours:?} {kernels:?}");
            }
        }
    }
}

#[test]
fn the_block_is_told_and_a_full_check_is_due() {
    let Some(image) = damaged("ext4-1k", &CASES[0]) else { return };
    let device = image.device();
    let fs = open(Arc::clone(&device) as _);
    (CASES[0].by_us)(&fs).unwrap_err();
    fs.close().unwrap();
    let raw = superblock(&*device);
    let block = leaf(&View::new(&sound("ext4-1k").unwrap()).unwrap()) / 1024;
    assert_eq!(raw.s_first_error_block.get(), block);
    assert_eq!(raw.s_first_error_func[..12], *b"extent_node\0");
    let again = recover(Arc::clone(&device) as _, &RecoverOptions::new(clock())).unwrap();
    assert!(again.report.has_errors);
    drop(again);
    if !skip_without(&[Need::E2fsck]) {
        let fsck = oracle::e2fsck_device(&*device, FsckMode::Preen).unwrap();
        let text = fsck.lines.join("\n");
        assert!(text.contains("contains a file system with errors, check forced"), "{text}");
    }
}

#[test]
fn a_record_that_was_committed_survives_the_replay() {
    let Some(image) = damaged("ext4-1k", &CASES[0]) else { return };
    let device = image.device();
    let fs = open(Arc::clone(&device) as _);
    (CASES[0].by_us)(&fs).unwrap_err();
    fs.commit().unwrap();
    drop(fs);
    assert_eq!(superblock(&*device).s_error_count.get(), 0, "it is in the log");
    let report = recover(Arc::clone(&device) as _, &RecoverOptions::new(clock())).unwrap();
    assert!(report.report.has_errors);
    report.fs.close().unwrap();
    assert_eq!(superblock(&*device).s_error_count.get(), 1);
    assert_eq!(history(&*device).first, (12, 5));
}

#[test]
fn nothing_is_recorded_where_nothing_can_be_written() {
    let Some(image) = damaged("ext4-1k", &CASES[0]) else { return };
    // For reading only.
    let device = image.device();
    let fs = Filesystem::open_read(Arc::clone(&device) as _).unwrap();
    let inode = fs.inode(fs.meta(), ino(&fs, "/f")).unwrap();
    fs.read_at(fs.meta(), &inode, 0, &mut [0; 512]).unwrap_err();
    (CASES[0].by_us)(&fs).unwrap_err();
    fs.close().unwrap();
    assert!(device.contents() == image.bytes()[..]);

    // The device fails on the way: what is recovered is sound but for the damage.
    for nth in 1..40 {
        let memory = image.device();
        let device =
            Arc::new(FaultDevice::new(Arc::clone(&memory) as _, [Fault::from(Op::Write, nth)]));
        let fs = open(Arc::clone(&device) as _);
        (CASES[0].by_us)(&fs).unwrap_err();
        let is_done = fs.close().is_ok();
        let again = open(Arc::clone(&memory) as _);
        assert_eq!(again.inode(again.meta(), ino(&again, "/i")).unwrap().i_size, 1);
        again.close().unwrap();
        let errors = superblock(&*memory).s_error_count.get();
        assert!(errors <= 1 && (!is_done || errors == 1), "write {nth}: {errors} errors");
        if is_done {
            return;
        }
    }
    panic!("no end of failing writes");
}

#[test]
fn every_damage_is_counted_once_and_the_first_one_stays() {
    let Some(image) = damaged("ext4-1k", &CASES[0]) else { return };
    let at = (CASES[2].at)(&View::new(&image).unwrap());
    let image = image.patched([(at, &[0xFF][..])]).unwrap();
    let device = image.device();
    let fs = open(Arc::clone(&device) as _);
    for case in [&CASES[0], &CASES[2], &CASES[0], &CASES[2]] {
        (case.by_us)(&fs).unwrap_err();
    }
    // What is no damage is none.
    fs.unlink(InodeNr::ROOT, b"nobody").unwrap_err();
    fs.create(InodeNr::ROOT, b"f", &NewFile::of_root(0o644)).unwrap_err();
    fs.close().unwrap();
    let raw = superblock(&*device);
    assert_eq!(raw.s_error_count.get(), 2);
    assert_eq!((raw.s_first_error_ino.get(), raw.s_last_error_ino.get()), (12, 13));
}
