//! Where the files of a tree go: blocks of directories first, then what belongs to maps, then
//! contents, each in the order of inodes.

use super::{
    Attributes, Frame, Order, Population,
    attributes::NONE,
    data,
    file::{Made, Placed, Root, is_fast},
    kept::{Copies, Kept, data_at},
    names::Names,
    order::{self, Directory, links_count, path_of, refused},
    space::Space,
};
use crate::{
    builder::{Builder, SpecialFile},
    copy::{FileData, Place},
    error::{Error, Result},
    mapping::{self, Mapping, Segment},
    seal::{Block, Seal},
};
use ext4_ondisk::{features::RoCompat, inode::encode_device};
use ext4_tree::{Contents, Kind, NodeId, Tree};
use ext4_units::{BlockNr, BlockRange, InodeNr};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// How many files of each kind a tree has, root and lost+found among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Directories.
    pub directories: u64,
    /// Directories with an index.
    pub indexed: u64,
    /// Regular files.
    pub regular: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Devices, named pipes and sockets.
    pub others: u64,
    /// Bytes of all regular files, holes left out.
    pub bytes: u64,
    /// Bytes of their holes.
    pub holes: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { directories, indexed, regular, symlinks, others, bytes, holes } = self;
        write!(
            f,
            "{directories} directories ({indexed} indexed), {regular} regular files with {bytes} \
             bytes and holes of {holes}, {symlinks} symbolic links, {others} others"
        )
    }
}

/// The placing of a tree's files under way.
pub(super) struct Placing<'a> {
    pub(super) builder: &'a mut Builder,
    pub(super) order: &'a Order,
    pub(super) attributes: &'a Attributes,
    pub(super) copies: Copies,
    space: Space,
    /// What comes of it.
    pub(super) it: Population,
}

/// What blocks are taken for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) ino: InodeNr,
    /// The file; `None` when they are for attributes, which several may share.
    pub(super) node: Option<NodeId>,
}

impl Builder {
    /// Puts the files of `tree` into the filesystem, with inodes from `first` on. The caller has
    /// made lost+found if the tree has none.
    pub(crate) fn populate(
        &mut self,
        tree: &Arc<Tree>,
        (order, attributes): (&Order, &Attributes),
        first: u32,
    ) -> Result<()> {
        let geo = &self.shape.geo;
        let n_new = order.files.len() + attributes.values.len();
        let expected = u64::from(first - 1) + n_new as u64;
        if expected > u64::from(geo.inodes_count) {
            return Err(Error::TooFewInodes { found: geo.inodes_count, expected });
        }
        let start = geo.first_data_block;
        let all = BlockRange::new(start, geo.blocks_count - start.0);
        let frame = Frame::new(&self.shape, self.format);
        let nowhere = |&node| Placed {
            node,
            segments: 0..0,
            links: 0,
            is_indexed: false,
            inline: None,
            set: NONE,
            block: NONE,
        };
        let space = Space::new(&self.used, all, frame.ratio);
        let it = Population {
            tree: Arc::clone(tree),
            counts: Counts::default(),
            frame,
            first,
            files: order.files.iter().map(nowhere).collect(),
            roots: BTreeMap::new(),
            inline_directories: BTreeMap::new(),
            attributes: Kept::default(),
            values_of_fixed: BTreeMap::new(),
        };
        // As many as there are when every file is in one piece.
        self.segments.reserve(order.files.len());
        let copies = Copies::default();
        let mut placing = Placing { builder: self, order, attributes, copies, space, it };
        // Root and lost+found are made with their attributes.
        placing.attributes()?;
        placing.directories()?;
        let nodes = placing.small_files()?;
        placing.contents(nodes)?;
        let population = placing.it;
        self.population = Some(population);
        Ok(())
    }
}

