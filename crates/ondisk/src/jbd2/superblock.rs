//! The journal superblock: where the log lies, where it starts, what it can do.

use super::{BlockKind, Checksums, Class, Damage, LogFormat, MAGIC, RawBlockHeader};
use crate::{Corrupt, checksum::Csum};
use bitflags::bitflags;
use ext4_units::{BlockSize, Tid};
use zerocopy::{
    FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, big_endian::U32,
};

/// Length on disk, at the start of the log's block 0.
pub const SUPERBLOCK_LEN: usize = 1024;

/// All that ever changes after mkfs lies in this many bytes at the start, the checksum included. One
/// sector: an update that writes only these cannot be torn.
pub const SUPERBLOCK_MUTABLE_LEN: usize = 512;

/// The smallest log, `JBD2_MIN_JOURNAL_BLOCKS`, fast-commit area not counted.
pub const MIN_LOG_BLOCKS: u32 = 1024;

/// Blocks of the fast-commit area when `s_num_fc_blks` is 0, `JBD2_DEFAULT_FAST_COMMIT_BLOCKS`.
pub const DEFAULT_FC_BLOCKS: u32 = 256;

/// `JBD2_CRC32C_CHKSUM`.
const CRC32C_TYPE: u8 = 4;

const PLACE: &str = "journal superblock";

bitflags! {
    /// `s_feature_compat`; unknown bits are harmless.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct JournalCompat: u32 {
        /// v1 checksums.
        const CHECKSUM = 1;
        const _ = !0;
    }

    /// `s_feature_incompat`; unknown bits forbid everything.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct JournalIncompat: u32 {
        /// The log may hold revoke blocks.
        const REVOKE = 1;
        /// 64-bit block numbers.
        const BIT64 = 2;
        /// Commit blocks written without waiting.
        const ASYNC_COMMIT = 4;
        /// v2 checksums.
        const CSUM_V2 = 8;
        /// v3 checksums.
        const CSUM_V3 = 0x10;
        /// A fast-commit area at the end of the log.
        const FAST_COMMIT = 0x20;
        const _ = !0;
    }
}

impl JournalIncompat {
    /// All that have a name.
    pub const KNOWN: Self = Self::REVOKE
        .union(Self::BIT64)
        .union(Self::ASYNC_COMMIT)
        .union(Self::CSUM_V2)
        .union(Self::CSUM_V3)
        .union(Self::FAST_COMMIT);
}

/// `journal_superblock_t`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "the kernel's names; what they mean is said at the checked type")]
pub struct RawJournalSuperblock {
    pub s_header: RawBlockHeader,
    pub s_blocksize: U32,
    pub s_maxlen: U32,
    pub s_first: U32,
    pub s_sequence: U32,
    pub s_start: U32,
    pub s_errno: U32,
    pub s_feature_compat: U32,
    pub s_feature_incompat: U32,
    pub s_feature_ro_compat: U32,
    pub s_uuid: [u8; 16],
    pub s_nr_users: U32,
    pub s_dynsuper: U32,
    pub s_max_transaction: U32,
    pub s_max_trans_data: U32,
    pub s_checksum_type: u8,
    pub s_padding2: [u8; 3],
    pub s_num_fc_blks: U32,
    pub s_head: U32,
    pub s_padding: [U32; 40],
    pub s_checksum: U32,
    pub s_users: [u8; 768],
}

const _: () = assert!(size_of::<RawJournalSuperblock>() == SUPERBLOCK_LEN);
const _: () = assert!(std::mem::offset_of!(RawJournalSuperblock, s_num_fc_blks) == 0x54);
const _: () = assert!(std::mem::offset_of!(RawJournalSuperblock, s_checksum) == 0xFC);

impl std::fmt::Debug for RawJournalSuperblock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawJournalSuperblock")
            .field("s_header", &self.s_header)
            .field("s_maxlen", &self.s_maxlen)
            .field("s_sequence", &self.s_sequence)
            .field("s_start", &self.s_start)
            .finish_non_exhaustive()
    }
}

impl RawJournalSuperblock {
    /// crc32c from `~0` over all 1024 bytes with `s_checksum` zero, `jbd2_superblock_csum`.
    pub fn checksum(&self) -> u32 {
        let mut clean = *self;
        clean.s_checksum = U32::ZERO;
        Csum::START.over(clean.as_bytes()).0
    }
}

