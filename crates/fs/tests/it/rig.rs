//! A filesystem on an image in memory, a simple model of what is on it, and the judges.

use ext4_blockdev::BlockDevice;
use ext4_fs::{
    Filesystem, Last, MapState, NewFile, RecoverOptions, Replace, SetXattr, Setattr, recover,
};
use ext4_jbd2::Clock;
use ext4_ondisk::inode::FileType;
use ext4_testkit::{
    image::{Image, assert_clean},
    judge::judge,
    manifest::{Entry, Manifest, xattr_hash},
    model::ModelFile,
    mount::Mount,
    oracle::{self, Need, skip_without},
    rng::Rng,
    view::View,
};
use ext4_units::{InodeNr, LogicalBlock};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A clock that ticks a nanosecond each time it is looked at.
pub(crate) fn clock() -> Clock {
    let ticks = AtomicU64::new(1_700_000_000_000_000_000);
    Clock::new(move || Duration::from_nanos(ticks.fetch_add(1, Ordering::Relaxed)))
}

/// Opens for writing.
pub(crate) fn open(device: Arc<dyn BlockDevice>) -> Filesystem {
    recover(device, &RecoverOptions::new(clock())).unwrap().fs
}

/// Opens for writing, each handle in a transaction of its own.
pub(crate) fn open_committing(device: Arc<dyn BlockDevice>) -> Filesystem {
    let mut options = RecoverOptions::new(clock());
    options.commit_every_handle = true;
    recover(device, &options).unwrap().fs
}

/// Writes bytes as a program would, block by block: blocks, data, conversion, size.
pub(crate) fn write(
    fs: &Filesystem,
    ino: InodeNr,
    offset: u64,
    bytes: &[u8],
) -> ext4_fs::Result<()> {
    if fs.inline_write(ino, offset, bytes)? {
        return Ok(());
    }
    fs.inline_to_blocks(ino)?;
    let size = fs.geometry().block_size;
    let end = offset + bytes.len() as u64;
    let (mut at, mut rest) = (offset, bytes);
    while !rest.is_empty() {
        let n = rest.len().min((size.bytes() - size.within(at)) as usize);
        let lblk = LogicalBlock::of_byte(at, size).unwrap();
        let blk = fs.retrying(|| {
            let inode = fs.inode(fs.meta(), ino)?;
            let mapping = fs.lookup(fs.meta(), &inode, lblk)?;
            let mut h = fs.start(fs.allocate_credits(&inode, 1)? + fs.convert_credits(&inode)?)?;
            let mut inode = h.inode(ino)?;
            let (mapping, is_new) = match mapping.state {
                MapState::Hole => (h.allocate(&mut inode, lblk, 1, false)?, true),
                MapState::Unwritten(_) => {
                    h.convert(&mut inode, lblk, 1)?;
                    (mapping, true)
                }
                MapState::Written(_) => (mapping, false),
            };
            let blk = mapping.blocks().unwrap().start;
            if is_new {
                h.put_inode(&inode)?;
                h.stop()?;
                fs.device().write_at(blk.byte(size), &vec![0; size.len()])?;
            }
            Ok(blk)
        })?;
        fs.device().write_at(blk.byte(size) + u64::from(size.within(at)), &rest[..n])?;
        (at, rest) = (at + n as u64, &rest[n..]);
    }
    let mut h = fs.start(ext4_fs::Handle::INODE_CREDITS)?;
    let mut inode = h.inode(ino)?;
    h.raise_size(&mut inode, end)?;
    h.put_inode(&inode)?;
    h.stop()?;
    Ok(())
}

/// What the model knows of an inode.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) ino: InodeNr,
    pub(crate) kind: FileType,
    pub(crate) mode: u16,
    uid: u32,
    gid: u32,
    target: Vec<u8>,
    pub(crate) data: ModelFile,
    xattrs: BTreeMap<String, Vec<u8>>,
}

/// A tree of names, too simple to be wrong, and the filesystem it is compared with.
pub(crate) struct Pair {
    pub(crate) fs: Filesystem,
    /// Paths without a leading slash; the root is the empty one.
    pub(crate) names: BTreeMap<String, usize>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) rng: Rng,
    next: u32,
}

pub(crate) fn parent_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

pub(crate) fn name_of(path: &str) -> &[u8] {
    path.rsplit_once('/').map_or(path, |(_, name)| name).as_bytes()
}

