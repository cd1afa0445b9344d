//! Pages on their way to the device, a step at a time (`ext4_do_writepages`).

use crate::{Error, Filesystem, Handle, InCore, Inode, MapState, Result, incore::PageState};
use ext4_units::{BlockNr, InodeNr, LogicalBlock};
use std::{collections::VecDeque, ops::Range, sync::Arc};

/// The most bytes that are taken in hand at once.
const RUN_BYTES: u64 = 8 << 20;

/// The most bytes of one write to the device.
const WRITE_BYTES: usize = 1 << 20;

/// What a step of a [`Writeback`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WbStep {
    /// Pages are under writeback, their blocks are mapped; the size on disk is `i_disksize`, with
    /// the running transaction.
    Mapped {
        /// The first block.
        lblk: LogicalBlock,
        /// How many.
        len: u32,
        /// The size on disk.
        i_disksize: u64,
    },
    /// Data was handed to the device.
    Submitted {
        /// How much.
        bytes: u64,
    },
    /// The device has taken it.
    Written,
    /// Blocks that read as zeros until now show their data.
    Converted {
        /// The first block.
        lblk: LogicalBlock,
        /// How many.
        len: u32,
    },
    /// The next page is in another writeback's hands. Nothing was done: step again later.
    Blocked,
    /// Every page of the range that was dirty when its turn came is on the device.
    Done,
}

/// A run of blocks on its way.
#[derive(Clone, Copy, Debug)]
struct Run {
    lblk: LogicalBlock,
    len: u32,
    start: BlockNr,
    /// The blocks are unwritten.
    converts: bool,
    /// The data is on the device already: it had to be, before the map showed it.
    is_sent: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Find,
    Map,
    Submit(Run),
    Written(Run),
    Convert(Run, u32),
}

/// Writes the dirty pages of a range of a file back: blocks for those that have none and the size
/// with them in one handle, data, and the end of their being unwritten.
///
/// Takes no inode lock and keeps no handle from one step to the next. Pages are under writeback
/// from the step that finds them to that which ends their run: truncation, direct writes and other
/// writebacks wait for them. Dropped before the end, or after an error, what was not written stays
/// dirty.
#[derive(Debug)]
pub struct Writeback<'fs> {
    fs: &'fs Filesystem,
    incore: Arc<InCore>,
    /// The next block to look at, and the last one.
    left: Option<(LogicalBlock, LogicalBlock)>,
    /// Pages in hand, one after the other: those of the run under way first.
    held: VecDeque<(LogicalBlock, Arc<[u8]>)>,
    state: State,
}

impl<'fs> Writeback<'fs> {
    /// Of the pages that a range of bytes touches.
    pub fn new(fs: &'fs Filesystem, ino: InodeNr, range: Range<u64>) -> Self {
        Self {
            fs,
            incore: fs.incore(ino),
            left: fs.blocks_in(&range).map(|blocks| (*blocks.start(), *blocks.end())),
            held: VecDeque::new(),
            state: State::Find,
        }
    }

    /// Does all of it, and waits where another writeback has a page in hand.
    pub fn run(mut self) -> Result<()> {
        loop {
            match self.step()? {
                WbStep::Done => return Ok(()),
                WbStep::Blocked => self.wait(),
                _ => {}
            }
        }
    }

    /// Waits until the page that blocks is through. Somebody else must be stepping what has it.
    pub fn wait(&self) {
        if let Some((first, _)) = self.left {
            drop(self.incore.wait_writeback(&(first..=first)));
        }
    }

    /// Does the next step.
    pub fn step(&mut self) -> Result<WbStep> {
        self.advance().inspect_err(|_told| self.let_go())
    }

    fn advance(&mut self) -> Result<WbStep> {
        loop {
            match self.state {
                State::Find => {
                    if let Some(step) = self.find() {
                        return Ok(step);
                    }
                    self.state = State::Map;
                }
                State::Map => {
                    if let Some(step) = self.map()? {
                        return Ok(step);
                    }
                }
                State::Submit(run) => {
                    let bytes = if run.is_sent { self.len_of(run) } else { self.send(run)? };
                    self.state = State::Written(run);
                    return Ok(WbStep::Submitted { bytes });
                }
                State::Written(run) => {
                    // Crash here: unwritten blocks still read as zeros; written ones have the data,
                    // or old bytes where the file had them before.
                    if run.converts {
                        self.state = State::Convert(run, 0);
                    } else {
                        self.finish(run);
                    }
                    return Ok(WbStep::Written);
                }
                State::Convert(run, done) => return self.convert(run, done),
            }
        }
    }

