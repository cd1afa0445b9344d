//! Where the log is: in the journal inode, or on a device of its own.

use crate::{Error, Filesystem, Result, superblock};
use ext4_blockdev::BlockDevice;
use ext4_extent::State;
use ext4_jbd2::Log;
use ext4_ondisk::{
    Corrupt,
    features::Incompat,
    superblock::{JournalPlace, Superblock},
    uuid,
};
use ext4_units::{BlockRange, InodeNr, LogicalBlock};
use std::sync::Arc;

impl Filesystem {
    /// The log's blocks; `None` on a filesystem without one. An external journal must be given.
    pub fn find_log(&self, external: Option<&Arc<dyn BlockDevice>>) -> Result<Option<Log>> {
        match self.superblock().journal {
            JournalPlace::None => Ok(None),
            JournalPlace::Inode(ino) => Ok(Some(Log::internal(self.log_blocks(ino)?))),
            JournalPlace::Device(uuid) => {
                let device = external.ok_or_else(|| {
                    let uuid = uuid::text(&uuid);
                    let fault = format!("the journal is on another device (uuid {uuid}), name it");
                    Error::Refused(fault.into())
                })?;
                external_log(device, &uuid, self.superblock()).map(Some)
            }
            JournalPlace::Contradictory => {
                let fault = "has_journal, but not just one of journal inode and journal device";
                Err(Error::corrupt("superblock", fault))
            }
        }
    }

    /// The blocks of the journal inode (`ext4_get_journal_inode`): a regular file in use with every
    /// block mapped.
    pub(crate) fn log_blocks(&self, ino: InodeNr) -> Result<Vec<BlockRange>> {
        let place = || format!("journal inode {ino}");
        let inode = self.live_inode(self.meta(), ino).map_err(|err| match err {
            Error::NotInUse { .. } => Error::corrupt(place(), "not in use"),
            err => err,
        })?;
        if !inode.is_regular() || inode.has_inline_data() {
            return Err(Error::corrupt(
                place(),
                format!("i_mode {:#o}, expected a file", inode.mode),
            ));
        }
        let blocks = inode.i_size >> self.geometry().block_size.bits();
        let to = LogicalBlock(u32::try_from(blocks).unwrap_or(u32::MAX));
        let mut runs = Vec::new();
        self.mappings(self.meta(), &inode, LogicalBlock(0), to, |mapping| {
            let State::Written(start) = mapping.state else {
                let fault = format!("logical block {} is not mapped and written", mapping.lblk);
                return Err(Corrupt::new(place(), fault).into());
            };
            runs.push(BlockRange::new(start, u64::from(mapping.len)));
            Ok(())
        })?;
        Ok(runs)
    }
}

/// Checks that `device` is this filesystem's journal (`ext4_get_journal_blkdev`).
fn external_log(
    device: &Arc<dyn BlockDevice>,
    expected: &[u8; 16],
    fs: &Superblock,
) -> Result<Log> {
    let place = "external journal";
    let raw = superblock::read_raw(&**device)?;
    if raw.s_magic.get() != 0xEF53
        || raw.s_feature_incompat.get() & Incompat::JOURNAL_DEV.bits() == 0
    {
        return Err(Error::corrupt(place, "not a journal device"));
    }
    if raw.has_checksum() && raw.checksum() != raw.s_checksum.get() {
        return Err(Corrupt::checksum(place, raw.s_checksum.get(), raw.checksum()).into());
    }
    if raw.s_uuid != *expected {
        let fault = format!("uuid {}, expected {}", uuid::text(&raw.s_uuid), uuid::text(expected));
        return Err(Error::corrupt(place, fault));
    }
    if raw.s_log_block_size.get().checked_add(10) != Some(fs.block_size.bits()) {
        return Err(Error::corrupt(place, "its block size is not the filesystem's"));
    }
    Ok(Log::external(Arc::clone(device), raw.blocks_count()))
}
