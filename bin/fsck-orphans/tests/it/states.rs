//! What is said of each state an image can be in, and the exit code that goes with it.

use crate::run::{Scratch, code, run_on};
use ext4_blockdev::BlockDevice;
use ext4_fs::{Filesystem, NewFile, RecoverOptions, recover};
use ext4_jbd2::Clock;
use ext4_ondisk::{
    features::Incompat,
    superblock::{RawSuperblock, State},
};
use ext4_testkit::image::{Image, Recipe};
use ext4_units::{BlockSize, InodeNr, LogicalBlock};
use std::{sync::Arc, time::Duration};
use zerocopy::IntoBytes as _;

const NOW: Duration = Duration::from_secs(1_700_000_000);

/// An image that a power cut left after `work` was committed.
fn crashed(recipe: &Recipe, work: impl FnOnce(&Filesystem)) -> Option<Image> {
    let device = recipe.image()?.device();
    let it = recover(Arc::clone(&device) as _, &RecoverOptions::new(Clock::fixed(NOW))).unwrap();
    work(&it.fs);
    it.fs.commit().unwrap();
    drop(it);
    Some(Image::new(device.contents()))
}

/// A file with `blocks` blocks, all behind its end.
fn file_beyond_its_end(fs: &Filesystem, name: &str, blocks: u32, on_record: bool) -> InodeNr {
    let ino = fs.create(InodeNr::ROOT, name.as_bytes(), &NewFile::of_root(0o644)).unwrap();
    let mut h = fs.start(20).unwrap();
    let mut inode = h.inode(ino).unwrap();
    h.allocate(&mut inode, LogicalBlock(0), blocks, false).unwrap();
    if on_record {
        h.orphan_add(&mut inode).unwrap();
    }
    h.put_inode(&inode).unwrap();
    h.stop().unwrap();
    ino
}

fn with_orphan(recipe: &Recipe) -> Option<Image> {
    crashed(recipe, |fs| _ = file_beyond_its_end(fs, "f", 4, true))
}

fn patch_superblock(image: &Image, change: impl FnOnce(&mut RawSuperblock)) -> Image {
    let device = image.device();
    let mut bytes = [0; RawSuperblock::SIZE];
    device.read_at(RawSuperblock::OFFSET, &mut bytes).unwrap();
    let raw = RawSuperblock::of_mut(&mut bytes).unwrap();
    change(raw);
    device.write_at(RawSuperblock::OFFSET, raw.as_bytes()).unwrap();
    Image::new(device.contents())
}

fn ext4() -> Recipe {
    Recipe::new("ext4-4k").mib(16)
}

