//! Exit codes, what is printed, and that nothing depends on the number of threads.

use crate::rig::{EXE, Scratch, damaged, expect, run, sound};
use ext4_testkit::{
    oracle::{self, Need, skip_without},
    process,
};
use std::{ffi::OsStr, fs, os::unix::fs::PermissionsExt as _, time::Duration};

#[test]
fn a_sound_filesystem_is_zero_and_not_changed() {
    let Some(image) = sound() else { return };
    let scratch = Scratch::new(&image);
    for options in [&["-n"][..], &["-p", "-f"], &["-y"]] {
        expect(&scratch.run(options), 0);
    }
    assert!(scratch.is_clean());
}

#[test]
fn looking_finds_it_and_changes_no_byte() {
    let Some(image) = damaged() else { return };
    let scratch = Scratch::new(&image);
    expect(&scratch.run(&["-n"]), 4);
    assert!(scratch.bytes() == image.bytes()[..], "-n wrote something");
}

#[test]
fn a_repair_is_one_and_the_next_run_zero() {
    let Some(image) = damaged() else { return };
    let scratch = Scratch::new(&image);
    expect(&scratch.run(&["-y"]), 1);
    assert!(scratch.is_clean());
    expect(&scratch.run(&["-n"]), 0);
}

#[test]
fn what_needs_a_decision_stops_an_unattended_run() {
    let Some(image) = damaged() else { return };
    let scratch = Scratch::new(&image);
    expect(&scratch.run(&["-p", "-f"]), 4);
    let mut bytes = scratch.bytes();
    // The superblock says that there are errors.
    bytes[1024..2048].copy_from_slice(&image.bytes()[1024..2048]);
    assert!(bytes == image.bytes()[..], "a run that was stopped wrote something");
}

#[test]
fn what_is_no_filesystem_is_eight_and_wrong_usage_sixteen() {
    let Some(image) = damaged() else { return };
    let scratch = Scratch::new(&image);
    let zeros = scratch.path("zeros");
    fs::write(&zeros, vec![0; 1 << 20]).unwrap();
    expect(&run(["-y".as_ref(), zeros.as_os_str()]), 8);
    assert!(fs::read(&zeros).unwrap().iter().all(|it| *it == 0));
    expect(&scratch.run(&["-n", "-y"]), 16);
    assert!(scratch.bytes() == image.bytes()[..]);
}

#[test]
fn an_image_that_may_only_be_read_can_be_looked_at() {
    let Some(image) = damaged() else { return };
    let scratch = Scratch::new(&image);
    fs::set_permissions(&scratch.file, fs::Permissions::from_mode(0o444)).unwrap();
    expect(&scratch.run(&["-n"]), 4);
}

#[test]
fn json_tells_of_each_finding_where_what_and_what_is_done() {
    let Some(image) = damaged() else { return };
    let scratch = Scratch::new(&image);
    for (option, code, done) in [("-n", 4, false), ("-y", 1, true)] {
        let out = scratch.run(&[option, "--json"]);
        expect(&out, code);
        let all: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(all["exit_code"], code);
        let findings = all["findings"].as_array().unwrap();
        assert!(findings.len() > 5, "{all:#}");
        for it in findings {
            for key in ["id", "where", "what", "found", "expected", "fix"] {
                assert!(it[key].is_string(), "{key} of {it:#}");
            }
            assert!(!it["where"].as_str().unwrap().is_empty(), "{it:#}");
            let has_fix = !it["fix"].as_str().unwrap().is_empty();
            assert_eq!(it["done"], done && has_fix, "{it:#}");
        }
        // `/a` has lost its name, `/b` has not.
        let path = |ino| findings.iter().find(|it| it["inode"] == ino).map(|it| &it["path"]);
        let [a, b] = [12, 13].map(|it| path(it).expect("a finding of this inode"));
        assert!(a.is_null() && b == "/b", "{all:#}");
    }
}

