//! Images that were made to keep a check busy: every one comes to an end in a time, and in changes kept in
//! memory, that the size of the device bounds; and to the same end for any number of threads.

use crate::kit::{
    Except, Frame, NOW, finds_among, full, inode, mend, mend_except, set, set16, with_superblock,
    word,
};
use ext4_check::{Options, Outcome, check};
use ext4_ondisk::superblock::RawSuperblock;
use ext4_testkit::image::{Image, Recipe};
use ext4_units::InodeNr;
use std::time::{Duration, Instant};

/// Far more than any of these takes on a slow machine, far less than without a bound.
const LONGEST: Duration = Duration::from_mins(1);

const EXTENTS: u32 = 0x8_0000;
const INDEX: u32 = 0x1000;
const FILE: u16 = 0o100_644;
const DIRECTORY: u16 = 0o040_755;
const FIFO: u16 = 0o010_644;

/// An image in the making. Its filesystem has no checksums that would have to be renewed.
struct Forge {
    image: Image,
    bytes: Vec<u8>,
}

impl Forge {
    /// An empty filesystem of 16 MiB in blocks of 1 KiB with 4,096 inodes.
    fn new() -> Option<Self> {
        Self::with("-N 4096 -O extent,filetype")
    }

    /// The same, made with these options of mke2fs(8).
    fn with(options: &str) -> Option<Self> {
        let image = Recipe::new("ext2-1k").options(options).image()?;
        let bytes = image.bytes().to_vec();
        Some(Self { image, bytes })
    }

    fn block(&mut self, blk: u32) -> &mut [u8] {
        let at = blk as usize * 1024;
        &mut self.bytes[at..at + 1024]
    }

    /// Makes an inode with this in `i_block`.
    fn inode(&mut self, ino: u32, mode: u16, size: u32, flags: u32, map: &[u8]) {
        let frame = Frame::of(&self.image);
        let at = frame.inode_at(InodeNr::new(ino).unwrap());
        let inode = &mut self.bytes[at..at + frame.format.inode_size()];
        inode.fill(0);
        set16(inode, 0, mode);
        set(inode, 4, size);
        set16(inode, 0x1A, 1 + u16::from(mode == DIRECTORY));
        set(inode, 0x1C, 2);
        set(inode, 0x20, flags);
        inode[0x28..0x28 + map.len()].copy_from_slice(map);
    }

    fn done(self) -> Image {
        Image::new(self.bytes)
    }
}

/// A node of extents: entries of (logical, physical, length), or of an index without lengths.
fn node(depth: u16, max: u16, entries: &[(u32, u32, u16)]) -> Vec<u8> {
    let mut node = Vec::new();
    for half in [0xF30A, u16::try_from(entries.len()).unwrap(), max, depth, 0, 0] {
        node.extend(half.to_le_bytes());
    }
    for &(lblk, blk, len) in entries {
        node.extend(lblk.to_le_bytes());
        if depth == 0 {
            node.extend(len.to_le_bytes());
            node.extend([0; 2]);
            node.extend(blk.to_le_bytes());
        } else {
            node.extend(blk.to_le_bytes());
            node.extend([0; 4]);
        }
    }
    node
}

/// A block of directory entries: so many, each of these bytes of name, for `ino`.
fn entries(first: &[(u32, &[u8])], ino: u32, name: &[u8], n: usize) -> Vec<u8> {
    let mut block = Vec::new();
    let all = first.iter().copied().chain(std::iter::repeat_n((ino, name), n));
    for (ino, name) in all {
        let len = (8 + name.len()).next_multiple_of(4);
        block.extend(ino.to_le_bytes());
        block.extend(u16::try_from(len).unwrap().to_le_bytes());
        block.extend([u8::try_from(name.len()).unwrap(), 0]);
        block.extend(name);
        block.resize(block.len().next_multiple_of(4), 0);
    }
    assert!(block.len() <= 1024);
    if block.len() < 1024 {
        let rest = u16::try_from(1024 - block.len()).unwrap();
        block.extend([0; 4]);
        block.extend(rest.to_le_bytes());
        block.resize(1024, 0);
    }
    block
}

/// Checks, and gives what it came to. The result is clean, or what is left is told.
#[track_caller]
fn bounded(image: &Image) -> (Outcome, Image) {
    bounded_except(&[], image)
}

