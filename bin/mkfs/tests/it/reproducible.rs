//! The same options give the same bytes, on any medium and at any time.

use crate::{image, make, mkfs};
use std::{fs, path::Path};

const OPTIONS: &str = "-t ext4 -O quota,project,orphan_file,mmp,inline_data,metadata_csum_seed";

fn bytes(options: &str, before: &[u8]) -> Vec<u8> {
    let (_dir, path) = image(16);
    fs::write(&path, before).unwrap();
    make(&format!("-F {options}"), &path);
    fs::read(&path).unwrap()
}

#[test]
fn two_runs_give_identical_bytes() {
    let empty = vec![0; 16 << 20];
    let first = bytes(OPTIONS, &empty);
    assert!(first == bytes(OPTIONS, &empty));
    // What lay there before is of no effect where the host takes it back.
    assert!(first == bytes(OPTIONS, &vec![0xA5; 16 << 20]));
    assert!(first != bytes(&format!("{OPTIONS} -L other"), &empty));
}

#[test]
fn the_clock_is_an_input() {
    let run = |time: Option<&str>, path: &Path| {
        let args: [&std::ffi::OsStr; 2] = ["-q".as_ref(), path.as_os_str()];
        let env: Vec<_> = time.map(|it| ("SOURCE_DATE_EPOCH", it.as_ref())).into_iter().collect();
        let limit = std::time::Duration::from_mins(1);
        let exe = env!("CARGO_BIN_EXE_ext4-mkfs");
        ext4_testkit::process::run(exe, args, &env, b"", limit).unwrap().expect_ok("mkfs").unwrap();
        fs::read(path).unwrap()
    };
    let word = |bytes: &[u8], at: usize| {
        u32::from_le_bytes(bytes[1024 + at..1024 + at + 4].try_into().unwrap())
    };
    let (_dir, path) = image(16);
    assert_eq!(word(&run(Some("1577836800"), &path), 0x108), 1_577_836_800);
    let (_dir, path) = image(16);
    assert_eq!(word(&run(None, &path), 0x108), 0);
}

#[test]
fn random_means_random_and_given_means_given() {
    let uuid = |options: &str| {
        let (_dir, path) = image(16);
        make(options, &path);
        fs::read(&path).unwrap()[1024 + 0x68..1024 + 0x78].to_vec()
    };
    assert_ne!(uuid("--random"), uuid("--random"));
    assert_eq!(uuid("-U clear"), [0; 16]);
    assert_eq!(uuid("-U 5eed5eed-1234-4321-8888-0123456789ab")[..2], [0x5E, 0xED]);
    let out = mkfs(["-U", "nonsense", "--size", "16M", "/nowhere/x"]);
    assert_eq!(out.code, Some(16));
}
