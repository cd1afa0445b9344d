//! Empty filesystems of every size: how much they leave free.

use super::Room;
use crate::{
    error::{Error, Result},
    options::Options,
    plan::{Plan, plan_for},
    settings::Files,
};
use ext4_ondisk::features::{Compat, Incompat};

/// Frames with one block size. Sizes are in units: blocks, or clusters with bigalloc.
pub(super) struct Frames {
    /// Without the tree.
    options: Options,
    /// Bytes that must be left free for users.
    free: u64,
    /// Whether anything is to be left free at all.
    is_min: bool,
    /// Inodes the files take.
    inodes: u32,
    pub(super) blocks_per_unit: u64,
    pub(super) block_len: u64,
    /// Units in a group, and before the first one.
    group: u64,
    first: u64,
    /// Whether the journal's length goes with the size.
    pub(super) has_default_journal: bool,
    /// Whether the orphan file's length goes with the size.
    pub(super) has_default_orphan_file: bool,
}

/// How far below a size that can be planned another one is looked for.
const NEAR: u64 = 32;

/// What a frame of some size comes to.
enum State {
    /// It cannot be planned.
    Broken,
    /// It has so many blocks more than asked for, or fewer; so many units are left after what was
    /// not worth a group was cut off; whether
    /// descriptors lie with their groups; how many inodes it has.
    Has { surplus: i128, units: u64, is_meta_bg: bool, inodes: u32 },
}

impl Frames {
    /// Of the kind that `roomy` is, which was planned with the tree of `options`, whose files take
    /// so many inodes.
    pub(super) fn new(options: &Options, room: Room, roomy: &Plan, inodes: u32) -> Self {
        let ratio = u64::from(roomy.geometry.cluster_ratio());
        let features = roomy.superblock.features;
        let has_journal = features.has_compat(Compat::HAS_JOURNAL);
        Self {
            options: Options { tree: None, ..options.clone() },
            free: match room {
                Room::Min => 0,
                Room::Free(bytes) => bytes,
            },
            is_min: room == Room::Min,
            inodes,
            blocks_per_unit: ratio,
            block_len: u64::from(roomy.geometry.block_size.bytes()),
            group: u64::from(roomy.geometry.blocks_per_group) / ratio,
            first: roomy.geometry.first_data_block.0,
            has_default_journal: has_journal
                && options.journal.mib.is_none()
                && options.journal_device.is_none(),
            has_default_orphan_file: features.has_compat(Compat::ORPHAN_FILE)
                && options.orphan_file_size.is_none(),
        }
    }

    /// Units in bytes.
    pub(super) fn bytes(&self, units: u64) -> Option<u64> {
        units.checked_mul(self.blocks_per_unit)?.checked_mul(self.block_len)
    }

    /// Free blocks that are more than what must be left; negative when they are fewer.
    pub(super) fn room(&self, plan: &Plan) -> i128 {
        let sb = &plan.superblock;
        let free = i128::from(sb.free_blocks_count);
        if self.is_min {
            return free;
        }
        let kept = sb.r_blocks_count + kernels_own(plan);
        free - i128::from(kept) - i128::from(self.free.div_ceil(self.block_len))
    }

    /// The frame of so many units.
    fn state(&self, need: i128, units: u64) -> Result<State> {
        let Some(len) = self.bytes(units) else { return Ok(State::Broken) };
        let options = Options { size: Some(len), ..self.options.clone() };
        let frame = match plan_for(&options, Files::Inodes(self.inodes), len) {
            Ok(frame) => frame,
            Err(Error::Options(_) | Error::TooSmall { .. } | Error::NoRoom { .. }) => {
                return Ok(State::Broken);
            }
            Err(error) => return Err(error),
        };
        let room = self.room(&frame);
        Ok(State::Has {
            surplus: room - need,
            units: frame.geometry.blocks_count / self.blocks_per_unit,
            is_meta_bg: frame.superblock.features.has_incompat(Incompat::META_BG),
            inodes: frame.superblock.inodes_count,
        })
    }

    /// The smallest size from `from` on and below `to` whose frame leaves `need` blocks.
    pub(super) fn smallest(&self, need: i128, from: u64, to: u64) -> Result<Option<u64>> {
        let Some(first) = self.scan(need, from, to, u64::MAX)? else { return Ok(None) };
        // With another group all inode tables are rounded anew, by less than two blocks each, and
        // their sum may even become less: then what lacked was too much to step by.
        let back = 2 * self.group + 4 * first.div_ceil(self.group);
        self.scan(need, first.saturating_sub(back).max(from), to, self.group)
    }

