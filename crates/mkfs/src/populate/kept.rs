//! Attributes as they are placed: bytes of inodes, blocks, and values in inodes.

use super::{
    attributes::{Attributes, NONE},
    placing::{Owner, Placing},
};
use crate::{
    error::{Error, Result},
    mapping,
    seal::{Block, Seal},
};
use ext4_ondisk::{
    inline_data,
    inode::{FileType, InodeFlags},
    time::Timestamp,
    xattr::{Entry, MAX_REFCOUNT, Value, XattrBlock, encode_body, entry_hash},
};
use ext4_units::{BlockNr, BlockRange, InodeNr};

/// The attributes of a new filesystem's files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    sets: Vec<Set>,
    /// Blocks of attributes.
    blocks: Vec<BlockNr>,
}

/// Attributes of one or more files.
#[derive(Clone, Debug)]
pub(crate) struct Set {
    entries: Vec<Entry>,
    /// The inode's bytes behind its fields, where the file is not inside it.
    body: Box<[u8]>,
    /// Blocks of the values that are inodes.
    pub(crate) charged_blocks: u64,
    pub(crate) n_values: u64,
}

impl Kept {
    pub(super) fn set(&self, set: u32) -> Option<&Set> {
        self.sets.get(set as usize).filter(|_| set != NONE)
    }

    pub(super) fn block(&self, block: u32) -> Option<BlockNr> {
        self.blocks.get(block as usize).copied().filter(|_| block != NONE)
    }
}

/// The bytes of an inode behind its fields: contents, then attributes. `data` is what of a file
/// inside its inode lies there, `None` for any other file.
pub(super) fn body(len: usize, set: Option<&Set>, data: Option<&[u8]>) -> Vec<u8> {
    let Some(data) = data else {
        return set.map_or_else(|| vec![0; len], |it| it.body.to_vec());
    };
    let mut entries = vec![inline_data::entry(data.to_vec())];
    entries.extend(set.iter().flat_map(|it| it.entries.iter().cloned()));
    encode_body(&entries, len).expect("attributes were chosen for the room that contents leave")
}

/// Where in an inode the value of `system.data` of that length is: it is the first one, and values
/// come from the inode's end on.
pub(super) fn data_at(inode_size: usize, len: u16) -> u16 {
    // An inode has 32 KiB at the most.
    let end = u16::try_from(inode_size).unwrap_or(u16::MAX);
    end - len.next_multiple_of(4)
}

/// Which copies of shared blocks have room for one more file.
#[derive(Debug, Default)]
pub(super) struct Copies {
    /// By shared block: the place of its first copy, and files that have it so far.
    shared: Vec<(u32, u32)>,
}

impl Copies {
    /// The copy for one more file.
    fn next(&mut self, shared: u32) -> u32 {
        let (first, users) = &mut self.shared[shared as usize];
        let copy = *first + *users / MAX_REFCOUNT;
        *users += 1;
        copy
    }
}

