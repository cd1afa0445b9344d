//! `dump`: a file or folder out of the image, into a place of the host that does not exist yet.
//!
//! Whatever the image holds, nothing outside of that place is touched: every file and folder is
//! made new, a name is one name, and what is a symlink in the image is only ever made, never
//! followed, because nothing is made in a folder that this program did not make itself.

use crate::{
    cli::Spec,
    image::Image,
    print::{Fields, print_fields},
    show::exit,
    text::{count, file_type, put_name},
};
use ext4_cli::{Exit, Failure, Progress};
use ext4_fs::{Error, Inode, MapState};
use ext4_ondisk::inode::{FileType, InodeFlags};
use ext4_ondisk::name::Name;
use ext4_units::{InodeNr, LogicalBlock};
use serde_json::{Map, Value};
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io,
    ops::ControlFlow,
    os::unix::{ffi::OsStrExt as _, fs::FileExt as _, fs::symlink},
    path::{Path, PathBuf},
};

/// Bytes copied at a time.
const CHUNK: u64 = 1 << 20;

/// Remarks on names that are kept; more are counted.
const MAX_REMARKS: usize = 1000;

/// Copies it.
pub(crate) fn show(image: &Image, spec: &Spec, dest: &Path) -> Result<Exit, Failure> {
    let inode = image.inode(spec)?;
    if !matches!(inode.file_type(), FileType::Regular | FileType::Directory) {
        let found = file_type(inode.file_type());
        return Err(image.refuse(format_args!("{spec}: found {found}, expected a file or folder")));
    }
    if dest.symlink_metadata().is_ok() {
        let dest = dest.display();
        return Err(Failure::operational(format_args!("{dest}: exists, expected a new name")));
    }
    let mut dump = Dump {
        image,
        seen: BTreeSet::new(),
        done: Done::default(),
        remarks: Vec::new(),
        n_remarks: 0,
        has_damage: false,
        has_failed: false,
    };
    let top = Path::new(OsStr::from_bytes(b"/"));
    if inode.is_dir() {
        make_folder(dest).map_err(|err| host(dest, &err))?;
        dump.done.folders += 1;
        dump.folders(&inode, dest)?;
    } else {
        let file = make_file(dest).map_err(|err| host(dest, &err))?;
        dump.contents(top, &inode, dest, &file)?;
    }
    let mut out = Fields::new();
    out.put("files", dump.done.files).put("folders", dump.done.folders);
    out.put("symlinks", dump.done.symlinks).put("bytes", dump.done.bytes);
    out.put_json("remarks", dump.remarks).put("left_out", dump.n_remarks);
    if image.report.is_json() {
        print_fields(&image.report, &out)?;
    } else {
        let Done { files, folders, symlinks, bytes } = dump.done;
        image.report.text(format_args!(
            "{}, {}, {}, {}; {} left out",
            count(files, "file"),
            count(folders, "folder"),
            count(symlinks, "symlink"),
            count(bytes, "byte"),
            dump.n_remarks
        ))?;
    }
    let failed = if dump.has_failed { Exit::OPERATIONAL } else { Exit::OK };
    Ok(exit(dump.has_damage) | failed)
}

fn host(path: &Path, err: &io::Error) -> Failure {
    Failure::operational(format_args!("{}: {err}", path.display()))
}

/// A new file: refused when anything has that name, a symlink that leads nowhere too.
fn make_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// A new folder, in the same way.
fn make_folder(path: &Path) -> io::Result<()> {
    fs::create_dir(path)
}

#[derive(Clone, Copy, Debug, Default)]
struct Done {
    files: u64,
    folders: u64,
    symlinks: u64,
    /// Bytes that were not holes.
    bytes: u64,
}

struct Dump<'a> {
    image: &'a Image,
    /// Folders that were gone into.
    seen: BTreeSet<InodeNr>,
    done: Done,
    remarks: Vec<Value>,
    n_remarks: u64,
    has_damage: bool,
    /// The host refused something.
    has_failed: bool,
}

/// An entry that is to be copied.
struct Entry {
    ino: InodeNr,
    /// Where it is in the image, from the folder that was asked for.
    path: PathBuf,
    /// Where it goes.
    dest: PathBuf,
}

