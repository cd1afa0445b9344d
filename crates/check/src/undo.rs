//! The file that takes a repair back: what stood where something was written, and what was written.
//!
//! Little endian. A header of [`MAGIC`], the device's length and the number of records; records of
//! offset (8 bytes), length (4), the old bytes, and for each of their sectors how often it is written
//! (2) and the crc32c (4) of each version; at the end the crc32c of all that is before it (4).

use crate::changes::SECTOR;
use ext4_blockdev::{BlockDevice, Limits, Overlay};
use ext4_ondisk::checksum::Csum;
use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    sync::{Arc, Mutex, PoisonError},
};

/// How a file begins.
const MAGIC: &[u8; 16] = b"ext4-fsck undo 2";
/// Most sectors of one record.
const MOST: usize = 2048;

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

/// A device on which a repair is rehearsed: nothing of it is written, but it is noted what each sector
/// will be, at every step of the way. Writes that follow from nothing but what is on the device come
/// out the same again.
#[derive(Debug)]
pub struct Rehearsal {
    device: Arc<dyn BlockDevice>,
    written: Overlay,
    /// By number of the sector: the checksums of what was written, in order.
    versions: Mutex<BTreeMap<u64, Vec<u32>>>,
}

impl Rehearsal {
    /// Begins with `device` as it is.
    pub fn new(device: Arc<dyn BlockDevice>) -> Self {
        let written = Overlay::new(Arc::clone(&device));
        Self { device, written, versions: Mutex::default() }
    }

    /// Writes the file that takes back what was rehearsed. The caller makes it durable before anything
    /// is changed.
    ///
    /// # Errors
    /// [`UndoError::File`] and [`UndoError::Device`].
    pub fn save(&self, file: &mut dyn Write) -> Result<(), UndoError> {
        let versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut runs: Vec<(u64, Vec<&[u32]>)> = Vec::new();
        for (&nr, of_sector) in &*versions {
            match runs.last_mut() {
                Some((at, run)) if *at + run.len() as u64 == nr && run.len() < MOST => {
                    run.push(of_sector);
                }
                _ => runs.push((nr, vec![of_sector])),
            }
        }
        let mut file = Summed { inner: file, csum: Csum(!0) };
        file.put(MAGIC)?;
        file.put(&self.device.len().to_le_bytes())?;
        file.put(&(runs.len() as u64).to_le_bytes())?;
        for (nr, run) in runs {
            let offset = nr * SECTOR;
            let len = (run.len() as u64 * SECTOR).min(self.device.len() - offset);
            let mut old = vec![0; usize::try_from(len).unwrap_or(0)];
            self.device.read_at(offset, &mut old)?;
            file.put(&offset.to_le_bytes())?;
            file.put(&u32::try_from(len).unwrap_or(0).to_le_bytes())?;
            file.put(&old)?;
            for versions in run {
                let n = u16::try_from(versions.len())
                    .map_err(|_more| io::Error::other("a sector is written too often"))?;
                file.put(&n.to_le_bytes())?;
                for csum in versions {
                    file.put(&csum.to_le_bytes())?;
                }
            }
        }
        let csum = file.csum.0;
        file.put(&csum.to_le_bytes())?;
        Ok(())
    }
}

impl BlockDevice for Rehearsal {
    fn len(&self) -> u64 {
        self.written.len()
    }

