//! Making a transaction durable: the log, a flush, the commit block, a flush.

use crate::{Error, Journal, Result, ranges::RangeSet, transaction::Transaction, writer::Writer};
use ext4_ondisk::{
    checksum::crc32_be,
    jbd2::{Checksums, Commit, DescriptorBuilder, RevokeBuilder, escape, is_escaped_by_writer},
};
use ext4_units::{BlockNr, Tid};
use std::sync::Arc;

impl Journal {
    /// Makes every stopped handle durable; nothing is written when there is nothing to commit.
    ///
    /// Data that was written to the device before is durable too when something is committed.
    /// Without a log this is a flush.
    pub fn commit(&self) -> Result<()> {
        match self.writer() {
            None => self.sync_data(),
            Some(mut writer) => self.commit_running(&mut writer),
        }
    }

    /// Makes everything durable, data written to the device before as well: where there is nothing
    /// to commit, the device is flushed all the same (`ext4_sync_file`).
    pub fn sync(&self) -> Result<()> {
        match self.writer() {
            Some(mut writer) if !self.state().running.is_empty() => {
                self.commit_running(&mut writer)
            }
            _ => self.sync_data(),
        }
    }

    /// Whether no crash can undo the transaction `tid`. Without a log always.
    pub fn is_durable(&self, tid: Tid) -> bool {
        !self.has_log() || self.state().durable.is_at_or_after(tid)
    }

    /// Makes the transaction `tid` durable, as [`Handle::stop`](crate::Handle::stop) told it;
    /// nothing is written if it already is.
    ///
    /// Threads that come while another one commits share the next commit.
    pub fn commit_tid(&self, tid: Tid) -> Result<()> {
        if self.has_log() && self.state().durable.is_at_or_after(tid) {
            return Ok(());
        }
        let Some(mut writer) = self.writer() else { return self.sync_data() };
        if self.state().durable.is_at_or_after(tid) {
            return Ok(());
        }
        self.commit_running(&mut writer)
    }

    pub(crate) fn commit_running(&self, writer: &mut Writer) -> Result<()> {
        let mut state = self.state();
        state.check_alive()?;
        if state.running.is_empty() {
            // Frees without a change of metadata wait for nothing.
            if !state.running.freed.is_empty() {
                state.running.freed = RangeSet::default();
                state.free_generation += 1;
            }
            return Ok(());
        }
        // From here on handles stop into the next transaction; what this one holds is a snapshot
        // (blocks are never changed, only replaced).
        let next = Transaction::new(state.running.tid.next());
        let tx = Arc::new(std::mem::replace(&mut state.running, next));
        state.committing = Some(Arc::clone(&tx));
        drop(state);

        let res = self.write_transaction(writer, &tx);
        self.or_abort_with(writer, res)?;

        let mut state = self.state();
        state.committing = None;
        state.committed.take(&tx);
        state.durable = tx.tid;
        // Only now may the freed blocks be given away: a crash no longer brings back their owner.
        for run in tx.freed.iter() {
            state.cache.remove_run(run);
        }
        state.free_generation += 1;
        let too_many = state.committed.len() > self.max_committed();
        drop(state);
        if too_many { self.checkpoint_half(writer) } else { Ok(()) }
    }

    /// Steps of `jbd2_journal_commit_transaction`, each durable where the next one needs it.
    fn write_transaction(&self, writer: &mut Writer, tx: &Transaction) -> Result<()> {
        let need = writer.need(tx.blocks.len(), tx.revoked.len());
        self.make_room(writer, need)?;
        writer.begin(tx.tid, !tx.revoked.is_empty())?;
        let (len, crc) = write_blocks(writer, tx)?;

        // File data that this transaction makes visible was written by the callers; it must be
        // durable before the commit block is. With the log on a device of its own that takes a
        // flush of both.
        self.device().flush().map_err(Error::Flush)?;
        if writer.is_external() {
            writer.flush()?;
        }
        // Crash here: everything but the commit block is there, recovery ends before this
        // transaction.
        let now = writer.commit_time(self.now());
        let commit = Commit { tid: tx.tid, sec: now.as_secs(), nsec: now.subsec_nanos() };
        let block = commit.encode(&writer.format, crc);
        let mut batch = writer.batch_at(len);
        batch.push(&block)?;
        batch.finish()?;
        // Crash here: the commit block is there or not, and nobody was told that it is.
        writer.flush()?;
        writer.advance(tx.tid, len + 1);
        Ok(())
    }
}

/// Writes everything of `tx` but its commit block, revoke blocks first; tells how many blocks that
/// were, and the CRC32 of version 1.
fn write_blocks(writer: &Writer, tx: &Transaction) -> Result<(u32, u32)> {
    let format = &writer.format;
    let mut batch = writer.batch_at(0);
    let revoked: Vec<BlockNr> = tx.revoked.iter().copied().collect();
    for records in revoked.chunks(format.revokes_per_block()) {
        let mut block = RevokeBuilder::new(format, tx.tid);
        for &blk in records {
            block.push(blk);
        }
        batch.push(&block.finish())?;
    }
    let mut crc = !0;
    let mut add_to_crc = |logged: &[u8]| {
        if format.checksums == Checksums::V1 {
            crc = crc32_be(crc, logged);
        }
    };
    let mut blocks = tx.blocks.iter().peekable();
    while blocks.peek().is_some() {
        let tagged: Vec<_> = blocks.by_ref().take(format.tags_per_descriptor()).collect();
        let mut descriptor = DescriptorBuilder::new(format, tx.tid, writer.uuid());
        for (blk, data) in &tagged {
            let escaped = is_escaped_by_writer(data);
            let sum = if escaped {
                let mut logged = data.to_vec();
                escape(&mut logged);
                format.tag_checksum(tx.tid, &logged)
            } else {
                format.tag_checksum(tx.tid, data)
            };
            descriptor.push(**blk, escaped, sum);
        }
        add_to_crc(batch.push(&descriptor.finish())?);
        for (_, data) in tagged {
            let logged = batch.push(data)?;
            if is_escaped_by_writer(logged) {
                escape(logged);
            }
            add_to_crc(logged);
        }
    }
    Ok((batch.finish()?, crc))
}
