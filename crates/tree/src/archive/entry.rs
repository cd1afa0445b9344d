//! The next entry of an archive: its header with all the headers before it that belong to it, and
//! where its contents are.

use super::{
    header::{BLOCK, Header},
    input::Input,
    owners::{Lists, Names, Owners},
    pax::Pax,
    sparse,
};
use crate::{Attributes, Contents, Kind, Result};
use std::{collections::BTreeMap, ops::Range};

/// The longest path or target of a link, bytes. The kernel takes 4096 at once.
const LONGEST_PATH: u64 = 1 << 16;
/// The longest extended header, bytes: hundreds of attributes of 64 KiB.
const LONGEST_RECORDS: u64 = 64 << 20;

/// What an archive has to say of one path.
#[derive(Debug)]
pub(super) struct Entry {
    /// Where its first header is.
    pub(super) at: u64,
    /// As it is in the archive.
    pub(super) path: Vec<u8>,
    pub(super) attributes: Attributes,
    /// Lists that are not yet among the attributes, because names in them are not known yet.
    pub(super) lists: Option<Lists>,
    pub(super) what: What,
}

/// What an entry is.
#[derive(Debug)]
pub(super) enum What {
    /// A file, or a directory without its names.
    New(Kind),
    /// One more name of the file with this path.
    Link(Vec<u8>),
}

/// Reads entries.
#[derive(Debug)]
pub(super) struct Entries {
    /// What is said of all entries.
    global: Pax,
    /// Whose names have which numbers.
    pub(super) owners: Owners,
    has_begun: bool,
}

