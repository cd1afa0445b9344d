//! Which blocks repairs took and gave back, over all rounds: what decides in which order they may
//! be written.

use crate::bits::Bits;

/// Clusters that changed hands.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// Given back. The image as it is on the device still uses them, so that they are taken again only
    /// when no other cluster is free.
    pub(crate) given: Bits,
    /// Taken while nothing on the device used them: they can be written before anything else.
    pub(crate) fresh: Bits,
    /// From which others were copied, shared blocks and what the log holds: they are written after all
    /// that says that the copies are to be used.
    pub(crate) sources: Bits,
}
