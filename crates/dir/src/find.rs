//! Looking a name up.

use crate::{Context, DirRead, Entry, Error, block::Block, probe::ProbeError};
use ext4_units::LogicalBlock;

/// Looks `name` up, byte for byte (`__ext4_find_entry`). In a case-folded directory that finds only
/// the very spelling that was stored.
///
/// Uses the index when there is one, and reads all blocks when the index makes no sense, as the
/// kernel does; a checksum that does not match is an error.
pub fn find<S: DirRead + ?Sized>(
    context: &Context,
    store: &S,
    name: &[u8],
) -> Result<Option<Entry>, S::Error> {
    context.check_len(name)?;
    if matches!(name, b"." | b"..") {
        // These two are nowhere but in the first block.
        return match store.n_blocks() {
            0 => Ok(None),
            _ => context.find_in(&context.read(store, LogicalBlock(0))?, name).map_err(Into::into),
        };
    }
    // The index of a case-folded directory is by the hash of the folded name.
    if context.is_dx() && !context.is_casefolded {
        match context.find_indexed(store, name) {
            Err(ProbeError::Bad(_)) => {}
            Err(ProbeError::Other(error)) => return Err(error),
            Ok(found) => return Ok(found),
        }
    }
    for lblk in 0..store.n_blocks() {
        let block = context.read(store, LogicalBlock(lblk))?;
        if let Some(entry) = context.find_in(&block, name)? {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

impl Context {
    fn find_indexed<S: DirRead + ?Sized>(
        &self,
        store: &S,
        name: &[u8],
    ) -> Result<Option<Entry>, ProbeError<S::Error>> {
        let mut path = self.probe(store, name)?;
        loop {
            let block = self.read(store, path.leaf).map_err(ProbeError::Other)?;
            match self.find_in(&block, name) {
                Err(error) => return Err(ProbeError::Other(error.into())),
                Ok(Some(entry)) => return Ok(Some(entry)),
                Ok(None) if self.next_leaf(store, &mut path)? => {}
                Ok(None) => return Ok(None),
            }
        }
    }

    /// Looks `name` up in one block. Faults count only up to where it is found, as in
    /// `ext4_search_dir`.
    pub(crate) fn find_in(&self, block: &Block, name: &[u8]) -> Result<Option<Entry>, Error> {
        for record in self.records(block) {
            let record = record?;
            if record.ino.is_some() && record.name == name && !name.is_empty() {
                return Ok(Entry::new(self, &record, block.lblk));
            }
        }
        Ok(None)
    }
}
