//! The fast commits: which of them are complete, and what they say.

use super::{Scan, reader::LogReader};
use crate::{Log, Result};
use ext4_blockdev::BlockDevice;
use ext4_ondisk::{
    Corrupt,
    checksum::Csum,
    fast_commit::{Op, TLV_HEADER_LEN, Tlv, TlvKind, first_tlv},
    jbd2::Class,
};
use ext4_units::{BlockSize, Tid};
use std::ops::Range;

/// Where the fast commits end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FastCommitEnd {
    /// The log has no area for them, or is empty.
    NoArea,
    /// The area does not begin with a head: there are none.
    NoHead,
    /// A head of another transaction: leftovers from before the last full commit.
    StaleHead(Tid),
    /// A tail of another transaction, or with a wrong checksum: the one after the last complete one
    /// was cut off, or is a leftover.
    BadTail,
    /// No record, or one that makes no sense.
    BadRecord,
    /// The area is full.
    Full,
    /// Damage: see the findings.
    Damaged,
}

/// The fast commits on top of a log's last transaction. Holds where they are, not what they say:
/// [`ops`](Self::ops) reads that.
#[derive(Clone, Debug)]
pub struct FastCommits {
    /// How many are complete.
    pub commits: u32,
    /// Records in them, heads, tails and padding included.
    pub records: u64,
    /// Where they end.
    pub end: FastCommitEnd,
    area: Range<u32>,
    inode_size: u16,
}

impl FastCommits {
    /// No fast commits.
    pub(super) const fn none(inode_size: u16) -> Self {
        Self { commits: 0, records: 0, end: FastCommitEnd::NoArea, area: 0..0, inode_size }
    }

    /// The operations of all complete fast commits, in order, to be done after the transactions are
    /// home and before the log is reset.
    pub fn ops<'a>(
        &self,
        device: &'a dyn BlockDevice,
        log: &'a Log,
        block_size: BlockSize,
    ) -> Ops<'a> {
        let reader = LogReader::new(device, log, block_size, self.area.end);
        Ops {
            reader,
            area: self.area.clone(),
            offset: 0,
            left: self.records,
            inode_size: self.inode_size,
        }
    }
}

/// Iterator of [`FastCommits::ops`]. Ends after an error.
#[derive(Debug)]
pub struct Ops<'a> {
    reader: LogReader<'a>,
    /// Blocks not yet done.
    area: Range<u32>,
    /// Bytes done in the first of them.
    offset: usize,
    /// Records not yet done.
    left: u64,
    inode_size: u16,
}

impl Ops<'_> {
    /// The next record of any kind; `None` where a block ends.
    fn record(&mut self) -> Result<Option<Tlv>> {
        let block = self.reader.block(self.area.start)?;
        let rest = block.get(self.offset..).unwrap_or_default();
        if rest.len() < TLV_HEADER_LEN {
            return Ok(None);
        }
        let raw = first_tlv(rest, self.inode_size)?;
        self.offset += raw.bytes.len();
        Ok(Some(raw.decode()?))
    }
}

impl Iterator for Ops<'_> {
    type Item = Result<Op>;

    fn next(&mut self) -> Option<Result<Op>> {
        while self.left > 0 && !self.area.is_empty() {
            match self.record() {
                Ok(None) => {
                    self.area.start += 1;
                    self.offset = 0;
                }
                Ok(Some(tlv)) => {
                    self.left -= 1;
                    if let Tlv::Op(op) = tlv {
                        return Some(Ok(op));
                    }
                }
                Err(err) => {
                    self.left = 0;
                    return Some(Err(err));
                }
            }
        }
        None
    }
}

/// What is wrong with the first fast commit, so that the kernel refuses the log.
struct Fault {
    class: Class,
    at: u32,
    what: Corrupt,
}

/// Goes through the area (`ext4_fc_replay_scan`). What is wrong after a complete fast commit is an
/// end like any other; before that it is damage.
pub(super) fn scan(
    scan: &mut Scan,
    device: &dyn BlockDevice,
    log: &Log,
    inode_size: u16,
) -> FastCommits {
    let area = scan.superblock.fc_area();
    let tid = scan.end;
    let reader = LogReader::new(device, log, scan.superblock.block_size, area.end);
    let found = FastCommits { area, ..FastCommits::none(inode_size) };
    let mut pass = Pass { reader, tid, found, seen: 0, crc: Csum(0) };
    match pass.run() {
        Ok(end) => pass.found.end = end,
        Err(fault) => {
            pass.found.end = FastCommitEnd::Damaged;
            scan.report(fault.class, tid, fault.at, fault.what);
        }
    }
    pass.found
}

struct Pass<'a> {
    reader: LogReader<'a>,
    /// The transaction that the fast commits must be for.
    tid: Tid,
    found: FastCommits,
    /// Records so far, the incomplete fast commit's included.
    seen: u64,
    crc: Csum,
}

impl Pass<'_> {
    fn run(&mut self) -> std::result::Result<FastCommitEnd, Fault> {
        let area = self.found.area.clone();
        if area.is_empty() {
            return Ok(FastCommitEnd::NoArea);
        }
        for at in area.clone() {
            if let Some(end) = self.block(at, at == area.start)? {
                return Ok(end);
            }
        }
        Ok(FastCommitEnd::Full)
    }

    /// The records of one block; `Some` when the fast commits end in it.
    fn block(
        &mut self,
        at: u32,
        is_first: bool,
    ) -> std::result::Result<Option<FastCommitEnd>, Fault> {
        let Self { reader, tid, found, seen, crc } = self;
        let fault = |class, what| Fault { class, at, what };
        let block = match reader.block(at) {
            Ok(block) => block,
            Err(err) => {
                let what = Corrupt::new("fast-commit block", err.to_string());
                return Err(fault(Class::Io, what));
            }
        };
        if is_first && !block.starts_with(&TlvKind::Head.raw().to_le_bytes()) {
            return Ok(Some(FastCommitEnd::NoHead));
        }
        let mut rest = block;
        while rest.len() >= TLV_HEADER_LEN {
            let decoded =
                first_tlv(rest, found.inode_size).and_then(|raw| Ok((raw, raw.decode()?)));
            let (raw, tlv) = match decoded {
                Ok(it) => it,
                Err(_) if found.records > 0 => return Ok(Some(FastCommitEnd::BadRecord)),
                Err(what) => return Err(fault(Class::Cancelled, what)),
            };
            rest = rest.get(raw.bytes.len()..).unwrap_or_default();
            match tlv {
                Tlv::Head { features, .. } if features != 0 => {
                    let what =
                        Corrupt::new("fast-commit head", format!("unknown features {features:#x}"));
                    return Err(fault(Class::NotSupported, what));
                }
                Tlv::Head { tid: other, .. } if other != *tid => {
                    return Ok(Some(FastCommitEnd::StaleHead(other)));
                }
                _ => {}
            }
            *crc = raw.sum(*crc);
            *seen += 1;
            let Tlv::Tail { tid: of, crc: sum } = tlv else { continue };
            if of == *tid && sum == crc.0 {
                found.records = *seen;
                found.commits += 1;
            } else if found.records > 0 {
                return Ok(Some(FastCommitEnd::BadTail));
            } else if of != *tid {
                let what =
                    Corrupt::new("fast-commit tail", format!("transaction {of}, expected {tid}"));
                return Err(fault(Class::BadChecksum, what));
            } else {
                return Err(fault(
                    Class::BadChecksum,
                    Corrupt::checksum("fast-commit tail", sum, crc.0),
                ));
            }
            *crc = Csum(0);
        }
        Ok(None)
    }
}
