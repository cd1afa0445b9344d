//! A device that holds nothing but a journal (`journal_dev`), and telling it of a filesystem.

use crate::{
    error::{Error, Result, conflict},
    options::{Identity, JournalDevice, Options},
    usage,
};
use ext4_blockdev::BlockDevice;
use ext4_ondisk::{
    Corrupt,
    features::{Compat, Features, Incompat, RoCompat},
    jbd2::{
        BlockKind, JournalCompat, JournalIncompat, JournalSuperblock, MAGIC, MIN_LOG_BLOCKS,
        RawJournalSuperblock,
    },
    superblock::{RawSuperblock, Superblock},
};
use ext4_units::BlockSize;
use sha2::{Digest as _, Sha256};
use std::fmt;
use zerocopy::{FromBytes as _, FromZeros as _, IntoBytes as _};

/// Filesystems that can share a journal, `JBD2_USERS_MAX` with the space of a uuid for each.
const MAX_USERS: u32 = 48;

/// A journal device that could be written.
#[derive(Clone, Debug)]
pub struct JournalPlan {
    /// Bytes in a block.
    pub block_size: BlockSize,
    /// Blocks of the device.
    pub blocks: u32,
    /// The block with the log's superblock; the log follows.
    pub superblock_at: u32,
    /// Blocks of the fast-commit area at the end.
    pub fast_commit: u32,
    /// Its uuid.
    pub uuid: [u8; 16],
    raw: RawSuperblock,
    log: Vec<u8>,
    lazy: bool,
    discard: bool,
}

/// The features that `options` ask for, to see whether a journal device is meant.
pub fn is_journal_device(options: &Options) -> bool {
    crate::features::edited(Features::default(), &options.features)
        .has_incompat(Incompat::JOURNAL_DEV)
}

/// Plans a journal device of `device_len` bytes.
///
/// # Errors
/// When it is too small for a log.
pub fn plan(options: &Options, device_len: u64) -> Result<JournalPlan> {
    let len = options.size.unwrap_or(device_len);
    let features = crate::features::edited(Features::default(), &options.features);
    let by_size = [usage::of_size(len).to_owned()];
    let names: &[String] = if options.usage.is_empty() { &by_size } else { &options.usage };
    let (by_usage, _) = usage::named(names)?;
    let typed = options.block_size.or_else(|| BlockSize::from_bytes(by_usage));
    let block_size = typed.unwrap_or(BlockSize::MIN);
    let blocks = len >> block_size.bits();
    let Ok(blocks) = u32::try_from(blocks) else {
        return conflict(format!("a journal of {blocks} blocks, expected below 2^32"));
    };
    let first_data_block = u32::from(block_size == BlockSize::MIN);
    let superblock_at = first_data_block + 1;
    let has_fast_commit = features.has_compat(Compat::FAST_COMMIT);
    let fast_commit = if has_fast_commit {
        let log = u64::from(blocks) * 64 / 65;
        blocks - u32::try_from(log).unwrap_or(blocks).max(MIN_LOG_BLOCKS).min(blocks)
    } else {
        0
    };
    let least = MIN_LOG_BLOCKS + superblock_at + fast_commit;
    if blocks < least || len > device_len {
        return Err(Error::TooSmall {
            found: device_len,
            expected: (u64::from(least) << block_size.bits()).max(options.size.unwrap_or(0)),
            what: "a journal device".to_owned(),
        });
    }
    let uuid = match options.uuid {
        Identity::Given(bytes) => bytes,
        Identity::Derived => derived(options, blocks),
    };
    let mut raw = RawSuperblock::new_zeroed();
    raw.s_magic.set(RawSuperblock::MAGIC);
    raw.s_state.set(1);
    raw.set_blocks_count(u64::from(blocks));
    raw.s_first_data_block.set(first_data_block);
    raw.s_log_block_size.set(block_size.bits() - 10);
    raw.s_log_cluster_size.set(block_size.bits() - 10);
    let per_group = (block_size.bytes() * 8).min(65528);
    raw.s_blocks_per_group.set(per_group);
    raw.s_clusters_per_group.set(per_group);
    raw.s_max_mnt_count.set(u16::MAX);
    raw.s_errors.set(1);
    let seconds = u32::try_from(options.time & 0xFFFF_FFFF).unwrap_or(0);
    raw.s_mkfs_time.set(seconds);
    raw.s_lastcheck.set(seconds);
    raw.s_wtime.set(seconds);
    raw.s_rev_level.set(1);
    raw.s_first_ino.set(11);
    raw.s_inode_size.set(256);
    raw.s_uuid = uuid;
    if options.label.len() > 16 {
        return conflict(format!("label of {} bytes, expected at most 16", options.label.len()));
    }
    raw.s_volume_name[..options.label.len()].copy_from_slice(&options.label);
    raw.s_feature_incompat.set(Incompat::JOURNAL_DEV.bits());
    if features.has_ro_compat(RoCompat::METADATA_CSUM) {
        raw.s_feature_ro_compat.set(RoCompat::METADATA_CSUM.bits());
        raw.s_checksum_type = 1;
    }
    raw.update_checksum();
    let log = JournalSuperblock::new(
        block_size,
        blocks,
        superblock_at + 1,
        (JournalCompat::empty(), JournalIncompat::empty()),
        uuid,
        fast_commit,
    )
    .map_err(|damage| Error::Unsound(damage.what))?;
    let mut log_raw = *log.raw();
    log_raw.s_nr_users.set(0);
    Ok(JournalPlan {
        block_size,
        blocks,
        superblock_at,
        fast_commit,
        uuid,
        raw,
        log: log_raw.as_bytes().to_vec(),
        lazy: options.journal.lazy,
        discard: options.discard,
    })
}

