//! Which blocks the next bytes go to: `ext4_iomap_begin` and `ext4_iomap_alloc`.

use crate::Result;
use ext4_fs::{Filesystem, Inode, MapState, Mapping};
use ext4_units::{BlockNr, InodeNr, LogicalBlock};

/// `DIO_MAX_BLOCKS`: the most blocks of one mapping call, so that its handle stays small.
pub(crate) const MAX_BLOCKS: u32 = 4096;

/// A run of blocks that data goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) lblk: LogicalBlock,
    pub(crate) len: u32,
    pub(crate) start: BlockNr,
    /// The blocks read as zeros: what is not written of them must become zeros on the device.
    pub(crate) is_new: bool,
    /// They are unwritten, and are to be converted once the data is there.
    pub(crate) converts: bool,
}

impl Piece {
    /// The logical block just past it.
    pub(crate) fn end(&self) -> u32 {
        self.lblk.0.saturating_add(self.len)
    }

    /// Where on the device `lblk`, one of its blocks, is.
    pub(crate) fn block(&self, lblk: LogicalBlock) -> BlockNr {
        self.start.plus(u64::from(lblk.0 - self.lblk.0))
    }
}

/// What there is for the next bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// Blocks; `true` if a handle was needed to get them.
    Piece(Piece, bool),
    /// A hole below the size in a file whose map knows no unwritten blocks: a crash between its
    /// mapping and its data would show old bytes, so it goes through the buffered way (`-ENOTBLK`).
    Buffered,
}

/// Finds or allocates up to `want` blocks from `lblk`. `hole` is the length of the hole that was there a
/// moment ago, and spares a look without a handle.
pub(crate) fn begin(
    fs: &Filesystem,
    ino: InodeNr,
    lblk: LogicalBlock,
    want: u32,
    hole: Option<u32>,
) -> Result<Begin> {
    let mut want = want.clamp(1, MAX_BLOCKS);
    if let Some(len) = hole {
        want = want.min(len.max(1));
    } else {
        let (inode, mapping) = fs.steady_lookup(ino, lblk)?;
        want = want.min(mapping.len);
        if let Some(begin) = found(fs, &inode, &mapping, want) {
            return Ok(begin);
        }
    }
    Ok(fs.retrying(|| {
        let (mut h, mut inode) = fs.start_on(ino, |inode| {
            Ok(fs.allocate_credits(inode, want)?.max(fs.convert_credits(inode)?))
        })?;
        // Writeback needs no inode lock: it may have mapped the blocks by now.
        let mapping = fs.lookup(&h, &inode, lblk)?;
        let want = want.min(mapping.len);
        if let Some(begin) = found(fs, &inode, &mapping, want) {
            return Ok(begin);
        }
        let is_below_eof = is_below_eof(fs, &inode, lblk);
        let piece = match mapping.state {
            // Beyond the size only the orphan record protects the blocks, so they may become
            // written before the data is there. Crash here: cleanup frees them.
            MapState::Written(start) | MapState::Unwritten(start) => {
                let done = h.initialize(&mut inode, lblk, want)?;
                Piece { lblk, len: done.min(want), start, is_new: true, converts: false }
            }
            MapState::Hole => {
                let mapped = h.allocate(&mut inode, lblk, want, is_below_eof)?;
                let (MapState::Written(start) | MapState::Unwritten(start)) = mapped.state else {
                    return Ok(Begin::Buffered);
                };
                Piece { lblk, len: mapped.len, start, is_new: true, converts: is_below_eof }
            }
        };
        h.put_inode(&inode)?;
        h.stop()?;
        // Crash here: below the size the blocks stay, unwritten, and read as zeros; beyond it
        // cleanup frees them.
        Ok(Begin::Piece(piece, true))
    })?)
}

/// `i_size`, not `i_disksize`: writeback may push the latter out to the former at any moment.
fn is_below_eof(fs: &Filesystem, inode: &Inode, lblk: LogicalBlock) -> bool {
    lblk.byte(fs.geometry().block_size) < inode.i_size
}

/// What needs no handle.
fn found(fs: &Filesystem, inode: &Inode, mapping: &Mapping, want: u32) -> Option<Begin> {
    let lblk = mapping.lblk;
    let piece = |start, is_new, converts| {
        Some(Begin::Piece(Piece { lblk, len: want, start, is_new, converts }, false))
    };
    match mapping.state {
        MapState::Written(start) => piece(start, false, false),
        MapState::Unwritten(start) if is_below_eof(fs, inode, lblk) => piece(start, true, true),
        MapState::Hole if is_below_eof(fs, inode, lblk) && !inode.has_extents() => {
            Some(Begin::Buffered)
        }
        MapState::Unwritten(_) | MapState::Hole => None,
    }
}
