//! 31 to 51 and 57: which blocks a write gets, in which state it leaves them, and what goes the
//! buffered way.

use super::{
    ID, Op, PATH, Write, errno, nowait,
    stage::{Stage, both, both_merged, both_mounted, file, ours},
    write,
};
use ext4_dio::{BufferedWrite, DirectWrite, Step};
use ext4_testkit::{
    image::Recipe,
    model::pattern,
    view::{RunKind, View},
};
use std::{fs, io, io::Read};

const MIB: u64 = 1 << 20;

#[test]
fn s31_a_hole_gets_one_written_extent() {
    let Some(ran) = both(&file("ext4-4k", 0), &[Op::Truncate(MIB), write(16384, 8192)]) else {
        return;
    };
    ran.expect(&[Ok(0), Ok(8192)], MIB, "W4-5");
    assert_eq!(ran.face.sectors, 16);
}

#[test]
fn s32_a_part_of_a_block_in_a_hole_has_zeros_around_it() {
    let ops = [Op::Truncate(MIB), write(16384 + 512, 512)];
    let Some(ran) = both(&file("ext4-4k", 0), &ops) else { return };
    ran.expect(&[Ok(0), Ok(512)], MIB, "W4");
    assert_eq!(ran.face.bytes(16384, 512), [0; 512]);
    assert_eq!(ran.face.bytes(17408, 3072), [0; 3072]);
}

#[test]
fn s33_keep_size_then_write_converts_only_what_was_written() {
    let ops = [Op::Keep(0, MIB), write(0, 8192)];
    let Some(ran) = both(&file("ext4-4k", 0), &ops) else { return };
    ran.expect(&[Ok(0), Ok(8192)], 8192, "W0-1 U2-255");
}

#[test]
fn s33_a_write_behind_the_end_of_a_preallocated_file_leaves_the_rest_unwritten() {
    let ops = [Op::Keep(0, MIB), write(16384 + 512, 8192)];
    let Some(ran) = both(&file("ext4-4k", 0), &ops) else { return };
    ran.expect(&[Ok(0), Ok(8192)], 25088, "U0-3 W4-6 U7-255");
}

/// Writes into a preallocated MiB, one after the other, and the extents after each of them.
const FILLING: [(Op, &str); 6] = [
    (Op::Allocate(0, MIB), "U0-255"),
    (write(8192, 4096), "U0-1 W2 U3-255"),
    (write(12288, 4096), "U0-1 W2-3 U4-255"),
    (write(4096, 4096), "U0 W1-3 U4-255"),
    (write(0, 4096), "W0-3 U4-255"),
    (write(0, 1 << 20), "W0-255"),
];

/// The first `n` steps have the extents that the last of them says, by us and by the kernel.
#[track_caller]
fn filled(n: usize) {
    let ops: Vec<Op> = FILLING[..n].iter().map(|it| it.0).collect();
    let Some(ran) = both(&file("ext4-4k", 0), &ops) else { return };
    assert_eq!((ran.face.size, &*ran.face.shape), (MIB, FILLING[n - 1].1));
}

#[test]
fn s34_a_block_in_the_middle_splits_in_three() {
    filled(1);
    filled(2);
}

#[test]
fn s35_the_next_block_is_handed_to_the_written_extent() {
    filled(3);
}

#[test]
fn s36_so_is_the_block_before_it() {
    filled(4);
}

#[test]
fn s37_the_first_block_leaves_two_extents() {
    filled(5);
}

#[test]
fn s38_when_all_is_written_there_is_one_extent() {
    filled(6);
}

/// Blocks of 1 KiB in groups that nothing interrupts: 32768 of them are 32 MiB.
fn wide() -> Recipe {
    file("ext4-1k", 0)
        .mib(72)
        .options("-O sparse_super2,^resize_inode -E num_backup_sb=0,packed_meta_blocks=1 -J size=4")
}

#[test]
fn s39_written_extents_grow_to_32768_blocks() {
    let Some(image) = wide().image() else { return };
    let ran = ours(&image, &[write(0, 33 << 20)]);
    let mut lens = lens(&ran.face.shape);
    assert_eq!(lens.iter().sum::<u64>(), 33 << 10);
    assert!(lens.iter().all(|&len| len <= 32768), "{lens:?}");
    lens.sort_unstable();
    assert_eq!(lens.last(), Some(&32768), "{lens:?}");
}

