//! The extended attributes of an inode: in its body, in its block, and values in their own inodes.

mod placed;
mod release;
mod set;
mod store;
mod value_inode;

pub(crate) use placed::Placed;
pub use set::SetXattr;

use crate::{Error, Filesystem, Inode, Result};
use ext4_jbd2::MetaRead;
use ext4_ondisk::{
    Corrupt,
    features::Incompat,
    inode::InodeFlags,
    xattr::{self, Entry, Value, XattrBlock},
};
use ext4_units::InodeNr;

/// Values of one inode read at a time; more is refused rather than kept in memory.
const MAX_TOTAL: u64 = 256 << 20;

/// One attribute with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xattr {
    /// What stands before the name, see [`xattr::NameIndex`].
    pub index: u8,
    /// The name behind the prefix.
    pub name: Vec<u8>,
    /// The value as it is on disk (ACLs have another form for programs, [`ext4_ondisk::acl`]).
    pub value: Vec<u8>,
}

impl Xattr {
    /// The name that programs see.
    pub fn full_name(&self) -> Vec<u8> {
        xattr::full_name(self.index, &self.name)
    }
}

impl Filesystem {
    /// The entries of an inode's attributes: those in its body, then those in its block, values in
    /// other inodes not read.
    pub fn xattr_entries(&self, meta: &dyn MetaRead, inode: &Inode) -> Result<Vec<Entry>> {
        let mut entries = xattr::parse_body(&inode.ibody, inode.ino)?;
        if let Some(blk) = inode.file_acl {
            entries.extend(self.xattr_block(meta, inode, blk)?.entries);
        }
        Ok(entries)
    }

    /// The attribute block at `blk`, which `inode` names.
    pub(crate) fn xattr_block(
        &self,
        meta: &dyn MetaRead,
        inode: &Inode,
        blk: ext4_units::BlockNr,
    ) -> Result<XattrBlock> {
        let run = ext4_units::BlockRange::new(blk, 1);
        if !self.geometry().contains(blk) || self.zones().hit(run).is_some() {
            let fault = format!("i_file_acl {blk}, expected a block that files may have");
            return Err(Corrupt::new(format!("inode {}", inode.ino), fault).into());
        }
        let csum = self.superblock().metadata_csum();
        Ok(XattrBlock::decode(&meta.read(blk)?, blk, csum)?)
    }

    /// The value of one of the entries of `inode`.
    pub fn xattr_value(
        &self,
        meta: &dyn MetaRead,
        inode: &Inode,
        entry: &Entry,
    ) -> Result<Vec<u8>> {
        match &entry.value {
            Value::Here(value) => Ok(value.clone()),
            Value::Inode { ino, len } => self.ea_inode_value(meta, inode, entry, *ino, *len),
        }
    }

    /// All attributes of an inode with their values, the inline data's too.
    pub fn xattrs(&self, meta: &dyn MetaRead, inode: &Inode) -> Result<Vec<Xattr>> {
        let entries = self.xattr_entries(meta, inode)?;
        let total: u64 = entries
            .iter()
            .map(|entry| match &entry.value {
                Value::Here(value) => value.len() as u64,
                Value::Inode { len, .. } => u64::from(*len),
            })
            .sum();
        if total > MAX_TOTAL {
            let what = format!("inode {}: {total} bytes of attributes in one piece", inode.ino);
            return Err(Error::Refused(what.into()));
        }
        entries
            .into_iter()
            .map(|entry| {
                let value = self.xattr_value(meta, inode, &entry)?;
                Ok(Xattr { index: entry.index, name: entry.name, value })
            })
            .collect()
    }

    /// The value of one attribute, by its full name; `None` when the inode has none such.
    pub fn xattr(
        &self,
        meta: &dyn MetaRead,
        inode: &Inode,
        full_name: &[u8],
    ) -> Result<Option<Vec<u8>>> {
        let Some((index, name)) = xattr::split_name(full_name) else { return Ok(None) };
        let entries = self.xattr_entries(meta, inode)?;
        let found = entries.iter().find(|it| it.index == index.0 && it.name == name);
        found.map(|entry| self.xattr_value(meta, inode, entry)).transpose()
    }

    /// Reads a value that is an inode, and verifies both its hash and the entry's
    /// (`ext4_xattr_inode_get`, `ext4_xattr_inode_verify_hashes`).
    fn ea_inode_value(
        &self,
        meta: &dyn MetaRead,
        owner: &Inode,
        entry: &Entry,
        ino: InodeNr,
        len: u32,
    ) -> Result<Vec<u8>> {
        let corrupt = |fault: String| {
            Error::from(Corrupt::new(
                format!("attribute inode {ino} (of inode {})", owner.ino),
                fault,
            ))
        };
        if !self.superblock().features.has_incompat(Incompat::EA_INODE) {
            return Err(corrupt("the filesystem does not have ea_inode".into()));
        }
        let ea = self.live_inode(meta, ino)?;
        if !ea.is_regular() || !ea.flags.contains(InodeFlags::EA_INODE) {
            return Err(corrupt("no inode of an attribute, EXT4_EA_INODE_FL is missing".into()));
        }
        if ea.i_size != u64::from(len) {
            return Err(corrupt(format!("i_size {}, expected {len} as in the entry", ea.i_size)));
        }
        let mut value = vec![0; len as usize];
        self.read_raw(meta, &ea, 0, &mut value)?;
        let hash = self.superblock().csum_seed.over(&value).0;
        let (kept, _) = ea.atime.encode();
        if hash == kept {
            let bytes = hash.to_le_bytes();
            let expected = xattr::entry_hash(&entry.name, &bytes);
            if entry.hash != expected && entry.hash != xattr::entry_hash_signed(&entry.name, &bytes)
            {
                return Err(corrupt(format!(
                    "e_hash {:#010x} in the entry, expected {expected:#010x}",
                    entry.hash
                )));
            }
        } else if ea.mtime.sec != i64::from(owner.ino.get()) || ea.generation != owner.generation {
            // Lustre's older form keeps no hash, but the number of the owner.
            return Err(corrupt(format!("hash {kept:#010x}, expected {hash:#010x}")));
        }
        Ok(value)
    }
}
