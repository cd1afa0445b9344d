//! Damaged images and what a check makes of them.

use ext4_check::{Answer, Answers, Finding, Options, Outcome, check};
use ext4_ondisk::{
    extent,
    geometry::Geometry,
    group_desc::{DescFormat, GroupDesc},
    inode::InodeFormat,
    superblock::{RawSuperblock, Superblock},
    xattr,
};
use ext4_testkit::{
    image::{Image, assert_clean},
    oracle::{Need, skip_without},
};
use ext4_units::{BlockNr, GroupNr, InodeNr};
use zerocopy::{FromBytes as _, IntoBytes as _};

/// A time in 2026: what checks set, and judge by.
pub(crate) const NOW: u64 = 1_780_000_000;

/// Answers no to these problems, yes to all others.
pub(crate) struct Except(pub(crate) &'static [&'static str]);

impl Answers for Except {
    fn answer(&mut self, finding: &Finding) -> Answer {
        if self.0.contains(&finding.problem.id) { Answer::No } else { Answer::Yes }
    }
}

/// What a check with the answer yes finds, and the image it leaves.
pub(crate) fn mend(image: &Image, threads: usize) -> (Outcome, Image) {
    mend_except(&[], image, threads)
}

/// The same, with the answer no to some problems.
pub(crate) fn mend_except(
    no: &'static [&'static str],
    image: &Image,
    threads: usize,
) -> (Outcome, Image) {
    let overlay = image.overlay();
    let options = Options { threads, ..Options::new(NOW) };
    let mut outcome = Outcome::default();
    check(&overlay, &options, &mut Except(no), &mut outcome).expect("a check that comes to an end");
    let mut bytes = image.bytes().to_vec();
    ext4_blockdev::BlockDevice::read_at(&*overlay, 0, &mut bytes).unwrap();
    (outcome, Image::new(bytes))
}

/// The problems that were found, in order, each once.
pub(crate) fn ids(outcome: &Outcome) -> Vec<&'static str> {
    let mut ids = Vec::new();
    for finding in &outcome.findings {
        if !ids.contains(&finding.problem.id) {
            ids.push(finding.problem.id);
        }
    }
    ids
}

/// The findings, one a line.
pub(crate) fn told(outcome: &Outcome) -> String {
    let lines = outcome.findings.iter().map(|it| format!("\n{it} [{}]", it.problem.id));
    lines.collect::<Vec<_>>().concat()
}

/// Checks that the damage is found as `expected` and nothing else of pass 1, that it is mended to an
/// image in which neither we nor e2fsck find anything, and that the number of threads plays no part.
#[track_caller]
pub(crate) fn finds(image: &Image, expected: &[&str]) -> Image {
    let (outcome, mended) = mend(image, 1);
    let of_pass_1: Vec<_> = outcome
        .findings
        .iter()
        .filter(|it| it.problem.pass == ext4_check::Pass::One)
        .map(|it| it.problem.id)
        .collect();
    let mut once = of_pass_1.clone();
    once.dedup();
    assert_eq!(once, expected, "{:#?}", outcome.findings);
    let (again, by_many) = mend(image, 3);
    assert_eq!(ids(&again), ids(&outcome));
    assert!(by_many.bytes() == mended.bytes(), "three threads leave other bytes than one");
    let (rest, _) = mend(&mended, 2);
    assert_eq!(ids(&rest), [""; 0], "{:#?}", rest.findings);
    if !skip_without(&[Need::E2fsck]) {
        assert_clean(&*mended.device()).unwrap();
    }
    mended
}

/// Checks that these problems are among those found, and that all is mended to an image in which neither
/// we nor e2fsck find anything.
#[track_caller]
pub(crate) fn finds_among(image: &Image, expected: &[&str]) -> Image {
    finds_except(&[], image, expected)
}

