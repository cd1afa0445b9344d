//! Setting and removing attributes, as setxattr(2) and removexattr(2).

use super::placed::Placed;
use crate::{Error, Filesystem, Handle, Inode, Result, acl};
use ext4_ondisk::{
    features::Incompat,
    inode::{FileType, InodeFlags},
    xattr::{Entry, NameIndex, Value, split_name},
};
use ext4_units::InodeNr;

/// `XATTR_SIZE_MAX`.
const MAX_VALUE: usize = 65536;

/// What setting an attribute asks of one that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetXattr {
    /// Nothing: a new value, or a new attribute.
    Any,
    /// That it is not there: `EEXIST` (`XATTR_CREATE`).
    Create,
    /// That it is there: `ENODATA` (`XATTR_REPLACE`).
    Replace,
}

impl Filesystem {
    /// Sets an attribute, by its full name, in one handle (`ext4_xattr_set`): in the inode where it
    /// fits, else in the inode's block, else, on a filesystem with ea_inode, in an inode of its
    /// own; `ENOSPC` when it fits nowhere.
    ///
    /// Values are as [`xattr`](Self::xattr) gives them: ACLs in their form on disk. An access ACL
    /// changes the permissions, and is not kept when they say all it does. Not on an immutable or
    /// append-only inode (`EPERM`).
    pub fn set_xattr(
        &self,
        ino: InodeNr,
        full_name: &[u8],
        value: &[u8],
        mode: SetXattr,
    ) -> Result<()> {
        let (index, name) = attribute_name(full_name)?;
        if value.len() > MAX_VALUE {
            let (offset, max) = (value.len() as u64, MAX_VALUE as u64);
            return Err(Error::TooBig { ino, offset, max });
        }
        let unused = self.retrying(|| self.set_once(ino, full_name, (index, name), value, mode))?;
        // Crash before: the old value, which nobody uses, is on the orphan record.
        unused.into_iter().try_for_each(|value| self.evict(value))
    }

    fn set_once(
        &self,
        ino: InodeNr,
        full_name: &[u8],
        (index, name): (NameIndex, &[u8]),
        value: &[u8],
        mode: SetXattr,
    ) -> Result<Vec<InodeNr>> {
        let has_ea_inode = self.superblock().features.has_incompat(Incompat::EA_INODE);
        let value_credits = if has_ea_inode { self.value_inode_credits(value.len()) } else { 0 };
        let mut h = self.start(Handle::STORE_XATTRS_CREDITS + value_credits)?;
        let mut inode = self.open_inode(&h, ino)?;
        check_flag(&inode, InodeFlags::IMMUTABLE, "immutable")?;
        check_flag(&inode, InodeFlags::APPEND, "append-only")?;
        check_kind(&inode, index)?;
        let (before, now) = Placed::read(self, &h, &inode)?;
        match (before.find(index.0, name).is_some(), mode) {
            (true, SetXattr::Create) => {
                return Err(Error::Exists { path: full_name.escape_ascii().to_string() });
            }
            (false, SetXattr::Replace) => return Err(no_attribute(ino, full_name)),
            _ => {}
        }
        let mut after = before.clone();
        let is_kept = match index {
            NameIndex::POSIX_ACL_ACCESS => {
                let (mode, is_more) = acl::mode_of(value, inode.mode).ok_or_else(bad_acl)?;
                inode.disk.mode = mode;
                is_more
            }
            NameIndex::POSIX_ACL_DEFAULT => {
                acl::mode_of(value, 0).ok_or_else(bad_acl)?;
                true
            }
            _ => true,
        };
        if is_kept {
            let here = Value::Here(value.to_vec());
            let new = Entry { index: index.0, name: name.to_vec(), value: here, hash: 0 };
            // `EXT4_XATTR_MIN_LARGE_EA_SIZE`: what hardly fits into a block does not go there.
            let block_len = self.geometry().block_size.len();
            let is_large = has_ea_inode && value.len().next_multiple_of(4) > block_len - 56;
            let fits = (!is_large && after.put(new)) || {
                has_ea_inode && !value.is_empty() && {
                    let entry = h.new_value_inode(&inode, index.0, name, value)?;
                    after.put(entry)
                }
            };
            if !fits {
                return Err(Error::NoSpace { what: "room for attributes" });
            }
        } else {
            after.remove(index.0, name);
        }
        let unused = h.store_xattrs(&mut inode, &before, now, &after)?;
        inode.changed(h.now());
        h.put_inode(&inode)?;
        h.stop()?;
        Ok(unused)
    }

    /// Removes an attribute, by its full name, in one handle (`ext4_xattr_set` without a value).
    ///
    /// Not from an immutable inode (`EPERM`). An append-only one loses attributes, as a write into
    /// it takes its `security.capability` away (`file_remove_privs`).
    pub fn remove_xattr(&self, ino: InodeNr, full_name: &[u8]) -> Result<()> {
        let (index, name) = attribute_name(full_name)?;
        let unused = self.retrying(|| {
            let mut h = self.start(Handle::STORE_XATTRS_CREDITS)?;
            let mut inode = self.open_inode(&h, ino)?;
            check_flag(&inode, InodeFlags::IMMUTABLE, "immutable")?;
            let (before, now) = Placed::read(self, &h, &inode)?;
            let mut after = before.clone();
            if !after.remove(index.0, name) {
                return Err(no_attribute(ino, full_name));
            }
            let unused = h.store_xattrs(&mut inode, &before, now, &after)?;
            inode.changed(h.now());
            h.put_inode(&inode)?;
            h.stop()?;
            Ok(unused)
        })?;
        // Crash before: the values that nobody uses are on the orphan record.
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
    if name.contains(&0) {
        let name = name.escape_ascii().to_string();
        return Err(Error::BadName { name, fault: "with a zero byte in it" });
    }
    if !index.is_listed() {
        return Err(refuse());
    }
    Ok((index, name))
}

/// Which files may have attributes of a kind (`xattr_permission`, `posix_acl_xattr_set`).
fn check_kind(inode: &Inode, index: NameIndex) -> Result<()> {
    let is_ok = match (index, inode.file_type()) {
        (NameIndex::USER, kind) => matches!(kind, FileType::Regular | FileType::Directory),
        (NameIndex::POSIX_ACL_ACCESS, kind) => kind != FileType::Symlink,
        (NameIndex::POSIX_ACL_DEFAULT, kind) => kind == FileType::Directory,
        _ => true,
    };
    if is_ok {
        return Ok(());
    }
    let found = crate::read::type_name(inode.file_type());
    let expected = "a file that may have this attribute";
    Err(Error::WrongType { ino: inode.ino, found, expected })
}

fn bad_acl() -> Error {
    Error::Refused("the ACL makes no sense".into())
}

fn no_attribute(ino: InodeNr, full_name: &[u8]) -> Error {
    Error::NoAttribute { ino, name: full_name.escape_ascii().to_string() }
}

fn check_flag(inode: &Inode, flag: InodeFlags, name: &'static str) -> Result<()> {
    if inode.flags.contains(flag) {
        return Err(Error::NotPermitted { ino: inode.ino, flag: name });
    }
    Ok(())
}
