//! The file that takes a repair back: what stood where something was written, and what was written.
//!
//! Little endian. A header of [`MAGIC`], the device's length and the number of records; records of
//! offset (8 bytes), length (4), crc32c of the new bytes (4) and the old bytes; at the end the crc32c of
//! all that is before it (4).

use crate::Changes;
use ext4_blockdev::BlockDevice;
use ext4_ondisk::checksum::Csum;
use std::io::{self, Read, Write};

/// How a file begins.
const MAGIC: &[u8; 16] = b"ext4-fsck undo 1";
/// Most bytes of one record.
const MOST: u32 = 1 << 20;

/// What is wrong with a file, or with the device it is for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UndoError {
    /// Reading or writing failed.
    #[error("{0}")]
    File(#[from] io::Error),
    /// The device failed.
    #[error("{0}")]
    Device(#[from] ext4_blockdev::Error),
    /// Not such a file, or not a whole one. Nothing was written.
    #[error("not a whole undo file: {0}")]
    Damaged(String),
    /// The device is another, or was changed since. Nothing was written.
    #[error("not the device that the undo file is for: {0}")]
    Other(String),
}

/// Writes the file for `changes`, which `device` does not have yet. The caller makes it durable
/// before anything is changed.
///
/// # Errors
/// [`UndoError::File`] and [`UndoError::Device`].
pub fn save(
    changes: &Changes<'_>,
    device: &dyn BlockDevice,
    file: &mut dyn Write,
) -> Result<(), UndoError> {
    let mut file = Summed { inner: file, csum: Csum(!0) };
    let runs = changes.runs();
    file.put(MAGIC)?;
    file.put(&device.len().to_le_bytes())?;
    file.put(&(runs.len() as u64).to_le_bytes())?;
    for run in runs {
        let new = changes.read(&run).map_err(|it| io::Error::other(it.to_string()))?;
        let mut old = vec![0; new.len()];
        device.read_at(run.start, &mut old)?;
        file.put(&run.start.to_le_bytes())?;
        file.put(&u32::try_from(new.len()).unwrap_or(0).to_le_bytes())?;
        file.put(&Csum(!0).over(&new).0.to_le_bytes())?;
        file.put(&old)?;
    }
    let csum = file.csum.0;
    file.put(&csum.to_le_bytes())?;
    Ok(())
}

/// Takes a repair back: everything is as it was before. Each piece must be as it was or as the repair
/// made it, which is looked at before the first is written; so that a repair that was cut, and a
/// taking back that was cut, can both be taken back.
///
/// # Errors
/// [`UndoError`].
pub fn restore(file: &mut dyn Read, device: &dyn BlockDevice) -> Result<u64, UndoError> {
    let mut file = SummedRead { inner: file, csum: Csum(!0) };
    let damaged = |why: &str| UndoError::Damaged(why.to_owned());
    if file.get::<16>()? != *MAGIC {
        return Err(damaged("it does not begin as one"));
    }
    let len = u64::from_le_bytes(file.get()?);
    if len != device.len() {
        let why = format!("found {} bytes, expected {len}", device.len());
        return Err(UndoError::Other(why));
    }
    let n = u64::from_le_bytes(file.get()?);
    let mut records = Vec::new();
    for _ in 0..n {
        let offset = u64::from_le_bytes(file.get()?);
        let size = u32::from_le_bytes(file.get()?);
        let new = u32::from_le_bytes(file.get()?);
        let is_inside = offset.checked_add(size.into()).is_some_and(|end| end <= len);
        if size > MOST || !is_inside {
            return Err(damaged("a record lies outside of the device"));
        }
        let mut old = vec![0; size as usize];
        file.fill(&mut old)?;
        records.push((offset, new, old));
    }
    let expected = file.csum.0;
    if u32::from_le_bytes(file.get()?) != expected {
        return Err(damaged("its checksum is wrong"));
    }
    for (offset, new, old) in &records {
        let mut bytes = vec![0; old.len()];
        device.read_at(*offset, &mut bytes)?;
        // A cut may have left pieces of both.
        let is_known = bytes == *old || Csum(!0).over(&bytes).0 == *new;
        if !is_known && !may_be_torn(&bytes, old) {
            return Err(UndoError::Other(format!("the bytes at {offset} were changed since")));
        }
    }
    let mut written = 0;
    for (offset, _, old) in &records {
        device.write_at(*offset, old)?;
        written += old.len() as u64;
    }
    device.flush()?;
    Ok(written)
}

/// Whether at least one sector is as it was: a run that was cut while it was written.
fn may_be_torn(bytes: &[u8], old: &[u8]) -> bool {
    let sector = usize::try_from(crate::changes::SECTOR).unwrap_or(512);
    bytes.chunks(sector).zip(old.chunks(sector)).any(|(a, b)| a == b)
}

struct Summed<'a> {
    inner: &'a mut dyn Write,
    csum: Csum,
}