#[test]
fn s40_unwritten_extents_grow_to_32767_blocks() {
    let Some(image) = wide().image() else { return };
    let ran = ours(&image, &[Op::Allocate(0, 33 << 20), write(1 << 20, 4096)]);
    let shape = &ran.face.shape;
    assert!(shape.starts_with("U0-1023 W1024-1027 U1028-"), "{shape}");
    let Some(image) = wide().image() else { return };
    let ran = ours(&image, &[Op::Allocate(0, 33 << 20)]);
    let lens = lens(&ran.face.shape);
    assert_eq!(lens.iter().sum::<u64>(), 33 << 10);
    assert!(lens.iter().all(|&len| len <= 32767), "{lens:?}");
}

/// How many blocks each extent has.
fn lens(shape: &str) -> Vec<u64> {
    let of = |word: &str| {
        let (first, last) = word[1..].split_once('-').unwrap_or((&word[1..], &word[1..]));
        last.parse::<u64>().unwrap() - first.parse::<u64>().unwrap() + 1
    };
    shape.split(' ').map(of).collect()
}

#[test]
fn s41_one_write_over_written_hole_unwritten_and_written_blocks() {
    let ops = [
        write(0, 8192),
        Op::Allocate(16384, 8192),
        write(24576, 8192),
        write(65536, 4096),
        Op::Write(Write { generation: 2, ..Write::new(0, 32768) }),
    ];
    // Where new blocks lie, and so which extents join, is the allocator's own affair.
    let Some(ran) = both_merged(&file("ext4-4k", 0), &ops) else { return };
    assert_eq!(ran.face.merged().shape, "W0-7 W16");
}

#[test]
fn s42_more_than_4096_blocks_take_several_mappings() {
    let Some(image) = file("ext4-1k", 0).image() else { return };
    let stage = Stage::new(&image);
    let mut mapped = Vec::new();
    stage.write_until(Write::new(0, 6 << 20), |step| {
        if let Step::Mapped { len, changed, .. } = *step {
            mapped.push((len, changed));
        }
        matches!(step, Step::Done(_))
    });
    assert!(mapped.len() >= 2 && mapped.iter().all(|it| it.0 <= 4096 && it.1), "{mapped:?}");
    assert_eq!(mapped.iter().map(|it| it.0).sum::<u32>(), 6 << 10);
    assert_eq!(stage.close().size, 6 << 20);
}

#[test]
fn s43_a_block_map_is_overwritten_in_place_and_its_holes_filled_the_buffered_way() {
    for profile in ["ext3-4k", "ext3-1k", "ext4-indirect-1k"] {
        let again = |at, len| Op::Write(Write { generation: 2, ..Write::new(at, len) });
        let ops = [
            again(0, 4096),
            Op::Truncate(1 << 20),
            nowait(65536, 4096),
            write(65536, 8192),
            nowait(65536, 4096),
            write(131_072 + 512, 512),
        ];
        let Some(ran) = both(&file(profile, 16384), &ops) else { return };
        let wait = Err(errno::EAGAIN);
        let results = [Ok(4096), Ok(0), wait, Ok(8192), Ok(4096), Ok(512)];
        assert_eq!((&ran.results[..], ran.face.size), (&results[..], 1 << 20), "{profile}");
    }
}

#[test]
fn s43_an_overwrite_by_block_map_stays_where_it_is() {
    let Some(image) = file("ext3-1k", 16384).image() else { return };
    let runs = |device: &dyn ext4_blockdev::BlockDevice| {
        let view = View::new(device).unwrap();
        view.runs(&view.inode(view.paths().unwrap()[&PATH[1..]]).unwrap()).unwrap()
    };
    let stage = Stage::new(&image);
    stage.write(Write { generation: 2, ..Write::new(4096, 8192) }).unwrap();
    let device = stage.device.clone();
    stage.close();
    assert_eq!(runs(&image), runs(&*device));
}

#[test]
fn s44_mapped_blocks_go_directly_and_the_hole_behind_them_buffered() {
    for profile in ["ext3-4k", "ext3-1k"] {
        let ops = [Op::Truncate(65536), Op::Write(Write { generation: 2, ..Write::new(0, 32768) })];
        let Some(ran) = both(&file(profile, 8192), &ops) else { return };
        assert_eq!(ran.results, [Ok(0), Ok(32768)], "{profile}");
        let Some(image) = file(profile, 8192).image() else { return };
        let stage = Stage::new(&image);
        stage.fs.truncate(stage.ino, 65536).unwrap();
        let outcome = stage.write(Write::new(0, 32768)).unwrap();
        assert_eq!((outcome.written, outcome.buffered), (32768, 24576), "{profile}");
    }
}

