//! lost+found: where what has no name gets one.

use crate::{Place, Result, problem::pass3, session::Session};
use ext4_ondisk::inode::FileType;
use ext4_units::InodeNr;

/// Its name in the root directory.
const NAME: &[u8] = b"lost+found";

impl Session<'_, '_> {
    /// Gives a file without a name one in lost+found: `#12`. False when there is no lost+found and
    /// none may be made.
    pub(crate) fn reconnect(&mut self, ino: InodeNr, file_type: FileType) -> Result<bool> {
        let Some(dir) = self.lost_found()? else { return Ok(false) };
        let mut name = format!("#{ino}");
        // Somebody may have the name already: the first that is free.
        let mut nr = 0_u32;
        while self.find_name(dir, name.as_bytes())?.is_some() {
            nr += 1;
            name = format!("#{ino}.{nr}");
        }
        self.add_name(dir, name.as_bytes(), ino, file_type)?;
        Ok(true)
    }

    /// The directory lost+found, made if there is none.
    pub(crate) fn lost_found(&mut self) -> Result<Option<InodeNr>> {
        if let Some(known) = self.facts.lost_found {
            return Ok(Some(known));
        }
        let found = self.find_name(InodeNr::ROOT, NAME)?;
        if let Some(dir) = found.filter(|it| self.facts.directories.contains_key(it)) {
            self.facts.lost_found = Some(dir);
            return Ok(Some(dir));
        }
        let place = Place::inode(InodeNr::ROOT);
        if found.is_some() || !self.fix(&pass3::NO_LOST_FOUND, place, "", "")? {
            return Ok(None);
        }
        let dir = self.new_directory(InodeNr::ROOT, 0o700)?;
        self.add_name(InodeNr::ROOT, NAME, dir, FileType::Directory)?;
        self.facts.lost_found = Some(dir);
        Ok(Some(dir))
    }

    /// What a directory has by that name; `None` too when the directory does not hold together.
    pub(crate) fn find_name(&mut self, dir: InodeNr, name: &[u8]) -> Result<Option<InodeNr>> {
        let file = super::File::open(self, dir)?;
        let found = ext4_dir::find(&file.dir_context(), &file, name)?;
        Ok(found.map(|it| it.ino))
    }
}
