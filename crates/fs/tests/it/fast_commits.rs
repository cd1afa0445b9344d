//! Fast commits written by hand: each must come to what the same change comes to when it is made in
//! the usual way.

mod story;

use crate::rig::{clock, write};
use ext4_blockdev::BlockDevice;
use ext4_fs::{Fault, Filesystem, Last, NewFile, OrphanFate, RecoverOptions, Replace, recover};
use ext4_ondisk::fast_commit::{Op, Tlv};
use ext4_testkit::{
    image::{Image, Recipe},
    judge::judge,
    rng::Rng,
};
use ext4_units::{BlockNr, InodeNr, LogicalBlock, Tid};
use std::sync::Arc;
use story::Story;

const FILE: NewFile = NewFile::of_root(0o644);
const DIR: NewFile = NewFile::of_root(0o755);
const ROOT: InodeNr = InodeNr::ROOT;

fn fc() -> Recipe {
    Recipe::new("fc-1k").mib(16)
}

fn create(fs: &Filesystem, dir: InodeNr, name: &str, len: usize) -> InodeNr {
    let ino = fs.create(dir, name.as_bytes(), &FILE).unwrap();
    write(fs, ino, 0, &vec![7; len]).unwrap();
    ino
}

/// Something for the log.
fn some(fs: &Filesystem) {
    create(fs, ROOT, "before", 0);
}

fn creat(parent: InodeNr, ino: InodeNr, name: &str) -> Tlv {
    Tlv::Op(Op::Creat { parent, ino, name: name.into() })
}

fn link(parent: InodeNr, ino: InodeNr, name: &str) -> Tlv {
    Tlv::Op(Op::Link { parent, ino, name: name.into() })
}

fn unlink(parent: InodeNr, ino: InodeNr, name: &str) -> Tlv {
    Tlv::Op(Op::Unlink { parent, ino, name: name.into() })
}

#[test]
fn scenario_150_a_new_file_comes_with_its_blocks_and_its_name() {
    let story = Story::new(
        &fc(),
        |fs| _ = create(fs, ROOT, "old", 3000),
        |fs| {
            create(fs, ROOT, "new", 30_000);
        },
    );
    let Some(story) = story else { return };
    let ino = story.ino("/new");
    let mut records = vec![story.inode(ino)];
    records.extend(story.ranges(ino));
    records.extend([creat(ROOT, ino, "new"), story.inode(ino)]);
    story.comes_true(&records);
}

#[test]
fn scenario_150_names_are_added_renamed_and_removed() {
    let mut gone = ROOT;
    let story = Story::new(
        &fc(),
        |fs| {
            for name in ["a", "b", "c"] {
                create(fs, ROOT, name, 5000);
            }
        },
        |fs| {
            let find = |name: &str| fs.resolve(fs.meta(), name.as_bytes(), Last::Stay).unwrap().ino;
            fs.link(find("/a"), ROOT, b"a2").unwrap();
            gone = find("/c");
            fs.rename(ROOT, b"b", ROOT, b"c", Replace::Yes).unwrap();
        },
    );
    let Some(story) = story else { return };
    let (a, b) = (story.ino("/a"), story.ino("/c"));
    story.comes_true(&[
        link(ROOT, a, "a2"),
        unlink(ROOT, gone, "c"),
        link(ROOT, b, "c"),
        unlink(ROOT, b, "b"),
        story.inode(a),
        story.inode(b),
    ]);
}

#[test]
fn scenario_150_ranges_are_cut_converted_and_moved() {
    let story = Story::new(
        &fc(),
        |fs| {
            create(fs, ROOT, "cut", 30_000);
            let ino = create(fs, ROOT, "full", 0);
            fs.fallocate(ino, 0, 40_000, false).unwrap();
            create(fs, ROOT, "moved", 20_000);
        },
        |fs| {
            let find = |name: &str| fs.resolve(fs.meta(), name.as_bytes(), Last::Stay).unwrap().ino;
            fs.truncate(find("/cut"), 10_000).unwrap();
            write(fs, find("/full"), 5000, &vec![9; 20_000]).unwrap();
            fs.truncate(find("/moved"), 0).unwrap();
            fs.commit().unwrap();
            // Takes its place, so that it has to move.
            create(fs, ROOT, "between", 20_000);
            write(fs, find("/moved"), 0, &vec![8; 20_000]).unwrap();
        },
    );
    let Some(story) = story else { return };
    let mut records = Vec::new();
    for path in ["/cut", "/full", "/moved"] {
        let ino = story.ino(path);
        records.extend(story.ranges(ino));
        records.push(story.inode(ino));
    }
    let ino = story.ino("/between");
    records.push(story.inode(ino));
    records.extend(story.ranges(ino));
    records.extend([creat(ROOT, ino, "between"), story.inode(ino)]);
    story.comes_true(&records);
}

