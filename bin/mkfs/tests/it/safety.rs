//! What is refused, and what an interrupted run leaves.

use crate::{image, make, refused};
use ext4_testkit::oracle::{self, Need};
use std::{fs, fs::File, num::NonZero, path::Path};

#[test]
fn what_is_there_is_named_and_kept_unless_forced() {
    let (_dir, path) = image(16);
    make("-L precious -U 5eed5eed-1234-4321-8888-0123456789ab", &path);
    let before = fs::read(&path).unwrap();
    let (code, line) = refused("", &path);
    assert_eq!(
        (code, line.as_str()),
        (
            8,
            "ext4-mkfs: IMAGE: holds an ext2, ext3 or ext4 filesystem labelled `precious`, uuid \
             5eed5eed-1234-4321-8888-0123456789ab; -F makes a filesystem over it"
        )
    );
    assert!(fs::read(&path).unwrap() == before);
    make("-n", &path);
    assert!(fs::read(&path).unwrap() == before, "a dry run wrote something");
    make("-F -L new", &path);
    assert!(fs::read(&path).unwrap() != before);
}

#[test]
fn too_small_is_refused_before_a_byte_is_written() {
    let dir = oracle::scratch().unwrap();
    let path = dir.path().join("disk.img");
    fs::write(&path, vec![0xA5; 40 << 10]).unwrap();
    let (code, line) = refused("-t ext4", &path);
    assert_eq!(code, 8, "{line}");
    assert!(line.contains("are too few, expected at least"), "{line}");
    assert!(fs::read(&path).unwrap() == vec![0xA5; 40 << 10]);
    let none = dir.path().join("none.img");
    let (code, line) = refused("--size 0", &none);
    assert_eq!(code, 8, "{line}");
    assert!(line.contains("0 bytes are too few, expected at least 60416: superblock"), "{line}");
    assert!(!none.exists());
}

#[test]
fn options_that_contradict_are_one_line_and_make_no_file() {
    let dir = oracle::scratch().unwrap();
    let path = dir.path().join("disk.img");
    for (options, said) in [
        ("-O ^extent", "the feature 64bit needs extent: add -O extent"),
        ("-C 65536", "a cluster size needs the feature bigalloc: add -O bigalloc"),
        ("-G 3", "3 groups per flex group, expected a power of two"),
        ("-I 100", "inode size 100, expected a power of two from 128 to 1024"),
        ("-J size=200", "a journal of 204800 blocks is more than half of the filesystem's 65536"),
        (
            "-O casefold --compat grub-2.06",
            "the preset grub-2.06 leaves casefold out: take one off",
        ),
        ("-O warp", "`warp` is no feature"),
        ("-E warp", "`warp` is no extended option (see EXTENDED OPTIONS in the manual)"),
    ] {
        let (code, line) = refused(&format!("--size 64M {options}"), &path);
        assert_eq!(code, 16, "{line}");
        let line = line.trim_start_matches("ext4-mkfs: ").trim_start_matches("IMAGE: ");
        assert_eq!(line, said);
        assert!(!path.exists(), "{options}");
    }
}

#[test]
fn a_mounted_image_is_refused_also_by_force() {
    if oracle::skip_without(&[Need::Kernel]) {
        return;
    }
    let (_dir, path) = image(16);
    make("", &path);
    let mount = ext4_testkit::mount::Mount::new(&path, "").unwrap();
    let (code, line) = refused("-F", &path);
    assert_eq!(code, 8);
    assert!(line.contains("attached to /dev/loop"), "{line}");
    mount.unmount().unwrap();
}

/// What a tool that looks for a filesystem says of a file; exit code 0 means it found one.
fn takes(tool: &str, args: &[&str], image: &Path) -> bool {
    let args: Vec<_> = args.iter().map(std::ffi::OsStr::new).chain([image.as_os_str()]).collect();
    oracle::tool(tool, args, b"").unwrap().ok()
}

/// Bytes of the images that are interrupted.
const LEN: usize = 24 << 20;

#[test]
fn no_tool_takes_an_interrupted_run_for_a_filesystem() {
    use ext4_blockdev::{BlockDevice as _, Event, MemoryDevice, Recorder};
    use std::sync::Arc;
    if oracle::skip_without(&[Need::E2fsck]) {
        return;
    }
    for options in [
        ext4_mkfs::Options::default(),
        ext4_mkfs::Options { kind: ext4_mkfs::options::Kind::Ext2, ..Default::default() },
    ] {
        // Over an old filesystem with other parameters, which must not shine through either.
        let old = Arc::new(MemoryDevice::new(vec![0; LEN]));
        let features = ext4_mkfs::features::parse("^flex_bg").unwrap();
        let other = ext4_mkfs::Options { features, label: b"old".to_vec(), ..Default::default() };
        let plan = ext4_mkfs::plan(&other, LEN as u64).unwrap();
        ext4_mkfs::write(&plan, old.as_ref(), NonZero::<usize>::MIN, &mut ()).unwrap();
        let before = old.contents();

        let recorder = Recorder::new(old);
        let plan = ext4_mkfs::plan(&options, LEN as u64).unwrap();
        ext4_mkfs::write(&plan, &recorder, NonZero::<usize>::MIN, &mut ()).unwrap();
        let events = recorder.events();
        let n_writes = events.iter().filter(|it| matches!(it, Event::Write { .. })).count();
        let (_dir, path) = image(24);
        let file = File::options().write(true).open(&path).unwrap();
        let mut state = MemoryDevice::new(before);
        let mut done = 0;
        let mut n_looked = 0;
        for event in &events {
            let Event::Write { offset, data, .. } = event else { continue };
            state.write_at(*offset, data).unwrap();
            done += 1;
            // Before the first write the old one is there; after the last the new one.
            let is_whole = done == n_writes;
            if done % 5 != 0 && done + 8 < n_writes && done > 3 {
                continue;
            }
            n_looked += 1;
            std::os::unix::fs::FileExt::write_all_at(&file, &state.contents(), 0).unwrap();
            for (tool, args) in
                [("dumpe2fs", &["-h"][..]), ("debugfs", &["-R", "stats"]), ("tune2fs", &["-l"])]
            {
                // debugfs exits with 0 whatever it finds: there the output tells.
                let found = match tool {
                    "debugfs" => oracle::debugfs(&path, "stats").is_ok(),
                    _ => takes(tool, args, &path),
                };
                assert_eq!(found, is_whole, "{tool} after {done} of {n_writes} writes");
            }
            let fsck = oracle::e2fsck(&path, oracle::FsckMode::Check).unwrap();
            assert_eq!(fsck.is_clean(), is_whole, "after {done} of {n_writes}: {fsck:?}");
            state = MemoryDevice::new(state.contents());
        }
        assert!(n_looked > 5, "{n_looked} states");
    }
}