    /// Takes the next dirty pages in hand, as many as lie one after the other.
    fn find(&mut self) -> Option<WbStep> {
        let Some((mut at, last)) = self.left else { return Some(WbStep::Done) };
        let most = (RUN_BYTES >> self.fs.geometry().block_size.bits()).max(1);
        let mut pages = self.incore.pages();
        let mut is_blocked = false;
        let mut found = VecDeque::new();
        for (lblk, page) in pages.range(at..=last) {
            if !found.is_empty() && (lblk != at || found.len() as u64 >= most) {
                break;
            }
            match page.state() {
                PageState::Clean if found.is_empty() => {}
                PageState::Clean => break,
                PageState::Writeback { .. } => {
                    is_blocked = found.is_empty();
                    at = lblk;
                    break;
                }
                PageState::Dirty => {
                    found.push_back(lblk);
                    at = LogicalBlock(lblk.0.saturating_add(1));
                }
            }
        }
        if is_blocked {
            self.left = Some((at, last));
            return Some(WbStep::Blocked);
        }
        self.held = found
            .into_iter()
            .filter_map(|lblk| Some((lblk, pages.begin_writeback(lblk)?)))
            .collect();
        self.left = match self.held.back() {
            Some(&(lblk, _)) if lblk < last => Some((LogicalBlock(lblk.0 + 1), last)),
            _ => None,
        };
        if self.held.is_empty() { Some(WbStep::Done) } else { None }
    }

    /// Maps what is in hand, as far as one handle goes. `None` if there is nothing left in hand.
    fn map(&mut self) -> Result<Option<WbStep>> {
        let Some(&(lblk, _)) = self.held.front() else {
            self.state = State::Find;
            return Ok(None);
        };
        let fs = self.fs;
        let size = fs.geometry().block_size;
        let len = u32::try_from(self.held.len()).unwrap_or(u32::MAX);
        let mapped = match self.mapped_already(lblk, len)? {
            Some(found) => Some(found),
            None => fs.retrying(|| self.map_in_handle(lblk, len))?,
        };
        let Some((run, i_disksize)) = mapped else {
            // Cut off meanwhile: whoever does that drops the page.
            self.drop_hold(1, false);
            return Ok(None);
        };
        debug_assert!(run.len >= 1 && LogicalBlock(run.lblk.0).byte(size) >= lblk.byte(size));
        self.state = State::Submit(run);
        // Crash here: blocks that read as zeros, or hold the data already.
        Ok(Some(WbStep::Mapped { lblk: run.lblk, len: run.len, i_disksize }))
    }

    /// The mapping of blocks that need no handle: mapped, and within the size on disk. Pages under
    /// writeback keep their blocks.
    fn mapped_already(&self, lblk: LogicalBlock, len: u32) -> Result<Option<(Run, u64)>> {
        let (inode, mapping) = self.fs.steady_map(self.incore.ino(), |inode| {
            if inode.has_inline_data() {
                let place = format!("inode {}", inode.ino);
                return Err(Error::corrupt(place, "inline data in a file with pages"));
            }
            Ok((inode.clone(), self.fs.lookup(self.fs.meta(), inode, lblk)?))
        })?;
        let run = run_of(lblk, mapping.len.min(len), mapping.state);
        let reaches = |run: &Run| self.reached(&inode, run) <= inode.i_disksize();
        Ok(run.filter(reaches).map(|run| (run, inode.i_disksize())))
    }

    /// How far the file reaches at least when this run is there.
    fn reached(&self, inode: &Inode, run: &Run) -> u64 {
        let size = self.fs.geometry().block_size;
        let end = u64::from(run.lblk.0) + u64::from(run.len);
        (end << size.bits()).min(inode.i_size)
    }

