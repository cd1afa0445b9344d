//! Paths in findings: those the files had before anything was mended.

use crate::kit::{NOW, block, mend, with_block, with_inode};
use ext4_check::{Answer, Answers, Finding, Options, Outcome, check};
use ext4_testkit::{
    image::{Image, Recipe},
    oracle,
};

fn base(profile: &str) -> Option<Image> {
    Recipe::new(profile)
        .mib(8)
        .write("/a", [1; 3000])
        .mkdir("/d")
        .mkdir("/d/e")
        .write("/d/e/name", [2; 3000])
        .image()
}

fn damaged(image: &Image, requests: &str) -> Image {
    let scratch = oracle::scratch().unwrap();
    let file = scratch.path().join("disk.img");
    image.save(&file).unwrap();
    oracle::debugfs_write(&file, requests).expect("debugfs does it");
    Image::load(&file).unwrap()
}

/// The lines of this problem.
fn lines(outcome: &Outcome, id: &str) -> Vec<String> {
    let of_it = outcome.findings.iter().filter(|it| it.problem.id == id);
    of_it.map(ToString::to_string).collect()
}

#[test]
fn a_finding_has_the_path_of_its_inode() {
    let Some(image) = base("ext4-1k") else { return };
    let image = damaged(&image, "sif /d/e/name links_count 9\nsif /a links_count 8\n");
    let expected = [
        "inode 12 (/a): link count is wrong: found 8, expected 1",
        "inode 15 (/d/e/name): link count is wrong: found 9, expected 1",
    ];
    assert_eq!(lines(&mend(&image, 1).0, "link-count"), expected);
}

#[test]
fn a_name_that_the_repair_takes_away_is_the_path_all_the_same() {
    let Some(image) = base("ext4-1k") else { return };
    // No kind of file: the inode is cleared, and its name with it.
    let image = with_inode(&image, 15, |it| it[1] = 0x91);
    let (outcome, _) = mend(&image, 1);
    let of_it =
        outcome.findings.iter().filter(|it| it.place.inode.is_some_and(|it| it.get() == 15));
    let paths: Vec<_> = of_it.map(|it| it.path.as_deref()).collect();
    assert!(!paths.is_empty() && paths.iter().all(|it| *it == Some(b"/d/e/name")), "{outcome:#?}");
}

#[test]
fn what_has_no_name_has_no_path() {
    let Some(image) = base("ext4-1k") else { return };
    let image = damaged(&image, "unlink /a\nsif <12> links_count 3\n");
    let (outcome, _) = mend(&image, 1);
    assert!(lines(&outcome, "unattached-inode").concat().starts_with("inode 12: "), "{outcome:#?}");
}

#[test]
fn names_that_no_path_leads_to_are_none() {
    let Some(image) = base("ext4-1k") else { return };
    // The circle d, e, d, which nothing in the tree names.
    let image = damaged(&image, "ln /d /d/e/d\nunlink /d\nsif <15> links_count 7\n");
    let (outcome, _) = mend(&image, 1);
    let line = lines(&outcome, "link-count").into_iter().find(|it| it.starts_with("inode 15"));
    assert_eq!(line.as_deref(), Some("inode 15: link count is wrong: found 7, expected 1"));
}

#[test]
fn bytes_that_are_no_text_are_shown_as_escapes() {
    let Some(image) = base("ext3-1k") else { return };
    let home = (0..8192).find(|blk| {
        let block = block(&image, *blk);
        block.windows(12).any(|it| it == *b"\x0f\0\0\0\xe8\x03\x04\x01name")
    });
    let image = with_block(&image, home.expect("the block of /d/e"), |block| {
        let at = block.windows(4).position(|it| it == b"name").unwrap();
        block[at..at + 4].copy_from_slice(b"\xff\n\xc3\xa9");
    });
    let image = damaged(&image, "sif <15> links_count 9\n");
    let expected = ["inode 15 (/d/e/\\xff\\n\u{e9}): link count is wrong: found 9, expected 1"];
    assert_eq!(lines(&mend(&image, 1).0, "link-count"), expected);
}

#[test]
fn a_path_that_no_call_takes_is_none() {
    let mut recipe = Recipe::new("ext4-1k").mib(8);
    let mut dir = String::new();
    for _ in 0..17 {
        dir = format!("{dir}/{}", "n".repeat(250));
        recipe = recipe.mkdir(&dir);
    }
    let Some(image) = recipe.image() else { return };
    // The root's entries take inode 2 and 11; the directories come after.
    let image = damaged(&image, "sif <12> links_count 9\nsif <28> links_count 9\n");
    let (outcome, _) = mend(&image, 1);
    let lines = lines(&outcome, "link-count");
    assert!(lines[0].starts_with(&format!("inode 12 (/{}):", "n".repeat(250))), "{lines:#?}");
    assert!(lines[1].starts_with("inode 28: "), "{lines:#?}");
}

/// Says no, and keeps what was asked.
struct Person(Vec<String>);

impl Answers for Person {
    fn answer(&mut self, finding: &Finding) -> Answer {
        self.0.push(finding.to_string());
        Answer::No
    }

    fn wants_path(&self) -> bool {
        true
    }
}

#[test]
fn a_question_to_a_person_has_the_path() {
    let Some(image) = base("ext4-1k") else { return };
    let image = damaged(&image, "sif /d/e/name links_count 9\n");
    let options = Options::new(NOW);
    let mut person = Person(Vec::new());
    check(&image.overlay(), &options, &mut person, &mut Outcome::default()).unwrap();
    assert_eq!(person.0, ["inode 15 (/d/e/name): link count is wrong: found 9, expected 1"]);
}
