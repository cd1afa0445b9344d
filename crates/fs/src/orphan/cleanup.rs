//! Finishing what a crash interrupted: `ext4_orphan_cleanup`.
//!
//! Each inode leaves its record in the handle that finishes it, so a crash in the middle leaves the
//! rest for the next time.

use super::{Record, file};
use crate::{Error, Filesystem, Inode, Report, Result, alloc::is_inode_in_use};
use ext4_ondisk::{Corrupt, dir_entry::FileType, features::Compat, orphan_file, superblock::State};
use ext4_units::{BlockNr, InodeNr};
use std::collections::BTreeSet;

/// What became of one recorded inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// The inode number on record; it may be one that does not exist.
    pub ino: u32,
    /// Whether the record was a slot of the orphan file, not the list.
    pub in_file: bool,
    /// What was done.
    pub fate: OrphanFate,
}

/// What was done with an orphan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrphanFate {
    /// It had no links: its blocks and itself were freed.
    Deleted {
        /// Its size before, in bytes.
        size: u64,
        /// Space freed, in units of 512 bytes.
        sectors: u64,
    },
    /// It has links: everything beyond its size was freed.
    Truncated {
        /// Its size, in bytes.
        size: u64,
        /// Space freed, in units of 512 bytes.
        sectors: u64,
    },
    /// The record makes no sense and was not followed; for the list that is its end.
    Refused {
        /// What is wrong.
        fault: String,
    },
}

impl Filesystem {
    /// Finishes all recorded inodes: the list first, then the orphan file.
    ///
    /// A record that makes no sense ends the list and marks the filesystem as having errors; in the
    /// file it stays. A filesystem marked so already loses its list and keeps its file, as at a
    /// mount.
    ///
    /// `check_stop` is asked before each inode, and ends the work with its error.
    pub(crate) fn clean_orphans(
        &self,
        report: &mut Report,
        check_stop: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        // A damaged orphan file ends the recovery before the first record is followed.
        let file = self.verified_orphan_file()?;
        if self.has_errors()? {
            report.dropped_list = self.drop_list()?;
            if self.has_records(&file)? {
                // What stays in the file keeps orphan_present set.
                self.orphans().keep_leftovers();
            }
            Ok(())
        } else {
            self.clean_list(&mut report.orphans, check_stop)?;
            self.clean_file(&file, &mut report.orphans, check_stop)
        }
    }

    /// Whether the superblock says that errors were seen.
    pub fn has_errors(&self) -> Result<bool> {
        let raw = self.raw_superblock(self.meta())?;
        Ok(State::from_bits_retain(raw.s_state.get()).contains(State::ERROR))
    }

    fn clean_list(
        &self,
        done: &mut Vec<Orphan>,
        check_stop: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        // Each step takes one off; a list that runs in a circle comes to its end that way too, but
        // one that is changed under us must not hold us for ever.
        for _ in 0..=self.geometry().inodes_count {
            let head = self.raw_superblock(self.meta())?.s_last_orphan.get();
            if head == 0 {
                return Ok(());
            }
            check_stop()?;
            let finished = self.orphan(head).and_then(|inode| {
                self.orphans().found(inode.ino, Record::List);
                self.finish(&inode)
            });
            match finished {
                Ok(fate) => done.push(Orphan { ino: head, in_file: false, fate }),
                Err(Error::Corrupt(fault)) => {
                    self.mark_errors(&fault);
                    self.drop_list()?;
                    let fate = OrphanFate::Refused { fault: fault.to_string() };
                    done.push(Orphan { ino: head, in_file: false, fate });
                    return Ok(());
                }
                Err(err) => return Err(err),
            }
        }
        Err(Error::corrupt("orphan list", "has more members than there are inodes"))
    }

    fn clean_file(
        &self,
        file: &[BlockNr],
        done: &mut Vec<Orphan>,
        check_stop: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        for &blk in file {
            let block = self.meta().read(blk)?;
            for (idx, ino) in orphan_file::entries(&block) {
                check_stop()?;
                let orphan = |fate| Orphan { ino: ino.get(), in_file: true, fate };
                let finished = self.orphan(ino.get()).and_then(|inode| {
                    self.orphans().found(ino, Record::File(file::Slot { blk, idx }));
                    self.finish(&inode)
                });
                match finished {
                    Ok(fate) => done.push(orphan(fate)),
                    Err(Error::Corrupt(fault)) => {
                        self.orphans().keep_leftovers();
                        self.mark_errors(&fault);
                        done.push(orphan(OrphanFate::Refused { fault: fault.to_string() }));
                    }
                    Err(err) => return Err(err),
                }
            }
        }
        Ok(())
    }

