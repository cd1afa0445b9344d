//! Directories the kernel made, read by us; and directories we made, judged by e2fsck and used by
//! the kernel.

use crate::{
    build::mem,
    image::{Image, Mount, Profile, can_mount},
    mem::{Mem, ino},
    model::name,
    walk::{Names, walk},
};
use ext4_dir::{
    Context, Entry, Fill, Member, build, entries, find, inline::Inline, insert, remove,
};
use ext4_ondisk::dir_entry::FileType;
use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

const PROFILES: [Profile; 6] = [
    Profile { block_size: 1024, features: "dir_index", hash: "half_md4", is_unsigned: false },
    Profile { block_size: 4096, features: "dir_index", hash: "tea", is_unsigned: true },
    Profile {
        block_size: 4096,
        features: "metadata_csum_seed",
        hash: "half_md4",
        is_unsigned: true,
    },
    Profile {
        block_size: 1024,
        features: "^metadata_csum,^64bit,large_dir",
        hash: "legacy",
        is_unsigned: true,
    },
    Profile {
        block_size: 2048,
        features: "^metadata_csum,^filetype,^extent,^64bit",
        hash: "legacy",
        is_unsigned: false,
    },
    Profile { block_size: 4096, features: "^dir_index", hash: "half_md4", is_unsigned: false },
];

fn below(folder: &Path, name: &[u8]) -> PathBuf {
    folder.join(OsStr::from_bytes(name))
}

/// A folder with names `range`, hard links to a hundred files.
fn fill(mount: &Mount<'_>, folder: &str, range: std::ops::Range<u32>) {
    let folder = mount.path(folder);
    if !folder.exists() {
        fs::create_dir(&folder).unwrap();
    }
    for nr in 0..100 {
        let target = mount.path(&format!("file{nr}"));
        if !target.exists() {
            File::create(&target).unwrap();
        }
    }
    for nr in range {
        let target = mount.path(&format!("file{}", nr % 100));
        fs::hard_link(target, below(&folder, &name(nr))).unwrap();
    }
}

/// What the kernel lists, with every name looked up too.
fn kernel_names(folder: &Path) -> std::collections::BTreeMap<Vec<u8>, u32> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let ino = fs::symlink_metadata(entry.path()).unwrap().ino();
            (entry.file_name().as_bytes().to_vec(), u32::try_from(ino).unwrap())
        })
        .collect()
}

/// What we list, without the dots, after the independent walk agreed.
fn our_names(context: &Context, mem: &Mem) -> std::collections::BTreeMap<Vec<u8>, u32> {
    let walked = walk(context, context.is_indexed, mem);
    let listed: Names = entries(context, mem)
        .map(Result::unwrap)
        .map(|entry| (entry.name, (entry.ino.get(), entry.file_type.raw())))
        .collect();
    assert_eq!(listed, walked);
    listed
        .into_iter()
        .filter(|(name, _)| !matches!(name.as_slice(), b"." | b".."))
        .map(|(name, (ino, _))| (name, ino))
        .collect()
}

#[test]
fn directories_the_kernel_made_are_read_in_full() {
    if !can_mount() {
        return;
    }
    for profile in &PROFILES {
        let image = Image::new(profile);
        let n_names = if profile.features == "^dir_index" { 1500 } else { 5000 };
        let wanted = {
            let mount = image.mount();
            fill(&mount, "d", 0..n_names);
            for nr in (0..n_names).step_by(3) {
                fs::remove_file(below(&mount.path("d"), &name(nr))).unwrap();
            }
            fill(&mount, "d", n_names..n_names + 500);
            kernel_names(&mount.path("d"))
        };
        let context = image.context("/d");
        assert_eq!(context.is_indexed, profile.features != "^dir_index");
        let mem = image.blocks(&context);
        assert_eq!(our_names(&context, &mem), wanted, "{}", profile.features);
        for nr in 0..n_names + 500 {
            let found = find(&context, &mem, &name(nr)).unwrap();
            assert_eq!(found.map(|entry| entry.ino.get()), wanted.get(&name(nr)).copied());
        }
        assert_eq!(find(&context, &mem, b"..").unwrap().unwrap().ino, ino(2));
    }
}

