//! Presets for compatibility: what a reader of a given age does not know is left out.
//!
//! Sources: for kernels the table "KERNEL SUPPORT" of ext4(5) of e2fsprogs 1.47, and for what is
//! later than that table the release notes of e2fsprogs 1.46.0 (fast_commit: Linux 5.10) and 1.47.0
//! (orphan_file: Linux 5.15). For e2fsprogs its release notes: 1.43.0 (metadata_csum,
//! metadata_csum_seed, inline_data, encrypt, project), 1.44.0 (large_dir, ea_inode), 1.44.4 (verity),
//! 1.45.0 (casefold), 1.46.0 (fast_commit, stable_inodes), 1.47.0 (orphan_file). For GRUB the two
//! lists `EXT2_DRIVER_SUPPORTED_INCOMPAT` and `EXT2_DRIVER_IGNORED_INCOMPAT` of
//! `grub-core/fs/ext2.c`. For Android the `mke2fs.conf` its images are built with.

use crate::{
    error::{Result, conflict},
    features::{self, Edit},
    options::{Kind, Options},
};
use ext4_ondisk::features::Features;

/// A reader and what it does not know.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// Its name, as `--compat` takes it.
    pub name: &'static str,
    rule: Rule,
}

#[derive(Clone, Copy, Debug)]
enum Rule {
    /// A kernel of this release.
    Kernel(u32, u32),
    /// e2fsprogs 1.x: e2fsck refuses whatever it does not know.
    E2fsprogs(u32),
    /// Features by name.
    Lacks(&'static [&'static str]),
    /// What Android's build makes: features off and on.
    Android,
}

type Since = (&'static str, (u32, u32), u32);

/// A feature, the kernel that brought it and the first e2fsprogs 1.x of which every release and
/// every build knows it: verity came within 1.44, and quota had to be asked for when 1.42 was built.
const SINCE: &[Since] = &[
    ("64bit", (2, 6), 42),
    ("mmp", (3, 0), 42),
    ("bigalloc", (3, 2), 42),
    ("quota", (3, 6), 43),
    ("inline_data", (3, 8), 43),
    ("sparse_super2", (3, 16), 43),
    ("metadata_csum", (3, 18), 43),
    ("encrypt", (4, 1), 43),
    ("metadata_csum_seed", (4, 4), 43),
    ("project", (4, 5), 43),
    ("ea_inode", (4, 13), 44),
    ("large_dir", (4, 13), 44),
    ("casefold", (5, 2), 45),
    ("verity", (5, 4), 45),
    ("stable_inodes", (5, 5), 46),
    ("fast_commit", (5, 10), 46),
    ("orphan_file", (5, 15), 47),
];

const ANDROID_OFF: &[&str] = &["resize_inode", "flex_bg", "64bit", "metadata_csum"];
const ANDROID_ON: &str = "uninit_bg";

const fn preset(name: &'static str, rule: Rule) -> Preset {
    Preset { name, rule }
}

/// All of them.
pub const PRESETS: &[Preset] = &[
    preset("android", Rule::Android),
    preset("e2fsprogs-1.42", Rule::E2fsprogs(42)),
    preset("e2fsprogs-1.43", Rule::E2fsprogs(43)),
    preset("e2fsprogs-1.44", Rule::E2fsprogs(44)),
    preset("e2fsprogs-1.45", Rule::E2fsprogs(45)),
    preset("e2fsprogs-1.46", Rule::E2fsprogs(46)),
    preset("e2fsprogs-1.47", Rule::E2fsprogs(47)),
    // `grub_ext2_mount` refuses incompatible features that it neither reads (filetype, extent,
    // flex_bg, meta_bg, 64bit, encrypt) nor ignores (needs_recovery, mmp; from 2.12 on
    // metadata_csum_seed and large_dir too).
    preset(
        "grub-2.04",
        Rule::Lacks(&["ea_inode", "metadata_csum_seed", "large_dir", "inline_data", "casefold"]),
    ),
    preset(
        "grub-2.06",
        Rule::Lacks(&["ea_inode", "metadata_csum_seed", "large_dir", "inline_data", "casefold"]),
    ),
    preset("grub-2.12", Rule::Lacks(&["ea_inode", "inline_data", "casefold"])),
    preset("kernel-2.6", Rule::Kernel(2, 6)),
    preset("kernel-3.10", Rule::Kernel(3, 10)),
    preset("kernel-3.16", Rule::Kernel(3, 16)),
    preset("kernel-4.4", Rule::Kernel(4, 4)),
    preset("kernel-4.9", Rule::Kernel(4, 9)),
    preset("kernel-4.14", Rule::Kernel(4, 14)),
    preset("kernel-4.19", Rule::Kernel(4, 19)),
    preset("kernel-5.4", Rule::Kernel(5, 4)),
    preset("kernel-5.10", Rule::Kernel(5, 10)),
    preset("kernel-5.15", Rule::Kernel(5, 15)),
];

/// The preset of this name.
///
/// # Errors
/// When there is none.
pub fn named(name: &str) -> Result<&'static Preset> {
    match PRESETS.iter().find(|it| it.name == name) {
        Some(preset) => Ok(preset),
        None => conflict(format!("`{name}` is no preset: --list-presets shows them")),
    }
}

