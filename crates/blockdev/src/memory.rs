//! A device in memory.

use crate::{BlockDevice, Limits, Result, error::check_range};
use std::{
    fmt,
    sync::{PoisonError, RwLock},
};

/// A device whose bytes are a vector. Durable at once.
pub struct MemoryDevice {
    bytes: RwLock<Vec<u8>>,
}

impl MemoryDevice {
    /// A device with these bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: RwLock::new(bytes) }
    }

    /// A copy of all its bytes.
    pub fn contents(&self) -> Vec<u8> {
        self.bytes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl BlockDevice for MemoryDevice {
    fn len(&self) -> u64 {
        self.bytes.read().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    fn limits(&self) -> Limits {
        Limits { sector: 512, memory: 1 }
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let bytes = self.bytes.read().unwrap_or_else(PoisonError::into_inner);
        check_range(offset, buf.len(), bytes.len() as u64)?;
        let start = usize::try_from(offset).expect("inside a vector");
        buf.copy_from_slice(&bytes[start..start + buf.len()]);
        Ok(())
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let mut bytes = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        check_range(offset, buf.len(), bytes.len() as u64)?;
        let start = usize::try_from(offset).expect("inside a vector");
        bytes[start..start + buf.len()].copy_from_slice(buf);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn discard(&self, _offset: u64, _len: u64) -> Result<()> {
        Ok(())
    }

    fn punch(&self, offset: u64, len: u64) -> Result<bool> {
        let mut bytes = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        let n = usize::try_from(len).unwrap_or(usize::MAX);
        check_range(offset, n, bytes.len() as u64)?;
        let start = usize::try_from(offset).expect("inside a vector");
        bytes[start..start + n].fill(0);
        Ok(true)
    }
}

impl fmt::Debug for MemoryDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryDevice({} bytes)", self.len())
    }
}
