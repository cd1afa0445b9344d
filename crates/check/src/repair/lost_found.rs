//! lost+found: where what has no name gets one.

use super::File;
use crate::{Error, Place, Result, problem::pass3, session::Session};
use ext4_dir::Entry;
use ext4_ondisk::{features::Compat, inode::FileType};
use ext4_units::{InodeNr, LogicalBlock};
use std::collections::HashSet;

/// Its name in the root directory.
const NAME: &[u8] = b"lost+found";

/// Blocks from which on it is worth an index.
const LARGE: u64 = 32;

/// What there is of lost+found.
enum LostFound {
    /// A directory of that name that can be used.
    There(InodeNr),
    /// Nothing, and one may be made.
    ToMake,
    /// Nothing, and none may be made.
    None,
}

/// What lost+found has of names that are given to what is lost. Read once: each name that is added would
/// be a walk over all others, and a damaged filesystem may have lost a million.
#[derive(Clone, Debug)]
pub(crate) struct LostNames {
    /// Those that begin as such names do.
    taken: HashSet<String>,
    /// Without an index: no block before this one has room.
    room: LogicalBlock,
}

impl LostNames {
    fn read(session: &mut Session<'_, '_>, dir: InodeNr) -> Result<Self> {
        let file = File::open(session, dir)?;
        let context = file.dir_context();
        let mut taken = HashSet::new();
        let mut take = |entry: Entry| {
            // Others are not in the way.
            taken.extend(
                str::from_utf8(&entry.name)
                    .ok()
                    .filter(|it| it.starts_with('#'))
                    .map(str::to_owned),
            );
        };
        match file.inline()? {
            Some(inline) => inline.entries(&context)?.into_iter().for_each(take),
            None => {
                for entry in ext4_dir::entries(&context, &file) {
                    take(entry?);
                }
            }
        }
        Ok(Self { taken, room: LogicalBlock(0) })
    }

    /// `#12`, or when somebody has that already the first of `#12.1`, `#12.2` and so on.
    fn free_for(&self, ino: InodeNr) -> String {
        let mut name = format!("#{ino}");
        let mut nr = 0_u32;
        while self.taken.contains(&name) {
            nr += 1;
            name = format!("#{ino}.{nr}");
        }
        name
    }
}

impl Session<'_, '_> {
    /// Gives a file without a name one in lost+found: `#12`. False when there is no lost+found and
    /// none may be made.
    pub(crate) fn reconnect(&mut self, ino: InodeNr, file_type: FileType) -> Result<bool> {
        let Some(dir) = self.lost_found()? else { return Ok(false) };
        let known = self.facts.lost_names.take();
        let mut names = known.map_or_else(|| LostNames::read(self, dir), Ok)?;
        let name = names.free_for(ino);
        let added = self.add_name(dir, names.room, name.as_bytes(), ino, file_type);
        let mut has_grown = false;
        if let Ok(room) = added {
            has_grown = room > names.room;
            names.room = room;
            names.taken.insert(name);
        }
        self.facts.lost_names = Some(names);
        added?;
        if has_grown {
            self.index_when_large(dir)?;
        }
        Ok(true)
    }

    /// Gives lost+found an index when it has become large: for whoever looks for names there.
    fn index_when_large(&mut self, dir: InodeNr) -> Result<()> {
        let Some(known) = self.facts.directories.get(dir) else { return Ok(()) };
        let is_large = self.geo.block_size.blocks_for(known.size) >= LARGE;
        let can_have = self.sb.features.has_compat(Compat::DIR_INDEX) && !known.is_inline;
        if known.is_indexed || !is_large || !can_have {
            return Ok(());
        }
        match self.rebuild_directory(dir) {
            // Without room it stays as it is.
            Err(Error::NoSpace(_)) => Ok(()),
            done => done,
        }
    }