    /// Steps up by what lacks. One more block makes at most one more free, in as many groups, so
    /// nothing is passed over there; and as a step falls short only by what became overhead on the
    /// way, there are few. No step is longer than to the next multiple of `stride`.
    fn scan(&self, need: i128, from: u64, to: u64, stride: u64) -> Result<Option<u64>> {
        let mut units = from.max(1);
        // The last size that was too small, and whether it had meta_bg.
        let mut before: Option<(u64, bool)> = None;
        while units < to {
            let state = self.state(need, units)?;
            let State::Has { surplus, units: whole, is_meta_bg, inodes } = state else {
                match self.first_sound(units, to)? {
                    Some(next) => units = next,
                    None => return Ok(None),
                }
                continue;
            };
            if let Some((low, had_meta_bg)) = before.take()
                && had_meta_bg != is_meta_bg
            {
                // Reserves in many groups were given up on the way: there room jumped up.
                let jump = |it: &State, _| matches!(it, State::Has { is_meta_bg: has, .. } if *has == is_meta_bg);
                units = self.between(low, units, jump)?.unwrap_or(units);
                continue;
            }
            // The end of its group.
            let end =
                (units.max(self.first) - self.first).next_multiple_of(self.group) + self.first;
            if inodes < self.inodes {
                before = Some((units, is_meta_bg));
                units = match self.with_inodes(units, end.min(to - 1), inodes, whole)? {
                    Some(next) => next,
                    None => return Ok(None),
                };
                continue;
            }
            // Where something was cut off the groups before have as much, unless descriptors lie
            // otherwise without what was cut off.
            if surplus >= 0 && (whole == units || whole >= from && self.is_enough(need, whole)?) {
                return Ok(Some(whole));
            }
            before = Some((units, is_meta_bg));
            let lacking = surplus.min(0).unsigned_abs().div_ceil(u128::from(self.blocks_per_unit));
            let next = whole.saturating_add(u64::try_from(lacking).unwrap_or(u64::MAX));
            let next = next.min(units.saturating_add(1).next_multiple_of(stride));
            if next > units {
                units = next;
                continue;
            }
            // To where this group is worth it, at its end at the latest.
            let is_whole = |it: &State, at| matches!(it, State::Has { units, .. } if *units == at);
            match self.between(units, end.min(to - 1), is_whole)? {
                Some(next) => units = next,
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// A size above `units`, which has too few inodes by the ratio asked for, and none below it has
    /// enough: in the same group, which ends with `end`, the first that has.
    fn with_inodes(&self, units: u64, end: u64, found: u32, whole: u64) -> Result<Option<u64>> {
        let Some(ratio) = self.options.inode_ratio else { return Ok(None) };
        let lacking = u64::from(self.inodes.saturating_sub(found));
        let n_groups = whole.div_ceil(self.group);
        // What a group has is rounded up by less than a block's inodes, and down by less than eight.
        let rounded = n_groups * (self.block_len / 128 + 8);
        if lacking > 2 * rounded {
            let bytes = (lacking - rounded) * u64::from(ratio);
            return Ok(Some(units + (bytes / self.block_len / self.blocks_per_unit).max(1)));
        }
        let has = |it: &State, _| matches!(it, State::Has { inodes, .. } if *inodes >= self.inodes);
        Ok(self.between(units, end, has)?.or(Some(end + 1)))
    }

    fn is_enough(&self, need: i128, at: u64) -> Result<bool> {
        let state = self.state(need, at)?;
        Ok(matches!(
            state,
            State::Has { surplus: 0.., units, inodes, .. } if units == at && inodes >= self.inodes
        ))
    }

    /// The first size behind `from` and below `to` that can be planned.
    fn first_sound(&self, from: u64, to: u64) -> Result<Option<u64>> {
        let is_sound = |it: &State, _| !matches!(it, State::Broken);
        let (mut low, mut step) = (from, 1);
        loop {
            let next = low.saturating_add(step).min(to - 1);
            if next <= low {
                return Ok(None);
            }
            if let Some(found) = self.between(low, next, is_sound)? {
                // Below there may be a few where one block of inodes less makes the difference.
                for units in found.saturating_sub(NEAR).max(from + 1)..found {
                    if is_sound(&self.state(0, units)?, units) {
                        return Ok(Some(units));
                    }
                }
                return Ok(Some(found));
            }
            (low, step) = (next, step.saturating_mul(2));
        }
    }

    /// The first size behind `low`, which is not as wanted, up to `high`, from where on all up to
    /// `high` are; `None` when that is not.
    fn between(
        &self,
        mut low: u64,
        mut high: u64,
        is_wanted: impl Fn(&State, u64) -> bool,
    ) -> Result<Option<u64>> {
        let is_wanted = |units| self.state(0, units).map(|it| is_wanted(&it, units));
        if high <= low || !is_wanted(high)? {
            return Ok(None);
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if is_wanted(middle)? {
                high = middle;
            } else {
                low = middle;
            }
        }
        Ok(Some(high))
    }
}

/// Blocks that the kernel lets nobody have: 2 % and at most 4096 clusters, with extents
/// (`ext4_calculate_resv_clusters`).
fn kernels_own(plan: &Plan) -> u64 {
    if !plan.superblock.features.has_incompat(Incompat::EXTENTS) {
        return 0;
    }
    let bits = plan.geometry.cluster_ratio_bits;
    ((plan.geometry.blocks_count >> bits) / 50).min(4096) << bits
}
