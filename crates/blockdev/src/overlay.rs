//! A device whose writes stay in memory: dry runs, and reading a dirty image as it would be after
//! replay.

use crate::{BlockDevice, Limits, Result, error::check_range};
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

const SECTOR: usize = 512;

/// Reads fall through to the base device except where something was written; the base is never
/// written.
#[derive(Debug)]
pub struct Overlay {
    base: Arc<dyn BlockDevice>,
    sectors: RwLock<BTreeMap<u64, Box<[u8; SECTOR]>>>,
}

impl Overlay {
    /// An overlay that so far equals `base`.
    pub fn new(base: Arc<dyn BlockDevice>) -> Self {
        Self { base, sectors: RwLock::new(BTreeMap::new()) }
    }

    /// The byte offsets of the 512-byte sectors that were written, in order.
    pub fn written_sectors(&self) -> Vec<u64> {
        let sectors = self.sectors.read().unwrap_or_else(PoisonError::into_inner);
        sectors.keys().map(|nr| nr * SECTOR as u64).collect()
    }
}

impl BlockDevice for Overlay {
    fn len(&self) -> u64 {
        self.base.len()
    }

    fn limits(&self) -> Limits {
        self.base.limits()
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(offset, buf.len(), self.len())?;
        self.base.read_at(offset, buf)?;
        let sectors = self.sectors.read().unwrap_or_else(PoisonError::into_inner);
        let end = offset + buf.len() as u64;
        for (&nr, sector) in sectors.range(offset / SECTOR as u64..end.div_ceil(SECTOR as u64)) {
            let at = nr * SECTOR as u64;
            let (from, to) = (at.max(offset), (at + SECTOR as u64).min(end));
            let (src, dst) = ((from - at) as usize, (from - offset) as usize);
            let n = (to - from) as usize;
            buf[dst..dst + n].copy_from_slice(&sector[src..src + n]);
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        check_range(offset, buf.len(), self.len())?;
        let mut sectors = self.sectors.write().unwrap_or_else(PoisonError::into_inner);
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let (nr, within) = (at / SECTOR as u64, (at % SECTOR as u64) as usize);
            let n = (SECTOR - within).min(buf.len() - done);
            let sector = match sectors.entry(nr) {
                std::collections::btree_map::Entry::Occupied(it) => it.into_mut(),
                std::collections::btree_map::Entry::Vacant(it) => {
                    let mut old = Box::new([0; SECTOR]);
                    if n < SECTOR {
                        let start = nr * SECTOR as u64;
                        let len = (self.base.len() - start).min(SECTOR as u64) as usize;
                        self.base.read_at(start, &mut old[..len])?;
                    }
                    it.insert(old)
                }
            };
            sector[within..within + n].copy_from_slice(&buf[done..done + n]);
            done += n;
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn discard(&self, _offset: u64, _len: u64) -> Result<()> {
        Ok(())
    }
}
