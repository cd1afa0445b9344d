//! Names that a repair adds, and the directories it makes.

use super::File;
use crate::{Error, Result, facts::Directory, session::Session};
use ext4_dir::DirStore as _;
use ext4_ondisk::inode::{FileType, Inode, InodeFlags};
use ext4_units::{InodeNr, LogicalBlock};

impl Session<'_, '_> {
    /// Adds a name to a directory that pass 2 let pass and that has none like it, and counts it as one.
    /// Without an index it goes into the first block with room from `from` on: the one that is given back.
    /// An index is kept up.
    pub(crate) fn add_name(
        &mut self,
        dir: InodeNr,
        from: LogicalBlock,
        name: &[u8],
        ino: InodeNr,
        file_type: FileType,
    ) -> Result<LogicalBlock> {
        let mut file = File::open(self, dir)?;
        file.leave_inode()?;
        let context = file.dir_context();
        let outcome = ext4_dir::insert_new(&context, &mut file, from, name, ino, file_type)?;
        file.inode.flags.set(InodeFlags::INDEX, outcome.now_indexed);
        file.close()?;
        self.facts.names.add(ino);
        if let Some(known) = self.facts.directories.get_mut(dir) {
            known.is_indexed = outcome.now_indexed;
        }
        Ok(outcome.lblk)
    }

    /// Makes an empty directory with an inode of its own. Its name is the caller's to add.
    pub(crate) fn new_directory(&mut self, parent: InodeNr, perms: u16) -> Result<InodeNr> {
        let ino = self.take_inode()?;
        let filled = self.fill_directory(ino, parent, perms);
        if matches!(filled, Err(Error::NoSpace(_))) {
            // It holds nothing but zeros yet.
            self.facts.directories.remove(ino);
            self.facts.inodes.remove(ino.get().into());
        }
        filled.map(|()| ino)
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
        self.set_times(&mut inode);
        inode.links_count = 2;
        self.write_inode(ino, &vec![0; self.format.inode_size()])?;
        self.facts.inodes.insert(ino.get().into());
        self.facts.regular.remove(ino.get().into());
        self.facts.symlinks.remove(ino.get().into());
        self.facts.bad_mode.remove(ino.get().into());
        let known =
            Directory { parent: Some(parent), dotdot: Some(parent), ..Directory::default() };
        self.facts.directories.insert(ino, known);
        let mut file = File::of(self, ino, inode);
        file.begin_map();
        let lblk: LogicalBlock = file.append()?;
        let block = ext4_dir::new_directory(&file.dir_context(), parent)?;
        file.write(lblk, block)?;
        file.close()?;
        // Its own `.`, and the `..` in it.
        self.facts.names.add(ino);
        self.facts.names.add(parent);
        self.facts.links.insert(ino, 2);
        Ok(())
    }

    /// Makes `..` of a directory lead to `parent`, and counts names accordingly.
    pub(crate) fn set_dotdot(&mut self, dir: InodeNr, parent: InodeNr) -> Result<()> {
        let Some(known) = self.facts.directories.get(dir) else { return Ok(()) };
        let (old, is_inline) = (known.dotdot, known.is_inline);
        let mut file = File::open(self, dir)?;
        if is_inline {
            file.inode.i_block[..4].copy_from_slice(&parent.get().to_le_bytes());
        } else {
            let context = ext4_dir::Context {
                // `..` is compared as it is and never encrypted.
                is_casefolded: false,
                is_encrypted: false,
                // Where it leads now may be no inode at all.
                inodes_count: u32::MAX,
                ..file.dir_context()
            };
            ext4_dir::set_entry(&context, &mut file, b"..", parent, FileType::Directory)?;
        }
        file.close()?;
        if let Some(old) = old {
            self.facts.names.remove(old);
        }
        self.facts.names.add(parent);
        if let Some(known) = self.facts.directories.get_mut(dir) {
            known.dotdot = Some(parent);
        }
        Ok(())
    }

    /// Takes away the names that directory `dir` has for `ino`.
    pub(crate) fn remove_names_of(&mut self, dir: InodeNr, ino: InodeNr) -> Result<()> {
        let is_inline = self.facts.directories.get(dir).is_some_and(|it| it.is_inline);
        let mut file = File::open(self, dir)?;
        let context = file.dir_context();
        let mut removed = 0;
        if is_inline {
            let Some(mut inline) = file.inline()? else { return Ok(()) };
            for entry in inline.entries(&context)? {
                if entry.ino == ino && !entry.is_dot_or_dotdot() {
                    inline.remove(&context, &entry.name)?;
                    removed += 1;
                }
            }
            file.set_inline(&inline)?;
        } else {
            let entries = ext4_dir::entries(&context, &file).collect::<Result<Vec<_>>>()?;
            for entry in entries {
                if entry.ino == ino && !entry.is_dot_or_dotdot() {
                    ext4_dir::remove(&context, &mut file, &entry.name)?;
                    removed += 1;
                }
            }
        }
        file.close()?;
        for _ in 0..removed {
            self.facts.names.remove(ino);
        }
        Ok(())
    }
}
