//! A tree from a directory of the host.

use crate::{
    Attributes, Contents, Error, Kind, Node, NodeId, Origin, Result, Time, Tree, Xattrs,
    contents::{data_parts, open_host},
};
use rustix::{
    fs::{Access, AtFlags, FileType, OFlags, RawDir, Stat},
    io::Errno,
};
use std::{
    collections::HashMap,
    ffi::{CStr, CString, OsStr},
    fmt,
    fs::File,
    io,
    mem::MaybeUninit,
    ops::Range,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd},
        unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    },
    path::{Path, PathBuf},
};

/// Bytes of names read at once: a directory of a few thousand names in one call.
const NAMES: usize = 256 << 10;
/// Bytes that the names of a file's attributes, or one value, may have (`XATTR_LIST_MAX`,
/// `XATTR_SIZE_MAX`).
const XATTR_MAX: usize = 64 << 10;
/// Bits of the mode that let everybody read.
const ALL_READ: u32 = 0o444;
/// Bits of the mode that let everybody read and enter.
const ALL_LIST: u32 = 0o555;

/// Told now and then how many files were seen; `false` stops.
pub type Seen<'a> = dyn FnMut(u64) -> bool + 'a;

/// How a directory is read.
#[derive(Default)]
pub struct ScanOptions<'a> {
    /// Leaves out what lies on another filesystem than the directory: of one mounted below, only
    /// the directory that it is mounted on is taken, empty. Otherwise mounted filesystems are gone
    /// into, as `cp -a` does.
    pub one_filesystem: bool,
    /// Files that must not be met, by `st_dev` and `st_ino`: the image that is being written.
    pub refuse: Vec<(u64, u64)>,
    /// Told of every file.
    pub seen: Option<&'a mut Seen<'a>>,
}

impl fmt::Debug for ScanOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScanOptions")
            .field("one_filesystem", &self.one_filesystem)
            .field("refuse", &self.refuse)
            .finish_non_exhaustive()
    }
}

/// Reads everything below a directory: names, attributes, and which parts of files are holes.
///
/// Symbolic links are never followed but for `root` itself. What is hard-linked stays so, among the
/// names below `root`. The order in which the host lists names has no effect. Contents are read when
/// they are due; whether the user may is asked here.
///
/// # Errors
/// [`Error::Host`] with the name of what cannot be read, [`Error::Conflict`] for a file of
/// [`ScanOptions::refuse`] and for a directory that is mounted below itself, [`Error::Stopped`].
pub fn from_directory(root: &Path, options: ScanOptions<'_>) -> Result<Tree> {
    let host = |source: io::Error| Error::Host { path: root.to_path_buf(), source };
    // The root may be a link; what it leads to is asked for once.
    let dir = root.metadata().map_err(host)?;
    if !dir.is_dir() {
        return Err(host(io::Error::from(Errno::NOTDIR)));
    }
    let mut scan = Scan {
        options,
        is_root: rustix::process::geteuid().is_root(),
        root_dev: dir.dev(),
        linked: HashMap::new(),
        entered: Vec::new(),
        todo: Vec::new(),
        count: 0,
        names: vec![MaybeUninit::uninit(); NAMES],
        list: vec![0; XATTR_MAX],
        value: vec![0; XATTR_MAX],
    };
    let file = File::open(root).map_err(host)?;
    let stat = rustix::fs::fstat(&file).map_err(|errno| host(errno.into()))?;
    let xattrs = scan.xattrs(&proc_path(file.as_fd(), b"."), root)?;
    let mut tree = Tree::new(attributes(&stat, xattrs));
    scan.see(root, &stat)?;
    scan.enter(NodeId::ROOT, root.to_path_buf(), &stat, None);
    let mut open = Some(file);
    while let Some(dir) = scan.todo.pop() {
        let file = match open.take() {
            Some(root) => root,
            None => scan.open(&dir)?,
        };
        scan.directory(&mut tree, &dir, &file)?;
    }
    Ok(tree)
}

