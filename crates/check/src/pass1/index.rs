//! The root of a directory's index, as far as an inode's flag depends on it.

use super::{inode::Check, map::Map};
use crate::{
    Result,
    problem::pass1::{
        INDEX_DEPTH, INDEX_FEATURE, INDEX_FLAGS, INDEX_HASH, INDEX_NEEDS_SIPHASH, INDEX_NO_DIR,
        INDEX_ROOT, INDEX_SIPHASH,
    },
};
use ext4_ondisk::{
    features::{Compat, Incompat},
    htree::RawDxRoot,
    inode::{FileType, InodeFlags},
};
use zerocopy::FromBytes as _;

/// The hash that encrypted and case-folded directories have.
const SIPHASH: u8 = 6;
/// Hashes that exist: legacy, half MD4, TEA.
const OTHERS: [u8; 3] = [0, 1, 2];
/// A flag of the root that means a format nobody knows.
const INCOMPATIBLE: u8 = 1;
/// Levels between root and leaves with the feature largedir.
const MOST_LEVELS: u8 = 3;

impl Check<'_> {
    /// Whether the flag of an index has to go (`handle_htree`).
    pub(super) fn is_bad_index(&mut self, map: &Map) -> Result<bool> {
        if self.kind() != FileType::Directory && self.fix(&INDEX_NO_DIR, "", "")? {
            return Ok(true);
        }
        if !self.features.has_compat(Compat::DIR_INDEX) && self.fix(&INDEX_FEATURE, "", "")? {
            return Ok(true);
        }
        let Some(blk) = map.first.filter(|it| self.world.is_block(*it)) else {
            return self.fix(&INDEX_ROOT, "no block", "");
        };
        let block = self.world.image.read(blk)?;
        let Ok((root, _)) = RawDxRoot::read_from_prefix(&block) else { return Ok(false) };
        if (root.reserved_zero.get() != 0 || root.info_length < 8)
            && self.fix(&INDEX_ROOT, "", "")?
        {
            return Ok(true);
        }
        let version = root.hash_version;
        if version != SIPHASH && !OTHERS.contains(&version) && self.fix(&INDEX_HASH, version, "")? {
            return Ok(true);
        }
        let needs_siphash = self.has_flag(InodeFlags::ENCRYPT | InodeFlags::CASEFOLD);
        if needs_siphash
            && version != SIPHASH
            && self.fix(&INDEX_NEEDS_SIPHASH, version, SIPHASH)?
        {
            return Ok(true);
        }
        if !needs_siphash && version == SIPHASH && self.fix(&INDEX_SIPHASH, version, "")? {
            return Ok(true);
        }
        if root.unused_flags & INCOMPATIBLE != 0 && self.fix(&INDEX_FLAGS, root.unused_flags, "")? {
            return Ok(true);
        }
        self.is_too_deep(root.indirect_levels)
    }

    fn is_too_deep(&mut self, levels: u8) -> Result<bool> {
        if levels > MOST_LEVELS && self.fix(&INDEX_DEPTH, levels, MOST_LEVELS)? {
            return Ok(true);
        }
        let has_largedir = self.features.has_incompat(Incompat::LARGEDIR);
        if levels > 2 && !has_largedir {
            // As large as two levels can hold, the feature may be what is missing.
            let bits = self.world.geo.block_size.bits();
            let per = 1u64 << (bits - 3);
            let most = (per - 1).saturating_mul(per - 2);
            if self.size() < most << bits
                && self.i_blocks() < most << (bits - 9)
                && self.fix(&INDEX_DEPTH, levels, 2)?
            {
                return Ok(true);
            }
        }
        self.found.is_large_dir |= levels > 2 || self.size() >= 0x8000_0000;
        Ok(false)
    }
}
