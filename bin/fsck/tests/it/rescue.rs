//! `--rescue`: what a repair takes away is in a folder before the image is written to.

use crate::rig::{EXE, Scratch, damaged, expect, is_there, sound};
use ext4_testkit::{image::Image, oracle};
use std::{fs, path::Path, process::Command};

/// `/b` has a mode of no kind, and an attribute.
fn with_a_loss() -> Option<Image> {
    let scratch = Scratch::new(&sound()?);
    let requests = "ea_set /b user.text plain\nsif /b mode 0110644\n";
    oracle::debugfs_write(&scratch.file, requests).unwrap();
    Some(Image::load(&scratch.file).unwrap())
}

fn index(folder: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap()
}

#[test]
fn a_lost_file_is_in_the_folder_and_the_index_says_where() {
    let Some(image) = with_a_loss() else { return };
    for (option, code) in [("-n", 4), ("-y", 1)] {
        let scratch = Scratch::new(&image);
        let out = scratch.run(&[option, "--rescue", "@lost"]);
        expect(&out, code);
        assert!(out.text().contains("what 2 inodes lose is in "), "{}", out.text());
        assert_eq!(scratch.bytes() == image.bytes()[..], option == "-n");
        let folder = scratch.path("lost");
        let index = index(&folder);
        let it = index["inodes"].as_array().unwrap().iter().find(|it| it["inode"] == 13).unwrap();
        assert_eq!((&it["path"], &it["gone"]), (&"/b".into(), &true.into()), "{index:#}");
        assert!(it["problems"].to_string().contains("inode-mode"), "{index:#}");
        assert_eq!(it["contents"], serde_json::json!([[0, 3000]]));
        for file in it["files"].as_array().unwrap() {
            assert!(is_there(&folder.join(file.as_str().unwrap())), "{file}");
        }
        assert!(fs::read(folder.join("inode-13/contents")).unwrap() == [8; 3000]);
        assert_eq!(fs::metadata(folder.join("inode-13/inode")).unwrap().len(), 256);
        let dump = fs::read_to_string(folder.join("inode-13/xattr")).unwrap();
        assert_eq!(dump, "# file: b\nuser.text=\"plain\"\n");
        assert_eq!(fs::read_to_string(folder.join("inode-2/names")).unwrap(), "13\tb\n");
    }
}

#[test]
fn a_repair_that_takes_nothing_away_says_so() {
    let Some(image) = sound() else { return };
    let scratch = Scratch::new(&image);
    oracle::debugfs_write(&scratch.file, "sif /b links_count 9\n").unwrap();
    let out = scratch.run(&["-y", "--json", "--rescue", "@lost"]);
    expect(&out, 1);
    let all: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(all["rescue"]["inodes"], 0, "{all:#}");
    assert_eq!(index(&scratch.path("lost"))["inodes"], serde_json::json!([]));
}

#[test]
fn a_folder_that_is_not_empty_is_refused_before_anything_is_done() {
    let Some(image) = damaged() else { return };
    let scratch = Scratch::new(&image);
    fs::create_dir(scratch.path("lost")).unwrap();
    fs::write(scratch.path("lost/mine"), "mine").unwrap();
    expect(&scratch.run(&["-y", "--rescue", "@lost"]), 8);
    assert!(scratch.bytes() == image.bytes()[..], "the image was written to");
    assert_eq!(fs::read(scratch.path("lost/mine")).unwrap(), b"mine");
}

#[test]
fn without_room_for_the_folder_nothing_is_written() {
    let Some(image) = with_a_loss() else { return };
    let scratch = Scratch::new(&image);
    // No file grows beyond a block: what a full disk says too.
    let limited = "trap '' XFSZ; ulimit -f 1; exec \"$0\" -y --rescue \"$1\" \"$2\"";
    let out = Command::new("bash")
        .args(["-c", limited, EXE])
        .args([&scratch.path("lost"), &scratch.file])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!((out.status.code(), said.lines().count()), (Some(8), 1), "{said}");
    assert!(scratch.bytes() == image.bytes()[..], "the image was written to");
    assert!(!is_there(&scratch.path("lost")), "half a folder is left");
}

#[test]
fn a_plan_is_carried_out_behind_a_rescue_and_an_undo_file() {
    let Some(image) = with_a_loss() else { return };
    let scratch = Scratch::new(&image);
    expect(&scratch.run(&["-n", "--plan", "@plan"]), 4);
    expect(&scratch.run(&["--apply", "@plan", "--rescue", "@lost", "--undo", "@undo"]), 1);
    assert!(scratch.is_clean());
    assert!(fs::read(scratch.path("lost/inode-13/contents")).unwrap() == [8; 3000]);
    expect(&scratch.run(&["--rollback", "@undo"]), 1);
    assert!(scratch.bytes() == image.bytes()[..]);
}
