//! Keywords: what is said of a file.

use super::{
    pattern::{self, Pattern},
    values, words,
};
use crate::{Acl, Time, Xattrs, acl};
use std::{ffi::OsString, os::unix::ffi::OsStringExt as _, path::PathBuf};

/// Keywords of mtree(5) that say how to check a file, or what follows from others: nothing that is
/// to be made depends on them.
const IGNORED: &[&str] = &[
    "cksum",
    "ignore",
    "inode",
    "md5",
    "md5digest",
    "nlink",
    "resdevice",
    "ripemd160digest",
    "rmd160",
    "rmd160digest",
    "sha1",
    "sha1digest",
    "sha256",
    "sha256digest",
    "sha384",
    "sha384digest",
    "sha512",
    "sha512digest",
    "tags",
];

/// What a file is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Block,
    Char,
    Directory,
    Fifo,
    File,
    Link,
    Socket,
}

impl Type {
    const ALL: [(&'static str, Self); 7] = [
        ("block", Self::Block),
        ("char", Self::Char),
        ("dir", Self::Directory),
        ("fifo", Self::Fifo),
        ("file", Self::File),
        ("link", Self::Link),
        ("socket", Self::Socket),
    ];

    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|it| it.1 == self).map_or("", |it| it.0)
    }
}

/// All that can be said.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a keyword")]
pub(super) struct Keywords {
    pub(super) kind: Option<Type>,
    pub(super) mode: Option<u16>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) time: Option<Time>,
    pub(super) size: Option<u64>,
    pub(super) link: Option<Box<[u8]>>,
    pub(super) device: Option<(u32, u32)>,
    pub(super) contents: Option<PathBuf>,
    pub(super) hardlink: Option<Pattern>,
    pub(super) xattrs: Xattrs,
    pub(super) acl: Option<Acl>,
    pub(super) default_acl: Option<Acl>,
    pub(super) no_xattrs: bool,
    pub(super) optional: bool,
    pub(super) nochange: bool,
    pub(super) remove: bool,
}