#[test]
fn directories_made_and_removed_keep_their_counts() {
    let mut gone = ROOT;
    let story = Story::new(
        &fc(),
        |fs| gone = fs.mkdir(ROOT, b"gone", &DIR).unwrap(),
        |fs| {
            fs.rmdir(ROOT, b"gone").unwrap();
            fs.commit().unwrap();
            let dir = fs.mkdir(ROOT, b"dir", &DIR).unwrap();
            create(fs, dir, "file", 3000);
        },
    );
    let Some(story) = story else { return };
    let (dir, file) = (story.ino("/dir"), story.ino("/dir/file"));
    let mut records = vec![
        unlink(ROOT, gone, "gone"),
        story.inode(dir),
        creat(ROOT, dir, "dir"),
        story.inode(file),
    ];
    records.extend(story.ranges(file));
    records.extend([creat(dir, file, "file"), story.inode(file)]);
    story.comes_true(&records);
}

#[test]
fn a_number_used_again_has_nothing_of_its_old_owner() {
    let mut old = ROOT;
    let story = Story::new(
        &fc(),
        |fs| old = create(fs, ROOT, "old", 50_000),
        |fs| {
            fs.unlink(ROOT, b"old").unwrap();
            // A small file with the number of a large one.
            create(fs, ROOT, "new", 1000);
        },
    );
    let Some(story) = story else { return };
    let ino = story.ino("/new");
    assert_eq!(ino, old);
    let Tlv::Op(Op::Inode { mut raw, .. }) = story.inode(ino) else { unreachable!() };
    raw[0x64] ^= 1; // another generation
    let record = Tlv::Op(Op::Inode { ino, raw });
    let mut records = vec![unlink(ROOT, ino, "old"), record.clone()];
    records.extend(
        story.ranges(ino).into_iter().filter(|it| matches!(it, Tlv::Op(Op::AddRange { .. }))),
    );
    records.extend([creat(ROOT, ino, "new"), record]);
    story.comes_true(&records);
}

#[test]
fn blocks_given_away_at_once_are_not_freed_with_their_old_owner() {
    // With data=writeback the kernel hands out freed blocks before the transaction ends.
    let mut old = ROOT;
    let story = Story::new(
        &fc(),
        |fs| old = create(fs, ROOT, "old", 50_000),
        |fs| {
            fs.unlink(ROOT, b"old").unwrap();
            fs.commit().unwrap();
            create(fs, ROOT, "other", 0);
            create(fs, ROOT, "new", 50_000);
        },
    );
    let Some(story) = story else { return };
    let (other, ino) = (story.ino("/other"), story.ino("/new"));
    assert_eq!(other, old);
    let mut records = vec![unlink(ROOT, old, "old"), story.inode(ino)];
    records.extend(story.ranges(ino));
    records.extend([creat(ROOT, ino, "new"), story.inode(ino)]);
    story.fast_commit(0, story.tid, &records);
    let it = story.recover().unwrap();
    assert!(matches!(it.report.orphans[0].fate, OrphanFate::Deleted { .. }), "{:?}", it.report);
    it.fs.close().unwrap();
    assert_eq!(judge(&*story.crashed), []);
}

#[test]
fn an_inode_recorded_without_links_becomes_an_orphan() {
    let story = Story::new(&fc(), some, |fs| _ = create(fs, ROOT, "open", 9000));
    let Some(story) = story else { return };
    let ino = story.ino("/open");
    let Tlv::Op(Op::Inode { mut raw, .. }) = story.inode(ino) else { unreachable!() };
    raw[0x1A] = 0;
    let mut records = vec![Tlv::Op(Op::Inode { ino, raw })];
    records.extend(story.ranges(ino));
    story.fast_commit(0, story.tid, &records);
    let it = story.recover().unwrap();
    assert_eq!(it.report.orphans.len(), 1, "{:?}", it.report);
    it.fs.close().unwrap();
    assert_eq!(judge(&*story.crashed), []);
}

