//! New names for new inodes: files, directories, symbolic links, devices.

use super::new_inode::NewFile;
use crate::{Error, Filesystem, Handle, Inode, Result, path::Last};
use ext4_ondisk::inode::{FileType, InodeFlags, encode_device};
use ext4_units::InodeNr;

impl Filesystem {
    /// Makes an empty regular file `name` in the directory `dir` (`ext4_create`), in one handle.
    ///
    /// `EEXIST`, `ENAMETOOLONG`, `ENOSPC`; an encrypted or case-folded directory is refused.
    pub fn create(&self, dir: InodeNr, name: &[u8], new: &NewFile) -> Result<InodeNr> {
        self.make(dir, name, FileType::Regular, new, 0, |_, _, _| Ok(()))
    }

    /// Makes a device, named pipe or socket (`ext4_mknod`), in one handle. The numbers are of
    /// devices only.
    pub fn mknod(
        &self,
        dir: InodeNr,
        name: &[u8],
        file_type: FileType,
        (major, minor): (u32, u32),
        new: &NewFile,
    ) -> Result<InodeNr> {
        let device = match file_type {
            FileType::CharDevice | FileType::BlockDevice => encode_device(major, minor)
                .ok_or_else(|| {
                    let what = format!("device {major}:{minor}: numbers of 12 and 20 bits at most");
                    Error::Refused(what.into())
                })?,
            FileType::Fifo | FileType::Socket => [0; 60],
            other => {
                let found = crate::read::type_name(other);
                return Err(Error::WrongType { ino: dir, found, expected: "a device or a pipe" });
            }
        };
        self.make(dir, name, file_type, new, 0, |_, inode, _| {
            inode.disk.i_block = device;
            Ok(())
        })
    }

    /// Makes a directory (`ext4_mkdir`), in one handle. `EMLINK` when its parent has 65000 links
    /// and its filesystem no dir_nlink, or the parent no index.
    pub fn mkdir(&self, dir: InodeNr, name: &[u8], new: &NewFile) -> Result<InodeNr> {
        // One block more, for `.` and `..`, and what its map and its place need.
        self.make(dir, name, FileType::Directory, new, 6, |h, inode, parent| {
            parent.add_subdir(h.fs())?;
            h.dir_init(inode, parent.ino)
        })
    }

