//! Files of the filesystem's own that are ordinary files, with a name: what programs of old made.
//! They get the inodes that are kept for them; pass 2 drops the name, which leads nowhere then.

use super::special::{self, Special};
use crate::{Place, Result, problem::pass0::QUOTA_VISIBLE, session::Session};
use ext4_ondisk::{
    extent::RawExtentHeader,
    features::RoCompat,
    inode::{InodeFlags, RawInode},
};
use ext4_units::InodeNr;
use zerocopy::FromBytes as _;

/// The inodes of user and group quota.
const QUOTA: [(&str, InodeNr); 2] =
    [("user", InodeNr::USER_QUOTA), ("group", InodeNr::GROUP_QUOTA)];

/// Hides visible quota files (`e2fsck_hide_quota`).
pub(super) fn quota(session: &mut Session<'_, '_>) -> Result<()> {
    if !session.sb.features.has_ro_compat(RoCompat::QUOTA) {
        return Ok(());
    }
    for ((name, home), ino) in QUOTA.into_iter().zip(session.sb.quota_inums) {
        let Some(ino) = ino else { continue };
        let Ok(file) = special::read(session, ino)? else { continue };
        let place = Place::inode(ino);
        if !can_hide(session, ino, home, &file)?
            || !session.fix(&QUOTA_VISIBLE, place, name, format!("inode {home}"))?
        {
            continue;
        }
        hide(session, ino, home)?;
        let inum = if home == InodeNr::USER_QUOTA {
            &mut session.raw.s_usr_quota_inum
        } else {
            &mut session.raw.s_grp_quota_inum
        };
        inum.set(home.get());
        session.put_superblock()?;
    }
    Ok(())
}

/// Whether `file`, which is the inode `from`, can be moved to the inode `home`: it has one name, and
/// nothing is in `home`. Nodes of a map that have checksums belong to the inode they are of.
pub(super) fn can_hide(
    session: &Session<'_, '_>,
    from: InodeNr,
    home: InodeNr,
    file: &Special,
) -> Result<bool> {
    let is_ordinary = from != home && from.get() >= session.geo.first_ino;
    if !is_ordinary || file.inode.links_count != 1 || !session.has_place(home) {
        return Ok(false);
    }
    let is_flat = RawExtentHeader::read_from_prefix(&file.inode.i_block)
        .is_ok_and(|(it, _)| it.eh_depth.get() == 0);
    let has_sealed_nodes = file.inode.flags.contains(InodeFlags::EXTENTS)
        && !is_flat
        && session.sb.metadata_csum().is_some();
    let is_free = RawInode::read(&session.read_inode(home)?).i_links_count.get() == 0;
    Ok(is_free && !has_sealed_nodes)
}

/// Moves the inode `from` to `home`.
pub(super) fn hide(session: &Session<'_, '_>, from: InodeNr, home: InodeNr) -> Result<()> {
    let bytes = session.read_inode(from)?;
    let mut moved = bytes.clone();
    let mut raw = RawInode::read(&bytes);
    raw.i_mode.set(0o100_600);
    raw.write_to(&mut moved);
    session.write_inode(home, &moved)?;
    session.write_inode(from, &vec![0; bytes.len()])
}
