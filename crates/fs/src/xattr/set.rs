//! Setting and removing attributes, as setxattr(2) and removexattr(2).

use super::placed::Placed;
use crate::{Error, Filesystem, Handle, Inode, Result};
use ext4_ondisk::{
    inode::InodeFlags,
    xattr::{NameIndex, split_name},
};
use ext4_units::InodeNr;

impl Filesystem {
    /// Removes an attribute, by its full name, in one handle (`ext4_xattr_set` without a value).
    ///
    /// Not from an immutable inode (`EPERM`). An append-only one loses attributes, as a write into
    /// it takes its `security.capability` away (`file_remove_privs`).
    pub fn remove_xattr(&self, ino: InodeNr, full_name: &[u8]) -> Result<()> {
        let mut h = self.start(Handle::STORE_XATTRS_CREDITS)?;
        let mut inode = h.inode(ino)?;
        check_live(&inode)?;
        check_flag(&inode, InodeFlags::IMMUTABLE, "immutable")?;
        let (index, name) = attribute_name(full_name)?;
        let (before, now) = Placed::read(self, &h, &inode)?;
        let mut after = before.clone();
        if !after.remove(index.0, name) {
            let name = full_name.escape_ascii().to_string();
            return Err(Error::NoAttribute { ino, name });
        }
        let unused = h.store_xattrs(&mut inode, &before, now, &after)?;
        inode.changed(h.now());
        h.put_inode(&inode)?;
        h.stop()?;
        // Crash here: the values that nobody uses are on the orphan record.
        unused.into_iter().try_for_each(|value| self.evict(value))
    }
}

/// Splits a full name that programs may use: not the inline data's, nor the encryption context's.
fn attribute_name(full_name: &[u8]) -> Result<(NameIndex, &[u8])> {
    let refuse = || {
        let what = format!("attribute {}: no such kind of attribute", full_name.escape_ascii());
        Error::Refused(what.into())
    };
    let (index, name) = split_name(full_name).ok_or_else(refuse)?;
    if name.len() > 255 {
        let name = name.escape_ascii().to_string();
        return Err(Error::BadName { name, fault: "longer than 255 bytes" });
    }
    if !index.is_listed() {
        return Err(refuse());
    }
    Ok((index, name))
}

fn check_live(inode: &Inode) -> Result<()> {
    if inode.mode == 0 || inode.links_count == 0 {
        return Err(Error::NotInUse { ino: inode.ino });
    }
    Ok(())
}

fn check_flag(inode: &Inode, flag: InodeFlags, name: &'static str) -> Result<()> {
    if inode.flags.contains(flag) {
        return Err(Error::NotPermitted { ino: inode.ino, flag: name });
    }
    Ok(())
}
