//! An inode that goes, with all that it has.

use crate::{
    Result,
    inode_tables::deletion_time,
    pieces::{What, pieces},
    session::Session,
};
use ext4_ondisk::inode::{FileType, Inode, RawInode};
use ext4_units::InodeNr;

impl Session<'_, '_> {
    /// Frees an inode, and what pass 1 found that it has: an attribute block that others have too is
    /// counted anew by the next round.
    pub(crate) fn clear_inode(&mut self, ino: InodeNr) -> Result<()> {
        let mut bytes = self.read_inode(ino)?;
        let mut raw = RawInode::read(&bytes);
        if FileType::of_mode(raw.i_mode.get()) != FileType::Unknown
            && let Ok(inode) = Inode::decode_unverified(&bytes, ino, &self.format)
        {
            for piece in pieces(&self.image, &self.geo, &inode)? {
                let known = self.facts.xattr_blocks.get(&piece.start);
                if piece.what != What::Attributes || known.is_some_and(|it| it.found == 1) {
                    self.give_run(piece.start, piece.len);
                }
            }
        }
        raw.i_links_count.set(0);
        raw.i_dtime.set(deletion_time(self.now));
        raw.write_to(&mut bytes);
        self.write_inode(ino, &bytes)?;
        let facts = &mut self.facts;
        let nr = u64::from(ino.get());
        facts.inodes.remove(nr);
        facts.regular.remove(nr);
        facts.symlinks.remove(nr);
        facts.bad_mode.remove(nr);
        facts.ea_inodes.remove(nr);
        facts.links.remove(ino);
        facts.directories.remove(ino);
        Ok(())
    }
}
