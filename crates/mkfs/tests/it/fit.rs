//! The size found holds what it should, and no smaller one does.

use crate::{
    kernel::compare,
    populate::{SETS, written},
    trees,
};
use ext4_mkfs::{
    Error, Options, Plan, Room, features, fit,
    options::{Journal, Kind},
    plan,
};
use ext4_testkit::{
    mount::Mount,
    oracle::{self, FsckMode, Need},
};
use ext4_tree::{NodeId, Tree};
use ext4_units::BlockSize;
use proptest::prelude::*;
use std::sync::Arc;

/// Bytes that users have of a filesystem, as `df` says it.
pub(crate) fn left(plan: &Plan) -> u64 {
    let (sb, geo) = (&plan.superblock, &plan.geometry);
    let bits = geo.cluster_ratio_bits;
    let own = if sb.features.has_incompat(ext4_ondisk::features::Incompat::EXTENTS) {
        ((geo.blocks_count >> bits) / 50).min(4096) << bits
    } else {
        0
    };
    let blocks = sb.free_blocks_count.saturating_sub(sb.r_blocks_count + own);
    blocks * u64::from(geo.block_size.bytes())
}

/// The plan of `options` at this size, if it holds there.
fn holds(options: &Options, room: Room, len: u64) -> Option<Plan> {
    let options = Options { size: Some(len), ..options.clone() };
    let plan = plan(&options, len).ok().filter(|it| it.len() == len)?;
    match room {
        Room::Min => Some(plan),
        Room::Free(bytes) => (bytes <= left(&plan)).then_some(plan),
    }
}

/// Sizes below `len`: the last ones, and others all the way down, twice as many in all as `n`.
fn below(len: u64, unit: u64, n: u64) -> impl Iterator<Item = u64> {
    let units = len / unit;
    let last = (1..=n).filter_map(move |less| units.checked_sub(less));
    // Not evenly, lest they all fall on one side of the same step.
    let others = (1..n).map(move |nr| (units * nr + nr * nr % 97) / n);
    last.chain(others).filter(move |it| (1..units).contains(it)).map(move |it| it * unit)
}

/// Looks at `n` sizes just below the one that is found, and at `n` more.
fn check(options: &Options, room: Room, n: u64) -> Option<Plan> {
    let told = Options { tree: None, ..options.clone() };
    let fitted = match fit(options, room) {
        Ok(fitted) => fitted,
        Err(error) => {
            let found = below(24 << 20, 4096, n).find(|&it| holds(options, room, it).is_some());
            assert_eq!(found, None, "{error}: {told:?}");
            return None;
        }
    };
    let len = fitted.plan.len();
    assert_eq!(fitted.options.size, Some(len));
    let again = plan(&fitted.options, len).unwrap();
    assert_eq!(again.to_string(), fitted.plan.to_string(), "the plan is that of the options");
    if let Room::Free(bytes) = room {
        assert!(left(&again) >= bytes);
    }
    let settled = Options { inodes: fitted.options.inodes, ..options.clone() };
    let unit = fitted.plan.superblock.cluster_bytes();
    let smaller = below(len, unit, n).find(|&it| holds(&settled, room, it).is_some());
    assert_eq!(smaller, None, "{len} bytes for {room:?} of {told:?}");
    Some(again)
}

fn edits(words: &[&str]) -> Vec<features::Edit> {
    words.iter().flat_map(|it| features::parse(it).unwrap()).collect()
}