fn derived(options: &Options, blocks: u32) -> [u8; 16] {
    let text = format!("ext4-mkfs journal 1 {blocks} {options:?}");
    let digest = Sha256::digest(text.as_bytes());
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&digest[..16]);
    uuid[6] = uuid[6] & 0x0F | 0x80;
    uuid[8] = uuid[8] & 0x3F | 0x80;
    uuid
}

impl JournalPlan {
    /// Bytes of the device that it takes.
    pub fn len(&self) -> u64 {
        u64::from(self.blocks) << self.block_size.bits()
    }

    /// Never: there is a superblock.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Writes it: zeros, then the log's superblock, then the one that says what it is.
    ///
    /// # Errors
    /// The device failed, or is shorter than planned.
    pub fn write(&self, device: &dyn BlockDevice) -> Result<()> {
        const CHUNK: u64 = 4 << 20;
        let len = self.len();
        let is_clear = self.discard && device.punch(0, len)?;
        if !is_clear {
            let end = if self.lazy { (64 << 10).min(len) } else { len };
            let zeros = vec![0; usize::try_from(CHUNK.min(end)).unwrap_or(0)];
            let mut at = 0;
            while at < end {
                let n = usize::try_from((end - at).min(CHUNK)).unwrap_or(0);
                device.write_at(at, &zeros[..n])?;
                at += n as u64;
            }
        }
        device.flush()?;
        device.write_at(u64::from(self.superblock_at) << self.block_size.bits(), &self.log)?;
        device.flush()?;
        // Crash above: a log that nobody looks for.
        device.write_at(RawSuperblock::OFFSET, self.raw.as_bytes())?;
        device.flush()?;
        Ok(())
    }
}

impl fmt::Display for JournalPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "external journal of {} blocks of {} bytes", self.blocks, self.block_size)?;
        writeln!(f, "uuid: {}", ext4_ondisk::uuid::text(&self.uuid))?;
        writeln!(f, "log superblock: block {}", self.superblock_at)?;
        if self.fast_commit > 0 {
            writeln!(f, "fast-commit area: {} blocks at the end", self.fast_commit)?;
        }
        Ok(())
    }
}

/// A journal device that exists, for a filesystem that is to use it.
#[derive(Debug)]
pub struct Attachment {
    /// What the filesystem's plan has to know.
    pub journal: JournalDevice,
    at: u64,
    log: RawJournalSuperblock,
}

/// Reads the journal on `device`; `device_number` is the host's, 0 for an image file.
///
/// # Errors
/// When there is no journal or it has no room for another filesystem.
pub fn open(device: &dyn BlockDevice, device_number: u32) -> Result<Attachment> {
    let mut start = [0; RawSuperblock::SIZE];
    device.read_at(RawSuperblock::OFFSET, &mut start)?;
    let raw = RawSuperblock::of(&start).expect("1024 bytes were read");
    Superblock::check_magic(raw)?;
    let none = |fault: &str| Error::Unsound(Corrupt::new("journal device", fault.to_owned()));
    if raw.s_feature_incompat.get() & Incompat::JOURNAL_DEV.bits() == 0 {
        return Err(none("a filesystem, expected a journal (-O journal_dev)"));
    }
    let log_size = raw.s_log_block_size.get();
    let block_size = log_size.checked_add(10).and_then(BlockSize::from_bits);
    let block_size = block_size.ok_or_else(|| none("no block size, expected 1024 to 65536"))?;
    let at = (u64::from(block_size == BlockSize::MIN) + 1) << block_size.bits();
    let mut log = [0; 1024];
    device.read_at(at, &mut log)?;
    let log = RawJournalSuperblock::read_from_bytes(&log).expect("1024 bytes were read");
    let is_v2 = log.s_header.h_magic.get() == MAGIC
        && log.s_header.h_blocktype.get() == BlockKind::SuperblockV2.raw();
    if !is_v2 || log.s_blocksize.get() != block_size.bytes() {
        return Err(none("no log superblock of version 2 and the device's block size"));
    }
    if log.s_nr_users.get() >= MAX_USERS {
        return Err(none("as many filesystems as a journal can have"));
    }
    let journal = JournalDevice { uuid: log.s_uuid, device_number, block_size };
    Ok(Attachment { journal, at, log })
}

impl Attachment {
    /// Tells the journal that the filesystem `uuid` uses it. Before the filesystem is written: a
    /// user that never comes to be does no harm, one the journal does not know is refused.
    ///
    /// # Errors
    /// The device failed.
    pub fn attach(&self, device: &dyn BlockDevice, uuid: &[u8; 16]) -> Result<()> {
        let mut log = self.log;
        let n = log.s_nr_users.get() as usize;
        let known = log.s_users.chunks_exact(16).take(n).any(|it| it == uuid);
        if !known {
            let Some(room) = log.s_users.get_mut(n * 16..n * 16 + 16) else {
                return conflict("the journal has no room for another filesystem");
            };
            room.copy_from_slice(uuid);
            log.s_nr_users.set(log.s_nr_users.get() + 1);
        }
        let sums = JournalIncompat::CSUM_V2 | JournalIncompat::CSUM_V3;
        if JournalIncompat::from_bits_retain(log.s_feature_incompat.get()).intersects(sums) {
            log.s_checksum.set(log.checksum());
        }
        device.write_at(self.at, log.as_bytes())?;
        device.flush()?;
        Ok(())
    }
}
