//! The entries of one run of records: a block of a directory, or a part of one inside its inode.

use super::{
    fold, inode,
    record::{Area, Fields},
    view::{Ask, Report, View},
};
use crate::{
    Place, Problem, Result,
    facts::Directory,
    problem::pass2::{
        BAD_INODE, BAD_NAME, CORRUPTED, DOT_INODE, DOT_TERM, DOTDOT_TERM, DUPLICATE, DUPLICATE_DOT,
        DUPLICATE_DOTDOT, EA_INODE_LINK, ENCODED_NAME, ENCRYPTED_NAME, FILETYPE, FILETYPE_SET,
        FIRST_NOT_DOT, INODE_IN_UNINIT, INODE_IN_UNUSED, LINK_DIRECTORY, LINK_DOT, LINK_ROOT,
        MISSING_DOT, MISSING_DOTDOT, NOT_UNIQUE, NOT_UNIQUE_HIDDEN, NULL_NAME, SECOND_NOT_DOTDOT,
        SPLIT_DOT, UNUSED_INODE,
    },
};
use ext4_ondisk::{
    dir_entry::{HEADER_LEN, MIN_REC_LEN},
    inode::FileType,
};
use ext4_units::InodeNr;
use std::{borrow::Cow, collections::HashMap};

/// The least bytes of an encrypted name.
const ENCRYPTED_MIN: usize = 16;

/// Names that were met, as they are compared, and their inodes.
struct Seen {
    is_casefolded: bool,
    names: HashMap<Vec<u8>, u32>,
}

impl Seen {
    fn compared<'n>(&self, name: &'n [u8]) -> Cow<'n, [u8]> {
        let folded = if self.is_casefolded { fold::folded(name) } else { None };
        folded.unwrap_or(Cow::Borrowed(name))
    }

    fn get(&self, name: &[u8]) -> Option<u32> {
        self.names.get(&*self.compared(name)).copied()
    }

    fn insert(&mut self, name: &[u8], ino: u32) {
        let name = self.compared(name).into_owned();
        self.names.insert(name, ino);
    }
}

/// The check of one run of records.
pub(crate) struct Entries<'e, 'v> {
    pub(crate) view: View<'v>,
    pub(crate) dir: InodeNr,
    pub(crate) known: &'e Directory,
    /// Where the run is.
    pub(crate) place: Place,
    pub(crate) ask: &'e mut Ask<'e>,
    pub(crate) report: &'e mut Report,
    /// Something in the run was changed.
    pub(crate) is_changed: bool,
    /// Room for a name.
    pub(crate) room: Vec<u8>,
}

/// Which of the first two entries is expected next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    Dot,
    DotDot,
    Name,
}

impl Entries<'_, '_> {
    /// Walks the records from the first to the end of the area.
    pub(crate) fn check(&mut self, area: &mut Area<'_>, mut expect: Expect) -> Result<()> {
        let (mut offset, mut before) = (0, None);
        // Names of one block are nearly always different, and that is seen at a glance.
        let is_casefolded = self.known.is_casefolded;
        let mut seen = (is_casefolded || area.may_have_twins())
            .then(|| Seen { is_casefolded, names: HashMap::new() });
        while offset < area.len() {
            let sound = area.fields(offset).filter(|it| area.is_sound(it));
            let Some(it) = sound else {
                let left = area.len() - offset;
                if !self.ask(&CORRUPTED, offset, format!("{left} bytes that are no entries"), "")? {
                    return Ok(());
                }
                self.is_changed = true;
                let next = area.salvage(offset, before);
                debug_assert!(
                    next > offset || area.fields(next).is_some_and(|it| area.is_sound(&it))
                );
                offset = next;
                continue;
            };
            match expect {
                Expect::Dot => {
                    self.dot(area, &it)?;
                    expect = Expect::DotDot;
                }
                Expect::DotDot => {
                    self.dotdot(area, &it)?;
                    expect = Expect::Name;
                }
                Expect::Name => self.name(area, &it, &mut seen)?,
            }
            // Its length may have been changed.
            let Some(it) = area.fields(offset).filter(|it| area.is_sound(it)) else { break };
            before = Some(offset);
            offset = it.end();
        }
        Ok(())
    }

