//! What the text looks like: the cases of `show.trycmd`, on an image made for them.
#![cfg(test)]

use ext4_testkit::{image::Recipe, oracle};
use std::{env, path::Path};

#[test]
fn the_text_of_every_question_is_what_the_cases_say() {
    let recipe = Recipe::new("ext4-1k")
        .mib(8)
        .mkdir("/var")
        .write("/var/db.bin", vec![7; 5000])
        .write("/empty", "")
        .debugfs("symlink /link /var/db.bin")
        .debugfs("fallocate /var/db.bin 5 20")
        .debugfs("ea_set /var/db.bin user.comment hello");
    let Some(image) = recipe.image() else { return };
    let scratch = oracle::scratch().unwrap();
    image.save(&scratch.path().join("disk.img")).unwrap();
    // The cases name the image without a folder. The only test of this program, so nobody else
    // is led astray.
    env::set_current_dir(scratch.path()).unwrap();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/cli/ext4-debug-show");
    trycmd::TestCases::new().case(cases.join("*.trycmd"));
}
