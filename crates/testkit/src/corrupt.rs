//! Damage by name: a field of a structure set to a nasty value, with its checksum made right again
//! or not; blocks zeroed, swapped, doubled; bits flipped; the end cut off.

mod fields;
mod storm;

use crate::{
    image::Image,
    rng::Rng,
    view::{RunKind, View},
};
use anyhow::{Result, ensure};
pub use fields::{Structure, structures};
use std::collections::BTreeSet;
pub use storm::Storm;

/// One way to damage an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Says what it does, such as `inode 12: i_size_lo = 0xffffffff, sealed`.
    pub name: String,
    /// What is written over the image.
    pub patches: Vec<(u64, Vec<u8>)>,
    /// The length to cut the image to.
    pub len: Option<u64>,
}

impl Damage {
    fn of(name: impl Into<String>, patches: Vec<(u64, Vec<u8>)>) -> Self {
        Self { name: name.into(), patches, len: None }
    }

    /// The damaged image.
    pub fn apply(&self, image: &Image) -> Result<Image> {
        let all = image.patched(self.patches.iter().map(|(at, bytes)| (*at, &bytes[..])))?;
        Ok(match self.len.and_then(|it| usize::try_from(it).ok()) {
            Some(len) if len < all.bytes().len() => Image::new(&all.bytes()[..len]),
            _ => all,
        })
    }
}

/// Every field of every structure with every nasty value, sealed and not: some thousands.
pub fn field_damage(image: &Image) -> Result<Vec<Damage>> {
    Ok(structures(image)?.iter().flat_map(Structure::damage).collect())
}

/// `n` of the field damages, drawn by `seed`.
pub fn some_field_damage(image: &Image, n: usize, seed: u64) -> Result<Vec<Damage>> {
    let mut all = field_damage(image)?;
    let mut rng = Rng::new(seed);
    let n = n.min(all.len());
    for i in 0..n {
        let other = i + rng.below(all.len() - i);
        all.swap(i, other);
    }
    all.truncate(n);
    Ok(all)
}

/// Where bits are flipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// Superblock, descriptors, bitmaps, inode tables in use, folders, extent trees, attributes.
    Metadata,
    /// The journal.
    Journal,
    /// The whole image.
    Anywhere,
}

/// Flips `flips` bits, drawn by `seed`. The superblock's magic is left alone, or there would be
/// nothing to test.
pub fn bit_storm(image: &Image, place: Where, flips: usize, seed: u64) -> Result<Damage> {
    let view = View::new(image)?;
    let blocks: Vec<u64> = match place {
        Where::Metadata => metadata_blocks(&view)?.into_iter().collect(),
        Where::Journal => journal_blocks(&view)?,
        Where::Anywhere => (0..view.n_blocks).collect(),
    };
    ensure!(!blocks.is_empty(), "no blocks to damage");
    let mut rng = Rng::new(seed);
    let bs = view.block_size as u64;
    let mut bytes = std::collections::BTreeMap::new();
    while bytes.len() < flips.min(blocks.len() * 64) {
        let at = rng.pick(&blocks) * bs + rng.below(view.block_size) as u64;
        let Some(&old) = usize::try_from(at).ok().and_then(|it| image.bytes().get(it)) else {
            continue;
        };
        if !(1024 + 0x38..1024 + 0x3A).contains(&at) {
            *bytes.entry(at).or_insert(old) ^= 1 << rng.below(8);
        }
    }
    let patches = bytes.into_iter().map(|(at, byte)| (at, vec![byte])).collect();
    Ok(Damage::of(format!("{flips} bits flipped, {place:?}, seed {seed}"), patches))
}

/// `n` metadata blocks zeroed, filled, swapped with another or written over by another, drawn by
/// `seed`; one block for each damage.
pub fn block_damage(image: &Image, n: usize, seed: u64) -> Result<Vec<Damage>> {
    let view = View::new(image)?;
    let blocks: Vec<u64> = metadata_blocks(&view)?.into_iter().collect();
    ensure!(!blocks.is_empty(), "no blocks to damage");
    let mut rng = Rng::new(seed);
    let bs = view.block_size;
    let damage = |_| {
        let (a, b) = (*rng.pick(&blocks), *rng.pick(&blocks));
        let (at, other) = (a * bs as u64, b * bs as u64);
        Ok(match rng.below(4) {
            0 => Damage::of(format!("block {a} zeroed"), vec![(at, vec![0; bs])]),
            1 => Damage::of(format!("block {a} filled with 0xff"), vec![(at, vec![0xFF; bs])]),
            2 => Damage::of(format!("block {a} holds block {b}"), vec![(at, view.block(b)?)]),
            _ => {
                let patches = vec![(at, view.block(b)?), (other, view.block(a)?)];
                Damage::of(format!("blocks {a} and {b} swapped"), patches)
            }
        })
    };
    (0..n).map(damage).collect()
}

/// The image cut short at several places.
pub fn truncations(image: &Image) -> Vec<Damage> {
    let len = image.bytes().len() as u64;
    let cuts =
        [0, 1, 1024, 2047, 2048, 4096, len / 16, len / 2, len - len / 8, len - 4096, len - 1];
    let damage =
        |len| Damage { name: format!("cut to {len} bytes"), patches: vec![], len: Some(len) };
    cuts.into_iter().filter(|it| *it < len).map(damage).collect()
}

/// All blocks that hold metadata in use.
pub fn metadata_blocks(view: &View<'_>) -> Result<BTreeSet<u64>> {
    let mut all = BTreeSet::new();
    let super_block = 1024 / view.block_size as u64;
    all.insert(super_block);
    for (i, group) in view.groups.iter().enumerate() {
        all.extend(view.base_blocks(i));
        all.extend([group.block_bitmap, group.inode_bitmap, group.inode_table]);
    }
    let mut seen = BTreeSet::new();
    view.walk(&mut |_, ino| {
        let node = view.inode(ino)?;
        if seen.insert(ino) {
            all.extend(view.map_blocks(&node)?);
            all.insert(view.inode_block(ino)?);
            all.extend(Some(node.acl_block()).filter(|it| *it != 0));
            if node.file_type() == 0o040_000 {
                let runs = view.runs(&node)?;
                let written = runs.iter().filter(|it| it.kind == RunKind::Written);
                all.extend(written.flat_map(|it| it.start..it.start + it.len));
            }
        }
        Ok(())
    })?;
    Ok(all)
}

/// The blocks of the journal's inode.
pub fn journal_blocks(view: &View<'_>) -> Result<Vec<u64>> {
    let ino = view.sb.s_journal_inum.get();
    if !view.has_compat(4) || ino == 0 {
        return Ok(Vec::new());
    }
    let runs = view.runs(&view.inode(ino)?)?;
    Ok(runs.iter().flat_map(|it| it.start..it.start + it.len).collect())
}
