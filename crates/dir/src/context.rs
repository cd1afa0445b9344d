//! What a directory's blocks are read and written by: facts from its inode and the superblock.

use crate::{Error, error::escape};
use ext4_ondisk::{
    checksum::Csum,
    dir_entry::{Area, FileType, NAME_MAX},
    dir_hash::{HashAlgorithm, Hasher, hash_name},
    htree::DxContext,
};
use ext4_units::{BlockSize, InodeNr, LogicalBlock};

/// One directory's facts.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "flags of the inode and the superblock")]
pub struct Context {
    /// The directory's inode.
    pub ino: InodeNr,
    /// The filesystem's block size.
    pub block_size: BlockSize,
    /// `s_inodes_count`: the highest legal inode number in an entry.
    pub inodes_count: u32,
    /// The directory inode's checksum seed, when the filesystem has metadata_csum.
    pub csum: Option<Csum>,
    /// INCOMPAT filetype: entries say what they name.
    pub has_filetype: bool,
    /// COMPAT dir_index: directories may become indexed.
    pub has_dir_index: bool,
    /// INCOMPAT largedir: one more level of index, and sizes beyond 32 bits.
    pub has_largedir: bool,
    /// The inode's `EXT4_INDEX_FL` (0x1000).
    pub is_indexed: bool,
    /// The inode's `EXT4_CASEFOLD_FL` (0x40000000): names compare folded.
    pub is_casefolded: bool,
    /// The inode's `EXT4_ENCRYPT_FL` (0x800): names are ciphertext.
    pub is_encrypted: bool,
    /// `s_def_hash_version`, for directories that become indexed.
    pub default_hash_version: u8,
    /// `s_flags` has `EXT2_FLAGS_UNSIGNED_HASH` (2).
    pub has_unsigned_hash: bool,
    /// `s_hash_seed`.
    pub hash_seed: [u32; 4],
}

impl Context {
    /// Whether to treat the directory as indexed, `is_dx`: its flag counts only with dir_index.
    pub fn is_dx(&self) -> bool {
        self.is_indexed && self.has_dir_index
    }

    /// What a directory block is called in messages.
    pub(crate) fn area(&self, lblk: LogicalBlock) -> Area {
        Area::Block { ino: self.ino, lblk }
    }

    pub(crate) fn dx(&self, n_blocks: u32) -> DxContext {
        DxContext {
            ino: self.ino,
            block_size: self.block_size,
            csum: self.csum,
            has_largedir: self.has_largedir,
            n_blocks,
        }
    }

    /// The hash of the version a root names.
    pub(crate) fn hasher(&self, version: u8) -> Result<Hasher, Error> {
        let algorithm = HashAlgorithm::from_raw(version)
            .ok_or(Error::Unsupported { dir: self.ino, what: hash_name(version) })?;
        Ok(Hasher { algorithm, is_unsigned: self.has_unsigned_hash, seed: self.hash_seed })
    }

    /// The `file_type` byte an entry gets.
    pub(crate) fn raw_type(&self, file_type: FileType) -> u8 {
        if self.has_filetype { file_type.raw() } else { 0 }
    }

    /// Refuses a name that is too long to be anywhere.
    pub(crate) fn check_len(&self, name: &[u8]) -> Result<(), Error> {
        match name.len() {
            0..=NAME_MAX => Ok(()),
            len => Err(Error::NameTooLong { dir: self.ino, name: escape(name), len }),
        }
    }

    /// Refuses a name that no entry may be given, or be removed by.
    pub(crate) fn check_name(&self, name: &[u8]) -> Result<(), Error> {
        self.check_len(name)?;
        if matches!(name, b"" | b"." | b"..") || name.iter().any(|byte| matches!(byte, b'/' | 0)) {
            return Err(Error::BadName { dir: self.ino, name: escape(name) });
        }
        Ok(())
    }

    /// Refuses a directory whose names mean more than their bytes.
    pub(crate) fn check_writable(&self) -> Result<(), Error> {
        if self.is_casefolded {
            return Err(Error::Unsupported { dir: self.ino, what: "a case-folded directory" });
        }
        Ok(())
    }

    /// Refuses a directory that new names cannot be put in: encrypted ones need a key.
    pub(crate) fn check_insertable(&self) -> Result<(), Error> {
        self.check_writable()?;
        if self.is_encrypted {
            return Err(Error::Unsupported { dir: self.ino, what: "an encrypted directory" });
        }
        Ok(())
    }

    pub(crate) fn exists(&self, name: &[u8]) -> Error {
        Error::Exists { dir: self.ino, name: escape(name) }
    }

    pub(crate) fn not_found(&self, name: &[u8]) -> Error {
        Error::NotFound { dir: self.ino, name: escape(name) }
    }
}
