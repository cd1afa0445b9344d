//! A repair that is ended from outside while it is written.

use crate::rig::{EXE, Scratch, damaged, expect};
use ext4_testkit::image::Image;
use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Starts a repair of the image.
fn begin(scratch: &Scratch) -> Child {
    let mut command = Command::new(EXE);
    command.arg("-y").arg(&scratch.file).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Waits until the image is no longer as it was: the writing has begun. Whether that came before the
/// end of the program.
fn wait_for_first_write(child: &mut Child, scratch: &Scratch, image: &Image) -> bool {
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < Duration::from_mins(1), "nothing is written");
        if scratch.bytes() != image.bytes()[..] {
            return true;
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
    }
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").arg(name).arg(child.id().to_string()).status();
    assert!(status.is_ok(), "no kill");
}

#[test]
fn a_signal_while_a_repair_is_written_does_not_keep_it_from_its_end() {
    let Some(image) = damaged() else { return };
    for name in ["-INT", "-TERM"] {
        let scratch = Scratch::new(&image);
        let mut child = begin(&scratch);
        if wait_for_first_write(&mut child, &scratch, &image) {
            signal(&child, name);
        }
        assert_eq!(child.wait().unwrap().code(), Some(1), "after {name}");
        assert!(scratch.is_clean(), "after {name}");
    }
}

#[test]
fn a_repair_that_is_killed_is_completed_by_the_next() {
    let Some(image) = damaged() else { return };
    for _ in 0..5 {
        let scratch = Scratch::new(&image);
        let mut child = begin(&scratch);
        wait_for_first_write(&mut child, &scratch, &image);
        let _ = child.kill();
        child.wait().unwrap();
        let again = scratch.run(&["-y"]);
        assert!(matches!(again.code, Some(0 | 1)), "{}", again.text());
        expect(&scratch.run(&["-n"]), 0);
        assert!(scratch.is_clean());
    }
}

#[test]
fn a_plan_is_not_carried_out_on_what_a_cut_left_of_it() {
    let Some(image) = damaged() else { return };
    let scratch = Scratch::new(&image);
    expect(&scratch.run(&["-n", "--plan", "@plan"]), 4);
    expect(&scratch.run(&["--apply", "@plan"]), 1);
    let repaired = scratch.bytes();
    // Cut in the middle: what is in the first half of the image came to it, the rest did not.
    let half = repaired.len() / 2;
    let cut = [&repaired[..half], &image.bytes()[half..]].concat();
    for left in [repaired, cut] {
        std::fs::write(&scratch.file, &left).unwrap();
        let again = scratch.run(&["--apply", "@plan"]);
        expect(&again, 8);
        let said = String::from_utf8_lossy(&again.stderr).into_owned();
        assert!(said.contains("wholly or up to a cut"), "{said}");
        assert!(scratch.bytes() == left, "something was written");
    }
    scratch.run(&["-y"]);
    expect(&scratch.run(&["-n"]), 0);
    assert!(scratch.is_clean());
}
