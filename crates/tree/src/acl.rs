//! Access control lists: from the text that people and archives write to the value of an extended
//! attribute.
//!
//! The text is acl(5)'s, long or short, with the fourth field in which archives keep the number of
//! a named user or group. Names alone mean something on one machine only, and are never looked up.

use crate::Attributes;

/// The attribute with a file's list.
pub const ACCESS: &[u8] = b"system.posix_acl_access";
/// The attribute with the list that new files of a directory get.
pub const DEFAULT: &[u8] = b"system.posix_acl_default";

/// `POSIX_ACL_XATTR_VERSION`.
const VERSION: u32 = 2;
/// `ACL_UNDEFINED_ID`.
const NO_ID: u32 = u32::MAX;

/// Whom an entry is about, in the order in which the kernel wants them (`posix_acl_valid`); the
/// numbers are the format's `ACL_*` tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tag {
    Owner = 0x01,
    User = 0x02,
    OwningGroup = 0x04,
    Group = 0x08,
    Mask = 0x10,
    Other = 0x20,
}

impl Tag {
    const ALL: [Self; 6] =
        [Self::Owner, Self::User, Self::OwningGroup, Self::Group, Self::Mask, Self::Other];

    const fn is_named(self) -> bool {
        matches!(self, Self::User | Self::Group)
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Owner => "user::",
            Self::User => "user",
            Self::OwningGroup => "group::",
            Self::Group => "group",
            Self::Mask => "mask::",
            Self::Other => "other::",
        }
    }
}

/// An access control list that the kernel would accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    /// In the kernel's order, each once: who, which id, `rwx` bits.
    entries: Vec<(Tag, u32, u16)>,
}

impl Acl {
    /// Reads `u::rwx,u:1000:r--,g::r-x,m::r-x,o::---`: entries separated by commas or new lines,
    /// `user`, `group`, `mask` and `other` or their first letters, what is allowed as letters or as
    /// one octal digit; and the archives' `user:lisa:r--:1000`.
    ///
    /// # Errors
    /// Says what is wrong: an entry that is none, a name without a number, one entry too many or
    /// too few.
    pub fn from_text(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_not| "an ACL that is no text".to_owned())?;
        let mut entries = Vec::new();
        for line in text.split('\n') {
            let line = line.split('#').next().unwrap_or_default();
            for word in line.split(',').map(str::trim).filter(|it| !it.is_empty()) {
                entries.push(entry(word)?);
            }
        }
        entries.sort_unstable();
        Self { entries }.checked()
    }

    /// Reads the value of an attribute, as getxattr(2) gives it; `None` when it is no list.
    pub fn from_xattr(value: &[u8]) -> Option<Self> {
        let (version, rest) = value.split_first_chunk()?;
        if u32::from_le_bytes(*version) != VERSION || rest.len() % 8 != 0 {
            return None;
        }
        let read = |it: &[u8]| {
            let (head, id) = it.split_first_chunk::<4>()?;
            let tag = u16::from_le_bytes([head[0], head[1]]);
            let tag = *Tag::ALL.iter().find(|it| **it as u16 == tag)?;
            let id = if tag.is_named() { u32::from_le_bytes(id.try_into().ok()?) } else { NO_ID };
            Some((tag, id, u16::from_le_bytes([head[2], head[3]])))
        };
        let entries = rest.chunks_exact(8).map(read).collect::<Option<_>>()?;
        Some(Self { entries })
    }

    /// The value that getxattr(2) would give for it (`posix_acl_to_xattr`).
    pub fn to_xattr(&self) -> Box<[u8]> {
        let mut value = VERSION.to_le_bytes().to_vec();
        for &(tag, id, bits) in &self.entries {
            value.extend((tag as u16).to_le_bytes());
            value.extend(bits.to_le_bytes());
            value.extend(id.to_le_bytes());
        }
        value.into()
    }

    /// The nine permission bits that stand for it: those of the group are the mask's where there is
    /// one (`posix_acl_equiv_mode`).
    pub fn perms(&self) -> u16 {
        let bits = |tag| self.entries.iter().find(|it| it.0 == tag).map(|it| it.2);
        let group = bits(Tag::Mask).or_else(|| bits(Tag::OwningGroup));
        bits(Tag::Owner).unwrap_or(0) << 6 | group.unwrap_or(0) << 3 | bits(Tag::Other).unwrap_or(0)
    }

    /// Whether it says nothing that permission bits could not say; no attribute is kept then.
    pub fn is_minimal(&self) -> bool {
        !self.entries.iter().any(|it| it.0.is_named() || it.0 == Tag::Mask)
    }

    /// Takes the nine bits of `perms` over, as chmod(2) does (`__posix_acl_chmod_masq`).
    fn chmod(&mut self, perms: u16) {
        let has_mask = self.entries.iter().any(|it| it.0 == Tag::Mask);
        for (tag, _id, bits) in &mut self.entries {
            match tag {
                Tag::Owner => *bits = perms >> 6 & 7,
                Tag::Mask => *bits = perms >> 3 & 7,
                Tag::OwningGroup if !has_mask => *bits = perms >> 3 & 7,
                Tag::Other => *bits = perms & 7,
                Tag::User | Tag::OwningGroup | Tag::Group => {}
            }
        }
    }

    fn checked(self) -> Result<Self, String> {
        let name = |tag: Tag, id: u32| {
            let number = if tag.is_named() { format!(":{id}:") } else { String::new() };
            format!("{}{number}", tag.text())
        };
        for pair in self.entries.windows(2) {
            if let [(tag, id, _), (next, next_id, _)] = pair
                && (tag, id) == (next, next_id)
            {
                return Err(format!("`{}` twice", name(*tag, *id)));
            }
        }
        let has = |tag| self.entries.iter().any(|it| it.0 == tag);
        if let Some(tag) =
            [Tag::Owner, Tag::OwningGroup, Tag::Other].into_iter().find(|tag| !has(*tag))
        {
            return Err(format!("no entry `{}`, expected one", tag.text()));
        }
        if (has(Tag::User) || has(Tag::Group)) && !has(Tag::Mask) {
            return Err("no entry `mask::`, expected one beside named users or groups".to_owned());
        }
        Ok(self)
    }
}

