//! A maker of logs, block by block, that also knows what their replay must give.

use super::by_kernel::shift;
use ext4_blockdev::{BlockDevice, MemoryDevice};
use ext4_jbd2::{
    Log, Ring,
    recovery::{self, Options, Scan},
};
use ext4_ondisk::{
    checksum::crc32_be,
    jbd2::{
        self, BlockHeader, BlockKind, Checksums, Class, Commit, DescriptorBuilder, JournalCompat,
        JournalIncompat, JournalSuperblock, LogFormat, RevokeBuilder,
    },
};
use ext4_units::{BlockNr, BlockRange, BlockSize, Tid};
use std::{collections::BTreeMap, sync::Arc};

pub(super) const SIZE: BlockSize = BlockSize::MIN;
pub(super) const BS: usize = SIZE.len();
/// Blocks 0..HOMES are the filesystem's.
pub(super) const HOMES: u64 = 3000;
const UUID: [u8; 16] = *b"a journal's uuid";

/// A kind of log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) checksums: Checksums,
    pub(super) is_64bit: bool,
    pub(super) has_fc: bool,
    pub(super) is_async: bool,
}

pub(super) const V3: Kind =
    Kind { checksums: Checksums::V3, is_64bit: true, has_fc: false, is_async: false };

impl Kind {
    /// Every tag layout, with and without a fast-commit area.
    pub(super) fn all() -> Vec<Self> {
        let mut all = vec![];
        for checksums in [Checksums::None, Checksums::V1, Checksums::V2, Checksums::V3] {
            for is_64bit in [false, true] {
                for has_fc in [false, true] {
                    all.push(Self { checksums, is_64bit, has_fc, is_async: false });
                }
            }
        }
        all
    }

    fn features(self) -> (JournalCompat, JournalIncompat) {
        let mut compat = JournalCompat::empty();
        let mut incompat = JournalIncompat::REVOKE;
        incompat.set(JournalIncompat::BIT64, self.is_64bit);
        incompat.set(JournalIncompat::FAST_COMMIT, self.has_fc);
        incompat.set(JournalIncompat::ASYNC_COMMIT, self.is_async);
        match self.checksums {
            Checksums::None => {}
            Checksums::V1 => compat |= JournalCompat::CHECKSUM,
            Checksums::V2 => incompat |= JournalIncompat::CSUM_V2,
            Checksums::V3 => incompat |= JournalIncompat::CSUM_V3,
        }
        (compat, incompat)
    }
}

/// Where the parts of a transaction are, in log blocks.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    pub(super) descriptors: Vec<u32>,
    pub(super) copies: Vec<u32>,
    pub(super) revokes: Vec<u32>,
    pub(super) commit: u32,
}

/// A log in the making, in an image of [`HOMES`] blocks and the log behind them.
#[derive(Clone, Debug)]
pub(super) struct Forge {
    pub(super) superblock: JournalSuperblock,
    pub(super) format: LogFormat,
    pub(super) image: Vec<u8>,
    /// Next log block.
    pub(super) at: u32,
    /// Transaction being written.
    pub(super) tid: Tid,
    /// Its commit time.
    pub(super) sec: u64,
    crc: u32,
    /// The log before anything of it was damaged.
    clean: Vec<u8>,
    /// The same log for homes that lie elsewhere, in an image that the kernel can mount.
    twin: Vec<u8>,
    twin_crc: u32,
    places: Places,
    /// What was logged and revoked, for the model: transaction's number, block, contents or revoke.
    story: Vec<(usize, u64, Option<Vec<u8>>)>,
    number: usize,
    /// Where the log went on after each transaction.
    heads: Vec<u32>,
}

impl Forge {
    /// An empty log of `kind`; its first transaction will be 10 at log block 1.
    pub(super) fn new(kind: Kind) -> Self {
        Self::starting(kind, 1, Tid(10))
    }

    /// As [`new`](Self::new), but starting there.
    pub(super) fn starting(kind: Kind, at: u32, tid: Tid) -> Self {
        let len = 1100 + if kind.has_fc { 40 } else { 0 };
        let mut superblock =
            JournalSuperblock::new(SIZE, len, 1, kind.features(), UUID, 40).unwrap();
        superblock.start = at;
        superblock.sequence = tid;
        let format = superblock.format();
        let mut image = vec![0; (HOMES as usize + len as usize) * BS];
        // Nothing reads as zero unless it should.
        for (i, byte) in image.iter_mut().enumerate() {
            *byte = b'p' ^ (i / BS).to_le_bytes()[0];
        }
        let log = image[HOMES as usize * BS..].to_vec();
        let mut it = Self {
            superblock,
            format,
            image,
            at,
            tid,
            sec: 1_000,
            crc: !0,
            clean: log.clone(),
            twin: log,
            twin_crc: !0,
            places: Places::default(),
            story: vec![],
            number: 0,
            heads: vec![],
        };
        it.write_superblock();
        it
    }

