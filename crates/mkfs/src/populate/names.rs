//! The blocks of a directory: built from all its names at once, and kept without their checksums.

use super::{
    order::{Directory, LOST_AND_FOUND, path_of},
    placing::Placing,
};
use crate::{
    error::{Error, Result},
    seal::Seal,
    special::LOST_AND_FOUND_INO,
};
use ext4_dir::{BlockKind, Built, Context, Fill, Member, build, inline::Inline};
use ext4_ondisk::{
    checksum::Csum,
    dir_entry::{FileType, TAIL_LEN},
    features::{Compat, Incompat},
};
use ext4_tree::{Kind, NodeId, Tree};
use ext4_units::InodeNr;

/// The type an entry tells of a file.
pub(crate) const fn type_of(kind: &Kind) -> FileType {
    match kind {
        Kind::Directory(_) => FileType::Directory,
        Kind::Regular(_) => FileType::Regular,
        Kind::Symlink(_) => FileType::Symlink,
        Kind::Fifo => FileType::Fifo,
        Kind::Socket => FileType::Socket,
        Kind::CharDevice { .. } => FileType::CharDevice,
        Kind::BlockDevice { .. } => FileType::BlockDevice,
    }
}

/// A directory's blocks, not sealed, without the zeros at their ends.
pub(crate) struct Names {
    pub(crate) blocks: Vec<(Vec<u8>, Seal)>,
    pub(crate) is_indexed: bool,
}

impl Placing<'_> {
    /// The blocks of `dir`.
    pub(super) fn names(&self, tree: &Tree, dir: Directory) -> Result<Names> {
        let ino = self.ino(dir.node);
        let built = build(
            &self.dir_context(ino),
            self.ino(dir.parent),
            &self.members(tree, dir.node),
            Fill::Roomy,
        );
        let Built { blocks, is_indexed } = built.map_err(|err| self.refusal(dir.node, &err))?;
        let blocks = blocks.into_iter().map(|it| self.unsealed(ino, it.kind, it.bytes));
        let mut names = Names { blocks: blocks.collect(), is_indexed };
        // Room for what e2fsck finds, so that it needs no new block to put it there.
        if ino == LOST_AND_FOUND_INO && !is_indexed {
            while names.blocks.len() < self.builder.lost_and_found_blocks() {
                let free = self.builder.free_dir_block();
                names.blocks.push(self.unsealed(ino, BlockKind::Leaf, free));
            }
        }
        Ok(names)
    }

    /// A directory inside its inode.
    pub(super) fn inline_names(&self, tree: &Tree, dir: Directory) -> Result<Inline> {
        let context = self.dir_context(self.ino(dir.node));
        let room = self.it.frame.body_len();
        let refusal = |err| self.refusal(dir.node, &err);
        let mut inline = Inline::new(&context, self.ino(dir.parent)).map_err(refusal)?;
        for it in self.members(tree, dir.node) {
            let fits = inline.insert(&context, room, it.name, it.ino, it.file_type);
            assert!(fits.map_err(refusal)?, "their lengths were added up before");
        }
        Ok(inline)
    }

    /// The entries of a directory, but for the dots.
    fn members<'t>(&self, tree: &'t Tree, dir: NodeId) -> Vec<Member<'t>> {
        let names = tree.names(dir).map(|(name, node)| Member {
            name,
            ino: self.ino(node),
            file_type: type_of(&tree.node(node).kind),
        });
        let mut members: Vec<_> = names.collect();
        if dir == NodeId::ROOT && self.order.lost_and_found.is_none() {
            let place = members.partition_point(|it| it.name < LOST_AND_FOUND);
            let file_type = FileType::Directory;
            let it = Member { name: LOST_AND_FOUND, ino: LOST_AND_FOUND_INO, file_type };
            members.insert(place, it);
        }
        members
    }

    fn refusal(&self, dir: NodeId, err: &ext4_dir::Error) -> Error {
        let path = path_of(&self.it.tree, dir);
        Error::File { path, why: err.to_string() }
    }

    fn dir_context(&self, ino: InodeNr) -> Context {
        let sb = &self.builder.shape.sb;
        Context {
            ino,
            block_size: sb.block_size,
            inodes_count: self.builder.shape.geo.inodes_count,
            // Any seed: the checksum is made when the block is written.
            csum: self.builder.format.has_csum().then_some(Csum::START),
            has_filetype: sb.features.has_incompat(Incompat::FILETYPE),
            has_dir_index: sb.features.has_compat(Compat::DIR_INDEX),
            has_largedir: sb.features.has_incompat(Incompat::LARGEDIR),
            is_indexed: false,
            is_casefolded: false,
            is_encrypted: false,
            default_hash_version: sb.def_hash_version,
            has_unsigned_hash: sb.unsigned_hash,
            hash_seed: sb.hash_seed,
        }
    }

    /// The block without checksum and without the zeros at its end, so that a hundred thousand
    /// directories of a few names each take little memory.
    fn unsealed(&self, ino: InodeNr, kind: BlockKind, mut bytes: Vec<u8>) -> (Vec<u8>, Seal) {
        let (seal, tail) = match kind {
            BlockKind::Leaf => (Seal::Directory(ino), TAIL_LEN),
            // `dt_checksum`.
            BlockKind::Root | BlockKind::Node => (Seal::Index(ino), 4),
        };
        let len = bytes.len();
        if self.builder.format.has_csum() {
            bytes[len - tail..].fill(0);
        }
        let used = bytes.iter().rposition(|&it| it != 0).map_or(0, |last| last + 1);
        (bytes[..used].to_vec(), seal)
    }
}
