//! A log made of the input: transactions, revokes and fast commits whose checksums are right, and then
//! some bytes that are not.

use crate::{base::Base, input::Input};
use ext4_blockdev::{BlockDevice as _, Overlay};
use ext4_ondisk::{
    checksum::Csum,
    extent,
    fast_commit::TlvKind,
    inode::{Inode, InodeFormat},
    jbd2::{
        Commit, DescriptorBuilder, JournalSuperblock, LogFormat, RevokeBuilder, escape,
        is_escaped_by_writer,
    },
};
use ext4_units::{BlockNr, InodeNr, Tid};
use zerocopy::FromBytes as _;

/// Blocks that are written to the log at the most.
const MOST_BLOCKS: usize = 64;

/// A log in the making.
struct Log<'a, 'i> {
    overlay: &'a Overlay,
    input: &'a mut Input<'i>,
    format: LogFormat,
    uuid: [u8; 16],
    start: BlockNr,
    at: u32,
    tid: Tid,
}

/// Where the journal begins: its first extent.
pub(crate) fn first_block(base: &Base) -> Option<BlockNr> {
    let place = base.places.iter().find(|it| it.is_inode(InodeNr::JOURNAL))?;
    let format = InodeFormat::new(&base.superblock);
    let mut bytes = vec![0; place.len];
    base.device.read_at(place.at, &mut bytes).ok()?;
    let inode = Inode::decode_unverified(&bytes, InodeNr::JOURNAL, &format).ok()?;
    let (raw, _) = extent::RawExtent::ref_from_prefix(&inode.i_block[12..]).ok()?;
    Some(raw.start())
}

/// Writes a log to the overlay.
pub(crate) fn write(base: &Base, overlay: &Overlay, input: &mut Input<'_>) -> Option<()> {
    let start = first_block(base)?;
    let size = base.superblock.block_size;
    let mut bytes = vec![0; size.len()];
    overlay.read_at(start.byte(size), &mut bytes).ok()?;
    let mut sb = JournalSuperblock::decode(&bytes, size, u64::MAX).ok()?;
    let (format, uuid, tid) = (sb.format(), sb.uuid, sb.sequence);
    let area = sb.fc_area();
    sb.start = 1;
    let encoded = sb.encode();
    bytes[..encoded.len()].copy_from_slice(&encoded);
    overlay.write_at(start.byte(size), &bytes).ok()?;
    let mut log = Log { overlay, input, format, uuid, start, at: 1, tid };
    for _ in 0..MOST_BLOCKS {
        if log.input.is_empty() {
            break;
        }
        log.next()?;
    }
    if log.input.byte() & 1 == 1 {
        log.fast_commits(area.start)?;
    }
    Some(())
}

impl Log<'_, '_> {
    fn put(&mut self, block: &[u8]) -> Option<()> {
        let blk = self.start.plus(self.at.into());
        self.at += 1;
        self.overlay.write_at(blk.byte(self.format.block_size), block).ok()
    }

    /// One more step.
    fn next(&mut self) -> Option<()> {
        let size = self.format.block_size.len();
        match self.input.byte() % 6 {
            0 | 1 => {
                let n = self.input.below(5) + 1;
                let (mut builder, mut blocks) =
                    (DescriptorBuilder::new(&self.format, self.tid, self.uuid), Vec::new());
                for _ in 0..n {
                    let home = self.input.block();
                    let mut block = self.contents(home);
                    let is_escaped = is_escaped_by_writer(&block);
                    if is_escaped {
                        escape(&mut block);
                    }
                    builder.push(home, is_escaped, self.format.tag_checksum(self.tid, &block));
                    blocks.push(block);
                }
                self.put(&builder.finish())?;
                for block in blocks {
                    self.put(&block)?;
                }
            }
            2 => {
                let mut builder = RevokeBuilder::new(&self.format, self.tid);
                for _ in 0..self.input.below(4) {
                    builder.push(self.input.block());
                }
                self.put(&builder.finish())?;
            }
            3 | 4 => {
                let commit = Commit { tid: self.tid, sec: self.input.byte().into(), nsec: 0 };
                self.put(&commit.encode(&self.format, 0))?;
                self.tid = Tid(self.tid.0.wrapping_add(1));
            }
            _ => {
                let block = self.input.filled(size);
                self.put(&block)?;
            }
        }
        Some(())
    }

    /// What is to be written home: what lies there, with a few bytes changed.
    fn contents(&mut self, home: BlockNr) -> Vec<u8> {
        let mut block = vec![0; self.format.block_size.len()];
        drop(self.overlay.read_at(home.byte(self.format.block_size), &mut block));
        let at = self.input.below(block.len());
        let n = usize::from(self.input.byte() & 15);
        let new = self.input.bytes(n);
        let end = (at + new.len()).min(block.len());
        block[at..end].copy_from_slice(&new[..end - at]);
        block
    }

    /// Fast commits on top of the last transaction.
    fn fast_commits(&mut self, area: u32) -> Option<()> {
        let size = self.format.block_size.len();
        let mut block = Vec::with_capacity(size);
        let mut sum = Csum(0);
        let mut record = |block: &mut Vec<u8>, kind: TlvKind, value: &[u8]| {
            let len = u16::try_from(value.len()).unwrap_or(0);
            let mut bytes = kind.raw().to_le_bytes().to_vec();
            bytes.extend(len.to_le_bytes());
            bytes.extend(value);
            sum = sum.over(&bytes);
            block.extend(bytes);
        };
        let head: Vec<u8> = [0_u32.to_le_bytes(), self.tid.0.to_le_bytes()].concat();
        record(&mut block, TlvKind::Head, &head);
        while !self.input.is_empty() && block.len() + 320 < size {
            let ino = u32::from(self.input.byte());
            let (kind, value) = match self.input.byte() % 6 {
                0 => (TlvKind::AddRange, self.input.filled(12)),
                1 => (TlvKind::DelRange, self.input.filled(8)),
                2 => (TlvKind::Creat, self.input.bytes(12).to_vec()),
                3 => (TlvKind::Link, self.input.bytes(12).to_vec()),
                4 => (TlvKind::Unlink, self.input.bytes(12).to_vec()),
                _ => (TlvKind::Inode, self.input.filled(256)),
            };
            record(&mut block, kind, &[&ino.to_le_bytes()[..], &value].concat());
        }
        let tail = self.tid.0.to_le_bytes();
        let rest = (size - block.len()).saturating_sub(4);
        let len = u16::try_from(rest).unwrap_or(8);
        let mut bytes = TlvKind::Tail.raw().to_le_bytes().to_vec();
        bytes.extend(len.to_le_bytes());
        bytes.extend(tail);
        sum = sum.over(&bytes);
        block.extend(bytes);
        block.extend(sum.0.to_le_bytes());
        block.resize(size, 0);
        self.at = area;
        self.put(&block)
    }
}
