//! Contents inside the inode: the flag, the feature, and the attribute that holds the rest.

use super::{
    attributes,
    inode::{Check, Verdict},
};
use crate::{
    Result,
    problem::pass1::{
        EXTENTS_AND_INLINE, EXTENTS_BUT_INLINE, INLINE_BUT_EXTENTS, INLINE_DATA_FEATURE,
        INLINE_DATA_FLAG, INLINE_DATA_NO_ATTRIBUTE, LIKE_DIRECTORY, NEITHER_EXTENTS_NOR_INLINE,
        SPECIAL_FLAGS,
    },
};
use ext4_ondisk::{
    features::Incompat,
    inline_data,
    inode::{FileType, InodeFlags},
    xattr::{self, Entry, Value, encode_body, entry_hash, entry_hash_signed, parse_body},
};
use ext4_units::BlockNr;

impl Check<'_> {
    /// Bytes that there is room for inside the inode: `i_block`, and the attribute `system.data`.
    /// `None` when there is no such attribute, or the attributes are damaged.
    pub(super) fn inline_room(&self) -> Option<u64> {
        if !attributes::values_are_inside(self.body()) {
            return None;
        }
        let entries = parse_body(self.body(), self.ino).ok()?;
        let has_good_hashes = entries.iter().all(|entry| match &entry.value {
            Value::Here(value) => {
                entry.hash == 0
                    || entry.hash == entry_hash(&entry.name, value)
                    || entry.hash == entry_hash_signed(&entry.name, value)
            }
            Value::Inode { .. } => true,
        });
        let value = inline_data::attribute(&entries).filter(|_| has_good_hashes)?;
        Some((inline_data::BODY_LEN + value.len()) as u64)
    }

    /// An inode that says both: extents, and contents inside (`fix_inline_data_extents_file`).
    pub(super) fn contradicting_flags(&mut self) -> Result<Verdict> {
        let both = InodeFlags::EXTENTS | InodeFlags::INLINE_DATA;
        let features = self.features;
        if !self.has_flag(both)
            || !features.has_incompat(Incompat::EXTENTS)
                && !features.has_incompat(Incompat::INLINE_DATA)
        {
            return Ok(Verdict::Kept);
        }
        self.gate.doubt()?;
        let kind = self.kind();
        let is_device = matches!(
            kind,
            FileType::CharDevice | FileType::BlockDevice | FileType::Fifo | FileType::Socket
        );
        if is_device {
            if self.fix(&SPECIAL_FLAGS, "", "")? {
                self.clear_flags(both);
            }
        } else if self.looks_like_extents() && self.fix(&INLINE_BUT_EXTENTS, "", "")? {
            self.clear_flags(InodeFlags::INLINE_DATA);
        } else if self.size() < (inline_data::BODY_LEN + self.body().len()) as u64
            && self.fix(&EXTENTS_BUT_INLINE, "", "")?
        {
            self.clear_flags(InodeFlags::EXTENTS);
        } else if self.looks_like_block_map() && self.fix(&NEITHER_EXTENTS_NOR_INLINE, "", "")? {
            self.clear_flags(both);
        } else if self.fix(&EXTENTS_AND_INLINE, "", "")? {
            return Ok(self.clear());
        }
        Ok(Verdict::Kept)
    }

    fn looks_like_block_map(&self) -> bool {
        (0..15).all(|nr| u64::from(self.word(nr)) < self.world.geo.blocks_count)
    }

    /// The flag against the feature and against the attribute.
    pub(super) fn inline_data_flag(&mut self) -> Result<Verdict> {
        if !self.has_flag(InodeFlags::INLINE_DATA) || self.ino.get() < self.world.geo.first_ino {
            return Ok(Verdict::Kept);
        }
        let has_attribute = self.inline_room().is_some();
        if !self.features.has_incompat(Incompat::INLINE_DATA) {
            self.gate.doubt()?;
            if has_attribute && self.fix(&INLINE_DATA_FEATURE, "", "")? {
                self.features.incompat |= Incompat::INLINE_DATA;
            } else if self.fix(&INLINE_DATA_FLAG, "", "")? {
                return Ok(self.clear());
            } else {
                return Ok(Verdict::Kept);
            }
        }
        if has_attribute {
            return Ok(Verdict::Kept);
        }
        let fault = parse_body(self.body(), self.ino).err();
        let found = fault.map_or_else(String::new, |it| it.to_string());
        if self.fix(&INLINE_DATA_NO_ATTRIBUTE, found, "")? && !self.keep_inline(|_| true) {
            self.set_size(0);
            self.raw.i_block = [0; 60];
            self.clear_flags(InodeFlags::INLINE_DATA);
        }
        Ok(Verdict::Kept)
    }

    /// Makes the attributes in the inode anew: those among them that can be read and are to be kept, and
    /// `system.data`, if need be an empty one, with which the contents in `i_block` count. False when
    /// that would not be all of the contents.
    pub(super) fn keep_inline(&mut self, is_kept: impl Fn(&Entry) -> bool) -> bool {
        let at = 128 + self.possible_extra_isize();
        let old = self.bytes.get(at..).unwrap_or_default();
        let mut entries = xattr::salvage_body(old);
        entries.retain(|it| match it.value {
            Value::Here(_) => inline_data::is_attribute(it) || is_kept(it),
            Value::Inode { .. } => !inline_data::is_attribute(it) && is_kept(it),
        });
        let there = inline_data::attribute(&entries).map(<[u8]>::len);
        if self.size() > (inline_data::BODY_LEN + there.unwrap_or(0)) as u64 {
            return false;
        }
        if there.is_none() {
            entries.push(inline_data::entry(Vec::new()));
        }
        for entry in &mut entries {
            if let Value::Here(_) = entry.value {
                entry.hash = 0;
            }
        }
        let Some(body) = encode_body(&entries, old.len()) else { return false };
        self.raw.i_extra_isize.set(u16::try_from(at - 128).unwrap_or(0));
        if let Some(place) = self.bytes.to_mut().get_mut(at..) {
            place.copy_from_slice(&body);
        }
        self.is_dirty = true;
        true
    }

    /// An inode that is no directory by its mode, but by its contents (`check_is_really_dir`).
    pub(super) fn maybe_directory(&mut self) -> Result<()> {
        if matches!(self.kind(), FileType::Directory | FileType::Regular | FileType::Symlink)
            || self.word(0) == 0
        {
            return Ok(());
        }
        if self.is_like_directory()? && self.fix(&LIKE_DIRECTORY, "", "")? {
            let mode = self.raw.i_mode.get() & 0o7777 | FileType::Directory.mode_bits();
            self.raw.i_mode.set(mode);
            self.is_dirty = true;
        }
        Ok(())
    }

    fn is_like_directory(&self) -> Result<bool> {
        let count = self.world.geo.inodes_count;
        let first_ino = self.world.geo.first_ino;
        if self.features.has_incompat(Incompat::INLINE_DATA)
            && self.has_flag(InodeFlags::INLINE_DATA)
        {
            let Some(room) = self.inline_room() else { return Ok(false) };
            let (parent, child) = (self.word(0), self.word(1));
            let rec_len = self.word(2) & 0xFFFF;
            return Ok(room % 4 == 0
                && parent < count
                && (parent >= first_ino || parent == 2)
                && child < count
                && (child >= first_ino || child == 0)
                && rec_len <= 56);
        }
        let is_mapped =
            self.features.has_incompat(Incompat::EXTENTS) && self.has_flag(InodeFlags::EXTENTS);
        let (blk, may_be_device) = if is_mapped {
            (self.first_by_extents()?, false)
        } else {
            let words: Vec<u32> = (0..15).map(|nr| self.word(nr)).collect();
            let is_map = words.iter().filter(|it| **it != 0).all(|it| {
                let blk = BlockNr((*it).into());
                self.world.is_block(blk) && !self.world.metadata.contains(blk.0)
            });
            if !is_map {
                return Ok(false);
            }
            (Some(BlockNr(words[0].into())), words[4..].iter().all(|it| *it == 0))
        };
        let is_device = matches!(self.kind(), FileType::CharDevice | FileType::BlockDevice);
        if is_device && self.raw.i_links_count.get() == 1 && may_be_device {
            return Ok(false);
        }
        let Some(blk) = blk.filter(|it| self.world.is_block(*it)) else { return Ok(false) };
        let block = self.world.image.read(blk)?;
        Ok(self.begins_as_directory(&block))
    }

    /// Where logical block 0 is, by a tree that nothing is known of.
    fn first_by_extents(&self) -> Result<Option<BlockNr>> {
        let mut node = self.raw.i_block.to_vec();
        for _ in 0..=ext4_ondisk::extent::MAX_DEPTH {
            let Ok(header) = super::tree::header(&node) else { return Ok(None) };
            let Some(entry) = super::tree::leaf_entry(&node, 0) else { return Ok(None) };
            if header.eh_entries.get() == 0 || entry.ee_block.get() != 0 {
                return Ok(None);
            }
            if header.eh_depth.get() == 0 {
                return Ok(Some(entry.start()));
            }
            let Some(child) = super::tree::child(&node, 0) else { return Ok(None) };
            if !self.world.is_block(child) {
                return Ok(None);
            }
            node = self.world.image.read(child)?;
        }
        Ok(None)
    }

    /// Whether a block begins with `.` for this inode, and `..`.
    fn begins_as_directory(&self, block: &[u8]) -> bool {
        let entry = |at: usize| {
            let head = block.get(at..at + 8)?;
            let ino = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
            let rec_len = usize::from(u16::from_le_bytes([head[4], head[5]]));
            Some((ino, rec_len, head[6], block.get(at + 8..at + 10)?))
        };
        let Some((ino, rec_len, 1, [b'.', _])) = entry(0) else { return false };
        let is_dot = ino == self.ino.get()
            && rec_len >= 12
            && rec_len % 4 == 0
            && rec_len < block.len() - 12;
        let Some((_, next_len, 2, b"..")) = entry(rec_len).filter(|_| is_dot) else {
            return false;
        };
        next_len >= 12 && next_len % 4 == 0
    }
}
