//! Reads see pages before what lies below them.

use crate::Filesystem;
use ext4_units::{InodeNr, LogicalBlock};
use std::sync::Arc;

/// Pages as they were before a read looked at the device.
#[derive(Debug, Default)]
pub(crate) struct Above(Vec<(LogicalBlock, Arc<[u8]>)>);

impl Filesystem {
    /// The pages of a range of bytes. Taken before the map is asked: a page that is dropped later
    /// holds what the reader may see, one that comes later holds what he need not see.
    pub(crate) fn pages_above(&self, ino: InodeNr, offset: u64, len: usize) -> Above {
        let Some(incore) = self.incores().find(ino) else { return Above::default() };
        let pages = incore.pages();
        if pages.is_empty() {
            return Above::default();
        }
        let range = offset..offset.saturating_add(len as u64);
        let Some(blocks) = self.blocks_in(&range) else { return Above::default() };
        Above(pages.range(blocks).map(|(lblk, page)| (lblk, Arc::clone(page.data()))).collect())
    }
}

impl Above {
    /// Lays the pages over `buf`, the bytes of the file from `offset` on.
    pub(crate) fn lay_over(&self, fs: &Filesystem, offset: u64, buf: &mut [u8]) {
        let size = fs.geometry().block_size;
        let end = offset + buf.len() as u64;
        for (lblk, data) in &self.0 {
            let first = lblk.byte(size);
            let (from, to) = (first.max(offset), (first + data.len() as u64).min(end));
            let place = |byte: u64, start: u64| usize::try_from(byte - start).unwrap_or(usize::MAX);
            if from < to
                && let Some(part) = buf.get_mut(place(from, offset)..place(to, offset))
                && let Some(held) = data.get(place(from, first)..place(to, first))
            {
                part.copy_from_slice(held);
            }
        }
    }
}
