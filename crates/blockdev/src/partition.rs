//! The partitions of a disk image: GPT, and MBR with its logical partitions.

use gpt::{
    disk::LogicalBlockSize,
    header::Header,
    mbr::{PartRecord, ProtectiveMBR},
};
use std::{
    fmt,
    io::{self, Read, Seek, SeekFrom},
};

/// MBR types of a partition that holds logical ones: `is_extended_partition` of the kernel's
/// block/partitions/msdos.c.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
/// MBR type that says "the table is a GPT".
const PROTECTIVE: u8 = 0xee;
/// Most links of a chain of logical partitions that are followed; the kernel stops there too.
const MAX_LOGICAL: u32 = 100;
/// Most entries of a GPT that are read: 512 KiB of them. The usual table has 128.
const MAX_GPT_ENTRIES: u32 = 4096;

/// One partition, in bytes. Believed by nobody yet: it may pass the end of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    /// As Linux numbers them.
    pub(crate) number: u32,
    pub(crate) start: u64,
    pub(crate) len: u64,
    /// It only holds logical partitions.
    pub(crate) is_extended: bool,
}

/// The kinds of table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// GUID partition table.
    Gpt,
    /// The table of the master boot record.
    Mbr,
}

impl fmt::Display for TableKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gpt => "GPT",
            Self::Mbr => "MBR",
        })
    }
}

/// A partition table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) kind: TableKind,
    pub(crate) partitions: Vec<Partition>,
}

/// Why no table could be read.
#[derive(Debug)]
pub(crate) enum TableError {
    /// The host failed.
    Io(io::Error),
    /// There is none.
    Missing,
    /// There is one, and it is damaged.
    Damaged(String),
}

impl From<io::Error> for TableError {
    fn from(err: io::Error) -> Self {
        Self::Io(err)
    }
}

/// Reads the table of a disk of `len` bytes. `sector` is the disk's logical sector size where it
/// has one; in an image file a GPT may have been made for sectors of 512 or of 4096 bytes.
pub(crate) fn read_table<D: Read + Seek>(
    disk: &mut D,
    len: u64,
    sector: Option<u32>,
) -> Result<Table, TableError> {
    let mbr = read_mbr(disk, 0, len)?.ok_or(TableError::Missing)?;
    // As the kernel does, a GPT is believed only if the MBR announces it: what is found without
    // may be left from an earlier life of the disk.
    if records(&mbr).any(|it| it.os_type == PROTECTIVE) {
        let partitions = read_gpt(disk, len, sector)?;
        return Ok(Table { kind: TableKind::Gpt, partitions });
    }
    let sector = u64::from(sector.unwrap_or(512));
    let mut partitions = Vec::new();
    let mut logical = Vec::new();
    for (number, record) in (1..).zip(records(&mbr)).filter(|(_, it)| is_used(it)) {
        let is_extended = EXTENDED.contains(&record.os_type);
        let (start, n) = (u64::from(record.lb_start), u64::from(record.lb_size));
        partitions.push(Partition { number, start: start * sector, len: n * sector, is_extended });
        if is_extended {
            read_logical(disk, len, sector, start, &mut logical)?;
        }
    }
    for (number, (start, n)) in (5..).zip(logical) {
        let (start, len) = (start * sector, n * sector);
        partitions.push(Partition { number, start, len, is_extended: false });
    }
    Ok(Table { kind: TableKind::Mbr, partitions })
}

/// Follows the chain of extended boot records: `parse_extended` of block/partitions/msdos.c. Each
/// record holds one partition, placed relative to the record, and the place of the next record,
/// relative to the extended partition. Numbers are of sectors; sums of three 32-bit numbers fit.
fn read_logical<D: Read + Seek>(
    disk: &mut D,
    len: u64,
    sector: u64,
    extended: u64,
    found: &mut Vec<(u64, u64)>,
) -> Result<(), TableError> {
    let mut here = extended;
    for _ in 0..MAX_LOGICAL {
        // A chain that leaves the disk or ends in something else ends there, as in the kernel.
        let Some(ebr) = read_mbr(disk, here * sector, len)? else { return Ok(()) };
        let mut used = records(&ebr).take(2).filter(is_used);
        let next = used.clone().find(|it| EXTENDED.contains(&it.os_type));
        if let Some(it) = used.find(|it| !EXTENDED.contains(&it.os_type)) {
            found.push((here + u64::from(it.lb_start), u64::from(it.lb_size)));
        }
        let Some(next) = next else { return Ok(()) };
        here = extended + u64::from(next.lb_start);
    }
    let fault = format!("the chain of logical partitions has more than {MAX_LOGICAL} links");
    Err(TableError::Damaged(fault))
}

