//! A file's bytes: holes and unwritten blocks as zeros, inline data, symlink targets.

use crate::{Error, Filesystem, Inode, MapState, Result};
use ext4_jbd2::MetaRead;
use ext4_ondisk::{
    Corrupt, inline_data,
    inode::{FileType, InodeFlags},
    xattr,
};
use ext4_units::{BlockNr, LogicalBlock};

impl Filesystem {
    /// Reads a regular file's bytes from `offset` into `buf` and says how many there were: less
    /// than asked for only at the end of the file.
    ///
    /// Data comes from the device; that of a file whose data is journaled through `meta`. Encrypted
    /// contents are refused.
    pub fn read_at(
        &self,
        meta: &dyn MetaRead,
        inode: &Inode,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<usize> {
        match inode.file_type() {
            FileType::Regular => {}
            FileType::Directory => return Err(Error::IsADirectory { ino: inode.ino }),
            other => {
                let found = type_name(other);
                return Err(Error::WrongType { ino: inode.ino, found, expected: "a regular file" });
            }
        }
        if inode.flags.contains(InodeFlags::ENCRYPT) {
            return Err(Error::NotPermitted { ino: inode.ino, flag: "encrypt" });
        }
        if self.writing().is_none() || inode.has_inline_data() {
            return self.read_raw(meta, inode, offset, buf);
        }
        // Others may cut the file or write pages back meanwhile: what is read comes from one moment
        // of its map, and from no block that was another file's by then.
        let i_size = inode.i_size;
        self.while_steady(inode.ino, || {
            let now = self.inode(meta, inode.ino)?;
            self.read_raw(meta, &Inode { i_size, ..now }, offset, buf)
        })
    }

    /// The target of a symbolic link, in `i_block`, inline or in a block (`ext4_get_link`).
    pub fn read_link(&self, meta: &dyn MetaRead, inode: &Inode) -> Result<Vec<u8>> {
        if inode.file_type() != FileType::Symlink {
            return Err(Error::WrongType {
                ino: inode.ino,
                found: type_name(inode.file_type()),
                expected: "a symbolic link",
            });
        }
        if inode.flags.contains(InodeFlags::ENCRYPT) {
            return Err(Error::NotPermitted { ino: inode.ino, flag: "encrypt" });
        }
        let corrupt = |fault: String| Corrupt::new(format!("symlink inode {}", inode.ino), fault);
        let max = if inode.is_fast_symlink(self) {
            inode.i_block.len() - 1
        } else {
            self.geometry().block_size.len().min(4096) - 1
        };
        let len = usize::try_from(inode.i_size)
            .ok()
            .filter(|&len| len != 0 && len <= max)
            .ok_or_else(|| corrupt(format!("i_size {}, expected 1 to {max}", inode.i_size)))?;
        let mut target = vec![0; len];
        if inode.is_fast_symlink(self) {
            target.copy_from_slice(&inode.i_block[..len]);
        } else {
            self.read_raw(meta, inode, 0, &mut target)?;
        }
        if target.contains(&0) {
            return Err(corrupt(format!("target of {len} bytes has a zero byte")).into());
        }
        Ok(target)
    }

    /// As [`read_at`](Self::read_at) for whatever has contents, without asking what it is.
    pub(crate) fn read_raw(
        &self,
        meta: &dyn MetaRead,
        inode: &Inode,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<usize> {
        let left = inode.i_size.saturating_sub(offset);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let buf = &mut buf[..len];
        if len == 0 {
            return Ok(0);
        }
        if inode.has_inline_data() {
            let contents = inode.inline_contents()?;
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            let held = contents.get(from..).unwrap_or_default();
            let n = held.len().min(len);
            buf[..n].copy_from_slice(&held[..n]);
            buf[n..].fill(0);
        } else {
            let above = self.pages_above(inode.ino, offset, len);
            self.read_mapped(meta, inode, offset, buf)?;
            above.lay_over(self, offset, buf);
        }
        Ok(len)
    }

    /// Fills `buf` from the mapped blocks. Does not look at the size.
    fn read_mapped(
        &self,
        meta: &dyn MetaRead,
        inode: &Inode,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<()> {
        let size = self.geometry().block_size;
        let too_far = || Error::TooBig {
            ino: inode.ino,
            offset,
            max: self.geometry().max_size(inode.has_extents()),
        };
        let end = offset.checked_add(buf.len() as u64).ok_or_else(too_far)?;
        let first = LogicalBlock::of_byte(offset, size).ok_or_else(too_far)?;
        // The last number of all is no block's (`EXT_MAX_BLOCKS`).
        let last = LogicalBlock::of_byte(end - 1, size).ok_or_else(too_far)?;
        let stop = LogicalBlock(last.0.checked_add(1).ok_or_else(too_far)?);
        // Data that goes through the log may be newer there than at home.
        let through_log = inode.file_type() != FileType::Regular
            || inode.flags.contains(InodeFlags::EA_INODE)
            || self.logs_data(inode);
        self.mappings(meta, inode, first, stop, |mapping| {
            // The part of the request that this mapping answers.
            let start = mapping.lblk.byte(size).max(offset);
            let stop = LogicalBlock(mapping.end()).byte(size).min(end);
            let (Ok(from), Ok(to)) =
                (usize::try_from(start - offset), usize::try_from(stop - offset))
            else {
                return Ok(());
            };
            let part = &mut buf[from..to];
            match mapping.state {
                MapState::Hole | MapState::Unwritten(_) => part.fill(0),
                MapState::Written(blk) if through_log => {
                    self.read_blocks(meta, blk, start - mapping.lblk.byte(size), part)?;
                }
                MapState::Written(blk) => {
                    let at = blk.byte(size) + (start - mapping.lblk.byte(size));
                    self.device().read_at(at, part)?;
                }
            }
            Ok(())
        })
    }

    /// Fills `part` from the byte `skip` of the blocks from `blk` on, through `meta`.
    fn read_blocks(
        &self,
        meta: &dyn MetaRead,
        blk: BlockNr,
        skip: u64,
        part: &mut [u8],
    ) -> Result<()> {
        let size = self.geometry().block_size;
        let mut skip = skip;
        let mut rest = part;
        while !rest.is_empty() {
            let block = meta.read(blk.plus(skip >> size.bits()))?;
            let held = block.get(size.within(skip) as usize..).unwrap_or_default();
            let n = held.len().min(rest.len());
            let (now, later) = rest.split_at_mut(n);
            now.copy_from_slice(&held[..n]);
            rest = later;
            skip += n as u64;
        }
        Ok(())
    }
}

impl Inode {
    /// The bytes an inode has room for in itself: `i_block` and the attribute `system.data`.
    pub(crate) fn inline_contents(&self) -> Result<Vec<u8>> {
        let entries = xattr::parse_body(&self.ibody, self.ino)?;
        let attribute = inline_data::attribute(&entries).ok_or_else(|| {
            let place = format!("inode {}", self.ino);
            Corrupt::new(place, "inline data without its attribute system.data")
        })?;
        Ok(inline_data::contents(&self.i_block, attribute))
    }
}

/// A file type with its article, for messages.
pub const fn type_name(file_type: FileType) -> &'static str {
    match file_type {
        FileType::Unknown => "of no known type",
        FileType::Regular => "a regular file",
        FileType::Directory => "a directory",
        FileType::CharDevice => "a character device",
        FileType::BlockDevice => "a block device",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::Symlink => "a symbolic link",
    }
}