#[test]
fn s45_a_block_map_grows_directly() {
    for profile in ["ext3-4k", "ext3-1k"] {
        let Some(ran) = both(&file(profile, 8192), &[write(8192, 65536)]) else { return };
        assert_eq!((&ran.results[..], ran.face.size), (&[Ok(65536)][..], 73728), "{profile}");
        let Some(image) = file(profile, 8192).image() else { return };
        let stage = Stage::new(&image);
        assert_eq!(stage.write(Write::new(8192, 65536)).unwrap().buffered, 0, "{profile}");
    }
}

#[test]
fn s46_a_file_in_its_inode_takes_any_bytes_and_moves_out_when_they_do_not_fit() {
    let hello = Recipe::new("inline-4k").write(PATH, b"hello");
    // Unaligned, and still inline.
    let Some(ran) = both(&hello, &[write(5, 7)]) else { return };
    ran.expect(&[Ok(7)], 12, "inline");
    let Some(ran) = both(&hello, &[write(2, 100)]) else { return };
    ran.expect(&[Ok(100)], 102, "inline");
    let Some(ran) = both(&hello, &[write(0, 512)]) else { return };
    ran.expect(&[Ok(512)], 512, "W0");
    let Some(ran) = both(&hello, &[write(7, 9000), write(512, 512)]) else { return };
    ran.expect(&[Ok(9000), Ok(512)], 9007, "W0-2");
    let Some(ran) = both(&hello, &[nowait(0, 512)]) else { return };
    ran.expect(&[Err(errno::EOPNOTSUPP)], 5, "inline");
}

#[test]
fn s46_an_empty_file_where_inline_data_is_possible_gets_blocks() {
    let touch = |root: &std::path::Path| fs::write(root.join("f"), []);
    let empty = Recipe::new("inline-4k").kernel("touch f", "", touch);
    let Some(ran) = both(&empty, &[write(0, 7)]) else { return };
    ran.expect(&[Err(errno::EINVAL)], 0, "");
    let Some(ran) = both(&empty, &[write(0, 512)]) else { return };
    ran.expect(&[Ok(512)], 512, "W0");
}

/// What happened: nobody told the inode in core that direct IO had come, so that a small write into
/// pages put the file, emptied meanwhile, into its inode. (`EXT4_STATE_MAY_INLINE_DATA`)
#[test]
fn s46_a_file_that_direct_io_has_tried_is_not_put_into_its_inode() {
    let touch = |root: &std::path::Path| fs::write(root.join("f"), []);
    let empty = Recipe::new("inline-4k").kernel("touch f", "", touch);
    let Some(image) = empty.image() else { return };
    let stage = Stage::new(&image);
    stage.write(Write::new(0, 512)).unwrap();
    stage.fs.truncate(stage.ino, 0).unwrap();
    let (request, bytes) = stage.request(&Write::new(0, 5));
    BufferedWrite::new(&stage.fs, stage.ino, request, &mut &bytes[..]).run().unwrap();
    assert!(!stage.fs.inode(stage.fs.meta(), stage.ino).unwrap().has_inline_data());
}

/// What happened: a file was cut between the checks of a write that appends and its way through
/// pages, and the write still went to where the file had ended before.
#[test]
fn s16_an_append_through_pages_goes_to_the_end_that_a_truncation_made() {
    let Some(image) = Recipe::new("inline-4k").write(PATH, [1; 50]).image() else { return };
    let stage = Stage::new(&image);
    let (request, bytes) = stage.request(&Write { at: None, ..Write::new(0, 10) });
    let mut source = &bytes[..];
    let mut write = DirectWrite::new(&stage.fs, stage.ino, request, &mut source);
    while !matches!(write.step().unwrap(), Step::Checked(None)) {}
    stage.fs.truncate(stage.ino, 5).unwrap();
    assert_eq!(write.run().unwrap().written, 10);
    let inode = stage.fs.inode(stage.fs.meta(), stage.ino).unwrap();
    let mut now = [0; 20];
    assert_eq!(stage.fs.read_at(stage.fs.meta(), &inode, 0, &mut now).unwrap(), 15);
    assert_eq!((&now[..5], &now[5..15]), (&[1; 5][..], &bytes[..]));
}

/// `/f` whose data goes through the log.
fn journaled(profile: &str, len: usize) -> Recipe {
    file(profile, len).debugfs(&format!("set_inode_field {PATH} flags 0x84000"))
}

