//! A buffered write: bytes go to pages, blocks are promised to those that have none
//! (`ext4_da_write_begin`, `ext4_da_write_end`).

use crate::{Error, Filesystem, InCore, Inode, InodeGuard, MapState, Result};
use ext4_extent::Mapping;
use ext4_units::{InodeNr, LogicalBlock};
use std::{ops::RangeInclusive, sync::Arc};

/// The most bytes that go to pages in one step.
const STEP: u64 = 1 << 20;

/// A page to be made.
struct New {
    lblk: LogicalBlock,
    data: Arc<[u8]>,
    is_delayed: bool,
}

impl Filesystem {
    /// Writes `data` at byte `pos` into pages, for who holds the inode's lock alone, with no direct
    /// IO in flight, and says how many bytes that were: fewer than asked for when there is no space
    /// for more. The size that the user sees follows; that on disk when the blocks are mapped, or
    /// here when the last one is already. Times and privileges are the caller's.
    ///
    /// Data that does not wait (in the inode, journaled, or without `delalloc`) is written here.
    /// `ENOSPC` when there is room for nothing, even after a commit.
    pub fn buffered_write(&self, guard: &InodeGuard, pos: u64, data: &[u8]) -> Result<usize> {
        let incore = guard.alone();
        let ino = incore.ino();
        let mut inode = self.open_inode(self.meta(), ino)?;
        check_regular(&inode)?;
        if data.is_empty() {
            return Ok(0);
        }
        let max = self.geometry().max_size(inode.has_extents() || inode.has_inline_data());
        let end = pos.saturating_add(data.len() as u64);
        if end > max {
            return Err(Error::TooBig { ino, offset: end, max });
        }
        let may_be_inline = inode.i_size == 0 && incore.allows_inline();
        if inode.has_inline_data() || may_be_inline {
            if self.inline_write(ino, pos, data)? {
                return Ok(data.len());
            }
            self.inline_to_blocks(ino)?;
            // Crash here: the old contents, in a block.
            inode = self.open_inode(self.meta(), ino)?;
        }
        if pos >= self.geometry().block_size.round_up(inode.i_size) {
            // Else the page does it.
            self.zero_tail(ino)?;
        }
        if self.logs_data(&inode) || !self.delayed().delalloc {
            return self.write_through(incore, pos, data);
        }
        let old_size = inode.i_size;
        let mut done = 0;
        let result = self.fill_pages(incore, pos, data, &mut done);
        let written = pos + done as u64;
        if written > old_size {
            self.follow_mapped(ino, written)?;
        }
        match result {
            // What is promised is more than what is needed: ask for the blocks themselves
            // (`ext4_nonda_switch`).
            Err(Error::NoSpace { .. }) if done == 0 => self.write_through(incore, pos, data),
            Err(err) if done == 0 => Err(err),
            // What is there is there (`generic_perform_write`); the next call meets the error.
            _ => Ok(done),
        }
    }

    /// Puts all of `data` into pages, a step at a time; `done` counts.
    fn fill_pages(
        &self,
        incore: &Arc<InCore>,
        pos: u64,
        data: &[u8],
        done: &mut usize,
    ) -> Result<()> {
        let size = self.geometry().block_size;
        while let Some(rest) = data.get(*done..).filter(|rest| !rest.is_empty()) {
            let at = pos + *done as u64;
            let step = STEP.min(self.delayed().dirty_bytes / 4).max(u64::from(size.bytes()));
            let to = (size.round_down(at) + step).min(at + rest.len() as u64);
            let part = &rest[..usize::try_from(to - at).unwrap_or(rest.len())];
            self.make_room_for(incore, part.len());
            match self.fill(incore, at, part) {
                // Less room than that: block by block, as far as it goes.
                Err(Error::NoSpace { .. }) if part.len() > size.len() => {
                    let first = (size.bytes() - size.within(at)) as usize;
                    let part = &part[..first.min(part.len())];
                    self.fill(incore, at, part)?;
                    *done += part.len();
                }
                result => {
                    result?;
                    *done += part.len();
                }
            }
        }
        Ok(())
    }

    /// Puts a few bytes into pages, all of them or none.
    fn fill(&self, incore: &Arc<InCore>, pos: u64, data: &[u8]) -> Result<()> {
        self.retrying(|| {
            loop {
                let inode = self.open_inode(self.meta(), incore.ino())?;
                let new = self.new_pages(incore, &inode, pos, data)?;
                if self.put_pages(incore, &inode, pos, data, new)? {
                    return Ok(());
                }
                // A clean page went meanwhile.
            }
        })
    }

