//! The image that is looked at: opened for reading only, as it is or as it would be after replay.

use crate::{
    cli::{Args, Spec},
    superblock_copy,
};
use ext4_blockdev::{BlockDevice, FileDevice, Location, OpenError, OpenMode, Overlay};
use ext4_cli::{CommonArgs, Exit, Failure, Report, Stop, clock};
use ext4_fs::{Error, Filesystem, Inode, Last, RecoverOptions, Scope, recover_into};
use ext4_jbd2::{Clock, MetaRead};
use ext4_ondisk::{
    inode::{Inode as DiskInode, InodeFormat},
    superblock::{RawSuperblock, Superblock},
};
use ext4_units::{BlockNr, InodeNr};
use std::{ffi::OsStr, sync::Arc, time::Duration};

/// An image with a filesystem that can be read.
#[derive(Debug)]
pub(crate) struct Image {
    /// Its name as it was typed.
    pub(crate) name: String,
    /// The filesystem. Of its metadata nothing is in memory only: the device has it all.
    pub(crate) fs: Filesystem,
    /// The device of an external journal.
    pub(crate) journal_device: Option<Arc<dyn BlockDevice>>,
    /// Where what is found goes.
    pub(crate) report: Report,
    /// The options that every program has.
    pub(crate) common: CommonArgs,
    stop: Stop,
}

/// The devices that were named.
#[derive(Clone, Debug)]
pub(crate) struct Devices {
    /// The image.
    pub(crate) image: Arc<dyn BlockDevice>,
    /// The external journal.
    pub(crate) journal: Option<Arc<dyn BlockDevice>>,
}

/// An inode as far as it could be read.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The inode; with damage, what its bytes say all the same.
    pub(crate) inode: Inode,
    /// The block that holds it.
    pub(crate) blk: BlockNr,
    /// The byte in that block.
    pub(crate) offset: usize,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// What is wrong with it.
    pub(crate) damage: Vec<String>,
}

impl Devices {
    /// Opens what was named, for reading.
    pub(crate) fn open(args: &Args, report: &Report) -> Result<Self, Failure> {
        let open = |name: &OsStr| -> Result<Arc<dyn BlockDevice>, Failure> {
            let open = || FileDevice::open_location(&Location::parse(name)?, OpenMode::ReadOnly);
            let device = open().map_err(|err: OpenError| Failure::operational(err))?;
            for note in device.notes() {
                report.note(note);
            }
            Ok(Arc::new(device))
        };
        let image = open(&args.image)?;
        let journal = args.journal_device.as_deref().map(open).transpose()?;
        let Some(nr) = args.superblock else { return Ok(Self { image, journal }) };
        let image = superblock_copy::put_first(image, BlockNr(nr))
            .map_err(|err| Failure::operational(err).at(args.image.to_string_lossy()))?;
        Ok(Self { image, journal })
    }

    /// The same with all writes kept in memory.
    #[must_use]
    pub(crate) fn in_memory(&self) -> Self {
        let over = |it: &Arc<dyn BlockDevice>| -> Arc<dyn BlockDevice> {
            Arc::new(Overlay::new(Arc::clone(it)))
        };
        Self { image: over(&self.image), journal: self.journal.as_ref().map(over) }
    }

    /// Recovers on these devices, which must not be the real ones, and gives the filesystem as it
    /// then lies on them; with what was left undone because a feature cannot be written.
    pub(crate) fn recovered(&self, scope: Scope) -> Result<(Filesystem, Option<String>), Error> {
        let (sec, nsec) = clock::now();
        let now = Duration::new(u64::try_from(sec).unwrap_or(0), nsec);
        let mut options = RecoverOptions::new(Clock::fixed(now));
        options.journal_device.clone_from(&self.journal);
        options.scope = scope;
        let mut report = ext4_fs::Report::default();
        recover_into(&self.image, &options, &mut report)?.close()?;
        let held_back = report.held_back.filter(|_| report.orphans_left);
        let left = held_back.map(|why| format!("orphans are left as they are: {why}"));
        Ok((Filesystem::open_read(Arc::clone(&self.image))?, left))
    }
}

impl Image {
    /// Opens the filesystem on `devices`.
    pub(crate) fn open(args: &Args, report: Report, devices: Devices) -> Result<Self, Failure> {
        let name = args.image.to_string_lossy().into_owned();
        let stop =
            Stop::install().map_err(|err| Failure::operational(format_args!("signals: {err}")))?;
        let (devices, opened) = if args.replayed {
            let devices = devices.in_memory();
            let opened = devices.recovered(Scope::Possible);
            (devices, opened)
        } else {
            let opened = Filesystem::open_read(Arc::clone(&devices.image)).map(|fs| (fs, None));
            (devices, opened)
        };
        let (fs, left) = opened.map_err(|err| open_failure(&devices, &err).at(&name))?;
        if let Some(left) = left {
            report.note(format_args!("{name}: {left}"));
        }
        let common = args.common.clone();
        Ok(Self { name, fs, journal_device: devices.journal, report, common, stop })
    }

    /// The metadata.
    pub(crate) fn meta(&self) -> &dyn MetaRead {
        self.fs.meta()
    }