    /// Whether the list or the file has a record, true or not.
    pub(crate) fn has_orphan_records(&self) -> Result<bool> {
        let has_list = self.raw_superblock(self.meta())?.s_last_orphan.get() != 0;
        Ok(has_list || self.has_records(&self.verified_orphan_file()?)?)
    }

    /// The inodes on the list, as far as it can be followed, and in the file.
    pub(crate) fn recorded_orphans(&self) -> Result<BTreeSet<InodeNr>> {
        let mut found = BTreeSet::new();
        let mut at = self.raw_superblock(self.meta())?.s_last_orphan.get();
        while let Some(ino) = InodeNr::new(at).filter(|ino| self.geometry().is_ordinary_inode(*ino))
            && found.insert(ino)
        {
            match self.inode(self.meta(), ino) {
                Ok(inode) => at = inode.dtime,
                Err(Error::Corrupt(_)) => break,
                Err(err) => return Err(err),
            }
        }
        for blk in self.verified_orphan_file()? {
            found.extend(orphan_file::entries(&self.meta().read(blk)?).map(|(_, ino)| ino));
        }
        Ok(found)
    }

    fn has_records(&self, file: &[BlockNr]) -> Result<bool> {
        for &blk in file {
            if orphan_file::entries(&self.meta().read(blk)?).next().is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The blocks of the orphan file, all of them verified (`EIO` otherwise); none without the
    /// feature.
    fn verified_orphan_file(&self) -> Result<Vec<BlockNr>> {
        if !self.superblock().features.has_compat(Compat::ORPHAN_FILE) {
            return Ok(Vec::new());
        }
        let file = self.orphan_file(self.meta())?;
        let blocks = self.orphan_file_blocks(self.meta(), &file)?;
        for &blk in &blocks {
            orphan_file::verify(&self.meta().read(blk)?, blk, file.seed(self))?;
        }
        Ok(blocks)
    }

    /// Reads a recorded inode and checks that the record can be true (`ext4_orphan_get`).
    fn orphan(&self, nr: u32) -> Result<Inode> {
        let refuse = |fault: String| Error::corrupt(format!("orphan inode {nr}"), fault);
        let geo = self.geometry();
        let ino = InodeNr::new(nr).filter(|_| nr >= geo.first_ino && nr <= geo.inodes_count);
        let ino = ino
            .ok_or_else(|| refuse(format!("expected {} to {}", geo.first_ino, geo.inodes_count)))?;
        if !is_inode_in_use(self, self.meta(), ino)? {
            return Err(refuse("is free in the inode bitmap".to_owned()));
        }
        let inode = self.inode(self.meta(), ino)?;
        if inode.dtime > geo.inodes_count {
            return Err(refuse(format!("next is {}, expected an inode", inode.dtime)));
        }
        let may_truncate = match inode.file_type() {
            FileType::Regular | FileType::Directory => true,
            FileType::Symlink => inode.has_blocks(self),
            _ => false,
        };
        if inode.links_count > 0 && !may_truncate {
            return Err(refuse(format!("has links and i_mode {:#o}", inode.mode)));
        }
        Ok(inode)
    }

    fn finish(&self, inode: &Inode) -> Result<OrphanFate> {
        let (size, sectors) = (inode.i_size, inode.sectors);
        if inode.links_count == 0 {
            self.evict(inode.ino)?;
            return Ok(OrphanFate::Deleted { size, sectors });
        }
        self.cut_to_size(inode.ino)?;
        let left = self.inode(self.meta(), inode.ino)?.sectors;
        Ok(OrphanFate::Truncated { size, sectors: sectors.saturating_sub(left) })
    }

    /// Empties the list without looking at its members. Returns its first member.
    fn drop_list(&self) -> Result<Option<u32>> {
        let head = self.raw_superblock(self.meta())?.s_last_orphan.get();
        if head == 0 {
            return Ok(None);
        }
        let mut h = self.start(1)?;
        h.modify_superblock(|raw| raw.s_last_orphan.set(0))?;
        h.stop()?;
        self.orphans().forget_list();
        Ok(Some(head))
    }

    /// Records an error, so that a full check is due (`ext4_error`).
    fn mark_errors(&self, fault: &Corrupt) {
        self.note_damage(&Error::Corrupt(fault.clone()));
        self.record_damage();
    }
}