/// Runs it, and checks the exit code and that each of `parts` is said, on one stream.
#[track_caller]
fn check(scratch: &Scratch, options: &[&str], exit: i32, parts: &[&str]) -> String {
    let out = scratch.run(options);
    let text = out.text();
    assert_eq!(code(&out), exit, "{text}");
    for part in parts {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
    text
}

#[test]
fn what_is_shown_is_what_is_done_and_nothing_is_left() {
    let Some(image) = with_orphan(&ext4()) else { return };
    let scratch = Scratch::new(&image);
    let to_do = [
        "to be replayed",
        "inode 12 (orphan list): to be truncated to its size 0, 16.0 KiB freed",
        "nothing was written",
    ];
    check(&scratch, &["-n"], 4, &to_do);
    assert!(scratch.bytes() == image.bytes()[..]);
    let done = ["replayed", "inode 12 (orphan list): truncated to its size 0, 16.0 KiB freed"];
    check(&scratch, &["-p"], 1, &done);
    check(&scratch, &["-y", "--all-inodes"], 0, &["0 findings", "disk.img: clean"]);
}

#[test]
fn the_same_is_said_in_json() {
    let Some(image) = with_orphan(&ext4()) else { return };
    let scratch = Scratch::new(&image);
    let out = scratch.run(&["-y", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(json["exit_code"], 1);
    assert_eq!(json["journal"]["replayed"], true);
    assert_eq!(json["orphans"][0]["inode"], 12);
    assert_eq!(json["orphans"][0]["fate"], "truncated");
    assert_eq!(json["orphans"][0]["freed"], 16384);
    assert_eq!(json["checked_inodes"], 1);
    assert_eq!(code(&out), 1);
}

#[test]
fn without_a_terminal_and_an_answer_nothing_is_opened() {
    let Some(image) = with_orphan(&ext4()) else { return };
    let scratch = Scratch::new(&image);
    check(&scratch, &[], 16, &["not a terminal"]);
    assert!(scratch.bytes() == image.bytes()[..]);
}

#[test]
fn a_replay_alone_leaves_the_orphans_for_later() {
    let Some(image) = with_orphan(&ext4()) else { return };
    let scratch = Scratch::new(&image);
    check(&scratch, &["-y", "--replay-only"], 1, &["replayed", "orphans are left as they are"]);
    check(&scratch, &["-y"], 1, &["inode 12 (orphan list): truncated"]);
}

#[test]
fn with_a_feature_that_cannot_be_written_the_orphans_are_left() {
    let Some(image) = with_orphan(&ext4()) else { return };
    let scratch = Scratch::new(&image);
    check(&scratch, &["-y", "--replay-only"], 1, &[]);
    let quota = 0x100;
    let image = patch_superblock(&Image::new(scratch.bytes()), |raw| {
        raw.s_feature_ro_compat.set(raw.s_feature_ro_compat.get() | quota);
        raw.update_checksum();
    });
    let scratch = Scratch::new(&image);
    check(
        &scratch,
        &["-y"],
        4,
        &["orphans are left as they are: feature not supported for writing: quota"],
    );
    assert!(scratch.bytes() == image.bytes()[..]);
}

#[test]
fn a_log_that_nobody_asked_to_be_replayed_is_thrown_away() {
    let Some(image) = with_orphan(&ext4()) else { return };
    let image = patch_superblock(&image, |raw| {
        let bits = raw.s_feature_incompat.get() & !Incompat::RECOVER.bits();
        raw.s_feature_incompat.set(bits);
        raw.update_checksum();
    });
    let scratch = Scratch::new(&image);
    let part = "needs_recovery is clear: was thrown away unread, as the kernel does";
    check(&scratch, &["-y"], 1, &[part]);
    check(&scratch, &["-y", "--all-inodes"], 0, &["clean"]);
}

#[test]
fn a_superblock_whose_last_write_was_cut_off_is_made_whole() {
    let Some(image) = with_orphan(&ext4()) else { return };
    let image = patch_superblock(&image, |raw| {
        let bits = raw.s_feature_incompat.get() ^ Incompat::RECOVER.bits();
        raw.s_feature_incompat.set(bits);
    });
    let scratch = Scratch::new(&image);
    check(&scratch, &["-n"], 4, &["superblock: its last write was cut off; to be made whole"]);
    check(&scratch, &["-y"], 1, &["was made whole", "replayed", "truncated"]);
}

#[test]
fn recorded_errors_drop_the_list_and_ask_for_a_full_check() {
    let Some(image) = with_orphan(&ext4()) else { return };
    let scratch = Scratch::new(&image);
    check(&scratch, &["-y", "--replay-only"], 1, &[]);
    let image = patch_superblock(&Image::new(scratch.bytes()), |raw| {
        raw.s_state.set(raw.s_state.get() | State::ERROR.bits());
        raw.update_checksum();
    });
    let scratch = Scratch::new(&image);
    let parts = ["orphan list from inode 12: dropped unread", "run a full check (ext4-fsck)"];
    check(&scratch, &["-y"], 5, &parts);
    check(
        &scratch,
        &["-y", "--all-inodes"],
        4,
        &["inode 12: 4 written blocks from logical block 0"],
    );
}

#[test]
fn blocks_beyond_the_end_without_a_record_are_found() {
    let Some(image) = crashed(&ext4(), |fs| _ = file_beyond_its_end(fs, "f", 4, false)) else {
        return;
    };
    let scratch = Scratch::new(&image);
    check(&scratch, &["-y"], 1, &[]);
    let finding =
        "inode 12: 4 written blocks from logical block 0 on, expected none behind i_size 0";
    check(&scratch, &["-y", "--all-inodes"], 4, &[finding, "1 finding"]);
    let out = scratch.run(&["-n", "--all-inodes", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(json["findings"][0]["what"], "blocks-beyond-end");
    assert_eq!(json["findings"][0]["inode"], 12);
}

#[test]
fn a_wrong_count_of_blocks_and_a_hole_in_a_directory_are_found() {
    let image = crashed(&ext4(), |fs| {
        let dir = fs.mkdir(InodeNr::ROOT, b"dir", &NewFile::of_root(0o755)).unwrap();
        let file = file_beyond_its_end(fs, "f", 1, false);
        let mut h = fs.start(8).unwrap();
        let mut inode = h.inode(dir).unwrap();
        h.set_size(&mut inode, 8192).unwrap();
        h.put_inode(&inode).unwrap();
        let mut inode = h.inode(file).unwrap();
        h.set_size(&mut inode, 4096).unwrap();
        inode.disk.sectors = 80;
        h.put_inode(&inode).unwrap();
        h.stop().unwrap();
    });
    let Some(image) = image else { return };
    let scratch = Scratch::new(&image);
    let hole = "inode 12: hole of 1 block at logical block 1, expected contents";
    let count = "inode 13: i_blocks 80, expected 8";
    check(&scratch, &["-y", "--all-inodes"], 5, &[hole, count]);
}

#[test]
fn a_damaged_log_is_one_clear_line_and_no_change() {
    let Some(image) = with_orphan(&ext4()) else { return };
    let device = image.device();
    let fs = Filesystem::open_read(Arc::clone(&device) as _).unwrap();
    let log = fs.find_log(None).unwrap().unwrap();
    let size = BlockSize::from_bytes(4096).unwrap();
    // Its first descriptor.
    let at = log.block(1).unwrap().byte(size) + 100;
    device.write_at(at, &[0x5A; 8]).unwrap();
    let image = Image::new(device.contents());
    let scratch = Scratch::new(&image);
    for option in ["-n", "-y"] {
        let text = check(&scratch, &[option], 4, &["fsck-orphans: ", "checksum"]);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(scratch.bytes() == image.bytes()[..]);
    }
}

#[test]
fn a_partition_and_an_offset_are_found() {
    let Some(image) = with_orphan(&ext4()) else { return };
    let mut bytes = vec![0; 1 << 20];
    bytes.extend(&image.bytes()[..]);
    let scratch = Scratch::new(&Image::new(bytes));
    let mut name = scratch.file().as_os_str().to_owned();
    name.push("@1M");
    let out = run_on(&["-y"], &name);
    assert_eq!(code(&out), 1, "{}", out.text());
    assert!(scratch.bytes()[..1 << 20].iter().all(|&it| it == 0));
}