    pub(super) fn ring(&self) -> Ring {
        Ring::of(&self.superblock)
    }

    pub(super) fn write_superblock(&mut self) {
        let bytes = self.superblock.encode();
        self.log_mut(0)[..bytes.len()].copy_from_slice(&bytes);
        self.clean[..bytes.len()].copy_from_slice(&bytes);
        self.twin[..bytes.len()].copy_from_slice(&bytes);
    }

    /// The contents of log block `at`.
    pub(super) fn log_mut(&mut self, at: u32) -> &mut [u8] {
        let from = (HOMES as usize + at as usize) * BS;
        &mut self.image[from..from + BS]
    }

    /// Puts a block at the end of the log.
    pub(super) fn put(&mut self, block: &[u8]) -> u32 {
        self.put_both(block, block)
    }

    /// Puts a block at the end of the log, and another at the end of its twin.
    fn put_both(&mut self, block: &[u8], twin: &[u8]) -> u32 {
        let at = self.at;
        self.log_mut(at).copy_from_slice(block);
        let from = at as usize * BS;
        self.clean[from..from + BS].copy_from_slice(block);
        self.twin[from..from + BS].copy_from_slice(twin);
        self.at = self.ring().next(at);
        at
    }

    /// The twin of the log, with the same damage.
    pub(super) fn twin(&self) -> Vec<u8> {
        let log = &self.image[HOMES as usize * BS..];
        let damage = log.iter().zip(&self.clean).map(|(now, was)| now ^ was);
        damage.zip(&self.twin).map(|(damage, byte)| damage ^ byte).collect()
    }

    /// Logs blocks, in as many descriptors as it takes.
    pub(super) fn log(&mut self, blocks: &[(u64, Vec<u8>)]) -> &mut Self {
        for part in blocks.chunks(self.format.tags_per_descriptor()) {
            let mut descriptor = DescriptorBuilder::new(&self.format, self.tid, UUID);
            let mut twin = DescriptorBuilder::new(&self.format, self.tid, UUID);
            let mut copies = vec![];
            for (home, data) in part {
                let mut copy = data.clone();
                let is_escaped = jbd2::is_escaped_by_writer(&copy);
                if is_escaped {
                    jbd2::escape(&mut copy);
                }
                let sum = self.format.tag_checksum(self.tid, &copy);
                descriptor.push(BlockNr(*home), is_escaped, sum);
                twin.push(BlockNr(home + shift()), is_escaped, sum);
                copies.push(copy);
                self.story.push((self.number, *home, Some(data.clone())));
            }
            let (descriptor, twin) = (descriptor.finish(), twin.finish());
            self.crc = crc32_be(self.crc, &descriptor);
            self.twin_crc = crc32_be(self.twin_crc, &twin);
            let at = self.put_both(&descriptor, &twin);
            self.places.descriptors.push(at);
            for copy in copies {
                self.crc = crc32_be(self.crc, &copy);
                self.twin_crc = crc32_be(self.twin_crc, &copy);
                let at = self.put(&copy);
                self.places.copies.push(at);
            }
        }
        self
    }

    /// Logs `homes` with contents that tell the block and the transaction.
    pub(super) fn log_blocks(&mut self, homes: impl IntoIterator<Item = u64>) -> &mut Self {
        let tid = self.tid;
        let blocks: Vec<_> = homes.into_iter().map(|home| (home, contents(home, tid))).collect();
        self.log(&blocks)
    }

    /// Revokes blocks, in as many revoke blocks as it takes.
    pub(super) fn revoke(&mut self, homes: &[u64]) -> &mut Self {
        for part in homes.chunks(self.format.revokes_per_block()) {
            let mut it = RevokeBuilder::new(&self.format, self.tid);
            let mut twin = RevokeBuilder::new(&self.format, self.tid);
            for &home in part {
                it.push(BlockNr(home));
                twin.push(BlockNr(home + shift()));
                self.story.push((self.number, home, None));
            }
            let at = self.put_both(&it.finish(), &twin.finish());
            self.places.revokes.push(at);
        }
        self
    }

    /// Ends the transaction.
    pub(super) fn commit(&mut self) -> Places {
        let commit = Commit { tid: self.tid, sec: self.sec, nsec: 0 };
        let block = commit.encode(&self.format, self.crc);
        let twin = commit.encode(&self.format, self.twin_crc);
        self.places.commit = self.put_both(&block, &twin);
        self.tid = self.tid.next();
        self.sec += 1;
        (self.crc, self.twin_crc) = (!0, !0);
        self.number += 1;
        self.heads.push(self.at);
        std::mem::take(&mut self.places)
    }

