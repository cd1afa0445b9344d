//! The folder of `--rescue`: what a repair takes away, in files on the host.
//!
//! A folder for each inode, and `index.json`, which is there only when all the rest is, durably. All of it
//! is made before the image is written to.

use crate::{durable, outcome::many};
use ext4_check::{
    Outcome,
    rescue::{Extract, Loss, Rescue},
};
use ext4_cli::{Failure, size::Bytes};
use ext4_ondisk::{inode::FileType, name::Name};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
    fs::{self, File},
    io::{self, BufWriter, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

/// Bytes that are copied at once.
const CHUNK: usize = 1 << 20;

/// What was copied.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Rescued {
    /// The folder.
    pub folder: String,
    /// Inodes that lose something.
    pub inodes: u64,
    /// Bytes of contents that were copied.
    pub bytes: u64,
    /// Bytes of contents that were not, because damage makes them more than the device could hold.
    pub not_kept: u64,
    /// Whether damage is so great that not everything could be looked at.
    pub is_cut: bool,
}

/// `what 2 inodes lose is in lost, 5.0 KiB`.
impl fmt::Display for Rescued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { folder, inodes, bytes, .. } = self;
        if self.inodes == 0 {
            return f.write_str("nothing that a repair takes away");
        }
        let lose = if *inodes == 1 { "loses" } else { "lose" };
        write!(f, "what {} {lose} is in {folder}, {}", many(*inodes, "inode"), Bytes(*bytes))?;
        if self.not_kept > 0 {
            write!(f, ", but not {} that damaged maps name besides", Bytes(self.not_kept))?;
        }
        if self.is_cut {
            f.write_str("; not everything could be looked at")?;
        }
        Ok(())
    }
}

/// An inode in `index.json`.
#[derive(Serialize)]
struct Entry {
    inode: u32,
    path: Option<String>,
    kind: &'static str,
    size: u64,
    /// All of it is lost.
    gone: bool,
    /// The problems that were found in it, or at a name for it.
    problems: BTreeSet<&'static str>,
    /// Files in the folder.
    files: Vec<String>,
    /// Places in the file that are lost: offset and length in bytes.
    contents: Vec<[u64; 2]>,
    /// Bytes of contents that were not copied.
    not_kept: u64,
    attributes: Vec<String>,
    names: Vec<LostName>,
}

#[derive(Serialize)]
struct LostName {
    name: String,
    inode: u32,
}

/// Checks that the folder can be made: that it is not there, or empty.
pub(crate) fn check(path: &Path) -> Result<(), Failure> {
    let is_free = match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(err) if err.kind() == io::ErrorKind::NotFound => true,
        Err(err) => return Err(Failure::operational(err).at(path.display())),
    };
    if is_free {
        return Ok(());
    }
    Err(Failure::operational("not empty, expected a new or empty folder").at(path.display()))
}

/// Makes the folder, durably; on failure nothing of it is left. `None` when the check did not come to a
/// repair.
pub(crate) fn save(
    path: &Path,
    image: &str,
    checked: &Outcome,
) -> Result<Option<Rescued>, Failure> {
    let of_image = |err| Failure::operational(err).at(image);
    let Some(rescue) = Rescue::new(checked).map_err(of_image)? else { return Ok(None) };
    let is_new = !path.exists();
    let mut folder = Folder { path, image, rescue, inodes: Vec::new() };
    let saved = if is_new { fs::create_dir(path) } else { Ok(()) }
        .map_err(|err| Failed::Host(path.to_owned(), err))
        .and_then(|()| folder.fill(checked));
    saved.map(Some).map_err(|failed| {
        // Not a whole one: nobody shall believe it, and the disk may be full of it.
        for ino in &folder.inodes {
            let _ = fs::remove_dir_all(path.join(inode_folder(*ino)));
        }
        let _ = fs::remove_file(path.join(UNFINISHED));
        if is_new {
            let _ = fs::remove_dir(path);
        }
        match failed {
            Failed::Host(path, err) => Failure::operational(err).at(path.display()),
            Failed::Image(err) => of_image(err),
        }
    })
}

/// Why the folder could not be made.
enum Failed {
    Host(PathBuf, io::Error),
    Image(ext4_check::Error),
}

impl From<ext4_check::Error> for Failed {
    fn from(err: ext4_check::Error) -> Self {
        Self::Image(err)
    }
}