/// The same, with the answer no to some problems.
#[track_caller]
fn bounded_except(no: &'static [&'static str], image: &Image) -> (Outcome, Image) {
    let start = Instant::now();
    let (outcome, mended) = mend_except(no, image, 1);
    let time = start.elapsed();
    assert!(time < LONGEST, "one thread took {time:?}");
    let (by_two, again) = mend_except(no, image, 2);
    assert_eq!(outcome.findings, by_two.findings, "two threads find something else");
    assert!(mended.bytes() == again.bytes(), "two threads leave other bytes");
    if outcome.left == 0 {
        assert!(outcome.is_settled);
        let (rest, _) = mend(&mended, 1);
        assert_eq!(rest.findings, [], "found in what was mended");
    }
    (outcome, mended)
}

#[test]
fn a_tree_of_extents_that_all_inodes_name_is_walked_a_few_times() {
    let Some(mut forge) = Forge::new() else { return };
    // 40 nodes of 84 leaves each, in which each entry is the same block.
    let (top, data) = (9000, 16_000);
    let mut blk = top + 1;
    let mut lblk = 0;
    let mut nodes = Vec::new();
    for _ in 0..40 {
        let own = blk;
        nodes.push((lblk, own, 0));
        blk += 1;
        let mut leaves = Vec::new();
        for _ in 0..84 {
            leaves.push((lblk, blk, 0));
            let all: Vec<_> = (0..84).map(|nr| (lblk + nr, data, 1)).collect();
            let leaf = node(0, 84, &all);
            forge.block(blk)[..leaf.len()].copy_from_slice(&leaf);
            lblk += 84;
            blk += 1;
        }
        let bytes = node(1, 84, &leaves);
        forge.block(own)[..bytes.len()].copy_from_slice(&bytes);
    }
    let bytes = node(2, 84, &nodes);
    forge.block(top)[..bytes.len()].copy_from_slice(&bytes);
    let root = node(3, 4, &[(0, top, 0)]);
    for ino in 12..4000 {
        forge.inode(ino, FILE, lblk * 1024, EXTENTS, &root);
    }
    let image = forge.done();
    let (outcome, _) = bounded(&image);
    assert!(outcome.findings.iter().any(|it| it.problem.id == "map-of-others"));
    let (outcome, _) = bounded_except(&["map-of-others"], &image);
    assert!(outcome.left > 0);
}

#[test]
fn a_block_of_pointers_full_of_itself_is_walked_once() {
    let Some(mut forge) = Forge::new() else { return };
    let own = 9000_u32;
    forge.block(own).copy_from_slice(&own.to_le_bytes().repeat(256));
    let root = own.to_le_bytes().repeat(15);
    for ino in 12..4000 {
        forge.inode(ino, FILE, 1 << 30, 0, &root);
    }
    let image = forge.done();
    bounded(&image);
    bounded_except(&["map-of-others"], &image);
}

#[test]
fn files_that_all_have_the_same_blocks_get_copies_while_there_is_room() {
    let Some(mut forge) = Forge::new() else { return };
    let root = node(0, 4, &[(0, 9000, 4)]);
    for ino in 12..4000 {
        forge.inode(ino, FILE, 4096, EXTENTS, &root);
    }
    bounded(&forge.done());
}

#[test]
fn lost_and_found_gets_an_index_when_it_becomes_large() {
    let Some(mut forge) = Forge::new() else { return };
    for ino in 12..4000 {
        forge.inode(ino, FILE, 1024, EXTENTS, &node(0, 4, &[(0, 9000 + ino, 1)]));
    }
    let mended = finds_among(&forge.done(), &["unattached-inode"]);
    let flags = word(&inode(&mended, 11), 0x20);
    assert!(flags & INDEX != 0, "{flags:#x}");
}

#[test]
fn a_file_that_names_the_device_again_and_again_is_bounded() {
    let Some(mut forge) = Forge::new() else { return };
    let mut leaves = Vec::new();
    for nr in 0..84 {
        leaves.push((nr * 84 * 7000, 9001 + nr, 0));
        let all: Vec<_> = (0..84).map(|it| ((nr * 84 + it) * 7000, 9100, 7000)).collect();
        let leaf = node(0, 84, &all);
        forge.block(9001 + nr)[..leaf.len()].copy_from_slice(&leaf);
    }
    let bytes = node(1, 84, &leaves);
    forge.block(9000)[..bytes.len()].copy_from_slice(&bytes);
    forge.inode(12, FILE, 4096, EXTENTS, &node(2, 4, &[(0, 9000, 0)]));
    bounded(&forge.done());
}