/// The same, when some are answered with no.
#[track_caller]
pub(crate) fn finds_except(no: &'static [&'static str], image: &Image, expected: &[&str]) -> Image {
    let (outcome, mended) = mend_except(no, image, 1);
    let found = ids(&outcome);
    for id in expected {
        assert!(found.contains(id), "{id} is not among{}", told(&outcome));
    }
    if !skip_without(&[Need::E2fsck]) {
        let judged = assert_clean(&*mended.device());
        assert!(judged.is_ok(), "{judged:?}{}", told(&outcome));
    }
    let (rest, _) = mend(&mended, 2);
    assert_eq!(ids(&rest), [""; 0], "{}", told(&rest));
    mended
}

/// The image with all that is free given to an inode with extents.
pub(crate) fn full(image: &Image, ino: u32) -> Image {
    let geo = Frame::of(image).geo;
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for group in geo.groups() {
        let blocks = geo.group_blocks(group);
        let bitmap = block(image, Frame::of(image).desc(group.0).block_bitmap.0);
        for (nr, blk) in (0..).zip(blocks.iter()) {
            let blk = u32::try_from(blk.0).unwrap();
            match runs.last_mut() {
                _ if bitmap[nr / 8] >> (nr % 8) & 1 == 1 => {}
                Some((start, len)) if *start + *len == blk => *len += 1,
                _ => runs.push((blk, 1)),
            }
        }
    }
    let own = inode(image, ino);
    runs.push((word(&own, 0x3C), u32::from(u16::from_le_bytes([own[0x38], own[0x39]]))));
    assert!(runs.len() <= 4, "they fit into the inode: {runs:?}");
    with_inode(image, ino, |it| {
        set16(it, 0x2A, u16::try_from(runs.len()).unwrap());
        let mut lblk = 0;
        for ((start, len), at) in runs.into_iter().zip((0x34..).step_by(12)) {
            set(it, at, lblk);
            set16(it, at + 4, u16::try_from(len).unwrap());
            set(it, at + 8, start);
            lblk += len;
        }
        set(it, 4, lblk * geo.block_size.bytes());
        set(it, 0x1C, lblk * (geo.block_size.bytes() / 512));
    })
}

/// The frame of an image, for those who change what is in it.
pub(crate) struct Frame {
    pub(crate) sb: Superblock,
    pub(crate) geo: Geometry,
    pub(crate) format: InodeFormat,
    pub(crate) descs: Vec<GroupDesc>,
}

impl Frame {
    pub(crate) fn of(image: &Image) -> Self {
        let (raw, _) = RawSuperblock::read_from_prefix(&image.bytes()[1024..]).unwrap();
        let sb = Superblock::decode(&raw).unwrap();
        let geo = Geometry::new(&sb);
        let desc_format = DescFormat::new(&sb);
        let desc = |group| {
            let (blk, offset) = geo.desc_place(group);
            let at = byte(&geo, blk) + offset;
            GroupDesc::decode(&image.bytes()[at..], group, &desc_format).unwrap()
        };
        let descs = geo.groups().map(desc).collect();
        let format = InodeFormat::new(&sb);
        Self { sb, geo, format, descs }
    }

    pub(crate) fn desc(&self, group: u32) -> &GroupDesc {
        &self.descs[GroupNr(group).0 as usize]
    }

    pub(crate) fn inode_at(&self, ino: InodeNr) -> usize {
        let place = self.geo.inode_place(ino).unwrap();
        let table = self.desc(place.group.0).inode_table;
        byte(&self.geo, table.plus(place.table_block.into())) + place.offset
    }
}

fn byte(geo: &Geometry, blk: BlockNr) -> usize {
    usize::try_from(blk.byte(geo.block_size)).unwrap()
}

fn changed(image: &Image, edit: impl FnOnce(&mut [u8])) -> Image {
    let mut bytes = image.bytes().to_vec();
    edit(&mut bytes);
    Image::new(bytes)
}

