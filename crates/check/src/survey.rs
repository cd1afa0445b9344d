//! What a filesystem consists of, learned anew behind a check: how many inodes are of which kind, how
//! their maps are made, what of them is in pieces, and what is free.

use crate::{
    Answer, Answers, Finding, Options, Pass, Result,
    gate::Gate,
    pass0, pass1,
    pieces::{What, has_map, pieces},
    session::Session,
};
use ext4_blockdev::Overlay;
use ext4_ondisk::inode::{FileType, Inode, InodeFlags};
use ext4_units::{BlockNr, InodeNr};
use std::{ops::Range, sync::Arc};

/// Most places that are kept; more are counted.
const MOST_BREAKS: usize = 100_000;
/// A file of as many bytes needs the feature `large_file`.
const LARGE: u64 = 1 << 31;

/// What a filesystem consists of. The filesystem's own inodes are not counted, but for the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Regular files.
    pub regular: u64,
    /// Directories.
    pub directories: u64,
    /// Character devices.
    pub char_devices: u64,
    /// Block devices.
    pub block_devices: u64,
    /// Pipes with a name.
    pub fifos: u64,
    /// Sockets.
    pub sockets: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Those of them whose target is in the inode.
    pub fast_symlinks: u64,
    /// Names of files behind the first one of each.
    pub links: u64,
    /// Regular files of 2 GiB and more.
    pub large_files: u64,
    /// Blocks in the list of bad ones.
    pub bad_blocks: u64,
    /// Files, and directories, that are not in one piece.
    pub discontiguous: [u64; 2],
    /// Inodes with single, double and triple indirect blocks.
    pub indirect: [u64; 3],
    /// Trees of extents by their depth.
    pub extent_depths: [u64; 6],
    /// Where what is discontiguous goes on elsewhere.
    pub breaks: Vec<Break>,
    /// Such places beyond those that are kept.
    pub breaks_not_kept: u64,
    /// What is free, by byte.
    pub free: Vec<Range<u64>>,
}

/// A place where a file goes on elsewhere than behind its last block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Break {
    /// The file.
    pub ino: InodeNr,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// The block of the file that is elsewhere.
    pub lblk: u64,
    /// Where it would be without the break.
    pub expected: BlockNr,
    /// Where it is.
    pub found: BlockNr,
    /// How many blocks follow on each other there.
    pub len: u64,
}

/// No to all.
struct Nobody<'a>(&'a mut dyn Answers);

impl Answers for Nobody<'_> {
    fn answer(&mut self, _finding: &Finding) -> Answer {
        Answer::No
    }

    fn goes_on(&mut self, pass: Pass, done: u64, total: u64) -> bool {
        self.0.goes_on(pass, done, total)
    }
}

/// Learns what is in `overlay`, which stays as it is. `answers` is only told how far it has come.
///
/// # Errors
/// Those of [`check`](crate::check).
pub fn survey(overlay: &Overlay, options: &Options, answers: &mut dyn Answers) -> Result<Survey> {
    let overlay = Arc::new(overlay.fork());
    let mut nobody = Nobody(answers);
    let mut gate = Gate::new(&mut nobody, false);
    let mut session = pass0::open(&overlay, options, &mut gate)?;
    pass1::run(&mut session)?;
    let mut survey = Survey { free: free(&session), ..Survey::default() };
    if let Ok(inode) = open(&session, InodeNr::BAD_BLOCKS) {
        let all = pieces(&session.image, &session.geo, &inode)?;
        let blocks = all.iter().filter(|it| matches!(it.what, What::Contents { .. }));
        survey.bad_blocks = blocks.map(|it| it.len).sum();
    }
    let total = session.facts.inodes.len();
    for (nr, ino) in (0..).zip(session.facts.inodes.inodes()) {
        if nr % 1024 == 0 {
            session.gate.progress(Pass::One, nr, total)?;
        }
        if !session.geo.is_ordinary_inode(ino) {
            continue;
        }
        if session.facts.unread.contains(ino.get().into()) {
            continue;
        }
        let Ok(inode) = open(&session, ino) else { continue };
        survey.count(&inode, session.facts.links_of(ino));
        survey.look(&session, ino, &inode)?;
    }
    Ok(survey)
}

