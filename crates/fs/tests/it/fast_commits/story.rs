//! A crash, and the fast commits that go on from it, made from what the rest would have come to.

use crate::rig::{clock, open};
use ext4_blockdev::{BlockDevice, MemoryDevice};
use ext4_fs::{Filesystem, Last, MapState, RecoverOptions, Recovered, recover};
use ext4_jbd2::{Log, recovery};
use ext4_ondisk::{
    checksum::Csum,
    fast_commit::{Op, Tlv},
    geometry::Geometry,
};
use ext4_testkit::{
    image::{Image, Recipe, assert_clean},
    judge::judge,
    oracle::{Need, skip_without},
    view::View,
};
use ext4_units::{InodeNr, LogicalBlock, Tid};
use std::sync::Arc;

/// A crashed filesystem, and what it would be if more had been done in time.
#[derive(Clone)]
pub(super) struct Story {
    /// As the power cut left it: a log with transactions.
    pub(super) crashed: Arc<MemoryDevice>,
    /// After the rest was done, closed in order.
    pub(super) told: Arc<MemoryDevice>,
    /// The transaction that fast commits are for.
    pub(super) tid: Tid,
    pub(super) log: Log,
    /// The log blocks for fast commits.
    pub(super) area: std::ops::Range<u32>,
}

impl Story {
    /// `before` is committed when the power goes; `rest` is what fast commits will say.
    pub(super) fn new(
        recipe: &Recipe,
        before: impl FnOnce(&Filesystem),
        rest: impl FnOnce(&Filesystem),
    ) -> Option<Self> {
        let crashed = recipe.image()?.device();
        let fs = open(Arc::clone(&crashed) as _);
        before(&fs);
        fs.commit().unwrap();
        drop(fs);
        let told = Image::new(crashed.contents()).device();
        let fs = open(Arc::clone(&told) as _);
        rest(&fs);
        fs.close().unwrap();

        let fs = Filesystem::open_read(Arc::clone(&crashed) as _).unwrap();
        let log = fs.find_log(None).unwrap().unwrap();
        let sb = fs.superblock();
        let options = recovery::Options {
            block_size: sb.block_size,
            home: Geometry::new(sb).all_blocks(),
            inode_size: sb.inode_size,
            metadata_csum: sb.metadata_csum().is_some(),
        };
        let scan = recovery::scan(&*crashed, &log, &options).unwrap();
        Some(Self { tid: scan.end, area: scan.superblock.fc_area(), crashed, told, log })
    }

    pub(super) fn told(&self) -> Filesystem {
        Filesystem::open_read(Arc::clone(&self.told) as _).unwrap()
    }

    pub(super) fn ino(&self, path: &str) -> InodeNr {
        let fs = self.told();
        fs.resolve(fs.meta(), path.as_bytes(), Last::Stay).unwrap().ino
    }

    /// The record of an inode as it is in the end.
    pub(super) fn inode(&self, ino: InodeNr) -> Tlv {
        let fs = self.told();
        let inode = fs.inode(fs.meta(), ino).unwrap();
        let (blk, offset) = fs.inode_place(fs.meta(), ino).unwrap();
        let len = 128 + usize::from(inode.extra_isize);
        let raw = fs.meta().read(blk).unwrap()[offset..offset + len].to_vec();
        Tlv::Op(Op::Inode { ino, raw })
    }

    /// The records of all ranges of a file as they are in the end, whose data was written in time.
    pub(super) fn ranges(&self, ino: InodeNr) -> Vec<Tlv> {
        let fs = self.told();
        let inode = fs.inode(fs.meta(), ino).unwrap();
        let size = fs.geometry().block_size;
        let mut all = Vec::new();
        fs.mappings(fs.meta(), &inode, LogicalBlock(0), LogicalBlock(200), |mapping| {
            let (lblk, len) = (mapping.lblk, mapping.len);
            all.push(Tlv::Op(match mapping.state {
                MapState::Hole => Op::DelRange { ino, lblk, len },
                MapState::Written(start) | MapState::Unwritten(start) => {
                    let mut data = vec![0; size.len() * len as usize];
                    self.told.read_at(start.byte(size), &mut data).unwrap();
                    self.crashed.write_at(start.byte(size), &data).unwrap();
                    let is_unwritten = matches!(mapping.state, MapState::Unwritten(_));
                    Op::AddRange { ino, lblk, len: len.try_into().unwrap(), start, is_unwritten }
                }
            }));
            Ok(())
        })
        .unwrap();
        all
    }

    /// Writes one fast commit into block `n` of the area, or into more from there on.
    pub(super) fn fast_commit(&self, n: u32, tid: Tid, records: &[Tlv]) {
        let size = self.told().geometry().block_size;
        let (mut at, mut crc, mut block) = (self.area.start + n, Csum(0), Vec::new());
        let head = (n == 0).then_some(Tlv::Head { features: 0, tid });
        for record in head.iter().chain(records) {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            if block.len() + bytes.len() + 16 > size.len() {
                // The last bytes of a block are a pad record.
                let pad = size.len() - block.len() - 4;
                block.extend([7, 0]);
                block.extend(u16::try_from(pad).unwrap().to_le_bytes());
                block.resize(size.len(), 0);
                crc = crc.over(&block);
                self.log.write(&*self.crashed, size, at, &block).unwrap();
                (at, block) = (at + 1, Vec::new());
            }
            block.extend(bytes);
        }
        let mut tail = Vec::new();
        Tlv::Tail { tid, crc: 0 }.encode(&mut tail);
        // Its length covers the rest of the block.
        let rest = u16::try_from(size.len() - block.len() - 4).unwrap();
        tail[2..4].copy_from_slice(&rest.to_le_bytes());
        let crc = crc.over(&block).over(&tail[..8]);
        block.extend(&tail[..8]);
        block.extend(crc.0.to_le_bytes());
        block.resize(size.len(), 0);
        self.log.write(&*self.crashed, size, at, &block).unwrap();
    }

    pub(super) fn recover(&self) -> ext4_fs::Result<Recovered> {
        recover(Arc::clone(&self.crashed) as _, &RecoverOptions::new(clock()))
    }

    /// One fast commit of these records comes to what was told.
    #[track_caller]
    pub(super) fn comes_true(&self, records: &[Tlv]) {
        self.fast_commit(0, self.tid, records);
        let it = self.recover().unwrap();
        assert_eq!(it.report.fast_commit_ops, records.len() as u64);
        it.fs.close().unwrap();
        let manifest = |device: &MemoryDevice| View::new(device).unwrap().manifest().unwrap();
        let told = manifest(&self.told).without_blocks();
        let lines = told.differences(&manifest(&self.crashed).without_blocks());
        assert_eq!(lines, Vec::<String>::new());
        assert_eq!(judge(&*self.crashed), []);
        if !skip_without(&[Need::E2fsck]) {
            assert_clean(&*self.crashed).unwrap();
        }
        assert!(self.recover().unwrap().report.is_clean());
    }
}
