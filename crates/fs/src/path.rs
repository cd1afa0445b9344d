//! Paths: from a name to an inode, through symbolic links.

use crate::{Error, Filesystem, Inode, Result};
use ext4_jbd2::MetaRead;
use ext4_ondisk::inode::FileType;
use ext4_units::InodeNr;

/// `MAXSYMLINKS`: so many symbolic links may be followed on one path.
const MAX_LINKS: u32 = 40;

/// `PATH_MAX` without its zero byte.
const MAX_PATH: usize = 4095;

/// What to do with a symbolic link at a path's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// Go on to what it names, as `open` and `stat` do.
    Follow,
    /// Stay, as `lstat` and `unlink` do. A path that ends in a slash is followed all the same.
    Stay,
}

/// The directory a path leads to, and the name in it that it ends with.
#[derive(Clone, Debug)]
pub struct Parent {
    /// The directory.
    pub dir: Inode,
    /// The last name: not empty, neither `.` nor `..`; whether there is such an entry was not asked.
    pub name: Vec<u8>,
}

impl Filesystem {
    /// The inode at `path`, counted from the root whether or not it starts with a slash
    /// (`path_lookupat`).
    pub fn resolve(&self, meta: &dyn MetaRead, path: &[u8], last: Last) -> Result<Inode> {
        check_len(path)?;
        if path.is_empty() {
            return Err(Error::NotFound { path: "\"\"".into() });
        }
        self.steadily(|| {
            let mut walk = Walker::new(self, meta, path)?;
            walk.push(path);
            walk.run(last)?;
            Ok(walk.here)
        })
    }

    /// The directory and the last name of `path`, for who creates, removes or replaces it
    /// (`filename_parentat`).
    pub fn resolve_parent(&self, meta: &dyn MetaRead, path: &[u8]) -> Result<Parent> {
        check_len(path)?;
        let end = path.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
        let trimmed = &path[..end];
        let (dirs, name) = match trimmed.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => trimmed.split_at(slash + 1),
            None => (&b""[..], trimmed),
        };
        if name.is_empty() || name == b"." || name == b".." {
            let fault = "expected a name, not a directory's own";
            return Err(Error::BadName { name: lossy(path), fault });
        }
        self.steadily(|| {
            let mut walk = Walker::new(self, meta, path)?;
            walk.push(dirs);
            walk.run(Last::Follow)?;
            if !walk.here.is_dir() {
                return Err(Error::NotADirectory { path: lossy(dirs) });
            }
            Ok(Parent { dir: walk.here, name: name.to_vec() })
        })
    }
}

/// One resolution under way.
struct Walker<'a> {
    fs: &'a Filesystem,
    meta: &'a dyn MetaRead,
    path: &'a [u8],
    here: Inode,
    /// The directories above `here`; what `..` goes back to, whatever the disk says.
    above: Vec<InodeNr>,
    /// Names still to go, the next one last.
    names: Vec<Name>,
    links: u32,
}

struct Name {
    bytes: Vec<u8>,
    /// A slash follows, so it has to be a directory.
    is_dir: bool,
}

impl<'a> Walker<'a> {
    fn new(fs: &'a Filesystem, meta: &'a dyn MetaRead, path: &'a [u8]) -> Result<Self> {
        let here = fs.live_inode(meta, InodeNr::ROOT)?;
        Ok(Self { fs, meta, path, here, above: Vec::new(), names: Vec::new(), links: 0 })
    }

    /// Puts the names of `path` before those still to go.
    fn push(&mut self, path: &[u8]) {
        let ends_in_slash = path.ends_with(b"/");
        let names = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty());
        let from = self.names.len();
        self.names.extend(names.map(|name| Name { bytes: name.to_vec(), is_dir: true }));
        let is_last = from == 0;
        if let Some(last) = self.names[from..].last_mut() {
            last.is_dir = ends_in_slash || !is_last;
        }
        self.names[from..].reverse();
    }

    fn run(&mut self, last: Last) -> Result<()> {
        // Ends: each round takes a name, and symbolic links add at most 40 times some.
        while let Some(name) = self.names.pop() {
            self.step(&name, last)?;
        }
        Ok(())
    }

    fn step(&mut self, name: &Name, last: Last) -> Result<()> {
        if !self.here.is_dir() {
            return Err(Error::NotADirectory { path: lossy(self.path) });
        }
        match name.bytes.as_slice() {
            b"." => return Ok(()),
            b".." => {
                if let Some(ino) = self.above.pop() {
                    self.here = self.fs.live_inode(self.meta, ino)?;
                }
                return Ok(());
            }
            _ => {}
        }
        let entry = self
            .fs
            .find(self.meta, &self.here, &name.bytes)?
            .ok_or_else(|| Error::NotFound { path: lossy(self.path) })?;
        let inode = self.fs.live_inode(self.meta, entry.ino)?;
        let is_end = self.names.is_empty() && !name.is_dir;
        if inode.file_type() == FileType::Symlink && !(is_end && last == Last::Stay) {
            return self.follow(&inode, name);
        }
        if name.is_dir && !inode.is_dir() {
            return Err(Error::NotADirectory { path: lossy(self.path) });
        }
        self.above.push(self.here.ino);
        self.here = inode;
        Ok(())
    }

    fn follow(&mut self, link: &Inode, name: &Name) -> Result<()> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Error::Loop { path: lossy(self.path) });
        }
        let mut target = self.fs.read_link(self.meta, link)?;
        if target.starts_with(b"/") {
            self.above.clear();
            self.here = self.fs.live_inode(self.meta, InodeNr::ROOT)?;
        }
        if name.is_dir {
            target.push(b'/');
        }
        self.push(&target);
        Ok(())
    }
}

fn check_len(path: &[u8]) -> Result<()> {
    if path.len() <= MAX_PATH {
        return Ok(());
    }
    let name = lossy(&path[..64]) + "...";
    Err(Error::BadName { name, fault: "path longer than 4095 bytes" })
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
