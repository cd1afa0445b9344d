//! The list from `s_last_orphan` through the inodes' `i_dtime`.

use crate::{Error, Handle, Inode, Result};
use ext4_units::InodeNr;

/// Puts `inode` at the head.
pub(super) fn push(h: &mut Handle<'_>, inode: &mut Inode) -> Result<()> {
    let head = h.fs().raw_superblock(h)?.s_last_orphan.get();
    inode.disk.dtime = head;
    set_head(h, inode.ino.get())
}

/// Takes `inode` out: out of the superblock when it is the head, out of its predecessor otherwise.
pub(super) fn remove(h: &mut Handle<'_>, inode: &mut Inode) -> Result<()> {
    let next = inode.dtime;
    let mut at = h.fs().raw_superblock(h)?.s_last_orphan.get();
    if at == inode.ino.get() {
        set_head(h, next)?;
    } else {
        // The list has no more members than there are inodes; past that it runs in a circle.
        let mut left = h.fs().geometry().inodes_count;
        loop {
            let Some(ino) = InodeNr::new(at).filter(|_| left > 0) else {
                let fault = format!("inode {} is not on it", inode.ino);
                return Err(Error::corrupt("orphan list", fault));
            };
            let mut before = h.inode(ino)?;
            if before.dtime == inode.ino.get() {
                before.disk.dtime = next;
                h.put_inode(&before)?;
                break;
            }
            at = before.dtime;
            left -= 1;
        }
    }
    inode.disk.dtime = 0;
    Ok(())
}

fn set_head(h: &mut Handle<'_>, ino: u32) -> Result<()> {
    h.modify_superblock(|raw| raw.s_last_orphan.set(ino))
}
