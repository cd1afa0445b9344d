//! Unwritten blocks become written, once their data is there.

use super::{Nodes, store::MapStore};
use crate::{Error, Filesystem, Handle, Inode, Result};
use ext4_extent::{Context, Format, convert_whole, extent_at, to_zero};
use ext4_ondisk::extent::Extent;
use ext4_units::{BlockNr, BlockRange, InodeNr, LogicalBlock};

/// The most runs converted in one handle.
const MAX_RUNS: usize = 32;

/// The most bytes of zeros written at once.
const ZEROS: usize = 1 << 20;

impl Handle<'_> {
    /// Marks the unwritten blocks of `lblk..lblk + len` written, as far as one mapping goes, and
    /// returns how many blocks from `lblk` on are dealt with, at least 1. The caller writes the
    /// inode back.
    ///
    /// Their data must have been taken by the device before: the commit of this handle's
    /// transaction flushes it first.
    pub fn convert(&mut self, inode: &mut Inode, lblk: LogicalBlock, len: u32) -> Result<u32> {
        self.change_state(inode, |format, ctx, root, store| {
            format.convert(ctx, root, store, lblk, len)
        })
    }

    /// As [`convert`](Self::convert), ahead of the data, for blocks behind the end of the file: an
    /// orphan record must protect them (`ext4_ext_convert_to_initialized`).
    pub fn initialize(&mut self, inode: &mut Inode, lblk: LogicalBlock, len: u32) -> Result<u32> {
        self.change_state(inode, |format, ctx, root, store| {
            format.initialize(ctx, root, store, lblk, len)
        })
    }

    fn change_state<T>(
        &mut self,
        inode: &mut Inode,
        change: impl FnOnce(
            Format,
            &Context,
            &mut ext4_extent::Root,
            &mut MapStore<'_, '_>,
        ) -> Result<T>,
    ) -> Result<T> {
        self.note_mapped(inode.ino);
        let ctx = self.fs().map_context(inode);
        let mut root = inode.i_block;
        let mut store = MapStore::new(self, BlockNr(0));
        let done = change(inode.map_format(), &ctx, &mut root, &mut store)?;
        let clusters = store.clusters;
        inode.disk.i_block = root;
        self.count_map_clusters(inode, clusters)?;
        Ok(done)
    }
}

impl Filesystem {
    /// [`Handle::convert`] in a handle of its own.
    ///
    /// Splitting an extent can need a node. When there is no block for it, the rest of the extent
    /// is zeroed on the device and the whole is marked written (`ext4_split_extent_at` with
    /// `EXT4_EXT_MAY_ZEROOUT`), if it ends with the file or with what is converted.
    /// Nobody else may have data on its way to that extent: see [`convert_in_place`](Self::convert_in_place).
    pub fn convert_written(&self, ino: InodeNr, lblk: LogicalBlock, len: u32) -> Result<u32> {
        self.convert_after(ino, lblk, len, 1)
    }

    /// As [`convert_written`](Self::convert_written), for who has at most `own_dio` direct IOs in
    /// flight on the file.
    pub(crate) fn convert_after(
        &self,
        ino: InodeNr,
        lblk: LogicalBlock,
        len: u32,
        own_dio: usize,
    ) -> Result<u32> {
        match self.convert_in_place(ino, lblk, len) {
            Err(Error::NoSpace { what }) => {
                self.convert_with_zeros(ino, lblk, len, own_dio)?.ok_or(Error::NoSpace { what })
            }
            done => done,
        }
    }

    /// [`Handle::convert`] in a handle of its own, and nothing else: with no block for a node it
    /// fails, for zeros around the converted blocks would fall on what others are writing there.
    pub fn convert_in_place(&self, ino: InodeNr, lblk: LogicalBlock, len: u32) -> Result<u32> {
        self.retrying(|| {
            let (mut h, mut inode) = self.start_on(ino, |inode| self.convert_credits(inode))?;
            let done = h.convert(&mut inode, lblk, len)?;
            h.put_inode(&inode)?;
            h.stop()?;
            Ok(done)
        })
    }

    /// As [`convert_in_place`](Self::convert_in_place) for several runs in one handle: what direct
    /// writes that ended together have to convert. Returns for the first of them, as many as one
    /// handle takes and at least one, how many blocks are dealt with. After an error none is.
    pub fn convert_runs(&self, ino: InodeNr, runs: &[(LogicalBlock, u32)]) -> Result<Vec<u32>> {
        // Each run may split its leaf anew, and with it the parents.
        let each = |inode: &Inode| Ok::<_, Error>(self.convert_credits(inode)? + 4);
        let fit = |each: usize| {
            (self.journal().max_credits() / 4 / each.max(1)).clamp(1, MAX_RUNS).min(runs.len())
        };
        let credits = |inode: &Inode| each(inode).map(|each| fit(each) * each);
        let (mut h, mut inode) = self.start_on(ino, credits)?;
        let n = fit(each(&inode)?);
        let mut done = Vec::with_capacity(n);
        for &(lblk, len) in runs.iter().take(n) {
            done.push(h.convert(&mut inode, lblk, len)?);
        }
        h.put_inode(&inode)?;
        h.stop()?;
        Ok(done)
    }

    /// Converts the whole extent that holds `lblk`, zeros around what was asked for. `None` when
    /// it reaches beyond the file, or when others are writing there: zeros must not land on data
    /// that waits for its own conversion.
    fn convert_with_zeros(
        &self,
        ino: InodeNr,
        lblk: LogicalBlock,
        len: u32,
        own_dio: usize,
    ) -> Result<Option<u32>> {
        let others = self.incores().find(ino).is_some_and(|it| it.dio_in_flight() > own_dio);
        let (i_size, extent) = self.steady_map(ino, |inode| {
            let ctx = self.map_context(inode);
            let extent = if inode.has_extents() && !others {
                extent_at(&ctx, &inode.i_block, &Nodes(self.meta()), lblk)?
            } else {
                None
            };
            Ok((inode.i_size, extent))
        })?;
        let end = lblk.0.saturating_add(len);
        let last = self.geometry().block_size.blocks_for(i_size).max(end.into());
        let Some(extent) = extent.filter(|it| it.unwritten && u64::from(it.end()) <= last) else {
            return Ok(None);
        };
        let size = self.geometry().block_size;
        let parts: Vec<_> = to_zero(&extent, lblk, LogicalBlock(end)).collect();
        let bytes = |part: &Extent| part.lblk.byte(size)..LogicalBlock(part.end()).byte(size);
        if parts.iter().any(|part| self.has_dirty_pages(ino, bytes(part))) {
            return Ok(None);
        }
        for part in parts {
            self.zero_blocks(part.blocks())?;
        }
        // Crash here: still unwritten, and read as zeros anyway.
        let (mut h, mut inode) = self.start_on(ino, |inode| self.convert_credits(inode))?;
        h.change_state(&mut inode, |_, ctx, root, store| convert_whole(ctx, root, store, lblk))?;
        h.put_inode(&inode)?;
        h.stop()?;
        Ok(Some(extent.end().min(end) - lblk.0))
    }

    fn zero_blocks(&self, run: BlockRange) -> Result<()> {
        let size = self.geometry().block_size;
        let mut at = run.start.byte(size);
        let end = run.end().byte(size);
        let zeros = vec![0; usize::try_from(end - at).unwrap_or(ZEROS).min(ZEROS)];
        while at < end {
            let n = usize::try_from(end - at).unwrap_or(ZEROS).min(zeros.len());
            self.device().write_at(at, &zeros[..n])?;
            at += n as u64;
        }
        Ok(())
    }
}
