//! One directory block: which kind it is, its records without the tail, its checksum.

use crate::{Context, DirRead, Error};
use ext4_ondisk::{
    Corrupt,
    dir_entry::{Records, TAIL_LEN, seal_tail, verify_tail},
    htree,
};
use ext4_units::LogicalBlock;
use std::sync::Arc;

/// What a block of a directory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Entries, and the checksum tail.
    Leaf,
    /// The index's root, which holds `.` and `..` too.
    Root,
    /// A node of the index.
    Node,
}

/// A block read, of the right length and with its checksum verified.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) lblk: LogicalBlock,
    pub(crate) kind: Kind,
    pub(crate) bytes: Arc<[u8]>,
}

/// Computes the checksum of a block that is right but for it, with the context's seed; without one
/// there is none.
///
/// # Errors
/// [`Error::Corrupt`] for an index block whose count cannot be.
pub fn seal_block(context: &Context, kind: Kind, bytes: &mut [u8]) -> Result<(), Error> {
    context.seal(kind, bytes, 0)
}

impl Context {
    /// The kind of a block, as `__ext4_read_dirblock` tells them apart.
    fn kind(&self, lblk: LogicalBlock, bytes: &[u8]) -> Kind {
        match lblk.0 {
            0 if self.is_dx() => Kind::Root,
            // An empty leaf without a tail looks the same; nothing is lost by the confusion.
            1.. if self.is_dx() && htree::is_node(bytes, self.block_size) => Kind::Node,
            _ => Kind::Leaf,
        }
    }

    /// How many bytes of a leaf hold records.
    pub(crate) fn leaf_len(&self) -> usize {
        self.block_size.len() - if self.csum.is_some() { TAIL_LEN } else { 0 }
    }

    /// Reads a block without judging its contents.
    pub(crate) fn read_raw<S: DirRead + ?Sized>(
        &self,
        store: &S,
        lblk: LogicalBlock,
    ) -> Result<Arc<[u8]>, S::Error> {
        let n_blocks = store.n_blocks();
        if lblk.0 >= n_blocks {
            let fault = format!("beyond the end, expected below {n_blocks}");
            return Err(Error::from(self.area(lblk).corrupt(fault)).into());
        }
        let bytes = store.read(lblk)?;
        if bytes.len() != self.block_size.len() {
            let fault = format!("{} bytes, expected {}", bytes.len(), self.block_size);
            return Err(Error::from(self.area(lblk).corrupt(fault)).into());
        }
        Ok(bytes)
    }

    /// Reads a block and verifies the checksum of its kind.
    pub(crate) fn read<S: DirRead + ?Sized>(
        &self,
        store: &S,
        lblk: LogicalBlock,
    ) -> Result<Block, S::Error> {
        let bytes = self.read_raw(store, lblk)?;
        let kind = self.kind(lblk, &bytes);
        if let Some(seed) = self.csum {
            let dx = self.dx(store.n_blocks());
            let verified = match kind {
                Kind::Leaf => verify_tail(&bytes, seed, self.area(lblk)).map(|_| ()),
                // Other faults of an index do not keep its entries from being read.
                Kind::Root => only_checksum(dx.parse_root(&bytes)),
                Kind::Node => only_checksum(dx.parse_node(&bytes, lblk)),
            };
            verified.map_err(Error::from)?;
        }
        Ok(Block { lblk, kind, bytes })
    }

    /// The records of a block.
    pub(crate) fn records<'b>(&self, block: &'b Block) -> Records<'b> {
        let len = match block.kind {
            Kind::Leaf => self.leaf_len(),
            Kind::Root | Kind::Node => block.bytes.len(),
        };
        let area = block.bytes.get(..len).unwrap_or_default();
        Records::new(area, self.area(block.lblk), self.block_size, self.inodes_count)
    }

    /// Computes the checksum of a block whose records changed.
    pub(crate) fn seal(&self, kind: Kind, bytes: &mut [u8], n_blocks: u32) -> Result<(), Error> {
        match (self.csum, kind) {
            (None, _) => {}
            (Some(seed), Kind::Leaf) => seal_tail(bytes, seed),
            (Some(_), Kind::Node) => self.dx(n_blocks).reseal(bytes)?,
            (Some(_), Kind::Root) => self.dx(n_blocks).reseal_root(bytes)?,
        }
        Ok(())
    }
}

fn only_checksum<T>(parsed: Result<T, Corrupt>) -> Result<(), Corrupt> {
    match parsed {
        Err(corrupt) if corrupt.is_checksum => Err(corrupt),
        _ => Ok(()),
    }
}