    /// Allocates where there is a hole, and raises the size on disk to what is mapped, in one
    /// handle. `None` for a page beyond the size.
    fn map_in_handle(&self, lblk: LogicalBlock, len: u32) -> Result<Option<(Run, u64)>> {
        let (fs, ino) = (self.fs, self.incore.ino());
        let mut h = fs.start_for(|meta| {
            let inode = fs.inode(meta, ino)?;
            Ok(fs.allocate_credits(&inode, len)? + Handle::INODE_CREDITS)
        })?;
        let mut inode = h.inode(ino)?;
        if lblk.byte(fs.geometry().block_size) >= inode.i_size {
            return Ok(None);
        }
        let mapping = fs.lookup(&h, &inode, lblk)?;
        let len = mapping.len.min(len);
        let mut run = if let Some(run) = run_of(lblk, len, mapping.state) {
            run
        } else {
            let is_unwritten = fs.delayed().dioread_nolock && inode.has_extents();
            h.spend_promise(&self.incore);
            let new = h.allocate(&mut inode, lblk, len, is_unwritten)?;
            let run = run_of(lblk, new.len, new.state);
            let mut run = run.ok_or(Error::NoSpace { what: "blocks" })?;
            if !is_unwritten {
                // Ordered: any commit of this handle's transaction flushes the data first.
                // Dropped instead, the blocks are still free.
                self.send(run)?;
                run.is_sent = true;
            }
            run
        };
        run.len = run.len.min(len);
        let reached = self.reached(&inode, &run);
        h.raise_disksize(&mut inode, reached)?;
        h.put_inode(&inode)?;
        h.stop()?;
        Ok(Some((run, inode.i_disksize())))
    }

    fn len_of(&self, run: Run) -> u64 {
        u64::from(run.len) << self.fs.geometry().block_size.bits()
    }

    /// Writes the pages of a run, whole blocks: bytes beyond the size are zeros.
    fn send(&self, run: Run) -> Result<u64> {
        let size = self.fs.geometry().block_size;
        let n = run.len as usize;
        let per_write = (WRITE_BYTES / size.len()).max(1);
        let mut at = run.start.byte(size);
        let mut buf = Vec::with_capacity(n.min(per_write) * size.len());
        let mut left = self.held.iter().take(n).peekable();
        while left.peek().is_some() {
            buf.clear();
            for (_, data) in left.by_ref().take(per_write) {
                buf.extend_from_slice(data);
            }
            self.fs.device().write_at(at, &buf)?;
            at += buf.len() as u64;
        }
        Ok(self.len_of(run))
    }

    /// Marks the blocks of a run written, one mapping a handle (`ext4_convert_unwritten_extents`).
    fn convert(&mut self, run: Run, done: u32) -> Result<WbStep> {
        let lblk = LogicalBlock(run.lblk.0 + done);
        let left = run.len - done;
        let len = self.fs.convert_after(self.incore.ino(), lblk, left, 0)?.clamp(1, left);
        // Crash here: what comes before shows its data, the rest still reads as zeros.
        if done + len < run.len {
            self.state = State::Convert(run, done + len);
        } else {
            self.finish(run);
        }
        Ok(WbStep::Converted { lblk, len })
    }

    /// The run is on the device.
    fn finish(&mut self, run: Run) {
        self.drop_hold(run.len as usize, true);
        self.state = State::Map;
    }

    /// Gives the first `n` pages out of hand.
    fn drop_hold(&mut self, n: usize, is_written: bool) {
        let n = n.min(self.held.len());
        let through: Vec<_> = self.held.drain(..n).map(|(lblk, _)| lblk).collect();
        self.fs.change_pages(&self.incore, |pages| {
            for lblk in through {
                pages.end_writeback(lblk, is_written);
            }
        });
        self.incore.notify_written_back();
    }

    /// What is in hand stays dirty.
    fn let_go(&mut self) {
        self.drop_hold(usize::MAX, false);
        (self.left, self.state) = (None, State::Find);
    }
}

impl Drop for Writeback<'_> {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// `None` for a hole.
fn run_of(lblk: LogicalBlock, len: u32, state: MapState) -> Option<Run> {
    let (start, converts) = match state {
        MapState::Hole => return None,
        MapState::Written(start) => (start, false),
        MapState::Unwritten(start) => (start, true),
    };
    Some(Run { lblk, len, start, converts, is_sent: false })
}