#[test]
fn orphans_that_all_name_the_device_again_and_again_are_bounded() {
    let Some(mut forge) = Forge::new() else { return };
    let mut leaves = Vec::new();
    for nr in 0..84 {
        leaves.push((nr * 84 * 7000, 9001 + nr, 0));
        let all: Vec<_> = (0..84).map(|it| ((nr * 84 + it) * 7000, 9100, 7000)).collect();
        let leaf = node(0, 84, &all);
        forge.block(9001 + nr)[..leaf.len()].copy_from_slice(&leaf);
    }
    let bytes = node(1, 84, &leaves);
    forge.block(9000)[..bytes.len()].copy_from_slice(&bytes);
    let frame = Frame::of(&forge.image);
    for ino in 12..4000 {
        forge.inode(ino, FILE, 4096, EXTENTS, &node(2, 4, &[(0, 9000, 0)]));
        let next = frame.inode_at(InodeNr::new(ino).unwrap()) + 0x14;
        set(&mut forge.bytes, next, if ino < 3999 { ino + 1 } else { 0 });
    }
    // No block is free, at which the look at a map would end.
    for desc in &frame.descs {
        forge.block(u32::try_from(desc.block_bitmap.0).unwrap()).fill(0xFF);
    }
    let image = with_superblock(&forge.done(), |sb| sb.s_last_orphan.set(12));
    let (outcome, _) = bounded(&image);
    assert!(outcome.findings.iter().any(|it| it.problem.id == "orphans-left"));
}

#[test]
fn directories_that_all_have_one_block_of_entries_are_bounded() {
    let Some(mut forge) = Forge::new() else { return };
    let block = entries(&[(12, b"."), (2, b"..")], 13, b"abc", 80);
    forge.block(9000).copy_from_slice(&block);
    for ino in 12..4000 {
        forge.inode(ino, DIRECTORY, 1024, EXTENTS, &node(0, 4, &[(0, 9000, 1)]));
    }
    bounded(&forge.done());
}

#[test]
fn a_long_chain_of_lost_directories_needs_no_deep_stack() {
    let Some(mut forge) = Forge::new() else { return };
    for ino in 12..4096 {
        let blk = 9000 + ino;
        let block = entries(&[(ino, b"."), (ino - 1, b"..")], ino + 1, b"next", 1);
        forge.block(blk).copy_from_slice(&block);
        forge.inode(ino, DIRECTORY, 1024, EXTENTS, &node(0, 4, &[(0, blk, 1)]));
    }
    bounded(&forge.done());
}

/// No walk over lost+found for each name that it gets: it has no index, and with them all it is long.
#[test]
fn thirty_thousand_inodes_without_names_are_given_some() {
    let Some(mut forge) = Forge::with("-N 30100 -I 128 -O extent,filetype,^resize_inode") else {
        return;
    };
    for ino in 13..30_013 {
        forge.inode(ino, FIFO, 0, 0, &[]);
    }
    let (outcome, _) = bounded(&forge.done());
    assert_eq!(outcome.left, 0);
    let lost = outcome.findings.iter().filter(|it| it.problem.id == "unattached-inode");
    assert_eq!(lost.count(), 30_000);
}

#[test]
fn one_name_sixty_thousand_times_is_made_as_many_names() {
    let Some(mut forge) = Forge::new() else { return };
    forge.inode(13, FILE, 0, EXTENTS, &node(0, 4, &[]));
    let first = entries(&[(12, b"."), (2, b"..")], 13, b"a", 83);
    forge.block(9000).copy_from_slice(&first);
    for blk in 9001..9715 {
        let block = entries(&[], 13, b"a", 85);
        forge.block(blk).copy_from_slice(&block);
    }
    forge.inode(12, DIRECTORY, 715 * 1024, EXTENTS, &node(0, 4, &[(0, 9000, 715)]));
    bounded(&forge.done());
}

