//! What is made better on request: smaller, still clean for e2fsck, and with the same contents.

use crate::kit::{NOW, inode, mend, with_inode};
use ext4_check::{
    Answer, Answers, Error, Finding, Optimize, Optimized, Options, Outcome, Pass, check,
};
use ext4_testkit::{
    image::{Image, Recipe, assert_clean},
    mount::Mount,
    oracle::{self, Need, skip_without},
    view::View,
};
use std::collections::BTreeMap;

const DIRECTORIES: Optimize = Optimize { directories: true, ..Optimize::NONE };
const EXTENTS: Optimize = Optimize { extents: true, ..Optimize::NONE };
const BLOCK_MAPS: Optimize = Optimize { block_maps: true, ..Optimize::NONE };
const SHARED: Optimize = Optimize { shared_blocks: true, ..Optimize::NONE };

/// Answers yes to all.
struct Yes;

impl Answers for Yes {
    fn answer(&mut self, _finding: &Finding) -> Answer {
        Answer::Yes
    }
}

/// The image made better, what a check with the answer yes told, and how it ended.
fn improve(image: &Image, optimize: Optimize) -> (ext4_check::Result<()>, Outcome, Image) {
    let overlay = image.overlay();
    let options = Options { optimize, ..Options::new(NOW) };
    let mut outcome = Outcome::default();
    let result = check(&overlay, &options, &mut Yes, &mut outcome);
    let mut bytes = image.bytes().to_vec();
    ext4_blockdev::BlockDevice::read_at(&*overlay, 0, &mut bytes).unwrap();
    (result, outcome, Image::new(bytes))
}

/// Paths with inode and contents, by a reader of its own.
fn contents(image: &Image) -> BTreeMap<String, (u32, Vec<u8>)> {
    let device = image.device();
    let view = View::new(&*device).unwrap();
    let of = |ino| {
        let node = view.inode(ino).unwrap();
        let is_file = node.file_type() == 0x8000;
        let len = if is_file { usize::try_from(node.size()).unwrap() } else { 0 };
        view.read(&node, 0, len).unwrap()
    };
    view.paths().unwrap().into_iter().map(|(path, ino)| (path, (ino, of(ino)))).collect()
}

/// Makes an image better: nothing is told, e2fsck and we find nothing in it, all names and contents
/// are there, and a second time finds nothing to do.
#[track_caller]
fn improves(image: &Image, optimize: Optimize) -> (Optimized, Image) {
    let (result, outcome, improved) = improve(image, optimize);
    result.unwrap();
    // debugfs leaves copies and times of the superblock behind.
    let told: Vec<_> = outcome.findings.iter().filter(|it| it.problem.pass > Pass::Zero).collect();
    assert!(told.is_empty(), "{told:#?}");
    assert!(contents(&improved) == contents(image), "names or contents differ");
    if !skip_without(&[Need::E2fsck]) {
        assert_clean(&*improved.device()).unwrap();
    }
    let (rest, _) = mend(&improved, 2);
    assert_eq!(rest.findings.len(), 0, "{:#?}", rest.findings);
    let (result, again, same) = improve(&improved, optimize);
    result.unwrap();
    assert!(again.optimized.unwrap().is_empty(), "{:?}", again.optimized);
    assert!(same.bytes() == improved.bytes(), "the second time writes something");
    (outcome.optimized.unwrap(), improved)
}

/// Many names in two directories, most of which are gone again from the second one.
fn names(profile: &str) -> Option<Image> {
    let mut recipe = Recipe::new(profile).mkdir("/many").mkdir("/few");
    for nr in 0..150 {
        recipe = recipe.write(&format!("/many/a_name_of_some_length_{nr:03}"), [nr; 7]);
        recipe = recipe.write(&format!("/few/another_name_of_some_length_{nr:03}"), [nr; 9]);
    }
    for nr in 3..150 {
        recipe = recipe.debugfs(&format!("rm /few/another_name_of_some_length_{nr:03}"));
    }
    recipe.image()
}

fn blocks_of(image: &Image, dir: &str) -> u64 {
    let device = image.device();
    let view = View::new(&*device).unwrap();
    let node = view.inode(view.paths().unwrap()[dir]).unwrap();
    node.size() / view.block_size as u64
}

