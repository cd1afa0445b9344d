//! The descriptor block: a header, tags, and with v2/v3 checksums a tail.

use super::{BlockHeader, BlockKind, LogFormat, Tag, TagFlags};
use ext4_units::{BlockNr, Tid};

const UUID_LEN: usize = 16;

/// The tags of a descriptor block, in the order of the logged blocks that follow it.
///
/// Ends at the tag flagged last, or where no further tag fits; so it is bounded by the block.
pub fn tags<'a>(format: &LogFormat, block: &'a [u8]) -> Tags<'a> {
    let end = block.len().saturating_sub(format.tail_len());
    let rest = block.get(BlockHeader::LEN..end).unwrap_or_default();
    Tags { format: *format, rest }
}

/// Iterator of [`tags`].
#[derive(Clone, Debug)]
pub struct Tags<'a> {
    format: LogFormat,
    rest: &'a [u8],
}

impl Iterator for Tags<'_> {
    type Item = Tag;

    fn next(&mut self) -> Option<Tag> {
        let tag = Tag::decode(&self.format, self.rest)?;
        let uuid = if tag.flags.contains(TagFlags::SAME_UUID) { 0 } else { UUID_LEN };
        self.rest = if tag.flags.contains(TagFlags::LAST_TAG) {
            &[]
        } else {
            self.rest.get(self.format.tag_len() + uuid..).unwrap_or_default()
        };
        Some(tag)
    }
}

/// A descriptor block in the making.
#[derive(Clone, Debug)]
pub struct DescriptorBuilder {
    format: LogFormat,
    block: Vec<u8>,
    at: usize,
    last: Option<usize>,
    count: usize,
    uuid: [u8; UUID_LEN],
}

impl DescriptorBuilder {
    /// An empty descriptor of transaction `tid`; `uuid` is the journal's and follows the first tag.
    pub fn new(format: &LogFormat, tid: Tid, uuid: [u8; UUID_LEN]) -> Self {
        let mut block = vec![0; format.block_size.len()];
        block[..BlockHeader::LEN]
            .copy_from_slice(&BlockHeader { kind: BlockKind::Descriptor, tid }.encode());
        Self { format: *format, block, at: BlockHeader::LEN, last: None, count: 0, uuid }
    }

    /// Number of tags so far.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no tag yet.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether no further tag may be pushed: [`LogFormat::tags_per_descriptor`] are in.
    pub const fn is_full(&self) -> bool {
        self.count >= self.format.tags_per_descriptor()
    }

    /// Adds the home of the next logged block. `checksum` is [`LogFormat::tag_checksum`] of the
    /// copy as logged.
    ///
    /// # Panics
    ///
    /// When the descriptor is full.
    pub fn push(&mut self, block: BlockNr, escaped: bool, checksum: u32) {
        assert!(!self.is_full(), "the caller asks is_full first");
        let mut flags = TagFlags::empty();
        flags.set(TagFlags::ESCAPE, escaped);
        flags.set(TagFlags::SAME_UUID, self.count > 0);
        Tag { block, flags, checksum }.encode(&self.format, &mut self.block[self.at..]);
        self.last = Some(self.at);
        self.at += self.format.tag_len();
        if self.count == 0 {
            self.block[self.at..self.at + UUID_LEN].copy_from_slice(&self.uuid);
            self.at += UUID_LEN;
        }
        self.count += 1;
    }

    /// The finished block: the last tag flagged, the tail checksum set.
    pub fn finish(mut self) -> Vec<u8> {
        if let Some(at) = self.last {
            self.block[at + 7] |= TagFlags::LAST_TAG.bits().to_be_bytes()[1];
        }
        self.format.set_tail(&mut self.block);
        self.block
    }
}