impl Keywords {
    /// Adds what the words of one line say.
    pub(super) fn read<'a>(&mut self, words: impl Iterator<Item = &'a [u8]>) -> Result<(), String> {
        let mut owners = Owners::default();
        for word in words {
            let (name, value) = match word.iter().position(|&it| it == b'=') {
                Some(at) => (&word[..at], Some(&word[at + 1..])),
                None => (word, None),
            };
            let Ok(name) = std::str::from_utf8(name) else {
                return Err(format!("`{}` is no keyword", name.escape_ascii()));
            };
            owners.saw(name);
            self.keyword(name, value)?;
        }
        owners.check()
    }

    fn keyword(&mut self, name: &str, value: Option<&[u8]>) -> Result<(), String> {
        if IGNORED.contains(&name) || matches!(name, "uname" | "gname") {
            return Ok(());
        }
        match name {
            "optional" => self.optional = true,
            "nochange" => self.nochange = true,
            "remove" => self.remove = true,
            "no-xattrs" => self.no_xattrs = true,
            _ => return self.with_value(name, value),
        }
        match value {
            None => Ok(()),
            Some(_) => Err(format!("{name} has no value")),
        }
    }

    fn with_value(&mut self, name: &str, value: Option<&[u8]>) -> Result<(), String> {
        let bytes =
            words::value(value.unwrap_or_default()).map_err(|why| format!("{name}: {why}"))?;
        let found = || format!("{name}: found `{}`, expected", bytes.escape_ascii());
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        match name {
            "type" => {
                let kind = Type::ALL.iter().find(|it| it.0 == text).map(|it| it.1);
                let names = "block, char, dir, fifo, file, link or socket";
                self.kind = Some(kind.ok_or_else(|| format!("{} {names}", found()))?);
            }
            "mode" => {
                let mode =
                    values::octal(text).ok_or_else(|| format!("{} octal up to 7777", found()));
                self.mode = Some(mode?);
            }
            "uid" | "gid" => {
                let id = values::decimal(text).and_then(|it| u32::try_from(it).ok());
                let id = id.ok_or_else(|| format!("{} a number below 2^32", found()))?;
                *(if name == "uid" { &mut self.uid } else { &mut self.gid }) = Some(id);
            }
            "time" | "mtime" => {
                let time = values::time(text);
                self.time = Some(time.ok_or_else(|| {
                    format!("{} seconds and nanoseconds such as 1700000000.000000000", found())
                })?);
            }
            "size" => {
                let size = values::decimal(text);
                self.size = Some(size.ok_or_else(|| format!("{} a number of bytes", found()))?);
            }
            "flags" => {
                if !matches!(text, "none" | "0") {
                    return Err(format!("{} none: file flags are not made", found()));
                }
            }
            "device" => {
                let device = values::device(text)
                    .ok_or_else(|| format!("{} such as native,5,1 or 5,1 or 0x501", found()))?;
                if device.0 > 0xFFF || device.1 > 0xF_FFFF {
                    return Err(format!(
                        "device: found {},{}, expected numbers below 4096 and 1048576",
                        device.0, device.1
                    ));
                }
                self.device = Some(device);
            }
            "link" => {
                if bytes.is_empty() || bytes.contains(&0) {
                    return Err(format!("{} where it points to", found()));
                }
                self.link = Some(bytes.into());
            }
            "contents" => {
                if bytes.is_empty() {
                    return Err(format!("{} a file", found()));
                }
                self.contents = Some(OsString::from_vec(bytes).into());
            }
            "hardlink" => {
                let path = pattern::parse(value.unwrap_or_default())?;
                if path.names().is_none_or(|it| it.is_empty()) {
                    return Err(format!("{} a path", found()));
                }
                self.hardlink = Some(path);
            }
            "selinux" => {
                if bytes.is_empty() || bytes.contains(&0) {
                    return Err(format!("{} a label", found()));
                }
                // As setfilecon(3) writes it: with the NUL.
                let label = bytes.into_iter().chain([0]).collect();
                self.xattrs.insert((*b"security.selinux").into(), label);
            }
            "acl" | "default-acl" => {
                let acl = Acl::from_text(&bytes).map_err(|why| format!("{name}: {why}"))?;
                let it = if name == "acl" { &mut self.acl } else { &mut self.default_acl };
                *it = Some(acl);
            }
            _ => match name.strip_prefix("xattr.") {
                Some(whole) => return self.xattr(name, whole, value.unwrap_or_default()),
                None => return Err(format!("`{name}` is no keyword")),
            },
        }
        Ok(())
    }

    fn xattr(&mut self, name: &str, whole: &str, raw: &[u8]) -> Result<(), String> {
        let whole = words::value(whole.as_bytes()).map_err(|why| format!("{name}: {why}"))?;
        let is_whole = whole.split(|&it| it == b'.').count() > 1
            && !whole.starts_with(b".")
            && !whole.ends_with(b".")
            && !whole.contains(&0);
        if !is_whole {
            return Err(format!("{name}: expected a whole name such as user.NAME"));
        }
        let value = values::attribute(raw)
            .map_err(|why| format!("{name}: found `{}`, {why}", raw.escape_ascii()))?;
        if (whole == acl::ACCESS || whole == acl::DEFAULT) && Acl::from_xattr(&value).is_none() {
            return Err(format!("{name}: no access control list, expected acl= or default-acl="));
        }
        self.xattrs.insert(whole.into(), value.into());
        Ok(())
    }

    /// Takes back what `/set` said of one keyword, or of all.
    pub(super) fn unset(&mut self, word: &[u8]) -> Result<(), String> {
        let name = std::str::from_utf8(word).unwrap_or_default();
        match name {
            "all" => *self = Self::default(),
            "type" => self.kind = None,
            "mode" => self.mode = None,
            "uid" => self.uid = None,
            "gid" => self.gid = None,
            "time" | "mtime" => self.time = None,
            "size" => self.size = None,
            "link" => self.link = None,
            "device" => self.device = None,
            "contents" => self.contents = None,
            "hardlink" => self.hardlink = None,
            "acl" => self.acl = None,
            "default-acl" => self.default_acl = None,
            "no-xattrs" => self.no_xattrs = false,
            "optional" => self.optional = false,
            "nochange" => self.nochange = false,
            "remove" => self.remove = false,
            "selinux" => drop(self.xattrs.remove(&b"security.selinux"[..])),
            "flags" | "uname" | "gname" => {}
            _ if IGNORED.contains(&name) => {}
            _ => match name.strip_prefix("xattr.") {
                Some(whole) => drop(self.xattrs.remove(whole.as_bytes())),
                None => return Err(format!("`{}` is no keyword", word.escape_ascii())),
            },
        }
        Ok(())
    }
}

/// Which owners one line names: names are not looked up, so a number has to stand beside.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a keyword")]
struct Owners {
    uid: bool,
    gid: bool,
    uname: bool,
    gname: bool,
}

impl Owners {
    fn saw(&mut self, keyword: &str) {
        match keyword {
            "uid" => self.uid = true,
            "gid" => self.gid = true,
            "uname" => self.uname = true,
            "gname" => self.gname = true,
            _ => {}
        }
    }

    fn check(&self) -> Result<(), String> {
        for (has_name, has_number, name, number) in
            [(self.uname, self.uid, "uname", "uid"), (self.gname, self.gid, "gname", "gid")]
        {
            if has_name && !has_number {
                return Err(format!(
                    "found {name} without {number}, expected both: names are not looked up"
                ));
            }
        }
        Ok(())
    }
}