/// A journal superblock that passed every check of `journal_check_superblock`.
#[derive(Clone, Debug)]
pub struct JournalSuperblock {
    raw: RawJournalSuperblock,
    /// [`BlockKind::SuperblockV1`] or [`BlockKind::SuperblockV2`]. v1 has no features and no uuid.
    pub kind: BlockKind,
    /// Size of a block.
    pub block_size: BlockSize,
    /// `s_maxlen`: blocks of the whole log, this one included.
    pub max_len: u32,
    /// `s_first`: first block of the ring.
    pub first: u32,
    /// `s_sequence`: the transaction expected at `start`.
    pub sequence: Tid,
    /// `s_start`: the log block of the oldest record; 0 when the log is empty. Not yet compared with
    /// the ring: recovery does, for only there it is damage.
    pub start: u32,
    /// `s_errno`: the negative errno an abort left behind; 0 when all is well.
    pub errno: i32,
    /// `s_head`: with an empty log, the block where the next transaction goes (0 in old logs).
    pub head: u32,
    /// Features.
    pub compat: JournalCompat,
    /// Features.
    pub incompat: JournalIncompat,
    /// The journal's own uuid.
    pub uuid: [u8; 16],
    /// `s_nr_users`: filesystems that share an external journal.
    pub nr_users: u32,
    /// Blocks of the fast-commit area, the unused one before it included; 0 without the feature.
    pub fc_blocks: u32,
}

impl JournalSuperblock {
    /// Decodes the start of the log's block 0 and applies every rule of `journal_check_superblock`,
    /// in its order.
    ///
    /// `log_len` is the number of blocks that the journal inode or device has.
    pub fn decode(bytes: &[u8], block_size: BlockSize, log_len: u64) -> Result<Self, Damage> {
        let invalid = |fault: String| Err(Damage::invalid(Corrupt::new(PLACE, fault)));
        let Ok((raw, _)) = RawJournalSuperblock::read_from_prefix(bytes) else {
            return invalid(format!("{} bytes, expected {SUPERBLOCK_LEN}", bytes.len()));
        };
        let magic = raw.s_header.h_magic.get();
        if magic != MAGIC {
            return invalid(format!("magic {magic:#010x}, expected {MAGIC:#010x}"));
        }
        if raw.s_blocksize.get() != block_size.bytes() {
            return invalid(format!("block size {}, expected {block_size}", raw.s_blocksize));
        }
        let kind = BlockKind::from_raw(raw.s_header.h_blocktype.get());
        let is_v2 = match kind {
            BlockKind::SuperblockV1 => false,
            BlockKind::SuperblockV2 => true,
            _ => return invalid(format!("block type {}, expected 3 or 4", kind.raw())),
        };
        let max_len = raw.s_maxlen.get();
        if u64::from(max_len) > log_len {
            return invalid(format!("s_maxlen {max_len}, but the log has {log_len} blocks"));
        }
        let first = raw.s_first.get();
        if first == 0 || first >= max_len {
            return invalid(format!(
                "s_first {first}, expected 1 to {}",
                max_len.saturating_sub(1)
            ));
        }
        let mut it = Self {
            kind,
            block_size,
            max_len,
            first,
            sequence: Tid(raw.s_sequence.get()),
            start: raw.s_start.get(),
            errno: raw.s_errno.get().cast_signed(),
            head: 0,
            compat: JournalCompat::empty(),
            incompat: JournalIncompat::empty(),
            uuid: [0; 16],
            nr_users: 1,
            fc_blocks: 0,
            raw,
        };
        if is_v2 {
            it.decode_v2()?;
        }
        Ok(it)
    }

    /// The fields that only a version 2 superblock has.
    fn decode_v2(&mut self) -> Result<(), Damage> {
        let raw = &self.raw;
        let invalid = |fault: String| Err(Damage::invalid(Corrupt::new(PLACE, fault)));
        let ro_compat = raw.s_feature_ro_compat.get();
        if ro_compat != 0 {
            return invalid(format!("unknown read-only features {ro_compat:#x}"));
        }
        self.compat = JournalCompat::from_bits_retain(raw.s_feature_compat.get());
        self.incompat = JournalIncompat::from_bits_retain(raw.s_feature_incompat.get());
        let unknown = self.incompat.difference(JournalIncompat::KNOWN);
        if !unknown.is_empty() {
            return invalid(format!("unknown incompatible features {:#x}", unknown.bits()));
        }
        self.uuid = raw.s_uuid;
        self.nr_users = raw.s_nr_users.get();
        self.head = raw.s_head.get();
        if self.incompat.contains(JournalIncompat::FAST_COMMIT) {
            self.fc_blocks = match raw.s_num_fc_blks.get() {
                0 => DEFAULT_FC_BLOCKS,
                n => n,
            };
        }
        let least = u64::from(MIN_LOG_BLOCKS) + u64::from(self.fc_blocks);
        if u64::from(self.max_len) < least {
            return invalid(format!("s_maxlen {}, expected at least {least}", self.max_len));
        }
        let sums = JournalIncompat::CSUM_V2 | JournalIncompat::CSUM_V3;
        if self.incompat.contains(sums) {
            return invalid("checksums of both version 2 and 3".into());
        }
        if self.incompat.intersects(sums) {
            if self.compat.contains(JournalCompat::CHECKSUM) {
                return invalid("checksums of both version 1 and 2 or 3".into());
            }
            if raw.s_checksum_type != CRC32C_TYPE {
                return invalid(format!(
                    "checksum type {}, expected {CRC32C_TYPE}",
                    raw.s_checksum_type
                ));
            }
            let (found, expected) = (raw.s_checksum.get(), raw.checksum());
            if found != expected {
                return Err(Corrupt::checksum(PLACE, found, expected).into());
            }
        }
        // Stricter than the kernel, which would wrap to a block before the ring's first.
        if self.first >= self.ring_end() {
            return invalid(format!(
                "s_first {}, but the log ends at block {}",
                self.first,
                self.ring_end()
            ));
        }
        Ok(())
    }

