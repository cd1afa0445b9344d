//! Names that a repair adds, and the directories it makes.

use super::File;
use crate::{Result, facts::Directory, session::Session};
use ext4_dir::DirStore as _;
use ext4_ondisk::{
    features::Incompat,
    inode::{FileType, Inode, InodeFlags},
    time::Timestamp,
};
use ext4_units::{InodeNr, LogicalBlock};

impl Session<'_, '_> {
    /// Adds a name to a directory that pass 2 let pass, and counts it as one. An index is kept up.
    pub(crate) fn add_name(
        &mut self,
        dir: InodeNr,
        name: &[u8],
        ino: InodeNr,
        file_type: FileType,
    ) -> Result<()> {
        let mut file = File::open(self, dir)?;
        let context = file.dir_context();
        let outcome = ext4_dir::insert(&context, &mut file, name, ino, file_type)?;
        file.inode.flags.set(InodeFlags::INDEX, outcome.now_indexed);
        file.close()?;
        self.facts.count_name(ino);
        if let Some(known) = self.facts.directories.get_mut(&dir) {
            known.is_indexed = outcome.now_indexed;
        }
        Ok(())
    }

    /// Makes an empty directory with an inode of its own. Its name is the caller's to add.
    pub(crate) fn new_directory(&mut self, parent: InodeNr, perms: u16) -> Result<InodeNr> {
        let ino = self.take_inode()?;
        self.fill_directory(ino, parent, perms)?;
        Ok(ino)
    }

    /// Makes an inode, whatever it was, an empty directory.
    pub(crate) fn fill_directory(
        &mut self,
        ino: InodeNr,
        parent: InodeNr,
        perms: u16,
    ) -> Result<()> {
        let mode = FileType::Directory.mode_bits() | perms & 0o7777;
        let mut inode = Inode::new(mode, self.sb.want_extra_isize, &self.format);
        let now = Timestamp { sec: i64::try_from(self.now).unwrap_or(0), nsec: 0 };
        (inode.atime, inode.ctime, inode.mtime) = (now, now, now);
        inode.links_count = 2;
        if self.sb.features.has_incompat(Incompat::EXTENTS) {
            inode.flags |= InodeFlags::EXTENTS;
            inode.i_block = ext4_ondisk::extent::empty_root();
        }
        self.write_inode(ino, &vec![0; self.format.inode_size()])?;
        self.facts.inodes.insert(ino.get().into());
        self.facts.regular.remove(ino.get().into());
        self.facts.bad_mode.remove(ino.get().into());
        let known =
            Directory { parent: Some(parent), dotdot: Some(parent), ..Directory::default() };
        self.facts.directories.insert(ino, known);
        let mut file = File::of(self, ino, inode);
        let lblk: LogicalBlock = file.append()?;
        let block = ext4_dir::new_directory(&file.dir_context(), parent)?;
        file.write(lblk, block)?;
        file.close()?;
        // Its own `.`, and the `..` in it.
        self.facts.count_name(ino);
        self.facts.count_name(parent);
        self.facts.links.insert(ino, 2);
        Ok(())
    }
}
