//! What rows say was done, and which contents and sizes that can have come to.

use ext4_lab::{Action, Op, Row, Script, Stamp, Way};
use std::collections::{BTreeMap, BTreeSet};

/// What one operation did to one file.
#[derive(Clone, Debug)]
pub(crate) struct Effect {
    pub(crate) line: usize,
    /// Its first and last step. One that never ended has the last number there is.
    pub(crate) begin: u64,
    pub(crate) end: u64,
    pub(crate) what: What,
    /// It may have done nothing, or a part: it failed, or did not come to its end.
    pub(crate) is_maybe: bool,
}

/// Bytes or sizes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    /// Bytes of a stamp that counts from `base`.
    Write { pos: u64, len: u64, stamp: Stamp, base: u64, appends: bool },
    /// Zeros, and the size.
    Truncate(u64),
    /// Zeros.
    Punch { pos: u64, len: u64 },
    /// At least this size.
    Allocate(u64),
    /// What was done before is durable when it ends.
    Sync,
}

impl What {
    /// The bytes it sets.
    fn range(&self) -> Option<(u64, u64)> {
        match *self {
            Self::Write { pos, len, .. } | Self::Punch { pos, len } => Some((pos, pos + len)),
            Self::Truncate(size) => Some((size, u64::MAX)),
            Self::Allocate(_) | Self::Sync => None,
        }
    }

    fn covers(&self, from: u64, to: u64) -> bool {
        self.range().is_some_and(|(begin, end)| begin <= from && to <= end)
    }