    fn ask(
        &mut self,
        problem: &'static Problem,
        offset: usize,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Result<bool> {
        let place = self.place.clone().at_offset(offset);
        (self.ask)(problem, place, found.into(), expected.into())
    }

    fn ask_name(
        &mut self,
        problem: &'static Problem,
        it: &Fields,
        name: &[u8],
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Result<bool> {
        let place = self.place.clone().at_offset(it.offset).at_name(name, it.ino);
        (self.ask)(problem, place, found.into(), expected.into())
    }

    fn dot(&mut self, area: &mut Area<'_>, it: &Fields) -> Result<()> {
        let name = area.name(it);
        let is_dot = name == b".";
        let problem = if it.ino == 0 {
            Some(&MISSING_DOT)
        } else if !is_dot {
            Some(&FIRST_NOT_DOT)
        } else if area.bytes.get(it.offset + HEADER_LEN + 1).is_some_and(|byte| *byte != 0) {
            Some(&DOT_TERM)
        } else {
            None
        };
        // The root has no other name that would lead to it.
        if is_dot && self.dir == InodeNr::ROOT && self.view.facts.odd.contains(it.ino.into()) {
            inode::check(&self.view, self.dir, self.ask, self.report)?;
        }
        let name = area.name(it);
        let file_type = self.directory_type();
        let mut ino = it.ino;
        if let Some(problem) = problem {
            let found = name.escape_ascii().to_string();
            let found = if is_dot || it.ino == 0 { String::new() } else { format!("\"{found}\"") };
            if self.ask(problem, it.offset, found, "")? {
                let file_type = if is_dot { it.file_type } else { file_type };
                ino = if is_dot { it.ino } else { self.dir.get() };
                area.set_dot(it.offset, ino, b".", file_type);
                self.is_changed = true;
            } else if !is_dot {
                // Not what it should be, but a name all the same.
                self.count(it.ino);
                return Ok(());
            }
        }
        if ino != self.dir.get()
            && self.ask(&DOT_INODE, it.offset, ino.to_string(), self.dir.to_string())?
        {
            area.set_ino(it.offset, self.dir.get());
            self.is_changed = true;
        }
        self.type_of_dots(area, it)?;
        let room = it.rec_len - MIN_REC_LEN;
        if room > MIN_REC_LEN && self.ask(&SPLIT_DOT, it.offset, it.rec_len.to_string(), "12")? {
            area.set_rec_len(it.offset, MIN_REC_LEN);
            // `..` may still be where it was, with all that follows.
            let behind = area.fields(it.offset + MIN_REC_LEN).filter(|it| area.is_sound(it));
            if behind.is_none_or(|it| area.name(&it) != b"..") {
                area.set_free(it.offset + MIN_REC_LEN, room);
            }
            self.is_changed = true;
        }
        self.count(self.dir.get());
        Ok(())
    }

    fn dotdot(&mut self, area: &mut Area<'_>, it: &Fields) -> Result<()> {
        let name = area.name(it);
        let is_dotdot = name == b"..";
        let problem = if it.ino == 0 {
            Some(&MISSING_DOTDOT)
        } else if !is_dotdot {
            Some(&SECOND_NOT_DOTDOT)
        } else if area.bytes.get(it.offset + HEADER_LEN + 2).is_some_and(|byte| *byte != 0) {
            Some(&DOTDOT_TERM)
        } else {
            None
        };
        let mut ino = it.ino;
        if let Some(problem) = problem {
            let found = name.escape_ascii().to_string();
            let found =
                if is_dotdot || it.ino == 0 { String::new() } else { format!("\"{found}\"") };
            if self.ask(problem, it.offset, found, "")? {
                let file_type = if is_dotdot { it.file_type } else { self.directory_type() };
                // The right directory, if it is another, is known to pass 3.
                let is_kept = is_dotdot && it.ino != 0;
                ino = if is_kept { it.ino } else { InodeNr::ROOT.get() };
                area.set_dot(it.offset, ino, b"..", file_type);
                self.is_changed = true;
            } else if !is_dotdot {
                self.count(it.ino);
                return Ok(());
            }
        }
        self.type_of_dots(area, it)?;
        self.report.dotdot = InodeNr::new(ino);
        self.count(ino);
        Ok(())
    }

    /// `.` and `..` are for directories.
    fn type_of_dots(&mut self, area: &mut Area<'_>, it: &Fields) -> Result<()> {
        let expected = self.directory_type();
        let Some(found) = area.fields(it.offset).map(|it| it.file_type) else { return Ok(()) };
        let problem = if self.view.has_filetype() { &FILETYPE } else { &FILETYPE_SET };
        if found != expected
            && self.ask(problem, it.offset, found.to_string(), expected.to_string())?
        {
            area.set_file_type(it.offset, expected);
            self.is_changed = true;
        }
        Ok(())
    }

    /// The byte of `.` and `..`.
    fn directory_type(&self) -> u8 {
        if self.view.has_filetype() { FileType::Directory.raw() } else { 0 }
    }

    fn count(&mut self, ino: u32) {
        self.report.names.extend(InodeNr::new(ino));
    }

    fn clear(&mut self, area: &mut Area<'_>, it: &Fields) {
        area.set_ino(it.offset, 0);
        self.is_changed = true;
    }

    fn name(&mut self, area: &mut Area<'_>, it: &Fields, seen: &mut Option<Seen>) -> Result<()> {
        if it.ino == 0 {
            return Ok(());
        }
        let mut name = std::mem::take(&mut self.room);
        name.clear();
        name.extend_from_slice(area.name(it));
        let result = self.named(area, it, &mut name, seen);
        self.room = name;
        result
    }

    fn named(
        &mut self,
        area: &mut Area<'_>,
        it: &Fields,
        name: &mut Vec<u8>,
        seen: &mut Option<Seen>,
    ) -> Result<()> {
        let problem = match name.as_slice() {
            b"" => Some(&NULL_NAME),
            b"." => Some(&DUPLICATE_DOT),
            b".." => Some(&DUPLICATE_DOTDOT),
            _ => None,
        };
        if let Some(problem) = problem {
            if self.ask_name(problem, it, name, "", "")? {
                self.clear(area, it);
                return Ok(());
            }
            self.count(it.ino);
            return Ok(());
        }
        let Some(ino) = self.target(area, it, name)? else { return Ok(()) };
        // What has no twins was looked through byte by byte for that.
        if seen.is_some() {
            self.bytes_of_name(area, it, name)?;
        }
        let file_type = self.view.file_type(ino)?;
        if !self.kind(area, it, name, ino, file_type)?
            || !self.is_unique(area, it, name, ino, seen)?
        {
            return Ok(());
        }
        if file_type == FileType::Directory && self.view.facts.directories.contains(ino) {
            self.report.children.insert(ino);
        }
        self.count(it.ino);
        Ok(())
    }

    /// Whether the inode of a name can be what it is for; `None` when the name was cleared, or is not
    /// to be looked at any further.
    fn target(&mut self, area: &mut Area<'_>, it: &Fields, name: &[u8]) -> Result<Option<InodeNr>> {
        let geo = self.view.geo;
        let ino = InodeNr::new(it.ino).filter(|ino| geo.is_ordinary_inode(*ino));
        let is_ea = |ino: &InodeNr| self.view.facts.ea_inode_refs.contains_key(ino);
        let problem = match ino {
            None => Some(&BAD_INODE),
            Some(InodeNr::ROOT) => Some(&LINK_ROOT),
            Some(ino) if ino == self.dir => Some(&LINK_DOT),
            Some(ino) if is_ea(&ino) => Some(&EA_INODE_LINK),
            Some(_) if self.known.is_encrypted && name.len() < ENCRYPTED_MIN => {
                Some(&ENCRYPTED_NAME)
            }
            Some(_) => None,
        };
        if let Some(problem) = problem {
            if self.ask_name(problem, it, name, it.ino.to_string(), "")? {
                self.clear(area, it);
            }
            return Ok(None);
        }
        let Some(ino) = ino else { return Ok(None) };
        let is_used = self.view.facts.inodes.contains(it.ino.into());
        if !is_used && let Some((group, is_all)) = self.view.is_hidden(ino) {
            let problem = if is_all { &INODE_IN_UNINIT } else { &INODE_IN_UNUSED };
            if self.ask_name(problem, it, name, format!("group {group}"), "")? {
                self.report.hidden.push((group, is_all));
            }
            return Ok(None);
        }
        if !is_used {
            if self.ask_name(&UNUSED_INODE, it, name, "", "")? {
                self.clear(area, it);
            }
            return Ok(None);
        }
        if (self.view.facts.bad_mode.contains(it.ino.into())
            || self.view.facts.odd.contains(it.ino.into()))
            && inode::check(&self.view, ino, self.ask, self.report)?
        {
            self.clear(area, it);
            return Ok(None);
        }
        Ok(Some(ino))
    }

    /// A name without bytes that no name has, and that is text where it has to be.
    fn bytes_of_name(
        &mut self,
        area: &mut Area<'_>,
        it: &Fields,
        name: &mut Vec<u8>,
    ) -> Result<()> {
        let is_bad = |byte: &u8| matches!(byte, 0 | b'/');
        let is_any_text =
            !self.known.is_casefolded || !fold::is_strict(self.view.sb.encoding_flags);
        if self.known.is_encrypted || is_any_text && !name.iter().any(is_bad) {
            return Ok(());
        }
        let mut new = name.clone();
        let is_text = is_any_text || !fold::mend(&mut new);
        if !is_text && !self.ask_name(&ENCODED_NAME, it, name, "", "")? {
            new.clone_from(name);
        }
        if new.iter().any(is_bad) && self.ask_name(&BAD_NAME, it, name, "", "")? {
            new.iter_mut().filter(|it| is_bad(it)).for_each(|byte| *byte = b'.');
        }
        if new != *name {
            area.name_mut(it).copy_from_slice(&new);
            self.is_changed = true;
            // The hash of the name is another one.
            self.report.is_to_rebuild |= self.known.is_indexed;
            *name = new;
        }
        Ok(())
    }

    /// Compares the kind the name tells, and looks whether a directory has another name already.
    /// False when the name was cleared.
    fn kind(
        &mut self,
        area: &mut Area<'_>,
        it: &Fields,
        name: &[u8],
        ino: InodeNr,
        file_type: FileType,
    ) -> Result<bool> {
        let expected = if self.view.has_filetype() { file_type.raw() } else { 0 };
        if it.file_type != expected && file_type != FileType::Unknown {
            let problem = if self.view.has_filetype() { &FILETYPE } else { &FILETYPE_SET };
            let (found, expected_text) = (it.file_type.to_string(), expected.to_string());
            if self.ask_name(problem, it, name, found, expected_text)? {
                area.set_file_type(it.offset, expected);
                self.is_changed = true;
            }
        }
        if file_type == FileType::Directory
            && let Some(child) = self.view.facts.directories.get(ino)
        {
            let is_second = child.parent.is_some() || self.report.children.contains(&ino);
            let parent = child.parent.unwrap_or(self.dir);
            let found = format!("a name in directory {parent} too");
            if is_second && self.ask_name(&LINK_DIRECTORY, it, name, found, "")? {
                self.clear(area, it);
                return Ok(false);
            }
        }
        if self.known.is_encrypted && !self.policy(area, it, name, ino, file_type)? {
            return Ok(false);
        }
        Ok(true)
    }

    /// Whether a file in an encrypted directory is encrypted as the directory is.
    fn policy(
        &mut self,
        area: &mut Area<'_>,
        it: &Fields,
        name: &[u8],
        ino: InodeNr,
        file_type: FileType,
    ) -> Result<bool> {
        let has_contents =
            matches!(file_type, FileType::Regular | FileType::Directory | FileType::Symlink);
        if !has_contents {
            return Ok(true);
        }
        let Some(problem) = inode::policy_problem(&self.view, self.dir, ino)? else {
            return Ok(true);
        };
        if self.ask_name(problem, it, name, "", "")? {
            self.clear(area, it);
            return Ok(false);
        }
        Ok(true)
    }

    /// Whether no other entry of the same block has the name. False when the entry was cleared.
    fn is_unique(
        &mut self,
        area: &mut Area<'_>,
        it: &Fields,
        name: &[u8],
        ino: InodeNr,
        seen: &mut Option<Seen>,
    ) -> Result<bool> {
        let Some(seen) = seen else { return Ok(true) };
        let Some(other) = seen.get(name) else {
            seen.insert(name, it.ino);
            return Ok(true);
        };
        if other == it.ino {
            if self.ask_name(&DUPLICATE, it, name, "", "")? {
                self.clear(area, it);
                return Ok(false);
            }
            return Ok(true);
        }
        let found = format!("inode {other} too");
        if self.known.is_encrypted {
            if self.ask_name(&NOT_UNIQUE_HIDDEN, it, name, found, "")? {
                self.clear(area, it);
                return Ok(false);
            }
            return Ok(true);
        }
        if self.ask_name(&NOT_UNIQUE, it, name, found, "")? {
            let new = other_name(name, it, ino, seen);
            area.name_mut(&Fields { name_len: new.len(), ..*it }).copy_from_slice(&new);
            if let Some(len) = area.bytes.get_mut(it.offset + 6) {
                *len = u8::try_from(new.len()).unwrap_or(u8::MAX);
            }
            self.is_changed = true;
            self.report.is_to_rebuild |= self.known.is_indexed;
            seen.insert(&new, it.ino);
        }
        Ok(true)
    }
}

/// A name like this one that is still free, as long as the record has room for: `name~0`.
fn other_name(name: &[u8], it: &Fields, ino: InodeNr, seen: &Seen) -> Vec<u8> {
    let room = (it.rec_len - HEADER_LEN).min(255);
    let tails = (0..1000).map(|nr| format!("~{nr}")).chain([format!("~{ino}")]);
    for tail in tails {
        let tail = tail.as_bytes();
        let keep = name.len().min(room.saturating_sub(tail.len()));
        let mut new = name[..keep].to_vec();
        new.extend(&tail[..tail.len().min(room)]);
        if seen.get(&new).is_none() && !matches!(&*new, b"" | b"." | b"..") {
            return new;
        }
    }
    // Of a thousand one is free: a block has fewer entries of the same few letters.
    name.to_vec()
}