fn some_options() -> impl Strategy<Value = Options> {
    let kinds = prop_oneof![Just(Kind::Ext2), Just(Kind::Ext3), Just(Kind::Ext4)];
    let words = prop_oneof![
        4 => Just(vec![]),
        1 => Just(vec!["bigalloc"]),
        1 => Just(vec!["^resize_inode"]),
        1 => Just(vec!["^flex_bg"]),
        1 => Just(vec!["^has_journal"]),
        1 => Just(vec!["sparse_super2"]),
        1 => Just(vec!["quota", "mmp"]),
        1 => Just(vec!["orphan_file"]),
        1 => Just(vec!["^has_journal", "meta_bg", "^resize_inode"]),
        1 => Just(vec!["inline_data"]),
        1 => Just(vec!["ea_inode", "large_dir"]),
        1 => Just(vec!["metadata_csum", "^flex_bg"]),
        1 => Just(vec!["extent", "^64bit", "^metadata_csum"]),
    ];
    let block_size = proptest::option::of(prop_oneof![Just(1024), Just(2048), Just(4096)]);
    let inodes = prop_oneof![
        3 => Just((None, None)),
        1 => (800_u32..5000).prop_map(|it| (Some(it), None)),
        1 => (1024_u32..70_000).prop_map(|it| (None, Some(it))),
    ];
    let per_group = proptest::option::weighted(0.3, (40_u32..300).prop_map(|it| it * 8));
    let journal = proptest::option::weighted(0.2, 1_u32..5);
    let reserved = prop_oneof![Just(500), Just(0), Just(1234)];
    (kinds, words, block_size, inodes, per_group, journal, reserved).prop_map(
        |(kind, words, block_size, (inodes, inode_ratio), blocks_per_group, mib, reserved)| {
            Options {
                kind,
                features: edits(&words),
                block_size: block_size.and_then(BlockSize::from_bytes),
                inodes,
                inode_ratio,
                blocks_per_group,
                journal: Journal { mib, ..Journal::default() },
                reserved,
                ..Options::default()
            }
        },
    )
}

