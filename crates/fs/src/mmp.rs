//! Multi-mount protection: an image on shared storage says who has it, and we say so too.
//!
//! While we write, the block says that a checker is at work (as e2fsck's does), which no mount
//! waits out. A crash of ours leaves it so: our next run knows its own name in it, and the lock on
//! the image tells that the run before is gone.

use crate::{Error, Result};
use ext4_blockdev::BlockDevice;
use ext4_ondisk::{
    mmp::{Owner, RawMmp, SEQ_CLEAN, SEQ_FSCK},
    superblock::Superblock,
};
use ext4_units::BlockNr;

/// What stands for the host while we have it: the host's name is not ours to ask for. So a claim
/// of another host's run of these tools looks like one of ours that crashed: storage that several
/// hosts write needs a lock of its own.
const NODE: &[u8] = b"ext4 image tools";

/// Refuses a filesystem that somebody has, or had when he crashed (`ext4_multi_mount_protect`,
/// which would wait and see whether the number changes).
///
/// A claim or release of ours that a crash tore is made whole: nobody has the filesystem then.
pub(crate) fn check(device: &dyn BlockDevice, sb: &Superblock) -> Result<()> {
    let Some(Found { blk, mut raw, was_torn }) = read(device, sb)? else { return Ok(()) };
    if raw.owner() == Owner::Clean || is_ours(&raw) {
        if was_torn {
            raw.mmp_seq.set(SEQ_CLEAN);
            write(device, sb, blk, &raw)?;
        }
        return Ok(());
    }
    let text = |bytes: &[u8]| {
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    };
    let (node, dev) = (text(&raw.mmp_nodename), text(&raw.mmp_bdevname));
    let fault = format!(
        "MMP block {blk}: sequence {:#010x} of {node:?} ({dev}), expected {SEQ_CLEAN:#010x} (clean): \
         in use there, or not since a crash, then tune2fs -f -E clear_mmp frees it",
        raw.mmp_seq.get()
    );
    Err(Error::Refused(fault.into()))
}

/// Says, durably, that we have the filesystem.
pub(crate) fn claim(device: &dyn BlockDevice, sb: &Superblock) -> Result<()> {
    let Some(Found { blk, mut raw, .. }) = read(device, sb)? else { return Ok(()) };
    if is_ours(&raw) {
        return Ok(());
    }
    raw.mmp_seq.set(SEQ_FSCK);
    raw.mmp_nodename = [0; 64];
    raw.mmp_nodename[..NODE.len()].copy_from_slice(NODE);
    raw.mmp_bdevname = [0; 32];
    write(device, sb, blk, &raw)
}

/// Says, durably, that nobody has the filesystem, if we had it.
pub(crate) fn release(device: &dyn BlockDevice, sb: &Superblock) -> Result<()> {
    let Some(Found { blk, mut raw, .. }) = read(device, sb)? else { return Ok(()) };
    if !is_ours(&raw) {
        return Ok(());
    }
    raw.mmp_seq.set(SEQ_CLEAN);
    write(device, sb, blk, &raw)
}

fn is_ours(raw: &RawMmp) -> bool {
    raw.owner() == Owner::Fsck
        && raw.mmp_nodename.starts_with(NODE)
        && raw.mmp_nodename[NODE.len()..].iter().all(|&byte| byte == 0)
}

/// An MMP block that was read.
struct Found {
    blk: BlockNr,
    raw: RawMmp,
    /// Its checksum is wrong, as after a crash between its two sectors: what we change is in the
    /// first, the checksum in the second.
    was_torn: bool,
}

/// The MMP block; `None` on a filesystem without one.
fn read(device: &dyn BlockDevice, sb: &Superblock) -> Result<Option<Found>> {
    let Some(blk) = sb.mmp_block else { return Ok(None) };
    let first = sb.first_data_block;
    if blk <= first || blk.0 >= sb.blocks_count {
        let fault = format!("s_mmp_block {blk}, expected between {first} and {}", sb.blocks_count);
        return Err(Error::corrupt("superblock", fault));
    }
    let mut bytes = [0; size_of::<RawMmp>()];
    device.read_at(blk.byte(sb.block_size), &mut bytes)?;
    match RawMmp::decode(&bytes, blk, sb.metadata_csum()) {
        Ok(raw) => Ok(Some(Found { blk, raw, was_torn: false })),
        Err(err) => {
            let raw = RawMmp::decode(&bytes, blk, None)?;
            let may_be_torn = raw.owner() == Owner::Clean || is_ours(&raw);
            if may_be_torn { Ok(Some(Found { blk, raw, was_torn: true })) } else { Err(err.into()) }
        }
    }
}

fn write(device: &dyn BlockDevice, sb: &Superblock, blk: BlockNr, raw: &RawMmp) -> Result<()> {
    let mut bytes = [0; size_of::<RawMmp>()];
    raw.encode(&mut bytes, sb.metadata_csum());
    device.write_at(blk.byte(sb.block_size), &bytes)?;
    Ok(device.flush()?)
}