    /// The devices it lies on.
    pub(crate) fn devices(&self) -> Devices {
        let image = Arc::clone(self.fs.device());
        Devices { image, journal: self.journal_device.clone() }
    }

    /// What an error comes to for who asked.
    pub(crate) fn fail(&self, err: &Error) -> Failure {
        failure(err).at(&self.name)
    }

    /// A failure that is no damage.
    pub(crate) fn refuse(&self, message: impl std::fmt::Display) -> Failure {
        Failure::operational(message).at(&self.name)
    }

    /// Stops here when a signal came.
    pub(crate) fn check_stop(&self) -> Result<(), Failure> {
        if self.stop.requested() {
            return Err(Failure::cancelled("stopped by a signal"));
        }
        Ok(())
    }

    /// The inode's number. A path is not followed through a symlink at its end, and the inode is
    /// not read: it may be damaged.
    pub(crate) fn number(&self, spec: &Spec) -> Result<InodeNr, Failure> {
        let ino = match spec {
            Spec::Inode(nr) => {
                let count = self.fs.geometry().inodes_count;
                let ino = InodeNr::new(*nr).filter(|_| *nr <= count);
                return ino.ok_or_else(|| {
                    self.refuse(format_args!("inode <{nr}>: expected 1 to {count}"))
                });
            }
            Spec::Path(path) => self.find(path),
        };
        ino.map_err(|err| self.fail(&err))
    }

    fn find(&self, path: &[u8]) -> Result<InodeNr, Error> {
        let whole = || Ok(self.fs.resolve(self.meta(), path, Last::Stay)?.ino);
        if path.ends_with(b"/") {
            return whole();
        }
        let parent = match self.fs.resolve_parent(self.meta(), path) {
            // `/a/..` has no last name.
            Err(Error::BadName { .. }) => return whole(),
            parent => parent?,
        };
        match self.fs.find(self.meta(), &parent.dir, &parent.name)? {
            Some(entry) => Ok(entry.ino),
            None => Err(Error::NotFound { path: String::from_utf8_lossy(path).into_owned() }),
        }
    }

    /// The inode, which must be in use and sound.
    pub(crate) fn inode(&self, spec: &Spec) -> Result<Inode, Failure> {
        let ino = self.number(spec)?;
        self.fs.live_inode(self.meta(), ino).map_err(|err| self.fail(&err))
    }

    /// The inode, in use or not, with as much of it as can be read.
    pub(crate) fn look(&self, ino: InodeNr) -> Result<Seen, Error> {
        let (blk, offset) = self.fs.inode_place(self.meta(), ino)?;
        let block = self.meta().read(blk)?;
        let size = usize::from(self.fs.geometry().inode_size);
        let bytes = block.get(offset..).and_then(|it| it.get(..size)).unwrap_or_default().to_vec();
        let (inode, damage) = match self.fs.inode(self.meta(), ino) {
            Ok(inode) => (inode, vec![]),
            Err(err @ Error::Corrupt(_)) => {
                let Some(disk) = self.decode_anyhow(&bytes, ino) else { return Err(err) };
                // An inode that was never used has no checksum.
                let is_blank = bytes.iter().all(|&byte| byte == 0);
                let damage = if is_blank { vec![] } else { vec![err.to_string()] };
                (Inode { ino, i_size: disk.size, disk }, damage)
            }
            Err(err) => return Err(err),
        };
        Ok(Seen { inode, blk, offset, bytes, damage })
    }

    /// Decodes an inode whatever its checksum is, and without its extra fields if need be.
    pub(crate) fn decode_anyhow(&self, bytes: &[u8], ino: InodeNr) -> Option<DiskInode> {
        let format = InodeFormat::new(self.fs.superblock());
        DiskInode::decode_unverified(bytes, ino, &format).ok().or_else(|| {
            let mut bytes = bytes.to_vec();
            bytes.get_mut(0x80..0x82)?.fill(0);
            DiskInode::decode_unverified(&bytes, ino, &format).ok()
        })
    }
}

/// The exit code of each error: damage, or a run that failed.
fn failure(err: &Error) -> Failure {
    if err.is_damage() { Failure::damage(err) } else { Failure::operational(err) }
}

/// Why the filesystem could not be opened. What is no ext4 at all is no damage; where a copy of the
/// superblock is good, it is named.
fn open_failure(devices: &Devices, err: &Error) -> Failure {
    let Error::Corrupt(corrupt) = err else { return failure(err) };
    if corrupt.place != "superblock" {
        return failure(err);
    }
    let device = &*devices.image;
    let raw = superblock_copy::raw(device);
    if raw.as_ref().is_some_and(|raw| Superblock::decode(raw).is_ok()) {
        return failure(err);
    }
    if let Some(copy) = superblock_copy::find(device) {
        let hint = format!("{err}; there is a good copy: --superblock {copy}");
        return Failure::damage(hint);
    }
    let is_ext4 = raw.is_some_and(|raw| raw.s_magic.get() == RawSuperblock::MAGIC);
    Failure::new(if is_ext4 { Exit::UNCORRECTED } else { Exit::OPERATIONAL }, err)
}
