//! Which features: the defaults of a kind, edits by name, and what goes with what.

use crate::{
    error::{Result, conflict},
    options::Kind,
};
use ext4_ondisk::features::{Compat, Features, Incompat, RoCompat};

/// One word of `-O`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Off with everything so far (`none`).
    Clear,
    /// A feature on.
    On(Features),
    /// A feature off (`^name`).
    Off(Features),
}

/// The features that mkfs can make, by the name dumpe2fs prints, and other names they are typed by.
const NAMES: &[(&str, &[&str])] = &[
    ("has_journal", &[]),
    ("ext_attr", &[]),
    ("resize_inode", &[]),
    ("dir_index", &[]),
    ("sparse_super2", &[]),
    ("fast_commit", &[]),
    ("stable_inodes", &[]),
    ("orphan_file", &[]),
    ("filetype", &[]),
    ("journal_dev", &[]),
    ("meta_bg", &[]),
    ("extent", &["extents"]),
    ("64bit", &[]),
    ("mmp", &[]),
    ("flex_bg", &[]),
    ("ea_inode", &[]),
    ("metadata_csum_seed", &[]),
    ("large_dir", &["largedir"]),
    ("inline_data", &[]),
    ("encrypt", &[]),
    ("casefold", &[]),
    ("sparse_super", &[]),
    ("large_file", &[]),
    ("huge_file", &[]),
    ("uninit_bg", &["gdt_csum", "uninit_groups"]),
    ("dir_nlink", &[]),
    ("extra_isize", &[]),
    ("quota", &[]),
    ("bigalloc", &[]),
    ("metadata_csum", &[]),
    ("project", &[]),
    ("verity", &[]),
];

/// Reads `a,^b,none`, as `mke2fs -O`.
///
/// # Errors
/// A name that is none, or of a feature that a new filesystem can't have.
pub fn parse(text: &str) -> Result<Vec<Edit>> {
    let words = text.split([',', ' ', '\t']).map(str::trim).filter(|it| !it.is_empty());
    words.map(parse_word).collect()
}

fn parse_word(word: &str) -> Result<Edit> {
    if word.eq_ignore_ascii_case("none") {
        return Ok(Edit::Clear);
    }
    let (name, on) = match word.strip_prefix(['^', '-']) {
        Some(name) => (name, false),
        None => (word.strip_prefix('+').unwrap_or(word), true),
    };
    let known = NAMES.iter().find(|(it, others)| *it == name || others.contains(&name));
    let Some(bit) = known.and_then(|(it, _)| Features::named(it)) else {
        let fault = if Features::named(name).is_some() {
            "is no feature a new filesystem can have"
        } else {
            "is no feature"
        };
        return conflict(format!("`{name}` {fault}"));
    };
    Ok(if on { Edit::On(bit) } else { Edit::Off(bit) })
}

/// What `mke2fs -t KIND` turns on (mke2fs.conf of e2fsprogs 1.47).
pub(crate) fn defaults(kind: Kind) -> Features {
    let mut it = Features {
        compat: Compat::RESIZE_INODE | Compat::DIR_INDEX | Compat::EXT_ATTR,
        incompat: Incompat::FILETYPE,
        ro_compat: RoCompat::SPARSE_SUPER | RoCompat::LARGE_FILE,
    };
    if kind != Kind::Ext2 {
        it.compat |= Compat::HAS_JOURNAL;
    }
    if kind == Kind::Ext4 {
        it.incompat |= Incompat::EXTENTS | Incompat::FLEX_BG | Incompat::BIT64;
        it.ro_compat |= RoCompat::HUGE_FILE
            | RoCompat::METADATA_CSUM
            | RoCompat::DIR_NLINK
            | RoCompat::EXTRA_ISIZE;
    }
    it
}

/// The features after the edits, in order.
pub(crate) fn edited(mut features: Features, edits: &[Edit]) -> Features {
    for edit in edits {
        match edit {
            Edit::Clear => features = Features::default(),
            Edit::On(it) => {
                features.compat |= it.compat;
                features.incompat |= it.incompat;
                features.ro_compat |= it.ro_compat;
            }
            Edit::Off(it) => {
                features.compat -= it.compat;
                features.incompat -= it.incompat;
                features.ro_compat -= it.ro_compat;
            }
        }
    }
    features
}

/// Refuses features that need another one or exclude it, in one line.
pub(crate) fn check(it: Features, has_outside_journal: bool) -> Result<()> {
    let journal = it.has_compat(Compat::HAS_JOURNAL) || has_outside_journal;
    let on = |name: &str| {
        let bit = Features::named(name).unwrap_or_default();
        it.has_compat(bit.compat)
            && it.has_incompat(bit.incompat)
            && it.has_ro_compat(bit.ro_compat)
    };
    for (name, needed) in [
        ("64bit", "extent"),
        ("bigalloc", "extent"),
        ("resize_inode", "sparse_super"),
        ("metadata_csum_seed", "metadata_csum"),
    ] {
        if on(name) && !on(needed) {
            return conflict(format!("the feature {name} needs {needed}: add -O {needed}"));
        }
    }
    for name in ["fast_commit", "orphan_file"] {
        if on(name) && !journal {
            return conflict(format!("the feature {name} needs a journal: add -O has_journal"));
        }
    }
    if on("resize_inode") && on("meta_bg") {
        return conflict("the features resize_inode and meta_bg exclude each other: take one off");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_turn_features_on_and_off_in_order() {
        let edits = parse("none,extents,+flex_bg,^extent,-flex_bg,dir_index").unwrap();
        let found = edited(defaults(Kind::Ext4), &edits);
        assert_eq!(found.names(), ["dir_index"]);
    }

    #[test]
    fn each_name_in_the_table_is_a_feature() {
        for (name, _) in NAMES {
            assert!(Features::named(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_wrong_name_is_named() {
        assert_eq!(parse("extnt").unwrap_err().to_string(), "`extnt` is no feature");
        assert_eq!(
            parse("shared_blocks").unwrap_err().to_string(),
            "`shared_blocks` is no feature a new filesystem can have"
        );
    }

    #[test]
    fn a_missing_feature_is_named_with_the_one_that_needs_it() {
        let check = |text: &str| {
            let features = edited(defaults(Kind::Ext4), &parse(text).unwrap());
            check(features, false).unwrap_err().to_string()
        };
        assert_eq!(check("^extent"), "the feature 64bit needs extent: add -O extent");
        assert_eq!(
            check("meta_bg"),
            "the features resize_inode and meta_bg exclude each other: take one off"
        );
        assert_eq!(
            check("fast_commit,^has_journal"),
            "the feature fast_commit needs a journal: add -O has_journal"
        );
    }
}
