//! Changed 512-byte sectors over a base that stays as it is: the store of [`crate::Overlay`] and
//! [`crate::SnapshotDevice`].

use crate::Result;
use std::{collections::BTreeMap, sync::Arc};

/// Bytes in the unit a medium writes whole: what is torn is torn between these.
pub const SECTOR: usize = 512;
const SECTOR_U64: u64 = SECTOR as u64;

/// The bytes of one sector, shared between the devices that hold it.
pub type Sector = Arc<[u8; SECTOR]>;

/// Sector number to content. A clone shares the contents.
#[derive(Clone, Debug, Default)]
pub(crate) struct SectorMap {
    sectors: BTreeMap<u64, Sector>,
}

impl SectorMap {
    pub(crate) fn len(&self) -> usize {
        self.sectors.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Sector)> {
        self.sectors.iter().map(|(&nr, sector)| (nr, sector))
    }

    pub(crate) fn put(&mut self, nr: u64, sector: Sector) {
        self.sectors.insert(nr, sector);
    }

    /// The byte offset of the first sector that is held and ends behind `offset`.
    pub(crate) fn first_from(&self, offset: u64) -> Option<u64> {
        let first = self.sectors.range(offset / SECTOR_U64..).next();
        first.map(|(nr, _)| nr * SECTOR_U64)
    }

    /// How many sectors a write of `len` bytes at `offset` would add.
    pub(crate) fn missing(&self, offset: u64, len: usize) -> u64 {
        let (first, end) = (offset / SECTOR_U64, (offset + len as u64).div_ceil(SECTOR_U64));
        end - first - self.sectors.range(first..end).count() as u64
    }

    /// Lays what is held over `buf`, the base's bytes from `offset` on.
    pub(crate) fn patch(&self, offset: u64, buf: &mut [u8]) {
        let end = offset + buf.len() as u64;
        for (&nr, sector) in self.sectors.range(offset / SECTOR_U64..end.div_ceil(SECTOR_U64)) {
            let at = nr * SECTOR_U64;
            let (from, to) = (at.max(offset), (at + SECTOR_U64).min(end));
            let (src, dst, n) = (index(from - at), index(from - offset), index(to - from));
            buf[dst..dst + n].copy_from_slice(&sector[src..src + n]);
        }
    }

    /// Takes `data` at `offset`. A sector met for the first time and only partly written is first
    /// filled by `read_base(byte offset, buffer)`.
    pub(crate) fn store(
        &mut self,
        offset: u64,
        data: &[u8],
        base_len: u64,
        mut read_base: impl FnMut(u64, &mut [u8]) -> Result<()>,
    ) -> Result<()> {
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let (nr, within) = (at / SECTOR_U64, index(at % SECTOR_U64));
            let n = (SECTOR - within).min(data.len() - done);
            let new = &data[done..done + n];
            if let Ok(whole) = <[u8; SECTOR]>::try_from(new) {
                self.sectors.insert(nr, Arc::new(whole));
            } else if let Some(held) = self.sectors.get_mut(&nr) {
                Arc::make_mut(held)[within..within + n].copy_from_slice(new);
            } else {
                let mut sector = [0; SECTOR];
                let start = nr * SECTOR_U64;
                let len = index((base_len - start).min(SECTOR_U64));
                read_base(start, &mut sector[..len])?;
                sector[within..within + n].copy_from_slice(new);
                self.sectors.insert(nr, Arc::new(sector));
            }
            done += n;
        }
        Ok(())
    }

    /// Runs of neighbouring sectors as (byte offset, bytes), in order, none longer than `max` bytes
    /// and none past `device_len`.
    pub(crate) fn for_each_run(
        &self,
        max: usize,
        device_len: u64,
        mut each: impl FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut start = 0;
        let mut run: Vec<u8> = Vec::new();
        for (&nr, sector) in &self.sectors {
            let at = nr * SECTOR_U64;
            if !run.is_empty() && (at != start + run.len() as u64 || run.len() + SECTOR > max) {
                each(start, &run)?;
                run.clear();
            }
            if run.is_empty() {
                start = at;
            }
            // The last sector of a device may be short.
            let len = index(device_len.saturating_sub(at).min(SECTOR_U64));
            run.extend_from_slice(&sector[..len]);
        }
        if run.is_empty() { Ok(()) } else { each(start, &run) }
    }
}

/// A distance inside a buffer or sector as an index.
pub(crate) fn index(distance: u64) -> usize {
    usize::try_from(distance).expect("a distance inside a buffer in memory")
}