impl Summed<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.csum = self.csum.over(bytes);
        self.inner.write_all(bytes)
    }
}

struct SummedRead<'a> {
    inner: &'a mut dyn Read,
    csum: Csum,
}

impl SummedRead<'_> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), UndoError> {
        self.inner.read_exact(bytes).map_err(|err| match err.kind() {
            io::ErrorKind::UnexpectedEof => UndoError::Damaged("it ends too soon".to_owned()),
            _ => UndoError::File(err),
        })?;
        self.csum = self.csum.over(bytes);
        Ok(())
    }

    fn get<const N: usize>(&mut self) -> Result<[u8; N], UndoError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Outcome;
    use ext4_blockdev::{MemoryDevice, Overlay};
    use std::sync::Arc;

    fn image() -> (Arc<MemoryDevice>, Vec<u8>) {
        let bytes: Vec<u8> = (0..16384_u32).map(|it| (it % 251) as u8).collect();
        (Arc::new(MemoryDevice::new(bytes.clone())), bytes)
    }

    fn contents(device: &dyn BlockDevice) -> Vec<u8> {
        let mut all = vec![0; usize::try_from(device.len()).unwrap()];
        device.read_at(0, &mut all).unwrap();
        all
    }

    #[test]
    fn what_was_written_is_taken_back_to_the_last_byte() {
        let (device, old) = image();
        let overlay = Overlay::new(Arc::clone(&device) as _);
        overlay.write_at(600, &[0xAA; 3000]).unwrap();
        overlay.write_at(9000, b"x").unwrap();
        let changes = Changes::new(&overlay, &*device, &Outcome::default()).unwrap();
        let mut file = Vec::new();
        save(&changes, &*device, &mut file).unwrap();
        changes.write(&*device).unwrap();
        assert_eq!(contents(&*device), contents(&overlay));
        restore(&mut file.as_slice(), &*device).unwrap();
        assert_eq!(contents(&*device), old);
    }

    #[test]
    fn a_file_that_is_not_whole_changes_nothing() {
        let (device, _) = image();
        let overlay = Overlay::new(Arc::clone(&device) as _);
        overlay.write_at(5000, &[0xAA; 900]).unwrap();
        let changes = Changes::new(&overlay, &*device, &Outcome::default()).unwrap();
        let mut file = Vec::new();
        save(&changes, &*device, &mut file).unwrap();
        changes.write(&*device).unwrap();
        let new = contents(&*device);
        for len in 0..file.len() {
            assert!(restore(&mut &file[..len], &*device).is_err(), "{len} bytes of it");
        }
        let at = file.len() / 2;
        file[at] ^= 1;
        assert!(restore(&mut file.as_slice(), &*device).is_err());
        assert_eq!(contents(&*device), new);
    }

    #[test]
    fn a_device_that_was_written_to_since_is_left_alone() {
        let (device, _) = image();
        let overlay = Overlay::new(Arc::clone(&device) as _);
        overlay.write_at(4096, &[0xAA; 512]).unwrap();
        let changes = Changes::new(&overlay, &*device, &Outcome::default()).unwrap();
        let mut file = Vec::new();
        save(&changes, &*device, &mut file).unwrap();
        changes.write(&*device).unwrap();
        device.write_at(4096, &[0x55; 512]).unwrap();
        let err = restore(&mut file.as_slice(), &*device).unwrap_err();
        assert!(err.to_string().contains("the bytes at 4096 were changed since"), "{err}");
    }
}
