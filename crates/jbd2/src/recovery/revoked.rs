//! Which blocks are revoked, and with that, which copies in the log must be good.
//!
//! Only revokes of blocks that the log holds are kept: a log full of revoke records would otherwise
//! take more memory than the log.

use super::{Scan, pass::Bad, pass::BadCopy, reader::LogReader};
use crate::{Log, Result};
use ext4_blockdev::BlockDevice;
use ext4_ondisk::{
    Corrupt,
    jbd2::{self, Class},
};
use ext4_units::{BlockNr, BlockRange, Tid};
use std::collections::HashSet;

impl Scan {
    /// Reads the revoke blocks of all complete transactions (`PASS_REVOKE`).
    pub(super) fn collect_revokes(&mut self, device: &dyn BlockDevice, log: &Log) -> Result<()> {
        let blocks: Vec<(Tid, u32)> = self
            .transactions
            .iter()
            .flat_map(|tx| tx.revoke_blocks.iter().map(|&at| (tx.tid, at)))
            .collect();
        if blocks.is_empty() {
            return Ok(());
        }
        let logged: HashSet<BlockNr> =
            self.transactions.iter().flat_map(|tx| &tx.logged).map(|it| it.home).collect();
        let format = self.superblock.format();
        let mut reader = LogReader::new(device, log, format.block_size, self.superblock.max_len);
        for (tid, at) in blocks {
            match jbd2::revokes(&format, reader.block(at)?) {
                // Oldest transaction first: the last one that revokes a block stays.
                Ok(records) => {
                    let records = records.filter(|block| logged.contains(block));
                    self.revoked.extend(records.map(|block| (block, tid)));
                }
                Err(damage) => self.report(damage.class, tid, at, damage.what),
            }
        }
        Ok(())
    }

    /// Checks each copy that would be written home: that it is good, and that its home is a block of
    /// the filesystem and not of the log.
    pub(super) fn verify_logged(&mut self, log: &Log, legal: BlockRange, bad: &Bad) {
        // The kernel fails (with ENOMEM) beyond the device, and happily overwrites its own log.
        let fault_of = |home: BlockNr| {
            if !legal.contains(home) {
                Some(format!("names block {home}, expected {legal}"))
            } else if log.holds(home) {
                Some(format!("names block {home}, which is part of the log"))
            } else {
                None
            }
        };
        let transactions = std::mem::take(&mut self.transactions);
        for tx in &transactions {
            for it in &tx.logged {
                if self.is_revoked(it.home, tx.tid) {
                    continue;
                }
                let place = || format!("copy of block {}", it.home);
                match bad.copies.get(&it.at) {
                    None => {}
                    Some(BadCopy::Unreadable) => {
                        let fault = Corrupt::new(place(), "cannot be read");
                        self.report(Class::Io, tx.tid, it.at, fault);
                    }
                    Some(&BadCopy::Checksum { found, expected }) => {
                        let fault = Corrupt::checksum(place(), found, expected);
                        self.report(Class::BadChecksum, tx.tid, it.at, fault);
                    }
                }
                if let Some(fault) = fault_of(it.home) {
                    self.report(
                        Class::Corrupt,
                        tx.tid,
                        it.at,
                        Corrupt::new("tag of a copy", fault),
                    );
                }
            }
        }
        self.transactions = transactions;
    }
}
