//! Extended options (`-E`), in the spelling of e2fsck(8). Each does what it says, or is refused with the
//! reason.

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extended {
    /// Replay the journal and do nothing else.
    JournalOnly,
    /// Say which files are not in one piece, and where.
    Fragcheck,
    /// Give free blocks back to the device or the host.
    Discard,
    /// Do not (the default).
    NoDiscard,
    /// Make trees of extents smaller where they can be.
    OptimizeExtents,
    /// Do not (the default).
    NoOptimizeExtents,
    /// Give files that are mapped by blocks a tree of extents.
    BmapToExtent,
    /// Give files that share blocks copies of them.
    UnshareBlocks,
    /// Refuse whatever is no repair.
    FixesOnly,
    /// Blocks of attributes have the form of version 2, the only one there is.
    AttributesOf2,
}

/// What can be typed.
const KNOWN: &[(&str, Extended)] = &[
    ("journal_only", Extended::JournalOnly),
    ("fragcheck", Extended::Fragcheck),
    ("discard", Extended::Discard),
    ("nodiscard", Extended::NoDiscard),
    ("optimize_extents", Extended::OptimizeExtents),
    ("no_optimize_extents", Extended::NoOptimizeExtents),
    ("bmap2extent", Extended::BmapToExtent),
    ("unshare_blocks", Extended::UnshareBlocks),
    ("fixes_only", Extended::FixesOnly),
    ("ea_ver=2", Extended::AttributesOf2),
];

/// What e2fsck knows and is refused, with the reason.
const REFUSED: &[(&str, &str)] = &[
    ("ea_ver", "expected ea_ver=2: no kernel has written blocks of attributes of another version"),
    ("readahead_kb", "reading ahead follows the scan and has no size to set"),
    ("inode_count_fullmap", "link counts are always kept in the compact form"),
    ("no_inode_count_fullmap", "link counts are always kept in the compact form"),
    ("check_encoding", "whether names are valid UTF-8 is not checked; use e2fsck for that"),
];

impl Extended {
    /// One option between the commas.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(typed: &str) -> Result<Self, String> {
        if let Some((_, option)) = KNOWN.iter().find(|(name, _)| *name == typed) {
            return Ok(*option);
        }
        let name = typed.split('=').next().unwrap_or(typed);
        if let Some((_, why)) = REFUSED.iter().find(|(it, _)| *it == name) {
            return Err((*why).to_owned());
        }
        let names: Vec<_> = KNOWN.iter().map(|it| it.0).collect();
        Err(format!("expected one of {}", names.join(", ")))
    }

    /// Whether `on` is among the options and `off` is not behind it.
    pub fn is_on(options: &[Self], on: Self, off: Self) -> bool {
        options.iter().rfind(|it| **it == on || **it == off) == Some(&on)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_two_that_contradict_counts() {
        let parse = |line: &str| line.split(',').map(|it| Extended::parse(it).unwrap()).collect();
        let is_on = |line| {
            let options: Vec<_> = parse(line);
            Extended::is_on(&options, Extended::Discard, Extended::NoDiscard)
        };
        assert!(is_on("discard") && is_on("nodiscard,fragcheck,discard"));
        assert!(!is_on("discard,nodiscard") && !is_on("fragcheck"));
    }

    #[test]
    fn what_is_not_done_is_refused_with_the_reason() {
        let why = |it| Extended::parse(it).unwrap_err();
        assert!(why("readahead_kb=64").contains("no size to set"));
        assert!(why("ea_ver=1").contains("expected ea_ver=2"));
        assert!(why("clone=zero").contains("expected one of journal_only"));
        assert!(why("discard=1").contains("expected one of"));
    }
}