impl Placing<'_> {
    /// Places all attributes.
    pub(super) fn attributes(&mut self) -> Result<()> {
        let all = self.attributes;
        if all.sets.is_empty() {
            return Ok(());
        }
        if self.builder.shape.raw.s_rev_level == 0 {
            let why = "files with extended attributes need a filesystem of revision 1";
            return Err(Error::Options(why.to_owned()));
        }
        self.builder.note_attributes();
        let hashes = self.values(all)?;
        let real = |entry: &Entry| match entry.value {
            Value::Here(_) => entry.clone(),
            Value::Inode { ino, len } => {
                let hash = hashes[ino.get() as usize - 1];
                Entry {
                    value: Value::Inode { ino: self.value_ino(ino.get() - 1), len },
                    hash: entry_hash(&entry.name, &hash.to_le_bytes()),
                    ..entry.clone()
                }
            }
        };
        let body_len = self.it.frame.body_len();
        let frame = self.it.frame;
        let sets = all.sets.iter().map(|set| {
            let entries: Vec<_> = set.body.iter().map(real).collect();
            let cluster = frame.ratio << frame.size.bits();
            let charged: u64 =
                set.charged.iter().map(|&len| u64::from(len).div_ceil(cluster) * frame.ratio).sum();
            Set {
                // Of a file inside its inode the rest of the body is made with its contents.
                body: encode_body(&entries, body_len).unwrap_or_default().into(),
                entries,
                charged_blocks: charged,
                n_values: set.charged.len() as u64,
            }
        });
        let sets = sets.collect();
        let shared: Vec<Vec<Entry>> =
            all.blocks.iter().map(|it| it.entries.iter().map(real).collect()).collect();
        self.it.attributes.sets = sets;
        for (entries, users) in shared.into_iter().zip(all.blocks.iter().map(|it| it.users)) {
            self.shared(&entries, users)?;
        }
        Ok(())
    }

    /// The number of the inode that is the value of this index: they come behind all files.
    fn value_ino(&self, value: u32) -> InodeNr {
        let behind = self.it.numbers().end;
        InodeNr::new(behind.saturating_add(value)).expect("numbers of files are not zero")
    }

    /// Makes the inodes of all values, and tells their hashes (`ext4_xattr_inode_create`).
    fn values(&mut self, all: &Attributes) -> Result<Vec<u32>> {
        let mut hashes = Vec::with_capacity(all.values.len());
        let size = self.it.frame.size;
        for (value, nr) in all.values.iter().zip(0..) {
            let owner = Owner { ino: self.value_ino(nr), node: None };
            let hash = self.builder.shape.sb.csum_seed.over(&value.bytes).0;
            let runs = self.take(owner, size.blocks_for(value.bytes.len() as u64))?;
            let segments = mapping::dense(&runs);
            let root = self.map(owner, &segments, Vec::new())?;
            let mut inode = self.builder.new_inode(FileType::Regular, 0o600, 1);
            (inode.uid, inode.gid) = value.owner;
            inode.flags |= InodeFlags::EA_INODE;
            inode.size = value.bytes.len() as u64;
            self.it.frame.map(&mut inode, &segments, root.as_ref());
            inode.sectors = self.it.frame.sectors_of(&segments, root.as_ref());
            // Fields that nobody needs of such an inode keep the value's hash and the count of users.
            inode.atime = Timestamp::decode(hash, None);
            inode.ctime = Timestamp { sec: i64::try_from(value.refs >> 32).unwrap_or(0), nsec: 0 };
            inode.version = value.refs & u64::from(u32::MAX);
            self.builder.put_contents(&runs, &value.bytes, Seal::None);
            self.builder.put_inode(owner.ino, &inode)?;
            hashes.push(hash);
        }
        Ok(hashes)
    }

    /// The block of these attributes, as often as files need it who have it.
    fn shared(&mut self, entries: &[Entry], users: u32) -> Result<()> {
        let first = u32::try_from(self.it.attributes.blocks.len()).unwrap_or(NONE);
        self.copies.shared.push((first, 0));
        let mut left = users;
        while left > 0 {
            let refcount = left.min(MAX_REFCOUNT);
            let runs = self.take(Owner { ino: InodeNr::ROOT, node: None }, 1)?;
            let at = runs.first().map_or(BlockNr(0), |it: &BlockRange| it.start);
            let block = XattrBlock { refcount, entries: entries.to_vec() };
            let bytes = block.encode(self.it.frame.size.len(), at, None);
            let bytes = bytes.expect("attributes were chosen for the room of a block");
            self.builder.blocks.push(Block::new(at, bytes, Seal::Xattr));
            self.it.attributes.blocks.push(at);
            left -= refcount;
        }
        Ok(())
    }

    /// The block for one more file with this set, as its place among all; [`NONE`] for none.
    pub(super) fn block_of(&mut self, set: u32) -> u32 {
        let shared = self.attributes.sets.get(set as usize).and_then(|it| it.block);
        shared.map_or(NONE, |it| self.copies.next(it))
    }
}