/// What `index.json` is called as long as it is not.
const UNFINISHED: &str = "index.json.unfinished";

fn inode_folder(ino: u32) -> String {
    format!("inode-{ino}")
}

struct Folder<'a> {
    path: &'a Path,
    image: &'a str,
    rescue: Rescue<'a>,
    /// Those that have a folder.
    inodes: Vec<u32>,
}

impl Folder<'_> {
    fn fill(&mut self, checked: &Outcome) -> Result<Rescued, Failed> {
        let problems = problems(checked);
        let mut rescued = Rescued { folder: self.path.display().to_string(), ..Rescued::default() };
        let unfinished = self.path.join(UNFINISHED);
        let host = |err| Failed::Host(unfinished.clone(), err);
        let mut index = BufWriter::new(File::create_new(&unfinished).map_err(host)?);
        let image = serde_json::Value::from(self.image);
        write!(index, "{{\"image\":{image},\"inodes\":[").map_err(host)?;
        while let Some(loss) = self.rescue.next_loss()? {
            let mut entry = Entry::of(&loss);
            if let Some(problems) = problems.get(&entry.inode) {
                entry.problems.clone_from(problems);
            }
            self.inode(&loss, &mut entry)?;
            let comma = if rescued.inodes == 0 { "" } else { "," };
            let text = serde_json::to_string(&entry).map_err(|err| host(err.into()))?;
            write!(index, "{comma}\n{text}").map_err(host)?;
            rescued.inodes += 1;
            rescued.bytes += entry.contents.iter().map(|it| it[1]).sum::<u64>();
            rescued.not_kept = rescued.not_kept.saturating_add(entry.not_kept);
        }
        rescued.is_cut = self.rescue.is_cut();
        let Rescued { bytes, not_kept, is_cut, .. } = rescued;
        writeln!(index, "\n],\"bytes\":{bytes},\"not_kept\":{not_kept},\"is_cut\":{is_cut}}}")
            .and_then(|()| index.flush())
            .and_then(|()| index.get_ref().sync_all())
            .and_then(|()| fs::rename(&unfinished, self.path.join("index.json")))
            .map_err(host)?;
        sync(self.path)?;
        durable::sync_name(self.path).map_err(|err| Failed::Host(self.path.to_owned(), err))?;
        Ok(rescued)
    }

    /// The folder of an inode.
    fn inode(&mut self, loss: &Loss, entry: &mut Entry) -> Result<(), Failed> {
        let name = inode_folder(entry.inode);
        let folder = self.path.join(&name);
        fs::create_dir(&folder).map_err(|err| Failed::Host(folder.clone(), err))?;
        self.inodes.push(entry.inode);
        let mut file = |what: &str, bytes: &[u8]| {
            entry.files.push(format!("{name}/{what}"));
            put(&folder.join(what), bytes)
        };
        file("inode", &loss.inode)?;
        if !loss.attributes.is_empty() {
            file("xattr", dump(loss).as_bytes())?;
        }
        if let Some(block) = &loss.attribute_block {
            file("xattr-block", block)?;
        }
        if !loss.names.is_empty() {
            let line = |it: &LostName| format!("{}\t{}\n", it.inode, it.name);
            file("names", entry.names.iter().map(line).collect::<String>().as_bytes())?;
        }
        for (nr, layer) in (1..).zip(&loss.contents) {
            let what = if nr == 1 { "contents".to_owned() } else { format!("contents-{nr}") };
            self.contents(&folder, &what, layer, |it| entry.files.push(format!("{name}/{it}")))?;
        }
        sync(&folder)
    }

    /// A file of contents, each part at its place; holes are left between. Parts at places that no file
    /// of the host can have get files of their own.
    fn contents(
        &self,
        folder: &Path,
        what: &str,
        layer: &[Extract],
        mut made: impl FnMut(&str),
    ) -> Result<(), Failed> {
        let path = folder.join(what);
        let host = |err| Failed::Host(path.clone(), err);
        let mut file = File::create_new(&path).map_err(host)?;
        made(what);
        for extract in layer {
            match self.extract(&mut file, &path, extract, extract.offset) {
                Err(Failed::Host(_, err))
                    if err.kind() == io::ErrorKind::FileTooLarge && extract.offset > 0 =>
                {
                    let what = format!("{what}-at-{}", extract.offset);
                    let path = folder.join(&what);
                    let host = |err| Failed::Host(path.clone(), err);
                    let mut file = File::create_new(&path).map_err(host)?;
                    made(&what);
                    self.extract(&mut file, &path, extract, 0)?;
                    file.sync_all().map_err(host)?;
                }
                other => other?,
            }
        }
        file.sync_all().map_err(host)
    }

    fn extract(
        &self,
        file: &mut File,
        path: &Path,
        extract: &Extract,
        offset: u64,
    ) -> Result<(), Failed> {
        let host = |err| Failed::Host(path.to_owned(), err);
        file.seek(SeekFrom::Start(offset)).map_err(host)?;
        let mut done = 0;
        while done < extract.len() {
            let bytes = self.rescue.read(extract, done, CHUNK)?;
            file.write_all(&bytes).map_err(host)?;
            done += bytes.len() as u64;
        }
        Ok(())
    }
}