/// What headers before an entry's own have said of it.
#[derive(Default)]
struct Before {
    pax: Option<Pax>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Entries {
    pub(super) fn new(names: Names) -> Self {
        Self { global: Pax::default(), owners: Owners::new(names), has_begun: false }
    }

    /// The next entry; `None` behind the end mark.
    pub(super) fn next(&mut self, input: &mut Input<'_>) -> Result<Option<Entry>> {
        let mut at = None;
        let mut before = Before::default();
        loop {
            let here = input.offset();
            let first = *at.get_or_insert(here);
            let Some(header) = self.header(input)? else {
                if first != here {
                    return Err(input.damage_at(first, "a header for an entry that is not there"));
                }
                return Ok(None);
            };
            let size = header.size();
            let long = |most: u64, what: &str| match size.clone() {
                Ok(len) if len <= most => Ok(len),
                Ok(len) => Err(input.damage_at(
                    here,
                    format!("{what}: found {len} bytes, expected at most {most}"),
                )),
                Err(why) => Err(input.damage_at(here, why)),
            };
            match header.kind() {
                b'x' | b'X' => {
                    let len = long(LONGEST_RECORDS, "extended header")?;
                    let pax = before.pax.get_or_insert_with(|| self.global.clone());
                    pax.extend(&input.bytes(len)?).map_err(|why| input.damage_at(here, why))?;
                }
                b'g' => {
                    let len = long(LONGEST_RECORDS, "global extended header")?;
                    let records = input.bytes(len)?;
                    self.global.extend(&records).map_err(|why| input.damage_at(here, why))?;
                    if first == here {
                        at = None;
                    }
                }
                b'L' => {
                    let len = long(LONGEST_PATH, "long name")?;
                    before.path = Some(until_nul(input.bytes(len)?));
                }
                b'K' => {
                    let len = long(LONGEST_PATH, "long link")?;
                    before.link = Some(until_nul(input.bytes(len)?));
                }
                // A label.
                b'V' => {
                    let len = long(LONGEST_PATH, "label")?;
                    input.bytes(len)?;
                    if first == here {
                        at = None;
                    }
                }
                _ => return self.entry(input, first, &header, before).map(Some),
            }
        }
    }

    /// The next header; `None` for the end mark.
    fn header(&mut self, input: &mut Input<'_>) -> Result<Option<Header>> {
        let at = input.offset();
        let Some(block) = input.block()? else {
            let why = "the archive ends here without two blocks of zeros: was it cut?";
            return Err(input.damage_at(at, why));
        };
        if block == [0; BLOCK] {
            return match input.block()? {
                Some(block) if block != [0; BLOCK] => {
                    Err(input.damage_at(at, "a lone block of zeros, expected two at the end"))
                }
                _ => Ok(None),
            };
        }
        let header = Header::new(&block).map_err(|why| {
            let what = if self.has_begun { "" } else { "not a tar archive: " };
            input.damage_at(at, format!("{what}{why}"))
        })?;
        self.has_begun = true;
        Ok(Some(header))
    }

    fn entry(
        &mut self,
        input: &mut Input<'_>,
        at: u64,
        header: &Header,
        before: Before,
    ) -> Result<Entry> {
        let is_pax = before.pax.is_some();
        let pax = before.pax.unwrap_or_else(|| self.global.clone());
        let sparse_name = pax.sparse.name.clone();
        let path = sparse_name
            .or_else(|| pax.path.clone())
            .or(before.path)
            .unwrap_or_else(|| header.name());
        let link = pax.link.clone().or(before.link).unwrap_or_else(|| header.link().to_vec());
        if path.len() as u64 > LONGEST_PATH || link.len() as u64 > LONGEST_PATH {
            let len = path.len().max(link.len());
            let why = format!("found a path of {len} bytes, expected at most {LONGEST_PATH}");
            return Err(input.damage_at(at, why));
        }
        let shown = path.escape_ascii().to_string();
        let wrong = move |why: String| format!("{shown}: {why}");
        let is_dir = is_directory(header, &path);
        let mut attributes =
            attributes(header, &pax).map_err(|why| input.damage_at(at, wrong(why)))?;
        self.learn(header, &pax, &attributes);
        let applied = self.owners.apply(&pax.lists, &mut attributes, is_dir);
        let lists = applied.is_err().then(|| pax.lists.clone());
        let size = pax.size.map_or_else(|| header.size(), Ok);
        let size = size.map_err(|why| input.damage_at(at, wrong(why)))?;

        let kind = header.kind();
        let device = || {
            let (major, minor) = match (pax.major, pax.minor) {
                (Some(major), Some(minor)) => (major, minor),
                _ => header.device()?,
            };
            Ok(match kind {
                b'3' => Kind::CharDevice { major, minor },
                _ => Kind::BlockDevice { major, minor },
            })
        };
        let what = match kind {
            _ if is_dir => {
                // Of a directory an incremental backup has the names. To POSIX its size is room to
                // set aside, but GNU tar steps over so many bytes.
                let has_data = size > 0 && (kind != b'5' || !header_follows(input)?);
                skip(input, if has_data { size } else { 0 })?;
                What::New(Kind::Directory(BTreeMap::new()))
            }
            0 | b'0' | b'7' | b'S' => {
                What::New(Kind::Regular(contents(input, at, header, &pax, size, &wrong)?))
            }
            b'1' => {
                let has_data = size > 0 && (is_pax || !header_follows(input)?);
                skip(input, if has_data { size } else { 0 })?;
                What::Link(link)
            }
            b'2' => {
                if link.is_empty() || link.contains(&0) {
                    let why = "a symbolic link without a target, or with a NUL in it".to_owned();
                    return Err(input.damage_at(at, wrong(why)));
                }
                attributes.perms = 0o777;
                What::New(Kind::Symlink(link.into()))
            }
            b'3' | b'4' => What::New(device().map_err(|why| input.damage_at(at, wrong(why)))?),
            b'6' => What::New(Kind::Fifo),
            b'M' => {
                let why = "continues in this archive: one of several volumes".to_owned();
                return Err(input.damage_at(at, wrong(why)));
            }
            other => {
                let why = format!("an entry of the unknown type '{}'", other.escape_ascii());
                return Err(input.damage_at(at, wrong(why)));
            }
        };
        Ok(Entry { at, path, attributes, lists, what })
    }
}

impl Entries {
    /// Remembers whose name has which number.
    fn learn(&mut self, header: &Header, pax: &Pax, attributes: &Attributes) {
        let (user, group) = header.names();
        self.owners.learn_user(pax.user.as_deref().unwrap_or(user), attributes.uid);
        self.owners.learn_group(pax.group.as_deref().unwrap_or(group), attributes.gid);
    }
}

/// Old tars tell directories by a slash at the end.
fn is_directory(header: &Header, path: &[u8]) -> bool {
    match header.kind() {
        b'5' | b'D' => true,
        0 | b'0' | b'7' => path.ends_with(b"/"),
        _ => false,
    }
}

fn attributes(header: &Header, pax: &Pax) -> std::result::Result<Attributes, String> {
    Ok(Attributes {
        perms: header.perms()?,
        uid: pax.uid.map_or_else(|| header.uid(), Ok)?,
        gid: pax.gid.map_or_else(|| header.gid(), Ok)?,
        mtime: pax.mtime.map_or_else(|| header.mtime(), Ok)?,
        xattrs: pax.xattrs.clone(),
    })
}

/// The contents of a regular file, of which the archive has `stored` bytes.
fn contents(
    input: &mut Input<'_>,
    at: u64,
    header: &Header,
    pax: &Pax,
    stored: u64,
    wrong: &dyn Fn(String) -> String,
) -> Result<Contents> {
    let (size, data) = if header.kind() == b'S' {
        let (size, map) = sparse::old_gnu(input, header)?;
        (size, map.finish(size, stored))
    } else if pax.sparse.is_sparse() {
        let size = pax.sparse.size.ok_or_else(|| {
            input.damage_at(at, wrong("a sparse file without its size".to_owned()))
        })?;
        match pax.sparse.version {
            None | Some((0, _)) => {
                let map = pax.sparse.map.clone().unwrap_or_default();
                (size, map.finish(size, stored))
            }
            Some((1, 0)) => {
                let (map, map_len) = sparse::version_1(input, stored)?;
                (size, map.finish(size, stored - map_len))
            }
            Some((major, minor)) => {
                let why = format!("a sparse file of the unknown version {major}.{minor}");
                return Err(input.damage_at(at, wrong(why)));
            }
        }
    } else {
        (stored, Ok(whole(stored)))
    };
    let data = data.map_err(|why| input.damage_at(at, wrong(why)))?;
    input.contents(size, data)
}

fn whole(size: u64) -> Vec<Range<u64>> {
    std::iter::once(0..size).filter(|it| !it.is_empty()).collect()
}

/// Steps over data and what fills its last block.
fn skip(input: &mut Input<'_>, size: u64) -> Result<()> {
    // Sizes have 63 bits.
    input.skip(size.next_multiple_of(BLOCK as u64))
}

/// Whether a header follows. Tars disagree on whether the size of a hard link or a directory, which
/// some say, is that of data in the archive.
fn header_follows(input: &mut Input<'_>) -> Result<bool> {
    let Some(block) = input.block()? else { return Ok(false) };
    input.unread(&block);
    Ok(block == [0; BLOCK] || Header::new(&block).is_ok())
}

fn until_nul(mut name: Vec<u8>) -> Vec<u8> {
    name.truncate(name.iter().position(|it| *it == 0).unwrap_or(name.len()));
    name
}
