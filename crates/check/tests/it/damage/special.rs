//! Directories that are encrypted, folded or inside their inode, and values of attributes in inodes.

use super::{
    Case,
    How::{self, Bytes, Debugfs},
    all_are_found_and_mended, dir,
};
use crate::kit::{set, with_inode, word};
use ext4_ondisk::xattr::{self, Entry, NameIndex, Value};
use ext4_testkit::image::{Image, Recipe};
use ext4_units::InodeNr;

/// The first inode of each recipe, and the next.
const DIR: u32 = 12;
const FILE: u32 = 13;
const LOST_FOUND: u32 = 11;
/// Those of [`value_in_inode`].
const VALUE: u32 = 13;
const OTHER: u32 = 14;

const FLAGS: usize = 0x20;
const ENCRYPT: u32 = 0x800;
const CASEFOLD: u32 = 0x4000_0000;
const EA_INODE: u32 = 0x20_0000;

/// Where the third record of a directory is, and a fourth behind a name of 16 bytes.
const THIRD: usize = 24;
const FOURTH: usize = 48;

const fn encrypted(name: &'static str, how: How, finds: &'static [&'static str]) -> Case {
    Case { name, base: encrypted_names, profile: "ext4-gdtcsum-1k", how, finds }
}

const fn folded(name: &'static str, how: How, finds: &'static [&'static str]) -> Case {
    Case { base: folded_names, ..encrypted(name, how, finds) }
}

const fn inside(name: &'static str, how: How, finds: &'static [&'static str]) -> Case {
    Case { base: inline_names, profile: "inline-4k", ..encrypted(name, how, finds) }
}

const fn values(name: &'static str, how: How, finds: &'static [&'static str]) -> Case {
    Case { base: value_in_inode, profile: "ea-inode-1k", ..encrypted(name, how, finds) }
}

const CASES: &[Case] = &[
    encrypted(
        "an encrypted name of eight bytes",
        Bytes(|it| dir(it, DIR, |b| b[THIRD + 6] = 8)),
        &["entry-encrypted-name"],
    ),
    encrypted(
        "a plain file with an encrypted name",
        Bytes(|it| with_inode(it, FILE, |b| set(b, FLAGS, word(b, FLAGS) & !ENCRYPT))),
        &["entry-unencrypted"],
    ),
    encrypted(
        "a file of another policy than its directory",
        Bytes(|it| encrypt(it, FILE, 9)),
        &["entry-encryption-policy"],
    ),
    encrypted(
        "one encrypted name of two files",
        Bytes(|it| dir(it, DIR, |b| b.copy_within(THIRD + 8..THIRD + 24, FOURTH + 8))),
        &["entry-not-unique-hidden"],
    ),
    encrypted(
        "lost+found is encrypted",
        Bytes(|it| encrypt(it, LOST_FOUND, 1)),
        &["lost-found-encrypted"],
    ),
    folded(
        "a name that is no text",
        Bytes(|it| dir(it, DIR, |b| b[THIRD + 9] = 0xFF)),
        &["entry-encoding"],
    ),
    folded(
        "two names that differ in capitals alone",
        Bytes(|it| dir(it, DIR, |b| b[THIRD + 8..THIRD + 24].copy_from_slice(b"THE-SECOND-NAME."))),
        &["entry-not-unique"],
    ),
    inside(
        "entries of a size that no entries have",
        Bytes(|it| shorten(it, DIR)),
        &["inline-directory-size"],
    ),
    inside(
        "lost+found is inside its inode",
        Debugfs("rmdir /lost+found\nmkdir /lost+found"),
        &["lost-found-inline"],
    ),
    values(
        "a value that counts one more that has it",
        Bytes(|it| with_inode(it, VALUE, |b| set(b, 0x24, 2))),
        &["ea-inode-references"],
    ),
    values(
        "a file with the flag of a value",
        Bytes(|it| with_inode(it, OTHER, |b| set(b, FLAGS, word(b, FLAGS) | EA_INODE))),
        &["ea-inode-flag"],
    ),
    values("a name for a value", Debugfs("ln <13> /name"), &["entry-ea-inode"]),
];

/// An encrypted directory with two files, whose names would need no key.
fn encrypted_names(profile: &'static str) -> Option<Image> {
    let image = Recipe::new(profile)
        .mib(8)
        .options("-O encrypt")
        .mkdir("/dir")
        .write("/dir/the-first-name..", [1; 3000])
        .write("/dir/the-second-name.", [2; 3000])
        .image()?;
    Some((DIR..=FILE + 1).fold(image, |it, ino| encrypt(&it, ino, 1)))
}

/// A directory whose names are compared without regard to case.
fn folded_names(profile: &'static str) -> Option<Image> {
    let image = Recipe::new(profile)
        .mib(8)
        .options("-O casefold -E encoding=utf8,encoding_flags=strict")
        .mkdir("/dir")
        .write("/dir/the-first-name..", [1; 3000])
        .write("/dir/the-second-name.", [2; 3000])
        .image()?;
    Some(with_inode(&image, DIR, |it| set(it, FLAGS, word(it, FLAGS) | CASEFOLD)))
}

/// A directory inside its inode, all of it in `i_block`.
fn inline_names(profile: &'static str) -> Option<Image> {
    Recipe::new(profile)
        .mib(8)
        .mkdir("/dir")
        .write("/dir/the-first-name..", [1; 3000])
        .write("/dir/the-second-name.", [2; 3000])
        .image()
}

/// A file with an attribute whose value has an inode of its own, and another file.
fn value_in_inode(profile: &'static str) -> Option<Image> {
    Recipe::new(profile)
        .mib(8)
        .write("/a", [1; 3000])
        // debugfs does not count the value's blocks.
        .debugfs(&format!("ea_set /a user.big {}\nsif /a blocks 12", "v".repeat(3000)))
        .write("/other", [3; 3000])
        .image()
}

/// Gives an inode an encryption context of version 1 with this key.
fn encrypt(image: &Image, ino: u32, key: u8) -> Image {
    let nonce = [u8::try_from(ino).unwrap(); 16];
    let context = [&[1, 1, 4, 0][..], &[key; 8], &nonce].concat();
    let entry = Entry {
        index: NameIndex::ENCRYPTION.0,
        name: b"c".to_vec(),
        hash: xattr::entry_hash(b"c", &context),
        value: Value::Here(context),
    };
    with_inode(image, ino, |it| {
        set(it, FLAGS, word(it, FLAGS) | ENCRYPT);
        let body = &mut it[160..];
        body.copy_from_slice(&xattr::encode_body(&[entry], body.len()).unwrap());
    })
}

/// Puts another name for the second file into the attribute `system.data`, in a record of 18 bytes.
fn shorten(image: &Image, ino: u32) -> Image {
    with_inode(image, ino, |it| {
        let body = &mut it[160..];
        let mut entries = xattr::parse_body(body, InodeNr::new(ino).unwrap()).unwrap();
        entries[0].value = Value::Here([&[14, 0, 0, 0, 18, 0, 10, 1][..], b"third-name"].concat());
        body.copy_from_slice(&xattr::encode_body(&entries, body.len()).unwrap());
        set(it, 4, 60 + 18);
    })
}

#[test]
fn each_damage_of_special_directories_is_found_and_mended() {
    all_are_found_and_mended(CASES);
}
