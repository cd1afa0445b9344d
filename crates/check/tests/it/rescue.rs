//! What a repair takes away is found, all of it and nothing else.

use crate::kit::{inode, mend, set, set16, with_inode, word};
use ext4_check::rescue::{Loss, Rescue};
use ext4_testkit::{
    image::{Image, Recipe},
    oracle,
};

/// A file of several blocks, with a hole, and one with attributes in a folder.
const A: u32 = 12;
const HOLES: u32 = 13;
const D: u32 = 14;
const X: u32 = 15;

fn contents(n: u8) -> Vec<u8> {
    (0..5000_u32).map(|it| (it % 251) as u8 ^ n).collect()
}

fn base(profile: &str) -> Option<Image> {
    let image = Recipe::new(profile)
        .mib(8)
        .write("/a", contents(1))
        .write("/holes", [2; 1024])
        .mkdir("/d")
        .write("/d/x", contents(3))
        .image()?;
    Some(damaged(&image, "punch /holes 0 0\nea_set /d/x user.one first\nea_set /d/x user.two 2\n"))
}

fn damaged(image: &Image, requests: &str) -> Image {
    let scratch = oracle::scratch().unwrap();
    let file = scratch.path().join("disk.img");
    image.save(&file).unwrap();
    oracle::debugfs_write(&file, requests).expect("debugfs does it");
    Image::load(&file).unwrap()
}

/// All losses, each with the contents of its first layer, holes as zeros.
#[track_caller]
fn losses(image: &Image) -> (Vec<(Loss, Vec<u8>)>, bool) {
    let (outcome, _) = mend(image, 1);
    assert!(outcome.is_settled && outcome.fixed > 0, "{:#?}", outcome.findings);
    let mut rescue = Rescue::new(&outcome).unwrap().expect("something to compare");
    let mut all = Vec::new();
    while let Some(loss) = rescue.next_loss().unwrap() {
        let mut bytes = Vec::new();
        for extract in loss.contents.first().into_iter().flatten() {
            bytes.resize(usize::try_from(extract.offset).unwrap(), 0);
            bytes.extend(rescue.read(extract, 0, usize::MAX).unwrap());
        }
        all.push((loss, bytes));
    }
    (all, rescue.is_cut())
}

/// The only loss.
#[track_caller]
fn loss(image: &Image) -> (Loss, Vec<u8>) {
    let (mut all, is_cut) = losses(image);
    assert!(all.len() == 1 && !is_cut, "{all:#?}");
    all.remove(0)
}

fn broken_mode(it: &mut [u8]) {
    it[1] = 0x91;
}

#[test]
fn an_inode_that_is_cleared_loses_contents_attributes_and_itself() {
    for profile in ["ext4-1k", "ext3-1k", "inline-4k"] {
        let Some(image) = base(profile) else { return };
        let image = with_inode(&image, X, broken_mode);
        let (mut all, is_cut) = losses(&image);
        // Its name too, in the folder.
        let (folder, _) = all.remove(0);
        assert_eq!((folder.ino.get(), folder.is_gone), (D, false), "{profile}");
        assert_eq!(folder.names[0].0, b"x");
        let (it, bytes) = all.remove(0);
        assert_eq!((it.ino.get(), it.is_gone, it.size), (X, true, 5000), "{profile}");
        assert!(bytes == contents(3), "{profile}: other contents");
        assert_eq!(it.path.as_deref(), Some(&b"/d/x"[..]));
        assert_eq!(it.inode, inode(&image, X));
        let attributes =
            [("user.one", "first"), ("user.two", "2")].map(|(a, b)| (a.into(), b.into()));
        assert_eq!(it.attributes, attributes, "{profile}");
        assert!(all.is_empty() && !is_cut, "{all:#?}");
    }
}

#[test]
fn a_repair_of_counts_and_names_takes_nothing_away() {
    let Some(image) = base("ext4-1k") else { return };
    let requests = "sif /a links_count 9\nsetb 5000 9\nfreei /d/x\nunlink /d\nsif /a blocks 2\n";
    assert!(losses(&damaged(&image, requests)).0.is_empty());
}

#[test]
fn blocks_that_two_files_have_are_copied_and_not_lost() {
    let Some(image) = base("ext4-1k") else { return };
    let map = inode(&image, A)[0x28..0x64].to_vec();
    let image = with_inode(&image, X, |it| it[0x28..0x64].copy_from_slice(&map));
    assert!(losses(&image).0.is_empty());
}

