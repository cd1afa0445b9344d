//! The way from an index's root to a leaf, and on to the next leaf of the same hash.

use crate::{Context, DirRead, Error};
use ext4_ondisk::{Corrupt, dir_hash::Hasher, htree::DxBlock};
use ext4_units::LogicalBlock;
use std::{borrow::Cow, sync::Arc};

/// Why an index cannot be used: `ERR_BAD_DX_DIR` in the kernel, apart from everything else.
#[derive(Debug)]
pub(crate) enum ProbeError<E> {
    /// The index makes no sense or its hash is not ours; the entries may still be fine.
    Bad(Error),
    /// Everything else: IO, and checksums that do not match.
    Other(E),
}

impl<E: From<Error>> ProbeError<E> {
    /// As an ordinary error, for those who cannot do without the index.
    pub(crate) fn into_error(self) -> E {
        match self {
            Self::Bad(error) => error.into(),
            Self::Other(error) => error,
        }
    }

    fn of(corrupt: Corrupt) -> Self {
        if corrupt.is_checksum {
            Self::Other(Error::from(corrupt).into())
        } else {
            Self::Bad(corrupt.into())
        }
    }
}

/// One index block on the way down.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) lblk: LogicalBlock,
    pub(crate) index: DxBlock,
    /// The block as read, for its fake entries.
    pub(crate) bytes: Arc<[u8]>,
    /// The entry taken.
    pub(crate) at: usize,
}

impl Frame {
    /// Takes the last entry whose hash is not above `hash`; the first one has none and is below all.
    fn choose(&mut self, hash: u32) {
        let rest = self.index.entries.get(1..).unwrap_or_default();
        self.at = rest.partition_point(|entry| entry.hash <= hash);
    }

    /// The block the entry taken leads to.
    fn child(&self) -> LogicalBlock {
        self.index.entries.get(self.at).map_or(LogicalBlock(0), |entry| entry.block)
    }
}

/// The way to a leaf.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    /// From the root down; never empty.
    pub(crate) frames: Vec<Frame>,
    /// The leaf it leads to.
    pub(crate) leaf: LogicalBlock,
    pub(crate) hasher: Hasher,
    /// The hash looked for.
    pub(crate) hash: u32,
    /// Leaves that may still be visited: no directory has more of one hash than blocks.
    budget: u32,
}

impl Context {
    /// Goes from the root to the first leaf that may hold `name` (`dx_probe`).
    pub(crate) fn probe<S: DirRead + ?Sized>(
        &self,
        store: &S,
        name: &[u8],
    ) -> Result<Path, ProbeError<S::Error>> {
        let bytes = self.read_raw(store, LogicalBlock(0)).map_err(ProbeError::Other)?;
        let index = self.dx(store.n_blocks()).parse_root(&bytes).map_err(ProbeError::of)?;
        let info = index.info.ok_or_else(|| self.lost("no root"))?;
        let hasher = self.hasher(info.hash_version).map_err(ProbeError::Bad)?;
        let hash = hasher.hash(name).hash;
        let mut frames = vec![Frame { lblk: LogicalBlock(0), index, bytes, at: 0 }];
        let leaf = self.descend(store, &mut frames, usize::from(info.indirect_levels) + 1, hash)?;
        Ok(Path { frames, leaf, hasher, hash, budget: store.n_blocks() })
    }

    /// Adds frames to `frames` until there are `depth`, choosing by `hash` on the way, and says
    /// which leaf they lead to.
    fn descend<S: DirRead + ?Sized>(
        &self,
        store: &S,
        frames: &mut Vec<Frame>,
        depth: usize,
        hash: u32,
    ) -> Result<LogicalBlock, ProbeError<S::Error>> {
        loop {
            let frame = frames.last_mut().ok_or_else(|| self.lost("no root"))?;
            frame.choose(hash);
            let lblk = frame.child();
            if frames.iter().any(|frame| frame.lblk == lblk) {
                return Err(self.lost(format!("cycle through block {lblk}")));
            }
            if frames.len() >= depth {
                return Ok(lblk);
            }
            frames.push(self.load_node(store, lblk)?);
        }
    }

    fn load_node<S: DirRead + ?Sized>(
        &self,
        store: &S,
        lblk: LogicalBlock,
    ) -> Result<Frame, ProbeError<S::Error>> {
        let bytes = self.read_raw(store, lblk).map_err(ProbeError::Other)?;
        let index = self.dx(store.n_blocks()).parse_node(&bytes, lblk).map_err(ProbeError::of)?;
        Ok(Frame { lblk, index, bytes, at: 0 })
    }

    /// Moves `path` to the next leaf if it may hold names of the same hash: its index entry has
    /// that hash, with the continuation bit or without (`ext4_htree_next_block`).
    pub(crate) fn next_leaf<S: DirRead + ?Sized>(
        &self,
        store: &S,
        path: &mut Path,
    ) -> Result<bool, ProbeError<S::Error>> {
        let depth = path.frames.len();
        let Some(level) =
            path.frames.iter().rposition(|frame| frame.at + 1 < frame.index.entries.len())
        else {
            return Ok(false);
        };
        path.frames.truncate(level + 1);
        let Some(frame) = path.frames.last_mut() else { return Ok(false) };
        frame.at += 1;
        if frame.index.entries.get(frame.at).is_none_or(|entry| entry.hash & !1 != path.hash) {
            return Ok(false);
        }
        path.budget = path.budget.checked_sub(1).ok_or_else(|| {
            self.lost(format!("more than {} leaves of one hash", store.n_blocks()))
        })?;
        let mut lblk = frame.child();
        // The first entry of every lower node is the next one in order.
        while path.frames.len() < depth {
            let node = self.load_node(store, lblk)?;
            lblk = node.child();
            path.frames.push(node);
        }
        path.leaf = lblk;
        Ok(true)
    }

    fn lost<E: From<Error>>(&self, what: impl Into<Cow<'static, str>>) -> ProbeError<E> {
        ProbeError::Bad(Corrupt::new(format!("htree of inode {}", self.ino), what).into())
    }
}
