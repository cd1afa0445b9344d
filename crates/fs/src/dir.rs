//! Directories of a filesystem: listing and lookup, in blocks or inside the inode.

mod change;
mod inline;
mod store;

use crate::{Error, Filesystem, Inode, MapState, Result};
use ext4_dir::{Context, DirRead, Entry, Place};
use ext4_jbd2::{Block, MetaRead};
use ext4_ondisk::{
    Corrupt,
    dir_entry::{Area, FileType, Records},
    features::{Compat, Incompat},
    inline_data,
    inode::InodeFlags,
    xattr,
};
use ext4_units::LogicalBlock;
use std::ops::ControlFlow;

/// The blocks of a directory, read through `meta`.
pub(crate) struct DirBlocks<'a> {
    pub(crate) fs: &'a Filesystem,
    pub(crate) meta: &'a dyn MetaRead,
    pub(crate) dir: &'a Inode,
}

impl DirRead for DirBlocks<'_> {
    type Error = Error;

    fn read(&self, lblk: LogicalBlock) -> Result<Block> {
        let mapping = self.fs.lookup(self.meta, self.dir, lblk)?;
        match mapping.state {
            MapState::Written(blk) => Ok(self.meta.read(blk)?),
            MapState::Hole | MapState::Unwritten(_) => {
                let place = format!("directory inode {}", self.dir.ino);
                Err(Corrupt::new(place, format!("logical block {lblk} is a hole")).into())
            }
        }
    }

    fn n_blocks(&self) -> u32 {
        let blocks = self.dir.i_size >> self.fs.geometry().block_size.bits();
        u32::try_from(blocks).unwrap_or(u32::MAX)
    }
}

impl From<ext4_dir::Error> for Error {
    fn from(err: ext4_dir::Error) -> Self {
        match err {
            ext4_dir::Error::Corrupt(it) => Self::Corrupt(it),
            ext4_dir::Error::Exists { name, .. } => Self::Exists { path: name },
            ext4_dir::Error::NotFound { name, .. } => Self::NotFound { path: name },
            ext4_dir::Error::NameTooLong { name, .. } => {
                Self::BadName { name, fault: "longer than 255 bytes" }
            }
            ext4_dir::Error::BadName { name, .. } => {
                Self::BadName { name, fault: "empty, a dot name, or with a slash or zero byte" }
            }
            ext4_dir::Error::IndexFull { .. } => {
                Self::NoSpace { what: "room in the directory index" }
            }
            ext4_dir::Error::TooBig { .. } => Self::NoSpace { what: "room in the directory" },
            other => Self::Refused(other.to_string().into()),
        }
    }
}

impl Filesystem {
    /// What must be known to read and change the blocks of `dir`.
    pub(crate) fn dir_context(&self, dir: &Inode) -> Context {
        let sb = self.superblock();
        Context {
            ino: dir.ino,
            block_size: sb.block_size,
            inodes_count: sb.inodes_count,
            csum: dir.seed(self),
            has_filetype: sb.features.has_incompat(Incompat::FILETYPE),
            has_dir_index: sb.features.has_compat(Compat::DIR_INDEX),
            has_largedir: sb.features.has_incompat(Incompat::LARGEDIR),
            is_indexed: dir.flags.contains(InodeFlags::INDEX),
            is_casefolded: dir.flags.contains(InodeFlags::CASEFOLD),
            is_encrypted: dir.flags.contains(InodeFlags::ENCRYPT),
            default_hash_version: sb.def_hash_version,
            has_unsigned_hash: sb.unsigned_hash,
            hash_seed: sb.hash_seed,
        }
    }

    /// Lists a directory, `.` and `..` among the entries, in the order of its blocks, until `each`
    /// breaks off. All or nothing: the first damage ends the listing.
    pub fn entries(
        &self,
        meta: &dyn MetaRead,
        dir: &Inode,
        mut each: impl FnMut(Entry) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        must_be_dir(dir)?;
        if dir.has_inline_data() {
            for entry in self.inline_entries(dir)? {
                if each(entry)?.is_break() {
                    break;
                }
            }
            return Ok(());
        }
        let blocks = DirBlocks { fs: self, meta, dir };
        for entry in ext4_dir::entries(&self.dir_context(dir), &blocks) {
            if each(entry?)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Looks a name up in a directory.
    pub fn find(&self, meta: &dyn MetaRead, dir: &Inode, name: &[u8]) -> Result<Option<Entry>> {
        must_be_dir(dir)?;
        if dir.has_inline_data() {
            return Ok(self.inline_entries(dir)?.into_iter().find(|entry| entry.name == name));
        }
        let blocks = DirBlocks { fs: self, meta, dir };
        ext4_dir::find(&self.dir_context(dir), &blocks, name)
    }

    /// The entries of a directory inside its inode, with the `.` and `..` that it only implies. The
    /// places of the others are bytes of the inline contents.
    fn inline_entries(&self, dir: &Inode) -> Result<Vec<Entry>> {
        let ino = dir.ino;
        let sb = self.superblock();
        let has_filetype = sb.features.has_incompat(Incompat::FILETYPE);
        let attributes = xattr::parse_body(&dir.ibody, ino)?;
        let attribute = inline_data::attribute(&attributes).unwrap_or_default();
        let parent = inline_data::parent(&dir.i_block)
            .filter(|parent| parent.get() <= sb.inodes_count)
            .ok_or_else(|| Area::InlineBody { ino }.corrupt("no legal inode as parent"))?;
        let implied = |name: &[u8], ino| Entry {
            ino,
            file_type: FileType::Directory,
            name: name.to_vec(),
            place: Place { lblk: LogicalBlock(0), offset: 0 },
        };
        let mut found = vec![implied(b".", ino), implied(b"..", parent)];
        let [body, behind] = inline_data::dir_areas(&dir.i_block, attribute);
        let areas = [
            (body, inline_data::DOTDOT_SIZE, Area::InlineBody { ino }),
            (behind, dir.i_block.len(), Area::InlineXattr { ino }),
        ];
        for (area, base, place) in areas {
            for record in Records::new(area, place, sb.block_size, sb.inodes_count) {
                let record = record?;
                let Some(ino) = record.ino.filter(|_| !record.name.is_empty()) else { continue };
                let file_type = if has_filetype {
                    FileType::from_raw(record.file_type)
                } else {
                    FileType::Unknown
                };
                found.push(Entry {
                    ino,
                    file_type,
                    name: record.name.to_vec(),
                    place: Place { lblk: LogicalBlock(0), offset: base + record.offset },
                });
            }
        }
        Ok(found)
    }
}

fn must_be_dir(dir: &Inode) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    Err(Error::NotADirectory { path: format!("inode {}", dir.ino) })
}
