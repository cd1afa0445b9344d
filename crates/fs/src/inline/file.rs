//! Regular files inside their inode.

use crate::{Error, Filesystem, Handle, Inode, MapState, Result};
use ext4_ondisk::inline_data::BODY_LEN;
use ext4_units::{InodeNr, LogicalBlock};

impl Filesystem {
    /// How many bytes of contents inode `ino` can hold in itself, or 0 when it has its contents
    /// elsewhere and must keep them there.
    pub fn inline_capacity(&self, inode: &Inode) -> Result<usize> {
        let is_empty = inode.is_regular()
            && inode.i_size == 0
            && inode.sectors == inode.file_acl.map_or(0, |_| self.cluster_sectors())
            && inode.may_be_inline(self);
        if inode.has_inline_data() || is_empty { inode.inline_capacity() } else { Ok(0) }
    }

    /// Writes into a regular file inside its inode, in one handle, the size and the times with it
    /// (`ext4_write_inline_data_end`). An empty file without blocks becomes one that is inside its
    /// inode, where the filesystem has inline_data (`ext4_try_to_write_inline_data`).
    ///
    /// `false`, with nothing changed, when it does not fit: then
    /// [`inline_to_blocks`](Self::inline_to_blocks), and write as to any file.
    pub fn inline_write(&self, ino: InodeNr, offset: u64, data: &[u8]) -> Result<bool> {
        let mut h = self.start(2)?;
        let mut inode = self.open_inode(&h, ino)?;
        check_regular(&inode)?;
        let capacity = self.inline_capacity(&inode)?;
        let span =
            usize::try_from(offset).ok().and_then(|at| Some((at, at.checked_add(data.len())?)));
        let Some((at, end)) = span.filter(|&(_, end)| end <= capacity) else { return Ok(false) };
        if data.is_empty() {
            return Ok(true);
        }
        if !inode.has_inline_data() {
            inode.start_inline_data()?;
        }
        let mut contents = inode.inline_bytes()?;
        contents.resize(contents.len().max(end), 0);
        contents[at..end].copy_from_slice(data);
        if !inode.set_inline_contents(&contents)? {
            return Ok(false);
        }
        let size = inode.i_size.max(end as u64);
        h.set_size(&mut inode, size)?;
        inode.modified(h.now());
        h.put_inode(&inode)?;
        h.stop()?;
        Ok(true)
    }

    /// Moves a regular file's contents out of its inode into a block, in one handle
    /// (`ext4_convert_inline_data`). Nothing to do for a file that has them elsewhere.
    pub fn inline_to_blocks(&self, ino: InodeNr) -> Result<()> {
        self.retrying(|| {
            let mut h = self.start(8)?;
            let mut inode = self.open_inode(&h, ino)?;
            check_regular(&inode)?;
            if !inode.has_inline_data() {
                return Ok(());
            }
            h.move_inline_data(&mut inode)?;
            h.put_inode(&inode)?;
            h.stop()?;
            Ok(())
        })
    }
}

impl Inode {
    /// The contents of an inline file, as long as its size says, zeros where the inode has fewer.
    fn inline_bytes(&self) -> Result<Vec<u8>> {
        let capacity = self.inline_capacity()? as u64;
        let mut contents = self.inline_contents()?;
        let len = self.i_size.min(capacity.max(contents.len() as u64));
        contents.resize(usize::try_from(len).unwrap_or(usize::MAX), 0);
        Ok(contents)
    }
}

impl Handle<'_> {
    /// Gives an inline file of any size a block with its contents. The caller writes the inode
    /// back; 7 credits.
    ///
    /// The data is written while the handle is open, as in ordered mode: the block is free in every
    /// state a crash can leave until this handle's transaction commits, which flushes first, and
    /// nobody else may take it before.
    fn move_inline_data(&mut self, inode: &mut Inode) -> Result<()> {
        let contents = inode.inline_bytes()?;
        let logs_data = self.fs().logs_data(inode);
        let size = self.fs().geometry().block_size;
        inode.drop_inline_data(self.fs())?;
        if contents.is_empty() {
            return Ok(());
        }
        let mapping = self.allocate(inode, LogicalBlock(0), 1, false)?;
        let MapState::Written(blk) = mapping.state else {
            return Err(Error::corrupt(format!("inode {}", inode.ino), "got no written block"));
        };
        let mut block = contents;
        block.resize(size.len(), 0);
        if logs_data {
            self.write(blk, block)
        } else {
            Ok(self.fs().device().write_at(blk.byte(size), &block)?)
        }
    }

    /// Sets the size of an inline file: what is cut off reads as zero should it grow again
    /// (`ext4_inline_data_truncate`). A file that no longer fits moves to a block. The caller
    /// writes the inode back; 8 credits.
    pub(crate) fn truncate_inline(&mut self, inode: &mut Inode, size: u64) -> Result<()> {
        let capacity = inode.inline_capacity()? as u64;
        if size <= capacity {
            let mut contents = inode.inline_bytes()?;
            contents.resize(usize::try_from(size).unwrap_or(BODY_LEN), 0);
            if !inode.set_inline_contents(&contents)? {
                return Err(Error::NoSpace { what: "room in the inode" });
            }
        } else {
            self.move_inline_data(inode)?;
        }
        self.set_size(inode, size)
    }
}

fn check_regular(inode: &Inode) -> Result<()> {
    if inode.is_regular() {
        return Ok(());
    }
    let ino = inode.ino;
    if inode.is_dir() {
        return Err(Error::IsADirectory { ino });
    }
    Err(Error::WrongType { ino, found: "no regular file", expected: "a regular file" })
}
