//! 166 to 171: trees as writes make them.

use super::{
    ID, Op, PATH, Write, errno,
    face::Face,
    kernel,
    stage::{Crashed, Stage, assert_sound, both, both_merged, file, run_on},
    write,
};
use ext4_blockdev::BlockDevice as _;
use ext4_testkit::{
    image::{self, Image},
    model::{ModelFile, pattern},
    oracle,
    rng::Rng,
    view::View,
};
use std::fmt::Write as _;

/// How many seeds: more by `EXT4_SCENARIO_SEEDS`.
fn seeds() -> u64 {
    std::env::var("EXT4_SCENARIO_SEEDS").ok().and_then(|it| it.parse().ok()).unwrap_or(1)
}

const PROFILES: [&str; 8] = [
    "ext4-1k",
    "ext4-4k",
    "bigalloc-4k",
    "ext3-1k",
    "ext3-4k",
    "inline-4k",
    "orphan-1k",
    "nojournal-4k",
];

#[test]
fn s166_random_changes_equal_the_model_and_the_kernel() {
    for seed in 0..seeds() {
        for profile in PROFILES {
            let name = format!("{profile}, seed {seed}");
            let recipe = file(profile, 0).mib(24);
            let Some(image) = recipe.image() else { return };
            let mut rng = Rng::new(seed);
            let ops: Vec<Op> = (1..=40).map(|i| random(&mut rng, i, profile)).collect();
            let mut model = ModelFile::new();
            let mut results = Vec::new();
            let device = image.overlay();
            for some in ops.chunks(8) {
                let stage = Stage::on(device.clone());
                results.extend(some.iter().map(|op| run_on(&stage, op, &mut model)));
                stage.close().assert_is(&model);
            }
            assert!(results.iter().all(Result::is_ok), "{name}: {results:?}");
            if kernel::is_here() {
                let (by_kernel, face) = kernel::run(&image, "", &ops).unwrap();
                assert_eq!(results, by_kernel, "{name}");
                face.assert_is(&model);
            }
        }
    }
}

/// Random changes, then a write that is cut off after some steps.
fn crashes(seeds: u64, mut look: impl FnMut(&str, Crashed)) {
    for seed in 0..seeds {
        for profile in PROFILES.into_iter().filter(|&it| it != "nojournal-4k") {
            let Some(image) = file(profile, 0).mib(24).image() else { return };
            let mut rng = Rng::new(seed);
            let stage = Stage::new(&image);
            let mut model = ModelFile::new();
            for generation in 1..=6 {
                run_on(&stage, &random(&mut rng, generation, profile), &mut model).unwrap();
            }
            let at = 512 * rng.below(3000) as u64;
            let len = 512 * (1 + rng.below(1000));
            let steps = rng.below(12);
            let mut done = 0;
            stage.write_until(Write { generation: 9, ..Write::new(at, len) }, |step| {
                done += 1;
                done > steps || matches!(step, ext4_dio::Step::Done(_))
            });
            let crashed = if rng.percent(80) { stage.crash_committed() } else { stage.crash() };
            look(&format!("{profile}, seed {seed}, {len} bytes at {at}, step {done}"), crashed);
        }
    }
}

#[test]
fn s160_random_crashes_are_recovered_as_the_kernel_recovers_them() {
    crashes(3 * seeds(), |name, crashed| {
        println!("{name}");
        crashed.recover();
    });
}

#[test]
fn s161_e2fsck_repairs_the_same_crashes_to_the_same_contents() {
    if oracle::skip_without(&[oracle::Need::E2fsck]) {
        return;
    }
    crashes(3 * seeds(), |name, crashed| {
        let scratch = oracle::scratch().unwrap();
        let file = scratch.path().join("image");
        oracle::save(&*crashed.raw(), &file).unwrap();
        let fsck = oracle::e2fsck(&file, oracle::FsckMode::Repair).unwrap();
        assert!(matches!(fsck.code, Some(0 | 1)), "{name}: {fsck:?}");
        let again = oracle::e2fsck(&file, oracle::FsckMode::Check).unwrap();
        assert!(again.is_clean(), "{name}: {again:?}");
        let theirs = Face::of(&Image::load(&file).unwrap()).unwrap();
        let ours = Face::of(&*crashed.recovered().0).unwrap();
        let len = usize::try_from(ours.size).unwrap();
        assert_eq!(ours.size, theirs.size, "{name}");
        assert!(ours.bytes(0, len) == theirs.bytes(0, len), "{name}: {ours:?} {theirs:?}");
    });
}

