//! Many small overwrites in flight at once, where nothing is allocated and no size moves.

use crate::{
    Error, Result, Sync, checks::why_not_direct, modified::file_modified, request::Caller,
};
use ext4_blockdev::{AlignedBuf, Completion, TransferQueue, Write};
use ext4_fs::{Filesystem, Inode, MapState};
use ext4_units::{InodeNr, LogicalBlock};

/// A file open for overwriting: each write must lie in written blocks below the size and be aligned
/// to sectors, so that it needs no metadata but the times, which are set once.
#[derive(Debug)]
pub struct Overwriter<'fs> {
    fs: &'fs Filesystem,
    inode: Inode,
    queue: Box<dyn TransferQueue + 'fs>,
}

impl<'fs> Overwriter<'fs> {
    /// Opens `ino` with up to `depth` writes in flight, and sets its times.
    pub fn new(fs: &'fs Filesystem, ino: InodeNr, depth: usize, caller: &Caller) -> Result<Self> {
        let inode = fs.open_inode(fs.meta(), ino)?;
        if let Some(reason) = why_not_direct(fs, &inode) {
            return Err(Error::NoDirectIo { ino, reason });
        }
        let request = crate::Request {
            caller: *caller,
            ..crate::Request::new(crate::Offset::At(0), Some(1))
        };
        crate::checks::check(fs, &inode, &request)?;
        file_modified(fs, ino, caller)?;
        let inode = fs.inode(fs.meta(), ino)?;
        Ok(Self { fs, inode, queue: fs.device().queue(depth.max(1)) })
    }

    /// Starts writing `buf` at byte `offset`; blocks while too many are in flight. Fails with
    /// [`Error::WouldWait`] where a handle would be needed: [`crate::DirectWrite`] does those.
    pub fn submit(&mut self, offset: u64, buf: AlignedBuf) -> Result<()> {
        let (ino, len) = (self.inode.ino, buf.len() as u64);
        let size = self.fs.geometry().block_size;
        let sector = self.fs.device().limits().sector;
        if (offset | len) & u64::from(sector - 1) != 0 {
            return Err(Error::Misaligned { ino, offset, len, sector });
        }
        let wait = |what| Error::WouldWait { ino, what };
        let end = offset.checked_add(len).filter(|&end| end <= self.inode.i_size);
        let end = end.ok_or(wait("the write extends the file"))?;
        let lblk = LogicalBlock::of_byte(offset, size).ok_or(wait("beyond the largest file"))?;
        let mapping = self.fs.lookup(self.fs.meta(), &self.inode, lblk)?;
        let MapState::Written(start) = mapping.state else {
            return Err(wait("the blocks are not written"));
        };
        if LogicalBlock(mapping.end()).byte(size) < end {
            return Err(wait("the write is no overwrite of one mapping"));
        }
        let byte = start.byte(size) + u64::from(size.within(offset));
        self.queue
            .submit(Write { offset: byte, buf, tag: offset })
            .map_err(|source| Error::Data { ino, source })
    }

    /// The next write that is done; its tag is its byte in the file. `None` when none is in flight.
    pub fn wait(&mut self) -> Option<Completion> {
        self.queue.wait()
    }

    /// Waits for all, and makes durable what `sync` asks for.
    pub fn finish(mut self, sync: Sync) -> Result<()> {
        let ino = self.inode.ino;
        let mut first = None;
        while let Some(done) = self.queue.wait() {
            if let Err(source) = done.result {
                first.get_or_insert(Error::Data { ino, source });
            }
        }
        if let Some(err) = first {
            return Err(err);
        }
        match sync {
            Sync::None => Ok(()),
            // The blocks may have been made by a write that is not durable yet.
            Sync::Data if self.fs.is_map_durable(ino) => {
                Ok(self.fs.journal().sync_data().map_err(ext4_fs::Error::from)?)
            }
            Sync::Data | Sync::Full => {
                Ok(self.fs.journal().sync().map_err(ext4_fs::Error::from)?)
            }
        }
    }
}