#[test]
fn an_extent_that_is_dropped_loses_what_is_on_the_device() {
    let Some(image) = base("ext4-1k") else { return };
    // Its length reaches beyond the device's end.
    let image = with_inode(&image, A, |it| set16(it, 0x38, 8000));
    let (it, bytes) = loss(&image);
    assert_eq!((it.ino.get(), it.is_gone), (A, false));
    assert!(bytes.starts_with(&contents(1)));
    assert!(bytes.len() < 8 << 20);
}

#[test]
fn a_size_without_end_is_as_long_as_what_is_mapped() {
    let Some(image) = base("ext4-1k") else { return };
    let image = with_inode(&image, A, |it| {
        set16(it, 0x1A, 0);
        set(it, 0x6C, 0x1000_0000);
    });
    let (all, _) = losses(&image);
    let (it, bytes) = all.iter().find(|it| it.0.ino.get() == A).expect("the file");
    assert!(bytes.starts_with(&contents(1)) && bytes.len() == 5120, "{it:#?}");
}

#[test]
fn holes_are_none_of_the_contents() {
    let Some(image) = base("ext4-1k") else { return };
    let image = with_inode(&image, HOLES, broken_mode);
    let (all, _) = losses(&image);
    let (it, _) = all.iter().find(|it| it.0.ino.get() == HOLES).expect("the file");
    assert!(it.is_gone && it.contents.is_empty(), "{it:#?}");
}

#[test]
fn a_file_whose_links_read_none_is_rescued_with_its_name() {
    let Some(image) = base("ext4-1k") else { return };
    let image = with_inode(&image, X, |it| set16(it, 0x1A, 0));
    let (all, _) = losses(&image);
    let (folder, _) = &all[0];
    assert_eq!((folder.ino.get(), folder.names[0].1.get()), (D, X));
    let (it, bytes) = &all[1];
    assert_eq!((it.ino.get(), it.path.as_deref()), (X, Some(&b"/d/x"[..])));
    assert!(*bytes == contents(3));
}

#[test]
fn of_attributes_that_are_cleared_those_that_can_be_read_are_lost() {
    let Some(image) = base("ext4-1k") else { return };
    let at = |it: &[u8]| it.windows(3).position(|it| it == b"two").expect("the second name");
    // A value longer than the inode.
    let image = with_inode(&image, X, |it| {
        let at = at(it);
        set(it, at - 8, 3000);
    });
    let (it, bytes) = loss(&image);
    assert_eq!((it.ino.get(), it.is_gone, bytes.len()), (X, false, 0));
    assert_eq!(it.attributes, [(b"user.one".to_vec(), b"first".to_vec())]);
}

#[test]
fn a_broken_block_of_a_directory_is_kept_as_it_was() {
    let Some(image) = base("ext3-1k") else { return };
    let home = u64::from(word(&inode(&image, D), 0x28));
    // The record of `x` says a length that none has.
    let image = crate::kit::with_block(&image, home, |it| set16(it, 28, 3));
    let (all, _) = losses(&image);
    let (it, bytes) = all.iter().find(|it| it.0.ino.get() == D).expect("the folder");
    assert!(!it.is_gone);
    assert_eq!(*bytes, crate::kit::block(&image, home));
}

#[test]
fn many_inodes_with_one_map_are_no_more_than_the_device() {
    // No group hides its unused inodes.
    let Some(mut image) = base("ext4-nocsum") else { return };
    let mut model = inode(&image, A);
    // As long as the device.
    set16(&mut model, 0x38, 2000);
    set(&mut model, 4, 2000 << 12);
    broken_mode(&mut model);
    for ino in 20..60 {
        image = with_inode(&image, ino, |it| it.copy_from_slice(&model));
    }
    let (outcome, _) = mend(&image, 1);
    let mut rescue = Rescue::new(&outcome).unwrap().expect("something to compare");
    let (mut kept, mut not_kept, mut n) = (0, 0, 0);
    while let Some(loss) = rescue.next_loss().unwrap() {
        kept += loss.contents.iter().flatten().map(ext4_check::rescue::Extract::len).sum::<u64>();
        not_kept += loss.not_kept;
        n += 1;
    }
    assert!(rescue.is_cut() && n >= 40 && not_kept > 0);
    assert!(kept > 5000 && kept <= 8 << 20, "{kept} bytes kept");
}
