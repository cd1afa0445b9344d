//! A new inode: its number, everything it inherits, and all of its bytes.

use crate::{
    Error, Filesystem, Handle, Inode, Result,
    alloc::{allocate_inode, is_inode_in_use},
};
use ext4_ondisk::{
    features::Incompat,
    inode::{FileType, Inode as DiskInode, InodeFlags},
};
use ext4_units::InodeNr;

/// `S_ISGID`.
const SGID: u16 = 0o2000;

/// `EXT4_DEFM_BSDGROUPS`: new files get the group of their directory.
const DEFM_BSDGROUPS: u32 = 0x2;

/// Who owns a new file, and who may do what with it. A umask is the caller's to apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewFile {
    /// Permissions, with the set-id and sticky bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group; a directory with the set-group-id bit gives its own instead.
    pub gid: u32,
}

impl NewFile {
    /// A file of root with these permissions.
    pub const fn of_root(mode: u16) -> Self {
        Self { mode, uid: 0, gid: 0 }
    }
}

impl Handle<'_> {
    /// Credits of [`new_inode`](Self::new_inode): the inode, its bitmap, the descriptor, the block
    /// bitmap of a group never used before, and attributes in a block of their own.
    pub(super) const NEW_INODE_CREDITS: usize = 4 + Self::INHERIT_ACL_CREDITS;

    /// Takes a free inode for a new file in `parent` and writes all of it (`__ext4_new_inode`): no
    /// byte of who had it before is left. It has no contents and one link (a directory two); the
    /// caller goes on and writes it again.
    pub(super) fn new_inode(
        &mut self,
        parent: &Inode,
        file_type: FileType,
        new: &NewFile,
    ) -> Result<Inode> {
        let is_dir = file_type == FileType::Directory;
        let mut inode = self.blank_inode(parent, file_type, InodeFlags::empty())?;
        let mut mode = new.mode & 0o7777;
        inode.disk.uid = new.uid;
        inode.disk.gid = new.gid;
        if parent.mode & SGID != 0 {
            inode.disk.gid = parent.gid;
            if is_dir {
                mode |= SGID;
            }
        } else if self.fs().superblock().default_mount_opts & DEFM_BSDGROUPS != 0 {
            inode.disk.gid = parent.gid;
        }
        inode.disk.mode = file_type.mode_bits() | mode;
        inode.disk.links_count = if is_dir { 2 } else { 1 };
        self.inherit_acl(parent, &mut inode)?;
        self.put_inode(&inode)?;
        // A file that is not there cannot be read: fdatasync commits (`__ext4_new_inode` sets
        // `i_datasync_tid`).
        self.note_mapped(inode.ino);
        Ok(inode)
    }

    /// Takes a free inode and writes it with everything that does not depend on who makes it.
    pub(crate) fn blank_inode(
        &mut self,
        parent: &Inode,
        file_type: FileType,
        flags: InodeFlags,
    ) -> Result<Inode> {
        let fs = self.fs();
        let is_dir = file_type == FileType::Directory;
        let ino = allocate_inode(self, parent.ino, is_dir)?;
        let want = fs.superblock().want_extra_isize;
        let mut disk = DiskInode::new(file_type.mode_bits(), want, fs.inode_format());
        let now = self.now();
        (disk.atime, disk.ctime, disk.mtime) = (now, now, now);
        disk.crtime = disk.crtime.map(|_| now);
        disk.version = 1;
        disk.links_count = 1;
        disk.flags = inherited(parent.flags, file_type) | flags;
        if fs.superblock().features.has_incompat(Incompat::EXTENTS)
            && matches!(file_type, FileType::Regular | FileType::Directory | FileType::Symlink)
        {
            disk.flags.insert(InodeFlags::EXTENTS);
        }
        // The kernel takes a random number. Ours differs between two owners of one inode as long
        // as the clock goes, and the same input gives the same image.
        disk.generation = fs
            .superblock()
            .csum_seed
            .over(&ino.get().to_le_bytes())
            .over(&now.sec.to_le_bytes())
            .over(&now.nsec.to_le_bytes())
            .0;
        let mut inode = Inode { ino, i_size: 0, disk };
        inode.disk.i_block = match file_type {
            FileType::Regular | FileType::Directory | FileType::Symlink => {
                inode.map_format().empty_root()
            }
            _ => [0; 60],
        };
        self.put_new_inode(&inode)?;
        Ok(inode)
    }

    /// Writes an inode over whatever its bytes held. The rest of its block becomes zeros when
    /// nobody else there is in use: it may never have been written, and checks look at all inodes
    /// up to the last one used (`__ext4_get_inode_loc`).
    fn put_new_inode(&mut self, inode: &Inode) -> Result<()> {
        let fs = self.fs();
        let geo = fs.geometry();
        let (blk, offset) = fs.inode_place(self, inode.ino)?;
        let size = usize::from(geo.inode_size);
        let first = (inode.ino.get() - 1) / geo.inodes_per_block() * geo.inodes_per_block() + 1;
        let mut is_alone = true;
        for nr in first..first.saturating_add(geo.inodes_per_block()) {
            if let Some(ino) = InodeNr::new(nr)
                && ino != inode.ino
                && nr <= geo.inodes_count
                && is_inode_in_use(fs, self, ino)?
            {
                is_alone = false;
                break;
            }
        }
        if is_alone {
            self.write(blk, vec![0; geo.block_size.len()])?;
        }
        self.modify(blk, |bytes| {
            if let Some(old) = bytes.get_mut(offset..).and_then(|it| it.get_mut(..size)) {
                old.fill(0);
            }
            fs.encode_inode(inode, bytes, offset)
        })?
    }
}

/// What a new file has of its directory's flags (`ext4_mask_flags` of `EXT4_FL_INHERITED`).
fn inherited(parent: InodeFlags, file_type: FileType) -> InodeFlags {
    const DIR: InodeFlags = InodeFlags::from_bits_retain(
        InodeFlags::SECRM.bits()
            | InodeFlags::UNRM.bits()
            | InodeFlags::COMPR.bits()
            | InodeFlags::SYNC.bits()
            | InodeFlags::NODUMP.bits()
            | InodeFlags::NOATIME.bits()
            | InodeFlags::NOCOMPR.bits()
            | InodeFlags::JOURNAL_DATA.bits()
            | InodeFlags::NOTAIL.bits()
            | InodeFlags::DIRSYNC.bits()
            | InodeFlags::PROJINHERIT.bits()
            | InodeFlags::CASEFOLD.bits()
            | InodeFlags::DAX.bits(),
    );
    const ONLY_DIR: InodeFlags = InodeFlags::from_bits_retain(
        InodeFlags::DIRSYNC.bits()
            | InodeFlags::TOPDIR.bits()
            | InodeFlags::CASEFOLD.bits()
            | InodeFlags::PROJINHERIT.bits(),
    );
    let all = parent & DIR;
    match file_type {
        FileType::Directory => all,
        FileType::Regular => all - ONLY_DIR,
        _ => all & (InodeFlags::NODUMP | InodeFlags::NOATIME),
    }
}

impl Filesystem {
    /// A directory that names may be put into or taken from (`may_create`).
    pub(super) fn dir_to_change(&self, h: &Handle<'_>, ino: InodeNr) -> Result<Inode> {
        let dir = self.live_inode(h, ino)?;
        if !dir.is_dir() {
            return Err(Error::NotADirectory { path: format!("inode {ino}") });
        }
        if dir.flags.contains(InodeFlags::IMMUTABLE) {
            return Err(Error::NotPermitted { ino, flag: "immutable" });
        }
        Ok(dir)
    }
}