impl Dump<'_> {
    fn folders(&mut self, top: &Inode, dest: &Path) -> Result<(), Failure> {
        let progress = Progress::new(&self.image.common, "copying", None);
        let mut pending = self.entries(Path::new("/"), top, dest);
        while let Some(entry) = pending.pop() {
            self.image.check_stop()?;
            let inode = match self.image.fs.live_inode(self.image.meta(), entry.ino) {
                Ok(inode) => inode,
                Err(err) => {
                    self.damage(&entry.path, &err);
                    continue;
                }
            };
            match inode.file_type() {
                FileType::Directory => match make_folder(&entry.dest) {
                    Ok(()) => {
                        self.done.folders += 1;
                        pending.extend(self.entries(&entry.path, &inode, &entry.dest));
                    }
                    Err(err) => self.host(&entry.path, &entry.dest, &err)?,
                },
                FileType::Regular => match make_file(&entry.dest) {
                    Ok(file) => self.contents(&entry.path, &inode, &entry.dest, &file)?,
                    Err(err) => self.host(&entry.path, &entry.dest, &err)?,
                },
                FileType::Symlink => self.link(&entry, &inode)?,
                other => self.remark(&entry.path, format!("a {}", file_type(other))),
            }
            progress.set(self.done.bytes);
        }
        progress.finish(self.done.bytes);
        Ok(())
    }

    /// What is in a folder, the first name last. Names that are none are left out.
    fn entries(&mut self, path: &Path, dir: &Inode, dest: &Path) -> Vec<Entry> {
        let mut found = Vec::new();
        if dir.flags.contains(InodeFlags::ENCRYPT) {
            self.remark(path, "encrypted".to_owned());
            return found;
        }
        if !self.seen.insert(dir.ino) {
            self.has_damage = true;
            self.remark(path, format!("inode {}: a directory with a second name", dir.ino));
            return found;
        }
        let mut bad = Vec::new();
        let listed = self.image.fs.entries(self.image.meta(), dir, |entry| {
            let name = Path::new(OsStr::from_bytes(&entry.name));
            if is_one_name(&entry.name) {
                let (path, dest) = (path.join(name), dest.join(name));
                found.push(Entry { ino: entry.ino, path, dest });
            } else if !entry.is_dot_or_dotdot() {
                bad.push(entry.name);
            }
            Ok(ControlFlow::Continue(()))
        });
        for name in bad {
            self.has_damage = true;
            self.remark(path, format!("a name that is none: {}", Name(&name)));
        }
        if let Err(err) = listed {
            self.damage(path, &err);
        }
        found.reverse();
        found
    }

    fn link(&mut self, entry: &Entry, inode: &Inode) -> Result<(), Failure> {
        let target = match self.image.fs.read_link(self.image.meta(), inode) {
            Ok(target) => target,
            Err(err @ Error::NotPermitted { .. }) => {
                self.remark(&entry.path, err.to_string());
                return Ok(());
            }
            Err(err) => {
                self.damage(&entry.path, &err);
                return Ok(());
            }
        };
        match symlink(OsStr::from_bytes(&target), &entry.dest) {
            Ok(()) => {
                self.done.symlinks += 1;
                Ok(())
            }
            Err(err) => self.host(&entry.path, &entry.dest, &err),
        }
    }

    /// Copies a file's bytes; holes and unwritten blocks become holes. A file that cannot be read to
    /// its end stays as far as it was read, and has its size.
    fn contents(
        &mut self,
        path: &Path,
        inode: &Inode,
        dest: &Path,
        file: &File,
    ) -> Result<(), Failure> {
        self.done.files += 1;
        if let Err(err) = file.set_len(inode.i_size) {
            return self.host(path, dest, &err);
        }
        let mut failed = None;
        let copied = self.copy(inode, file, &mut |err| failed = Some(host(dest, &err)));
        match (failed, copied) {
            (Some(err), _) => return Err(err),
            (None, Ok(())) => self.image.check_stop()?,
            (None, Err(err @ Error::NotPermitted { .. })) => self.remark(path, err.to_string()),
            (None, Err(err)) => self.damage(path, &err),
        }
        Ok(())
    }

    /// Copies what is written of a file. An error of the host goes to `on_host` and ends it; so does
    /// a signal.
    fn copy(
        &mut self,
        inode: &Inode,
        file: &File,
        on_host: &mut dyn FnMut(io::Error),
    ) -> Result<(), Error> {
        let image = self.image;
        if inode.flags.contains(InodeFlags::ENCRYPT) {
            return Err(Error::NotPermitted { ino: inode.ino, flag: "encrypt" });
        }
        let mut chunk = Vec::new();
        let mut copy = |from: u64, to: u64| -> Result<(), Error> {
            let mut at = from;
            while at < to && image.check_stop().is_ok() {
                let len = usize::try_from((to - at).min(CHUNK)).unwrap_or(0);
                chunk.resize(len, 0);
                let n = image.fs.read_at(image.meta(), inode, at, &mut chunk)?;
                if let Err(err) = file.write_all_at(&chunk[..n], at) {
                    on_host(err);
                    return Err(Error::Refused("the host refused it".into()));
                }
                self.done.bytes += n as u64;
                if n == 0 {
                    break;
                }
                at += n as u64;
            }
            Ok(())
        };
        if !inode.has_blocks(&image.fs) {
            return copy(0, inode.i_size);
        }
        let size = image.fs.geometry().block_size;
        let n_blocks = u32::try_from(size.blocks_for(inode.i_size)).unwrap_or(u32::MAX);
        let all = (LogicalBlock(0), LogicalBlock(n_blocks));
        image.fs.mappings(image.meta(), inode, all.0, all.1, |mapping| match mapping.state {
            MapState::Written(_) => {
                let end = LogicalBlock(mapping.end()).byte(size).min(inode.i_size);
                copy(mapping.lblk.byte(size), end)
            }
            MapState::Hole | MapState::Unwritten(_) => Ok(()),
        })
    }

    /// The host refused to make something: a name that is there already or that it cannot have is
    /// left out, anything else ends the run.
    fn host(&mut self, path: &Path, dest: &Path, err: &io::Error) -> Result<(), Failure> {
        let is_name = matches!(
            err.kind(),
            io::ErrorKind::AlreadyExists
                | io::ErrorKind::InvalidFilename
                | io::ErrorKind::InvalidInput
                | io::ErrorKind::FileTooLarge
                | io::ErrorKind::NotFound
        );
        if !is_name {
            return Err(host(dest, err));
        }
        self.has_failed = true;
        self.remark(path, err.to_string());
        Ok(())
    }

    fn damage(&mut self, path: &Path, err: &Error) {
        self.has_damage = true;
        self.remark(path, err.to_string());
    }

    /// Remembers that something was left out, and why.
    fn remark(&mut self, path: &Path, why: String) {
        let bytes = path.as_os_str().as_bytes();
        self.image.report.note(format_args!("{}: left out: {why}", Name(bytes)));
        self.n_remarks += 1;
        if self.remarks.len() < MAX_REMARKS {
            let mut remark = Map::new();
            put_name(&mut remark, "path", bytes);
            remark.insert("why".to_owned(), why.into());
            self.remarks.push(remark.into());
        }
    }
}

/// Whether it is the name of one thing in a folder: nothing that leads elsewhere.
fn is_one_name(name: &[u8]) -> bool {
    !name.is_empty() && name != b"." && name != b".." && !name.iter().any(|it| b"/\0".contains(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere_else() {
        for name in [&b""[..], b".", b"..", b"a/b", b"/", b"../x", b"a\0"] {
            assert!(!is_one_name(name), "{}", name.escape_ascii());
        }
        for name in [&b"a"[..], b"...", b"..a", b"\xff", b"-rf"] {
            assert!(is_one_name(name), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn what_exists_is_refused_also_a_link_to_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        let target = folder.path().join("target");
        symlink(&target, &link).unwrap();
        assert_eq!(make_file(&link).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(make_folder(&link).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(!target.exists());
    }
}
