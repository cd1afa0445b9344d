//! Numbers for the names in access control lists, as the archive itself tells them.
//!
//! GNU tar writes names into lists, even with `--numeric-owner`. Beside the owner of each entry an
//! archive has name and number, and where a name always has the same number, that is whom a list
//! means. Other names are looked up only where the caller says: the host's own numbers might give
//! the file to somebody else.

use crate::{Acl, Attributes, acl};
use std::collections::HashMap;

/// The most names that are remembered.
const MOST: usize = 1 << 16;

/// Numbers of users and groups by name.
#[derive(Clone, Debug, Default)]
pub struct Names {
    users: HashMap<Box<[u8]>, u32>,
    groups: HashMap<Box<[u8]>, u32>,
}

impl Names {
    /// Those of a passwd(5) and a group(5): the third field of each line is the number. Lines that
    /// are no such are left out.
    pub fn new(passwd: &[u8], group: &[u8]) -> Self {
        Self { users: numbers(passwd), groups: numbers(group) }
    }
}

fn numbers(lines: &[u8]) -> HashMap<Box<[u8]>, u32> {
    let line = |line: &[u8]| {
        let mut fields = line.split(|it| *it == b':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        let number = std::str::from_utf8(number).ok()?.parse().ok()?;
        Some((name.into(), number))
    };
    // The first line of a name counts, as for getpwnam(3).
    lines.split(|it| *it == b'\n').rev().filter_map(line).collect()
}

/// Names seen beside numbers; those with two numbers have none.
#[derive(Debug, Default)]
pub(super) struct Owners {
    users: Seen,
    groups: Seen,
    given: Names,
}

type Seen = HashMap<Box<[u8]>, Option<u32>>;

/// Lists of a file as text.
#[derive(Clone, Debug, Default)]
pub(super) struct Lists {
    pub(super) access: Option<Vec<u8>>,
    pub(super) default: Option<Vec<u8>>,
}

impl Owners {
    pub(super) fn new(given: Names) -> Self {
        Self { given, ..Self::default() }
    }

    pub(super) fn learn_user(&mut self, name: &[u8], id: u32) {
        learn(&mut self.users, name, id);
    }

    pub(super) fn learn_group(&mut self, name: &[u8], id: u32) {
        learn(&mut self.groups, name, id);
    }

    /// Gives a file its lists.
    ///
    /// # Errors
    /// Says which list is none, or has a name whose number is not known.
    pub(super) fn apply(
        &self,
        lists: &Lists,
        attributes: &mut Attributes,
        is_dir: bool,
    ) -> Result<(), String> {
        if let Some(text) = &lists.access {
            let list = self.list(text).map_err(|why| format!("SCHILY.acl.access: {why}"))?;
            attributes.set_acl(&list);
        }
        if let Some(text) = lists.default.as_ref().filter(|_| is_dir) {
            let list = self.list(text).map_err(|why| format!("SCHILY.acl.default: {why}"))?;
            attributes.xattrs.insert(acl::DEFAULT.into(), list.to_xattr());
        }
        Ok(())
    }

    fn list(&self, text: &[u8]) -> Result<Acl, String> {
        let words = text.split(|it| matches!(it, b',' | b'\n')).map(|word| {
            let mut fields: Vec<&[u8]> = word.split(|it| *it == b':').collect();
            let number;
            if let [kind, name, _] = fields.as_mut_slice()
                && let Some(id) = self.number(kind.trim_ascii(), name)
            {
                number = id.to_string();
                *name = number.as_bytes();
                return fields.join(&b':');
            }
            fields.join(&b':')
        });
        let words: Vec<_> = words.collect();
        Acl::from_text(&words.join(&b','))
    }

    fn number(&self, kind: &[u8], name: &[u8]) -> Option<u32> {
        let (given, seen) = match kind {
            b"u" | b"user" => (&self.given.users, &self.users),
            b"g" | b"group" => (&self.given.groups, &self.groups),
            _ => return None,
        };
        match (given.get(name), seen.get(name)) {
            (Some(id), _) => Some(*id),
            (None, Some(id)) => *id,
            (None, None) => (name == b"root").then_some(0),
        }
    }
}

fn learn(names: &mut Seen, name: &[u8], id: u32) {
    if name.is_empty() {
        return;
    }
    let n_names = names.len();
    match names.get_mut(name) {
        Some(known) if *known == Some(id) => {}
        Some(known) => *known = None,
        None if n_names < MOST => {
            names.insert(name.into(), Some(id));
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_the_numbers_that_the_archive_has_beside_them() {
        let mut owners = Owners::default();
        owners.learn_user(b"lisa", 1000);
        owners.learn_user(b"lisa", 1000);
        owners.learn_group(b"staff", 50);
        let text = b"user::rwx\nuser:lisa:r--\nuser:root:rwx\ngroup::r-x\ngroup:staff:r--\nmask::r-x\nother::---\n";
        let expected = Acl::from_text(b"u::7,u:1000:4,u:0:7,g::5,g:50:4,m::5,o::0");
        assert_eq!(owners.list(text), expected);
        assert!(expected.is_ok());
    }

    #[test]
    fn a_name_without_one_number_is_refused() {
        let mut owners = Owners::default();
        let text = b"user::rwx,user:lisa:r--,group::r-x,mask::r-x,other::---";
        let why =
            "found the name `lisa` in `user:lisa:r--`, expected a number: names are not looked up";
        assert_eq!(owners.list(text), Err(why.to_owned()));
        owners.learn_user(b"lisa", 1000);
        assert!(owners.list(text).is_ok());
        owners.learn_user(b"lisa", 1001);
        assert_eq!(owners.list(text), Err(why.to_owned()), "two numbers");
        let passwd = b"# no line\nlisa:x:77:77::/home/lisa:/bin/sh\nlisa:x:78:78::/:/bin/sh\n";
        owners.given = Names::new(passwd, b"");
        assert_eq!(owners.list(text), Acl::from_text(b"u::7,u:77:4,g::5,m::5,o::0"), "given");
    }
}