    /// Pages for the blocks of the range that have none, with what they hold below the size.
    fn new_pages(&self, incore: &InCore, inode: &Inode, pos: u64, data: &[u8]) -> Result<Vec<New>> {
        let size = self.geometry().block_size;
        let end = pos + data.len() as u64;
        let blocks = self.file_blocks(inode, pos, end)?;
        // First the pages, then the map: where there is no page now, nobody but us makes one, and
        // so the map stays as it is.
        let missing: Vec<LogicalBlock> = {
            let pages = incore.pages();
            (blocks.start().0..=blocks.end().0)
                .map(LogicalBlock)
                .filter(|&lblk| pages.get(lblk).is_none())
                .collect()
        };
        let (Some(&first), Some(&last)) = (missing.first(), missing.last()) else {
            return Ok(Vec::new());
        };
        let mapped = self.steady_map(inode.ino, |inode| {
            let mut mapped: Vec<Mapping> = Vec::new();
            self.mappings(self.meta(), inode, first, LogicalBlock(last.0 + 1), |mapping| {
                mapped.push(mapping);
                Ok(())
            })?;
            Ok(mapped)
        })?;
        let mut mapped = mapped.into_iter().peekable();
        let mut new = Vec::with_capacity(missing.len());
        for lblk in missing {
            while mapped.peek().is_some_and(|it| it.end() <= lblk.0) {
                mapped.next();
            }
            let state = mapped.peek().map_or(MapState::Hole, |it| it.state);
            let within = mapped.peek().map_or(0, |it| u64::from(lblk.0.saturating_sub(it.lblk.0)));
            let mut bytes = vec![0; size.len()];
            let (start, stop) = (lblk.byte(size), lblk.byte(size) + u64::from(size.bytes()));
            let is_whole = pos <= start && (end >= stop || end >= inode.i_size);
            if let MapState::Written(blk) = state
                && !is_whole
                && inode.i_size > start
            {
                let held = usize::try_from(inode.i_size - start).unwrap_or(usize::MAX);
                let held = held.min(size.len());
                self.device().read_at(blk.plus(within).byte(size), &mut bytes)?;
                bytes[held..].fill(0);
            }
            new.push(New { lblk, data: bytes.into(), is_delayed: state == MapState::Hole });
        }
        Ok(new)
    }

    /// Puts the new pages in, promises blocks to those that need them, and copies the bytes; the
    /// size the user sees follows. `false`, with nothing changed, when a page has gone.
    fn put_pages(
        &self,
        incore: &InCore,
        inode: &Inode,
        pos: u64,
        data: &[u8],
        new: Vec<New>,
    ) -> Result<bool> {
        let size = self.geometry().block_size;
        let delayed: Vec<_> = new.iter().filter(|it| it.is_delayed).map(|it| it.lblk).collect();
        let handle = if delayed.is_empty() { None } else { Some(self.start(1)?) };
        let mut pages = incore.pages();
        pages.set_shape(self.shape(inode), self.geometry().cluster_ratio_bits);
        if let Some(h) = &handle {
            self.check_room(h, pages.cost(&delayed))?;
        }
        let end = pos + data.len() as u64;
        let blocks = self.file_blocks(inode, pos, end)?;
        let mut made = new.iter().peekable();
        for nr in blocks.start().0..=blocks.end().0 {
            let is_new = made.next_if(|it| it.lblk.0 == nr).is_some();
            if !is_new && pages.get(LogicalBlock(nr)).is_none() {
                return Ok(false);
            }
        }
        self.change_locked(pages, |pages| {
            for it in new {
                pages.insert(it.lblk, it.data, it.is_delayed);
            }
            for nr in blocks.start().0..=blocks.end().0 {
                let start = LogicalBlock(nr).byte(size);
                let (from, to) = (pos.max(start), end.min(start + u64::from(size.bytes())));
                let at = usize::try_from(from - pos).unwrap_or(usize::MAX);
                let upto = usize::try_from(to - pos).unwrap_or(usize::MAX);
                let bytes = data.get(at..upto).unwrap_or_default();
                pages.write(LogicalBlock(nr), size.within(from) as usize, bytes);
            }
            if end > inode.i_size {
                incore.set_i_size(end);
            }
        });
        drop(handle);
        Ok(true)
    }

    /// Raises the size on disk after a write that ends in a block which is mapped and written
    /// already (`ext4_da_should_update_i_disksize`); else writeback does.
    ///
    /// It never passes the size that the user sees: that is raised before, by what was copied.
    fn follow_mapped(&self, ino: InodeNr, end: u64) -> Result<()> {
        let size = self.geometry().block_size;
        let Some(last) = LogicalBlock::of_byte(end - 1, size) else { return Ok(()) };
        let is_written = |inode: &Inode, meta| -> Result<bool> {
            Ok(matches!(self.lookup(meta, inode, last)?.state, MapState::Written(_)))
        };
        if !self.steady_map(ino, |inode| {
            Ok(inode.i_disksize() < end && is_written(inode, self.meta())?)
        })? {
            return Ok(());
        }
        let mut h = self.start(crate::Handle::INODE_CREDITS)?;
        let mut inode = h.inode(ino)?;
        if is_written(&inode, &h)? {
            h.raise_disksize(&mut inode, end)?;
            h.put_inode(&inode)?;
        }
        // Crash here: the block's old bytes behind the old size, which are zeros.
        h.stop()?;
        Ok(())
    }

    /// The blocks of a range of a file, which must not be empty.
    fn file_blocks(
        &self,
        inode: &Inode,
        pos: u64,
        end: u64,
    ) -> Result<RangeInclusive<LogicalBlock>> {
        let size = self.geometry().block_size;
        let too_big = || Error::TooBig {
            ino: inode.ino,
            offset: end,
            max: self.geometry().max_size(inode.has_extents()),
        };
        let block = |byte| LogicalBlock::of_byte(byte, size).filter(|it| it.0 < u32::MAX);
        let first = block(pos).ok_or_else(too_big)?;
        let last = block(end - 1).ok_or_else(too_big)?;
        Ok(first..=last)
    }
}

fn check_regular(inode: &Inode) -> Result<()> {
    let ino = inode.ino;
    if inode.is_dir() {
        return Err(Error::IsADirectory { ino });
    }
    if !inode.is_regular() {
        return Err(Error::WrongType { ino, found: "no regular file", expected: "a regular file" });
    }
    Ok(())
}