fn random(rng: &mut Rng, generation: u32, profile: &str) -> Op {
    let has_extents = image::profile(profile).extents;
    let at = 512 * rng.below(2000) as u64;
    let len = 512 * (1 + rng.below(200));
    let range = (at, len as u64);
    match rng.below(if has_extents { 12 } else { 8 }) {
        0 => Op::Truncate(at + rng.below(512) as u64),
        1 => Op::Punch(range.0, range.1),
        2..=7 => Op::Write(Write { generation, ..Write::new(at, len) }),
        8 | 9 => Op::Allocate(range.0, range.1),
        _ => Op::Keep(range.0, range.1),
    }
}

/// Every other of the first `2 * n` blocks of 1 KiB, in a preallocated file: twice as many extents.
fn alternating(n: u64) -> Vec<Op> {
    let writes = (0..n).map(|i| write(i * 2048, 1024));
    [Op::Allocate(0, n * 2048)].into_iter().chain(writes).collect()
}

#[test]
fn s167_a_tree_grows_to_depth_two_and_shrinks_as_the_kernels_does() {
    let recipe = file("ext4-1k", 0);
    // 80 extents fit into one leaf; when they are one again, that goes back into the inode.
    let mut ops = alternating(40);
    let Some(ran) = both(&recipe, &ops) else { return };
    assert_eq!((ran.face.sectors, ran.face.shape.split(' ').count()), (2 * (80 + 1), 80));
    ops.extend((0..40).map(|i| write(i * 2048 + 1024, 1024)));
    let Some(ran) = both(&recipe, &ops) else { return };
    assert_eq!((ran.face.sectors, &*ran.face.shape), (2 * 80, "W0-79"));

    // 400 extents need five leaves and more, and so a second level.
    let mut ops = alternating(200);
    let Some(ran) = both(&recipe, &ops) else { return };
    assert!(ran.face.sectors >= 2 * (400 + 5 + 1), "{:?}", ran.face);
    ops.push(write(0, 400 << 10));
    let Some(ran) = both(&recipe, &ops) else { return };
    assert_eq!(ran.face.merged().shape, "W0-399");
}

/// A filesystem without one free block, whose `/f` has four unwritten extents of eight blocks, and
/// what to free again.
fn full(size: u64) -> Option<(Image, String)> {
    let recipe = file("journal-1m", 0).mib(6);
    let image = recipe.image()?;
    let device = image.overlay();
    let stage = Stage::on(device.clone());
    for i in 0..4 {
        stage.fs.fallocate(stage.ino, i * 16384, 8192, true).unwrap();
    }
    stage.fs.truncate(stage.ino, size).unwrap();
    stage.fs.close().unwrap();
    let scratch = oracle::scratch().unwrap();
    let file = scratch.path().join("image");
    oracle::save(&*device, &file).unwrap();
    let (mut take, mut free) = (String::new(), String::new());
    let view = View::new(&*device).unwrap();
    for (i, group) in view.groups.iter().enumerate() {
        let bitmap = view.block(group.block_bitmap).unwrap();
        for bit in 0..view.group_len(i) {
            let byte = bitmap[usize::try_from(bit / 8).unwrap()];
            if byte >> (bit % 8) & 1 == 0 {
                let blk = view.group_start(i) + bit;
                writeln!(take, "setb {blk}").unwrap();
                writeln!(free, "freeb {blk}").unwrap();
            }
        }
    }
    oracle::debugfs_write(&file, &take).unwrap();
    Some((Image::load(&file).unwrap(), free))
}

/// One write to a full filesystem, by us and by the kernel; then the blocks are free again.
fn write_full(size: u64, at: u64) -> Option<super::stage::Ran> {
    let (image, free) = full(size)?;
    let device = image.overlay();
    let stage = Stage::on(device.clone());
    let results = vec![run_on(&stage, &write(at, 1024), &mut ModelFile::new())];
    stage.fs.close().unwrap();
    let face = Face::of(&*device).unwrap();
    if kernel::is_here() {
        let (by_kernel, other) = kernel::run(&image, "", &[write(at, 1024)]).unwrap();
        assert_eq!((&results, &face), (&by_kernel, &other), "ours and the kernel's");
    }
    let scratch = oracle::scratch().unwrap();
    let file = scratch.path().join("image");
    oracle::save(&*device, &file).unwrap();
    oracle::debugfs_write(&file, &free).unwrap();
    assert_sound(&Image::load(&file).unwrap());
    Some(super::stage::Ran { results, face })
}

#[test]
fn s168_without_a_block_for_a_node_the_rest_of_the_extent_is_zeroed() {
    let Some(ran) = write_full(65536, 16384 + 3072) else { return };
    ran.expect(&[Ok(1024)], 65536, "U0-7 W16-23 U32-39 U48-55");
    assert_eq!(ran.face.bytes(16384, 3072), [0; 3072]);
    assert_eq!(ran.face.bytes(19456, 1024), pattern(ID, 1, 19456, 1024));
    assert_eq!(ran.face.bytes(20480, 4096), [0; 4096]);
}

