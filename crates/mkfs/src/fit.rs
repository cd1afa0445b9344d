//! The right size: the smallest filesystem that holds its files, or that leaves so much room.
//!
//! Found by planning alone. What the files take is measured once, in a filesystem with room to
//! spare; from then on empty frames, which are planned quickly, tell how large it must be, and a few
//! whole plans make sure of it. Never looks at a device.

mod estimate;
mod frames;
mod stretches;

use crate::{
    error::{Error, Result},
    options::Options,
    plan::{Plan, plan_for},
    populate::Order,
    settings::Files,
};
use estimate::estimate;
use ext4_units::BlockSize;
use frames::Frames;
use stretches::{LARGEST, Stretch, classes, stretches};

/// What size is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// The smallest that holds everything. Where neither a count nor a ratio of inodes was asked
    /// for, there are no more than the files take, rounded up as the format does.
    Min,
    /// The smallest that leaves so many bytes for ordinary users, as `df` shows them: free blocks
    /// less those reserved for root and those that the kernel keeps for itself.
    Free(u64),
}

/// A filesystem of the right size.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// The options with size and inodes settled: [`plan`](crate::plan()) of these is `plan`.
    pub options: Options,
    /// The plan.
    pub plan: Plan,
}

/// Finds the smallest size for `options`, whose own size does not matter. One block less (one
/// cluster, with bigalloc) would not do.
///
/// Choices that go with the size are those of the size found: block size and inode ratio by usage
/// type; the journal, which there is none of below 2048 blocks.
///
/// # Errors
/// As [`plan`](crate::plan()), when no size at all would do.
pub fn fit(options: &Options, room: Room) -> Result<Fitted> {
    let order = options.tree.as_deref().map(Order::new).transpose()?;
    let files = order.as_ref().map_or(Files::Inodes(0), Files::Tree);
    search(options, files, &Goal { room, has_just_inodes: room == Room::Min, above: 0 })
}

/// The error of a plan for `len` bytes with the bytes that would be enough, where too few were the
/// reason.
pub(crate) fn with_least(error: Error, options: &Options, files: Files<'_>, len: u64) -> Error {
    let (found, what) = match &error {
        Error::TooSmall { found, what, .. } => (*found, what.clone()),
        Error::NoRoom { what, blocks } => {
            (len, format!("no room for {what}, which takes {blocks} blocks"))
        }
        _ => return error,
    };
    let goal = Goal { room: Room::Min, has_just_inodes: false, above: len };
    match search(options, files, &goal) {
        Ok(fitted) => {
            let expected = fitted.plan.len();
            // Without a size whole pages of the device count.
            let unit = if options.size.is_none() { 4096 } else { 1 };
            Error::TooSmall { found, expected: expected.next_multiple_of(unit), what }
        }
        Err(_) => error,
    }
}

/// What is searched for.
struct Goal {
    room: Room,
    /// No more inodes than files take, unless others were asked for.
    has_just_inodes: bool,
    /// Only sizes of more bytes.
    above: u64,
}

fn search(options: &Options, files: Files<'_>, goal: &Goal) -> Result<Fitted> {
    if matches!(goal.room, Room::Free(bytes) if bytes >= LARGEST) {
        return Err(beyond(goal.room));
    }
    let mut failed = None;
    let mut search: Option<Search<'_>> = None;
    let mut hopeless: Option<BlockSize> = None;
    for class in classes(options)? {
        if hopeless == Some(class.block_size) {
            continue;
        }
        // Classes with the same block size have the same needs.
        let mut here = match search.take().filter(|it| it.block_size == class.block_size) {
            Some(search) => search,
            None => match Search::new(options, files, goal, class.block_size) {
                Ok(search) => search,
                // A file may be too large for small blocks only.
                Err(error) => {
                    failed = Some(error);
                    hopeless = Some(class.block_size);
                    continue;
                }
            },
        };
        for stretch in stretches(&class, &here.frames, goal.above) {
            if let Some(fitted) = here.in_stretch(&stretch)? {
                return Ok(fitted);
            }
        }
        failed = here.failed.take().or(failed);
        search = Some(here);
    }
    Err(failed.unwrap_or_else(|| beyond(goal.room)))
}

/// No size that is looked at will do.
fn beyond(room: Room) -> Error {
    let (what, expected) = match room {
        Room::Min => ("its files", LARGEST + 1),
        Room::Free(bytes) => ("the room asked for, in the largest filesystem looked for", bytes),
    };
    Error::TooSmall { found: LARGEST, expected, what: what.to_owned() }
}

/// Whether a larger filesystem may not have this error. Options contradict each other by the size,
/// too.
const fn is_of_size(error: &Error) -> bool {
    matches!(error, Error::Options(_) | Error::TooSmall { .. } | Error::NoRoom { .. })
}

/// How often the room is doubled for the filesystem that files are measured in.
const MEASURE_TURNS: u32 = 8;
/// How far the last check goes down block by block.
const LAST_CHECK: u64 = 16;

