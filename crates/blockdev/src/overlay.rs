//! A device whose writes stay in memory: dry runs, and reading a dirty image as it would be after
//! replay.

use crate::{
    BlockDevice, Error, Limits, Result,
    error::check_range,
    sectors::{SECTOR, SectorMap},
};
use std::{
    io,
    sync::{Arc, PoisonError, RwLock},
};

/// Most bytes [`Overlay::apply_to`] writes at once.
const APPLY_BYTES: usize = 1 << 20;

/// Reads fall through to the base device except where something was written; the base is never
/// written.
///
/// Each sector written costs its 512 bytes and about 50 more until the overlay is dropped, however
/// often it is written; [`with_limit`](Self::with_limit) bounds that.
#[derive(Debug)]
pub struct Overlay {
    base: Arc<dyn BlockDevice>,
    sectors: RwLock<SectorMap>,
    max_sectors: u64,
}

impl Overlay {
    /// An overlay that so far equals `base`.
    pub fn new(base: Arc<dyn BlockDevice>) -> Self {
        Self::with_limit(base, u64::MAX)
    }

    /// An overlay that holds at most `bytes` of changed sectors; a write past that fails with
    /// [`io::ErrorKind::OutOfMemory`] and changes nothing.
    pub fn with_limit(base: Arc<dyn BlockDevice>, bytes: u64) -> Self {
        let max_sectors = bytes / SECTOR as u64;
        Self { base, sectors: RwLock::default(), max_sectors }
    }

    /// A second overlay that equals this one now and then goes its own way. Costs a map entry for
    /// each changed sector; the contents are shared.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            base: Arc::clone(&self.base),
            sectors: RwLock::new(self.read_sectors().clone()),
            max_sectors: self.max_sectors,
        }
    }

    /// The byte offsets of the 512-byte sectors that were written, in order.
    pub fn written_sectors(&self) -> Vec<u64> {
        self.read_sectors().iter().map(|(nr, _)| nr * SECTOR as u64).collect()
    }

    /// Bytes of changed sectors held in memory.
    pub fn held_bytes(&self) -> u64 {
        self.read_sectors().len() as u64 * SECTOR as u64
    }

    /// Writes every changed sector to `device` in ascending order, neighbours together, and returns
    /// how many bytes that was. Not atomic and not durable: the caller flushes.
    ///
    /// # Errors
    /// The first write that `device` refuses; nothing after it is tried.
    pub fn apply_to(&self, device: &dyn BlockDevice) -> Result<u64> {
        let mut bytes = 0;
        self.read_sectors().for_each_run(APPLY_BYTES, self.len(), |offset, run| {
            device.write_at(offset, run)?;
            bytes += run.len() as u64;
            Ok(())
        })?;
        Ok(bytes)
    }

    fn read_sectors(&self) -> std::sync::RwLockReadGuard<'_, SectorMap> {
        self.sectors.read().unwrap_or_else(PoisonError::into_inner)
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
        // Held over the base's read too, so that no reader sees half of a write.
        let sectors = self.read_sectors();
        self.base.read_at(offset, buf)?;
        sectors.patch(offset, buf);
        Ok(())
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let len = self.len();
        check_range(offset, buf.len(), len)?;
        let mut sectors = self.sectors.write().unwrap_or_else(PoisonError::into_inner);
        if sectors.len() as u64 + sectors.missing(offset, buf.len()) > self.max_sectors {
            let limit = self.max_sectors * SECTOR as u64;
            let why = format!("the changes kept in memory would pass their limit, {limit} bytes");
            let source = io::Error::new(io::ErrorKind::OutOfMemory, why);
            return Err(Error::Write { offset, len: buf.len() as u64, source });
        }
        sectors.store(offset, buf, len, |at, old| self.base.read_at(at, old))
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn discard(&self, _offset: u64, _len: u64) -> Result<()> {
        Ok(())
    }

    fn prefetch(&self, offset: u64, len: u64) {
        self.base.prefetch(offset, len);
    }

    fn next_data(&self, from: u64, to: u64) -> u64 {
        let held = self.read_sectors().first_from(from).unwrap_or(to).min(to);
        held.min(self.base.next_data(from, to)).max(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDevice;

    fn device(bytes: Vec<u8>) -> Arc<MemoryDevice> {
        Arc::new(MemoryDevice::new(bytes))
    }

    fn contents(device: &dyn BlockDevice) -> Vec<u8> {
        let mut all = vec![0; usize::try_from(device.len()).unwrap()];
        device.read_at(0, &mut all).unwrap();
        all
    }

    #[test]
    fn writes_of_any_shape_stay_above_the_base() {
        let base = device(vec![7; 2100]); // the last sector is short
        let overlay = Overlay::new(base.clone());
        let mut model = vec![7; 2100];
        for (n, (at, len)) in
            [(0, 1), (500, 30), (511, 514), (1024, 512), (2090, 10), (3, 0)].into_iter().enumerate()
        {
            let data = vec![u8::try_from(n).unwrap() + 100; len];
            overlay.write_at(at as u64, &data).unwrap();
            model[at..at + len].copy_from_slice(&data);
        }
        assert_eq!(contents(&overlay), model);
        assert_eq!(contents(base.as_ref()), vec![7; 2100]);
        assert_eq!(overlay.written_sectors(), [0, 512, 1024, 2048]);

        let target = device(vec![7; 2100]);
        assert_eq!(overlay.apply_to(target.as_ref()).unwrap(), 512 * 3 + 52);
        assert_eq!(contents(target.as_ref()), model);
    }

    #[test]
    fn a_fork_goes_its_own_way() {
        let first = Overlay::new(device(vec![0; 4096]));
        first.write_at(0, b"both").unwrap();
        let second = first.fork();
        second.write_at(0, b"fork").unwrap();
        first.write_at(1024, b"mine").unwrap();
        assert_eq!(&contents(&first)[..4], b"both");
        assert_eq!(&contents(&second)[..4], b"fork");
        assert_eq!(second.written_sectors(), [0]);
    }

    #[test]
    fn a_write_past_the_memory_limit_is_refused_whole() {
        let overlay = Overlay::with_limit(device(vec![0; 8192]), 1024);
        overlay.write_at(0, &[1; 1024]).unwrap();
        overlay.write_at(100, &[2; 500]).unwrap();
        let err = overlay.write_at(1000, &[3; 100]).unwrap_err();
        assert!(err.to_string().contains("pass their limit, 1024 bytes"), "{err}");
        assert_eq!(contents(&overlay)[1000], 1);
        assert_eq!(overlay.held_bytes(), 1024);
    }

    #[test]
    fn a_write_past_the_end_is_refused() {
        let overlay = Overlay::new(device(vec![0; 1000]));
        assert!(matches!(overlay.write_at(999, &[0; 2]), Err(Error::OutOfRange { .. })));
        assert!(matches!(overlay.write_at(u64::MAX, &[0; 2]), Err(Error::OutOfRange { .. })));
        assert!(overlay.written_sectors().is_empty());
    }
}
