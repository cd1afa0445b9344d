//! Random changes, against a map from logical block to physical block and state.

use crate::store::{Error, File};
use ext4_extent::{Mapping, State};
use ext4_ondisk::extent::Extent;
use ext4_units::{BlockNr, LogicalBlock};
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc};

/// Physical block and whether unwritten, by logical block.
type Model = BTreeMap<u32, (u64, bool)>;

const SPACE: u32 = 3000;

#[derive(Debug, Clone)]
enum Change {
    /// Map the hole at the first logical block, at most so long, physically behind the block before if
    /// `near`.
    Insert {
        at: u32,
        len: u32,
        near: bool,
        unwritten: bool,
    },
    /// Map holes of a range to blocks that lie on the disk as in the file.
    Place {
        at: u32,
        len: u32,
        unwritten: bool,
    },
    /// Map every second block of a range.
    Comb {
        at: u32,
        n: u32,
        unwritten: bool,
    },
    Convert {
        at: u32,
        len: u32,
    },
    Initialize {
        at: u32,
        len: u32,
    },
    MarkUnwritten {
        at: u32,
        len: u32,
    },
    Remove {
        from: u32,
        to: u32,
        budget: usize,
    },
}

fn change() -> impl Strategy<Value = Change> {
    let at = || 0..SPACE;
    prop_oneof![
        4 => (at(), 1..60u32, any::<bool>(), any::<bool>())
            .prop_map(|(at, len, near, unwritten)| Change::Insert { at, len, near, unwritten }),
        6 => (at(), 1..8u32, any::<bool>())
            .prop_map(|(at, len, unwritten)| Change::Place { at, len, unwritten }),
        2 => (at(), 1..200u32, any::<bool>())
            .prop_map(|(at, n, unwritten)| Change::Comb { at, n, unwritten }),
        4 => (at(), 1..40u32).prop_map(|(at, len)| Change::Convert { at, len }),
        2 => (at(), 1..40u32).prop_map(|(at, len)| Change::Initialize { at, len }),
        1 => (at(), 1..40u32).prop_map(|(at, len)| Change::MarkUnwritten { at, len }),
        2 => (at(), 1..300u32, 1..50usize)
            .prop_map(|(at, len, budget)| Change::Remove { from: at, to: at + len, budget }),
        1 => (at(), 1..100usize)
            .prop_map(|(from, budget)| Change::Remove { from, to: u32::MAX, budget }),
    ]
}

struct Pair {
    file: File,
    model: Model,
    /// The next physical block nobody had.
    fresh: u64,
}

impl Pair {
    fn insert(&mut self, at: u32, len: u32, near: bool, unwritten: bool) {
        if self.model.contains_key(&at) {
            return;
        }
        let free = self.model.range(at..).next().map_or(u32::MAX, |(next, _)| *next) - at;
        let len = len.min(free);
        let before = at.checked_sub(1).and_then(|it| self.model.get(&it));
        let taken = |start: u64| {
            self.model.values().any(|(blk, _)| *blk >= start && *blk < start + u64::from(len))
        };
        let start = match before {
            Some((blk, _)) if near && !taken(blk + 1) => blk + 1,
            _ => self.fresh,
        };
        // A gap behind, so that two runs do not touch by chance.
        self.fresh = self.fresh.max(start + u64::from(len)) + 1;
        let extent = Extent { lblk: LogicalBlock(at), len, start: BlockNr(start), unwritten };
        self.file.insert(extent).unwrap();
        self.model.extend((0..len).map(|it| (at + it, (start + u64::from(it), unwritten))));
    }

    fn place(&mut self, at: u32, len: u32, unwritten: bool) {
        let free = self.model.range(at..).next().map_or(u32::MAX, |(next, _)| *next) - at;
        let len = len.min(free);
        if len > 0 {
            let start = 10_000_000 + u64::from(at);
            let extent = Extent { lblk: LogicalBlock(at), len, start: BlockNr(start), unwritten };
            self.file.insert(extent).unwrap();
            self.model.extend((0..len).map(|it| (at + it, (start + u64::from(it), unwritten))));
        }
    }

    fn set_state(
        &mut self,
        at: u32,
        len: u32,
        unwritten: bool,
        change: fn(&mut File, u32, u32) -> Result<u32, Error>,
    ) {
        if !self.model.contains_key(&at) {
            return;
        }
        let n = change(&mut self.file, at, len).unwrap();
        assert!(n >= 1 && n <= len);
        for (_, state) in self.model.range_mut(at..at + n) {
            state.1 = unwritten;
        }
        assert_eq!(self.model.range(at..at + n).count(), n as usize);
    }

