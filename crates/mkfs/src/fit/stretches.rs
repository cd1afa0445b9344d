//! Sizes over which no default changes: between them room jumps back.

use super::frames::Frames;
use crate::{error::Result, journal, options::Options, usage};
use ext4_units::BlockSize;
use std::ops::Range;

/// Sizes of one usage type.
pub(super) struct Class {
    pub(super) block_size: BlockSize,
    bytes: Range<u64>,
}

/// Sizes in units, from one on and below another.
pub(super) struct Stretch {
    pub(super) from: u64,
    pub(super) to: u64,
}

/// No filesystem that is looked for is larger.
pub(super) const LARGEST: u64 = 64 << 40;
/// Blocks from which on the orphan file has another length by default.
const ORPHAN_FILE_STEPS: [u64; 2] = [131_072, 2 << 20];

/// The usage types by size, or all sizes as one when types were asked for by name.
pub(super) fn classes(options: &Options) -> Result<Vec<Class>> {
    let typed = options.block_size.or(options.journal_device.map(|it| it.block_size));
    let class = |names: &[String], bytes| {
        let (by_usage, _) = usage::named(names)?;
        let by_usage = BlockSize::from_bytes(by_usage).unwrap_or(BlockSize::MIN);
        Ok(Class { block_size: typed.unwrap_or(by_usage), bytes })
    };
    if !options.usage.is_empty() {
        return Ok(vec![class(&options.usage, 0..LARGEST)?]);
    }
    let ends = usage::SIZES.iter().copied().chain([LARGEST]);
    let starts = [0].into_iter().chain(usage::SIZES);
    starts.zip(ends).map(|(from, to)| class(&[usage::of_size(from).to_owned()], from..to)).collect()
}

/// The stretches of a class, from the smallest size of more than `above` bytes on.
pub(super) fn stretches(class: &Class, frames: &Frames, above: u64) -> Vec<Stretch> {
    let unit = frames.block_len * frames.blocks_per_unit;
    let (from, to) = (class.bytes.start.div_ceil(unit), class.bytes.end.div_ceil(unit));
    let journal = journal::STEPS.iter().filter(|_| frames.has_default_journal);
    let orphan_file = ORPHAN_FILE_STEPS.iter().filter(|_| frames.has_default_orphan_file);
    let mut steps: Vec<u64> = journal
        .chain(orphan_file)
        .map(|blocks| blocks.div_ceil(frames.blocks_per_unit))
        .filter(|it| (from + 1..to).contains(it))
        .chain([to])
        .collect();
    steps.sort_unstable();
    steps.dedup();
    let starts: Vec<_> = [from].into_iter().chain(steps.iter().copied()).collect();
    let least = above / unit + 1;
    let stretches = starts.into_iter().zip(steps);
    let stretches = stretches.map(|(from, to)| Stretch { from: from.max(least), to });
    stretches.filter(|it| it.from < it.to).collect()
}