impl Pair {
    /// Of a filesystem with nothing on it but its root and lost+found.
    pub(crate) fn new(fs: Filesystem, seed: u64) -> Self {
        let mut it =
            Self { fs, names: BTreeMap::new(), nodes: Vec::new(), rng: Rng::new(seed), next: 0 };
        for path in ["", "lost+found"] {
            let whole = format!("/{path}");
            let Ok(inode) = it.fs.resolve(it.fs.meta(), whole.as_bytes(), Last::Stay) else {
                continue;
            };
            it.add(
                path,
                inode.ino,
                FileType::Directory,
                &NewFile { mode: inode.mode & 0o7777, uid: inode.uid, gid: inode.gid },
            );
        }
        it
    }

    fn add(&mut self, path: &str, ino: InodeNr, kind: FileType, new: &NewFile) -> &mut Node {
        self.names.insert(path.to_owned(), self.nodes.len());
        self.nodes.push(Node {
            ino,
            kind,
            mode: new.mode,
            uid: new.uid,
            gid: new.gid,
            target: Vec::new(),
            data: ModelFile::new(),
            xattrs: BTreeMap::new(),
        });
        self.nodes.last_mut().unwrap()
    }

    pub(crate) fn node(&self, path: &str) -> &Node {
        &self.nodes[self.names[path]]
    }

    pub(crate) fn node_mut(&mut self, path: &str) -> &mut Node {
        let id = self.names[path];
        &mut self.nodes[id]
    }

    fn ino(&self, path: &str) -> InodeNr {
        self.node(path).ino
    }

    /// Paths of one kind.
    pub(crate) fn paths(&self, kind: FileType) -> Vec<String> {
        let of_kind = |(path, &id): (&String, &usize)| {
            (self.nodes[id].kind == kind && path != "lost+found").then(|| path.clone())
        };
        self.names.iter().filter_map(of_kind).collect()
    }

    fn below(&self, dir: &str) -> Vec<String> {
        let prefix = format!("{dir}/");
        self.names.keys().filter(|it| it.starts_with(&prefix)).cloned().collect()
    }

    fn pick(&mut self, kind: FileType) -> Option<String> {
        let paths = self.paths(kind);
        (!paths.is_empty()).then(|| self.rng.pick(&paths).clone())
    }

    fn fresh_name(&mut self) -> String {
        let dirs = self.paths(FileType::Directory);
        let dir = self.rng.pick(&dirs).clone();
        self.next += 1;
        let len = [3, 9, 40, 200][self.rng.below(4)];
        let name = format!("{:x>len$}", format!("n{}", self.next));
        if dir.is_empty() { name } else { format!("{dir}/{name}") }
    }

    fn new_file(&mut self) -> NewFile {
        let mode = [0o644, 0o755, 0o600, 0o4711][self.rng.below(4)];
        let id = u32::try_from(self.rng.below(3)).unwrap() * 40_000;
        NewFile { mode, uid: id, gid: id + 1 }
    }

    /// One random operation, on both. An error of the filesystem is handed on, and the model stays.
    pub(crate) fn step(&mut self) -> ext4_fs::Result<()> {
        let path = self.fresh_name();
        let dir = self.ino(parent_of(&path));
        let name = name_of(&path).to_vec();
        let new = self.new_file();
        match self.rng.below(22) {
            0..=3 => {
                let ino = self.fs.create(dir, &name, &new)?;
                self.add(&path, ino, FileType::Regular, &new);
            }
            4 | 5 => {
                let ino = self.fs.mkdir(dir, &name, &new)?;
                self.add(&path, ino, FileType::Directory, &new);
            }
            6 => {
                let len = [1, 59, 60, 300][self.rng.below(4)];
                let target = vec![b't'; len];
                let ino = self.fs.symlink(dir, &name, &target, &new)?;
                let new = NewFile { mode: 0o777, ..new };
                self.add(&path, ino, FileType::Symlink, &new).target = target;
            }
            7 => {
                let kind = [FileType::CharDevice, FileType::Fifo][self.rng.below(2)];
                let ino = self.fs.mknod(dir, &name, kind, (4, 300), &new)?;
                self.add(&path, ino, kind, &new);
            }
            8 => {
                let Some(file) = self.pick(FileType::Regular) else { return Ok(()) };
                self.fs.link(self.ino(&file), dir, &name)?;
                self.names.insert(path, self.names[&file]);
            }
            9 | 10 => self.unlink_one()?,
            11 => {
                let Some(gone) = self.pick(FileType::Directory).filter(|it| !it.is_empty()) else {
                    return Ok(());
                };
                let parent = self.ino(parent_of(&gone));
                let result = self.fs.rmdir(parent, name_of(&gone));
                if self.below(&gone).is_empty() {
                    result?;
                    self.names.remove(&gone);
                } else {
                    assert_eq!(result.unwrap_err().errno(), 39, "{gone} has entries");
                }
            }
            12 | 13 => self.rename_one(&path)?,
            14 => {
                let all: Vec<String> =
                    self.names.keys().filter(|it| *it != "lost+found").cloned().collect();
                let chosen = self.rng.pick(&all).clone();
                if self.node(&chosen).kind == FileType::Symlink {
                    return Ok(());
                }
                let change =
                    Setattr { mode: Some(new.mode), uid: Some(new.uid), ..Setattr::default() };
                self.fs.setattr(self.ino(&chosen), &change)?;
                let node = self.node_mut(&chosen);
                (node.mode, node.uid) = (new.mode, new.uid);
            }
            15 | 16 => self.xattr_one()?,
            _ => self.contents_one()?,
        }
        Ok(())
    }