/// The search with one block size.
struct Search<'a> {
    block_size: BlockSize,
    /// With the tree.
    options: Options,
    files: Files<'a>,
    frames: Frames,
    /// Blocks that the files take where there is room to spare.
    need: i128,
    /// Why the last size failed.
    failed: Option<Error>,
}

/// A size in units for which a whole plan was made.
struct Found {
    units: u64,
    plan: Plan,
}

impl<'a> Search<'a> {
    /// Measures the files.
    fn new(
        options: &Options,
        files: Files<'a>,
        goal: &Goal,
        block_size: BlockSize,
    ) -> Result<Self> {
        let mut len = estimate(options, block_size);
        let mut turn = 0;
        let (ample, roomy) = loop {
            let ample = Options {
                size: Some(len),
                block_size: Some(block_size),
                // As many as it takes; what was asked for is looked at later.
                inode_ratio: None,
                // Which must be more than the size.
                resize_blocks: None,
                ..options.clone()
            };
            match plan_for(&ample, files, len) {
                Ok(plan) => break (ample, plan),
                Err(error) if is_of_size(&error) && turn < MEASURE_TURNS => {
                    turn += 1;
                    len = len.saturating_mul(2);
                }
                Err(error) => return Err(error),
            }
        };
        let n_inodes = roomy.superblock.inodes_count;
        let used = n_inodes - roomy.superblock.free_inodes_count;
        if let Some(found) = options.inodes.filter(|it| *it < used) {
            // Rounded up in very many groups they may be enough; that is not what was asked for.
            return Err(Error::TooFewInodes { found, expected: u64::from(used) });
        }
        let empty = Options { tree: None, ..ample };
        let empty = plan_for(&empty, Files::Inodes(used), len)?;
        let need = i128::from(empty.superblock.free_blocks_count)
            - i128::from(roomy.superblock.free_blocks_count);
        let mut options = options.clone();
        if goal.has_just_inodes && options.inodes.is_none() && options.inode_ratio.is_none() {
            options.inodes = Some(used);
        }
        let frames = Frames::new(&options, goal.room, &roomy, used);
        Ok(Self { block_size, options, files, frames, need, failed: None })
    }

    /// The whole plan for so many units, when it holds and is not cut shorter.
    fn whole(&mut self, units: u64) -> Result<Option<Plan>> {
        let Some(len) = self.frames.bytes(units) else { return Ok(None) };
        match plan_for(&self.settled(len), self.files, len) {
            Ok(plan) => {
                let fits = plan.len() == len && self.frames.room(&plan) >= 0;
                Ok(fits.then_some(plan))
            }
            // By the ratio there are more inodes in a larger one.
            Err(error) if is_of_size(&error) || matches!(error, Error::TooFewInodes { .. }) => {
                self.failed = Some(error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn settled(&self, len: u64) -> Options {
        Options { size: Some(len), ..self.options.clone() }
    }

    /// The smallest size within a stretch, over which nothing jumps.
    ///
    /// A frame tells where so many blocks are free, but near the end of a filesystem files may lie
    /// in more pieces, which take more for their maps than was measured. So the need is searched for
    /// which the whole plan holds, upwards from what was measured.
    fn in_stretch(&mut self, stretch: &Stretch) -> Result<Option<Fitted>> {
        let unit = i128::from(self.frames.blocks_per_unit);
        let mut best: Option<Found> = None;
        // The largest need known to be too little, and the least known to be enough.
        let (mut too_little, mut enough) = (None, None);
        let (mut need, mut step) = (self.need, unit);
        while let Some(units) = self.frames.smallest(need, stretch.from, stretch.to)? {
            let known = best.as_ref().is_some_and(|it| it.units <= units);
            let plan = if known { None } else { self.whole(units)? };
            if let Some(plan) = plan {
                // What is left over was not needed.
                let left = self.frames.room(&plan).max(0) / unit * unit;
                best = Some(Found { units, plan });
                enough = Some(need - left);
                if left > 0 {
                    need -= left;
                    if too_little.is_none_or(|it| need > it) {
                        continue;
                    }
                }
            } else if known {
                enough = Some(need);
            } else {
                too_little = Some(need);
            }
            need = match (too_little, enough) {
                (Some(low), Some(high)) if high - low > unit => {
                    low + (high - low) / (2 * unit) * unit
                }
                (Some(low), None) => {
                    step *= 2;
                    low + step / 2
                }
                _ => break,
            };
        }
        let Some(mut found) = best else { return Ok(None) };
        for _ in 0..LAST_CHECK {
            let below = found.units.checked_sub(1).filter(|it| *it >= stretch.from);
            let Some(units) = below else { break };
            let Some(plan) = self.whole(units)? else { break };
            found = Found { units, plan };
        }
        let options = self.settled(found.plan.len());
        Ok(Some(Fitted { options, plan: found.plan }))
    }
}