/// Files of some length in some directories, holes and hard links among them.
fn some_tree() -> impl Strategy<Value = Tree> {
    let lens = prop_oneof![4 => 0_u32..3000, 2 => 0_u32..30_000, 1 => 0_u32..400_000];
    let file = (lens, 1_usize..200, 0_u8..16);
    (proptest::collection::vec(file, 0..150), any::<bool>()).prop_map(|(files, has_many)| {
        let mut tree = trees::root();
        let mut dirs = vec![NodeId::ROOT];
        for (nr, (len, name_len, what)) in files.into_iter().enumerate() {
            let dir = dirs[nr * 7 % dirs.len()];
            let name = format!("{nr:x>name_len$}").into_bytes();
            let whole = u64::from(len);
            let node = match what {
                0 => {
                    dirs.push(tree.add(dir, &name, trees::directory()).unwrap());
                    continue;
                }
                1 => trees::symlink(&vec![b'a'; len as usize % 1000 + 1]),
                2 if len > 2 => trees::sparse(whole * 1000, &[1..2, whole * 500..whole * 501]),
                _ => trees::file(len as usize),
            };
            let mut node = node;
            if what > 12 {
                let value = vec![what; len as usize % [20, 300, 1500][usize::from(what) - 13]];
                node.attributes.xattrs.insert((*b"user.x").into(), value.into());
            }
            let node = tree.add(dir, &name, node).unwrap();
            if what == 3 {
                tree.link(NodeId::ROOT, format!("link{nr}").as_bytes(), node).unwrap();
            }
        }
        for nr in 0..if has_many { 500 } else { 0 } {
            tree.add(NodeId::ROOT, format!("{nr:0>50}").as_bytes(), trees::file(0)).unwrap();
        }
        tree
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn the_smallest_for_a_tree_is_sound_and_no_smaller_one_would_do(
        options in some_options(),
        tree in some_tree(),
    ) {
        let options = Options { tree: Some(Arc::new(tree)), ..options };
        let plan = check(&options, Room::Min, 15);
        if let Some(plan) = plan && !oracle::skip_without(&[Need::E2fsck]) {
            let dir = oracle::scratch().unwrap();
            let image = dir.path().join("disk.img");
            oracle::save(&written(&plan), &image).unwrap();
            let fsck = oracle::e2fsck(&image, FsckMode::Check).unwrap();
            prop_assert!(fsck.is_clean(), "{:?}", fsck);
            // Not every kernel mounts every kind.
            if let Ok(mount) = Mount::new(&image, "noload,ro") {
                let tree = options.tree.as_ref().unwrap();
                let (_, wrong) = compare(mount.path(), tree, plan.geometry.inode_size > 128);
                mount.unmount().unwrap();
                prop_assert_eq!(wrong, Vec::<String>::new());
            }
        }
    }

    #[test]
    fn a_tree_leaves_so_much_room_and_no_less_would_do(
        options in some_options(),
        tree in some_tree(),
        kib in 0_u64..20_000,
    ) {
        let options = Options { tree: Some(Arc::new(tree)), ..options };
        check(&options, Room::Free(kib << 10), 15);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_smaller_size_would_do(options in some_options()) {
        check(&options, Room::Min, 60);
    }

    #[test]
    fn so_much_room_is_left_and_no_less_would_do(options in some_options(), kib in 0_u64..20_000) {
        check(&options, Room::Free(kib << 10), 60);
    }
}

#[test]
fn what_is_too_small_is_told_what_would_be_enough() {
    let tree = Arc::new(trees::mixed());
    for words in ["", "bigalloc", "orphan_file", "^has_journal,^resize_inode"] {
        for tree in [None, Some(tree.clone())] {
            let options = Options { tree, features: edits(&[words]), ..Options::default() };
            for len in [0, 4096, 40 << 10, 250 << 10, 800 << 10, 1200 << 10, 2 << 20] {
                let error = match plan(&options, len) {
                    Ok(_) | Err(Error::Options(_)) => continue,
                    Err(error) => error,
                };
                let Error::TooSmall { expected: enough, .. } = error else {
                    panic!("{words}, {len}: {error}");
                };
                assert!(enough > len, "{error}");
                assert!(plan(&options, enough).is_ok(), "{words}, {len}: {error}");
                let below = (1..40).filter_map(|n| enough.checked_sub(n * 4096));
                let mut below = below.filter(|it| *it > len);
                let smaller = below.find(|&len| plan(&options, len).is_ok());
                assert_eq!(smaller, None, "{words}, {len}: {error}");
            }
        }
    }
}

/// Mounts a filesystem for writing, and says how many bytes the kernel shows as available. `None`
/// when this kernel cannot mount it.
fn available(plan: &Plan) -> Option<u64> {
    let dir = oracle::scratch().unwrap();
    let image = dir.path().join("disk.img");
    oracle::save(&written(plan), &image).unwrap();
    let mount = Mount::new(&image, "").ok()?;
    let stat = rustix::fs::statvfs(mount.path()).unwrap();
    mount.unmount().unwrap();
    let fsck = oracle::e2fsck(&image, FsckMode::Check).unwrap();
    assert!(fsck.is_clean(), "{fsck:?}");
    Some(stat.f_bavail * stat.f_frsize)
}

#[test]
fn the_smallest_mount_and_what_is_left_is_what_df_shows() {
    if oracle::skip_without(&[Need::Kernel, Need::E2fsck]) {
        return;
    }
    let mut n_mounted = 0;
    for (kind, words, change) in SETS {
        let mut options = Options { kind: *kind, features: edits(&[words]), ..Options::default() };
        change(&mut options);
        for room in [Room::Min, Room::Free(5 << 20), Room::Free(123 << 20)] {
            let plan = fit(&options, room).unwrap().plan;
            let Some(found) = available(&plan) else { continue };
            n_mounted += 1;
            if let Room::Free(bytes) = room {
                let slack = found - bytes.min(found);
                let unit = plan.superblock.cluster_bytes();
                assert!(found >= bytes, "{found} of {bytes} with {kind:?} {words}");
                assert!(slack < 400 * unit, "{slack} more than {bytes} with {kind:?} {words}");
            }
        }
    }
    assert!(n_mounted > 30, "{n_mounted}");
}
