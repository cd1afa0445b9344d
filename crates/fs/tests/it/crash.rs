//! Power cuts anywhere: after recovery each operation has happened as a whole, or not at all, and
//! what was committed has happened.

use crate::rig::{comparable, open, open_committing, write};
use ext4_blockdev::{BlockDevice, Recorder};
use ext4_fs::{Filesystem, Last, NewFile, RecoverOptions, Replace, SetXattr, recover};
use ext4_testkit::{
    explore::{Budget, Violation},
    image::{Image, Recipe},
    judge::judge,
    manifest::Manifest,
    recovery::{Device, Recovery, record},
    view::View,
};
use ext4_units::InodeNr;
use std::{sync::Arc, time::Duration};

type Op = fn(&Filesystem) -> ext4_fs::Result<()>;

const FILE: NewFile = NewFile::of_root(0o644);
const DIR: NewFile = NewFile::of_root(0o755);

fn ino(fs: &Filesystem, path: &str) -> InodeNr {
    fs.resolve(fs.meta(), path.as_bytes(), Last::Stay).unwrap().ino
}

fn manifest(device: &dyn BlockDevice) -> Manifest {
    comparable(&View::new(device).unwrap().manifest().unwrap())
}

/// Cuts the power at every point of `ops`, each committed when it is done.
fn explore(profile: &str, setup: Op, ops: &[Op], atomic: bool) {
    let Some(empty) = Recipe::new(profile).mib(8).image() else { return };
    let device = empty.device();
    let fs = open(Arc::clone(&device) as _);
    setup(&fs).unwrap();
    fs.close().unwrap();
    let base = Image::new(device.contents());

    // What there is after each operation, found out without any crash.
    let mut stages = vec![manifest(&base)];
    for n in 1..=ops.len() {
        let device = base.device();
        let fs = open(Arc::clone(&device) as _);
        ops[..n].iter().for_each(|op| op(&fs).unwrap());
        fs.close().unwrap();
        stages.push(manifest(&*device));
    }

    let mut explorer = record(&base, |device: Arc<Recorder>| {
        let fs = open_committing(Arc::clone(&device) as _);
        for (i, op) in ops.iter().enumerate() {
            op(&fs)?;
            fs.commit()?;
            device.mark(0, (i + 1).to_string());
        }
        fs.close()
    })
    .unwrap();
    explorer.budget = Budget { states: 6000, time: Duration::from_secs(20) };
    let again = |device: Device| {
        let options = RecoverOptions::new(crate::rig::clock());
        let fs = recover(device, &options).map_err(|err| err.to_string())?.fs;
        fs.close().map_err(|err| err.to_string())
    };
    let check = |state: &ext4_testkit::crash::CrashState, device: &Device| {
        let mut broken = judge(&**device);
        let found = manifest(&**device);
        let done = state.marks().last().map_or(0, |mark| mark.parse().unwrap());
        let is_stage = stages[done..].contains(&found);
        if atomic && !is_stage {
            let differences = stages[done].differences(&found).join("; ");
            broken.push(Violation::new("atomic", format!("{done} done: {differences}")));
        }
        broken
    };
    let mut recovery = Recovery::new(&again, &check);
    recovery.e2fsck_every = 40;
    let report = recovery.explore(&explorer);
    report.expect_no_failure();
    assert!(report.distinct > 30, "{profile}: {report}");
}

fn two_files(fs: &Filesystem) -> ext4_fs::Result<()> {
    let dir = fs.mkdir(InodeNr::ROOT, b"d", &DIR)?;
    let a = fs.create(dir, b"a", &FILE)?;
    write(fs, a, 0, &[7; 9000])?;
    let b = fs.create(InodeNr::ROOT, b"b", &FILE)?;
    write(fs, b, 0, b"short")
}

const NAMES: &[Op] = &[
    |fs| fs.create(ino(fs, "/d"), b"new", &FILE).map(drop),
    |fs| fs.mkdir(ino(fs, "/d"), b"below", &DIR).map(drop),
    |fs| fs.rename(ino(fs, "/d"), b"a", InodeNr::ROOT, b"b", Replace::Yes),
    |fs| fs.rename(ino(fs, "/d"), b"below", InodeNr::ROOT, b"moved", Replace::Yes),
    |fs| fs.unlink(InodeNr::ROOT, b"b"),
    |fs| fs.symlink(InodeNr::ROOT, b"l", &[b't'; 100], &FILE).map(drop),
    |fs| fs.rmdir(InodeNr::ROOT, b"moved"),
];

#[test]
fn names_come_and_go_as_a_whole() {
    for profile in ["ext4-1k", "orphan-1k", "ext3-1k"] {
        explore(profile, two_files, NAMES, true);
    }
}

#[test]
fn names_in_inodes_come_and_go_as_a_whole() {
    explore("inline-4k", two_files, NAMES, true);
}

#[test]
fn a_truncated_file_has_its_old_or_its_new_contents() {
    const OPS: &[Op] = &[
        |fs| fs.truncate(ino(fs, "/d/a"), 5000),
        |fs| fs.truncate(ino(fs, "/d/a"), 12_000),
        |fs| fs.truncate(ino(fs, "/d/a"), 0),
        |fs| fs.unlink(ino(fs, "/d"), b"a"),
    ];
    for profile in ["ext4-1k", "orphan-1k", "ext3-1k"] {
        explore(profile, two_files, OPS, true);
    }
}

#[test]
fn contents_leave_their_inode_as_a_whole() {
    const OPS: &[Op] = &[
        |fs| fs.inline_write(ino(fs, "/b"), 3, &[9; 70]).map(drop),
        |fs| fs.truncate(ino(fs, "/b"), 40),
        |fs| fs.inline_to_blocks(ino(fs, "/b")),
        |fs| {
            let dir = fs.mkdir(InodeNr::ROOT, b"full", &DIR)?;
            (0..12).try_for_each(|i| {
                fs.create(dir, format!("a-longer-name{i}").as_bytes(), &FILE).map(drop)
            })
        },
    ];
    // The last one is many handles.
    explore("inline-4k", two_files, &OPS[..3], true);
    explore("inline-4k", two_files, OPS, false);
}

#[test]
fn attributes_change_as_a_whole() {
    const OPS: &[Op] = &[
        |fs| fs.set_xattr(ino(fs, "/b"), b"user.small", &[1; 20], SetXattr::Any),
        |fs| fs.set_xattr(ino(fs, "/b"), b"user.block", &[2; 600], SetXattr::Any),
        |fs| fs.set_xattr(ino(fs, "/b"), b"user.inode", &[3; 5000], SetXattr::Any),
        |fs| fs.set_xattr(ino(fs, "/b"), b"user.inode", &[4; 3000], SetXattr::Replace),
        |fs| fs.remove_xattr(ino(fs, "/b"), b"user.inode"),
        |fs| fs.unlink(InodeNr::ROOT, b"b"),
    ];
    explore("ea-inode-1k", two_files, OPS, true);
}

#[test]
fn preallocation_and_holes_leave_nothing_stale() {
    const OPS: &[Op] = &[
        |fs| fs.fallocate(ino(fs, "/d/a"), 3000, 40_000, false),
        |fs| fs.punch_hole(ino(fs, "/d/a"), 1000, 5000),
        |fs| fs.punch_hole(ino(fs, "/d/a"), 8192, 20_000),
    ];
    for profile in ["ext4-1k", "bigalloc-1k"] {
        explore(profile, two_files, OPS, false);
    }
}
