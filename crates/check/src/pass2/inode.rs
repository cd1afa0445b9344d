//! Fields of an inode that are looked at when a name for it is met: those that pass 1 found odd.

use super::view::{Ask, Report, View};
use crate::{
    Place, Problem, Result,
    pass1::encryption_context,
    problem::pass2::{
        BAD_BLOCK_DEVICE, BAD_CHAR_DEVICE, BAD_FIFO, BAD_MODE, BAD_SOCKET, BAD_SYMLINK,
        BLOCKS_HIGH, DIR_SIZE_HIGH, FADDR, FILE_ACL_HIGH, FILE_ACL_RANGE, FILE_ACL_REV0, FRAG,
        FSIZE, POLICY, UNENCRYPTED,
    },
};
use ext4_ondisk::{
    features::{Compat, Incompat, RoCompat},
    inode::{FileType, InodeFlags, RawInode},
    xattr::{self, RawXattrHeader},
};
use ext4_units::{BlockNr, InodeNr};

/// Looks at an inode that is odd; true when it is to be cleared, and its name with it.
pub(crate) fn check(
    view: &View<'_>,
    ino: InodeNr,
    ask: &mut Ask<'_>,
    report: &mut Report,
) -> Result<bool> {
    let mut bytes = view.read_inode(ino)?;
    let mut raw = RawInode::read(&bytes);
    let place = Place::inode(ino);
    let mut is_changed = false;
    let features = &view.sb.features;
    let acl_low = raw.i_file_acl_lo.get();
    let acl_high = raw.l_i_file_acl_high.get();
    if (acl_low != 0 || acl_high != 0)
        && !features.has_compat(Compat::EXT_ATTR)
        && ask(&FILE_ACL_REV0, place.clone(), acl_low.to_string(), "0".into())?
    {
        raw.set_file_acl(0);
        is_changed = true;
    }
    let mode = raw.i_mode.get();
    let file_type = FileType::of_mode(mode);
    if view.facts.bad_kind.contains(ino.get().into())
        && let Some(problem) = of_kind(file_type)
        && ask(problem, place.clone(), format!("mode {mode:#o}"), String::new())?
    {
        report.to_clear.push(ino);
        return Ok(true);
    }
    if raw.i_obso_faddr.get() != 0
        && ask(&FADDR, place.clone(), raw.i_obso_faddr.get().to_string(), "0".into())?
    {
        raw.i_obso_faddr.set(0);
        is_changed = true;
    }
    if !features.has_ro_compat(RoCompat::HUGE_FILE)
        && view.sb.is_linux
        && raw.l_i_blocks_high.get() != 0
        && ask(&BLOCKS_HIGH, place.clone(), raw.l_i_blocks_high.get().to_string(), "0".into())?
    {
        raw.l_i_blocks_high.set(0);
        is_changed = true;
    }
    if !features.has_incompat(Incompat::BIT64)
        && raw.l_i_file_acl_high.get() != 0
        && ask(&FILE_ACL_HIGH, place.clone(), raw.l_i_file_acl_high.get().to_string(), "0".into())?
    {
        raw.l_i_file_acl_high.set(0);
        is_changed = true;
    }
    let acl = raw.file_acl();
    if acl != 0
        && !view.is_block(BlockNr(acl))
        && ask(&FILE_ACL_RANGE, place.clone(), acl.to_string(), String::new())?
    {
        raw.set_file_acl(0);
        is_changed = true;
    }
    if file_type == FileType::Directory
        && raw.i_size_high.get() != 0
        && !features.has_incompat(Incompat::LARGEDIR)
        && ask(&DIR_SIZE_HIGH, place.clone(), raw.i_size_high.get().to_string(), "0".into())?
    {
        raw.i_size_high.set(0);
        is_changed = true;
    }
    if view.sb.is_hurd {
        // Of the Hurd's inode: two bytes where Linux has the high half of i_blocks.
        let [frag, fsize] = raw.l_i_blocks_high.get().to_le_bytes();
        for (problem, found, keep) in [(&FRAG, frag, 0xFF00), (&FSIZE, fsize, 0x00FF)] {
            if found != 0 && ask(problem, place.clone(), found.to_string(), "0".into())? {
                raw.l_i_blocks_high.set(raw.l_i_blocks_high.get() & keep);
                is_changed = true;
            }
        }
    }
    if is_changed {
        raw.write_to(&mut bytes);
        report.inodes.push((ino, bytes));
    }
    Ok(false)
}

/// What an inode is that cannot be what its mode says, as pass 1 found; such an inode holds nothing.
const fn of_kind(file_type: FileType) -> Option<&'static Problem> {
    Some(match file_type {
        FileType::Unknown => &BAD_MODE,
        FileType::CharDevice => &BAD_CHAR_DEVICE,
        FileType::BlockDevice => &BAD_BLOCK_DEVICE,
        FileType::Fifo => &BAD_FIFO,
        FileType::Socket => &BAD_SOCKET,
        FileType::Symlink => &BAD_SYMLINK,
        _ => return None,
    })
}

/// What is wrong with an inode in an encrypted directory: not encrypted, or by another policy.
pub(crate) fn policy_problem(
    view: &View<'_>,
    dir: InodeNr,
    child: InodeNr,
) -> Result<Option<&'static Problem>> {
    let raw = RawInode::read(&view.read_inode(child)?);
    if !InodeFlags::from_bits_retain(raw.i_flags.get()).contains(InodeFlags::ENCRYPT) {
        return Ok(Some(&UNENCRYPTED));
    }
    let (own, other) = (policy(view, dir)?, policy(view, child)?);
    Ok(match (own, other) {
        (Some(own), Some(other)) if own != other => Some(&POLICY),
        _ => None,
    })
}

/// The encryption policy of an inode: its context without the nonce, which is the file's own.
fn policy(view: &View<'_>, ino: InodeNr) -> Result<Option<Vec<u8>>> {
    let bytes = view.read_inode(ino)?;
    let raw = RawInode::read(&bytes);
    let extra = usize::from(raw.i_extra_isize.get());
    let body = bytes.get(128 + extra..).unwrap_or_default();
    let has_own = body.get(..4) == Some(&xattr::MAGIC.to_le_bytes()[..]);
    let mut context = if has_own { encryption_context(body, 4, 4) } else { None };
    let acl = raw.file_acl();
    if context.is_none() && view.is_block(BlockNr(acl)) {
        let block = view.image.read(BlockNr(acl))?;
        context = encryption_context(&block, size_of::<RawXattrHeader>(), 0);
    }
    // The nonce is the last 16 bytes of both versions (`struct fscrypt_context_v1`, `_v2`).
    Ok(context.and_then(|it| it.len().checked_sub(16).map(|keep| it[..keep].to_vec())))
}
