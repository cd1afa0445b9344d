//! Permissions, owners, times and flags of an inode.

use crate::{Error, Filesystem, Handle, Inode, Result, acl, xattr::Placed};
use ext4_ondisk::{
    inode::{FileType, InodeFlags},
    time::Timestamp,
    xattr::{NameIndex, Value},
};
use ext4_units::InodeNr;

/// What to change; `None` stays. Exactly that is set: whoever acts for a user without privileges
/// takes the set-id bits away himself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setattr {
    /// Permissions, with the set-id and sticky bits. An access ACL follows.
    pub mode: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Last access.
    pub atime: Option<Timestamp>,
    /// Last change of the contents.
    pub mtime: Option<Timestamp>,
    /// Those of [`Setattr::FLAGS`]; the others must be as they are.
    pub flags: Option<InodeFlags>,
}

impl Setattr {
    /// Flags that can be changed. (`journal_data`, `extents` and others change how the contents are
    /// kept: refused.)
    pub const FLAGS: InodeFlags = InodeFlags::from_bits_retain(
        InodeFlags::SYNC.bits()
            | InodeFlags::IMMUTABLE.bits()
            | InodeFlags::APPEND.bits()
            | InodeFlags::NODUMP.bits()
            | InodeFlags::NOATIME.bits()
            | InodeFlags::DIRSYNC.bits()
            | InodeFlags::TOPDIR.bits(),
    );
}

impl Filesystem {
    /// Changes an inode's attributes in one handle (`ext4_setattr`, `ext4_ioctl_setflags`). On an
    /// immutable or append-only inode only flags can be changed (`EPERM`).
    pub fn setattr(&self, ino: InodeNr, change: &Setattr) -> Result<()> {
        self.noting(self.setattr_once(ino, change))
    }

    fn setattr_once(&self, ino: InodeNr, change: &Setattr) -> Result<()> {
        let mut h = self.start(1 + Handle::STORE_XATTRS_CREDITS)?;
        let mut inode = self.open_inode(&h, ino)?;
        if (Setattr { flags: None, ..*change }) != Setattr::default() {
            inode.check_may_move()?;
        }
        if let Some(flags) = change.flags {
            let fixed = (flags ^ inode.flags) & !Setattr::FLAGS;
            if !fixed.is_empty() {
                let what = format!("inode {ino}: flags {:#x} cannot be changed", fixed.bits());
                return Err(Error::Refused(what.into()));
            }
            inode.disk.flags = flags;
        }
        inode.disk.uid = change.uid.unwrap_or(inode.uid);
        inode.disk.gid = change.gid.unwrap_or(inode.gid);
        inode.disk.atime = change.atime.unwrap_or(inode.atime);
        inode.disk.mtime = change.mtime.unwrap_or(inode.mtime);
        if let Some(mode) = change.mode {
            inode.disk.mode = inode.mode & 0o170_000 | mode & 0o7777;
            if inode.file_type() != FileType::Symlink {
                h.chmod_acl(&mut inode)?;
            }
        }
        inode.changed(h.now());
        h.put_inode(&inode)?;
        h.stop()?;
        Ok(())
    }
}

impl Handle<'_> {
    /// Lets the access ACL, if there is one, say what the mode does (`posix_acl_chmod`).
    fn chmod_acl(&mut self, inode: &mut Inode) -> Result<()> {
        let (before, now) = Placed::read(self.fs(), self, inode)?;
        let mut after = before.clone();
        let Some(entry) = before.find(NameIndex::POSIX_ACL_ACCESS.0, b"") else { return Ok(()) };
        let mut entry = entry.clone();
        let damaged =
            || Error::corrupt(format!("inode {}", inode.ino), "its access ACL makes no sense");
        let Value::Here(value) = &mut entry.value else { return Err(damaged()) };
        acl::chmod(value, inode.mode).ok_or_else(damaged)?;
        if !after.put(entry) {
            return Err(Error::NoSpace { what: "room for attributes" });
        }
        // No value becomes unused: an ACL has no inode of its own.
        self.store_xattrs(inode, &before, now, &after).map(drop)
    }
}
