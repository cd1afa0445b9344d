//! Writing committed blocks home, so that the log may forget them.

use crate::{Error, Journal, MetaRead, Result, home, writer::Writer};

impl Journal {
    /// Commits, writes everything home and leaves the log empty (`s_start` 0), all of it durable.
    /// Without a log a flush.
    pub fn checkpoint(&self) -> Result<()> {
        let Some(mut writer) = self.writer() else { return self.sync_data() };
        self.commit_running(&mut writer)?;
        self.checkpoint_all(&mut writer)
    }

    /// Writes everything home that is committed.
    pub(crate) fn checkpoint_all(&self, writer: &mut Writer) -> Result<()> {
        let n = writer.logged().len();
        self.checkpoint_oldest(writer, n)?;
        let res = writer.settle();
        self.or_abort_with(writer, res)
    }

    /// Writes home until at most half of the memory for committed blocks is in use.
    pub(crate) fn checkpoint_half(&self, writer: &mut Writer) -> Result<()> {
        let n = {
            let state = self.state();
            let sizes = state.committed.sizes();
            let mut left = state.committed.len();
            let mut n = 0;
            for tx in writer.logged() {
                if left <= self.max_committed() / 2 {
                    break;
                }
                left = left.saturating_sub(sizes.get(&tx.tid).copied().unwrap_or(0));
                n += 1;
            }
            n
        };
        self.checkpoint_oldest(writer, n)
    }

    /// Makes room for `need` blocks in the log, oldest transactions first: when there is too
    /// little, half the ring, or each commit of a full log would pay for two flushes.
    pub(crate) fn make_room(&self, writer: &mut Writer, need: u32) -> Result<()> {
        if writer.n_free() >= need {
            return Ok(());
        }
        let goal = need.max(writer.len() / 2);
        let mut free = writer.n_free();
        let mut n = 0;
        for tx in writer.logged() {
            if free >= goal {
                break;
            }
            free += tx.len;
            n += 1;
        }
        if free < need {
            let max = usize::try_from(writer.len()).unwrap_or(usize::MAX);
            return Err(Error::TransactionTooBig { asked: need as usize, max });
        }
        self.checkpoint_oldest(writer, n)
    }

    /// Writes home what the oldest `n` transactions hold, then lets the log forget them.
    fn checkpoint_oldest(&self, writer: &mut Writer, n: usize) -> Result<()> {
        let Some(last) = n.checked_sub(1).and_then(|i| writer.logged().nth(i)) else {
            return Ok(());
        };
        let state = self.state();
        state.check_alive()?;
        // Committed versions only: what the running transaction makes of a block stays in memory
        // until its own commit block is durable.
        let due = state.committed.up_to(last.tid);
        drop(state);
        let write = || -> Result<()> {
            home::write(
                &**self.device(),
                self.block_size(),
                due.iter().map(|(blk, data)| (*blk, data)),
            )?;
            // Crash here: the log still holds all of them, replay writes the same bytes again.
            self.device().flush().map_err(Error::Flush)
        };
        let res = write().and_then(|()| writer.forget_oldest(n));
        self.or_abort_with(writer, res)?;
        let mut state = self.state();
        for (blk, data) in due {
            state.committed.remove(blk);
            state.cache.insert(blk, data);
        }
        Ok(())
    }
}
