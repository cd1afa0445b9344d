//! A directory in memory, and the contexts the tests run with.

use ext4_dir::{Context, DirRead, DirStore, Error, new_directory};
use ext4_ondisk::checksum::Csum;
use ext4_units::{BlockSize, InodeNr, LogicalBlock};
use std::sync::Arc;

pub(crate) const DIR: InodeNr = InodeNr::new(20).unwrap();
pub(crate) const PARENT: InodeNr = InodeNr::ROOT;

pub(crate) fn context(block_size: u32) -> Context {
    Context {
        ino: DIR,
        block_size: BlockSize::from_bytes(block_size).unwrap(),
        inodes_count: 1 << 20,
        csum: Some(Csum(0x1234_5678)),
        has_filetype: true,
        has_dir_index: true,
        has_largedir: false,
        is_indexed: false,
        is_casefolded: false,
        is_encrypted: false,
        default_hash_version: 1,
        has_unsigned_hash: false,
        hash_seed: [1, 2, 3, 4],
    }
}

pub(crate) fn ino(nr: u32) -> InodeNr {
    InodeNr::new(nr).unwrap()
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MemError {
    Dir(Error),
    NoSpace,
}

impl From<Error> for MemError {
    fn from(error: Error) -> Self {
        Self::Dir(error)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mem {
    pub(crate) blocks: Vec<Arc<[u8]>>,
    pub(crate) block_len: usize,
    /// Appending fails when there are this many.
    pub(crate) max_blocks: Option<usize>,
    /// Blocks written and appended since [`Mem::begin`].
    pub(crate) n_written: usize,
    pub(crate) n_appended: usize,
}

impl Mem {
    pub(crate) fn new(context: &Context) -> Self {
        let block = new_directory(context, PARENT).unwrap();
        Self { block_len: block.len(), blocks: vec![block.into()], ..Self::default() }
    }

    pub(crate) fn of_bytes(bytes: &[u8], block_len: usize) -> Self {
        Self {
            block_len,
            blocks: bytes.chunks(block_len).map(Arc::from).collect(),
            ..Self::default()
        }
    }

    pub(crate) fn begin(&mut self) {
        (self.n_written, self.n_appended) = (0, 0);
    }
}

impl DirRead for Mem {
    type Error = MemError;

    fn read(&self, lblk: LogicalBlock) -> Result<Arc<[u8]>, MemError> {
        Ok(self.blocks[lblk.0 as usize].clone())
    }

    fn n_blocks(&self) -> u32 {
        u32::try_from(self.blocks.len()).unwrap()
    }
}

impl DirStore for Mem {
    fn write(&mut self, lblk: LogicalBlock, block: Vec<u8>) -> Result<(), MemError> {
        assert_eq!(block.len(), self.block_len);
        self.blocks[lblk.0 as usize] = block.into();
        self.n_written += 1;
        Ok(())
    }

    fn append(&mut self) -> Result<LogicalBlock, MemError> {
        assert_eq!(self.n_written, 0, "a block is appended after another was written");
        if self.max_blocks.is_some_and(|max| self.blocks.len() >= max) {
            return Err(MemError::NoSpace);
        }
        self.blocks.push(vec![0; self.block_len].into());
        self.n_appended += 1;
        Ok(LogicalBlock(self.n_blocks() - 1))
    }
}