    /// The image as a device.
    pub(super) fn device(&self) -> MemoryDevice {
        MemoryDevice::new(self.image.clone())
    }

    /// What the log's homes must be after replay of the first `transactions` transactions, by
    /// block. Slow and simple: each copy that no revoke of the same or a later one hides.
    pub(super) fn expected(&self, transactions: usize) -> BTreeMap<u64, Vec<u8>> {
        let story = || self.story.iter().filter(|it| it.0 < transactions);
        let mut homes = BTreeMap::new();
        for (number, home, data) in story() {
            let is_revoked = story().any(|it| it.1 == *home && it.2.is_none() && it.0 >= *number);
            if let (Some(data), false) = (data, is_revoked) {
                homes.insert(*home, data.clone());
            }
        }
        homes
    }

    /// Recovers the image and checks all of it: that the first `transactions` transactions are
    /// home, that nothing else changed, and what the log is then.
    pub(super) fn recovers(&self, transactions: usize) {
        let device = self.device();
        let log = self.at_home();
        let scan = scan(&device, &log);
        assert_eq!(scan.verdict(), Ok(()));
        assert_eq!(scan.transactions.len(), transactions);
        // The next transaction follows the last good one.
        assert_eq!(scan.head, self.heads[transactions - 1]);
        scan.replay(&device, &log, &mut |_, _| {}).unwrap();
        let after = device.contents();
        let log_bytes = HOMES as usize * BS;
        assert!(after[log_bytes..] == self.image[log_bytes..], "replay wrote the log");
        let mut expected = self.image[..log_bytes].to_vec();
        for (home, data) in self.expected(transactions) {
            let from = home as usize * BS;
            expected[from..from + BS].copy_from_slice(&data);
        }
        for (nr, (a, b)) in after.chunks(BS).zip(expected.chunks(BS)).enumerate() {
            assert!(a == b, "home block {nr}");
        }

        let after = scan.reset(&device, &log).unwrap();
        let read = log.read_superblock(&device, SIZE).unwrap();
        assert_eq!(read.encode(), after.encode());
        assert_eq!((read.start, read.errno), (0, 0));
        assert_eq!(read.sequence, scan.next);
        // Version 1 has no such field.
        let has_head = read.kind == BlockKind::SuperblockV2;
        assert_eq!(read.head, if has_head { scan.head } else { 0 });
        assert_eq!(scan.end, Tid(self.superblock.sequence.0.wrapping_add(transactions as u32)));
        let again = recovery::scan(&device, &log, &options()).unwrap();
        assert!(again.is_empty() && again.transactions.is_empty());
    }

    /// Asserts that the log is refused with this errno class and nothing is written.
    pub(super) fn is_refused(&self, class: Class) -> Scan {
        let device = self.device();
        let log = self.at_home();
        let scan = scan(&device, &log);
        assert_eq!(scan.verdict().map_err(|it| it.class), Err(class), "{:?}", scan.findings);
        scan.replay(&device, &log, &mut |_, _| {}).unwrap_err();
        assert!(device.contents() == self.image, "a refused log was replayed");
        scan
    }

    /// Where the log is: behind the homes.
    pub(super) fn at_home(&self) -> Log {
        let whole = BlockRange::new(BlockNr(HOMES), u64::from(self.superblock.max_len));
        Log::internal(vec![whole])
    }

    /// A header of transaction `tid` in an otherwise empty block.
    pub(super) fn header(kind: u32, tid: Tid) -> Vec<u8> {
        let mut block = vec![0; BS];
        let header = BlockHeader { kind: BlockKind::from_raw(kind), tid };
        block[..12].copy_from_slice(&header.encode());
        block
    }
}

pub(super) fn options() -> Options {
    Options {
        block_size: SIZE,
        home: BlockRange::new(BlockNr(0), HOMES),
        inode_size: 256,
        metadata_csum: false,
    }
}

pub(super) fn scan(device: &dyn BlockDevice, log: &Log) -> Scan {
    recovery::scan(device, log, &options()).unwrap()
}

/// What transaction `tid` makes of block `home`.
pub(super) fn contents(home: u64, tid: Tid) -> Vec<u8> {
    let mut block = vec![tid.0.to_le_bytes()[0]; BS];
    block[..16].copy_from_slice(format!("{home:08} {:07}", tid.0 % 10_000_000).as_bytes());
    block
}

/// A device that can be shared with an external log.
pub(super) fn shared(bytes: Vec<u8>) -> Arc<MemoryDevice> {
    Arc::new(MemoryDevice::new(bytes))
}
