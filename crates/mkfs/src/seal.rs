//! What ties a block to its filesystem: checksums from the filesystem's seed, and the uuid in the
//! journal. Done as the block is written, for the uuid may follow from the files' contents.

use crate::error::Result;
use ext4_ondisk::{
    checksum::Csum,
    dir_entry, extent,
    features::Incompat,
    htree::DxContext,
    inode::InodeFormat,
    jbd2::RawJournalSuperblock,
    mmp::RawMmp,
    orphan_file,
    superblock::{RawSuperblock, Superblock},
    xattr,
};
use ext4_units::{BlockNr, InodeNr};
use zerocopy::FromBytes as _;

/// What a block is, as far as its checksum goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seal {
    /// It has none.
    None,
    /// Names in a block of this directory: its tail.
    Directory(InodeNr),
    /// The root or a node of this directory's index.
    Index(InodeNr),
    /// A node of the file's extent tree.
    ExtentNode(InodeNr),
    /// Extended attributes.
    Xattr,
    /// The MMP block.
    Mmp,
    /// A block of the orphan file, which is this inode.
    OrphanFile(InodeNr),
    /// The first block of the log, which has the filesystem's uuid and no checksum.
    JournalSuperblock,
}

/// A block that is written where `at` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) at: BlockNr,
    /// Its contents, not sealed yet, without the zeros at its end.
    pub(crate) bytes: Vec<u8>,
    pub(crate) seal: Seal,
}

impl Block {
    pub(crate) const fn new(at: BlockNr, bytes: Vec<u8>, seal: Seal) -> Self {
        Self { at, bytes, seal }
    }
}

/// Seals blocks and inodes of one filesystem.
#[derive(Clone, Debug)]
pub(crate) struct Sealer {
    pub(crate) raw: RawSuperblock,
    pub(crate) superblock: Superblock,
    format: InodeFormat,
}

impl Sealer {
    /// For the filesystem of this superblock, with this uuid.
    ///
    /// # Errors
    /// When the superblock was none before.
    pub(crate) fn new(raw: &RawSuperblock, uuid: [u8; 16]) -> Result<Self> {
        let mut raw = raw.clone();
        if raw.s_uuid != uuid {
            raw.s_uuid = uuid;
            if raw.s_feature_incompat.get() & Incompat::CSUM_SEED.bits() != 0 {
                raw.s_checksum_seed.set(Csum::of_uuid(&uuid).0);
            }
            raw.update_checksum();
        }
        let superblock = Superblock::decode(&raw)?;
        let format = InodeFormat::new(&superblock);
        Ok(Self { raw, superblock, format })
    }

    /// Seals `bytes`, which go to block `at`.
    pub(crate) fn block(&self, at: BlockNr, seal: Seal, bytes: &mut [u8]) {
        let sb = &self.superblock;
        match seal {
            Seal::None => {}
            Seal::Directory(ino) => {
                if let Some(seed) = self.format.seed(ino, 0) {
                    dir_entry::seal_tail(bytes, seed);
                }
            }
            Seal::Index(ino) => {
                let context = DxContext {
                    ino,
                    block_size: sb.block_size,
                    csum: self.format.seed(ino, 0),
                    has_largedir: true,
                    n_blocks: u32::MAX,
                };
                let is_sealed = context.reseal(bytes);
                debug_assert!(is_sealed.is_ok(), "{is_sealed:?}");
            }
            Seal::ExtentNode(ino) => {
                if let Some(seed) = self.format.seed(ino, 0) {
                    extent::set_checksum(seed, bytes, extent::node_max(sb.block_size));
                }
            }
            Seal::Xattr => xattr::update_checksum(bytes, at, sb.metadata_csum()),
            Seal::Mmp => {
                if let Ok((raw, _)) = RawMmp::read_from_prefix(bytes) {
                    raw.encode(bytes, sb.metadata_csum());
                }
            }
            Seal::OrphanFile(ino) => orphan_file::seal(bytes, at, self.format.seed(ino, 0)),
            Seal::JournalSuperblock => {
                if let Ok((raw, _)) = RawJournalSuperblock::mut_from_prefix(bytes) {
                    raw.s_uuid = sb.uuid;
                }
            }
        }
    }

    /// Seals the bytes of one inode.
    pub(crate) fn inode(&self, ino: InodeNr, bytes: &mut [u8]) {
        self.format.update_checksum(ino, bytes);
    }
}
