//! 58 and 59: numbers that pass 32 bits.

use super::{
    Op, PATH, Write, errno,
    face::Face,
    stage::{Stage, both, file},
    write,
};
use ext4_dio::Step;
use ext4_testkit::{
    image::{Image, Recipe},
    oracle,
    view::View,
};

const LARGE_FILE: u32 = 2;
const HUGE_FILE_FL: u32 = 0x4_0000;

#[test]
fn s58_the_first_large_file_sets_the_feature() {
    let recipe = file("ext4-4k", 0).options("-O ^large_file,^resize_inode");
    let Some(image) = recipe.image() else { return };
    assert_eq!(Face::of(&image).unwrap().ro_compat & LARGE_FILE, 0);
    // One byte less than 2^31 needs it not.
    let Some(ran) = both(&recipe, &[Op::Truncate((1 << 31) - 1)]) else { return };
    assert_eq!(ran.face.ro_compat & LARGE_FILE, 0);
    let Some(ran) = both(&recipe, &[write((1 << 31) - 4096, 4096)]) else { return };
    ran.expect(&[Ok(4096)], 1 << 31, "W524287");
    assert_eq!(ran.face.ro_compat & LARGE_FILE, LARGE_FILE);
}

#[test]
fn s58_the_feature_comes_in_the_transaction_of_the_size() {
    let Some(image) = file("ext4-4k", 0).options("-O ^large_file,^resize_inode").image() else {
        return;
    };
    let at = Write::new((1 << 31) - 4096, 8192);
    let before = |step: &Step| matches!(step, Step::Drained);
    let after = |step: &Step| matches!(step, Step::Sized { .. });
    for (until, size, feature) in
        [(&before as &dyn Fn(&Step) -> bool, 0, 0), (&after, (1 << 31) + 4096, LARGE_FILE)]
    {
        let stage = Stage::new(&image);
        stage.write_until(at, until);
        let face = stage.crash_committed().recover();
        assert_eq!((face.size, face.ro_compat & LARGE_FILE), (size, feature));
    }
}

/// `/f` of one block that says it has so many 512-byte units.
fn counted(recipe: &Recipe, sectors: u64) -> Option<Image> {
    recipe.clone().debugfs(&format!("set_inode_field {PATH} blocks {sectors:#x}")).image()
}

/// `i_blocks` low, high, and whether the unit is a block, after a write of one block.
fn counts(image: &Image, at: u64) -> (Result<u64, i32>, (u32, u16, bool)) {
    let device = image.overlay();
    let stage = Stage::on(device.clone());
    let res = stage.write(Write::new(at, 4096));
    stage.fs.close().unwrap();
    let view = View::new(&*device).unwrap();
    let node = view.inode(view.paths().unwrap()[&PATH[1..]]).unwrap();
    let raw = &node.raw;
    let counts = (raw.i_blocks_lo.get(), raw.l_i_blocks_high.get(), node.has(HUGE_FILE_FL));
    if res.is_ok() {
        let truth = 8 + at / 512;
        // The count is a lie; with the true one nothing is wrong.
        let scratch = oracle::scratch().unwrap();
        let file = scratch.path().join("image");
        oracle::save(&*device, &file).unwrap();
        let flags = raw.i_flags.get() & !HUGE_FILE_FL;
        let mend = format!(
            "set_inode_field {PATH} flags {flags:#x}\nset_inode_field {PATH} blocks {truth}\n"
        );
        oracle::debugfs_write(&file, &mend).unwrap();
        let found = oracle::e2fsck(&file, oracle::FsckMode::Check).unwrap();
        assert!(found.is_clean(), "{found:?}");
    }
    (res.map(|it| it.written).map_err(|err| err.errno()), counts)
}

#[test]
fn s59_block_counts_pass_32_bits() {
    let plain = file("ext4-4k", 4096);
    let Some(image) = counted(&plain, (1 << 32) - 16) else { return };
    assert_eq!(counts(&image, 4096), (Ok(4096), (0xFFFF_FFF8, 0, false)));
    let Some(image) = counted(&plain, (1 << 32) - 8) else { return };
    assert_eq!(counts(&image, 4096), (Ok(4096), (0, 1, false)));
    // An overwrite changes no count.
    assert_eq!(counts(&image, 0), (Ok(4096), (0xFFFF_FFF8, 0, false)));
}

#[test]
fn s59_block_counts_that_pass_48_bits_are_counted_in_blocks() {
    let Some(image) = counted(&file("ext4-4k", 4096), (1 << 48) - 8) else { return };
    // 2^45 blocks.
    assert_eq!(counts(&image, 4096), (Ok(4096), (0, 1 << 13, true)));
}

#[test]
fn s59_without_huge_file_the_count_ends_at_32_bits() {
    let recipe = file("ext4-4k", 4096).options("-O ^huge_file");
    let Some(image) = counted(&recipe, (1 << 32) - 8) else { return };
    let (res, counts) = counts(&image, 4096);
    assert!(res.is_err_and(|it| [errno::EFBIG, errno::EUCLEAN, errno::EOVERFLOW].contains(&it)));
    assert_eq!(counts, (0xFFFF_FFF8, 0, false));
}