#[test]
fn s168_blocks_behind_the_end_are_not_zeroed_and_the_tree_stays() {
    let Some(ran) = write_full(49152 + 1024, 49152) else { return };
    ran.expect(&[Err(errno::ENOSPC)], 49152 + 1024, "U0-7 U16-23 U32-39 U48-55");
}

#[test]
fn s169_an_extent_before_all_others_is_found() {
    // Backwards: each one is the first of its leaf, and its key goes up to the root.
    let ops: Vec<Op> = [Op::Truncate(800 << 10)]
        .into_iter()
        .chain((0..400).rev().map(|i| write(i * 2048, 1024)))
        .collect();
    let Some(ran) = both_merged(&file("ext4-1k", 0), &ops) else { return };
    assert_eq!(ran.face.shape.split(' ').count(), 400);
}

/// `/f` with a tree of depth 1, and where its leaf is.
fn with_leaf(profile: &str) -> Option<(Image, u64)> {
    let image = file(profile, 0).image()?;
    let device = image.overlay();
    let stage = Stage::on(device.clone());
    for op in alternating(10) {
        run_on(&stage, &op, &mut ModelFile::new()).unwrap();
    }
    stage.close();
    let view = View::new(&*device).unwrap();
    let nodes = view.map_blocks(&view.inode(view.paths().unwrap()[&PATH[1..]]).unwrap()).unwrap();
    let mut bytes = vec![0; image.bytes().len()];
    device.read_at(0, &mut bytes).unwrap();
    Some((Image::new(bytes), nodes[0]))
}

#[test]
fn s171_a_damaged_tree_is_refused_and_nothing_is_written() {
    let Some((image, leaf)) = with_leaf("ext4-gdtcsum-1k") else { return };
    // Magic; entries; room; depth; length of the first extent; its block number.
    for (at, bytes) in [
        (0, &[0, 0][..]),
        (2, &[0xFF, 0xFF]),
        (4, &[0, 0]),
        (6, &[3, 0]),
        (12 + 4, &[0, 0]),
        (12 + 8, &[0xFF; 4]),
        (12, &[0xFF; 4]),
    ] {
        let damaged = image.patched([(leaf * 1024 + at, bytes)]).unwrap();
        refused(&damaged, errno::EUCLEAN);
    }
    let Some((image, leaf)) = with_leaf("ext4-1k") else { return };
    // The generation, which means nothing but is covered by the checksum.
    refused(&image.patched([(leaf * 1024 + 8, &[1][..])]).unwrap(), errno::EBADMSG);
}

fn refused(image: &Image, errno: i32) {
    let device = image.overlay();
    let stage = Stage::on(device.clone());
    for at in [0, 1024, 10240, 40960] {
        let err = stage.write(Write::new(at, 1024)).unwrap_err();
        assert_eq!(err.errno(), errno, "{err}");
    }
    drop(stage);
    assert_eq!(device.written_sectors(), Vec::<u64>::new());
}

#[test]
fn s171_the_damage_is_recorded_as_the_kernel_records_it() {
    let Some((image, leaf)) = with_leaf("ext4-1k") else { return };
    // The magic; the generation, which only the checksum covers.
    for (at, errno, code) in [(0, errno::EUCLEAN, 5), (8, errno::EBADMSG, 4)] {
        let image = image.patched([(leaf * 1024 + at, &[1][..])]).unwrap();
        // In place, into the hole, behind the end.
        for at in [0, 1024, 1 << 20] {
            let device = image.overlay();
            let stage = Stage::on(device.clone());
            let err = stage.write(Write::new(at, 1024)).unwrap_err();
            assert_eq!(err.errno(), errno, "{err}");
            assert_eq!(stage.write(Write::new(at, 1024)).unwrap_err().errno(), errno);
            stage.fs.close().unwrap();
            let ours = View::new(&*device).unwrap().sb;
            let first = (ours.s_first_error_ino.get(), ours.s_first_error_errcode);
            assert_eq!((ours.s_error_count.get(), first.1), (1, code), "byte {at}");
            assert_eq!(ours.s_first_error_block.get(), leaf);
            if kernel::is_here() {
                let ops = [write(at, 1024)];
                let (res, after) = kernel::run_on_copy(&image, "errors=continue", &ops).unwrap();
                let theirs = View::new(&after).unwrap().sb;
                assert_eq!(res, [Err(errno)], "byte {at}");
                assert_eq!(ours.s_state.get(), theirs.s_state.get(), "byte {at}");
                let theirs = (theirs.s_first_error_ino.get(), theirs.s_first_error_errcode);
                assert_eq!(first, theirs, "byte {at}: ours and the kernel's");
            }
        }
    }
}
