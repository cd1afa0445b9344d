//! Inodes of the filesystem's own, read before pass 1 has looked at them: nothing of them is believed.

use crate::{Error, Result, image::Image, session::Session};
use ext4_extent::{Format, NodeRead, State};
use ext4_ondisk::{
    indirect,
    inode::{FileType, Inode, InodeFlags},
};
use ext4_units::{BlockNr, BlockRange, InodeNr, LogicalBlock};
use std::{cell::RefCell, sync::Arc};

/// A regular file in use: what it says, and where its blocks are.
#[derive(Debug)]
pub(crate) struct Special {
    pub(crate) inode: Inode,
    /// All its blocks in order, none missing.
    pub(crate) runs: Vec<BlockRange>,
    /// Blocks of its map that are not in the inode.
    pub(crate) nodes: Vec<BlockNr>,
}

impl Special {
    /// Its blocks, in order.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = BlockNr> + '_ {
        self.runs.iter().flat_map(|it| it.iter())
    }
}

/// Reads such a file; else what is wrong with it.
pub(crate) fn read(
    session: &Session<'_, '_>,
    ino: InodeNr,
) -> Result<std::result::Result<Special, String>> {
    if !session.has_place(ino) {
        return Ok(Err("it is in no inode table".into()));
    }
    let bytes = session.read_inode(ino)?;
    let inode = match Inode::decode_unverified(&bytes, ino, &session.format) {
        Ok(inode) => inode,
        Err(fault) => return Ok(Err(fault.fault.into_owned())),
    };
    runs(session, ino, inode)
}

/// As [`read`], of an inode that is at hand.
pub(super) fn runs(
    session: &Session<'_, '_>,
    ino: InodeNr,
    inode: Inode,
) -> Result<std::result::Result<Special, String>> {
    if inode.links_count == 0 {
        return Ok(Err("it is not in use".into()));
    }
    if inode.file_type() != FileType::Regular || inode.flags.contains(InodeFlags::INLINE_DATA) {
        return Ok(Err(format!("i_mode {:#o}, expected a file", inode.mode)));
    }
    let geo = &session.geo;
    let blocks = geo.block_size.blocks_for(inode.size);
    let to = match u32::try_from(blocks) {
        Ok(to) if blocks <= geo.blocks_count => LogicalBlock(to),
        _ => return Ok(Err(format!("{blocks} blocks, more than the filesystem has"))),
    };
    let ctx = session.map_context(ino, &inode);
    let nodes = Nodes::of(&session.image);
    let mut runs: Vec<BlockRange> = Vec::new();
    for mapping in Format::of(inode.flags).iter(&ctx, &inode.i_block, &nodes, LogicalBlock(0), to) {
        let mapping = match mapping {
            Ok(mapping) => mapping,
            Err(Error::Device(err)) => return Err(Error::Device(err)),
            Err(fault) => return Ok(Err(fault.to_string())),
        };
        let State::Written(start) = mapping.state else {
            return Ok(Err(format!("block {} is not there", mapping.lblk)));
        };
        let run = BlockRange::new(start, mapping.len.into());
        if run.end().0 > session.image.n_blocks() {
            return Ok(Err(format!("block {} is outside of the device", mapping.lblk)));
        }
        match runs.last_mut() {
            Some(last) if last.end() == run.start => last.len += run.len,
            _ => runs.push(run),
        }
    }
    Ok(Ok(Special { inode, runs, nodes: nodes.met.into_inner() }))
}

/// How much the maps that are asked for one after the other may name together: where nothing is damaged
/// each block is in one of them.
#[derive(Debug)]
pub(crate) struct Allowance(u64);

impl Allowance {
    /// For any number of inodes.
    pub(crate) fn of(session: &Session<'_, '_>) -> Self {
        // A block, the mapping it is in and the hole before that; a hole in each inode.
        let blocks = session.geo.blocks_count.saturating_mul(3);
        Self(blocks.saturating_add(session.geo.inodes_count.into()))
    }

    /// Takes a mapping of so many blocks; false when that is more than there is.
    fn take(&mut self, blocks: u64) -> bool {
        let left = self.0.checked_sub(blocks.saturating_add(1));
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

/// What an inode of any kind maps, holes allowed; else what is wrong with its map.
pub(crate) fn mapped(
    session: &Session<'_, '_>,
    ino: InodeNr,
    bytes: &[u8],
    allowance: &mut Allowance,
) -> Result<std::result::Result<Vec<BlockRange>, String>> {
    let inode = match Inode::decode_unverified(bytes, ino, &session.format) {
        Ok(inode) => inode,
        Err(fault) => return Ok(Err(fault.fault.into_owned())),
    };
    let has_map = matches!(inode.file_type(), FileType::Regular | FileType::Directory);
    let mut runs = Vec::new();
    if !has_map || inode.flags.contains(InodeFlags::INLINE_DATA) {
        return Ok(Ok(runs));
    }
    let ctx = session.map_context(ino, &inode);
    let nodes = Nodes::of(&session.image);
    let to = match Format::of(inode.flags) {
        Format::Extents => u32::MAX,
        Format::Indirect => indirect::end(session.geo.block_size),
    };
    let mappings = Format::of(inode.flags).iter(
        &ctx,
        &inode.i_block,
        &nodes,
        LogicalBlock(0),
        LogicalBlock(to),
    );
    for mapping in mappings {
        match mapping {
            Ok(mapping) => {
                let run = match mapping.state {
                    State::Written(start) | State::Unwritten(start) => {
                        Some(BlockRange::new(start, mapping.len.into()))
                    }
                    State::Hole => None,
                };
                if !allowance.take(run.map_or(0, |it| it.len)) {
                    return Ok(Err("more blocks than the filesystem has".into()));
                }
                runs.extend(run);
            }
            Err(Error::Device(err)) => return Err(Error::Device(err)),
            Err(fault) => return Ok(Err(fault.to_string())),
        }
    }
    Ok(Ok(runs))
}

/// Blocks of maps.
struct Nodes<'a> {
    image: &'a Image,
    /// Those that were read.
    met: RefCell<Vec<BlockNr>>,
}

impl<'a> Nodes<'a> {
    fn of(image: &'a Image) -> Self {
        Self { image, met: RefCell::default() }
    }
}

impl NodeRead for Nodes<'_> {
    type Error = Error;

    fn read(&self, blk: BlockNr) -> Result<Arc<[u8]>> {
        let block = self.image.read(blk)?.into();
        self.met.borrow_mut().push(blk);
        Ok(block)
    }
}
