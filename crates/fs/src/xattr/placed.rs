//! Which attributes of one inode lie in its body and which in its block: a plan, made before
//! anything is written.

use crate::{Filesystem, Inode, Result};
use ext4_jbd2::MetaRead;
use ext4_ondisk::xattr::{Entry, Value, XattrBlock, encode_body, parse_body};
use ext4_units::{BlockNr, InodeNr};
use std::collections::BTreeMap;

/// The attributes of one inode by their place.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) body: Vec<Entry>,
    pub(crate) block: Vec<Entry>,
    /// Bytes for attributes in the inode; 0 when it cannot have any there.
    room: usize,
    block_len: usize,
}

/// The block an inode's attributes are in now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockNow {
    pub(crate) blk: BlockNr,
    /// Inodes that share it.
    pub(crate) refcount: u32,
}

impl Placed {
    /// As they are on disk, and where.
    pub(crate) fn read(
        fs: &Filesystem,
        meta: &dyn MetaRead,
        inode: &Inode,
    ) -> Result<(Self, Option<BlockNow>)> {
        let body = parse_body(&inode.ibody, inode.ino)?;
        let (mut block, mut now) = (Vec::new(), None);
        if let Some(blk) = inode.file_acl {
            let XattrBlock { refcount, entries } = fs.xattr_block(meta, inode, blk)?;
            (block, now) = (entries, Some(BlockNow { blk, refcount }));
        }
        // Without extra fields the kernel takes the whole rest for fields of its own.
        let room = if inode.extra_isize == 0 { 0 } else { inode.ibody.len() };
        let block_len = fs.geometry().block_size.len();
        Ok((Self { body, block, room, block_len }, now))
    }

    /// Takes an attribute away, wherever it is, and tells whether it was there.
    pub(crate) fn remove(&mut self, index: u8, name: &[u8]) -> bool {
        let before = self.body.len() + self.block.len();
        let is_other = |it: &Entry| it.index != index || it.name != name;
        self.body.retain(is_other);
        self.block.retain(is_other);
        self.body.len() + self.block.len() < before
    }

    /// Finds an attribute.
    pub(crate) fn find(&self, index: u8, name: &[u8]) -> Option<&Entry> {
        self.body.iter().chain(&self.block).find(|it| it.index == index && it.name == name)
    }

    /// Puts an attribute in, or another value of it: into the body if it fits there, else into the
    /// block (`ext4_xattr_set_handle`). `false`, with nothing changed, when it fits nowhere.
    #[must_use]
    pub(crate) fn put(&mut self, new: Entry) -> bool {
        let mut with = self.clone();
        // In an inode's body, only values in other inodes have a hash.
        let in_body = if matches!(new.value, Value::Here(_)) {
            Entry { hash: 0, ..new.clone() }
        } else {
            new.clone()
        };
        replace_or_push(&mut with.body, in_body);
        with.block.retain(|it| it.index != new.index || it.name != new.name);
        if with.encode_body().is_some() {
            *self = with;
            return true;
        }
        let mut with = self.clone();
        with.body.retain(|it| it.index != new.index || it.name != new.name);
        replace_or_push(&mut with.block, new);
        if with.encode_block(BlockNr(0)).is_some() {
            *self = with;
            return true;
        }
        false
    }

    /// The inode's bytes behind its fields; `None` when the attributes don't fit.
    pub(crate) fn encode_body(&self) -> Option<Vec<u8>> {
        if self.body.is_empty() || self.room > 0 {
            encode_body(&self.body, self.room)
        } else {
            None
        }
    }

    /// The attribute block of one user, but for its checksum.
    pub(crate) fn encode_block(&self, blk: BlockNr) -> Option<Vec<u8>> {
        XattrBlock { refcount: 1, entries: self.block.clone() }.encode(self.block_len, blk, None)
    }

    /// How often each value inode is used by the body, or by the block.
    pub(crate) fn value_users(entries: &[Entry]) -> BTreeMap<InodeNr, i64> {
        let mut users = BTreeMap::new();
        for entry in entries {
            if let Value::Inode { ino, .. } = entry.value {
                *users.entry(ino).or_insert(0) += 1;
            }
        }
        users
    }

    /// What the values in inodes of their own add to `i_blocks` of who has the attributes, for
    /// clusters of `cluster` bytes (`round_up_cluster`), in units of 512 bytes.
    pub(crate) fn value_sectors(&self, cluster: u64) -> u64 {
        let len = |it: &Entry| match it.value {
            Value::Inode { len, .. } => u64::from(len).next_multiple_of(cluster) >> 9,
            Value::Here(_) => 0,
        };
        self.body.iter().chain(&self.block).map(len).sum()
    }
}

fn replace_or_push(entries: &mut Vec<Entry>, new: Entry) {
    match entries.iter_mut().find(|it| it.index == new.index && it.name == new.name) {
        Some(old) => *old = new,
        None => entries.push(new),
    }
}
