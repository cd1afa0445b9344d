//! The way of data that direct IO cannot take: inline data, journaled data, and holes of files
//! whose map knows no unwritten blocks.
//!
//! What a page cache and its writeback would do in two steps is done in one: data first, then the
//! handle that shows it (ordered mode), or data and metadata in one handle (journaled data).

use crate::Result;
use ext4_fs::MetaRead as _;
use ext4_fs::{Filesystem, Inode, MapState};
use ext4_units::{BlockNr, InodeNr, LogicalBlock};

/// Blocks of journaled data in one handle.
const JOURNALED_BLOCKS: usize = 32;

/// Writes `data` at byte `pos`; the size follows. Each handle leaves a consistent file, the call as
/// a whole may be torn by a crash, as any buffered write.
pub(crate) fn write(fs: &Filesystem, ino: InodeNr, pos: u64, data: &[u8]) -> Result<()> {
    let inode = fs.inode(fs.meta(), ino)?;
    if inode.has_inline_data() {
        if fs.inline_write(ino, pos, data)? {
            return Ok(());
        }
        fs.inline_to_blocks(ino)?;
        // Crash here: the old contents, in a block.
    }
    let size = fs.geometry().block_size;
    let end = pos + data.len() as u64;
    let mut at = pos;
    while at < end {
        let limit = size.round_down(at) + (JOURNALED_BLOCKS * size.len()) as u64;
        let to = end.min(limit);
        let from = usize::try_from(at - pos).expect("inside the data");
        let n = usize::try_from(to - at).expect("inside the data");
        at += fs.retrying(|| {
            let inode = fs.inode(fs.meta(), ino)?;
            write_run(fs, &inode, at, &data[from..from + n])
        })?;
    }
    Ok(())
}

/// Writes as much of `data` as one mapping takes, in one handle, and returns how many bytes.
fn write_run(fs: &Filesystem, inode: &Inode, pos: u64, data: &[u8]) -> ext4_fs::Result<u64> {
    let size = fs.geometry().block_size;
    let ino = inode.ino;
    let lblk = LogicalBlock::of_byte(pos, size).ok_or(ext4_fs::Error::TooBig {
        ino,
        offset: pos,
        max: fs.geometry().max_bytes,
    })?;
    let blocks = size.blocks_for(pos + data.len() as u64) - u64::from(lblk.0);
    let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
    let credits =
        fs.allocate_credits(inode, blocks)? + fs.convert_credits(inode)? + blocks as usize;
    let mut h = fs.start(credits + 2)?;
    let mut inode = h.inode(ino)?;
    let mapping = fs.lookup(&h, &inode, lblk)?;
    let len = mapping.len.min(blocks);
    let (start, len, is_new) = match mapping.state {
        MapState::Written(start) => (start, len, false),
        MapState::Unwritten(start) => (start, h.convert(&mut inode, lblk, len)?.min(len), true),
        MapState::Hole => {
            let mapped = h.allocate(&mut inode, lblk, len, false)?;
            let (MapState::Written(start) | MapState::Unwritten(start)) = mapped.state else {
                return Err(ext4_fs::Error::NoSpace { what: "blocks" });
            };
            (start, mapped.len, true)
        }
    };
    let first = lblk.byte(size);
    let end = (pos + data.len() as u64).min(first + (u64::from(len) << size.bits()));
    let n = usize::try_from(end - pos).expect("inside the data");
    let blocks = size.blocks_for(end) - u64::from(lblk.0);
    let mut buf = vec![0; usize::try_from(blocks << size.bits()).expect("a few blocks")];
    let head = usize::try_from(pos - first).expect("inside a block");
    if !is_new {
        // Both ends may be blocks written in part; their old bytes stay, below the size.
        keep_old(fs, &h, &inode, start, first, &mut buf)?;
    }
    buf[head..head + n].copy_from_slice(&data[..n]);
    if fs.logs_data(&inode) {
        for (i, block) in buf.chunks(size.len()).enumerate() {
            h.write_data(start.plus(i as u64), block.to_vec())?;
        }
    } else {
        // The commit of this handle's transaction flushes the data before it shows it; dropped
        // instead, the blocks stay free.
        fs.device().write_at(start.byte(size), &buf)?;
    }
    h.raise_size(&mut inode, end)?;
    h.put_inode(&inode)?;
    h.stop()?;
    Ok(end - pos)
}

/// Fills `buf`, whole blocks from byte `first` of the file, with what they hold below the size.
fn keep_old(
    fs: &Filesystem,
    h: &ext4_fs::Handle<'_>,
    inode: &Inode,
    start: BlockNr,
    first: u64,
    buf: &mut [u8],
) -> ext4_fs::Result<()> {
    let size = fs.geometry().block_size;
    if fs.logs_data(inode) {
        for (i, block) in buf.chunks_mut(size.len()).enumerate() {
            block.copy_from_slice(&h.read(start.plus(i as u64))?);
        }
    } else {
        fs.device().read_at(start.byte(size), buf)?;
    }
    let readable = usize::try_from(inode.i_size.saturating_sub(first)).unwrap_or(usize::MAX);
    if let Some(behind) = buf.get_mut(readable..) {
        behind.fill(0);
    }
    Ok(())
}