/// The boot record at byte `offset`; `None` without its signature, or past the end.
fn read_mbr<D: Read + Seek>(
    disk: &mut D,
    offset: u64,
    len: u64,
) -> Result<Option<ProtectiveMBR>, TableError> {
    if offset.checked_add(512).is_none_or(|end| end > len) {
        return Ok(None);
    }
    let mut buf = [0; 512];
    disk.seek(SeekFrom::Start(offset))?;
    disk.read_exact(&mut buf)?;
    Ok(ProtectiveMBR::from_bytes(&buf, LogicalBlockSize::Lb512).ok())
}

fn records(mbr: &ProtectiveMBR) -> impl Iterator<Item = PartRecord> + Clone + '_ {
    (0..4).filter_map(|at| mbr.partition(at))
}

fn is_used(record: &PartRecord) -> bool {
    record.os_type != 0 && record.lb_size != 0
}

fn read_gpt<D: Read + Seek>(
    disk: &mut D,
    len: u64,
    sector: Option<u32>,
) -> Result<Vec<Partition>, TableError> {
    let sizes: &[LogicalBlockSize] = match sector {
        None => &[LogicalBlockSize::Lb512, LogicalBlockSize::Lb4096],
        Some(512) => &[LogicalBlockSize::Lb512],
        Some(4096) => &[LogicalBlockSize::Lb4096],
        Some(other) => {
            let fault = format!("a GPT on sectors of {other} bytes is not supported");
            return Err(TableError::Damaged(fault));
        }
    };
    let mut first_fault = None;
    for &size in sizes {
        // The header in sector 1, and the backup in the last sector if that one is damaged.
        for header_at in [Some(0), len.checked_sub(2 * size.as_u64())].into_iter().flatten() {
            match read_gpt_at(disk, size, header_at) {
                Ok(partitions) => return Ok(partitions),
                Err(TableError::Io(err)) if err.kind() != io::ErrorKind::UnexpectedEof => {
                    return Err(TableError::Io(err));
                }
                Err(TableError::Damaged(fault)) => _ = first_fault.get_or_insert(fault),
                Err(_) => {}
            }
        }
    }
    let fault = first_fault.unwrap_or_else(|| "the MBR announces a GPT, found none".to_owned());
    Err(TableError::Damaged(fault))
}

/// The partitions by the header that stands one sector after byte `base`.
fn read_gpt_at<D: Read + Seek>(
    disk: &mut D,
    size: LogicalBlockSize,
    base: u64,
) -> Result<Vec<Partition>, TableError> {
    let damaged = |fault: String| TableError::Damaged(fault);
    let base = base / size.as_u64() * size.as_u64();
    let header = gpt::header::read_header_from_arbitrary_device(&mut Tail { disk, base }, size);
    let header: Header = match header {
        Ok(header) => header,
        Err(gpt::header::HeaderError::InvalidGptSignature) => return Err(TableError::Missing),
        Err(err) => return Err(damaged(format!("GPT header: {err}"))),
    };
    // The crate takes these as they are, so they are looked at here.
    let (n, entry) = (header.num_parts, header.part_size);
    if entry != 128 || n > MAX_GPT_ENTRIES {
        return Err(damaged(format!(
            "GPT header: found {n} entries of {entry} bytes, expected at most {MAX_GPT_ENTRIES} of 128"
        )));
    }
    let entries = gpt::partition::file_read_partitions(disk, &header, size)
        .map_err(|err| damaged(format!("GPT entries: {err}")))?;
    let mut partitions = Vec::new();
    for (number, entry) in entries.into_iter().filter(|(_, it)| it.is_used()) {
        let end = entry.last_lba.checked_add(1).and_then(|it| it.checked_mul(size.as_u64()));
        let start = entry.first_lba.checked_mul(size.as_u64());
        let (Some(start), Some(end)) = (start, end) else {
            let (first, last) = (entry.first_lba, entry.last_lba);
            let fault = format!("GPT entry {number}: sectors {first} to {last} pass any disk");
            return Err(damaged(fault));
        };
        // An entry that ends before it starts has no bytes; opening it says so.
        let len = end.saturating_sub(start);
        partitions.push(Partition { number, start, len, is_extended: false });
    }
    Ok(partitions)
}

/// A disk seen from byte `base` on: the crate looks for a header only in sector 1.
struct Tail<'a, D> {
    disk: &'a mut D,
    base: u64,
}

impl<D: Read> Read for Tail<'_, D> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.disk.read(buf)
    }
}

impl<D: Seek> Seek for Tail<'_, D> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(at) => SeekFrom::Start(self.base.saturating_add(at)),
            other => other,
        };
        Ok(self.disk.seek(to)?.saturating_sub(self.base))
    }
}
