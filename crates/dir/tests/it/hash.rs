//! Our hashes against `debugfs dx_hash`.

use crate::model::name;
use ext4_ondisk::dir_hash::{HashAlgorithm, Hasher};
use std::{io::Write, process::Command};

#[test]
fn hashes_are_those_of_debugfs() {
    if Command::new("debugfs").arg("-V").output().is_err() {
        eprintln!("skipped: no debugfs");
        return;
    }
    let seed = *b"\x01\x23\x45\x67\x89\xab\xcd\xef\x10\x32\x54\x76\x98\xba\xdc\xfe";
    let uuid = "01234567-89ab-cdef-1032-547698badcfe";
    let words = seed.as_chunks::<4>().0;
    let seed = [0, 1, 2, 3].map(|nr| u32::from_le_bytes(words[nr]));
    let mut wanted = Vec::new();
    let mut script = tempfile::NamedTempFile::new().unwrap();
    for (algorithm, word) in [
        (HashAlgorithm::Legacy, "legacy"),
        (HashAlgorithm::HalfMd4, "half_md4"),
        (HashAlgorithm::Tea, "tea"),
    ] {
        for nr in 0..300 {
            // Debugfs reads words of a line: no blanks or quotes.
            let mut name = name(nr);
            name.retain(|byte| byte.is_ascii_alphanumeric() || *byte >= 0x80);
            let line = format!("dx_hash -h {word} -s {uuid} ");
            script.write_all(&[line.as_bytes(), &name, b"\n"].concat()).unwrap();
            let hasher = Hasher { algorithm, is_unsigned: false, seed };
            wanted.push(hasher.hash(&name));
        }
    }
    let output = Command::new("debugfs").arg("-f").arg(script.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let found: Vec<(u32, u32)> = text
        .lines()
        .filter_map(|line| {
            let (_, numbers) = line.split_once(" is 0x")?;
            let (hash, minor) = numbers.trim_end_matches(')').split_once(" (minor 0x")?;
            Some((u32::from_str_radix(hash, 16).ok()?, u32::from_str_radix(minor, 16).ok()?))
        })
        .collect();
    let wanted: Vec<(u32, u32)> = wanted.iter().map(|hash| (hash.hash, hash.minor)).collect();
    assert_eq!(found.len(), wanted.len());
    assert_eq!(found, wanted);
}
