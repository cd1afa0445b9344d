//! Looking at a map while others change it (the shared side of `i_data_sem`).

use crate::{Filesystem, Inode, Result};
use ext4_extent::Mapping;
use ext4_units::{InodeNr, LogicalBlock};

/// How often a map is looked at while handles change it, before they are kept out.
const TRIES: usize = 8;

impl Filesystem {
    /// Looks at the map of `ino`, outside of any handle, until it has seen it as it was at one
    /// moment: a walk that a handle's end comes between finds some nodes from before and some from
    /// after, or what is in freed ones.
    ///
    /// `look` may be called several times. What it says is true at that moment; the inode's lock, or
    /// pages under writeback, keep it true.
    pub fn steady_map<T>(
        &self,
        ino: InodeNr,
        mut look: impl FnMut(&Inode) -> Result<T>,
    ) -> Result<T> {
        self.while_steady(ino, || look(&self.inode(self.meta(), ino)?))
    }

    /// As [`steady_map`](Self::steady_map), for who reads the inode himself, each time.
    pub(crate) fn while_steady<T>(
        &self,
        ino: InodeNr,
        mut look: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        if self.writing().is_none() {
            return look();
        }
        let incore = self.incore(ino);
        for _ in 0..TRIES {
            if let before @ Some(_) = incore.map_changes() {
                let found = look();
                if before == incore.map_changes() {
                    return found;
                }
            }
            std::thread::yield_now();
        }
        // No handle stops while another one is open. Where none can be had, none can change it.
        let handle = self.start(1);
        let found = look();
        drop(handle);
        found
    }

    /// The inode, and what `lblk` of it is mapped to, at one moment ([`steady_map`](Self::steady_map)
    /// and [`lookup`](Self::lookup)).
    pub fn steady_lookup(&self, ino: InodeNr, lblk: LogicalBlock) -> Result<(Inode, Mapping)> {
        self.steady_map(ino, |inode| Ok((inode.clone(), self.lookup(self.meta(), inode, lblk)?)))
    }
}