/// A directory that is known but not read.
struct Todo {
    node: NodeId,
    path: PathBuf,
    /// Its place among those entered.
    nr: usize,
}

/// A directory that is or was being read.
struct Entered {
    file: (u64, u64),
    /// The one above.
    parent: Option<usize>,
}

struct Scan<'a> {
    options: ScanOptions<'a>,
    is_root: bool,
    root_dev: u64,
    /// What has several names, by device and inode.
    linked: HashMap<(u64, u64), NodeId>,
    entered: Vec<Entered>,
    todo: Vec<Todo>,
    count: u64,
    names: Vec<MaybeUninit<u8>>,
    list: Vec<u8>,
    value: Vec<u8>,
}

impl Scan<'_> {
    fn enter(&mut self, node: NodeId, path: PathBuf, stat: &Stat, parent: Option<usize>) {
        let nr = self.entered.len();
        self.entered.push(Entered { file: (stat.st_dev, stat.st_ino), parent });
        self.todo.push(Todo { node, path, nr });
    }

    /// Opens a directory, if it is still the one that was seen.
    fn open(&self, dir: &Todo) -> Result<File> {
        let host = |source| Error::Host { path: dir.path.clone(), source };
        let file = open_host(&dir.path, OFlags::DIRECTORY).map_err(host)?;
        let found = file.metadata().map_err(host)?;
        if (found.dev(), found.ino()) != self.entered[dir.nr].file {
            return Err(host(io::Error::other("another directory took its place meanwhile")));
        }
        Ok(file)
    }

    /// Adds everything that is in a directory.
    fn directory(&mut self, tree: &mut Tree, dir: &Todo, file: &File) -> Result<()> {
        let host = |source: Errno| Error::Host { path: dir.path.clone(), source: source.into() };
        let mut names = read_names(file, &mut self.names).map_err(host)?;
        // Tables of inodes are read in one direction, as far as the host has them in order.
        names.sort_unstable_by_key(|it| it.0);
        let mut stats = Vec::with_capacity(names.len());
        for (_ino, name) in names {
            let stat = match rustix::fs::statat(file, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(errno) => {
                    let path = dir.path.join(OsStr::from_bytes(name.to_bytes()));
                    return Err(Error::Host { path, source: errno.into() });
                }
            };
            stats.push((name, stat));
        }
        stats.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let first = self.todo.len();
        for (name, stat) in &stats {
            self.entry(tree, dir, file, name, stat)?;
        }
        // The last is taken first: in the order of the names, then.
        self.todo[first..].reverse();
        Ok(())
    }

    fn entry(
        &mut self,
        tree: &mut Tree,
        dir: &Todo,
        file: &File,
        name: &CStr,
        stat: &Stat,
    ) -> Result<()> {
        let bytes = name.to_bytes();
        let path = dir.path.join(OsStr::from_bytes(bytes));
        let host = |source: io::Error| Error::Host { path: path.clone(), source };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let is_foreign = self.options.one_filesystem && stat.st_dev != self.root_dev;
        if is_foreign && kind != FileType::Directory {
            return Ok(());
        }
        self.see(&path, stat)?;
        let id = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1
            && kind != FileType::Directory
            && let Some(node) = self.linked.get(&id)
        {
            return tree.link(dir.node, bytes, *node);
        }
        let xattrs = if path.as_os_str().len() < PATH_MAX {
            self.xattrs(&path, &path)?
        } else {
            self.xattrs(&proc_path(file.as_fd(), bytes), &path)?
        };
        let attributes = attributes(stat, xattrs);
        let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let kind = match kind {
            FileType::Directory => {
                self.check_access(file, name, stat, ALL_LIST).map_err(host)?;
                self.check_above(dir, &path, id)?;
                let kind = Kind::Directory(std::collections::BTreeMap::new());
                let node = tree.add(dir.node, bytes, Node { attributes, kind })?;
                if !is_foreign {
                    self.enter(node, path, stat, Some(dir.nr));
                }
                return Ok(());
            }
            FileType::RegularFile => {
                self.check_access(file, name, stat, ALL_READ).map_err(host)?;
                let data = parts(file, name, stat).map_err(host)?;
                let size = stat.st_size.try_into().unwrap_or(0);
                let origin = Origin::Path(path.into());
                Kind::Regular(Contents { size, data, origin })
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(file, name, Vec::new());
                Kind::Symlink(target.map_err(|it| host(it.into()))?.into_bytes().into())
            }
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            FileType::CharacterDevice => Kind::CharDevice { major, minor },
            FileType::BlockDevice => Kind::BlockDevice { major, minor },
            FileType::Unknown => return Err(host(io::Error::other("a file of no known type"))),
        };
        let node = tree.add(dir.node, bytes, Node { attributes, kind })?;
        if stat.st_nlink > 1 {
            self.linked.insert(id, node);
        }
        Ok(())
    }

    /// Counts a file, unless it is one that must not be met.
    fn see(&mut self, path: &Path, stat: &Stat) -> Result<()> {
        if self.options.refuse.contains(&(stat.st_dev, stat.st_ino)) {
            let why = "the image that is being made is itself among the files for it".to_owned();
            return Err(Error::Conflict { path: path.display().to_string(), why });
        }
        self.count += 1;
        let goes_on = self.options.seen.as_mut().is_none_or(|seen| seen(self.count));
        if goes_on { Ok(()) } else { Err(Error::Stopped) }
    }

    /// Whether the user may read, unless everybody may anyway.
    fn check_access(&self, dir: &File, name: &CStr, stat: &Stat, all: u32) -> io::Result<()> {
        if self.is_root || stat.st_mode & all == all {
            return Ok(());
        }
        let list = if all == ALL_LIST { Access::EXEC_OK } else { Access::EXISTS };
        Ok(rustix::fs::accessat(dir, name, Access::READ_OK | list, AtFlags::EACCESS)?)
    }

    /// A directory that is mounted somewhere below itself would never end.
    fn check_above(&self, dir: &Todo, path: &Path, id: (u64, u64)) -> Result<()> {
        let mut above = Some(dir.nr);
        while let Some(it) = above.and_then(|nr| self.entered.get(nr)) {
            if it.file == id {
                let why = "a directory that this one is below, mounted again".to_owned();
                return Err(Error::Conflict { path: path.display().to_string(), why });
            }
            above = it.parent;
        }
        Ok(())
    }

    /// The extended attributes of a file, itself and not what it links to. `path` is for the call,
    /// `named` for messages.
    fn xattrs(&mut self, path: &Path, named: &Path) -> Result<Xattrs> {
        let host = |source: io::Error| Error::Host { path: named.to_path_buf(), source };
        let mut xattrs = Xattrs::new();
        let len = match rustix::fs::llistxattr(path, &mut self.list[..]) {
            Ok(len) => len,
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => 0,
            Err(errno) => return Err(host(errno.into())),
        };
        for name in self.list[..len].split(|it| *it == 0).filter(|it| !it.is_empty()) {
            match rustix::fs::lgetxattr(path, name, &mut self.value[..]) {
                Ok(len) => drop(xattrs.insert(name.into(), self.value[..len].into())),
                // Listed without being there, or gone meanwhile.
                Err(Errno::NODATA) => {}
                Err(errno) => {
                    let err = io::Error::from(errno);
                    let text = format!("attribute {}: {err}", name.escape_ascii());
                    return Err(host(io::Error::new(err.kind(), text)));
                }
            }
        }
        Ok(xattrs)
    }
}

