//! What e2fsck says of filesystems that have files from the start, and which are refused.

use crate::trees;
use ext4_blockdev::MemoryDevice;
use ext4_mkfs::{Options, Plan, Result, features, options::Kind, plan, write};
use ext4_testkit::{
    oracle::{self, FsckMode, Need},
    rng::Rng,
};
use ext4_tree::{NodeId, Tree};
use std::{num::NonZero, sync::Arc};

/// Kind, features, and the rest.
pub(crate) type Set = (Kind, &'static str, fn(&mut Options));

/// Option sets that lay files out each in its own way.
pub(crate) const SETS: &[Set] = &[
    (Kind::Ext4, "", |_| {}),
    (Kind::Ext4, "", |it| it.block_size = ext4_units::BlockSize::from_bytes(4096)),
    (Kind::Ext4, "", |it| it.block_size = ext4_units::BlockSize::from_bytes(65536)),
    (Kind::Ext3, "", |_| {}),
    (Kind::Ext2, "", |it| it.block_size = ext4_units::BlockSize::from_bytes(4096)),
    (Kind::Ext2, "^filetype,^dir_index", |_| {}),
    (Kind::Ext2, "none", |it| it.revision = 0),
    (Kind::Ext4, "bigalloc", |_| {}),
    (Kind::Ext4, "bigalloc", |it| it.cluster_size = Some(65536)),
    (Kind::Ext4, "quota,project,orphan_file,mmp", |_| {}),
    (Kind::Ext4, "^metadata_csum", |_| {}),
    (Kind::Ext4, "^huge_file,^64bit,^flex_bg", |_| {}),
    (Kind::Ext4, "^metadata_csum,^extra_isize", |it| it.inode_size = Some(128)),
    (Kind::Ext4, "^has_journal,metadata_csum_seed,large_dir", |it| it.inode_size = Some(1024)),
    (Kind::Ext4, "^flex_bg", |it| it.blocks_per_group = Some(1024)),
    (Kind::Ext4, "inline_data", |_| {}),
    (Kind::Ext4, "inline_data,^metadata_csum,quota", |it| it.inode_size = Some(512)),
    (Kind::Ext4, "ea_inode,quota,project", |_| {}),
    (Kind::Ext4, "ea_inode,bigalloc,quota,inline_data", |_| {}),
    (Kind::Ext2, "ea_inode,^ext_attr", |_| {}),
];

const LEN: u64 = 96 << 20;

pub(crate) fn options(
    kind: Kind,
    words: &str,
    change: fn(&mut Options),
    tree: &Arc<Tree>,
) -> Options {
    let mut options = Options { kind, tree: Some(Arc::clone(tree)), ..Options::default() };
    options.features = features::parse(words).unwrap();
    change(&mut options);
    options
}

fn ext4(tree: Tree) -> Options {
    options(Kind::Ext4, "", |_| {}, &Arc::new(tree))
}

pub(crate) fn written(plan: &Plan) -> MemoryDevice {
    let device = MemoryDevice::new(vec![0; usize::try_from(plan.len()).unwrap()]);
    write(plan, &device, NonZero::new(2).unwrap(), &mut ()).unwrap();
    device
}

fn refusal(plan: Result<Plan>) -> String {
    plan.unwrap_err().to_string()
}

#[test]
fn e2fsck_finds_nothing_in_any_layout() {
    if oracle::skip_without(&[Need::E2fsck]) {
        return;
    }
    for tree in [trees::mixed(), trees::pieces()].map(Arc::new) {
        for (kind, words, change) in SETS {
            let options = options(*kind, words, *change, &tree);
            let plan = plan(&options, LEN).unwrap();
            let fsck = oracle::e2fsck_device(&written(&plan), FsckMode::Check).unwrap();
            assert!(fsck.is_clean(), "{kind:?} {words}: {fsck:?}");
        }
    }
}

#[test]
fn e2fsck_finds_nothing_in_any_attributes() {
    if oracle::skip_without(&[Need::E2fsck]) {
        return;
    }
    let [small, all] = [false, true].map(|has_large| Arc::new(trees::attributed(has_large)));
    for (kind, words, change) in SETS {
        let tree = if words.contains("ea_inode") { &all } else { &small };
        let options = options(*kind, words, *change, tree);
        if options.revision == 0 {
            continue;
        }
        let plan = plan(&options, LEN).unwrap();
        let fsck = oracle::e2fsck_device(&written(&plan), FsckMode::Check).unwrap();
        assert!(fsck.is_clean(), "{kind:?} {words}: {fsck:?}");
    }
}

#[test]
fn crowded_directories_have_an_index_and_a_link_count_of_one() {
    let options = ext4(trees::crowded());
    let plan = plan(&options, 512 << 20).unwrap();
    assert_eq!(plan.counts().unwrap().indexed, 2);
    if !oracle::skip_without(&[Need::E2fsck]) {
        let fsck = oracle::e2fsck_device(&written(&plan), FsckMode::Check).unwrap();
        assert!(fsck.is_clean(), "{fsck:?}");
    }
    let mut options = options;
    options.features = features::parse("^dir_nlink").unwrap();
    assert_eq!(
        refusal(ext4_mkfs::plan(&options, 512 << 20)),
        "/directories: 65000 subdirectories, expected at most 64998 without dir_nlink"
    );
}

#[test]
fn lost_and_found_takes_what_the_tree_has_there() {
    let mut tree = trees::root();
    let lost = tree.add(NodeId::ROOT, b"lost+found", trees::directory()).unwrap();
    for nr in 0..900 {
        let sub = tree.add(lost, format!("#{nr}").as_bytes(), trees::directory()).unwrap();
        tree.add(sub, b"file", trees::file(2000)).unwrap();
    }
    for words in ["", "^dir_index", "inline_data,quota"] {
        let options = options(Kind::Ext4, words, |_| {}, &Arc::new(tree.clone()));
        let plan = plan(&options, LEN).unwrap();
        let it = plan.files.iter().find(|it| it.name == "lost+found").unwrap();
        assert_eq!(it.ino.get(), 11);
        if !oracle::skip_without(&[Need::E2fsck]) {
            let fsck = oracle::e2fsck_device(&written(&plan), FsckMode::Check).unwrap();
            assert!(fsck.is_clean(), "{words}: {fsck:?}");
        }
    }
}

const FEATURES: &[&str] = &[
    "has_journal",
    "resize_inode",
    "dir_index",
    "sparse_super2",
    "fast_commit",
    "orphan_file",
    "filetype",
    "meta_bg",
    "extent",
    "64bit",
    "mmp",
    "flex_bg",
    "ea_inode",
    "metadata_csum_seed",
    "large_dir",
    "inline_data",
    "casefold",
    "large_file",
    "huge_file",
    "uninit_bg",
    "dir_nlink",
    "extra_isize",
    "quota",
    "bigalloc",
    "metadata_csum",
    "project",
];

#[test]
fn whatever_is_asked_for_is_sound_or_refused() {
    if oracle::skip_without(&[Need::E2fsck]) {
        return;
    }
    let trees =
        [trees::mixed(), trees::pieces(), trees::attributed(false), trees::attributed(true)];
    let trees = trees.map(Arc::new);
    let (mut made, mut refused) = (0, 0);
    for seed in 0..30 {
        let mut rng = Rng::new(seed);
        let mut options = ext4(trees::root());
        options.tree = Some(Arc::clone(rng.pick(&trees)));
        options.kind = *rng.pick(&[Kind::Ext2, Kind::Ext3, Kind::Ext4, Kind::Ext4]);
        options.block_size = ext4_units::BlockSize::from_bytes(*rng.pick(&[1024, 2048, 4096]));
        options.inode_size = *rng.pick(&[None, None, Some(128), Some(512), Some(1024)]);
        options.blocks_per_group = *rng.pick(&[None, None, Some(256), Some(2048)]);
        for _ in 0..rng.below(6) {
            let off = if rng.percent(50) { "^" } else { "" };
            let word = format!("{off}{}", rng.pick(FEATURES));
            options.features.extend(features::parse(&word).unwrap());
        }
        // From far too small to roomy.
        let len = (2 << 20) << rng.below(7);
        match plan(&options, len) {
            Ok(plan) => {
                made += 1;
                let fsck = oracle::e2fsck_device(&written(&plan), FsckMode::Check).unwrap();
                assert!(fsck.is_clean(), "seed {seed}: {fsck:?}");
            }
            Err(err) => {
                refused += 1;
                let line = err.to_string();
                assert!(!line.contains("not sound") && !line.contains('\n'), "seed {seed}: {line}");
            }
        }
    }
    eprintln!("{made} made, {refused} refused");
    assert!(made > 5 && refused > 5);
}

#[test]
fn the_plan_counts_files_by_kind() {
    let plan = plan(&ext4(trees::mixed()), LEN).unwrap();
    let text = plan.to_string();
    let line = text.lines().find(|line| line.starts_with("files: ")).unwrap();
    assert!(line.contains("44 directories"), "{line}");
    assert!(line.contains("607 regular files"), "{line}");
    assert!(line.contains("3 symbolic links, 4 others"), "{line}");
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let with = |name: &str, node| {
        let mut tree = trees::root();
        let dir = tree.add(NodeId::ROOT, b"dir", trees::directory()).unwrap();
        tree.add(dir, name.as_bytes(), node).unwrap();
        tree
    };
    let said = |tree| refusal(plan(&ext4(tree), LEN));
    assert_eq!(
        said(with("link", trees::symlink(&[b'a'; 1024]))),
        "/dir/link: a target of 1024 bytes, expected at most 1023"
    );
    assert_eq!(said(with("link", trees::symlink(b""))), "/dir/link: an empty target");
    assert_eq!(said(with("link", trees::symlink(b"a\0"))), "/dir/link: a NUL in the target");
    assert_eq!(
        said(with("huge", trees::sparse(1 << 42, &[]))),
        "/dir/huge: 4398046511104 bytes, expected at most 4398046510080 with these features"
    );
    let line = said(with("much", trees::file(200 << 20)));
    let (found, rest) = line.split_once(" bytes are too few, expected at least ").unwrap();
    assert_eq!(found, LEN.to_string());
    let (expected, rest) = rest.split_once(": ").unwrap();
    assert_eq!(rest, "no room for /dir/much, which takes 204800 blocks");
    let much = ext4(with("much", trees::file(200 << 20)));
    let expected = expected.parse().unwrap();
    assert!(plan(&much, expected).is_ok());
    assert!(plan(&much, expected - 4096).is_err());
    let large = |kind, change: fn(&mut Options)| {
        let tree = Arc::new(with("large", trees::sparse(1 << 35, &[])));
        refusal(plan(
            &options(kind, if kind == Kind::Ext2 { "none" } else { "" }, change, &tree),
            LEN,
        ))
    };
    assert_eq!(
        large(Kind::Ext3, |_| {}),
        "/dir/large: 34359738368 bytes, expected at most 17247252480 without the feature extent"
    );
    assert_eq!(
        large(Kind::Ext2, |it| it.revision = 0),
        "/dir/large: 34359738368 bytes, expected at most 2147483647 in a filesystem of revision 0"
    );
    let device = ext4_tree::Kind::CharDevice { major: 4096, minor: 0 };
    assert_eq!(
        said(with("dev", trees::node(device))),
        "/dir/dev: device 4096:0, expected numbers of 12 and 20 bits"
    );
    let mut options = ext4(trees::mixed());
    options.inodes = Some(100);
    let line = refusal(plan(&options, LEN));
    assert!(line.ends_with("expected at least 668: raise the count (-N)"), "{line}");
}

#[test]
fn more_inodes_are_made_than_the_ratio_gives_when_files_need_them() {
    let mut tree = trees::root();
    for nr in 0..3000 {
        tree.add(NodeId::ROOT, format!("{nr}").as_bytes(), trees::file(0)).unwrap();
    }
    let plan = plan(&ext4(tree), 4 << 20).unwrap();
    assert!(plan.geometry.inodes_count >= 3013);
    assert!(plan.superblock.free_inodes_count < 300);
}