fn entry(word: &str) -> Result<(Tag, u32, u16), String> {
    let bad = || format!("found the entry `{word}`, expected such as u:1000:r-x or g::r--");
    let mut fields = word.split(':').map(str::trim);
    let who = fields.next().unwrap_or_default();
    let mut rest: Vec<_> = fields.collect();
    let is_alone = matches!(who, "m" | "mask" | "o" | "other");
    // `mask:r-x` and `other:r-x`, which acl_from_text(3) takes too.
    if rest.len() == 1 && is_alone {
        rest.insert(0, "");
    }
    let (name, perms, number) = match *rest {
        [name, perms] => (name, perms, None),
        [name, perms, number] => (name, perms, Some(number)),
        _ => return Err(bad()),
    };
    let tag = match (who, name.is_empty()) {
        ("u" | "user", true) => Tag::Owner,
        ("u" | "user", false) => Tag::User,
        ("g" | "group", true) => Tag::OwningGroup,
        ("g" | "group", false) => Tag::Group,
        ("m" | "mask", true) => Tag::Mask,
        ("o" | "other", true) => Tag::Other,
        _ => return Err(bad()),
    };
    let id = match number.filter(|it| !it.is_empty()) {
        _ if !tag.is_named() => NO_ID,
        Some(number) => number.parse().map_err(|_not| bad())?,
        None => name.parse().map_err(|_not| {
            format!(
                "found the name `{name}` in `{word}`, expected a number: names are not looked up"
            )
        })?,
    };
    if tag.is_named() && id == NO_ID {
        return Err(bad());
    }
    let bits = bits(perms).ok_or_else(bad)?;
    Ok((tag, id, bits))
}

fn bits(text: &str) -> Option<u16> {
    if let [digit @ b'0'..=b'7'] = text.as_bytes() {
        return Some(u16::from(digit - b'0'));
    }
    if text.is_empty() {
        return None;
    }
    text.bytes().try_fold(0, |bits, letter| match letter {
        b'r' => Some(bits | 4),
        b'w' => Some(bits | 2),
        b'x' => Some(bits | 1),
        b'-' => Some(bits),
        _ => None,
    })
}