/// Bytes that a path may have in one call, with the NUL behind it.
const PATH_MAX: usize = 4096;

/// A way to a name in an open directory, for calls that take no directory.
fn proc_path(dir: BorrowedFd<'_>, name: &[u8]) -> PathBuf {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend(name);
    PathBuf::from(OsStr::from_bytes(&path))
}

/// The names in a directory, each with its inode.
fn read_names(
    file: &File,
    buf: &mut [MaybeUninit<u8>],
) -> std::result::Result<Vec<(u64, CString)>, Errno> {
    let mut names = Vec::new();
    let mut dir = RawDir::new(file, buf);
    while let Some(entry) = dir.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push((entry.ino(), name.to_owned()));
        }
    }
    Ok(names)
}

/// The parts of a file that are no holes. The host is asked for them only when it keeps fewer
/// bytes than the file has.
fn parts(dir: &File, name: &CStr, stat: &Stat) -> io::Result<Vec<Range<u64>>> {
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let kept = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
    if size == 0 {
        return Ok(Vec::new());
    }
    if kept >= size {
        return Ok(std::iter::once(0..size).collect());
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = rustix::fs::openat(dir, name, flags, rustix::fs::Mode::empty())?;
    data_parts(&File::from(file), size)
}

fn attributes(stat: &Stat, xattrs: Xattrs) -> Attributes {
    let mtime = Time {
        sec: stat.st_mtime,
        nsec: u32::try_from(stat.st_mtime_nsec).unwrap_or(0).min(999_999_999),
    };
    let perms = u16::try_from(stat.st_mode & 0o7777).unwrap_or(0);
    Attributes { perms, uid: stat.st_uid, gid: stat.st_gid, mtime, xattrs }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        os::unix::fs::{FileExt as _, PermissionsExt as _, symlink},
    };

    fn scan(root: &Path) -> Tree {
        from_directory(root, ScanOptions::default()).expect("readable")
    }

    fn refused(root: &Path, options: ScanOptions<'_>) -> String {
        let err = from_directory(root, options).expect_err("refused");
        err.to_string().replace(&*root.to_string_lossy(), "ROOT")
    }

    #[test]
    fn every_kind_of_file_is_what_it_was() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path();
        fs::write(root.join("file"), b"hello").expect("written");
        fs::set_permissions(root.join("file"), fs::Permissions::from_mode(0o4751)).expect("set");
        fs::hard_link(root.join("file"), root.join("also")).expect("linked");
        fs::create_dir(root.join("sub")).expect("made");
        symlink("no/where", root.join("sub/link")).expect("linked");
        fs::hard_link(root.join("sub/link"), root.join("link too")).expect("linked");
        let pipe = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, root.join("pipe"), FileType::Fifo, pipe, 0)
            .expect("made");
        let socket = std::os::unix::net::UnixListener::bind(root.join("sub/socket"));
        drop(socket.expect("bound"));
        let tree = scan(root);
        let get = |path: &[&[u8]]| tree.find(path).expect("there");
        assert_eq!(get(&[b"file"]), get(&[b"also"]));
        assert_eq!(get(&[b"sub", b"link"]), get(&[b"link too"]));
        let file = tree.node(get(&[b"file"]));
        let meta = fs::metadata(root.join("file")).expect("there");
        assert_eq!(file.attributes.perms, 0o4751);
        assert_eq!(file.attributes.mtime.sec, meta.mtime());
        assert_eq!(i64::from(file.attributes.mtime.nsec), meta.mtime_nsec());
        assert_eq!(file.attributes.uid, meta.uid());
        let Kind::Regular(contents) = &file.kind else { panic!("a regular file") };
        let mut bytes = [0; 5];
        contents.open().and_then(|it| it.read_at(0, &mut bytes)).expect("readable");
        assert_eq!(&bytes, b"hello");
        assert!(matches!(tree.node(get(&[b"pipe"])).kind, Kind::Fifo));
        assert!(matches!(tree.node(get(&[b"sub", b"socket"])).kind, Kind::Socket));
        let Kind::Symlink(target) = &tree.node(get(&[b"link too"])).kind else { panic!("a link") };
        assert_eq!(&**target, b"no/where");
        assert_eq!(tree.nodes().len(), 6);
    }

    #[test]
    fn holes_stay_holes_and_attributes_are_taken() {
        let dir = tempfile::tempdir_in(".").expect("a folder");
        let root = dir.path();
        let file = File::create(root.join("sparse")).expect("a file");
        file.write_all_at(b"x", 4 << 20).expect("written");
        file.set_len(16 << 20).expect("longer");
        let flags = rustix::fs::XattrFlags::empty();
        let has_xattrs = ["user.empty", "user.one"].iter().all(|name| {
            rustix::fs::fsetxattr(&file, *name, &name.as_bytes()[10.min(name.len())..], flags)
                .is_ok()
        });
        fs::write(root.join("dense"), vec![0; 9000]).expect("written");
        let tree = scan(root);
        let node = |name: &[u8]| tree.node(tree.find(&[name]).expect("there"));
        let Kind::Regular(sparse) = &node(b"sparse").kind else { panic!("a file") };
        assert_eq!(sparse.size, 16 << 20);
        assert!(sparse.data_len() < 1 << 20, "{:?}", sparse.data);
        let Kind::Regular(dense) = &node(b"dense").kind else { panic!("a file") };
        assert_eq!(dense.size, 9000);
        if has_xattrs {
            let xattrs = &node(b"sparse").attributes.xattrs;
            assert_eq!(xattrs.get(&b"user.empty"[..]).map(|it| it.len()), Some(0));
            assert!(xattrs.contains_key(&b"user.one"[..]));
        } else {
            eprintln!("skipped: no extended attributes on this host's filesystem");
        }
    }

    #[test]
    fn the_image_among_its_own_files_is_refused_by_name() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path();
        fs::write(root.join("disk.img"), b"").expect("written");
        let meta = fs::metadata(root.join("disk.img")).expect("there");
        let refuse = vec![(meta.dev(), meta.ino())];
        assert_eq!(
            refused(root, ScanOptions { refuse, ..ScanOptions::default() }),
            "ROOT/disk.img: the image that is being made is itself among the files for it"
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path();
        assert!(refused(&root.join("none"), ScanOptions::default()).contains("ROOT: No such file"));
        fs::write(root.join("file"), b"x").expect("written");
        let line = refused(&root.join("file"), ScanOptions::default());
        assert!(line.contains("ROOT: Not a directory"), "{line}");
        if rustix::process::geteuid().is_root() {
            eprintln!("skipped: root may read everything");
            return;
        }
        for path in ["file", "sub"] {
            fs::create_dir_all(root.join("sub")).expect("made");
            fs::set_permissions(root.join(path), fs::Permissions::from_mode(0o0)).expect("set");
            let line = refused(root, ScanOptions::default());
            assert!(line.starts_with(&format!("ROOT/{path}: Permission denied")), "{line}");
            fs::set_permissions(root.join(path), fs::Permissions::from_mode(0o755)).expect("set");
        }
    }

    #[test]
    fn whoever_watches_can_stop_it() {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["a", "b", "c"] {
            fs::write(dir.path().join(name), b"").expect("written");
        }
        let mut counts = Vec::new();
        let mut seen = |count| {
            counts.push(count);
            count < 3
        };
        let options = ScanOptions { seen: Some(&mut seen), ..ScanOptions::default() };
        let err = from_directory(dir.path(), options).expect_err("stopped");
        assert!(matches!(err, Error::Stopped));
        assert_eq!(counts, [1, 2, 3]);
    }

    #[test]
    fn a_path_may_be_longer_than_the_host_takes_at_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let name = "d".repeat(250);
        let mut at = File::open(dir.path()).expect("open");
        for _ in 0..40 {
            rustix::fs::mkdirat(&at, &*name, 0o755.into()).expect("made");
            let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
            at = rustix::fs::openat(&at, &*name, flags, 0.into()).expect("open").into();
        }
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&at, "f", flags, 0o644.into()).expect("made"));
        file.write_all_at(b"deep", 0).expect("written");
        let tree = scan(dir.path());
        let mut path = vec![name.as_bytes(); 40];
        path.push(b"f");
        let node = tree.node(tree.find(&path).expect("found"));
        let Kind::Regular(contents) = &node.kind else { panic!("a file") };
        let mut bytes = [0; 4];
        contents.open().and_then(|it| it.read_at(0, &mut bytes)).expect("readable");
        assert_eq!(&bytes, b"deep");
    }
}