    fn is(&self, at: u64, bytes: &[u8]) -> bool {
        match *self {
            Self::Write { stamp, base, .. } => stamp.is_at(at - base, bytes),
            _ => is_zero(bytes),
        }
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

/// The effects on one file.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) effects: Vec<Effect>,
}

/// The histories of all files after these rows.
pub(crate) fn histories(script: &Script, rows: &[Row]) -> BTreeMap<String, History> {
    let mut all: BTreeMap<String, History> =
        script.files.iter().map(|it| (it.clone(), History::default())).collect();
    for line in &script.lines {
        let Action::Op(op) = &line.action else { continue };
        let mut own = rows.iter().filter(|it| it.line == line.nr);
        let Some(first) = own.next() else { continue };
        let last = rows
            .iter()
            .find(|it| it.line == line.nr && matches!(it.event, "done" | "failed"))
            .filter(|it| it.event != "failed" || !it.what.starts_with("EAGAIN"));
        let failed_clean = rows.iter().any(|it| {
            it.line == line.nr && it.event == "failed" && ["EAGAIN", "EINVAL"].contains(&&*it.what)
        });
        if failed_clean {
            continue;
        }
        let (end, is_maybe) = last.map_or((u64::MAX, true), |it| (it.step, it.event == "failed"));
        let Some(path) = op.path() else {
            if matches!(op, Op::SyncAll) && !is_maybe {
                for history in all.values_mut() {
                    let (begin, what) = (first.step, What::Sync);
                    history.effects.push(Effect { line: line.nr, begin, end, what, is_maybe });
                }
            }
            continue;
        };
        let mut whats = Vec::new();
        match *op {
            Op::Write(ref write) => {
                let stamp = Stamp { file: script.file_nr(path), line: line.nr };
                let appends = write.offset.is_none();
                let rest = rest_of_append(rows, line.nr).filter(|_| appends);
                let pos = match (write.offset, write.way, rest) {
                    (None, Way::Buffered, rest) => rest.map(|it| it.1),
                    (None, ..) => position(rows, line.nr),
                    (offset, ..) => offset,
                };
                // Without a position it never had the lock.
                let Some(pos) = pos else { continue };
                let base = if appends { pos } else { 0 };
                // What direct IO left over goes to the end as it is by then.
                let rest = rest.filter(|_| write.way != Way::Buffered);
                let direct = rest.map_or(write.len, |it| it.0);
                whats.push(What::Write { pos, len: direct, stamp, base, appends });
                if let Some((done, pos)) = rest {
                    let len = write.len - done;
                    whats.push(What::Write { pos, len, stamp, base: pos - done, appends });
                }
            }
            Op::Truncate { size, .. } => whats.push(What::Truncate(size)),
            Op::Punch { offset, len, .. } => whats.push(What::Punch { pos: offset, len }),
            Op::Fallocate { offset, len, keep_size: false, .. } => {
                whats.push(What::Allocate(offset + len));
            }
            Op::Fsync { .. } => whats.push(What::Sync),
            _ => {}
        }
        let history = all.get_mut(path).unwrap();
        for what in whats {
            history.effects.push(Effect { line: line.nr, begin: first.step, end, what, is_maybe });
        }
    }
    all
}

/// Where an appending write went: where it was last checked.
fn position(rows: &[Row], line: usize) -> Option<u64> {
    let rows = rows.iter().filter(|it| it.line == line);
    let after = |text: &str| -> Option<u64> {
        let rest = text.strip_prefix("checked at ")?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    rows.filter_map(|it| after(&it.what)).next_back()
}

/// Of an append that ended the buffered way: the bytes that went directly, and where the rest began.
fn rest_of_append(rows: &[Row], line: usize) -> Option<(u64, u64)> {
    let number = |text: &str| -> Option<u64> { text.split(' ').nth(1)?.parse().ok() };
    let mut direct = 0;
    for row in rows.iter().filter(|it| it.line == line) {
        match row.event {
            "submitted" => direct += number(&row.what)?,
            "buffered" => return Some((direct, row.i_size? - number(&row.what)?)),
            _ => {}
        }
    }
    None
}

impl History {
    /// Bytes where something may change from one to the next: all that lies between two of them
    /// was written by one operation.
    fn cuts(&self, size: u64) -> Vec<(u64, u64)> {
        let mut cuts: BTreeSet<u64> = (0..=size).step_by(512).collect();
        cuts.insert(size);
        for (begin, end) in self.effects.iter().filter_map(|it| it.what.range()) {
            cuts.extend([begin, end].into_iter().filter(|&it| it < size));
        }
        let cuts: Vec<u64> = cuts.into_iter().collect();
        cuts.windows(2).map(|it| (it[0], it[1])).collect()
    }

    /// What in `bytes` no order of the operations explains. `durable_at` is the last step before
    /// which everything synced must be there; with a crash anything older may be there as well.
    pub(crate) fn unexplained(&self, bytes: &[u8], crash: Option<u64>) -> Option<String> {
        for (from, to) in self.cuts(bytes.len() as u64) {
            let piece = &bytes[usize::try_from(from).unwrap()..usize::try_from(to).unwrap()];
            let over: Vec<&Effect> =
                self.effects.iter().filter(|it| it.what.covers(from, to)).collect();
            // What one of these has overwritten for certain is gone.
            let is_gone = |begin_after: u64| {
                over.iter()
                    .any(|it| !it.is_maybe && it.begin > begin_after && self.is_settled(it, crash))
            };
            let is_old = is_zero(piece)
                && (!is_gone(0) || crash.is_some() && self.may_be_zeros(&over, crash));
            let is_one = over.iter().any(|it| it.what.is(from, piece) && !is_gone(it.end));
            if !is_old && !is_one {
                let found = ext4_lab::describe(from, piece);
                let expected: Vec<_> = over
                    .iter()
                    .filter(|it| !is_gone(it.end))
                    .map(|it| format!("line {}", it.line))
                    .collect();
                return Some(format!("bytes {from}..{to}: {found}, expected one of {expected:?}"));
            }
        }
        None
    }

    /// Whether nothing before this effect can come back: without a crash always; with one, if it
    /// was synced before that step.
    fn is_settled(&self, effect: &Effect, crash: Option<u64>) -> bool {
        crash.is_none_or(|crash| {
            self.effects.iter().any(|it| {
                matches!(it.what, What::Sync)
                    && !it.is_maybe
                    && it.end <= crash
                    && it.begin > effect.end
            })
        })
    }

    /// Whether the file was synced by then.
    pub(crate) fn is_synced(&self, crash: u64) -> bool {
        self.effects
            .iter()
            .any(|it| matches!(it.what, What::Sync) && !it.is_maybe && it.end <= crash)
    }

    /// After a crash unsettled writes may show zeros.
    fn may_be_zeros(&self, over: &[&Effect], crash: Option<u64>) -> bool {
        over.iter().any(|it| !self.is_settled(it, crash))
    }

    /// Which sizes a crash after `crash` steps may leave: any that was set on the way, and in the
    /// range of a write any block's end; none below what is settled, unless it is cut again.
    pub(crate) fn has_crash_size(&self, size: u64, block: u64, crash: u64) -> bool {
        let is_cut = self.effects.iter().any(|it| {
            matches!(it.what, What::Truncate(_)) && !self.is_settled_before_others(it, crash)
        });
        let settled =
            self.effects.iter().filter(|it| !it.is_maybe && self.is_settled(it, Some(crash)));
        let least = settled.filter_map(|it| match it.what {
            What::Write { pos, len, .. } if len > 0 => Some(pos + len),
            What::Allocate(end) => Some(end),
            _ => None,
        });
        if !is_cut && size < least.max().unwrap_or(0) {
            return false;
        }
        size == 0
            || self.effects.iter().any(|it| match it.what {
                What::Write { pos, len, .. } => {
                    // Writeback goes to the end of a block, if the file does.
                    let end = (pos + len).next_multiple_of(block);
                    size == pos + len || size.is_multiple_of(block) && size > pos && size <= end
                }
                What::Truncate(to) => size == to,
                What::Allocate(end) => size == end || size.is_multiple_of(block) && size < end,
                What::Punch { .. } | What::Sync => false,
            })
            // The size on disk follows pages, which may end where others' bytes did.
            || self.sizes_on_the_way().contains(&size)
    }

    /// A truncate that is settled cuts nothing that is settled after it; for simplicity any
    /// truncate may.
    fn is_settled_before_others(&self, effect: &Effect, crash: u64) -> bool {
        let begins = |it: &Effect| it.begin > effect.end;
        self.is_settled(effect, Some(crash))
            && self.effects.iter().all(|it| it.is_maybe || begins(it))
    }

    fn sizes_on_the_way(&self) -> BTreeSet<u64> {
        let punched = self.effects.iter().filter_map(|it| it.what.range());
        punched.map(|(_, end)| end).collect()
    }

    /// The sizes that some order of the operations, each in the time it took, can have left.
    pub(crate) fn sizes(&self) -> BTreeSet<u64> {
        let effects: Vec<&Effect> = self
            .effects
            .iter()
            .filter(|it| !matches!(it.what, What::Punch { .. } | What::Sync))
            .collect();
        let mut seen = BTreeSet::new();
        let mut sizes = BTreeSet::new();
        let mut left = vec![(0_u64, 0_u64)];
        while let Some((done, size)) = left.pop() {
            if !seen.insert((done, size)) {
                continue;
            }
            if done.count_ones() as usize == effects.len() {
                sizes.insert(size);
            }
            for (i, effect) in effects.iter().enumerate() {
                let is_done = |nr: usize| done & 1 << nr != 0;
                let must_wait =
                    (0..effects.len()).any(|nr| !is_done(nr) && effects[nr].end < effect.begin);
                if is_done(i) || must_wait {
                    continue;
                }
                if effect.is_maybe {
                    left.push((done | 1 << i, size));
                }
                let after = match effect.what {
                    // Where an append went was the end.
                    What::Write { pos, len, appends: true, .. } if pos != size && len > 0 => {
                        continue;
                    }
                    What::Write { pos, len, .. } if len > 0 => size.max(pos + len),
                    What::Truncate(size) => size,
                    What::Allocate(end) => size.max(end),
                    What::Write { .. } | What::Punch { .. } | What::Sync => size,
                };
                left.push((done | 1 << i, after));
            }
        }
        sizes
    }
}

/// The judge itself: what no order gives must be seen.
#[cfg(test)]
mod tests {
    use super::*;

    fn effect(line: usize, begin: u64, end: u64, what: What) -> Effect {
        Effect { line, begin, end, what, is_maybe: false }
    }

    fn write(line: usize, begin: u64, end: u64, pos: u64, len: u64) -> Effect {
        let stamp = Stamp { file: 1, line };
        effect(line, begin, end, What::Write { pos, len, stamp, base: 0, appends: false })
    }

    fn bytes(line: usize, len: usize) -> Vec<u8> {
        Stamp { file: 1, line }.bytes(0, len)
    }

    #[test]
    fn the_later_of_two_writes_wins_and_either_of_two_at_once() {
        let after = History { effects: vec![write(1, 1, 5, 0, 1024), write(2, 6, 9, 0, 1024)] };
        assert!(after.unexplained(&bytes(1, 1024), None).is_some());
        assert_eq!(after.unexplained(&bytes(2, 1024), None), None);
        let at_once = History { effects: vec![write(1, 1, 7, 0, 1024), write(2, 6, 9, 0, 1024)] };
        assert_eq!(at_once.unexplained(&bytes(1, 1024), None), None);
        assert!(at_once.unexplained(&[0; 1024], None).is_some(), "nobody wrote zeros");
        let torn = [&bytes(1, 256)[..], &bytes(2, 1024)[256..]].concat();
        assert!(at_once.unexplained(&torn, None).is_some(), "a sector is torn");
    }

    #[test]
    fn a_crash_takes_back_what_was_not_synced_and_nothing_else() {
        let effects =
            vec![write(1, 1, 5, 0, 512), effect(2, 6, 8, What::Sync), write(3, 9, 12, 0, 512)];
        let history = History { effects };
        for (crash, line) in [(20, 1), (20, 3), (7, 1)] {
            assert_eq!(history.unexplained(&bytes(line, 512), Some(crash)), None, "{crash} {line}");
        }
        assert_eq!(history.unexplained(&[0; 512], Some(7)), None);
        assert!(history.has_crash_size(0, 1024, 7) && !history.has_crash_size(0, 1024, 8));
    }

    #[test]
    fn sizes_are_those_of_some_order() {
        let truncate = effect(2, 4, 8, What::Truncate(100));
        let history = History { effects: vec![write(1, 1, 5, 0, 512), truncate] };
        assert_eq!(history.sizes(), [100, 512].into());
    }
}
