//! POSIX ACLs as they are on disk: what a new file gets of its directory's default, and how
//! permissions and the access ACL follow each other.

use crate::{Error, Handle, Inode, Result, xattr::Placed};
use byteorder::{ByteOrder, LittleEndian};
use ext4_ondisk::{
    acl,
    xattr::{Entry, NameIndex, Value},
};

const USER_OBJ: u16 = 0x01;
const GROUP_OBJ: u16 = 0x04;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

impl Handle<'_> {
    /// Credits of [`inherit_acl`](Self::inherit_acl): a block, its bitmap and descriptor.
    pub(crate) const INHERIT_ACL_CREDITS: usize = 3;

    /// Gives a new file what its directory's default ACL says (`ext4_init_acl`,
    /// `posix_acl_create`): an access ACL, whose permissions its mode takes over, and a directory
    /// the default ACL as well. The caller writes the inode.
    pub(crate) fn inherit_acl(&mut self, parent: &Inode, inode: &mut Inode) -> Result<()> {
        use ext4_ondisk::inode::FileType;
        if inode.file_type() == FileType::Symlink {
            return Ok(());
        }
        let entries = self.fs().xattr_entries(self, parent)?;
        let is_default = |it: &&Entry| it.index == NameIndex::POSIX_ACL_DEFAULT.0;
        let Some(default) = entries.iter().find(is_default) else { return Ok(()) };
        let default = self.fs().xattr_value(self, parent, default)?;
        let damaged = || {
            let place = format!("inode {}", parent.ino);
            Error::corrupt(place, "its default ACL makes no sense")
        };
        acl::from_disk(&default).ok_or_else(damaged)?;
        let mut access = default.clone();
        let (mode, is_more) = create_masq(&mut access, inode.mode).ok_or_else(damaged)?;
        inode.disk.mode = mode;
        let (before, now) = Placed::read(self.fs(), self, inode)?;
        let mut after = before.clone();
        let mut put = |index: NameIndex, value: Vec<u8>| {
            let new =
                Entry { index: index.0, name: Vec::new(), value: Value::Here(value), hash: 0 };
            if after.put(new) {
                Ok(())
            } else {
                Err(Error::NoSpace { what: "room for attributes" })
            }
        };
        if inode.is_dir() {
            put(NameIndex::POSIX_ACL_DEFAULT, default)?;
        }
        if is_more {
            put(NameIndex::POSIX_ACL_ACCESS, access)?;
        }
        self.store_xattrs(inode, &before, now, &after)?;
        Ok(())
    }
}

/// Cuts an ACL's permissions down to those of `mode`, and `mode` to those of the ACL
/// (`posix_acl_create_masq`). Returns the mode, and whether the ACL says more than it.
fn create_masq(value: &mut [u8], mode: u16) -> Option<(u16, bool)> {
    let mut mode = mode;
    let places = Places::of(value)?;
    for (place, shift) in [(places.user, 6), (places.class(), 3), (places.other, 0)] {
        let field = value.get_mut(place..place + 2)?;
        let perm = LittleEndian::read_u16(field) & (mode >> shift & 7);
        LittleEndian::write_u16(field, perm);
        mode = mode & !(7 << shift) | perm << shift;
    }
    Some((mode, places.is_extended))
}

/// The permissions that an access ACL means (`posix_acl_equiv_mode`) put into `mode`, and whether
/// the ACL says more than they do; `None` when it makes no sense.
pub(crate) fn mode_of(value: &[u8], mode: u16) -> Option<(u16, bool)> {
    acl::from_disk(value)?;
    let places = Places::of(value)?;
    let perm = |place: usize| Some(LittleEndian::read_u16(value.get(place..place + 2)?) & 7);
    let bits = perm(places.user)? << 6 | perm(places.class())? << 3 | perm(places.other)?;
    Some((mode & !0o777 | bits, places.is_extended))
}

/// Lets an access ACL say what `mode` does now (`__posix_acl_chmod_masq`).
pub(crate) fn chmod(value: &mut [u8], mode: u16) -> Option<()> {
    let places = Places::of(value)?;
    for (place, shift) in [(places.user, 6), (places.class(), 3), (places.other, 0)] {
        LittleEndian::write_u16(value.get_mut(place..place + 2)?, mode >> shift & 7);
    }
    Some(())
}

/// Where an ACL has the permissions that the mode has too.
struct Places {
    user: usize,
    group: usize,
    mask: Option<usize>,
    other: usize,
    is_extended: bool,
}

impl Places {
    fn of(value: &[u8]) -> Option<Self> {
        let (mut user, mut group, mut mask, mut other) = (None, None, None, None);
        let mut is_extended = false;
        let mut at = 4;
        while at < value.len() {
            let tag = LittleEndian::read_u16(value.get(at..at + 2)?);
            let perm = Some(at + 2);
            match tag {
                USER_OBJ => user = perm,
                GROUP_OBJ => group = perm,
                MASK => (mask, is_extended) = (perm, true),
                OTHER => other = perm,
                _ => {
                    is_extended = true;
                    at += 4;
                }
            }
            at += 4;
        }
        Some(Self { user: user?, group: group?, mask, other: other?, is_extended })
    }

    /// What the group bits of the mode stand for.
    fn class(&self) -> usize {
        self.mask.unwrap_or(self.group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // user::rwx user:1000:rwx group::r-x mask::rwx other::r-x
    const ACL: [u8; 28] = [
        1, 0, 0, 0, 1, 0, 7, 0, 2, 0, 7, 0, 0xE8, 3, 0, 0, 4, 0, 5, 0, 0x10, 0, 7, 0, 0x20, 0, 5, 0,
    ];

    #[test]
    fn a_new_file_gets_no_more_than_its_mode_and_the_default_allow() {
        let mut access = ACL;
        assert_eq!(create_masq(&mut access, 0o100_666), Some((0o100_664, true)));
        assert_eq!(mode_of(&access, 0o100_000), Some((0o100_664, true)));
        // The group's own permissions stay; the mask limits them.
        assert_eq!(access[18], 5);
        let mut plain = [1, 0, 0, 0, 1, 0, 7, 0, 4, 0, 5, 0, 0x20, 0, 0, 0];
        assert_eq!(create_masq(&mut plain, 0o777), Some((0o750, false)));
    }

    #[test]
    fn chmod_changes_the_mask() {
        let mut access = ACL;
        chmod(&mut access, 0o641).unwrap();
        assert_eq!(mode_of(&access, 0), Some((0o641, true)));
        assert_eq!(mode_of(&ACL[..6], 0), None);
    }
}
