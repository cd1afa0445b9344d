//! The map of a file piece by piece as it lies on the disk: every node, every run, and what is wrong
//! on the way. Goes on where the library, which believes only a sound map, would stop.

use crate::image::Image;
use ext4_fs::Inode;
use ext4_ondisk::{
    Corrupt,
    extent::{self, RawExtent, RawExtentHeader, RawExtentIdx},
    indirect,
};
use ext4_units::{BlockNr, BlockRange};
use std::collections::HashSet;
use zerocopy::FromBytes;

/// How a file's contents are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// By a tree of extents.
    Extents,
    /// By blocks of pointers.
    Indirect,
    /// In the inode: contents or entries.
    InlineData,
    /// In the inode: the target of a symlink.
    FastSymlink,
    /// Nowhere: a device, fifo or socket.
    Nothing,
}

impl Kind {
    /// How the contents of `inode` are kept.
    pub(crate) fn of(image: &Image, inode: &Inode) -> Self {
        if inode.has_blocks(&image.fs) {
            if inode.has_extents() { Self::Extents } else { Self::Indirect }
        } else if inode.has_inline_data() {
            Self::InlineData
        } else if inode.is_fast_symlink(&image.fs) {
            Self::FastSymlink
        } else {
            Self::Nothing
        }
    }

    /// As one word.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Extents => "extents",
            Self::Indirect => "indirect",
            Self::InlineData => "inline_data",
            Self::FastSymlink => "fast_symlink",
            Self::Nothing => "none",
        }
    }
}

/// A piece of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A node of a tree, or a block of pointers; what lies below it follows.
    Node(Node),
    /// Blocks of the file.
    Run(Run),
    /// Something that cannot be followed.
    Damage(Corrupt),
}

/// A node of a tree, or a block of pointers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Where it is; `None` for the root, in the inode.
    pub(crate) blk: Option<BlockNr>,
    /// Steps from the root.
    pub(crate) depth: u16,
    /// Levels of nodes below it: `eh_depth`.
    pub(crate) height: u16,
    /// The first logical block it may hold.
    pub(crate) lblk: u32,
    /// Entries in use.
    pub(crate) entries: u32,
    /// Entries that fit.
    pub(crate) max: u32,
}

/// Blocks of the file that lie in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Steps from the root.
    pub(crate) depth: u16,
    /// First logical block.
    pub(crate) lblk: u32,
    /// Where they are.
    pub(crate) blocks: BlockRange,
    /// Whether they read as zeros.
    pub(crate) is_unwritten: bool,
}

/// Walks the map of `inode`, which must have one, until `each` says no. A walk comes to an end: no
/// block is taken for a node twice.
pub(crate) fn walk(image: &Image, inode: &Inode, each: &mut dyn FnMut(Piece) -> bool) {
    let mut walk = Walk { image, inode, each, seen: HashSet::new(), is_stopped: false, next: 0 };
    if inode.has_extents() {
        walk.extent_node(&inode.i_block, None, 0, 0, None);
    } else {
        walk.pointers_of_root();
    }
}

struct Walk<'a> {
    image: &'a Image,
    inode: &'a Inode,
    each: &'a mut dyn FnMut(Piece) -> bool,
    seen: HashSet<BlockNr>,
    is_stopped: bool,
    /// The first logical block that no run before this place holds.
    next: u64,
}