#[test]
fn s47_journaled_data_takes_any_bytes() {
    // With delalloc, its default, the kernel ignores the flag; we always respect it.
    let ops = [write(7, 100), write(4096, 9000), nowait(0, 512)];
    let recipe = journaled("ext4-4k", 5000);
    let Some(ran) = both_mounted(&recipe, "nodelalloc", &ops) else { return };
    ran.expect(&[Ok(100), Ok(9000), Err(errno::EOPNOTSUPP)], 13096, "W0-3");
}

#[test]
fn s47_journaled_data_that_looks_like_a_log_block_survives_the_log() {
    let Some(image) = journaled("ext4-4k", 8192).image() else { return };
    let stage = Stage::new(&image);
    let mut bytes = vec![0x5A; 8192];
    for block in bytes.chunks_mut(4096) {
        block[..4].copy_from_slice(&[0xC0, 0x3B, 0x39, 0x98]);
        // The kind of a commit block.
        block[4..8].copy_from_slice(&[0, 0, 0, 2]);
    }
    let request = ext4_dio::Request::new(ext4_dio::Offset::At(4096), Some(8192));
    let outcome = DirectWrite::new(&stage.fs, stage.ino, request, &mut &bytes[..]).run().unwrap();
    assert_eq!((outcome.written, outcome.buffered), (8192, 8192));
    // What is read meanwhile comes from the log as well.
    let inode = stage.fs.inode(stage.fs.meta(), stage.ino).unwrap();
    let mut now = vec![0; 8192];
    stage.fs.read_at(stage.fs.meta(), &inode, 4096, &mut now).unwrap();
    assert!(now == bytes);
    let crashed = stage.crash_committed();
    let face = crashed.recover();
    assert_eq!(face.size, 12288);
    assert!(face.bytes(4096, 8192) == bytes);
    assert_eq!(face.bytes(0, 4096), pattern(ID, 0, 0, 4096));
}

#[test]
fn s47_a_whole_filesystem_with_journaled_data() {
    let recipe = file("ext4-4k", 5000).debugfs("set_super_value default_mount_opts 0x20");
    let ops = [write(7, 100), write(4096, 9000), Op::Truncate(6000), write(8192, 512)];
    let Some(ran) = both(&recipe, &ops) else { return };
    ran.expect(&[Ok(100), Ok(9000), Ok(0), Ok(512)], 8704, "W0-1 W2");
}

#[test]
fn s47_journaled_data_is_read_back_before_it_is_home() {
    let recipe = file("ext4-4k", 5000).debugfs("set_super_value default_mount_opts 0x20");
    let Some(image) = recipe.image() else { return };
    let stage = Stage::new(&image);
    stage.write(Write::new(0, 4096)).unwrap();
    let inode = stage.fs.inode(stage.fs.meta(), stage.ino).unwrap();
    let mut now = vec![0; 4096];
    stage.fs.read_at(stage.fs.meta(), &inode, 0, &mut now).unwrap();
    assert!(now == pattern(ID, 1, 0, 4096), "the old bytes were read");
}

#[test]
fn s48_an_encrypted_file_needs_a_key() {
    let recipe = file("ext4-4k", 4096).debugfs(&format!("set_inode_field {PATH} flags 0x80800"));
    let Some(image) = recipe.image() else { return };
    let stage = Stage::new(&image);
    let err = stage.write(Write::new(0, 4096)).unwrap_err();
    assert_eq!(err.errno(), 126, "{err}");
}

/// Gives some bytes, then an error: memory that is not there, for the kernel.
struct Broken<'a>(&'a [u8]);

impl Read for Broken<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buf)? {
            0 => Err(io::Error::other("bad memory")),
            n => Ok(n),
        }
    }
}

/// Writes `len` bytes in chunks of 64 KiB from a source that breaks after `good` bytes.
fn broken(stage: &Stage, at: u64, len: usize, good: usize) -> i32 {
    let (mut request, bytes) = stage.request(&Write::new(at, len));
    request.chunk = 64 << 10;
    let mut source = Broken(&bytes[..good]);
    let err = DirectWrite::new(&stage.fs, stage.ino, request, &mut source).run();
    err.expect_err("a broken source").errno()
}

#[test]
fn s49_input_that_fails_in_the_middle_leaves_unwritten_blocks_below_the_size() {
    let Some(image) = file("ext4-4k", 0).image() else { return };
    let stage = Stage::new(&image);
    stage.fs.truncate(stage.ino, MIB).unwrap();
    assert_eq!(broken(&stage, 0, 128 << 10, 100_000), errno::EFAULT);
    let face = stage.close();
    assert_eq!((face.size, &*face.shape), (MIB, "U0-31"));
}