#[test]
fn directories_get_an_index_or_as_few_blocks_as_their_names_need() {
    for profile in ["ext4-1k", "ext3-1k", "bigalloc-1k", "quota-4k", "modern-4k"] {
        let Some(image) = names(profile) else { return };
        let (done, improved) = improves(&image, DIRECTORIES);
        assert!(done.directories > 0 && done.directories_left == 0, "{profile}: {done:?}");
        assert_eq!(blocks_of(&improved, "few"), 1, "{profile}");
        let many = contents(&improved)["many"].0;
        let is_indexed = inode(&improved, many)[0x21] & 0x10 != 0;
        assert!(is_indexed, "{profile}: /many has {} blocks", blocks_of(&improved, "many"));
        let kept = |it| blocks_of(it, "lost+found");
        assert_eq!(kept(&improved), kept(&image), "{profile}: the room in lost+found");
    }
}

#[test]
fn the_kernel_sees_the_same_tree_behind_it() {
    if skip_without(&[Need::Kernel]) {
        return;
    }
    let Some(image) = names("ext4-1k") else { return };
    let (_, improved) = improves(&image, DIRECTORIES);
    let dir = oracle::scratch().unwrap();
    let [before, after] = [("before", &image), ("after", &improved)].map(|(name, image)| {
        let file = dir.path().join(name);
        image.save(&file).unwrap();
        let mount = Mount::new(&file, "ro").unwrap();
        let tree = mount.manifest().unwrap();
        mount.unmount().unwrap();
        tree.without_blocks()
    });
    let differences = before.differences(&after);
    let sizes_only = |it: &&String| !it.contains("size");
    let rest: Vec<_> = differences.iter().filter(sizes_only).collect();
    assert!(rest.is_empty(), "{rest:#?}");
}

/// A file in pieces.
fn pieces() -> Vec<u8> {
    (0..40 * 1024_u32).map(|it| if it >> 10 & 1 == 0 { 7 } else { 0 }).collect()
}

#[test]
fn a_tree_that_fits_into_the_inode_goes_there() {
    let recipe = Recipe::new("ext4-1k").write("/sparse", pieces());
    let Some(image) = recipe.debugfs("punch /sparse 3 40").image() else { return };
    let ino = contents(&image)["sparse"].0;
    assert_eq!(inode(&image, ino)[0x2E], 1, "a tree of two levels to begin with");
    let (done, improved) = improves(&image, EXTENTS);
    assert_eq!(done.extents, 1);
    assert_eq!(inode(&improved, ino)[0x2E], 0);
}

#[test]
fn maps_of_blocks_become_trees_of_extents() {
    let large: Vec<u8> = (0..400_000_u32).map(|it| (it % 249) as u8).collect();
    let recipe = Recipe::new("ext3-1k")
        .mkdir("/d")
        .write("/d/large", large)
        .write("/sparse", pieces())
        .debugfs("symlink /short target")
        .debugfs("feature extent");
    let Some(image) = recipe.image() else { return };
    let (done, improved) = improves(&image, BLOCK_MAPS);
    // The two files, the directory, the root, and lost+found.
    assert_eq!(done.block_maps, 5);
    for path in ["d", "d/large", "sparse"] {
        let ino = contents(&improved)[path].0;
        assert!(inode(&improved, ino)[0x22] & 8 != 0, "{path}");
    }
}

/// Two files with one map, as `e2fsdroid` makes them.
fn shared(mib: u32) -> Option<Image> {
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|it| (it % 251) as u8).collect();
    let recipe = Recipe::new("ext4-1k").mib(mib).options("-O ^has_journal");
    let image =
        recipe.write("/a", bytes).write("/b", "").debugfs("feature shared_blocks").image()?;
    let whole = inode(&image, 12);
    Some(with_inode(&image, 13, |it| {
        // Size, count of sectors, flags and map.
        for range in [0x04..0x08, 0x1C..0x24, 0x28..0x64] {
            it[range.clone()].copy_from_slice(&whole[range]);
        }
    }))
}

#[test]
fn shared_blocks_become_copies() {
    let Some(image) = shared(16) else { return };
    let (rest, _) = mend(&image, 1);
    assert_eq!(rest.bad, 0, "sharing is allowed there: {:#?}", rest.findings);
    let (done, improved) = improves(&image, SHARED);
    assert_eq!((done.unshared, done.is_feature_cleared), (1, true));
    let map = |ino| inode(&improved, ino)[0x28..0x64].to_vec();
    assert!(map(12) != map(13));
}

#[test]
fn without_room_for_copies_nothing_is_unshared() {
    let Some(image) = shared(5) else { return };
    let (result, ..) = improve(&image, SHARED);
    assert!(matches!(result, Err(Error::NoSpace(_))), "{result:?}");
}