#[test]
fn scenario_150_only_complete_fast_commits_of_the_right_transaction_count() {
    let tell = || {
        Story::new(&fc(), some, |fs| {
            create(fs, ROOT, "one", 0);
            create(fs, ROOT, "two", 0);
        })
    };
    let Some(story) = tell() else { return };
    let record = |name: &str| {
        let ino = story.ino(&format!("/{name}"));
        [story.inode(ino), creat(ROOT, ino, name)]
    };
    let has = |fs: &Filesystem, name: &str| {
        let root = fs.inode(fs.meta(), ROOT).unwrap();
        fs.find(fs.meta(), &root, name.as_bytes()).unwrap().is_some()
    };
    let before = story.crashed.contents();
    let check = |story: &Story, one: bool, two: bool| {
        let fs = story.recover().unwrap().fs;
        assert_eq!((has(&fs, "one"), has(&fs, "two")), (one, two));
    };
    // Two fast commits of one transaction.
    story.fast_commit(0, story.tid, &record("one"));
    story.fast_commit(1, story.tid, &record("two"));
    let both = story.crashed.contents();
    check(&story, true, true);
    // The second one torn.
    let size = ext4_units::BlockSize::from_bytes(1024).unwrap();
    let torn = |n: u32| {
        let device = Image::new(both.clone()).device();
        let at = story.log.block(story.area.start + n).unwrap().byte(size) + 20;
        device.write_at(at, &[0x5A; 4]).unwrap();
        device
    };
    let second = Story {
        crashed: torn(1),
        told: Arc::clone(&story.told),
        log: story.log.clone(),
        area: story.area.clone(),
        ..story
    };
    check(&second, true, false);
    // The first one torn: nothing can be believed.
    let first = torn(0);
    let damaged = first.contents();
    let err = recover(Arc::clone(&first) as _, &RecoverOptions::new(clock())).unwrap_err();
    assert_eq!(err.errno(), 74, "{err}");
    assert_eq!(first.contents(), damaged);
    // Leftovers of another transaction.
    let stale = Story { crashed: Image::new(before).device(), ..second };
    stale.fast_commit(0, Tid(stale.tid.0.wrapping_sub(1)), &[]);
    check(&stale, false, false);
}

#[test]
fn what_does_not_fit_one_transaction_is_refused_before_the_first_write() {
    // Each group has a bitmap, and there are more groups than a transaction may change blocks.
    let recipe = Recipe::new("fc-1k").mib(96).options("-g 256 -O ^resize_inode,^flex_bg -J size=1");
    let story = Story::new(&recipe, some, |fs| _ = create(fs, ROOT, "f", 0));
    let Some(story) = story else { return };
    let ino = story.ino("/f");
    let mut records = vec![story.inode(ino)];
    let fs = story.told();
    for gi in fs.geometry().groups() {
        let blocks = fs.geometry().group_blocks(gi);
        let desc = fs.group(fs.meta(), gi).unwrap();
        let bits = fs.meta().read(desc.block_bitmap).unwrap();
        let is_free = desc.has_uninit_block_bitmap(fs.superblock()) || bits[31] & 0x80 == 0;
        if blocks.len == 256 && is_free {
            let start = BlockNr(blocks.end().0 - 1);
            let lblk = LogicalBlock(gi.0 * 2);
            records.push(Tlv::Op(Op::AddRange { ino, lblk, len: 1, start, is_unwritten: false }));
        }
    }
    records.push(creat(ROOT, ino, "f"));
    story.fast_commit(0, story.tid, &records);
    let before = story.crashed.contents();
    let err = story.recover().unwrap_err();
    assert!(err.to_string().contains("fast commits need more than the"), "{err}");
    assert_eq!(story.crashed.contents(), before);
}

#[test]
fn records_that_make_no_sense_are_refused_before_the_first_write() {
    let story = Story::new(&fc(), some, |fs| _ = create(fs, ROOT, "f", 0));
    let Some(story) = story else { return };
    let ino = story.ino("/f");
    let range = |lblk, start| {
        let (lblk, start) = (LogicalBlock(lblk), BlockNr(start));
        Tlv::Op(Op::AddRange { ino, lblk, len: 4, start, is_unwritten: false })
    };
    let journal = InodeNr::new(8).unwrap();
    let Tlv::Op(Op::Inode { raw, .. }) = story.inode(ino) else { unreachable!() };
    for record in [
        range(0, 1),                                           // the superblock
        range(0, 1 << 40),                                     // beyond the end
        range(u32::MAX - 1, 9000),                             // beyond the last logical block
        Tlv::Op(Op::Inode { ino: journal, raw: raw.clone() }), // not a file's
        Tlv::Op(Op::Inode { ino: InodeNr::new(u32::MAX).unwrap(), raw: raw.clone() }),
        Tlv::Op(Op::Inode { ino, raw: vec![0; 160] }), // no type
        creat(ROOT, InodeNr::new(500).unwrap(), "x"),  // never recorded
        creat(ROOT, ino, "a/b"),
        creat(ino, ino, "x"),
        link(ino, ino, "x"),
    ] {
        let records = [story.inode(ino), record];
        story.fast_commit(0, story.tid, &records);
        let before = story.crashed.contents();
        let err = story.recover().unwrap_err();
        assert!(story.crashed.contents() == before, "{:?}: {err}", records[1]);
        story.crashed.write_at(0, &before).unwrap();
    }
}