    fn unlink_one(&mut self) -> ext4_fs::Result<()> {
        let kind = *self.rng.pick(&[
            FileType::Regular,
            FileType::Regular,
            FileType::Symlink,
            FileType::CharDevice,
        ]);
        if let Some(gone) = self.pick(kind) {
            self.fs.unlink(self.ino(parent_of(&gone)), name_of(&gone))?;
            self.names.remove(&gone);
        }
        Ok(())
    }

    fn rename_one(&mut self, fresh: &str) -> ext4_fs::Result<()> {
        let kind = *self.rng.pick(&[FileType::Regular, FileType::Directory]);
        let Some(from) = self.pick(kind).filter(|it| !it.is_empty()) else { return Ok(()) };
        // Onto a new name, or onto one that is there.
        let to = if self.rng.percent(40) { self.pick(kind).unwrap() } else { fresh.to_owned() };
        if to.is_empty() {
            return Ok(());
        }
        let result = self.fs.rename(
            self.ino(parent_of(&from)),
            name_of(&from),
            self.ino(parent_of(&to)),
            name_of(&to),
            Replace::Yes,
        );
        let is_loop = to.starts_with(&format!("{from}/"));
        if is_loop {
            assert_eq!(result.unwrap_err().errno(), 22, "{from} to {to}");
            return Ok(());
        }
        if self.names.get(&from) == self.names.get(&to) {
            return result;
        }
        if kind == FileType::Directory && !self.below(&to).is_empty() {
            assert_eq!(result.unwrap_err().errno(), 39, "{from} to {to}");
            return Ok(());
        }
        result?;
        for old in self.below(&from).into_iter().chain([from.clone()]) {
            let new = format!("{to}{}", &old[from.len()..]);
            let id = self.names.remove(&old).unwrap();
            self.names.insert(new, id);
        }
        Ok(())
    }

    fn xattr_one(&mut self) -> ext4_fs::Result<()> {
        let kind = *self.rng.pick(&[FileType::Regular, FileType::Directory]);
        let Some(path) = self.pick(kind) else { return Ok(()) };
        let name = format!("user.{}", ["a", "bb", "a-longer-name"][self.rng.below(3)]);
        let ino = self.ino(&path);
        if self.rng.percent(30) {
            let result = self.fs.remove_xattr(ino, name.as_bytes());
            if self.node(&path).xattrs.contains_key(&name) {
                result?;
                self.node_mut(&path).xattrs.remove(&name);
            } else {
                assert_eq!(result.unwrap_err().errno(), 61);
            }
            return Ok(());
        }
        let len = [0, 5, 30, 90, 500, 2000, 9000][self.rng.below(7)];
        let value = vec![b'0' + u8::try_from(self.rng.below(10)).unwrap(); len];
        match self.fs.set_xattr(ino, name.as_bytes(), &value, SetXattr::Any) {
            // What is too large for a block has no place but with ea_inode.
            Err(err) if err.to_string().contains("room for attributes") => Ok(()),
            result => {
                result?;
                self.node_mut(&path).xattrs.insert(name, value);
                Ok(())
            }
        }
    }