impl Attributes {
    /// Gives a file this list, as setfacl(1) does: the permission bits follow from it, and no
    /// attribute is kept that says no more than they do.
    pub fn set_acl(&mut self, acl: &Acl) {
        self.perms = self.perms & !0o777 | acl.perms();
        if acl.is_minimal() {
            self.xattrs.remove(ACCESS);
        } else {
            self.xattrs.insert(ACCESS.into(), acl.to_xattr());
        }
    }

    /// Gives a file these permission bits, as chmod(2) does: its list follows them.
    pub fn chmod(&mut self, perms: u16) {
        self.perms = perms & 0o7777;
        if let Some(mut acl) = self.xattrs.get(ACCESS).and_then(|it| Acl::from_xattr(it)) {
            acl.chmod(perms);
            self.xattrs.insert(ACCESS.into(), acl.to_xattr());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_what_getxattr_gives() {
        let acl = Acl::from_text(b"u::rwx,u:1000:r--,g::r-x,m::r-x,o::---").expect("good");
        let value = [
            2, 0, 0, 0, // version
            1, 0, 7, 0, 0xFF, 0xFF, 0xFF, 0xFF, // user::rwx
            2, 0, 4, 0, 0xE8, 3, 0, 0, // user:1000:r--
            4, 0, 5, 0, 0xFF, 0xFF, 0xFF, 0xFF, // group::r-x
            0x10, 0, 5, 0, 0xFF, 0xFF, 0xFF, 0xFF, // mask::r-x
            0x20, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, // other::---
        ];
        assert_eq!(&*acl.to_xattr(), value);
        assert_eq!(Acl::from_xattr(&value), Some(acl));
        assert_eq!(Acl::from_xattr(&value[..9]), None);
    }

    #[test]
    fn entries_come_in_any_order_and_in_the_forms_of_archives() {
        let short = Acl::from_text(b"u::rwx,u:5:r--,u:70:7,g::r-x,g:9:-w-,m::rwx,o::0");
        let long = Acl::from_text(
            b"# file: x\nother::---\nmask:rwx\ngroup:staff:-w-:9\nuser:70:rwx\n\
              user:lisa:r--:5 # effective\ngroup::r-x\nuser::rwx\n",
        );
        assert_eq!(short, long);
        assert!(short.is_ok(), "{short:?}");
    }

    #[test]
    fn what_the_kernel_would_refuse_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "no entry `user::`, expected one"),
            ("u::7,g::7", "no entry `other::`, expected one"),
            (
                "u::7,g::7,o::7,u:1:7",
                "no entry `mask::`, expected one beside named users or groups",
            ),
            ("u::7,g::7,o::7,m::7,u:1:7,u:1:0", "`user:1:` twice"),
            ("u::7,g::7,o::7,o::7", "`other::` twice"),
            (
                "u:lisa:rwx",
                "found the name `lisa` in `u:lisa:rwx`, expected a number: names are not looked up",
            ),
            ("u::rwz", "found the entry `u::rwz`, expected such as u:1000:r-x or g::r--"),
            ("z::rwx", "found the entry `z::rwx`, expected such as u:1000:r-x or g::r--"),
            ("o:1:rwx", "found the entry `o:1:rwx`, expected such as u:1000:r-x or g::r--"),
            ("u", "found the entry `u`, expected such as u:1000:r-x or g::r--"),
        ] {
            assert_eq!(Acl::from_text(text.as_bytes()), Err(why.to_owned()), "{text}");
        }
    }

    #[test]
    fn permission_bits_and_list_follow_each_other() {
        let mut file = Attributes { perms: 0o4700, ..Attributes::default() };
        file.set_acl(&Acl::from_text(b"u::rw,u:1:r,g::rwx,m::r-x,o::x").expect("good"));
        assert_eq!(file.perms, 0o4651, "the group's bits are the mask");
        file.chmod(0o740);
        let acl = Acl::from_xattr(&file.xattrs[ACCESS]).expect("a list");
        assert_eq!(acl, Acl::from_text(b"u::rwx,u:1:r,g::rwx,m::r,o::-").expect("good"));
        file.set_acl(&Acl::from_text(b"u::6,g::4,o::0").expect("good"));
        assert_eq!((file.perms, file.xattrs.len()), (0o640, 0), "bits say it all");
    }
}
