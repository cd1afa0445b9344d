//! The program on the images of real crashes: what is promised of `-n`, of `-y` and of a second run,
//! on each of them.

use crate::run::{Scratch, code};
use ext4_testkit::{
    corpus::Corpus,
    image::Image,
    oracle::{self, FsckMode, Need, skip_without},
};

#[test]
fn every_crash_image_is_recovered_and_shown_before_without_a_change() {
    let Some(corpus) = Corpus::find() else { return };
    let has_e2fsck = !skip_without(&[Need::E2fsck]);
    let crashes = corpus.crashes().unwrap();
    let mut wrong = Vec::new();
    for crash in &crashes {
        let mut fault = |text: String| wrong.push(format!("{}: {text}", crash.name));
        let scratch = Scratch::new(&crash.image().unwrap());
        let before = scratch.bytes();

        let shown = scratch.run(&["-n"]);
        if !matches!(code(&shown), 0 | 4) || scratch.bytes() != before {
            fault(format!("-n: exit {}, or changed", code(&shown)));
        }
        let done = scratch.run(&["-y", "--json"]);
        let after = scratch.bytes();
        // What was shown is what was done.
        if (code(&shown) == 4) != (code(&done) == 1) || !matches!(code(&done), 0 | 1) {
            fault(format!("-y: exit {}: {}", code(&done), done.text()));
        }
        let again = scratch.run(&["-y", "--all-inodes"]);
        if code(&again) != 0 || scratch.bytes() != after {
            fault(format!("again: exit {}, or changed: {}", code(&again), again.text()));
        }
        for violation in crash.expected.judge(&Image::new(after)) {
            fault(violation.to_string());
        }
        if has_e2fsck {
            let e2fsck = oracle::e2fsck(scratch.file(), FsckMode::Check).unwrap();
            if !e2fsck.is_clean() {
                fault(format!("e2fsck: {e2fsck:?}"));
            }
        }
    }
    println!("{} crash images, {} faults", crashes.len(), wrong.len());
    assert!(crashes.len() >= 72, "{} images only", crashes.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_found_on_any_image_of_the_kernel_and_mke2fs() {
    let Some(corpus) = Corpus::find() else { return };
    let clean = corpus.clean().unwrap();
    for image in &clean {
        let scratch = Scratch::new(&Image::load(&image.file).unwrap());
        let before = scratch.bytes();
        let out = scratch.run(&["-n", "--all-inodes"]);
        assert_eq!(code(&out), 0, "{}: {}", image.name, out.text());
        assert!(scratch.bytes() == before, "{}: changed", image.name);
    }
    println!("{} clean images without a finding", clean.len());
    assert!(clean.len() >= 70, "{} images only", clean.len());
}

#[test]
fn damage_of_any_kind_is_shown_without_a_change() {
    let Some(corpus) = Corpus::find() else { return };
    let mutations = corpus.mutations().unwrap();
    let mut n = 0;
    // A sample: the library is asked about each of them elsewhere.
    for mutation in mutations.iter().step_by(7) {
        let scratch = Scratch::new(&mutation.image().unwrap());
        let before = scratch.bytes();
        let out = scratch.run(&["-n"]);
        let what = format!("{} {}: {}", mutation.id, mutation.what, out.text());
        assert!(matches!(code(&out), 0 | 4 | 8), "{what}");
        assert!(out.stderr.is_empty() || out.stdout.is_empty(), "{what}");
        assert!(String::from_utf8_lossy(&out.stderr).lines().count() <= 1, "{what}");
        assert!(scratch.bytes() == before, "changed: {what}");
        n += 1;
    }
    println!("{n} damaged images shown");
}