#[test]
fn a_directory_of_four_billion_blocks_with_two_is_bounded() {
    let Some(mut forge) = Forge::new() else { return };
    let block = entries(&[(12, b"."), (2, b"..")], 12, b"a", 0);
    forge.block(9000).copy_from_slice(&block);
    let root = node(0, 4, &[(0, 9000, 1), (0xFFFF_FFFE, 9001, 1)]);
    forge.inode(12, DIRECTORY, u32::MAX, EXTENTS, &root);
    bounded(&forge.done());
}

#[test]
fn a_device_without_room_for_any_repair_is_told_of() {
    let Some(mut forge) = Forge::new() else { return };
    // One file has everything; a thousand others have its blocks, and no name.
    forge.inode(12, FILE, u32::MAX, EXTENTS, &node(0, 4, &[(0, 2000, 14_000)]));
    for ino in 13..1000 {
        forge.inode(ino, FILE, 1 << 20, EXTENTS, &node(0, 4, &[(0, 2000 + ino, 1000)]));
    }
    bounded(&forge.done());
}

/// A field of the superblock, and how it is set.
type Field = (&'static str, fn(&mut RawSuperblock, u32));

#[test]
fn no_extreme_of_a_field_of_the_superblock_keeps_a_check_busy() {
    const FIELDS: &[Field] = &[
        ("inodes", |sb, it| sb.s_inodes_count.set(it)),
        ("blocks", |sb, it| sb.s_blocks_count_lo.set(it)),
        ("first block", |sb, it| sb.s_first_data_block.set(it)),
        ("block size", |sb, it| sb.s_log_block_size.set(it)),
        ("cluster size", |sb, it| sb.s_log_cluster_size.set(it)),
        ("blocks of a group", |sb, it| sb.s_blocks_per_group.set(it)),
        ("clusters of a group", |sb, it| sb.s_clusters_per_group.set(it)),
        ("inodes of a group", |sb, it| sb.s_inodes_per_group.set(it)),
        ("first inode", |sb, it| sb.s_first_ino.set(it)),
        ("inode size", |sb, it| sb.s_inode_size.set((it & 0xFFFF) as u16)),
        ("descriptor size", |sb, it| sb.s_desc_size.set((it & 0xFFFF) as u16)),
        ("journal", |sb, it| sb.s_journal_inum.set(it)),
        ("orphans", |sb, it| sb.s_last_orphan.set(it)),
        ("compatible", |sb, it| sb.s_feature_compat.set(it)),
        ("incompatible", |sb, it| sb.s_feature_incompat.set(it)),
        ("compatible for readers", |sb, it| sb.s_feature_ro_compat.set(it)),
    ];
    for profile in ["ext2-1k", "ext4-1k", "bigalloc-1k"] {
        let Some(image) = Recipe::new(profile).image() else { return };
        for (name, field) in FIELDS {
            for value in [0, 1, 7, 0x2000, 0x8000, 0xFFFF, 1 << 16, 1 << 24, 1 << 31, u32::MAX] {
                let image = with_superblock(&image, |sb| field(sb, value));
                let start = Instant::now();
                let overlay = image.overlay();
                let mut outcome = Outcome::default();
                // A superblock that cannot be used, and no copy, is a verdict too.
                let res = check(&overlay, &Options::new(NOW), &mut Except(&[]), &mut outcome);
                let time = start.elapsed();
                assert!(time < LONGEST, "{profile}: {name} {value:#x} took {time:?}");
                assert!(overlay.held_bytes() <= image.bytes().len() as u64);
                assert!(
                    res.is_err() || outcome.is_settled || outcome.left > 0,
                    "{name} {value:#x}"
                );
            }
        }
    }
}

/// What lost+found has no room for, on a device without a free block, is tried once and told once: not
/// again in each round.
#[test]
fn what_lost_and_found_has_no_room_for_is_told_once() {
    let recipe = Recipe::new("ext2-1k").options("-N 4096 -O extent,filetype");
    let Some(image) = recipe.write("/file", vec![7; 1024]).image() else { return };
    let image = full(&image, 12);
    let mut forge = Forge { bytes: image.bytes().to_vec(), image };
    for ino in 13..4096 {
        forge.inode(ino, FIFO, 0, 0, &[]);
    }
    let (outcome, _) = bounded(&forge.done());
    let n = |id| outcome.findings.iter().filter(|it| it.problem.id == id).count();
    assert_eq!(n("unattached-inode"), 4083);
    assert!(n("repair-failed") > 1000 && outcome.rounds <= 3, "{} rounds", outcome.rounds);
}
