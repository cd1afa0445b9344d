//! Big logs: memory stays small.

use ext4_blockdev::{BlockDevice, Limits, Result};
use ext4_jbd2::{
    Log,
    recovery::{self, Logged, Options},
};
use ext4_ondisk::jbd2::{
    Checksums, Commit, DescriptorBuilder, JournalCompat, JournalIncompat, JournalSuperblock,
    LogFormat, RevokeBuilder,
};
use ext4_units::{BlockNr, BlockRange, BlockSize, Tid};
use std::sync::atomic::{AtomicUsize, Ordering};

const SIZE: BlockSize = BlockSize::from_bits(12).unwrap();
const BS: u64 = 4096;

/// A device whose log is computed when it is read: equal transactions, each one descriptor, its
/// copies, revoke blocks and a commit block. The homes are not kept.
#[derive(Debug)]
struct Imagined {
    superblock: JournalSuperblock,
    format: LogFormat,
    copies: u32,
    revoke_blocks: u32,
    log_blocks: u32,
    transactions: u32,
    longest: AtomicUsize,
}

impl Imagined {
    fn new(log_blocks: u32, copies: u32, revoke_blocks: u32) -> Self {
        let features = (JournalCompat::empty(), JournalIncompat::BIT64 | JournalIncompat::REVOKE);
        let mut superblock =
            JournalSuperblock::new(SIZE, log_blocks, 1, features, [0; 16], 0).unwrap();
        superblock.start = 1;
        let each = 1 + copies + revoke_blocks + 1;
        let transactions = (log_blocks - 2) / each;
        let format = superblock.format();
        assert_eq!(format.checksums, Checksums::None);
        let longest = AtomicUsize::new(0);
        Self { superblock, format, copies, revoke_blocks, log_blocks, transactions, longest }
    }

    fn log_block(&self, at: u32) -> Vec<u8> {
        if at == 0 {
            let mut block = self.superblock.encode().to_vec();
            block.resize(BS as usize, 0);
            return block;
        }
        let each = 1 + self.copies + self.revoke_blocks + 1;
        let (nr, part) = ((at - 1) / each, (at - 1) % each);
        let tid = Tid(1 + nr);
        if nr >= self.transactions {
            vec![0; BS as usize]
        } else if part == 0 {
            let mut it = DescriptorBuilder::new(&self.format, tid, [0; 16]);
            for i in 0..self.copies {
                it.push(BlockNr(u64::from(nr * self.copies + i) % 5000), false, 0);
            }
            it.finish()
        } else if part <= self.copies {
            vec![1; BS as usize]
        } else if part <= self.copies + self.revoke_blocks {
            let mut it = RevokeBuilder::new(&self.format, tid);
            while !it.is_full() {
                it.push(BlockNr(u64::from(at) * 7919));
            }
            it.finish()
        } else {
            Commit { tid, sec: 1, nsec: 0 }.encode(&self.format, 0)
        }
    }
}

impl BlockDevice for Imagined {
    fn len(&self) -> u64 {
        BS * (10_000 + u64::from(self.log_blocks))
    }

    fn limits(&self) -> Limits {
        Limits { sector: 512, memory: 1 }
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.longest.fetch_max(buf.len(), Ordering::Relaxed);
        let first = (offset / BS - 10_000) as u32;
        for (i, part) in buf.chunks_mut(BS as usize).enumerate() {
            part.copy_from_slice(&self.log_block(first + i as u32)[..part.len()]);
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        assert!(offset + buf.len() as u64 <= 5000 * BS, "written outside the homes");
        self.longest.fetch_max(buf.len(), Ordering::Relaxed);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn discard(&self, _offset: u64, _len: u64) -> Result<()> {
        Ok(())
    }
}

fn scan(device: &Imagined) -> (recovery::Scan, Log) {
    let range = BlockRange::new(BlockNr(10_000), u64::from(device.log_blocks));
    let log = Log::internal(vec![range]);
    let home = BlockRange::new(BlockNr(0), 10_000);
    let options = Options { block_size: SIZE, home, inode_size: 256, metadata_csum: false };
    (recovery::scan(device, &log, &options).unwrap(), log)
}

#[test]
fn a_gigabyte_of_log_is_read_in_megabytes_and_kept_as_positions() {
    let device = Imagined::new(1 << 18, 250, 1);
    let (scan, log) = scan(&device);
    assert_eq!(scan.verdict(), Ok(()));
    assert_eq!(scan.transactions.len(), device.transactions as usize);
    let logged: usize = scan.transactions.iter().map(|it| it.logged.capacity()).sum();
    assert!(logged * size_of::<Logged>() < 16 << 20);
    assert!(device.longest.load(Ordering::Relaxed) <= 1 << 20);
    let report = scan.replay(&device, &log, &mut |_, _| {}).unwrap();
    assert_eq!(report.blocks, 5000);
    assert!(device.longest.load(Ordering::Relaxed) <= 8 << 20);
}

#[test]
fn a_log_full_of_revokes_does_not_fill_the_memory() {
    // A quarter of a gigabyte, with millions of records of blocks that the log does not hold.
    let device = Imagined::new(1 << 16, 1, 800);
    let (scan, _) = scan(&device);
    assert_eq!(scan.verdict(), Ok(()));
    let revokes: u64 = scan.transactions.iter().map(|it| it.revoke_count).sum();
    assert!(revokes > 30_000_000, "{revokes}");
    assert!(scan.revoked_blocks() <= device.transactions as usize);
}
