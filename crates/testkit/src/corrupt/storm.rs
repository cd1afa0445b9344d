//! Random damage, each drawn by one seed: flipped bits, odd bytes and words, zeroes and the like,
//! aimed at every kind of structure; in half of the cases sealed again, so that what is behind the
//! checksums is met too.

use super::{
    Damage,
    fields::{Kind, Structure, all_structures},
    metadata_blocks,
};
use crate::{image::Image, rng::Rng, view::View};
use anyhow::{Context, Result};
use ext4_ondisk::{bitmap, checksum::Csum, superblock::Superblock};
use std::collections::{BTreeMap, BTreeSet};

/// How often each kind is aimed at.
const WEIGHTS: &[(Kind, usize)] = &[
    (Kind::Superblock, 2),
    (Kind::Group, 3),
    (Kind::Bitmap, 3),
    (Kind::Inode, 14),
    (Kind::ExtentNode, 5),
    (Kind::Indirect, 5),
    (Kind::Folder, 10),
    (Kind::Attributes, 3),
    (Kind::Orphans, 1),
    (Kind::Journal, 1),
    (Kind::Other, 3),
];

/// Beginnings of structures are where most fields are.
const HEAD: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hit {
    Bit,
    Byte,
    Word,
    Zeroes,
    Ones,
    Swap,
    Splice,
}

impl Hit {
    const DRAWN: &[Self] = &[
        Self::Bit,
        Self::Bit,
        Self::Bit,
        Self::Byte,
        Self::Byte,
        Self::Word,
        Self::Word,
        Self::Word,
        Self::Zeroes,
        Self::Ones,
        Self::Swap,
        Self::Splice,
        Self::Splice,
    ];

    /// How many of them make one damage.
    fn times(self, rng: &mut Rng) -> usize {
        match self {
            Self::Bit | Self::Byte | Self::Word => *rng.pick(&[1, 1, 1, 2, 4, 16]),
            _ => *rng.pick(&[1, 1, 2]),
        }
    }
}

/// A block of bits, and where its checksum is kept.
#[derive(Clone, Copy, Debug)]
struct BitmapSum {
    group: usize,
    /// Offsets of both halves in the descriptor.
    halves: [usize; 2],
    n_bits: u32,
    seed: Csum,
}

/// An image to be damaged over and over.
#[derive(Clone, Debug)]
pub struct Storm {
    image: Image,
    targets: Vec<Structure>,
    /// Numbers of targets by kind.
    by_kind: BTreeMap<Kind, Vec<usize>>,
    /// Of those targets that are bitmaps with a checksum.
    sums: BTreeMap<usize, BitmapSum>,
    n_blocks: u64,
}

impl Storm {
    /// Finds the structures of a sound image.
    ///
    /// # Errors
    /// When it is none.
    pub fn new(image: &Image) -> Result<Self> {
        let view = View::new(image)?;
        let mut targets = all_structures(image)?;
        let sums = bitmaps(&view, &mut targets)?;
        others(&view, &mut targets)?;
        let mut by_kind: BTreeMap<Kind, Vec<usize>> = BTreeMap::new();
        for (nr, it) in targets.iter().enumerate() {
            by_kind.entry(it.kind).or_default().push(nr);
        }
        let n_blocks = view.n_blocks;
        Ok(Self { image: image.clone(), targets, by_kind, sums, n_blocks })
    }

    /// The damage of this seed.
    pub fn damage(&self, seed: u64) -> Damage {
        let mut rng = Rng::new(seed);
        let mut bytes = self.image.bytes().to_vec();
        let hit = *rng.pick(Hit::DRAWN);
        let is_sealed = rng.percent(50);
        let mut names = Vec::new();
        let mut hits = BTreeSet::new();
        for _ in 0..hit.times(&mut rng) {
            let nr = self.draw(&mut rng);
            let other = self.draw(&mut rng);
            names.push(self.strike(&mut bytes, hit, nr, other, &mut rng));
            hits.insert((self.targets[nr].kind, nr));
            if hit == Hit::Swap {
                hits.insert((self.targets[other].kind, other));
            }
        }
        if is_sealed {
            // Bitmaps first: what they are sealed by is in the descriptors.
            while let Some((_, nr)) = hits.pop_first() {
                let group = self.seal(&mut bytes, nr);
                hits.extend(group.map(|it| (Kind::Group, it)));
            }
        }
        let sealed = if is_sealed { ", sealed" } else { "" };
        Damage::of(
            format!("{hit:?}: {}{sealed}", names.join("; ")),
            difference(self.image.bytes(), &bytes),
        )
    }

    /// The image with it.
    ///
    /// # Errors
    /// When the damage is another image's.
    pub fn damaged(&self, damage: &Damage) -> Result<Image> {
        damage.apply(&self.image)
    }

    fn draw(&self, rng: &mut Rng) -> usize {
        let there = || WEIGHTS.iter().filter(|(kind, _)| self.by_kind.contains_key(kind));
        let mut left = rng.below(there().map(|(_, weight)| weight).sum());
        for (kind, weight) in there() {
            if left < *weight {
                return *rng.pick(&self.by_kind[kind]);
            }
            left -= weight;
        }
        0
    }