/// How a directory comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Name by name.
    Insert,
    /// All at once.
    Build(Fill),
}

/// Moves all names from one directory to another, in memory, and stores the blocks of both.
fn move_all(image: &Image, n_names: u32, way: Way) {
    let (mut from, mut to) = (image.context("/from"), image.context("/to"));
    let (mut old, mut new) = (image.blocks(&from), image.blocks(&to));
    let mut moved = Vec::new();
    for nr in 0..n_names {
        old.begin();
        new.begin();
        let entry = remove(&from, &mut old, &name(nr)).unwrap();
        if way == Way::Insert {
            let outcome = insert(&to, &mut new, &name(nr), entry.ino, FileType::Regular).unwrap();
            to.is_indexed = outcome.now_indexed;
        }
        moved.push(entry);
        from.is_indexed &= from.has_dir_index;
    }
    if let Way::Build(fill) = way {
        let members = moved.iter();
        let members = members.map(|Entry { name, ino, file_type, .. }| Member {
            name,
            ino: *ino,
            file_type: *file_type,
        });
        let members: Vec<_> = members.collect();
        let built = build(&to, ino(2), &members, fill).unwrap();
        to.is_indexed = built.is_indexed;
        new = mem(&built, &to);
    }
    let expand = format!("expand_dir <{}>", to.ino);
    let mut requests = vec![expand.as_str(); new.blocks.len() - 1];
    let stat = image.debug(&[&format!("stat <{}>", to.ino)]);
    let (_, flags) = stat.split_once("Flags: 0x").unwrap();
    let flags = u32::from_str_radix(flags.split_whitespace().next().unwrap(), 16).unwrap();
    let flags = flags | if to.is_indexed { 0x1000 } else { 0 };
    let set = format!("sif <{}> flags {flags:#x}", to.ino);
    requests.push(&set);
    image.debug(&requests);
    for (context, mem) in [(&from, &old), (&to, &new)] {
        let places = image.places(context, mem.blocks.len());
        assert_eq!(places.len(), mem.blocks.len());
        for (at, bytes) in places.into_iter().zip(&mem.blocks) {
            image.write_at(at, bytes);
        }
    }
}

#[test]
fn directories_we_made_are_clean_to_e2fsck_and_go_on_in_the_kernel() {
    moved_directories_go_on(Way::Insert);
}

#[test]
fn directories_built_at_once_are_clean_to_e2fsck_and_go_on_in_the_kernel() {
    moved_directories_go_on(Way::Build(Fill::Roomy));
}

#[test]
fn full_directories_are_clean_to_e2fsck_and_go_on_in_the_kernel() {
    moved_directories_go_on(Way::Build(Fill::Full));
}

fn moved_directories_go_on(way: Way) {
    if !can_mount() {
        return;
    }
    for profile in &PROFILES {
        let image = Image::new(profile);
        let n_names = if profile.features == "^dir_index" { 800 } else { 3000 };
        let mut wanted = {
            let mount = image.mount();
            fill(&mount, "from", 0..n_names);
            fs::create_dir(mount.path("to")).unwrap();
            kernel_names(&mount.path("from"))
        };
        move_all(&image, n_names, way);
        image.insist_clean();
        {
            let mount = image.mount();
            let to = mount.path("to");
            assert_eq!(kernel_names(&to), wanted, "{}", profile.features);
            assert!(kernel_names(&mount.path("from")).is_empty());
            for nr in (0..n_names).step_by(5) {
                fs::remove_file(below(&to, &name(nr))).unwrap();
            }
            fill(&mount, "to", n_names..n_names + 1500);
            fs::remove_dir(mount.path("from")).unwrap();
            wanted = kernel_names(&to);
        }
        image.insist_clean();
        let context = image.context("/to");
        assert_eq!(our_names(&context, &image.blocks(&context)), wanted);
    }
}