fn open(session: &Session<'_, '_>, ino: InodeNr) -> Result<Inode> {
    let bytes = session.read_inode(ino)?;
    Ok(Inode::decode_unverified(&bytes, ino, &session.format)?)
}

/// The runs of free clusters, by byte.
fn free(session: &Session<'_, '_>) -> Vec<Range<u64>> {
    let (geo, used) = (&session.geo, &session.facts.used);
    let bits = geo.cluster_ratio_bits;
    let all = session.clusters();
    let byte = |cluster: u64| BlockNr(cluster << bits).byte(geo.block_size);
    let runs = used.absent_runs(all.start, all.end);
    runs.map(|(start, len)| byte(start)..byte(start + len)).collect()
}

impl Survey {
    fn count(&mut self, inode: &Inode, links: u16) {
        let kind = inode.file_type();
        match kind {
            FileType::Regular => self.regular += 1,
            FileType::Directory => self.directories += 1,
            FileType::CharDevice => self.char_devices += 1,
            FileType::BlockDevice => self.block_devices += 1,
            FileType::Fifo => self.fifos += 1,
            FileType::Socket => self.sockets += 1,
            FileType::Symlink => self.symlinks += 1,
            FileType::Unknown => {}
        }
        self.fast_symlinks += u64::from(kind == FileType::Symlink && !has_map(inode));
        self.large_files += u64::from(kind == FileType::Regular && inode.size >= LARGE);
        if kind != FileType::Directory {
            self.links += u64::from(links.saturating_sub(1));
        }
    }

    /// Looks at an inode's map.
    fn look(&mut self, session: &Session<'_, '_>, ino: InodeNr, inode: &Inode) -> Result<()> {
        if !has_map(inode) {
            return Ok(());
        }
        let is_tree = inode.flags.contains(InodeFlags::EXTENTS);
        if is_tree {
            let depth = usize::from(u16::from_le_bytes([inode.i_block[6], inode.i_block[7]]));
            if let Some(n) = self.extent_depths.get_mut(depth) {
                *n += 1;
            }
        } else {
            for (n, pointer) in self.indirect.iter_mut().zip(inode.i_block[48..].chunks_exact(4)) {
                *n += u64::from(pointer.iter().any(|byte| *byte != 0));
            }
        }
        let is_directory = inode.file_type() == FileType::Directory;
        let (mut end, mut n_breaks) = (None, 0_u64);
        let mut last: Option<usize> = None;
        for piece in pieces(&session.image, &session.geo, inode)? {
            let lblk = match piece.what {
                What::Contents { lblk, .. } => Some(lblk),
                // Between the blocks of the file there is room for those of its map.
                What::Node if !is_tree => None,
                What::Node | What::Attributes => continue,
            };
            let expected = end.replace(piece.start.plus(piece.len));
            let is_behind = expected.is_none_or(|it| it == piece.start);
            if let (false, Some(lblk), Some(expected)) = (is_behind, lblk, expected) {
                n_breaks += 1;
                last = self.add(Break {
                    ino,
                    is_directory,
                    lblk,
                    expected,
                    found: piece.start,
                    len: piece.len,
                });
            } else if let Some(at) = last.filter(|_| lblk.is_some()) {
                self.breaks[at].len += piece.len;
            }
        }
        self.discontiguous[usize::from(is_directory)] += u64::from(n_breaks > 0);
        Ok(())
    }

    /// Keeps a place, and says where.
    fn add(&mut self, it: Break) -> Option<usize> {
        if self.breaks.len() >= MOST_BREAKS {
            self.breaks_not_kept += 1;
            return None;
        }
        self.breaks.push(it);
        Some(self.breaks.len() - 1)
    }
}