/// The image with one inode changed, its checksum right.
pub(crate) fn with_inode(image: &Image, ino: u32, edit: impl FnOnce(&mut [u8])) -> Image {
    let frame = Frame::of(image);
    let ino = InodeNr::new(ino).unwrap();
    let at = frame.inode_at(ino);
    changed(image, |bytes| {
        let inode = &mut bytes[at..at + frame.format.inode_size()];
        edit(inode);
        frame.format.update_checksum(ino, inode);
    })
}

/// The bytes of an inode.
pub(crate) fn inode(image: &Image, ino: u32) -> Vec<u8> {
    let frame = Frame::of(image);
    let at = frame.inode_at(InodeNr::new(ino).unwrap());
    image.bytes()[at..at + frame.format.inode_size()].to_vec()
}

/// The image with one inode changed, its checksum not.
pub(crate) fn with_inode_unsealed(image: &Image, ino: u32, edit: impl FnOnce(&mut [u8])) -> Image {
    let frame = Frame::of(image);
    let at = frame.inode_at(InodeNr::new(ino).unwrap());
    changed(image, |bytes| edit(&mut bytes[at..at + frame.format.inode_size()]))
}

/// The contents of a block.
pub(crate) fn block(image: &Image, blk: u64) -> Vec<u8> {
    let geo = Frame::of(image).geo;
    let at = byte(&geo, BlockNr(blk));
    image.bytes()[at..at + geo.block_size.len()].to_vec()
}

/// The image with one block changed.
pub(crate) fn with_block(image: &Image, blk: u64, edit: impl FnOnce(&mut [u8])) -> Image {
    let geo = Frame::of(image).geo;
    let at = byte(&geo, BlockNr(blk));
    changed(image, |bytes| edit(&mut bytes[at..at + geo.block_size.len()]))
}

/// The image with one node of an inode's extents changed, its checksum right.
pub(crate) fn with_node(image: &Image, ino: u32, blk: u64, edit: impl FnOnce(&mut [u8])) -> Image {
    let frame = Frame::of(image);
    let generation = word(&inode(image, ino), 0x64);
    let seed = frame.format.seed(InodeNr::new(ino).unwrap(), generation);
    with_block(image, blk, |node| {
        edit(node);
        let max = u16::from_le_bytes([node[4], node[5]]);
        if let Some(seed) = seed {
            extent::set_checksum(seed, node, max);
        }
    })
}

/// The image with an attribute block changed, its checksum right.
pub(crate) fn with_attributes(image: &Image, blk: u64, edit: impl FnOnce(&mut [u8])) -> Image {
    let seed = Frame::of(image).sb.metadata_csum();
    with_block(image, blk, |block| {
        edit(block);
        xattr::update_checksum(block, BlockNr(blk), seed);
    })
}

/// The image with its superblock changed, the checksum right.
pub(crate) fn with_superblock(image: &Image, edit: impl FnOnce(&mut RawSuperblock)) -> Image {
    changed(image, |bytes| {
        let (mut raw, _) = RawSuperblock::read_from_prefix(&bytes[1024..]).unwrap();
        edit(&mut raw);
        raw.update_checksum();
        bytes[1024..2048].copy_from_slice(raw.as_bytes());
    })
}

/// The image with the descriptor of a group changed, its checksum right.
pub(crate) fn with_descriptor(
    image: &Image,
    group: u32,
    edit: impl FnOnce(&mut GroupDesc),
) -> Image {
    let frame = Frame::of(image);
    let format = DescFormat::new(&frame.sb);
    let mut desc = *frame.desc(group);
    edit(&mut desc);
    let (blk, offset) = frame.geo.desc_place(GroupNr(group));
    let at = byte(&frame.geo, blk) + offset;
    changed(image, |bytes| desc.encode(&mut bytes[at..], GroupNr(group), &format))
}

/// A word of some bytes.
pub(crate) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Sets a word.
pub(crate) fn set(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Sets a half word.
pub(crate) fn set16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}