    fn limits(&self) -> Limits {
        self.written.limits()
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> ext4_blockdev::Result<()> {
        self.written.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> ext4_blockdev::Result<()> {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        self.written.write_at(offset, buf)?;
        for nr in offset / SECTOR..(offset + buf.len() as u64).div_ceil(SECTOR) {
            let len = SECTOR.min(self.len() - nr * SECTOR);
            let mut sector = vec![0; usize::try_from(len).unwrap_or(0)];
            self.written.read_at(nr * SECTOR, &mut sector)?;
            let (csum, versions) = (checksum(&sector), versions.entry(nr).or_default());
            if !versions.contains(&csum) {
                versions.push(csum);
            }
        }
        Ok(())
    }

    fn flush(&self) -> ext4_blockdev::Result<()> {
        Ok(())
    }

    fn discard(&self, _offset: u64, _len: u64) -> ext4_blockdev::Result<()> {
        Ok(())
    }
}

fn checksum(sector: &[u8]) -> u32 {
    Csum(!0).over(sector).0
}

/// What a record of the file says.
struct Record {
    offset: u64,
    old: Vec<u8>,
    /// Of each sector of `old`.
    versions: Vec<Vec<u32>>,
}

impl Record {
    /// Whether these bytes are, sector by sector, what was there or what a repair made of it.
    fn allows(&self, bytes: &[u8]) -> bool {
        let size = usize::try_from(SECTOR).unwrap_or(512);
        let sectors = bytes.chunks(size).zip(self.old.chunks(size)).zip(&self.versions);
        sectors
            .into_iter()
            .all(|((found, old), versions)| found == old || versions.contains(&checksum(found)))
    }
}

/// Takes a repair back: everything is as it was before. Each sector must be as it was or as the repair
/// made it, which is looked at before the first is written; so that a repair that was cut, and a
/// taking back that was cut, can both be taken back.
///
/// # Errors
/// [`UndoError`].
pub fn restore(file: &mut dyn Read, device: &dyn BlockDevice) -> Result<u64, UndoError> {
    let records = read(&mut SummedRead { inner: file, csum: Csum(!0) }, device.len())?;
    for record in &records {
        let mut bytes = vec![0; record.old.len()];
        device.read_at(record.offset, &mut bytes)?;
        if !record.allows(&bytes) {
            let why = format!("the bytes at {} were changed since", record.offset);
            return Err(UndoError::Other(why));
        }
    }
    let mut written = 0;
    for record in &records {
        device.write_at(record.offset, &record.old)?;
        written += record.old.len() as u64;
    }
    device.flush()?;
    Ok(written)
}

/// Reads the whole file, for a device of `len` bytes.
fn read(file: &mut SummedRead<'_>, len: u64) -> Result<Vec<Record>, UndoError> {
    let damaged = |why: &str| UndoError::Damaged(why.to_owned());
    if file.get::<16>()? != *MAGIC {
        return Err(damaged("it does not begin as one"));
    }
    let expected = u64::from_le_bytes(file.get()?);
    if len != expected {
        let why = format!("found {len} bytes, expected {expected}");
        return Err(UndoError::Other(why));
    }
    let mut records = Vec::new();
    for _ in 0..u64::from_le_bytes(file.get()?) {
        let offset = u64::from_le_bytes(file.get()?);
        let size = u32::from_le_bytes(file.get()?);
        let is_inside = offset.checked_add(size.into()).is_some_and(|end| end <= len);
        if u64::from(size) > MOST as u64 * SECTOR || !is_inside {
            return Err(damaged("a record lies outside of the device"));
        }
        let mut old = vec![0; size as usize];
        file.fill(&mut old)?;
        let mut versions = Vec::new();
        for _ in 0..u64::from(size).div_ceil(SECTOR) {
            let n = u16::from_le_bytes(file.get()?);
            let csums = (0..n).map(|_| Ok(u32::from_le_bytes(file.get()?)));
            versions.push(csums.collect::<Result<_, UndoError>>()?);
        }
        records.push(Record { offset, old, versions });
    }
    let expected = file.csum.0;
    if u32::from_le_bytes(file.get()?) != expected {
        return Err(damaged("its checksum is wrong"));
    }
    Ok(records)
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
    use ext4_blockdev::MemoryDevice;

    type Writes = &'static [(u64, usize, u8)];

    /// A device with these writes made, the file that takes them back, and what it was.
    fn repaired(writes: Writes) -> (Arc<MemoryDevice>, Vec<u8>, Vec<u8>) {
        let old: Vec<u8> = (0..16_000_u32).map(|it| (it % 251) as u8).collect();
        let device = Arc::new(MemoryDevice::new(old.clone()));
        let rehearsal = Rehearsal::new(Arc::clone(&device) as _);
        carry_out(&rehearsal, writes);
        assert_eq!(contents(&*device), old);
        let mut file = Vec::new();
        rehearsal.save(&mut file).unwrap();
        carry_out(&*device, writes);
        (device, file, old)
    }

    fn carry_out(device: &dyn BlockDevice, writes: Writes) {
        for &(at, len, byte) in writes {
            device.write_at(at, &vec![byte; len]).unwrap();
        }
    }

    fn contents(device: &dyn BlockDevice) -> Vec<u8> {
        let mut all = vec![0; usize::try_from(device.len()).unwrap()];
        device.read_at(0, &mut all).unwrap();
        all
    }

    #[test]
    fn what_was_written_is_taken_back_to_the_last_byte() {
        let (device, file, old) =
            repaired(&[(600, 3000, 0xAA), (9000, 1, b'x'), (700, 40, 1), (15_990, 10, 2)]);
        assert_ne!(contents(&*device), old);
        restore(&mut file.as_slice(), &*device).unwrap();
        assert_eq!(contents(&*device), old);
    }

    #[test]
    fn every_step_of_a_repair_is_taken_back_whichever_sectors_it_reached() {
        let (device, file, old) = repaired(&[(512, 1024, 1), (1024, 1024, 2)]);
        let new = contents(&*device);
        for mask in 0..8 {
            device.write_at(0, &old).unwrap();
            for sector in (0..3).filter(|it| mask >> it & 1 == 1) {
                let at = 512 + sector * 512;
                device.write_at(at as u64, &new[at..at + 512]).unwrap();
            }
            restore(&mut file.as_slice(), &*device).unwrap();
            assert_eq!(contents(&*device), old, "sectors {mask:b}");
        }
        device.write_at(1024, &[1; 512]).unwrap();
        restore(&mut file.as_slice(), &*device).unwrap();
        assert_eq!(contents(&*device), old);
    }

    #[test]
    fn a_file_that_is_not_whole_changes_nothing() {
        let (device, mut file, _) = repaired(&[(5000, 900, 0xAA)]);
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
        let (device, file, _) = repaired(&[(4096, 1024, 0xAA)]);
        device.write_at(4608, &[0x55; 512]).unwrap();
        let err = restore(&mut file.as_slice(), &*device).unwrap_err();
        assert!(err.to_string().contains("the bytes at 4096 were changed since"), "{err}");
    }
}
