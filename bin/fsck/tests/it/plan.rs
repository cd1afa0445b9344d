//! A plan that is kept and carried out later.

use crate::rig::{Scratch, damaged, expect, is_there};

#[test]
fn a_plan_carried_out_leaves_what_a_repair_leaves() {
    let Some(image) = damaged() else { return };
    let planned = Scratch::new(&image);
    expect(&planned.run_at_one_time(&["-n", "--plan", "@plan"]), 4);
    assert!(planned.bytes() == image.bytes()[..], "-n wrote something");
    expect(&planned.run_at_one_time(&["--apply", "@plan"]), 1);
    let repaired = Scratch::new(&image);
    expect(&repaired.run_at_one_time(&["-y"]), 1);
    assert!(planned.is_clean() && repaired.is_clean());
    let [a, b] = [planned, repaired].map(|it| it.bytes());
    let differ = a.iter().zip(&b).enumerate().filter(|(_, (a, b))| a != b).map(|(at, _)| at);
    assert_eq!(differ.take(9).collect::<Vec<usize>>(), [0_usize; 0]);
}

#[test]
fn a_plan_for_another_image_writes_nothing() {
    let Some(image) = damaged() else { return };
    let scratch = Scratch::new(&image);
    expect(&scratch.run(&["-n", "--plan", "@plan"]), 4);
    ext4_testkit::oracle::debugfs_write(&scratch.file, "setb 6000 1\n").unwrap();
    let before = scratch.bytes();
    expect(&scratch.run(&["--apply", "@plan", "--undo", "@undo", "--rescue", "@lost"]), 8);
    assert!(scratch.bytes() == before, "the image was written to");
    assert!(!is_there(&scratch.path("undo")), "there is an undo file for nothing");
    assert!(!is_there(&scratch.path("lost")), "there is a rescue folder for nothing");
}

#[test]
fn a_plan_does_not_replace_a_file() {
    let Some(image) = damaged() else { return };
    let scratch = Scratch::new(&image);
    std::fs::write(scratch.path("plan"), "mine").unwrap();
    expect(&scratch.run(&["-n", "--plan", "@plan", "--rescue", "@lost"]), 8);
    assert_eq!(std::fs::read(scratch.path("plan")).unwrap(), b"mine");
    assert!(!is_there(&scratch.path("lost")), "there is a rescue folder for nothing");
}

#[test]
fn plans_and_undo_files_are_files() {
    let Some(image) = damaged() else { return };
    let scratch = Scratch::new(&image);
    let fifo = scratch.path("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    for option in ["--apply", "--rollback"] {
        for name in ["@fifo", "/dev/zero", "/"] {
            let out = scratch.run(&[option, name]);
            expect(&out, 8);
            let said = String::from_utf8_lossy(&out.stderr);
            assert!(said.contains("not a regular file"), "{said}");
        }
    }
    assert!(scratch.bytes() == **image.bytes());
}