impl Preset {
    /// The features it leaves out, whether anybody asks for them or not.
    pub fn lacks(&self) -> Vec<&'static str> {
        let since = |is_later: &dyn Fn(&Since) -> bool| {
            SINCE.iter().filter(|it| is_later(it)).map(|it| it.0).collect()
        };
        match self.rule {
            Rule::Kernel(major, minor) => since(&|it| it.1 > (major, minor)),
            Rule::E2fsprogs(minor) => since(&|it| it.2 > minor),
            Rule::Lacks(names) => names.to_vec(),
            Rule::Android => ANDROID_OFF.to_vec(),
        }
    }

    /// What it stands for, in words.
    pub fn reader(&self) -> String {
        match self.rule {
            // The first with ext4 by that name.
            Rule::Kernel(2, 6) => "Linux 2.6.28 and later".to_owned(),
            Rule::Kernel(major, minor) => format!("Linux {major}.{minor} and later"),
            Rule::E2fsprogs(minor) => format!("e2fsck of e2fsprogs 1.{minor} and later"),
            Rule::Lacks(_) => format!("GRUB {} and later", self.name.trim_start_matches("grub-")),
            Rule::Android => "Android, as its build makes images".to_owned(),
        }
    }

    /// Whatever else it changes, in words; empty for most.
    pub fn remark(&self) -> &'static str {
        match self.rule {
            Rule::Android | Rule::E2fsprogs(42) | Rule::Kernel(..=3, _) => {
                "uninit_bg stands in for metadata_csum"
            }
            _ => "",
        }
    }

    /// Takes what the reader does not know out of `options`.
    ///
    /// # Errors
    /// When a feature was asked for by name that the reader does not know.
    pub fn apply(&self, options: &mut Options) -> Result<()> {
        for name in self.lacks() {
            let Some(bit) = Features::named(name) else { continue };
            if options.features.contains(&Edit::On(bit)) {
                return conflict(format!(
                    "the preset {} leaves {name} out: take one off",
                    self.name
                ));
            }
            options.features.push(Edit::Off(bit));
        }
        let has_csum = !self.lacks().contains(&"metadata_csum");
        if options.kind == Kind::Ext4 && !has_csum {
            // The older checksum: without any, every inode table has to be written whole.
            options.features.extend(features::parse(ANDROID_ON)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_reader_lacks_all_that_a_newer_one_lacks() {
        let lacks = |name: &str| named(name).unwrap().lacks();
        assert_eq!(lacks("kernel-5.15"), <[&str; 0]>::default());
        assert_eq!(lacks("kernel-5.10"), ["orphan_file"]);
        assert!(lacks("kernel-4.19").contains(&"casefold"));
        assert!(lacks("e2fsprogs-1.42").contains(&"metadata_csum"));
        for preset in PRESETS {
            for name in preset.lacks() {
                assert!(Features::named(name).is_some(), "{name}");
            }
        }
    }

    #[test]
    fn what_was_asked_for_is_not_taken_away_in_silence() {
        let mut options =
            Options { features: features::parse("casefold").unwrap(), ..Options::default() };
        let err = named("grub-2.06").unwrap().apply(&mut options).unwrap_err();
        assert_eq!(err.to_string(), "the preset grub-2.06 leaves casefold out: take one off");
        assert!(named("grub-1").is_err());
    }
}
