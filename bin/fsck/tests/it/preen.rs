//! The manners of an unattended run (`-p`): what it mends, where it stops, and what it passes over.

use crate::rig::{Scratch, damaged, expect, sound};
use ext4_testkit::{image::Image, oracle};

/// A sound image after these requests, with the superblock still saying that all is well.
fn changed(requests: &str) -> Option<Image> {
    let scratch = Scratch::new(&sound()?);
    oracle::debugfs_write(&scratch.file, requests).unwrap();
    Some(Image::load(&scratch.file).unwrap())
}

#[test]
fn what_needs_no_decision_is_mended_without_a_question() {
    // A block that nothing uses, and a count.
    let Some(image) = changed("setb 5000 9\nssv free_blocks_count 7\n") else { return };
    let scratch = Scratch::new(&image);
    let out = scratch.run(&["-p", "-f"]);
    expect(&out, 1);
    assert!(out.text().contains(": done: mark them free"), "{}", out.text());
    assert!(scratch.is_clean());
    expect(&scratch.run(&["-p", "-f"]), 0);
}

#[test]
fn a_run_that_stops_says_so_and_does_not_say_that_anything_is_done() {
    let Some(image) = damaged() else { return };
    let scratch = Scratch::new(&image);
    let out = scratch.run(&["-p", "-f"]);
    expect(&out, 4);
    let text = out.text();
    assert!(text.contains("run fsck manually, without -p"), "{text}");
    assert!(!text.contains(": done: "), "{text}");
    assert!(!text.contains("0/0 inodes"), "{text}");
    // The mark is one write; the journal that is there is not called missing.
    assert!(!text.contains("not written as one transaction"), "{text}");
    let out = scratch.run(&["-p", "-f", "--json"]);
    expect(&out, 4);
    let told: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(told["stopped_by"].is_string(), "{told:#}");
    assert_eq!((&told["fixed"], &told["left"]), (&0.into(), &told["bad"]), "{told:#}");
    let findings = told["findings"].as_array().unwrap();
    assert!(findings.iter().all(|it| it["done"] == false), "{told:#}");
}

#[test]
fn a_clean_mark_is_not_believed_where_a_mount_would_fail() {
    let Some(image) = sound() else { return };
    // Descriptors begin in block 2.
    let mut no_descriptors = Scratch::new(&image).bytes();
    no_descriptors[2048..3072].fill(0);
    let no_journal = changed("sif <8> mode 0\n").unwrap();
    for (what, bytes) in [("descriptors", no_descriptors), ("journal", no_journal.bytes().to_vec())]
    {
        let scratch = Scratch::new(&image);
        std::fs::write(&scratch.file, &bytes).unwrap();
        let out = scratch.run(&["-p"]);
        assert!(out.code.is_some_and(|it| it & 5 != 0), "{what}: {}", out.text());
        assert!(out.text().contains("checked, because "), "{what}: {}", out.text());
    }
    let out = Scratch::new(&image).run(&["-p"]);
    expect(&out, 0);
}

#[test]
fn after_a_power_cut_the_journal_is_enough() {
    // An empty log of a mounted filesystem, and totals as the kernel leaves them.
    let Some(image) = changed(
        "feature needs_recovery\nssv free_blocks_count 7\nssv free_inodes_count 9\nssv state 1\n",
    ) else {
        return;
    };
    let out = Scratch::new(&image).run(&["-n"]);
    expect(&out, 0);
    assert!(out.text().contains(": clean, "), "{}", out.text());
    for options in [&["-p"][..], &["-p", "-f"], &["-y"]] {
        let scratch = Scratch::new(&image);
        let out = scratch.run(options);
        expect(&out, 0);
        assert_eq!(out.text().lines().count(), 1, "{options:?}: {}", out.text());
        assert!(scratch.is_clean(), "{options:?}");
        let before = scratch.bytes();
        expect(&scratch.run(options), 0);
        assert!(options != ["-p"] || before == scratch.bytes(), "a second run writes");
    }
}

#[test]
fn orphans_of_a_power_cut_are_no_repair_and_damage_behind_the_journal_is_one() {
    // The inode of /a, unlinked while it was open.
    let orphan = "unlink /a\nsif <12> links_count 0\nsif <12> dtime 0\nssv last_orphan 12\n";
    let Some(image) = changed(orphan) else { return };
    let scratch = Scratch::new(&image);
    let out = scratch.run(&["-p", "--json"]);
    expect(&out, 0);
    let told: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&told["cleaned_orphans"], &told["skipped"]), (&1.into(), &true.into()), "{told:#}");
    assert!(scratch.is_clean());
    expect(&Scratch::new(&image).run(&["-p", "-f"]), 1);
    expect(&Scratch::new(&image).run(&["-n"]), 4);
    // Errors on record are not forgotten for the journal's sake.
    let Some(image) = changed("feature needs_recovery\nsetb 5000 9\nssv state 3\n") else { return };
    let out = Scratch::new(&image).run(&["-p"]);
    expect(&out, 1);
    assert!(out.text().contains("checked, because errors are on record"), "{}", out.text());
}

#[test]
fn no_run_asks_for_a_reboot() {
    let Some(image) = damaged() else { return };
    for options in [&["-n"][..], &["-p"], &["-p", "-f"], &["-y"], &["-y", "-D"]] {
        let code = Scratch::new(&image).run(options).code.unwrap();
        assert_eq!(code & 2, 0, "{options:?}");
    }
}
