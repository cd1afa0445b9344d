//! Directories built from all their entries at once: the independent walk, the map, and going on
//! in them.

use crate::{
    collisions::same_hash_names,
    mem::{DIR, Mem, PARENT, context, ino},
    model::{Pair, contexts, name},
};
use ext4_dir::{BlockKind, Built, Context, Error, Fill, Member, build, seal_block};
use ext4_ondisk::{checksum::Csum, dir_entry::FileType};
use proptest::prelude::*;
use std::sync::Arc;

pub(crate) fn members(names: &[Vec<u8>]) -> Vec<Member<'_>> {
    let member = |(nr, name): (u32, _)| Member {
        name: Vec::as_slice(name),
        ino: ino(nr + 100),
        file_type: FileType::Regular,
    };
    (0..).zip(names).map(member).collect()
}

pub(crate) fn mem(built: &Built, context: &Context) -> Mem {
    Mem {
        blocks: built.blocks.iter().map(|it| Arc::from(it.bytes.as_slice())).collect(),
        block_len: context.block_size.len(),
        ..Mem::default()
    }
}

/// Builds, and insists that it holds what it should.
fn built(context: Context, names: &[Vec<u8>], fill: Fill) -> Pair {
    let members = members(names);
    let built = build(&context, PARENT, &members, fill).unwrap();
    let mut pair = Pair::new(context);
    pair.context.is_indexed = built.is_indexed;
    pair.mem = mem(&built, &context);
    for member in members {
        let raw = u8::from(context.has_filetype);
        pair.model.insert(member.name.to_vec(), (member.ino.get(), raw));
    }
    pair.check();
    pair
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_built_directory_holds_its_names_and_goes_on(
        context in contexts(),
        count in 0_u32..700,
        first in 0_u32..10_000,
        is_full: bool,
    ) {
        let names: Vec<_> = (first..first + count).map(name).collect();
        let fill = if is_full { Fill::Full } else { Fill::Roomy };
        let mut pair = built(context, &names, fill);
        pair.check_reading();
        for nr in first + count..first + count + 60 {
            pair.insert(&name(nr), nr + 100);
        }
        for nr in (first..first + count).step_by(7) {
            pair.remove(&name(nr));
        }
        pair.check();
        pair.check_reading();
    }

    #[test]
    fn sealing_for_another_seed_is_building_with_it(context in contexts(), count in 0_u32..3000) {
        let names: Vec<_> = (0..count).map(name).collect();
        let members = members(&names);
        let seed = context.csum.map(|_| Csum(99));
        let wanted = build(&Context { csum: seed, ..context }, PARENT, &members, Fill::Full);
        let mut other = build(&context, PARENT, &members, Fill::Full).unwrap();
        for block in &mut other.blocks {
            let context = Context { csum: seed, ..context };
            seal_block(&context, block.kind, &mut block.bytes).unwrap();
        }
        prop_assert_eq!(other, wanted.unwrap());
    }
}

#[test]
fn one_block_is_linear_to_its_last_byte_and_one_entry_more_makes_an_index() {
    let context = context(1024);
    // 24 bytes of dots, 12 of tail, and 19 records of 52 bytes: 1024.
    let names: Vec<_> = (0..20).map(|nr| format!("{nr:0>44}").into_bytes()).collect();
    for (count, kinds) in
        [(19, vec![BlockKind::Leaf]), (20, vec![BlockKind::Root, BlockKind::Leaf, BlockKind::Leaf])]
    {
        let built = build(&context, PARENT, &members(&names[..count]), Fill::Roomy).unwrap();
        assert_eq!(built.blocks.iter().map(|it| it.kind).collect::<Vec<_>>(), kinds);
        assert_eq!(built.is_indexed, count == 20);
    }
    let linear = Context { has_dir_index: false, ..context };
    assert!(!build(&linear, PARENT, &members(&names), Fill::Roomy).unwrap().is_indexed);
}

#[test]
fn names_of_one_hash_go_on_in_the_next_leaf() {
    let same = same_hash_names(24);
    let context = Context { default_hash_version: 0, ..context(1024) };
    for n_others in [0, 3, 200] {
        let names: Vec<_> = same.iter().cloned().chain((0..n_others).map(name)).collect();
        built(context, &names, Fill::Full).check_reading();
        built(context, &names, Fill::Roomy).check_reading();
    }
}

fn long(count: u32) -> Vec<Vec<u8>> {
    (0..count).map(|nr| format!("{nr:0>255}").into_bytes()).collect()
}

#[test]
fn an_index_is_as_deep_as_it_must_be_and_its_limit_is_told_in_numbers() {
    let context = context(1024);
    let levels = |pair: &Pair| pair.mem.blocks[0][30];
    // A leaf of 1012 bytes holds 3 such names, a root 123 leaves, a node 126.
    for (count, expected) in [(123 * 3, 0), (123 * 3 + 1, 1), (123 * 126 * 3, 1)] {
        let pair = built(context, &long(count), Fill::Full);
        assert_eq!(levels(&pair), expected);
        let roomy = built(context, &long(count), Fill::Roomy);
        assert!(roomy.mem.blocks.len() >= pair.mem.blocks.len());
    }
    let names = long(123 * 126 * 3 + 1);
    for fill in [Fill::Full, Fill::Roomy] {
        let error = build(&context, PARENT, &members(&names), fill).unwrap_err();
        assert_eq!(
            error.to_string(),
            "directory inode 20: 46495 entries fill 15499 blocks, expected at most 15498 below 2 \
             levels of index"
        );
    }
    let mut pair = built(Context { has_largedir: true, ..context }, &names, Fill::Roomy);
    assert_eq!(levels(&pair), 2);
    pair.check_reading();
    for nr in 0..200 {
        pair.insert(&name(nr), nr + 100);
    }
    pair.check();
}

#[test]
fn a_roomy_directory_takes_names_where_a_full_one_splits() {
    let names: Vec<_> = (0..4000).map(|nr| format!("{nr:0>20}").into_bytes()).collect();
    let n_after = |fill| {
        let mut pair = built(context(4096), &names, fill);
        let before = pair.mem.blocks.len();
        for nr in 0..300 {
            pair.insert(&name(nr * 7 + 1), nr + 9000);
        }
        pair.check();
        (before, pair.mem.blocks.len())
    };
    let (roomy, full) = (n_after(Fill::Roomy), n_after(Fill::Full));
    assert_eq!(roomy.0, roomy.1, "no leaf was split");
    assert!(full.0 < roomy.0 && full.1 > roomy.1, "{full:?} {roomy:?}");
}

#[test]
fn names_that_cannot_be_are_refused_by_name() {
    let context = context(4096);
    for (names, message) in [
        (vec![&b"b"[..], b"a", b"b"], "directory inode 20: \"b\" exists already"),
        (vec![b"a", b"a"], "directory inode 20: \"a\" exists already"),
        (
            vec![b".."],
            "directory inode 20: name \"..\", expected one without / and NUL, not . or ..",
        ),
        (vec![&[b'x'; 256]], "name of 256 bytes"),
    ] {
        let names: Vec<_> = names.into_iter().map(<[u8]>::to_vec).collect();
        let error = build(&context, PARENT, &members(&names), Fill::Full).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
    let siphash = Context { default_hash_version: 6, ..context };
    let error = build(&siphash, PARENT, &members(&long(50)), Fill::Full).unwrap_err();
    assert_eq!(error, Error::Unsupported { dir: DIR, what: "siphash" });
    let folded = Context { is_casefolded: true, ..context };
    assert!(build(&folded, PARENT, &[], Fill::Full).is_err());
}