    /// Makes the directory at `path` and those above it that are missing, each in one handle; what
    /// is there stays as it is (`mkdir -p`).
    pub fn mkdir_all(&self, path: &[u8], new: &NewFile) -> Result<InodeNr> {
        let mut here = InodeNr::ROOT;
        let mut so_far = Vec::new();
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            so_far.push(b'/');
            so_far.extend_from_slice(name);
            here = match self.resolve(self.meta(), &so_far, Last::Follow) {
                Ok(inode) if inode.is_dir() => inode.ino,
                Ok(_) => {
                    let path = String::from_utf8_lossy(&so_far).into_owned();
                    return Err(Error::NotADirectory { path });
                }
                Err(Error::NotFound { .. }) => match self.mkdir(here, name, new) {
                    // Another thread was first.
                    Err(Error::Exists { .. }) => {
                        self.resolve(self.meta(), &so_far, Last::Follow)?.ino
                    }
                    made => made?,
                },
                Err(err) => return Err(err),
            };
        }
        Ok(here)
    }

    /// Makes a symbolic link to `target` (`ext4_symlink`), in one handle: in `i_block` when that
    /// has room for it and a zero byte, else in a block of its own.
    pub fn symlink(
        &self,
        dir: InodeNr,
        name: &[u8],
        target: &[u8],
        new: &NewFile,
    ) -> Result<InodeNr> {
        let max = self.geometry().block_size.len().min(4096) - 1;
        let fault = match target.len() {
            0 => Some("symbolic link without a target"),
            len if len > max => Some("target of a symbolic link longer than a block"),
            _ if target.contains(&0) => Some("target of a symbolic link with a zero byte"),
            _ => None,
        };
        if let Some(fault) = fault {
            return Err(Error::BadName { name: String::from_utf8_lossy(target).into(), fault });
        }
        let new = NewFile { mode: 0o777, ..*new };
        self.make(dir, name, FileType::Symlink, &new, 5, |h, inode, _| {
            if target.len() < inode.i_block.len() {
                inode.disk.flags.remove(InodeFlags::EXTENTS);
                inode.disk.i_block = [0; 60];
                inode.disk.i_block[..target.len()].copy_from_slice(target);
            } else {
                h.write_meta_contents(inode, target)?;
            }
            h.set_size(inode, target.len() as u64)
        })
    }

    /// Gives inode `ino` one more name (`ext4_link`), in one handle. `EISDIR` for directories,
    /// `EMLINK` from 65000 links on.
    pub fn link(&self, ino: InodeNr, dir: InodeNr, name: &[u8]) -> Result<()> {
        check_name(name)?;
        let _names = self.lock_names()?;
        self.retrying(|| {
            let parent = self.live_inode(self.meta(), dir)?;
            let mut h = self.start(self.dir_insert_credits(&parent)? + 1)?;
            let mut parent = self.dir_to_change(&h, dir)?;
            let mut inode = self.live_inode(&h, ino)?;
            if inode.is_dir() {
                return Err(Error::IsADirectory { ino });
            }
            inode.check_may_move()?;
            inode.disk.links_count = more_links(&inode)?;
            inode.changed(h.now());
            h.dir_insert(&mut parent, name, ino, inode.file_type())?;
            h.put_inode(&inode)?;
            h.put_inode(&parent)?;
            h.stop()?;
            Ok(())
        })
    }

    /// One handle: the name in its directory, the inode, and what `fill` makes of it.
    fn make(
        &self,
        dir: InodeNr,
        name: &[u8],
        file_type: FileType,
        new: &NewFile,
        credits: usize,
        fill: impl Fn(&mut Handle<'_>, &mut Inode, &mut Inode) -> Result<()>,
    ) -> Result<InodeNr> {
        check_name(name)?;
        let _names = self.lock_names()?;
        self.retrying(|| {
            let parent = self.live_inode(self.meta(), dir)?;
            let credits = credits + self.dir_insert_credits(&parent)? + Handle::NEW_INODE_CREDITS;
            let mut h = self.start(credits)?;
            let mut parent = self.dir_to_change(&h, dir)?;
            if self.find(&h, &parent, name)?.is_some() {
                return Err(Error::Exists { path: String::from_utf8_lossy(name).into() });
            }
            let mut inode = h.new_inode(&parent, file_type, new)?;
            fill(&mut h, &mut inode, &mut parent)?;
            h.put_inode(&inode)?;
            h.dir_insert(&mut parent, name, inode.ino, file_type)?;
            h.put_inode(&parent)?;
            h.stop()?;
            Ok(inode.ino)
        })
    }
}

impl Handle<'_> {
    /// Gives an inode whose contents are metadata its blocks, and the contents, padded with zeros.
    /// The caller sets the size and writes the inode back.
    pub(crate) fn write_meta_contents(&mut self, inode: &mut Inode, contents: &[u8]) -> Result<()> {
        use ext4_units::LogicalBlock;
        let size = self.fs().geometry().block_size;
        let mut lblk = LogicalBlock(0);
        let mut chunks = contents.chunks(size.len()).peekable();
        while chunks.peek().is_some() {
            let want = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
            let mapping = self.allocate(inode, lblk, want, false)?;
            let Some(range) = mapping.blocks() else { break };
            for (blk, chunk) in range.iter().zip(&mut chunks) {
                let mut block = chunk.to_vec();
                block.resize(size.len(), 0);
                self.write(blk, block)?;
            }
            lblk = LogicalBlock(mapping.end());
        }
        Ok(())
    }
}

/// The link count of a file with one more name.
pub(super) fn more_links(inode: &Inode) -> Result<u16> {
    if inode.links_count >= Inode::MAX_LINKS {
        return Err(Error::TooManyLinks { ino: inode.ino });
    }
    Ok(inode.links_count + 1)
}

/// A name that an entry may have.
pub(super) fn check_name(name: &[u8]) -> Result<()> {
    let fault = match name {
        b"" => "empty",
        b"." | b".." => "expected a name, not a directory's own",
        _ if name.len() > ext4_ondisk::dir_entry::NAME_MAX => "longer than 255 bytes",
        _ if name.contains(&b'/') || name.contains(&0) => "with a slash or zero byte in it",
        _ => return Ok(()),
    };
    Err(Error::BadName { name: String::from_utf8_lossy(name).into(), fault })
}