impl Placing<'_> {
    pub(super) fn ino(&self, node: NodeId) -> InodeNr {
        match self.order.place(node) {
            Some(place) => order::number(self.it.first, place),
            None if node == NodeId::ROOT => Some(InodeNr::ROOT),
            None => None,
        }
        .unwrap_or(crate::special::LOST_AND_FOUND_INO)
    }

    pub(super) fn owner(&self, node: NodeId) -> Owner {
        Owner { ino: self.ino(node), node: Some(node) }
    }

    /// Takes blocks.
    pub(super) fn take(&mut self, owner: Owner, n: u64) -> Result<Vec<BlockRange>> {
        let mut runs = Vec::with_capacity(1);
        if !self.space.take(n, &mut runs) {
            let what = match owner.node {
                Some(node) => path_of(&self.it.tree, node),
                None => "extended attributes".to_owned(),
            };
            return Err(Error::NoRoom { what, blocks: n });
        }
        for run in &runs {
            let whole = run.len.next_multiple_of(self.it.frame.ratio);
            self.builder.used.insert(BlockRange::new(run.start, whole));
        }
        Ok(runs)
    }

    /// Keeps where a file's blocks are, and its attributes. Those of root and lost+found, whose
    /// inodes are made at once, are not kept here.
    fn put(&mut self, node: NodeId, segments: &[Segment], root: Option<Root>) -> Result<()> {
        let links = self.links(node)?;
        let of_node = self.attributes.of_node(node);
        let Some(place) = self.order.place(node) else { return Ok(()) };
        let block = self.block_of(of_node.set);
        let all = &mut self.builder.segments;
        let number = |n: usize| u32::try_from(n).expect("fewer runs than the memory holds");
        let first = number(all.len());
        all.extend_from_slice(segments);
        let placed = &mut self.it.files[place as usize];
        (placed.links, placed.segments) = (links, first..number(all.len()));
        (placed.inline, placed.set, placed.block) = (of_node.inline, of_node.set, block);
        if let Some(root) = root {
            self.it.roots.insert(place, root);
        }
        Ok(())
    }

    fn links(&self, node: NodeId) -> Result<u16> {
        let links = self.order.links(node);
        let has_dir_nlink = self.builder.shape.sb.features.has_ro_compat(RoCompat::DIR_NLINK);
        match links_count(links, has_dir_nlink) {
            Some(count) => Ok(count),
            None => refused(
                &self.it.tree,
                node,
                format_args!(
                    "{} subdirectories, expected at most 64998 without dir_nlink",
                    links - 2
                ),
            ),
        }
    }

    /// The blocks of the map over `segments`: first those of `nodes`, then more where the file is in
    /// more pieces than was thought.
    pub(super) fn map(
        &mut self,
        owner: Owner,
        segments: &[Segment],
        mut nodes: Vec<BlockNr>,
    ) -> Result<Option<Root>> {
        let frame = self.it.frame;
        let needed = frame.map_nodes(segments);
        while nodes.len() < needed {
            let runs = self.take(owner, 1)?;
            nodes.extend(runs.iter().map(|it| it.start));
        }
        if needed == 0 {
            return Ok(None);
        }
        let (Mapping { i_block, nodes }, seal) = if frame.is_extents {
            let seal = Seal::ExtentNode(owner.ino);
            (mapping::extent_tree(segments, &nodes, frame.size), seal)
        } else {
            (mapping::block_map(segments, &nodes, frame.size), Seal::None)
        };
        let root = Root { i_block, n_nodes: nodes.len() as u64 };
        let blocks = nodes.into_iter().map(|(at, bytes)| Block::new(at, bytes, seal));
        self.builder.blocks.extend(blocks);
        Ok(Some(root))
    }

    fn directories(&mut self) -> Result<()> {
        for &dir in &self.order.directories {
            self.directory(dir)?;
        }
        Ok(())
    }

    fn directory(&mut self, dir: Directory) -> Result<()> {
        let tree = Arc::clone(&self.it.tree);
        let owner = self.owner(dir.node);
        let ino = owner.ino;
        self.it.counts.directories += 1;
        if self.attributes.of_node(dir.node).inline.is_some() {
            return self.inline_directory(&tree, dir);
        }
        let Names { blocks, is_indexed } = self.names(&tree, dir)?;
        self.it.counts.indexed += u64::from(is_indexed);
        let runs = self.take(owner, blocks.len() as u64)?;
        let segments = mapping::dense(&runs);
        let root = self.map(owner, &segments, Vec::new())?;
        let places = runs.iter().flat_map(|it| it.iter());
        let blocks = places.zip(blocks).map(|(at, (bytes, seal))| Block::new(at, bytes, seal));
        self.builder.blocks.extend(blocks);
        if self.order.place(dir.node).is_none() {
            let set = self.attributes.of_node(dir.node).set;
            let block = self.block_of(set);
            let made = Made {
                links: self.links(dir.node)?,
                is_indexed,
                segments: &segments,
                root: root.as_ref(),
                set: self.it.attributes.set(set),
                file_acl: self.it.attributes.block(block),
                inline: None,
                inline_directory: None,
            };
            let n_values = made.n_values();
            let inode = self.it.frame.inode(tree.node(dir.node), &made);
            self.it.values_of_fixed.insert(ino, n_values);
            self.builder.put_inode(ino, &inode)?;
            let name = if ino == InodeNr::ROOT { "root directory" } else { "lost+found" };
            self.builder.files.push(SpecialFile { name, ino, blocks: runs });
        } else {
            self.builder.directories.push(ino);
        }
        self.put(dir.node, &segments, root)?;
        if let Some(place) = self.order.place(dir.node) {
            self.it.files[place as usize].is_indexed = is_indexed;
        }
        Ok(())
    }

    fn inline_directory(&mut self, tree: &Tree, dir: Directory) -> Result<()> {
        let inline = self.inline_names(tree, dir)?;
        if let Some(place) = self.order.place(dir.node) {
            self.it.inline_directories.insert(place, inline);
        }
        self.builder.directories.push(self.ino(dir.node));
        self.put(dir.node, &[], None)
    }

    /// Everything but directories and contents; the blocks for the maps of regular files are taken,
    /// by node.
    fn small_files(&mut self) -> Result<BTreeMap<NodeId, Vec<BlockNr>>> {
        let tree = Arc::clone(&self.it.tree);
        let mut maps = BTreeMap::new();
        for &node in &self.order.files {
            match &tree.node(node).kind {
                Kind::Directory(_) => {}
                Kind::Regular(contents) => {
                    self.check_size(node, contents)?;
                    if self.attributes.of_node(node).inline.is_some() {
                        continue;
                    }
                    let nodes = self.nodes_for(node, contents)?;
                    if !nodes.is_empty() {
                        maps.insert(node, nodes);
                    }
                }
                Kind::Symlink(target) => self.symlink(node, target)?,
                Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                    if encode_device(*major, *minor).is_none() {
                        let why = format_args!(
                            "device {major}:{minor}, expected numbers of 12 and 20 bits"
                        );
                        return refused(&tree, node, why);
                    }
                    self.it.counts.others += 1;
                    self.put(node, &[], None)?;
                }
                Kind::Fifo | Kind::Socket => {
                    self.it.counts.others += 1;
                    self.put(node, &[], None)?;
                }
            }
        }
        Ok(maps)
    }

    fn check_size(&mut self, node: NodeId, contents: &Contents) -> Result<()> {
        let geo = &self.builder.shape.geo;
        let is_revision_0 = self.builder.shape.raw.s_rev_level == 0;
        let (max, by) = match (self.it.frame.is_extents, is_revision_0) {
            (_, true) => (u64::from(u32::MAX) >> 1, "in a filesystem of revision 0"),
            (true, false) => (geo.max_bytes, "with these features"),
            (false, false) => (geo.bitmap_max_bytes, "without the feature extent"),
        };
        if contents.size > max {
            let why = format_args!("{} bytes, expected at most {max} {by}", contents.size);
            return refused(&self.it.tree, node, why);
        }
        self.builder.note_size(contents.size);
        Ok(())
    }

    /// Blocks for the map of a file that is in one run where it has no holes.
    fn nodes_for(&mut self, node: NodeId, contents: &Contents) -> Result<Vec<BlockNr>> {
        let frame = self.it.frame;
        let blocks = data::blocks_of(&contents.data, frame.size);
        let n_nodes = frame.map_nodes(&data::not_placed(&blocks));
        let mut nodes = Vec::with_capacity(n_nodes);
        for _ in 0..n_nodes {
            let runs = self.take(self.owner(node), 1)?;
            nodes.extend(runs.iter().map(|it| it.start));
        }
        Ok(nodes)
    }

    fn symlink(&mut self, node: NodeId, target: &[u8]) -> Result<()> {
        self.it.counts.symlinks += 1;
        // The kernel takes either for damage.
        if target.is_empty() || target.contains(&0) {
            let fault = if target.is_empty() { "an empty target" } else { "a NUL in the target" };
            return refused(&self.it.tree, node, fault);
        }
        if is_fast(target) {
            return self.put(node, &[], None);
        }
        let most = self.it.frame.size.len() - 1;
        if target.len() > most {
            let why = format_args!("a target of {} bytes, expected at most {most}", target.len());
            return refused(&self.it.tree, node, why);
        }
        let runs = self.take(self.owner(node), 1)?;
        let at = runs.first().map_or(BlockNr(0), |it| it.start);
        self.builder.blocks.push(Block::new(at, target.to_vec(), Seal::None));
        self.put(node, &mapping::dense(&runs), None)
    }

    fn contents(&mut self, mut maps: BTreeMap<NodeId, Vec<BlockNr>>) -> Result<()> {
        let tree = Arc::clone(&self.it.tree);
        let frame = self.it.frame;
        let mut segments = Vec::new();
        for &node in &self.order.files {
            let Kind::Regular(contents) = &tree.node(node).kind else { continue };
            self.it.counts.regular += 1;
            let data = contents.data_len();
            self.it.counts.bytes += data;
            self.it.counts.holes += contents.size.saturating_sub(data);
            if let Some(len) = self.attributes.of_node(node).inline {
                let rest_at = data_at(frame.format.inode_size(), len);
                self.put(node, &[], None)?;
                if !contents.data.is_empty() {
                    let place = Place::Inline { rest_at };
                    self.builder.data.push(FileData { node, ino: self.ino(node), place });
                }
                continue;
            }
            let blocks = data::blocks_of(&contents.data, frame.size);
            let runs = self.take(self.owner(node), data::space_for(&blocks, frame.ratio))?;
            segments.clear();
            data::lay(&blocks, frame.ratio, &runs, &mut segments);
            let root =
                self.map(self.owner(node), &segments, maps.remove(&node).unwrap_or_default())?;
            self.put(node, &segments, root)?;
            if !segments.is_empty() {
                let all = u32::try_from(self.builder.segments.len()).unwrap_or(u32::MAX);
                let n = u32::try_from(segments.len()).unwrap_or(u32::MAX);
                let place = Place::Blocks(all - n..all);
                self.builder.data.push(FileData { node, ino: self.ino(node), place });
            }
        }
        Ok(())
    }
}
