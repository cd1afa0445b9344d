//! A journal on a device of its own: replayed from there, mended there, and nothing is done with the
//! wrong one.

use crate::rig::{Scratch, expect};
use ext4_testkit::{
    image::Recipe,
    loop_device::LoopDevice,
    oracle::{self, Need, skip_without},
    process::Output,
};
use std::{fs, ops::Range, path::PathBuf};

const UUID: &str = "0e0e0e0e-1111-2222-3333-444444444444";
/// Where the journal's superblock is on its device, with blocks of 4 KiB.
const JOURNAL_SUPERBLOCK: usize = 4096;
/// What the journal holds for the first block of `/a`, which is full of sevens.
const LOGGED: [u8; 4096] = [8; 4096];

/// A filesystem and its journal, which holds a transaction.
struct Pair {
    fs: Scratch,
    log: PathBuf,
    /// The block that the transaction is about.
    home: Range<usize>,
}

fn pair() -> Option<Pair> {
    let image = Recipe::new("nojournal-4k").mib(8).write("/a", [7; 5000]).image()?;
    let fs = Scratch::new(&image);
    let log = fs.path("log");
    fs::write(&log, vec![0; 8 << 20]).unwrap();
    oracle::mke2fs(&log, ["-O", "journal_dev,metadata_csum", "-b", "4096", "-U", UUID]).unwrap();
    // What `mke2fs -J device=` does to both, for block devices only.
    change(&log, |bytes| bytes[JOURNAL_SUPERBLOCK + 0x43] = 1);
    let requests = format!("feature has_journal\nssv journal_uuid {UUID}\nssv journal_dev 0x801\n");
    oracle::debugfs_write(&fs.file, &requests).unwrap();
    let blocks = oracle::debugfs(&fs.file, "blocks /a").unwrap();
    let blk: usize = blocks.split_whitespace().next().unwrap().parse().unwrap();
    fs::write(fs.path("new"), LOGGED).unwrap();
    let new = fs.path("new");
    let requests = format!("jo -f {}\njw -b {blk} {}\njc\n", log.display(), new.display());
    oracle::debugfs_write(&fs.file, &requests).unwrap();
    Some(Pair { fs, log, home: blk * 4096..(blk + 1) * 4096 })
}

fn change(file: &PathBuf, edit: impl FnOnce(&mut [u8])) {
    let mut bytes = fs::read(file).unwrap();
    edit(&mut bytes);
    fs::write(file, bytes).unwrap();
}

impl Pair {
    fn run(&self, options: &[&str]) -> Output {
        let journal = ["-j", "@log"];
        self.fs.run(&[&journal[..], options].concat())
    }

    fn bytes(&self) -> (Vec<u8>, Vec<u8>) {
        (self.fs.bytes(), fs::read(&self.log).unwrap())
    }

    fn is_replayed(&self) -> bool {
        self.fs.bytes()[self.home.clone()] == LOGGED
    }

    /// Whether e2fsck, with the journal, finds nothing and has nothing to replay.
    fn is_clean(&self) -> bool {
        let args = ["-fn", "-j"].map(AsRef::as_ref).into_iter();
        let args = args.chain([self.log.as_os_str(), self.fs.file.as_os_str()]);
        let out = oracle::tool("e2fsck", args, b"").unwrap();
        out.ok() && !out.text().contains("skipping journal recovery")
    }
}

#[test]
fn a_log_on_another_device_is_replayed_from_there_and_emptied() {
    let Some(pair) = pair() else { return };
    let before = pair.bytes();
    expect(&pair.run(&["-n"]), 0);
    assert!(pair.bytes() == before, "-n wrote something");
    expect(&pair.run(&["-y"]), 1);
    assert!(pair.is_replayed() && pair.is_clean());
    expect(&pair.run(&["-n"]), 0);
}

#[test]
fn without_the_log_nothing_is_judged() {
    let Some(pair) = pair() else { return };
    let before = pair.bytes();
    for options in [&["-n"][..], &["-y"], &["-p"]] {
        let out = pair.fs.run(options);
        expect(&out, 8);
        assert!(out.text().contains("-j names the device"), "{}", out.text());
    }
    assert!(pair.bytes() == before);
}

#[test]
fn the_wrong_device_ends_the_check_and_is_left_alone() {
    type Damage = fn(&mut [u8]);
    let cases: [(&str, Damage); 4] = [
        ("journal-device-superblock", |log| log[1024 + 0x38] ^= 1),
        ("journal-device-uuid", |log| log[1024 + 0x68] ^= 1),
        ("journal-device-superblock", |log| log[1024 + 0x18] = 1),
        ("journal-shared", |log| log[JOURNAL_SUPERBLOCK + 0x43] = 2),
    ];
    for (id, damage) in cases {
        let Some(pair) = pair() else { return };
        change(&pair.log, damage);
        let before = pair.bytes();
        for options in ["-n", "-y", "-p"] {
            let out = pair.run(&[options]);
            expect(&out, 8);
            assert!(out.text().contains(&format!("[{id}]")), "{id}: {}", out.text());
        }
        assert!(pair.bytes() == before, "{id}: something was written");
    }
}

#[test]
fn a_damaged_superblock_on_the_device_costs_nothing_of_what_the_log_holds() {
    let Some(pair) = pair() else { return };
    change(&pair.log, |log| log[1024 + 0x3FC] ^= 1);
    let before = pair.bytes();
    let found = pair.run(&["-n"]);
    expect(&found, 4);
    assert!(found.text().contains("journal-device-checksum"), "{}", found.text());
    assert!(pair.bytes() == before);
    expect(&pair.run(&["-y"]), 1);
    assert!(pair.is_replayed() && pair.is_clean());
}

#[test]
fn a_log_that_cannot_be_read_begins_anew_and_keeps_its_name() {
    let Some(pair) = pair() else { return };
    change(&pair.log, |log| log[JOURNAL_SUPERBLOCK + 0x14] ^= 0xFF);
    let found = pair.run(&["-n"]);
    expect(&found, 4);
    assert!(found.text().contains("journal-superblock"), "{}", found.text());
    expect(&pair.run(&["-y"]), 1);
    assert!(!pair.is_replayed() && pair.is_clean());
    expect(&pair.run(&["-n"]), 0);
}

#[test]
fn the_number_of_the_device_is_set_as_it_is_on_this_machine() {
    let Some(pair) = pair() else { return };
    if skip_without(&[Need::Kernel]) {
        return;
    }
    expect(&pair.run(&["-y"]), 1);
    let device = LoopDevice::attach(&pair.log).unwrap();
    let path = device.path().to_str().unwrap();
    let found = pair.fs.run(&["-j", path, "-n"]);
    expect(&found, 4);
    assert!(found.text().contains("journal-device-hint"), "{}", found.text());
    expect(&pair.fs.run(&["-j", path, "-y"]), 1);
    let field = oracle::dumpe2fs_field(&pair.fs.file, "Journal device").unwrap();
    let minor = path.trim_start_matches("/dev/loop");
    assert_eq!(field, format!("0x{:04x}", 0x700 | minor.parse::<u32>().unwrap()));
    expect(&pair.fs.run(&["-j", path, "-n"]), 0);
}

#[test]
fn an_undo_file_is_refused_when_it_could_not_take_all_back() {
    let Some(pair) = pair() else { return };
    let before = pair.bytes();
    let out = pair.run(&["-y", "--undo", "@undo"]);
    expect(&out, 8);
    assert!(out.text().contains("does not hold what changes on the journal's device"));
    assert!(pair.bytes() == before);
    assert!(!pair.fs.path("undo").exists());
}