    fn contents_one(&mut self) -> ext4_fs::Result<()> {
        let Some(path) = self.pick(FileType::Regular) else { return Ok(()) };
        let ino = self.ino(&path);
        let scale = [60, 300, 5000, 40_000][self.rng.below(4)];
        let offset = self.rng.below(scale) as u64;
        let len = 1 + self.rng.below(scale) as u64;
        match self.rng.below(7) {
            0 => {
                self.fs.truncate(ino, offset)?;
                self.node_mut(&path).data.truncate(offset);
            }
            1 => {
                let keep_size = self.rng.percent(50);
                match self.fs.fallocate(ino, offset, len, keep_size) {
                    Err(err) if err.errno() == 95 => {}
                    result => {
                        result?;
                        self.node_mut(&path).data.allocate(offset, len, keep_size);
                    }
                }
            }
            2 => {
                self.fs.punch_hole(ino, offset, len)?;
                self.node_mut(&path).data.zero(offset, len);
            }
            _ => {
                let fill = u8::try_from(self.rng.below(255)).unwrap() + 1;
                let bytes = vec![fill; usize::try_from(len).unwrap()];
                write(&self.fs, ino, offset, &bytes)?;
                self.node_mut(&path).data.write(offset, &bytes);
            }
        }
        Ok(())
    }

    /// The model as a manifest; sizes of directories are the filesystem's business.
    pub(crate) fn manifest(&self) -> Manifest {
        let mut entries = BTreeMap::new();
        for (path, &id) in &self.names {
            let node = &self.nodes[id];
            let names = self.names.values().filter(|&&it| it == id).count() as u64;
            let below = self.below(path);
            let is_child =
                |it: &&String| it.len() > path.len() && !it[path.len() + 1..].contains('/');
            let children: Vec<&String> = if path.is_empty() {
                self.names.keys().filter(|it| !it.is_empty() && !it.contains('/')).collect()
            } else {
                below.iter().filter(is_child).collect()
            };
            let subdirs =
                children.iter().filter(|it| self.node(it).kind == FileType::Directory).count();
            let (nlink, size, content) = match node.kind {
                FileType::Directory => (2 + subdirs as u64, 0, String::new()),
                FileType::Regular => (names, node.data.size(), node.data.content_hash()),
                FileType::Symlink => {
                    let target = String::from_utf8(node.target.clone()).unwrap();
                    (names, target.len() as u64, target)
                }
                FileType::CharDevice => (names, 0, "4:300".to_owned()),
                _ => (names, 0, String::new()),
            };
            let entry = Entry {
                kind: node.kind.letter(),
                mode: format!("{:o}", node.mode),
                uid: node.uid,
                gid: node.gid,
                nlink,
                size,
                blocks: None,
                content,
                xattrs: xattr_hash(&node.xattrs),
                error: None,
            };
            let path = if path.is_empty() { "." } else { path };
            entries.insert(path.to_owned(), entry);
        }
        Manifest(entries)
    }
}

/// Without what a model does not know.
pub(crate) fn comparable(manifest: &Manifest) -> Manifest {
    let mut manifest = manifest.without_blocks();
    for entry in manifest.0.values_mut().filter(|it| it.kind == 'd') {
        entry.size = 0;
    }
    manifest
}

/// Asks everybody about a device that was closed: e2fsck, the second reader and, where it can
/// mount, the kernel. All must see what `expected` says.
#[track_caller]
pub(crate) fn ask_all(device: &dyn BlockDevice, expected: &Manifest, what: &str) {
    let view = View::new(device).unwrap();
    let found = comparable(&view.manifest().unwrap());
    assert_eq!(expected.differences(&found), Vec::<String>::new(), "{what}: second reader");
    assert_eq!(judge(device), [], "{what}");
    if !skip_without(&[Need::E2fsck]) {
        assert_clean(device).unwrap_or_else(|err| panic!("{what}: {err:#}"));
    }
    ask_kernel(device, expected, what);
}

/// The kernel's view of a device.
#[track_caller]
pub(crate) fn ask_kernel(device: &dyn BlockDevice, expected: &Manifest, what: &str) {
    if skip_without(&[Need::Kernel]) {
        return;
    }
    let scratch = oracle::scratch().unwrap();
    let file = scratch.path().join("image");
    oracle::save(device, &file).unwrap();
    let mount = Mount::new(&file, "ro").unwrap();
    let found = comparable(&mount.manifest().unwrap());
    mount.unmount().unwrap();
    assert_eq!(expected.differences(&found), Vec::<String>::new(), "{what}: kernel");
}

/// An image of a profile, small.
#[track_caller]
pub(crate) fn image(profile: &str) -> Option<Image> {
    ext4_testkit::image::Recipe::new(profile).image()
}
