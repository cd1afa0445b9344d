//! Repairs that are taken back, whole ones and cut ones.

use crate::rig::{EXE, Scratch, damaged, expect, is_there};
use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

#[test]
fn a_repair_is_taken_back_to_the_last_byte() {
    let Some(image) = damaged() else { return };
    let scratch = Scratch::new(&image);
    expect(&scratch.run(&["-y", "--undo", "@undo"]), 1);
    assert!(scratch.is_clean());
    let out = scratch.run(&["--rollback", "@undo", "--json"]);
    expect(&out, 1);
    assert!(scratch.bytes() == image.bytes()[..], "not as it was");
    let told: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(told["exit_code"], 1);
    assert!(told["restored_bytes"].as_u64().unwrap() > 0, "{told}");
}

#[test]
fn an_image_that_was_written_to_since_is_not_taken_back() {
    let Some(image) = damaged() else { return };
    let scratch = Scratch::new(&image);
    expect(&scratch.run(&["-y", "--undo", "@undo"]), 1);
    ext4_testkit::oracle::debugfs_write(&scratch.file, "mkdir /new\n").unwrap();
    let before = scratch.bytes();
    expect(&scratch.run(&["--rollback", "@undo"]), 8);
    assert!(scratch.bytes() == before);
}

#[test]
fn a_killed_repair_is_taken_back() {
    let Some(image) = damaged() else { return };
    for micros in (0..24).map(|it| it * 700) {
        let scratch = Scratch::new(&image);
        let mut child = Command::new(EXE)
            .args(["-y", "--undo"])
            .args([&scratch.path("undo"), &scratch.file])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_micros(micros));
        // It may have come to its end.
        let _ = child.kill();
        child.wait().unwrap();
        if scratch.bytes() != image.bytes()[..] {
            expect(&scratch.run(&["--rollback", "@undo"]), 1);
        }
        assert!(scratch.bytes() == image.bytes()[..], "killed after {micros} us: not as it was");
        // Whatever is left of the undo file, a new run does not take it for its own.
        let _ = fs::remove_file(scratch.path("undo"));
        expect(&scratch.run(&["-y"]), 1);
        assert!(scratch.is_clean());
    }
}

/// Each part of what a repair changes may have been written or not: whole blocks of both images.
#[test]
fn a_repair_of_which_any_part_was_written_is_taken_back() {
    let Some(image) = damaged() else { return };
    let scratch = Scratch::new(&image);
    expect(&scratch.run(&["-y", "--undo", "@undo"]), 1);
    let repaired = scratch.bytes();
    for cut in 1..12_usize {
        let mut torn = image.bytes().to_vec();
        let sectors = torn.chunks_mut(512).zip(repaired.chunks(512));
        for (n, (old, new)) in sectors.filter(|(a, b)| a != b).enumerate() {
            if (n * 7 + cut).is_multiple_of(cut + 1) {
                old.copy_from_slice(new);
            }
        }
        fs::write(&scratch.file, &torn).unwrap();
        expect(&scratch.run(&["--rollback", "@undo"]), 1);
        assert!(scratch.bytes() == image.bytes()[..], "cut {cut}: not as it was");
    }
}

#[test]
fn without_room_for_the_undo_file_nothing_is_written() {
    let Some(image) = damaged() else { return };
    let scratch = Scratch::new(&image);
    // No file grows beyond a block: what a full disk says too.
    let limited = "trap '' XFSZ; ulimit -f 1; exec \"$0\" -y --undo \"$1\" \"$2\"";
    let out = Command::new("bash")
        .args(["-c", limited, EXE])
        .args([&scratch.path("undo"), &scratch.file])
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(8), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(scratch.bytes() == image.bytes()[..], "the image was written to");
    assert!(!is_there(&scratch.path("undo")), "half an undo file is left");
}

#[test]
fn an_undo_file_does_not_replace_a_file() {
    let Some(image) = damaged() else { return };
    let scratch = Scratch::new(&image);
    fs::write(scratch.path("undo"), "mine").unwrap();
    expect(&scratch.run(&["-y", "--undo", "@undo"]), 8);
    assert!(scratch.bytes() == image.bytes()[..]);
    assert_eq!(fs::read(scratch.path("undo")).unwrap(), b"mine");
}
