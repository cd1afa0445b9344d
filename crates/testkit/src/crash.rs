//! Crash states: what the medium may hold after a power cut.
//!
//! The model: a flush that returned makes durable what had returned before it was called. Of the
//! writes since, any subset is on the medium, each whole or torn between 512-byte sectors; where
//! two overlap the later one wins. [`epochs`] cuts a trace at its flushes, [`enumerate`] lists the
//! states of one epoch, and [`Epoch::state`] makes one of them a device.

mod plan;

use crate::{image::Image, in_memory, trace::Step, trace::Trace};
use ext4_blockdev::{BlockDevice, Overlay};
pub use plan::{Plan, enumerate, is_decisive};
use std::{
    collections::BTreeMap,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

/// What reaches the medium as one.
pub const SECTOR: usize = 512;

/// A write that reached the medium, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its number among the steps of the trace.
    pub step: usize,
    /// Which of its sectors, counted from 0 at its start; `None` for all.
    pub sectors: Option<Vec<u32>>,
}

impl Kept {
    /// All of a write.
    pub fn whole(step: usize) -> Self {
        Self { step, sectors: None }
    }
}

/// How a state was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The first writes of the epoch, in order.
    Prefix,
    /// One of all subsets.
    Subset,
    /// All but one write, or all but two.
    Drop,
    /// Only one write, or only two.
    Keep,
    /// The first writes and one later one.
    Reordered,
    /// A random subset.
    Random,
    /// All, the last one first.
    Reversed,
    /// One write torn.
    Torn,
    /// A random subset of all sectors.
    Sectors,
    /// A write that decides everything (commit block, superblock), by every mask of its sectors.
    Mask,
}

/// The writes between two flushes, and what was durable before them.
#[derive(Clone)]
pub struct Epoch {
    trace: Arc<Trace>,
    /// The medium with everything durable applied.
    durable: Image,
    /// The hash of `durable` against the image the trace began with.
    hash: u128,
    /// The steps that may or may not be on the medium, in order.
    pub in_flight: Vec<usize>,
    /// The step of the flush that ends it, or the number of steps.
    pub end: usize,
    /// The first step after the flush that began it.
    pub begin: usize,
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoch(steps {}..{}, {} in flight)", self.begin, self.end, self.in_flight.len())
    }
}

/// One crash state.
#[derive(Clone)]
pub struct CrashState {
    trace: Arc<Trace>,
    durable: Image,
    /// The moment of the crash: this many steps had completed.
    pub cut: usize,
    /// How it was chosen.
    pub kind: Kind,
    /// The writes in flight that reached the medium.
    pub kept: Vec<Kept>,
    /// How many writes were in flight.
    pub window: usize,
    /// Names the bytes of the medium: equal for equal bytes.
    pub hash: u128,
}

impl fmt::Debug for CrashState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "crash at step {}, {:?}, of {} in flight kept",
            self.cut, self.kind, self.window
        )?;
        for (i, kept) in self.kept.iter().enumerate() {
            write!(f, "{}{}", if i == 0 { " " } else { "," }, kept.step)?;
            if let Some(sectors) = &kept.sectors {
                write!(f, "{sectors:?}")?;
            }
        }
        Ok(())
    }
}

/// Cuts a trace into epochs, applying what is durable to `base` as it goes.
pub fn epochs(base: &Image, trace: &Arc<Trace>) -> impl Iterator<Item = Epoch> + use<> {
    epochs_from(base, 0, trace)
}

/// The same for an image that has a hash already, being a crash state itself.
pub(crate) fn epochs_from(
    base: &Image,
    hash: u128,
    trace: &Arc<Trace>,
) -> impl Iterator<Item = Epoch> + use<> {
    let mut bounds = Vec::new();
    let (mut covered, mut begin) = (0, 0);
    for (i, step) in trace.steps.iter().enumerate() {
        if let Step::Flush { covers } = step {
            bounds.push((covered, begin, i));
            covered = covered.max(*covers);
            begin = i + 1;
        }
    }
    bounds.push((covered, begin, trace.steps.len()));
    let trace = Arc::clone(trace);
    let mut current = Current { bytes: Arc::clone(base.bytes()), hash, applied: 0 };
    bounds.into_iter().map(move |(covered, begin, end)| {
        current.apply(&trace, covered);
        let in_flight = (covered..trace.steps.len())
            .filter(|&i| match &trace.steps[i] {
                Step::Write { issued, .. } => i < end || *issued <= end,
                _ => false,
            })
            .collect();
        let durable = Image::new(Arc::clone(&current.bytes));
        Epoch { trace: Arc::clone(&trace), durable, hash: current.hash, in_flight, end, begin }
    })
}

/// The durable bytes as the epochs go by.
struct Current {
    bytes: Arc<[u8]>,
    hash: u128,
    applied: usize,
}

