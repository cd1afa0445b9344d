//! Which blocks of a file hold data, and where they go: holes stay holes, and within a cluster a
//! block keeps its place.

use crate::mapping::Segment;
use ext4_units::{BlockNr, BlockRange, BlockSize};
use std::ops::Range;

/// The logical blocks that hold bytes of `data`, which is in order; runs that touch become one.
/// Files are smaller than 2^32 blocks: the caller has checked their size.
pub(crate) fn blocks_of(data: &[Range<u64>], size: BlockSize) -> Vec<Range<u32>> {
    let block = |byte: u64| u32::try_from(byte >> size.bits()).unwrap_or(u32::MAX);
    let mut blocks: Vec<Range<u32>> = Vec::with_capacity(data.len());
    for part in data.iter().filter(|it| !it.is_empty()) {
        let (from, to) = (block(part.start), block(part.end - 1).saturating_add(1));
        match blocks.last_mut() {
            Some(last) if last.end >= from => last.end = to,
            _ => blocks.push(from..to),
        }
    }
    blocks
}

/// The logical clusters that the blocks lie in, of `ratio` blocks each.
fn clusters_of(blocks: &[Range<u32>], ratio: u64) -> Vec<Range<u64>> {
    let mut clusters: Vec<Range<u64>> = Vec::with_capacity(blocks.len());
    for run in blocks {
        let (from, to) = (u64::from(run.start) / ratio, u64::from(run.end).div_ceil(ratio));
        match clusters.last_mut() {
            Some(last) if last.end >= from => last.end = to,
            _ => clusters.push(from..to),
        }
    }
    clusters
}

/// How many blocks have to be taken for these, in whole clusters.
pub(crate) fn space_for(blocks: &[Range<u32>], ratio: u64) -> u64 {
    clusters_of(blocks, ratio).iter().map(|it| it.end - it.start).sum::<u64>() * ratio
}

/// Puts `blocks` into `runs`, whole clusters and as many as [`space_for`] says, and appends what
/// comes of it to `to`.
pub(crate) fn lay(blocks: &[Range<u32>], ratio: u64, runs: &[BlockRange], to: &mut Vec<Segment>) {
    let mut runs = runs.iter().copied();
    let mut run = BlockRange::default();
    let mut rest = blocks.iter().cloned();
    let mut data = rest.next();
    for clusters in clusters_of(blocks, ratio) {
        let mut at = clusters.start * ratio;
        let end = clusters.end * ratio;
        while at < end {
            if run.len == 0 {
                run = runs.next().expect("as many blocks as space_for counted");
            }
            let n = run.len.min(end - at);
            // The blocks with data among these.
            while let Some(part) = data.clone().filter(|it| u64::from(it.start) < at + n) {
                let stop = u64::from(part.end).min(at + n);
                let start = run.start.plus(u64::from(part.start) - at);
                let len = stop - u64::from(part.start);
                to.push(Segment { lblk: part.start, blocks: BlockRange::new(start, len) });
                // No more than `part.end`, which has 32 bits.
                let stop = u32::try_from(stop).unwrap_or(part.end);
                data = if stop < part.end { Some(stop..part.end) } else { rest.next() };
            }
            at += n;
            run = BlockRange::new(run.start.plus(n), run.len - n);
        }
    }
}

/// Segments that hold nothing yet, to count the blocks of a map over them.
pub(crate) fn not_placed(blocks: &[Range<u32>]) -> Vec<Segment> {
    let at = BlockNr(0);
    let segment = |it: &Range<u32>| Segment {
        lblk: it.start,
        blocks: BlockRange::new(at, u64::from(it.end - it.start)),
    };
    blocks.iter().map(segment).collect()
}

/// Blocks in the clusters that a file's segments lie in.
pub(crate) fn blocks_taken(segments: &[Segment], ratio: u64) -> u64 {
    let mut clusters = 0;
    let mut last = None;
    for run in segments.iter().map(|it| it.blocks).filter(|it| it.len > 0) {
        let (from, to) = (run.start.0 / ratio, (run.end().0 - 1) / ratio);
        clusters += to - from + u64::from(last != Some(from));
        last = Some(to);
    }
    clusters * ratio
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(lblk: u32, start: u64, len: u64) -> Segment {
        Segment { lblk, blocks: BlockRange::new(BlockNr(start), len) }
    }

    fn laid(blocks: &[Range<u32>], ratio: u64, runs: &[(u64, u64)]) -> Vec<Segment> {
        let runs: Vec<_> =
            runs.iter().map(|&(start, len)| BlockRange::new(BlockNr(start), len)).collect();
        let mut segments = Vec::new();
        lay(blocks, ratio, &runs, &mut segments);
        segments
    }

    #[test]
    fn a_block_with_one_byte_of_data_is_data() {
        let size = BlockSize::MIN;
        assert_eq!(blocks_of(&[0..1, 1500..1501, 1600..2048, 9000..9001], size), [0..2, 8..9]);
        assert_eq!(blocks_of(&[], size), []);
    }

    #[test]
    fn holes_stay_holes_and_runs_are_cut_where_they_end() {
        let blocks = [0..3, 10..14];
        assert_eq!(space_for(&blocks, 1), 7);
        assert_eq!(
            laid(&blocks, 1, &[(100, 5), (200, 2)]),
            [segment(0, 100, 3), segment(10, 103, 2), segment(12, 200, 2)]
        );
    }

    #[test]
    fn blocks_keep_their_place_in_a_cluster() {
        let blocks = [1..2, 3..4, 40..50];
        assert_eq!(space_for(&blocks, 16), 48);
        let segments = laid(&blocks, 16, &[(160, 32), (320, 16)]);
        assert_eq!(
            segments,
            [segment(1, 161, 1), segment(3, 163, 1), segment(40, 184, 8), segment(48, 320, 2)]
        );
        assert_eq!(blocks_taken(&segments, 16), 48);
        assert_eq!(blocks_taken(&segments, 1), 12);
    }
}
