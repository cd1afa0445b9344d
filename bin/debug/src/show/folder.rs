//! `ls`: the entries of a folder, in the order of the disk, an object a line with `--json`.

use crate::{
    cli::Spec,
    image::Image,
    show::exit,
    text::{self, Time, pair, put_name},
};
use ext4_cli::{Exit, Failure};
use ext4_fs::Inode;
use ext4_ondisk::inode::{FileType, decode_device};
use ext4_ondisk::name::Name;
use ext4_units::InodeNr;
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, fmt::Write as _, io::Write as _, ops::ControlFlow};

/// A path longer than this is not gone into.
const MAX_PATH: usize = 1 << 16;

/// Shows the folder, or the one name that is none.
pub(crate) fn show(image: &Image, spec: &Spec, is_recursive: bool) -> Result<Exit, Failure> {
    let ino = image.number(spec)?;
    let path = match spec {
        Spec::Path(path) => path.clone(),
        Spec::Inode(_) => spec.to_string().into_bytes(),
    };
    let inode = image.fs.inode(image.meta(), ino).map_err(|err| image.fail(&err))?;
    let out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut ls = Ls { image, out, has_damage: false, seen: BTreeSet::new() };
    if inode.is_dir() {
        ls.folders(path, ino, is_recursive)?;
    } else {
        ls.entry(&path, ino, None)?;
    }
    ls.out.flush().map_err(Failure::output)?;
    Ok(exit(ls.has_damage))
}

struct Ls<'a> {
    image: &'a Image,
    out: std::io::BufWriter<std::io::StdoutLock<'static>>,
    has_damage: bool,
    /// The folders that were gone into: each only once, so a walk ends.
    seen: BTreeSet<InodeNr>,
}

impl Ls<'_> {
    fn folders(&mut self, path: Vec<u8>, ino: InodeNr, is_recursive: bool) -> Result<(), Failure> {
        let mut pending = vec![(path, ino)];
        while let Some((path, ino)) = pending.pop() {
            if !self.seen.insert(ino) {
                self.damage(&path, format!("inode {ino}: a directory with a second name"))?;
                continue;
            }
            if path.len() > MAX_PATH {
                self.damage(&path, format!("inode {ino}: a path of {} bytes", path.len()))?;
                continue;
            }
            let below = self.folder(&path, ino, is_recursive)?;
            pending.extend(below.into_iter().rev());
        }
        Ok(())
    }

    /// Prints the entries of one folder and gives the folders among them.
    fn folder(
        &mut self,
        path: &[u8],
        ino: InodeNr,
        is_recursive: bool,
    ) -> Result<Vec<(Vec<u8>, InodeNr)>, Failure> {
        let mut below = Vec::new();
        let mut failed = None;
        let image = self.image;
        let listed = image.fs.inode(image.meta(), ino).and_then(|dir| {
            image.fs.entries(image.meta(), &dir, |entry| {
                if is_recursive && entry.is_dot_or_dotdot() {
                    return Ok(ControlFlow::Continue(()));
                }
                let full = join(path, &entry.name);
                let name = if is_recursive { &full } else { &entry.name };
                let printed = image.check_stop().and_then(|()| {
                    let raw = Some(entry.file_type);
                    self.entry(name, entry.ino, raw)
                });
                match printed {
                    Ok(is_dir) if is_recursive && is_dir => below.push((full, entry.ino)),
                    Ok(_) => {}
                    Err(err) => {
                        failed = Some(err);
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Ok(ControlFlow::Continue(()))
            })
        });
        if let Some(err) = failed {
            return Err(err);
        }
        if let Err(err) = listed {
            self.damage(path, err.to_string())?;
        }
        Ok(below)
    }

    /// Prints one entry and tells whether it is a folder.
    fn entry(
        &mut self,
        name: &[u8],
        ino: InodeNr,
        file_type: Option<FileType>,
    ) -> Result<bool, Failure> {
        match self.image.fs.live_inode(self.image.meta(), ino) {
            Ok(inode) => {
                let target = (inode.file_type() == FileType::Symlink)
                    .then(|| self.image.fs.read_link(self.image.meta(), &inode));
                let (target, error) = match target {
                    Some(Ok(target)) => (Some(target), None),
                    Some(Err(err)) => (None, Some(err.to_string())),
                    None => (None, None),
                };
                self.has_damage |= error.is_some();
                let value = value(name, &inode, target.as_deref(), error.as_deref());
                self.print(&value, &line(name, &inode, target.as_deref(), error.as_deref()))?;
                Ok(inode.is_dir())
            }
            Err(err) => {
                self.has_damage = true;
                let mut value = Map::new();
                put_name(&mut value, "name", name);
                value.insert("ino".into(), ino.get().into());
                value.insert("error".into(), err.to_string().into());
                let kind = file_type.map_or('?', FileType::letter);
                let text = format!("{kind}?????????  <{ino}>  {}  ({err})", Name(name));
                self.print(&value.into(), &text)?;
                Ok(false)
            }
        }
    }

    fn damage(&mut self, path: &[u8], error: String) -> Result<(), Failure> {
        self.has_damage = true;
        let text = format!("damage: {}: {error}", Name(path));
        let mut value = Map::new();
        put_name(&mut value, "name", path);
        value.insert("error".into(), error.into());
        self.print(&value.into(), &text)
    }

    fn print(&mut self, value: &Value, text: &str) -> Result<(), Failure> {
        let printed = if self.image.report.is_json() {
            writeln!(self.out, "{value}")
        } else {
            writeln!(self.out, "{text}")
        };
        printed.map_err(Failure::output)
    }
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut full = path.to_vec();
    if full.last() != Some(&b'/') {
        full.push(b'/');
    }
    full.extend_from_slice(name);
    full
}

fn is_device(inode: &Inode) -> bool {
    matches!(inode.file_type(), FileType::CharDevice | FileType::BlockDevice)
}

fn value(name: &[u8], inode: &Inode, target: Option<&[u8]>, error: Option<&str>) -> Value {
    let mut value = Map::new();
    put_name(&mut value, "name", name);
    let members = [
        ("ino", inode.ino.get().into()),
        ("type", inode.file_type().letter().to_string().into()),
        ("i_mode", inode.mode.into()),
        ("i_links_count", inode.links_count.into()),
        ("i_uid", inode.uid.into()),
        ("i_gid", inode.gid.into()),
        ("i_size", inode.i_size.into()),
        ("i_mtime", pair(inode.mtime)),
    ];
    value.extend(members.map(|(key, member)| (key.to_owned(), member)));
    if is_device(inode) {
        let (major, minor) = decode_device(&inode.i_block);
        value.insert("rdev".into(), json!([major, minor]));
    }
    if let Some(target) = target {
        put_name(&mut value, "target", target);
    }
    if let Some(error) = error {
        value.insert("error".into(), error.into());
    }
    value.into()
}

fn line(name: &[u8], inode: &Inode, target: Option<&[u8]>, error: Option<&str>) -> String {
    let size = if is_device(inode) {
        let (major, minor) = decode_device(&inode.i_block);
        format!("{major},{minor}")
    } else {
        inode.i_size.to_string()
    };
    let mut text = format!(
        "{} {:>3} {:>5} {:>5} {size:>12} {} {:>8} {}",
        text::mode(inode.mode),
        inode.links_count,
        inode.uid,
        inode.gid,
        Time::of_sec(inode.mtime.sec),
        format!("<{}>", inode.ino),
        Name(name),
    );
    if let Some(target) = target {
        let _ = write!(text, " -> {}", Name(target));
    }
    if let Some(error) = error {
        let _ = write!(text, " ({error})");
    }
    text
}