const INLINE: Profile = Profile {
    block_size: 4096,
    features: "inline_data,^metadata_csum",
    hash: "half_md4",
    is_unsigned: false,
};

/// An inline directory and where its inode is, in bytes: `i_block` is at 40 from there.
fn read_inline(image: &Image, context: &Context) -> (Inline, u64, Option<usize>) {
    let at = image.debug(&[&format!("imap <{}>", context.ino)]);
    let (_, at) = at.split_once("located at block ").unwrap();
    let (block, offset) = at.trim().split_once(", offset 0x").unwrap();
    let offset = offset.split_whitespace().next().unwrap();
    let at = block.parse::<u64>().unwrap() * u64::from(context.block_size.bytes())
        + u64::from_str_radix(offset, 16).unwrap();
    let raw = image.read_at(at, 256);
    let le16 = |at: usize| usize::from(u16::from_le_bytes([raw[at], raw[at + 1]]));
    let le32 = |at: usize| u32::from_le_bytes(raw[at..at + 4].try_into().unwrap()) as usize;
    // The attributes follow the extra fields and their magic; system.data is index 7, "data".
    let first = 128 + le16(128) + 4;
    let mut entry = first;
    let mut value = 0..0;
    while le32(entry) != 0 {
        let name_len = usize::from(raw[entry]);
        if raw[entry + 1] == 7 && raw[entry + 16..].starts_with(b"data") {
            let start = first + le16(entry + 2);
            value = start..start + le32(entry + 8);
        }
        entry += (16 + name_len).next_multiple_of(4);
    }
    let start = (!value.is_empty()).then_some(value.start);
    let body = raw[40..100].try_into().unwrap();
    (Inline { body, value: raw[value].to_vec() }, at, start)
}

#[test]
fn inline_directories_go_both_ways() {
    if !can_mount() {
        return;
    }
    let image = Image::new(&INLINE);
    let names = |n: u32| (0..n).map(|nr| format!("file{nr}").into_bytes());
    let (small, large) = {
        let mount = image.mount();
        for (folder, n_names) in [("small", 2), ("large", 6)] {
            fs::create_dir(mount.path(folder)).unwrap();
            for name in names(n_names) {
                File::create(below(&mount.path(folder), &name)).unwrap();
            }
        }
        (kernel_names(&mount.path("small")), kernel_names(&mount.path("large")))
    };
    for (path, wanted) in [("/small", &small), ("/large", &large)] {
        let context = image.context(path);
        let (mut inline, at, value_at) = read_inline(&image, &context);
        assert_eq!(value_at.is_some(), path == "/large");
        let listed: std::collections::BTreeMap<_, _> = inline
            .entries(&context)
            .unwrap()
            .into_iter()
            .skip(2)
            .map(|entry| (entry.name, entry.ino.get()))
            .collect();
        assert_eq!(&listed, wanted);
        assert_eq!(inline.parent(), Some(ino(2)));
        let len = inline.value.len();
        for (nr, name) in (0..).zip(wanted.keys()) {
            let entry = inline.remove(&context, name).unwrap();
            let renamed = format!("name{nr}");
            let is_in = inline
                .insert(&context, len, renamed.as_bytes(), entry.ino, FileType::Regular)
                .unwrap();
            assert!(is_in, "a name of the same length");
        }
        image.write_at(at + 40, &inline.body);
        if let Some(value_at) = value_at {
            image.write_at(at + value_at as u64, &inline.value);
        }
    }
    image.insist_clean();
    {
        let mount = image.mount();
        for (folder, wanted) in [("small", &small), ("large", &large)] {
            let renamed: std::collections::BTreeMap<_, _> = (0..)
                .zip(wanted.values())
                .map(|(nr, ino)| (format!("name{nr}").into_bytes(), *ino))
                .collect();
            assert_eq!(kernel_names(&mount.path(folder)), renamed);
            for name in names(40) {
                File::create(below(&mount.path(folder), &name)).unwrap();
            }
        }
    }
    image.insist_clean();
}