#[test]
fn scenario_151_blocks_beyond_the_size_without_an_orphan_record_are_found() {
    let story = Story::new(&fc(), some, |fs| _ = create(fs, ROOT, "f", 9000));
    let Some(story) = story else { return };
    let ino = story.ino("/f");
    let Tlv::Op(Op::Inode { mut raw, .. }) = story.inode(ino) else { unreachable!() };
    raw[4..8].copy_from_slice(&2048u32.to_le_bytes());
    let mut records = vec![Tlv::Op(Op::Inode { ino, raw })];
    records.extend(story.ranges(ino));
    records.push(creat(ROOT, ino, "f"));
    story.fast_commit(0, story.tid, &records);
    let it = story.recover().unwrap();
    assert_eq!(it.report.fast_commit_inodes, [ROOT, ino]);
    let found = it.fs.verify_inode(it.fs.meta(), ino).unwrap();
    let faults: Vec<_> = found.into_iter().map(|it| it.fault).collect();
    assert_eq!(faults, [Fault::BeyondEnd { first: 2, blocks: 7, size: 2048 }]);
}

/// A record of anything, mostly about things that are there.
fn any_record(rng: &mut Rng, inos: &[InodeNr], raws: &[Vec<u8>]) -> Tlv {
    let ino = *rng.pick(inos);
    let parent = *rng.pick(inos);
    let name = rng.pick(&["before", "a", "b", "dir", "x", "..", ".", ""]).as_bytes().to_vec();
    let name = if name.is_empty() { vec![b'n'; 255] } else { name };
    let lblk = LogicalBlock(*rng.pick(&[0, 1, 2, 3, 11, 12, 300, 70_000, u32::MAX - 4, u32::MAX]));
    let start = BlockNr(match rng.below(40) {
        0 => 0,
        1 => 16 << 10,
        2 => 1 << 47,
        _ => 5000 + rng.next_u64() % 64,
    });
    let len = *rng.pick(&[0, 1, 2, 5, 40, 5000, 32767_u16]);
    Tlv::Op(match rng.below(8) {
        0 | 1 => {
            let is_unwritten = rng.below(2) == 0;
            Op::AddRange { ino, lblk, len, start, is_unwritten }
        }
        2 => Op::DelRange { ino, lblk, len: u32::from(len) << rng.below(17) },
        3 => Op::Creat { parent, ino, name },
        4 => Op::Link { parent, ino, name },
        5 => Op::Unlink { parent, ino, name },
        _ => {
            let mut raw = rng.pick(raws).clone();
            for _ in 0..rng.below(3) {
                let at = rng.below(raw.len());
                raw[at] = *rng.pick(&[0, 1, 0x80, 0xFF]);
            }
            Op::Inode { ino, raw }
        }
    })
}

#[test]
fn no_record_makes_it_panic_and_each_is_done_whole_or_refused_whole() {
    let mut rng = Rng::new(15);
    let (mut done, mut refused) = (0, 0);
    for profile in ["fc-1k", "fc-4k"] {
        let mut inos = Vec::new();
        let story = Story::new(
            &Recipe::new(profile).mib(16),
            |fs| {
                inos.push(create(fs, ROOT, "before", 30_000));
                inos.push(create(fs, ROOT, "a", 0));
                inos.push(fs.mkdir(ROOT, b"dir", &DIR).unwrap());
                inos.push(fs.symlink(ROOT, b"s", b"short", &FILE).unwrap());
            },
            |fs| _ = create(fs, ROOT, "x", 5000),
        );
        let Some(story) = story else { return };
        inos.push(story.ino("/x"));
        inos.extend(inos.clone().repeat(7));
        inos.extend([1, 2, 8, 500, 999_999].map(|nr| InodeNr::new(nr).unwrap()));
        let raws: Vec<_> = inos[..5]
            .iter()
            .map(|&ino| match story.inode(ino) {
                Tlv::Op(Op::Inode { raw, .. }) => raw,
                _ => unreachable!(),
            })
            .collect();
        let before = Image::new(story.crashed.contents());
        for _ in 0..200 {
            let story = Story { crashed: before.device(), ..story.clone() };
            let n = 1 + rng.below(6);
            let records: Vec<_> = (0..n).map(|_| any_record(&mut rng, &inos, &raws)).collect();
            story.fast_commit(0, story.tid, &records);
            let told = story.crashed.contents();
            match story.recover() {
                Ok(it) => {
                    it.fs.close().unwrap();
                    let again = story.recover().unwrap();
                    assert!(again.report.is_clean(), "{records:?}: {:?}", again.report);
                    done += 1;
                }
                Err(err) => {
                    assert!(story.crashed.contents() == told, "{records:?}: {err}");
                    refused += 1;
                }
            }
        }
    }
    assert!(done > 50 && refused > 50, "{done} done, {refused} refused");
}
