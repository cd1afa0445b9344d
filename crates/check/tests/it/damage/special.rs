//! Directories that are encrypted, folded or inside their inode, and values of attributes in inodes.

use super::{Case, all_are_found_and_mended};

const CASES: &[Case] = &[];

#[test]
fn each_damage_of_special_directories_is_found_and_mended() {
    all_are_found_and_mended(CASES);
}