    fn remove(&mut self, from: u32, to: u32, budget: usize) {
        loop {
            let removed = self.file.remove(from, to, budget).unwrap();
            assert!(removed.freed.len() <= budget);
            for (lblk, blocks) in &removed.freed {
                for (it, blk) in blocks.iter().enumerate() {
                    let lblk = lblk.0 + u32::try_from(it).unwrap();
                    assert!(lblk >= from && lblk < to);
                    assert_eq!(self.model.remove(&lblk).map(|it| it.0), Some(blk.0));
                }
            }
            self.check();
            if removed.done {
                assert_eq!(self.model.range(from..to).count(), 0);
                return;
            }
        }
    }

    fn apply(&mut self, change: &Change) {
        match *change {
            Change::Insert { at, len, near, unwritten } => self.insert(at, len, near, unwritten),
            Change::Comb { at, n, unwritten } => {
                for it in 0..n {
                    self.insert(at + it * 2, 1, false, unwritten);
                }
            }
            Change::Place { at, len, unwritten } => self.place(at, len, unwritten),
            Change::Convert { at, len } => self.set_state(at, len, false, File::convert),
            Change::Initialize { at, len } => self.set_state(at, len, false, File::initialize),
            Change::MarkUnwritten { at, len } => {
                self.set_state(at, len, true, File::mark_unwritten);
            }
            Change::Remove { from, to, budget } => self.remove(from, to, budget),
        }
    }

    fn check(&self) {
        let sum = self.file.check();
        assert_eq!(sum.n_data_blocks, self.model.len() as u64);
        let mut found = Model::new();
        for Mapping { lblk, len, state } in self.file.mappings() {
            let (start, unwritten) = match state {
                State::Hole => unreachable!(),
                State::Written(start) => (start, false),
                State::Unwritten(start) => (start, true),
            };
            found.extend((0..len).map(|it| (lblk.0 + it, (start.0 + u64::from(it), unwritten))));
        }
        assert!(found == self.model, "the tree maps other blocks than the model");
    }
}

/// A file whose nodes are remembered once they were checked, and so changed in place.
fn remembering() -> Pair {
    let mut file = File::extents();
    file.ctx.checked = Some(Arc::default());
    Pair { file, model: Model::new(), fresh: 100_000 }
}

#[test]
fn what_is_remembered_of_a_node_ends_with_its_bytes() {
    let mut pair = remembering();
    pair.apply(&Change::Comb { at: 0, n: 100, unwritten: true });
    pair.file.lookup(100).unwrap();
    for bytes in pair.file.store.blocks.values_mut() {
        let mut changed = bytes.to_vec();
        changed[500] ^= 1;
        *bytes = changed.into();
    }
    assert!(matches!(pair.file.lookup(100), Err(Error::Corrupt(_))));
    assert!(matches!(pair.file.convert(100, 1), Err(Error::Corrupt(_))));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn the_tree_equals_the_model(changes in prop::collection::vec(change(), 1..60)) {
        let mut pair = Pair { file: File::extents(), model: Model::new(), fresh: 100_000 };
        let mut deepest = 0;
        for change in &changes {
            pair.apply(change);
            pair.check();
            deepest = deepest.max(pair.file.check().depth);
        }
        for lblk in (0..SPACE).step_by(37) {
            let mapping = pair.file.lookup(lblk).unwrap();
            let expected = pair.model.get(&lblk).map(|it| it.0);
            prop_assert_eq!(mapping.blocks().map(|it| it.start.0), expected);
            if expected.is_none() {
                let next = pair.model.range(lblk..).next().map_or(u32::MAX, |(next, _)| *next);
                prop_assert_eq!(mapping.end(), next);
            }
        }
        pair.remove(0, u32::MAX, 1000);
        prop_assert_eq!(pair.file.root, File::extents().root);
    }

    #[test]
    fn a_leaf_changed_in_place_has_the_bytes_of_one_that_was_rebuilt(
        changes in prop::collection::vec(change(), 1..80)
    ) {
        let mut slow = Pair { file: File::extents(), model: Model::new(), fresh: 100_000 };
        let mut quick = remembering();
        for change in &changes {
            slow.apply(change);
            quick.apply(change);
            prop_assert_eq!(quick.file.image(), slow.file.image(), "{:?}", change);
        }
        quick.check();
    }
}
