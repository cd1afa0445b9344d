//! An open filesystem.

use crate::{
    Error, Result,
    alloc::GroupHints,
    damage::Damage,
    decoded::Decoded,
    incore::InCoreTable,
    open::Writing,
    orphan::OrphanSet,
    pages::{Delayed, PageCache},
    superblock,
    unsynced::Unsynced,
    zones::SystemZones,
};
use ext4_blockdev::BlockDevice;
use ext4_extent::Checked;
use ext4_jbd2::{Journal, MetaRead};
use ext4_ondisk::{
    features::{Operation, check},
    geometry::Geometry,
    group_desc::DescFormat,
    inode::InodeFormat,
    superblock::{JournalPlace, RawSuperblock, Superblock},
};
use ext4_units::{BlockRange, InodeNr};
use std::sync::Arc;

/// A filesystem on a device.
///
/// What is on disk, or will be, lives in the blocks of its [`Journal`]; what is only in memory, in
/// the inodes in core ([`InCore`](crate::InCore)). The rest was read at open and stays true.
///
/// `Send + Sync`: any number of threads may use it. Locks are taken in this order: an inode's
/// ([`InCore::lock`](crate::InCore::lock)), that of all names, pages under writeback, a handle.
#[derive(Debug)]
pub struct Filesystem {
    device: Arc<dyn BlockDevice>,
    journal: Journal,
    superblock: Superblock,
    geometry: Geometry,
    desc_format: DescFormat,
    inode_format: InodeFormat,
    zones: SystemZones,
    /// The zones but for the log, whose own inode may map it.
    zones_but_log: SystemZones,
    hints: GroupHints,
    orphans: OrphanSet,
    incores: InCoreTable,
    unsynced: Unsynced,
    damage: Damage,
    checked_nodes: Arc<Checked>,
    page_cache: PageCache,
    decoded: Decoded,
    /// There when it is open for writing.
    writing: Option<Writing>,
}

impl Filesystem {
    /// Opens the filesystem as it is, for reading: no replay, nothing written. With a log that
    /// should be replayed first, what is read is what lies at home.
    pub fn open_read(device: Arc<dyn BlockDevice>) -> Result<Self> {
        let superblock = superblock::read(&*device)?.superblock;
        check(Operation::Read, superblock.features)?;
        let journal = Journal::without_log(Arc::clone(&device), superblock.block_size);
        Self::assemble(device, journal, superblock, None)
    }

    /// Puts the parts together and finds out where the system's own blocks are.
    pub(crate) fn assemble(
        device: Arc<dyn BlockDevice>,
        journal: Journal,
        superblock: Superblock,
        writing: Option<Writing>,
    ) -> Result<Self> {
        let geometry = Geometry::new(&superblock);
        let bytes = u128::from(geometry.blocks_count) << geometry.block_size.bits();
        if bytes > u128::from(device.len()) {
            let fault = format!(
                "{} blocks of {} bytes, but the device has {} bytes",
                geometry.blocks_count,
                geometry.block_size,
                device.len()
            );
            return Err(Error::corrupt("superblock", fault));
        }
        let mut fs = Self {
            desc_format: DescFormat::new(&superblock),
            inode_format: InodeFormat::new(&superblock),
            zones: SystemZones::default(),
            zones_but_log: SystemZones::default(),
            hints: GroupHints::new(geometry.groups_count),
            orphans: OrphanSet::default(),
            incores: InCoreTable::default(),
            unsynced: Unsynced::default(),
            damage: Damage::default(),
            checked_nodes: Arc::default(),
            page_cache: PageCache::default(),
            decoded: Decoded::default(),
            writing,
            device,
            journal,
            superblock,
            geometry,
        };
        let mut runs = fs.find_zones();
        fs.zones_but_log = SystemZones::new(runs.clone());
        // A log that cannot be found is the trouble of those who need it.
        if let JournalPlace::Inode(ino) = fs.superblock.journal
            && let Ok(log) = fs.log_blocks(ino)
        {
            runs.extend(log);
        }
        fs.zones = SystemZones::new(runs);
        Ok(fs)
    }

    /// The device below.
    pub fn device(&self) -> &Arc<dyn BlockDevice> {
        &self.device
    }

    /// The metadata, and the log it goes through.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The metadata as readers outside any handle see it.
    pub fn meta(&self) -> &dyn MetaRead {
        &self.journal
    }

    /// The superblock's unchanging facts, as of open.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Where things are.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    pub(crate) fn desc_format(&self) -> &DescFormat {
        &self.desc_format
    }

    pub(crate) fn inode_format(&self) -> &InodeFormat {
        &self.inode_format
    }

    pub(crate) fn zones(&self) -> &SystemZones {
        &self.zones
    }

    /// Where the blocks of `ino` must not be.
    pub(crate) fn zones_for(&self, ino: InodeNr) -> &SystemZones {
        match self.superblock.journal {
            JournalPlace::Inode(log) if log == ino => &self.zones_but_log,
            _ => &self.zones,
        }
    }

    pub(crate) fn hints(&self) -> &GroupHints {
        &self.hints
    }

    pub(crate) fn orphans(&self) -> &OrphanSet {
        &self.orphans
    }

    pub(crate) fn incores(&self) -> &InCoreTable {
        &self.incores
    }

    pub(crate) fn unsynced(&self) -> &Unsynced {
        &self.unsynced
    }

    /// Nodes of maps that need no second check.
    pub(crate) fn checked_nodes(&self) -> &Arc<Checked> {
        &self.checked_nodes
    }

    pub(crate) fn page_cache(&self) -> &PageCache {
        &self.page_cache
    }

    /// How buffered writes are done.
    pub fn delayed(&self) -> Delayed {
        self.writing.as_ref().map_or(Delayed::DEFAULT, |it| it.delayed)
    }

    /// Inodes that need no second decoding.
    pub(crate) fn decoded(&self) -> &Decoded {
        &self.decoded
    }

    pub(crate) fn damage(&self) -> &Damage {
        &self.damage
    }

    pub(crate) fn writing(&self) -> Option<&Writing> {
        self.writing.as_ref()
    }

    /// What one cluster adds to `i_blocks`, in 512-byte units.
    pub(crate) fn cluster_sectors(&self) -> u64 {
        u64::from(self.geometry.cluster_ratio()) << (self.geometry.block_size.bits() - 9)
    }

    /// The superblock as it is now, in the view of `meta`.
    pub fn raw_superblock(&self, meta: &dyn MetaRead) -> Result<RawSuperblock> {
        let (blk, offset) = self.geometry.superblock_place();
        let block = meta.read(blk)?;
        let raw = block.get(offset..).and_then(RawSuperblock::of);
        raw.cloned().ok_or_else(|| Error::corrupt("superblock", "does not fit its block"))
    }

    /// All system blocks that can be found. Groups whose descriptor is damaged add nothing: what
    /// they hold is found out, with a message, by whoever asks for it.
    fn find_zones(&self) -> Vec<BlockRange> {
        let mut runs = Vec::new();
        for gi in self.geometry.groups() {
            match self.group(self.meta(), gi) {
                Ok(desc) => runs.extend(self.group_metadata(gi, &desc)),
                Err(_) => runs.push(self.geometry.base_metadata(gi)),
            }
        }
        runs
    }
}