impl Walk<'_> {
    fn emit(&mut self, piece: Piece) {
        self.is_stopped |= !(self.each)(piece);
    }

    fn damage(&mut self, place: String, fault: String) {
        self.emit(Piece::Damage(Corrupt::new(place, fault)));
    }

    /// Reads a block that should be a node; says so if it cannot be one.
    fn node(&mut self, blk: BlockNr, place: &str) -> Option<ext4_jbd2::Block> {
        let fault = if !self.image.fs.geometry().contains(blk) {
            "outside the filesystem".to_owned()
        } else if !self.seen.insert(blk) {
            "a second time in the same map".to_owned()
        } else {
            match self.image.meta().read(blk) {
                Ok(block) => return Some(block),
                Err(err) => err.to_string(),
            }
        };
        self.damage(place.to_owned(), fault);
        None
    }

    fn extent_node(
        &mut self,
        bytes: &[u8],
        blk: Option<BlockNr>,
        depth: u16,
        lblk: u32,
        height: Option<u16>,
    ) {
        let ino = self.inode.ino;
        let place = match blk {
            Some(blk) => format!("extent node at block {blk} (inode {ino}, depth {depth})"),
            None => format!("extent root (inode {ino})"),
        };
        let Ok((header, rest)) = RawExtentHeader::ref_from_prefix(bytes) else { return };
        let (entries, max) = (header.eh_entries.get(), header.eh_max.get());
        let (magic, found) = (header.eh_magic.get(), header.eh_depth.get());
        let room = match blk {
            Some(_) => extent::node_max(self.image.fs.geometry().block_size),
            None => extent::ROOT_MAX,
        };
        let fault = if magic != extent::MAGIC {
            Some(format!("magic {magic:#06x}, expected {:#06x}", extent::MAGIC))
        } else if entries > max || max > room {
            Some(format!("{entries} of {max} entries, expected at most {room}"))
        } else if found > extent::MAX_DEPTH || height.is_some_and(|it| it != found) {
            let expected = height.map_or("at most 5".to_owned(), |it| it.to_string());
            Some(format!("depth {found}, expected {expected}"))
        } else {
            None
        };
        if let Some(fault) = fault {
            return self.damage(place, fault);
        }
        if blk.is_some()
            && let Some(seed) = self.inode.seed(&self.image.fs)
            && let (Some(expected), Some(stored)) =
                (extent::checksum(seed, bytes, max), extent::stored_checksum(bytes, max))
            && expected != stored
        {
            self.emit(Piece::Damage(Corrupt::checksum(place.clone(), stored, expected)));
        }
        let (entries_u32, max_u32) = (u32::from(entries), u32::from(max));
        let node = Node { blk, depth, height: found, lblk, entries: entries_u32, max: max_u32 };
        self.emit(Piece::Node(node));
        for entry in rest.chunks_exact(size_of::<RawExtent>()).take(usize::from(entries)) {
            if self.is_stopped {
                return;
            }
            if found == 0 {
                self.extent(entry, depth, &place);
            } else {
                self.index(entry, depth, found);
            }
        }
    }

    fn extent(&mut self, entry: &[u8], depth: u16, place: &str) {
        let Ok(raw) = RawExtent::ref_from_bytes(entry) else { return };
        let (lblk, len) = (raw.ee_block.get(), raw.len());
        let blocks = BlockRange::new(raw.start(), u64::from(len));
        let end = u64::from(lblk) + u64::from(len);
        let run = Run { depth: depth + 1, lblk, blocks, is_unwritten: raw.is_unwritten() };
        self.emit(Piece::Run(run));
        let fault = if len == 0 {
            Some("expected at least one block".to_owned())
        } else if u64::from(lblk) < self.next {
            Some(format!("expected logical blocks from {} on", self.next))
        } else if !self.image.fs.geometry().contains_range(blocks) {
            Some("outside the filesystem".to_owned())
        } else {
            None
        };
        if let Some(fault) = fault {
            let what =
                format!("extent of {len} logical blocks from {lblk} at block {}", raw.start());
            self.damage(place.to_owned(), format!("{what}: {fault}"));
        }
        self.next = self.next.max(end);
    }

    fn index(&mut self, entry: &[u8], depth: u16, height: u16) {
        let Ok(raw) = RawExtentIdx::ref_from_bytes(entry) else { return };
        let (blk, ino) = (raw.leaf(), self.inode.ino);
        let place = format!("extent node at block {blk} (inode {ino}, depth {})", depth + 1);
        if let Some(block) = self.node(blk, &place) {
            // At most five levels: each has one less below it.
            self.extent_node(&block, Some(blk), depth + 1, raw.ei_block.get(), Some(height - 1));
        }
    }

    fn pointers_of_root(&mut self) {
        let size = self.image.fs.geometry().block_size;
        let words: Vec<u32> = words(&self.inode.i_block).collect();
        let (direct, trees) = words.split_at(indirect::N_DIRECT as usize);
        self.runs(direct, 0, 1);
        for (slot, &pointer) in (indirect::N_DIRECT..).zip(trees) {
            let from = indirect::root_slot_start(slot, size);
            if let (false, Ok(from)) = (pointer == 0 || self.is_stopped, u32::try_from(from)) {
                self.pointer_block(pointer, from, indirect::root_slot_levels(slot), 1);
            }
        }
    }

    /// A block of pointers with `levels` levels of them, itself included, above the data.
    fn pointer_block(&mut self, pointer: u32, lblk: u32, levels: u32, depth: u16) {
        let blk = BlockNr(u64::from(pointer));
        let ino = self.inode.ino;
        let place = format!("indirect block {blk} (inode {ino}, level {levels})");
        let Some(block) = self.node(blk, &place) else { return };
        let words: Vec<u32> = words(&block).collect();
        let size = self.image.fs.geometry().block_size;
        let used = words.iter().filter(|&&word| word != 0).count();
        self.emit(Piece::Node(Node {
            blk: Some(blk),
            depth,
            height: u16::try_from(levels - 1).unwrap_or(0),
            lblk,
            entries: u32::try_from(used).unwrap_or(u32::MAX),
            max: indirect::per_block(size),
        }));
        if levels == 1 {
            return self.runs(&words, lblk, depth + 1);
        }
        let span = indirect::span(size, levels - 1);
        for (at, &pointer) in (0u64..).zip(&words) {
            let from = u32::try_from(u64::from(lblk) + at * span);
            if let (false, Ok(from)) = (pointer == 0 || self.is_stopped, from) {
                self.pointer_block(pointer, from, levels - 1, depth + 1);
            }
        }
    }

    /// Data blocks from logical block `lblk` on, neighbours together.
    fn runs(&mut self, pointers: &[u32], lblk: u32, depth: u16) {
        let follows = |a: &u32, b: &u32| *a != 0 && *b != 0 && a.checked_add(1) == Some(*b);
        let mut at = u64::from(lblk);
        for run in pointers.chunk_by(follows) {
            let (Some(&first), Ok(from)) = (run.first(), u32::try_from(at)) else { return };
            at += run.len() as u64;
            if first == 0 || self.is_stopped {
                continue;
            }
            let blocks = BlockRange::new(BlockNr(u64::from(first)), run.len() as u64);
            self.emit(Piece::Run(Run { depth, lblk: from, blocks, is_unwritten: false }));
            if !self.image.fs.geometry().contains_range(blocks) {
                let place = format!("block map (inode {})", self.inode.ino);
                let what = format!("logical block {from} at blocks {blocks}");
                self.damage(place, format!("{what}: outside the filesystem"));
            }
        }
    }
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
}
