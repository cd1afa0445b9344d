//! One image and many states of it, each as cheap as its differences: what a crash explorer makes
//! by the thousand.

use crate::{
    BlockDevice, Limits, Result,
    error::check_range,
    sectors::{SECTOR, Sector, SectorMap, index},
};
use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

/// A writable device over an image that all its siblings share. Making one costs what differs from
/// the image, never the image's size.
#[derive(Clone)]
pub struct SharedImage {
    bytes: Arc<[u8]>,
}

impl SharedImage {
    /// Takes the image; the only copy that is ever made.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self { bytes: bytes.into() }
    }

    /// The image.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A device that so far equals the image.
    pub fn snapshot(&self) -> SnapshotDevice {
        SnapshotDevice { image: self.clone(), sectors: RwLock::default() }
    }
}

/// A state of a [`SharedImage`]: the image and the sectors in which it differs.
pub struct SnapshotDevice {
    image: SharedImage,
    sectors: RwLock<SectorMap>,
}

impl SnapshotDevice {
    /// Sets one sector (number in units of 512 bytes) without a copy.
    pub fn put_sector(&mut self, nr: u64, content: Sector) -> Result<()> {
        let at = nr.saturating_mul(SECTOR as u64);
        let len = self.len().saturating_sub(at).clamp(1, SECTOR as u64);
        check_range(at, index(len), self.len())?;
        self.sectors.get_mut().unwrap_or_else(PoisonError::into_inner).put(nr, content);
        Ok(())
    }

    /// The sectors that were set, as (number, content) in order; equal to the image or not.
    pub fn changed_sectors(&self) -> Vec<(u64, Sector)> {
        let sectors = self.sectors.read().unwrap_or_else(PoisonError::into_inner);
        sectors.iter().map(|(nr, content)| (nr, Arc::clone(content))).collect()
    }

    /// A second state that equals this one now and then goes its own way.
    #[must_use]
    pub fn fork(&self) -> Self {
        let sectors = self.sectors.read().unwrap_or_else(PoisonError::into_inner).clone();
        Self { image: self.image.clone(), sectors: RwLock::new(sectors) }
    }

    /// All bytes of this state.
    pub fn contents(&self) -> Vec<u8> {
        let mut all = self.image.bytes.to_vec();
        self.sectors.read().unwrap_or_else(PoisonError::into_inner).patch(0, &mut all);
        all
    }
}

impl BlockDevice for SnapshotDevice {
    fn len(&self) -> u64 {
        self.image.bytes.len() as u64
    }

    fn limits(&self) -> Limits {
        Limits { sector: 512, memory: 1 }
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(offset, buf.len(), self.len())?;
        let start = index(offset);
        buf.copy_from_slice(&self.image.bytes[start..start + buf.len()]);
        self.sectors.read().unwrap_or_else(PoisonError::into_inner).patch(offset, buf);
        Ok(())
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        check_range(offset, buf.len(), self.len())?;
        let mut sectors = self.sectors.write().unwrap_or_else(PoisonError::into_inner);
        sectors.store(offset, buf, self.len(), |at, old| {
            let start = index(at);
            old.copy_from_slice(&self.image.bytes[start..start + old.len()]);
            Ok(())
        })
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn discard(&self, _offset: u64, _len: u64) -> Result<()> {
        Ok(())
    }
}

impl fmt::Debug for SharedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedImage({} bytes)", self.bytes.len())
    }
}

impl fmt::Debug for SnapshotDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.sectors.read().unwrap_or_else(PoisonError::into_inner).len();
        write!(f, "SnapshotDevice({:?}, {n} sectors changed)", self.image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn siblings_do_not_see_each_other() {
        let image = SharedImage::new(vec![9; 1536]);
        let (mut one, two) = (image.snapshot(), image.snapshot());
        one.put_sector(1, Arc::new([1; SECTOR])).unwrap();
        two.write_at(510, &[2; 4]).unwrap();
        let three = one.fork();
        three.write_at(512, &[3]).unwrap();

        assert_eq!(image.bytes(), vec![9; 1536]);
        assert_eq!(one.contents(), [[9; 512], [1; 512], [9; 512]].concat());
        assert_eq!(two.contents()[508..516], [9, 9, 2, 2, 2, 2, 9, 9]);
        assert_eq!(three.contents()[511..514], [9, 3, 1]);
        assert_eq!(two.changed_sectors().iter().map(|it| it.0).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn a_sector_past_the_end_is_refused() {
        let mut device = SharedImage::new(vec![0; 1000]).snapshot();
        device.put_sector(1, Arc::new([5; SECTOR])).unwrap();
        assert!(matches!(
            device.put_sector(2, Arc::new([5; SECTOR])),
            Err(Error::OutOfRange { .. })
        ));
        assert!(device.put_sector(u64::MAX, Arc::new([5; SECTOR])).is_err());
        assert_eq!(device.contents()[999], 5);
    }
}