    /// The directory lost+found, made if there is none.
    pub(crate) fn lost_found(&mut self) -> Result<Option<InodeNr>> {
        if let Some(known) = self.facts.lost_found {
            return Ok(Some(known));
        }
        let found = self.find_name(InodeNr::ROOT, NAME)?;
        let place = Place::inode(InodeNr::ROOT);
        let what = match found {
            Some(found) => self.usable(found)?,
            None if self.fix(&pass3::NO_LOST_FOUND, place, "", "")? => LostFound::ToMake,
            None => LostFound::None,
        };
        match what {
            LostFound::None => return Ok(None),
            LostFound::There(dir) => {
                self.facts.lost_found = Some(dir);
                return Ok(Some(dir));
            }
            LostFound::ToMake => {}
        }
        let dir = match self.new_directory(InodeNr::ROOT, 0o700) {
            Err(none @ Error::NoSpace(_)) => self.adopt_directory()?.ok_or(none)?,
            made => made?,
        };
        self.add_name(InodeNr::ROOT, LogicalBlock(0), NAME, dir, FileType::Directory)?;
        self.facts.lost_found = Some(dir);
        Ok(Some(dir))
    }

    /// A directory without a name that holds nothing but what [`reconnect`](Self::reconnect) named, to be
    /// lost+found where none can be made: such as a run leaves that is cut before it gets its name.
    fn adopt_directory(&mut self) -> Result<Option<InodeNr>> {
        let nameless = self.facts.directories.iter().filter(|(ino, it)| {
            it.parent.is_none() && !it.is_inline && !it.is_encrypted && *ino != InodeNr::ROOT
        });
        let nameless: Vec<InodeNr> = nameless.map(|it| it.0).collect();
        for dir in nameless {
            let file = File::open(self, dir)?;
            let context = file.dir_context();
            let is_one = ext4_dir::entries(&context, &file)
                .all(|it| it.is_ok_and(|it| it.is_dot_or_dotdot() || it.name.starts_with(b"#")));
            if is_one {
                self.set_dotdot(dir, InodeNr::ROOT)?;
                if let Some(known) = self.facts.directories.get_mut(dir) {
                    known.parent = Some(InodeNr::ROOT);
                }
                return Ok(Some(dir));
            }
        }
        Ok(None)
    }

    /// Whether what has the name can be lost+found.
    fn usable(&mut self, found: InodeNr) -> Result<LostFound> {
        let place = Place::inode(found);
        let Some(known) = self.facts.directories.get(found) else {
            let is_wanted = self.fix(&pass3::LOST_FOUND_KIND, place, "", "")?;
            return self.make_way(found, is_wanted);
        };
        if known.is_encrypted {
            let is_wanted = self.fix(&pass3::LOST_FOUND_ENCRYPTED, place, "", "")?;
            if let Some(known) = self.facts.directories.get_mut(found).filter(|_| is_wanted) {
                known.parent = None;
            }
            return self.make_way(found, is_wanted);
        }
        if known.is_inline && self.fix(&pass3::LOST_FOUND_INLINE, place, "", "")? {
            let mut file = File::open(self, found)?;
            file.leave_inode()?;
            file.close()?;
        }
        Ok(LostFound::There(found))
    }

    /// Takes the name from what has it; pass 3 or 4 gives it another.
    fn make_way(&mut self, found: InodeNr, is_wanted: bool) -> Result<LostFound> {
        if !is_wanted {
            return Ok(LostFound::None);
        }
        self.remove_names_of(InodeNr::ROOT, found)?;
        Ok(LostFound::ToMake)
    }

    /// What a directory has by that name. [`Error::Damaged`] when it does not hold together.
    pub(crate) fn find_name(&mut self, dir: InodeNr, name: &[u8]) -> Result<Option<InodeNr>> {
        let file = File::open(self, dir)?;
        let context = file.dir_context();
        let found = match file.inline()? {
            Some(inline) => inline.find(&context, name)?,
            None => ext4_dir::find(&context, &file, name)?,
        };
        Ok(found.map(|it| it.ino))
    }
}
