//! Options at random: what is made is sound, and what is refused is refused in one line.

use crate::{image, mkfs};
use ext4_testkit::{
    oracle::{self, FsckMode, Need},
    rng::Rng,
};

const FEATURES: &[&str] = &[
    "has_journal",
    "ext_attr",
    "resize_inode",
    "dir_index",
    "sparse_super2",
    "fast_commit",
    "stable_inodes",
    "orphan_file",
    "filetype",
    "meta_bg",
    "extent",
    "64bit",
    "mmp",
    "flex_bg",
    "ea_inode",
    "metadata_csum_seed",
    "large_dir",
    "inline_data",
    "encrypt",
    "casefold",
    "sparse_super",
    "large_file",
    "huge_file",
    "uninit_bg",
    "dir_nlink",
    "extra_isize",
    "quota",
    "bigalloc",
    "metadata_csum",
    "project",
    "verity",
];

/// An option, how often in a hundred it is typed, and the values it may have.
const VALUES: &[(&str, usize, &[&str])] = &[
    ("-t", 100, &["ext2", "ext3", "ext4", "ext4"]),
    ("-b", 50, &["1024", "1024", "2048", "4096", "4096", "8192", "16384", "65536"]),
    ("-I", 20, &["128", "256", "512", "1024", "2048"]),
    ("-i", 20, &["1024", "2048", "8192", "65536", "1048576"]),
    ("-N", 15, &["1", "11", "12", "13", "100", "5000", "70000", "1000000"]),
    ("-g", 25, &["256", "264", "512", "1024", "2048", "8192", "16384", "32768"]),
    ("-G", 20, &["1", "2", "8", "32", "128", "1024", "1048576", "2147483648"]),
    ("-m", 20, &["0", "50", "3.7"]),
    ("-J", 10, &["size=1", "size=4", "size=16", "location=100", "location=99999999"]),
    (
        "-E",
        40,
        &[
            "stride=16",
            "stripe_width=64",
            "num_backup_sb=0",
            "num_backup_sb=1",
            "packed_meta_blocks=1",
            "lazy_itable_init=1",
            "nodiscard",
            "root_perms=700",
            "resize=100000000",
            "quotatype=prjquota",
        ],
    ),
];

fn words(rng: &mut Rng) -> Vec<String> {
    let mut words = Vec::new();
    for (option, percent, values) in VALUES {
        if rng.percent(*percent) {
            words.extend([(*option).to_owned(), (*rng.pick(values)).to_owned()]);
        }
    }
    for _ in 0..rng.below(5) {
        let off = if rng.percent(50) { "^" } else { "" };
        words.extend(["-O".to_owned(), format!("{off}{}", rng.pick(FEATURES))]);
    }
    words
}

#[test]
fn whatever_is_asked_for_is_sound_or_refused() {
    if oracle::skip_without(&[Need::E2fsck]) {
        return;
    }
    let mut rng = Rng::new(4);
    let (mut made, mut refused) = (0, 0);
    for _ in 0..120 {
        let mut words = words(&mut rng);
        let (_dir, path) = image(0);
        let kib = 1_usize << rng.below(22);
        let kib = kib + rng.below(kib);
        words.extend(["--size".to_owned(), format!("{kib}k"), path.display().to_string()]);
        let out = mkfs(&words);
        match out.code {
            Some(0) => {
                made += 1;
                let fsck = oracle::e2fsck(&path, FsckMode::Check).unwrap();
                assert!(fsck.is_clean(), "{words:?}: {fsck:?}");
            }
            Some(8 | 16) => {
                refused += 1;
                let line = String::from_utf8_lossy(&out.stderr);
                assert_eq!(line.lines().count(), 1, "{words:?}: {line}");
                assert!(!line.contains("not sound"), "{words:?}: {line}");
            }
            other => assert_eq!(other, Some(0), "{words:?}: {}", out.text()),
        }
    }
    eprintln!("{made} made, {refused} refused");
    assert!(made > 20 && refused > 5);
}
