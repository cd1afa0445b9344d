//! Inodes that were decoded, with the bytes they were decoded from: the same bytes need no second
//! look.

use ext4_ondisk::{
    Corrupt,
    inode::{Inode as DiskInode, InodeFormat},
};
use ext4_units::InodeNr;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// How many inodes are kept before all are forgotten.
const MAX: usize = 1024;

/// Decoded inodes by number. Never out of date, because bytes are compared.
#[derive(Debug, Default)]
pub(crate) struct Decoded(Mutex<HashMap<InodeNr, Known>>);

#[derive(Debug)]
struct Known {
    bytes: Box<[u8]>,
    inode: DiskInode,
}

impl Decoded {
    fn known(&self) -> MutexGuard<'_, HashMap<InodeNr, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`DiskInode::decode`].
    pub(crate) fn decode(
        &self,
        bytes: &[u8],
        ino: InodeNr,
        format: &InodeFormat,
    ) -> Result<DiskInode, Corrupt> {
        if let Some(bytes) = bytes.get(..format.inode_size())
            && let Some(known) = self.known().get(&ino)
            && *known.bytes == *bytes
        {
            return Ok(known.inode.clone());
        }
        let inode = DiskInode::decode(bytes, ino, format)?;
        self.remember(bytes, ino, format, &inode);
        Ok(inode)
    }

    /// Takes note of bytes that were just encoded, and so have the right checksum.
    pub(crate) fn note_encoded(&self, bytes: &[u8], ino: InodeNr, format: &InodeFormat) {
        if let Ok(inode) = DiskInode::decode_unverified(bytes, ino, format) {
            self.remember(bytes, ino, format, &inode);
        }
    }

    fn remember(&self, bytes: &[u8], ino: InodeNr, format: &InodeFormat, inode: &DiskInode) {
        let Some(bytes) = bytes.get(..format.inode_size()) else { return };
        let mut known = self.known();
        if let Some(it) = known.get_mut(&ino) {
            it.bytes.copy_from_slice(bytes);
            it.inode.clone_from(inode);
            return;
        }
        if known.len() >= MAX {
            known.clear();
        }
        known.insert(ino, Known { bytes: bytes.into(), inode: inode.clone() });
    }
}
