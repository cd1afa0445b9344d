//! Any bytes are a valid input: every operation on a damaged map ends, without a panic.

use crate::store::{File, unwritten, written};
use ext4_extent::Format;
use proptest::prelude::*;

/// One word of one node becomes another.
#[derive(Debug, Clone)]
struct Damage {
    node: usize,
    word: usize,
    value: Value,
}

#[derive(Debug, Clone)]
enum Value {
    Any(u32),
    /// The block of another node.
    Node(usize),
    /// What another word of the node holds.
    Copy(usize),
    Add(u32),
}

fn damage() -> impl Strategy<Value = Damage> {
    let value = prop_oneof![
        any::<u32>().prop_map(Value::Any),
        any::<usize>().prop_map(Value::Node),
        (0..256usize).prop_map(Value::Copy),
        prop_oneof![Just(1), Just(u32::MAX), Just(1 << 16), Just(1 << 15)].prop_map(Value::Add),
    ];
    // Mostly the header and the first entries.
    let word = prop_oneof![0..3usize, 3..15usize, 3..256usize];
    (any::<usize>(), word, value).prop_map(|(node, word, value)| Damage { node, word, value })
}

fn apply(file: &mut File, damage: &Damage) {
    let nodes: Vec<u64> = file.store.blocks.keys().copied().collect();
    let pick = |it: usize| nodes[it % nodes.len()];
    // One more than there are: the root.
    let place = nodes.get(damage.node % (nodes.len() + 1)).copied();
    let mut bytes = match place {
        Some(blk) => file.store.read_bytes(blk),
        None => file.root.to_vec(),
    };
    let words = bytes.len() / 4;
    let get = |bytes: &[u8], word: usize| {
        u32::from_le_bytes(*bytes[word % words * 4..].first_chunk().unwrap())
    };
    let value = match damage.value {
        Value::Any(it) => it,
        Value::Node(it) => u32::try_from(pick(it)).unwrap(),
        Value::Copy(word) => get(&bytes, word),
        Value::Add(it) => get(&bytes, damage.word).wrapping_add(it),
    };
    let at = damage.word % words * 4;
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    match place {
        Some(blk) => drop(file.store.blocks.insert(blk, bytes.into())),
        None => file.root.copy_from_slice(&bytes),
    }
}

/// Does a bit of everything. Whatever it answers, it comes back.
fn try_all(file: &mut File, at: u32) {
    let _ = file.validate();
    let _ = file.lookup(at);
    let _ = file.iter_some(10_000);
    let _ = file.clone().insert(written(at, 1, 9000));
    let _ = file.clone().insert(written(at, 100, 9000));
    let _ = file.clone().convert(at, 10);
    let _ = file.clone().initialize(at, 10);
    if file.format == Format::Extents {
        let _ = file.clone().mark_unwritten(at, 10);
    }
    for (from, to) in [(at, u32::MAX), (at, at + 10), (0, u32::MAX)] {
        let mut file = file.clone();
        for _ in 0..100 {
            match file.remove(from, to, 100) {
                Ok(removed) if !removed.done => {}
                _ => break,
            }
        }
    }
}

fn tree() -> File {
    let mut file = File::extents();
    file.ctx.csum = None;
    for it in 0..84 * 5 {
        let start = 100_000 + u64::from(it) * 20;
        let it =
            if it % 3 == 0 { unwritten(it * 10, 5, start) } else { written(it * 10, 5, start) };
        file.insert(it).unwrap();
    }
    assert_eq!(file.check().depth, 2);
    file
}

fn map() -> File {
    let mut file = File::new(Format::Indirect);
    file.ctx.blocks.len = 1 << 20;
    file.insert(written(0, 2000, 100_000)).unwrap();
    file.insert(written(12 + 256 + 65536, 600, 200_000)).unwrap();
    file
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_tree(damages in prop::collection::vec(damage(), 1..4), at in 0..4200u32) {
        let mut file = tree();
        for it in &damages {
            apply(&mut file, it);
        }
        try_all(&mut file, at);
    }

    #[test]
    fn a_damaged_map(damages in prop::collection::vec(damage(), 1..4), at in 0..2100u32) {
        let mut file = map();
        for it in &damages {
            apply(&mut file, it);
        }
        try_all(&mut file, at);
    }
}