    /// The superblock of a new, empty log: version 2, transaction 1 next. For mkfs and tests.
    ///
    /// Fails when its own rules do not allow the arguments.
    pub fn new(
        block_size: BlockSize,
        max_len: u32,
        first: u32,
        (compat, incompat): (JournalCompat, JournalIncompat),
        uuid: [u8; 16],
        fc_blocks: u32,
    ) -> Result<Self, Damage> {
        let mut raw = RawJournalSuperblock::new_zeroed();
        raw.s_header = RawBlockHeader {
            h_magic: U32::new(MAGIC),
            h_blocktype: U32::new(BlockKind::SuperblockV2.raw()),
            h_sequence: U32::ZERO,
        };
        raw.s_blocksize = U32::new(block_size.bytes());
        raw.s_maxlen = U32::new(max_len);
        raw.s_first = U32::new(first);
        raw.s_sequence = U32::new(1);
        raw.s_feature_compat = U32::new(compat.bits());
        raw.s_feature_incompat = U32::new(incompat.bits());
        raw.s_uuid = uuid;
        raw.s_nr_users = U32::new(1);
        raw.s_num_fc_blks = U32::new(fc_blocks);
        if incompat.intersects(JournalIncompat::CSUM_V2 | JournalIncompat::CSUM_V3) {
            raw.s_checksum_type = CRC32C_TYPE;
            raw.s_checksum = U32::new(raw.checksum());
        }
        Self::decode(raw.as_bytes(), block_size, u64::from(max_len))
    }

    /// What was read, for display.
    pub const fn raw(&self) -> &RawJournalSuperblock {
        &self.raw
    }

    /// Which checksums the log has.
    pub fn checksums(&self) -> Checksums {
        if self.incompat.contains(JournalIncompat::CSUM_V3) {
            Checksums::V3
        } else if self.incompat.contains(JournalIncompat::CSUM_V2) {
            Checksums::V2
        } else if self.compat.contains(JournalCompat::CHECKSUM) {
            Checksums::V1
        } else {
            Checksums::None
        }
    }

    /// The shape of the log's blocks.
    pub fn format(&self) -> LogFormat {
        LogFormat {
            block_size: self.block_size,
            is_64bit: self.incompat.contains(JournalIncompat::BIT64),
            checksums: self.checksums(),
            async_commit: self.incompat.contains(JournalIncompat::ASYNC_COMMIT),
            seed: Csum::of_uuid(&self.uuid),
        }
    }

    /// One past the last block of the ring, `j_last`: the ring is `first..ring_end()`.
    pub const fn ring_end(&self) -> u32 {
        self.max_len - self.fc_blocks
    }

    /// The log blocks of the fast-commit area: from one after [`ring_end`](Self::ring_end) (that
    /// block itself stays unused) to the end of the log. Empty without the feature.
    ///
    /// The kernel's `j_fc_last` is one more, and it reads that block beyond the log when the area
    /// is exactly full; there is nothing in it.
    pub const fn fc_area(&self) -> std::ops::Range<u32> {
        if self.fc_blocks == 0 {
            return self.max_len..self.max_len;
        }
        self.ring_end() + 1..self.max_len
    }

    /// The bytes on disk, with all fields of this struct that may change after mkfs (`sequence`,
    /// `start`, `errno`, `head`, features) put in and the checksum set; all else as it was read.
    pub fn encode(&self) -> [u8; SUPERBLOCK_LEN] {
        let mut raw = self.raw;
        raw.s_sequence = U32::new(self.sequence.0);
        raw.s_start = U32::new(self.start);
        raw.s_errno = U32::new(self.errno.cast_unsigned());
        if self.kind == BlockKind::SuperblockV2 {
            raw.s_head = U32::new(self.head);
            raw.s_feature_compat = U32::new(self.compat.bits());
            raw.s_feature_incompat = U32::new(self.incompat.bits());
            if self.checksums().per_block() {
                raw.s_checksum_type = CRC32C_TYPE;
                raw.s_checksum = U32::new(raw.checksum());
            }
        }
        zerocopy::transmute!(raw)
    }

    /// Checks what only recovery needs: that `start` lies in the ring. `None` when the log is empty.
    /// `jread` says `EFSCORRUPTED` beyond the log; a start in the fast-commit area, where the kernel
    /// would find no header and silently replay nothing, is refused as well.
    pub fn checked_start(&self) -> Result<Option<u32>, Damage> {
        match self.start {
            0 => Ok(None),
            at if (self.first..self.ring_end()).contains(&at) => Ok(Some(at)),
            at => Err(Damage {
                class: Class::Corrupt,
                what: Corrupt::new(
                    PLACE,
                    format!("s_start {at}, expected {} to {}", self.first, self.ring_end() - 1),
                ),
            }),
        }
    }
}