    /// Damages one target; says how.
    fn strike(&self, bytes: &mut [u8], hit: Hit, nr: usize, other: usize, rng: &mut Rng) -> String {
        let (target, source) = (&self.targets[nr], &self.targets[other]);
        let (at, from) = (place(target), place(source));
        let len = target.bytes.len();
        let both = len.min(source.bytes.len());
        let reach = if rng.percent(50) { len.min(HEAD) } else { len };
        let offset = rng.below(reach);
        let what = match hit {
            Hit::Bit => {
                let bit = rng.below(8);
                bytes[at + offset] ^= 1 << bit;
                format!("+{offset:#x} bit {bit}")
            }
            Hit::Byte => {
                let any = rng.next_u64().to_le_bytes()[0];
                let byte = *rng.pick(&[0, 0xFF, 1, 0x7F, 0x80, any]);
                bytes[at + offset] = byte;
                format!("+{offset:#x} = {byte:#x}")
            }
            Hit::Word => {
                let offset = offset & !3;
                let word = self.word(rng);
                let n = (len - offset).min(4);
                bytes[at + offset..at + offset + n].copy_from_slice(&word.to_le_bytes()[..n]);
                format!("+{offset:#x} = {word:#x}")
            }
            Hit::Zeroes | Hit::Ones => {
                bytes[at..at + len].fill(if hit == Hit::Ones { 0xFF } else { 0 });
                "all".to_owned()
            }
            Hit::Swap => {
                let kept = bytes[at..at + both].to_vec();
                bytes.copy_within(from..from + both, at);
                // Two that overlap are not quite swapped, which is damage too.
                bytes[from..from + both].copy_from_slice(&kept);
                format!("with {}", source.name)
            }
            Hit::Splice => {
                let start = rng.below(both) & !3;
                bytes.copy_within(from + start..from + both, at + start);
                format!("+{start:#x} from {}", source.name)
            }
        };
        format!("{} {what}", target.name)
    }

    /// A number that means something, mostly.
    fn word(&self, rng: &mut Rng) -> u32 {
        let block = u32::try_from(rng.next_u64() % self.n_blocks).unwrap_or(u32::MAX);
        let any = (rng.next_u64() >> 32) as u32;
        let small = any % 1024;
        *rng.pick(&[0, 1, u32::MAX, u32::MAX >> 1, any, block, block, small])
    }

    /// Makes the checksum of a target right; the descriptor that changed with it.
    fn seal(&self, bytes: &mut [u8], nr: usize) -> Option<usize> {
        let target = &self.targets[nr];
        let range = place(target)..place(target) + target.bytes.len();
        let Some(it) = self.sums.get(&nr) else {
            target.reseal(&mut bytes[range]);
            return None;
        };
        let sum = bitmap::checksum(it.seed, &bytes[range], it.n_bits).to_le_bytes();
        let group = self.by_kind[&Kind::Group][it.group];
        let desc = &self.targets[group];
        for (half, at) in sum.chunks(2).zip(it.halves) {
            if at + 2 <= desc.bytes.len() {
                bytes[place(desc) + at..][..2].copy_from_slice(half);
            }
        }
        Some(group)
    }
}

fn place(it: &Structure) -> usize {
    crate::in_memory(it.at)
}

/// Adds the bitmaps.
fn bitmaps(view: &View<'_>, targets: &mut Vec<Structure>) -> Result<BTreeMap<usize, BitmapSum>> {
    let sb = Superblock::decode(&view.sb)?;
    let mut sums = BTreeMap::new();
    for (group, it) in view.groups.iter().enumerate() {
        let kinds = [
            ("block", it.block_bitmap, [0x18, 0x38], view.sb.s_clusters_per_group.get()),
            ("inode", it.inode_bitmap, [0x1A, 0x3A], view.sb.s_inodes_per_group.get()),
        ];
        for (kind, blk, halves, n_bits) in kinds {
            if view.has_checksums() {
                let seed = sb.csum_seed;
                sums.insert(targets.len(), BitmapSum { group, halves, n_bits, seed });
            }
            let name = format!("group {group}, {kind} bitmap {blk}");
            targets.push(Structure::block(name, view, blk, Kind::Bitmap)?);
        }
    }
    Ok(sums)
}

/// Adds some blocks that hold no structure.
fn others(view: &View<'_>, targets: &mut Vec<Structure>) -> Result<()> {
    const SOME: u64 = 256;
    let known = metadata_blocks(view)?;
    let step = usize::try_from((view.n_blocks / SOME).max(1)).context("a step")?;
    for blk in (1..view.n_blocks).step_by(step).filter(|it| !known.contains(it)) {
        targets.push(Structure::block(format!("block {blk}"), view, blk, Kind::Other)?);
    }
    Ok(())
}

/// What has to be written over `old` to make it `new`.
fn difference(old: &[u8], new: &[u8]) -> Vec<(u64, Vec<u8>)> {
    const STEP: usize = 512;
    let pieces = old.chunks(STEP).zip(new.chunks(STEP)).zip((0..).step_by(STEP));
    pieces.filter(|((a, b), _)| a != b).map(|((_, b), at)| (at, b.to_vec())).collect()
}