impl Current {
    fn apply(&mut self, trace: &Trace, covered: usize) {
        let new = &trace.steps[self.applied.min(covered)..covered];
        if new.iter().any(|it| matches!(it, Step::Write { .. })) {
            let mut bytes = self.bytes.to_vec();
            for step in new {
                if let Step::Write { offset, data, .. } = step {
                    let mut sectors = BTreeMap::new();
                    overlay(&mut sectors, &bytes, *offset, data, None);
                    self.hash ^= change(&bytes, &sectors);
                    let at = in_memory(*offset);
                    bytes[at..at + data.len()].copy_from_slice(data);
                }
            }
            self.bytes = bytes.into();
        }
        self.applied = self.applied.max(covered);
    }
}

/// Puts (some sectors of) a write over what is there. Sectors count from the write's start; those
/// of the device are cut where the write begins or ends inside one.
fn overlay(
    sectors: &mut BTreeMap<u64, [u8; SECTOR]>,
    below: &[u8],
    offset: u64,
    data: &[u8],
    keep: Option<&[u32]>,
) {
    for (i, piece) in data.chunks(SECTOR).enumerate() {
        if keep.is_some_and(|it| !it.iter().any(|&nr| nr as usize == i)) {
            continue;
        }
        let mut at = offset + (i * SECTOR) as u64;
        let mut piece = piece;
        while !piece.is_empty() {
            let (nr, within) = (at / SECTOR as u64, in_memory(at % SECTOR as u64));
            let n = piece.len().min(SECTOR - within);
            let sector = sectors.entry(nr).or_insert_with(|| sector_of(below, nr));
            sector[within..within + n].copy_from_slice(&piece[..n]);
            piece = &piece[n..];
            at += n as u64;
        }
    }
}

fn sector_of(bytes: &[u8], nr: u64) -> [u8; SECTOR] {
    let mut sector = [0; SECTOR];
    let start = usize::try_from(nr).map_or(usize::MAX, |it| it.saturating_mul(SECTOR));
    let rest = bytes.get(start..).unwrap_or_default();
    let n = rest.len().min(SECTOR);
    sector[..n].copy_from_slice(&rest[..n]);
    sector
}

/// What the exclusive or of all sector hashes changes by when `sectors` replace those of `bytes`.
fn change(bytes: &[u8], sectors: &BTreeMap<u64, [u8; SECTOR]>) -> u128 {
    let changes = sectors.iter().map(|(&nr, new)| {
        let old = sector_of(bytes, nr);
        if old == *new { 0 } else { sector_hash(nr, &old) ^ sector_hash(nr, new) }
    });
    changes.fold(0, |all, it| all ^ it)
}

/// A 128-bit name for a sector with this number and content.
fn sector_hash(nr: u64, content: &[u8; SECTOR]) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, nr).hash(&mut hasher);
        hasher.write(content);
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}

impl Epoch {
    /// The medium with these writes on it, for a crash when `cut` steps had completed.
    pub fn state(&self, kind: Kind, cut: usize, kept: Vec<Kept>) -> CrashState {
        let sectors = sectors(&self.trace, &self.durable, &kept);
        CrashState {
            hash: self.hash ^ change(self.durable.bytes(), &sectors),
            trace: Arc::clone(&self.trace),
            durable: self.durable.clone(),
            window: self.in_flight.len(),
            cut,
            kind,
            kept,
        }
    }

    /// The number of marks before a crash at `cut`.
    fn n_marks(&self, cut: usize) -> usize {
        self.trace.marks(cut).count()
    }

    fn write(&self, step: usize) -> (u64, &[u8]) {
        match &self.trace.steps[step] {
            Step::Write { offset, data, .. } => (*offset, data),
            _ => (0, &[]),
        }
    }

    /// The moments at which just these writes may be on the medium and the marks differ: the
    /// earliest (fewest promises taken back) and the latest (most made).
    fn cuts(&self, kept: &[Kept]) -> Vec<usize> {
        let issued = kept.iter().map(|it| match &self.trace.steps[it.step] {
            Step::Write { issued, .. } => *issued,
            _ => 0,
        });
        let first = issued.max().unwrap_or(0).max(self.begin).min(self.end);
        let is_same = self.n_marks(first) == self.n_marks(self.end);
        if is_same { vec![self.end] } else { vec![first, self.end] }
    }
}

fn sectors(trace: &Trace, durable: &Image, kept: &[Kept]) -> BTreeMap<u64, [u8; SECTOR]> {
    let mut sectors = BTreeMap::new();
    for it in kept {
        if let Some(Step::Write { offset, data, .. }) = trace.steps.get(it.step) {
            overlay(&mut sectors, durable.bytes(), *offset, data, it.sectors.as_deref());
        }
    }
    sectors
}