#[test]
fn s49_input_that_fails_at_once_allocates_nothing() {
    // The kernel has mapped the blocks before it looks at the memory, and leaves them, unwritten;
    // we have the bytes before we ask for blocks.
    let Some(image) = file("ext4-4k", 0).image() else { return };
    let stage = Stage::new(&image);
    stage.fs.truncate(stage.ino, MIB).unwrap();
    assert_eq!(broken(&stage, 0, 128 << 10, 0), errno::EFAULT);
    assert_eq!(stage.close().shape, "");
}

#[test]
fn s50_input_that_fails_behind_the_end_frees_all_behind_the_end() {
    let Some(image) = file("ext4-4k", 4096).image() else { return };
    let stage = Stage::new(&image);
    stage.fs.fallocate(stage.ino, 0, MIB, true).unwrap();
    assert_eq!(broken(&stage, 4096, 128 << 10, 100_000), errno::EFAULT);
    assert!(!stage.fs.is_orphan(stage.ino));
    let face = stage.close();
    assert_eq!((face.size, &*face.shape), (4096, "W0"));
    assert_eq!(face.bytes(0, 4096), pattern(ID, 0, 0, 4096));
}

#[test]
fn s51_a_write_of_no_bytes_behind_the_end_moves_no_size() {
    // The kernel (6.18) sets the size to 2048 here, on both kinds of map.
    for profile in ["ext4-4k", "ext3-4k"] {
        let Some(image) = file(profile, 0).image() else { return };
        let stage = Stage::new(&image);
        stage.fs.truncate(stage.ino, 1000).unwrap();
        let behind = if profile == "ext3-4k" { 8192 } else { 2048 };
        assert_eq!(broken(&stage, behind, 512, 0), errno::EFAULT);
        let (request, _) = stage.request(&Write::new(behind, 512));
        let outcome = DirectWrite::new(&stage.fs, stage.ino, request, &mut io::empty()).run();
        assert_eq!(outcome.unwrap().written, 0);
        assert!(!stage.fs.is_orphan(stage.ino));
        let face = stage.close();
        assert_eq!((face.size, &*face.shape), (1000, ""), "{profile}");
    }
}

#[test]
fn s51_input_that_is_shorter_than_said_ends_the_write_there() {
    let Some(image) = file("ext4-4k", 4096).image() else { return };
    let stage = Stage::new(&image);
    stage.fs.fallocate(stage.ino, 0, MIB, true).unwrap();
    let (request, bytes) = stage.request(&Write::new(4096, 128 << 10));
    let outcome = DirectWrite::new(&stage.fs, stage.ino, request, &mut &bytes[..9000]).run();
    assert_eq!(outcome.unwrap().written, 9000);
    assert!(!stage.fs.is_orphan(stage.ino));
    let face = stage.close();
    assert_eq!(face.size, 13096);
    assert!(face.shape.starts_with("W0-3"), "{}", face.shape);
    assert_eq!(face.bytes(4096, 9000), &bytes[..9000]);
}

#[test]
fn s57_what_was_cut_off_never_comes_back() {
    let ops = [Op::Truncate(1000), write(1024, 512), Op::Truncate(4096)];
    for profile in ["ext4-4k", "ext3-4k", "bigalloc-4k"] {
        let Some(ran) = both(&file(profile, 4096), &ops) else { return };
        ran.expect(&[Ok(0), Ok(512), Ok(0)], 4096, "W0");
        assert_eq!(ran.face.bytes(1000, 24), [0; 24]);
        assert_eq!(ran.face.bytes(1536, 2560), [0; 2560]);
    }
}

#[test]
fn s57_stale_bytes_behind_the_end_are_zeroed_when_the_size_passes_them() {
    // A tail that some other writer left dirty: up to the new end of the write it is zeroed, in
    // whole blocks; the gap before the write is trusted to be zeros, as the kernel trusts it.
    let Some(image) = file("ext4-4k", 1024).image() else { return };
    let view = View::new(&image).unwrap();
    let node = view.inode(view.paths().unwrap()[&PATH[1..]]).unwrap();
    let runs = view.runs(&node).unwrap();
    assert_eq!((runs.len(), runs[0].kind), (1, RunKind::Written));
    let dirty = image.patched([(runs[0].start * 4096 + 1536, &[0xEE; 2560][..])]).unwrap();
    let ran = ours(&dirty, &[write(1024, 512), Op::Truncate(4096)]);
    ran.expect(&[Ok(512), Ok(0)], 4096, "W0");
    assert_eq!(ran.face.bytes(1536, 2560), [0; 2560]);
}
