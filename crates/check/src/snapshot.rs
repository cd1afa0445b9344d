//! The filesystem as it lay on its device at one moment, for those who only look at it: inodes by
//! their numbers, what they map, the names in directories. Believes nothing, checks nothing.

use crate::{
    Error, Result,
    image::Image,
    inode_tables::InodeTables,
    pieces::{self, What},
    session::Session,
};
use ext4_blockdev::Overlay;
use ext4_ondisk::{
    dir_entry::{Area, FileType, Records},
    features::Incompat,
    geometry::Geometry,
    group_desc::GroupDesc,
    inline_data,
    inode::{Inode, InodeFlags, InodeFormat},
    superblock::Superblock,
    xattr,
};
use ext4_units::{BlockNr, BlockRange, InodeNr, LogicalBlock};
use std::sync::Arc;

/// A filesystem at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) image: Image,
    pub(crate) geo: Geometry,
    pub(crate) format: InodeFormat,
    pub(crate) sb: Superblock,
    pub(crate) descs: Vec<GroupDesc>,
}

impl Snapshot {
    /// What is on `device`, by the frame that pass 0 found: the first of a check is the one by which
    /// the tables lie where they lay before anything was mended.
    pub(crate) fn of(session: &Session<'_, '_>, device: &Arc<Overlay>) -> Self {
        Self {
            image: Image::new(Arc::clone(device), session.geo.block_size),
            geo: session.geo,
            format: session.format,
            sb: session.sb.clone(),
            descs: session.descs.clone(),
        }
    }

    /// An inode's bytes; `None` for a number that is none, or one whose table is not on the device.
    pub(crate) fn inode_bytes(&self, ino: InodeNr) -> Result<Option<Vec<u8>>> {
        InodeTables { image: &self.image, geo: &self.geo, descs: &self.descs }.read(ino)
    }

    /// A block; `None` outside of the device.
    pub(crate) fn block(&self, blk: BlockNr) -> Result<Option<Vec<u8>>> {
        match self.image.read(blk) {
            Err(Error::Outside(_)) => Ok(None),
            other => other.map(Some),
        }
    }

    /// What an inode's bytes mean; with an `i_extra_isize` that cannot be, by the one it had most
    /// likely.
    pub(crate) fn decode(&self, ino: InodeNr, bytes: &[u8]) -> Option<Inode> {
        let decode = |bytes: &[u8]| Inode::decode_unverified(bytes, ino, &self.format).ok();
        decode(bytes).or_else(|| {
            let mut bytes = bytes.to_vec();
            bytes.get_mut(0x80..0x82)?.copy_from_slice(&32_u16.to_le_bytes());
            decode(&bytes)
        })
    }

    /// An inode.
    pub(crate) fn inode(&self, ino: InodeNr) -> Result<Option<Inode>> {
        Ok(self.inode_bytes(ino)?.and_then(|bytes| self.decode(ino, &bytes)))
    }

    /// Goes to all names in a part of a directory but `.` and `..`, up to where its records no longer
    /// follow each other. Whether they did to the end.
    pub(crate) fn names_in(&self, part: &Part, mut visit: impl FnMut(NameOf<'_>)) -> bool {
        let place = Area::Block { ino: InodeNr::ROOT, lblk: LogicalBlock(0) };
        let has_kind = self.sb.features.has_incompat(Incompat::FILETYPE);
        for record in Records::new(&part.bytes, place, self.geo.block_size, self.geo.inodes_count) {
            let Ok(record) = record else { return false };
            let is_dot = [&b""[..], b".", b".."].contains(&record.name);
            if let Some(ino) = record.ino.filter(|_| !is_dot) {
                let kind = FileType::from_raw(if has_kind { record.file_type } else { 0 });
                visit(NameOf { name: record.name, ino, kind });
            }
        }
        true
    }
}

/// A name in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NameOf<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) ino: InodeNr,
    /// As the entry has it; unknown where entries have none.
    pub(crate) kind: FileType,
}

/// A block of a directory, or a part of an inode that holds entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Where it is in the directory, and on the device. `None` inside the inode.
    pub(crate) place: Option<(u64, BlockNr)>,
    pub(crate) bytes: Vec<u8>,
}

/// Reads directories of a snapshot, of all together no more than the device could hold.
#[derive(Debug)]
pub(crate) struct Directories<'s> {
    snapshot: &'s Snapshot,
    blocks_left: u64,
}

impl<'s> Directories<'s> {
    pub(crate) fn of(snapshot: &'s Snapshot) -> Self {
        // Twice: a block that two directories have is read for both.
        Self { snapshot, blocks_left: snapshot.image.n_blocks().saturating_mul(2) }
    }

    /// Goes to all parts of a directory, in the order of its map.
    pub(crate) fn parts(
        &mut self,
        ino: InodeNr,
        inode: &Inode,
        mut visit: impl FnMut(Part) -> Result<()>,
    ) -> Result<()> {
        if let Some(contents) = inline_contents(ino, inode) {
            let (body, value) = contents.split_at(inline_data::BODY_LEN.min(contents.len()));
            let body = body.get(inline_data::DOTDOT_SIZE..).unwrap_or_default();
            for bytes in [body, value] {
                visit(Part { place: None, bytes: bytes.to_vec() })?;
            }
            return Ok(());
        }
        let (image, geo) = (&self.snapshot.image, &self.snapshot.geo);
        let (mut runs, mut room) = (Vec::new(), self.blocks_left);
        pieces::walk(image, geo, inode, &mut self.blocks_left, &mut |it| {
            if let What::Contents { lblk, .. } = it.what
                && room > 0
            {
                room = room.saturating_sub(it.len);
                runs.push((lblk, BlockRange::new(it.start, it.len)));
            }
        })?;
        for (first, run) in runs {
            for (lblk, blk) in (first..).zip(run.iter()) {
                let Some(left) = self.blocks_left.checked_sub(1) else { return Ok(()) };
                self.blocks_left = left;
                if let Some(bytes) = self.snapshot.block(blk)? {
                    visit(Part { place: Some((lblk, blk)), bytes })?;
                }
            }
        }
        Ok(())
    }
}

/// The contents of an inode that has them inside.
pub(crate) fn inline_contents(ino: InodeNr, inode: &Inode) -> Option<Vec<u8>> {
    if !inode.flags.contains(InodeFlags::INLINE_DATA) {
        return None;
    }
    let entries = xattr::parse_body(&inode.ibody, ino).unwrap_or_default();
    let value = inline_data::attribute(&entries).unwrap_or_default();
    Some(inline_data::contents(&inode.i_block, value))
}