impl CrashState {
    /// A state given by what is durable (the writes up to and including step `flushed`) and what
    /// of the later writes before step `upto` was kept; `None` keeps all.
    pub fn build(
        base: &Image,
        trace: &Arc<Trace>,
        upto: usize,
        flushed: Option<usize>,
        kept: Option<Vec<Kept>>,
    ) -> Self {
        let n_durable = flushed.map_or(0, |it| it + 1).min(trace.steps.len());
        let mut current = Current { bytes: Arc::clone(base.bytes()), hash: 0, applied: 0 };
        current.apply(trace, n_durable);
        let in_flight: Vec<usize> = (n_durable..upto.min(trace.steps.len()))
            .filter(|&i| matches!(trace.steps[i], Step::Write { .. }))
            .collect();
        let kept = kept.unwrap_or_else(|| in_flight.iter().copied().map(Kept::whole).collect());
        let epoch = Epoch {
            trace: Arc::clone(trace),
            durable: Image::new(current.bytes),
            hash: current.hash,
            in_flight,
            end: upto,
            begin: n_durable,
        };
        epoch.state(Kind::Random, upto, kept)
    }

    /// A device with this content; what is written to it stays in it.
    pub fn device(&self) -> Arc<Overlay> {
        let device = self.durable.overlay();
        for (nr, sector) in sectors(&self.trace, &self.durable, &self.kept) {
            let at = nr * SECTOR as u64;
            let n =
                usize::try_from(device.len().saturating_sub(at)).map_or(SECTOR, |n| n.min(SECTOR));
            device.write_at(at, &sector[..n]).expect("an overlay in memory takes all writes");
        }
        device
    }

    /// Its bytes.
    pub fn image(&self) -> Image {
        let mut bytes = self.durable.bytes().to_vec();
        for (nr, sector) in sectors(&self.trace, &self.durable, &self.kept) {
            let at = in_memory(nr) * SECTOR;
            let n = SECTOR.min(bytes.len() - at);
            bytes[at..at + n].copy_from_slice(&sector[..n]);
        }
        Image::new(bytes)
    }

    /// The marks that were made before the crash.
    pub fn marks(&self) -> impl Iterator<Item = &str> {
        self.trace.marks(self.cut)
    }

    /// The same crash with fewer or other writes kept.
    #[must_use]
    pub fn with_kept(&self, kept: Vec<Kept>) -> Self {
        let old = sectors(&self.trace, &self.durable, &self.kept);
        let new = sectors(&self.trace, &self.durable, &kept);
        let bytes = self.durable.bytes();
        let hash = self.hash ^ change(bytes, &old) ^ change(bytes, &new);
        Self { kept, hash, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, ops::ControlFlow};

    fn states(trace: Trace, plan: &Plan) -> Vec<CrashState> {
        let base = Image::new(vec![0; 8192]);
        let mut all = Vec::new();
        for epoch in epochs(&base, &Arc::new(trace)) {
            let go_on = enumerate(&epoch, plan, &mut |it| {
                all.push(it);
                ControlFlow::Continue(())
            });
            assert!(go_on.is_continue());
        }
        all
    }

    fn three_writes() -> Trace {
        let mut trace = Trace::new();
        trace.write(0, vec![1; 512]);
        trace.write(512, vec![2; 1024]);
        trace.flush();
        trace.write(1024, vec![3; 512]);
        trace
    }

    #[test]
    fn all_subsets_of_a_window_appear_and_a_flush_is_never_undone() {
        let states = states(three_writes(), &Plan::default().untorn());
        let firsts: BTreeSet<[u8; 3]> = states
            .iter()
            .map(|it| {
                let image = it.image();
                [0, 512, 1024].map(|at| image.bytes()[at])
            })
            .collect();
        let expected = [[0, 0, 0], [1, 0, 0], [0, 2, 2], [1, 2, 2], [1, 2, 3]];
        assert_eq!(firsts, expected.into());
    }

    #[test]
    fn equal_bytes_have_equal_hashes_and_only_they() {
        let states = states(three_writes(), &Plan::default());
        let mut seen = BTreeMap::new();
        for state in &states {
            let bytes = state.image().bytes().to_vec();
            assert_eq!(*seen.entry(state.hash).or_insert_with(|| bytes.clone()), bytes);
            let mut of_device = vec![0; bytes.len()];
            state.device().read_at(0, &mut of_device).unwrap();
            assert!(of_device == bytes);
        }
        let contents: BTreeSet<_> = seen.values().collect();
        assert_eq!(contents.len(), seen.len());
        // Untorn: 4 + 1. Torn: sector 1 or 2 of the middle write, each with and without the first.
        assert_eq!(seen.len(), 9);
    }

    #[test]
    fn a_queued_write_may_be_there_before_it_returned() {
        let mut trace = Trace::new();
        trace.flush();
        trace.mark("between");
        trace.steps.push(Step::Write { issued: 0, offset: 0, data: vec![9; 512].into() });
        let states = states(trace, &Plan::default());
        let early = states.iter().filter(|it| it.cut == 0);
        assert!(early.into_iter().any(|it| it.image().bytes()[0] == 9));
    }

    #[test]
    fn a_state_is_judged_before_and_after_a_promise() {
        let mut trace = Trace::new();
        trace.write(0, vec![1; 512]);
        trace.mark("acknowledged");
        let states = states(trace, &Plan::default());
        let lost = states.iter().filter(|it| it.kept.is_empty());
        let marks: BTreeSet<usize> = lost.map(|it| it.marks().count()).collect();
        assert_eq!(marks, [0, 1].into());
    }
}
