//! The mappings and holes of a range, in order.

use super::lookup;
use crate::{Context, Mapping, NodeRead, Root};
use ext4_units::LogicalBlock;

/// The mappings of a range of logical blocks, holes included: without gaps, cut off at both ends, each
/// run and hole whole.
///
/// Ends after an error. Ends in any case: each item starts where the one before it ended.
#[derive(Debug)]
pub struct Mappings<'a, S: ?Sized> {
    ctx: &'a Context,
    root: &'a Root,
    store: &'a S,
    /// The next one looked up, not yet given out because the one behind it may continue it.
    ahead: Option<Mapping>,
    pos: u32,
    to: u32,
}

impl<'a, S: NodeRead + ?Sized> Mappings<'a, S> {
    /// The mappings from `from` up to, not including, `to`.
    pub fn new(
        ctx: &'a Context,
        root: &'a Root,
        store: &'a S,
        from: LogicalBlock,
        to: LogicalBlock,
    ) -> Self {
        Self { ctx, root, store, ahead: None, pos: from.0, to: to.0 }
    }
}

impl<S: NodeRead + ?Sized> Iterator for Mappings<'_, S> {
    type Item = Result<Mapping, S::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.pos < self.to {
            match lookup(self.ctx, self.root, self.store, LogicalBlock(self.pos)) {
                Err(err) => {
                    self.pos = self.to;
                    self.ahead = None;
                    return Some(Err(err));
                }
                Ok(next) => {
                    let next = next.until(self.to);
                    self.pos = next.end();
                    match self.ahead {
                        None => self.ahead = Some(next),
                        Some(ahead) => match ahead.join(&next) {
                            Some(joined) => self.ahead = Some(joined),
                            None => return self.ahead.replace(next).map(Ok),
                        },
                    }
                }
            }
        }
        self.ahead.take().map(Ok)
    }
}