impl Entry {
    fn of(loss: &Loss) -> Self {
        let place = |it: &Extract| [it.offset, it.len()];
        let name = |(name, ino): &(Vec<u8>, ext4_units::InodeNr)| LostName {
            name: Name(name).to_string(),
            inode: ino.get(),
        };
        Self {
            inode: loss.ino.get(),
            path: loss.path.as_deref().map(|it| Name(it).to_string()),
            kind: kind(loss.kind),
            size: loss.size,
            gone: loss.is_gone,
            problems: BTreeSet::new(),
            files: Vec::new(),
            contents: loss.contents.iter().flatten().map(place).collect(),
            not_kept: loss.not_kept,
            attributes: loss.attributes.iter().map(|it| Name(&it.0).to_string()).collect(),
            names: loss.names.iter().map(name).collect(),
        }
    }
}

/// What was found in each inode, or at a name for it.
fn problems(checked: &Outcome) -> BTreeMap<u32, BTreeSet<&'static str>> {
    let mut problems: BTreeMap<u32, BTreeSet<&'static str>> = BTreeMap::new();
    for it in &checked.findings {
        let of = it.place.inode.map(ext4_units::InodeNr::get);
        for ino in of.into_iter().chain(it.place.target) {
            problems.entry(ino).or_default().insert(it.problem.id);
        }
    }
    problems
}

/// Writes a file, durably.
fn put(path: &Path, bytes: &[u8]) -> Result<(), Failed> {
    File::create_new(path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .map_err(|err| Failed::Host(path.to_owned(), err))
}

/// Makes the names in a folder durable.
fn sync(folder: &Path) -> Result<(), Failed> {
    durable::sync(folder).map_err(|err| Failed::Host(folder.to_owned(), err))
}

/// Attributes as `getfattr --dump` shows them, for `setfattr --restore`.
fn dump(loss: &Loss) -> String {
    let path = match loss.path.as_deref() {
        Some(b"/") => b".".to_vec(),
        Some(path) => path.get(1..).unwrap_or_default().to_vec(),
        None => inode_folder(loss.ino.get()).into_bytes(),
    };
    let mut text = format!("# file: {}\n", quoted(&path, b"\\"));
    for (name, value) in &loss.attributes {
        text.push_str(&quoted(name, b"\\="));
        if value.iter().all(|it| it.is_ascii_graphic() || *it == b' ') {
            text.push_str("=\"");
            text.push_str(&quoted(value, b"\\\""));
            text.push_str("\"\n");
        } else {
            text.push_str("=0x");
            for byte in value {
                // Writing to a String cannot fail.
                let _ = write!(text, "{byte:02x}");
            }
            text.push('\n');
        }
    }
    text
}

/// Bytes with these, and those that are not printed, as `\ooo`.
fn quoted(bytes: &[u8], special: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        if (byte.is_ascii_graphic() || *byte == b' ') && !special.contains(byte) {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "\\{byte:03o}");
        }
    }
    text
}

const fn kind(kind: FileType) -> &'static str {
    match kind {
        FileType::Regular => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "symlink",
        FileType::CharDevice => "char",
        FileType::BlockDevice => "block",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        FileType::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_mean_something_to_setfattr_are_escaped() {
        assert_eq!(quoted(b"a\\b c=\xff\n", b"\\="), "a\\134b c\\075\\377\\012");
        assert_eq!(quoted(b"say \"x\"", b"\\\""), "say \\042x\\042");
    }
}