#[test]
fn any_number_of_threads_says_and_writes_the_same() {
    let Some(image) = damaged() else { return };
    let scratch = Scratch::new(&image);
    expect(&scratch.run(&["-n", "--plan", "@plan"]), 4);
    let results = ["1", "2", "5"].map(|n| {
        image.save(&scratch.file).unwrap();
        let looked = scratch.run(&["-n", "--threads", n]);
        // A plan holds the time, so that the bytes can be compared.
        let out = scratch.run(&["--apply", "@plan", "--threads", n]);
        expect(&out, 1);
        // What goes to the other stream tells of the machine: who else has the image open.
        (looked.stdout, out.stdout, scratch.bytes())
    });
    assert!(results[0] == results[1] && results[1] == results[2]);
}

#[test]
fn an_unattended_run_looks_when_a_check_is_due() {
    let Some(image) = sound() else { return };
    let scratch = Scratch::new(&image);
    let skipped = |scratch: &Scratch| {
        let told = scratch.run(&["-p", "--json"]);
        expect(&told, 0);
        told.text().contains("\"skipped\": true")
    };
    assert!(skipped(&scratch), "nothing is due");
    let tune = |requests: &str| {
        oracle::debugfs_write(&scratch.file, requests).unwrap();
    };
    tune("ssv max_mnt_count 20\nssv mnt_count 20\n");
    assert!(!skipped(&scratch), "20 of 20 mounts");
    assert!(skipped(&scratch), "the count begins again after a check");
    tune("ssv checkinterval 86400\nssv lastcheck 20200101\n");
    assert!(!skipped(&scratch), "years ago, one day is allowed");
    assert!(skipped(&scratch), "the last check was just now");
    assert!(scratch.is_clean());
}

/// A device that fails: what was found before is told all the same, and nothing is written.
#[test]
fn what_was_found_before_a_read_failed_is_told() {
    if skip_without(&[Need::Strace]) {
        return;
    }
    let Some(image) = damaged() else { return };
    let mut most = 0;
    for nth in (20..).step_by(20) {
        let scratch = Scratch::new(&image);
        let inject = format!("inject=pread64:error=EIO:when={nth}+");
        let trace = ["-f", "-o", "/dev/null", "-e", "trace=pread64", "-e", &inject, EXE];
        let options = ["-fy", "--json", "--threads", "1"];
        let args = trace.iter().chain(&options).map(OsStr::new).chain([scratch.file.as_os_str()]);
        let out = process::run("strace", args, &[], b"", Duration::from_mins(1)).unwrap();
        if out.code == Some(1) {
            break;
        }
        expect(&out, 8);
        // Before the check and while a repair is written there is nothing to tell of findings.
        if let Ok(told) = serde_json::from_slice::<serde_json::Value>(&out.stdout) {
            assert!(scratch.bytes() == **image.bytes(), "something was written, read {nth}");
            assert_eq!(told["exit_code"], 8);
            assert!(told["stopped_by"].is_string());
            let findings = told["findings"].as_array().unwrap();
            assert!(findings.iter().all(|it| it["done"] == false));
            most = most.max(findings.len());
        }
    }
    assert!(most > 3, "{most} findings at the most");
}

/// A reader that goes away (`| head`) does not make a damaged filesystem a sound one, nor does a full disk
/// a repair none.
#[test]
fn what_cannot_be_printed_is_in_the_exit_code_all_the_same() {
    let Some(image) = damaged() else { return };
    for (option, output, code) in [
        ("-n", "| true", 4),
        ("-n", "> /dev/full", 12),
        ("-y", "| true", 1),
        ("-y", "> /dev/full", 9),
    ] {
        let scratch = Scratch::new(&image);
        let line = format!("(sleep 0.2; \"$0\" \"$@\"; echo $? >&2) {output}");
        let args = ["-c", &line, EXE, option].map(OsStr::new);
        let args = args.into_iter().chain([scratch.file.as_os_str()]);
        let out = process::run("sh", args, &[], b"", Duration::from_mins(1)).unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(said.lines().last(), Some(&*code.to_string()), "{option} {output}: {said}");
        assert_eq!(scratch.is_clean(), option == "-y");
    }
}

#[test]
fn any_number_of_threads_can_be_asked_for() {
    let Some(image) = damaged() else { return };
    for threads in ["0", "100000", "18446744073709551615"] {
        expect(&Scratch::new(&image).run(&["-y", "--threads", threads]), 1);
    }
}
