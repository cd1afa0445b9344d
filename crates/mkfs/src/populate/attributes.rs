//! Extended attributes of a tree's files as the filesystem keeps them: in inodes, in blocks that
//! files with the same attributes share, and large values in inodes of their own.

use super::order::{Order, path_of};
use crate::error::{Error, Result};
use ext4_ondisk::{
    acl,
    xattr::{Entry, NameIndex, Value, split_name},
};
use ext4_tree::{Kind, Node, NodeId, Tree, Xattrs};
use ext4_units::InodeNr;
use std::collections::BTreeMap;

/// `XATTR_NAME_MAX` and `XATTR_SIZE_MAX`: what system calls pass.
const MAX_NAME: usize = 255;
const MAX_VALUE: usize = 65_536;
/// Bytes of an entry before its name.
const ENTRY: usize = 16;
/// Magic, and the zero word behind the entries.
const AROUND_BODY: usize = 4 + 4;
/// Header, and the zero word behind the entries.
const AROUND_BLOCK: usize = 32 + 4;
/// What an attribute block has no room for beside the header, of a value with the shortest name
/// (`EXT4_XATTR_MIN_LARGE_EA_SIZE`).
const AROUND_LARGE: usize = 56;
/// No attributes.
pub(crate) const NONE: u32 = u32::MAX;

/// How much an inode and a block hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Bytes of an inode behind its fields.
    pub(crate) body: usize,
    /// Bytes of a block.
    pub(crate) block: usize,
    /// Values may be inodes.
    pub(crate) has_ea_inode: bool,
    /// Files may be in their inodes.
    pub(crate) has_inline_data: bool,
}

/// Attributes that one or more files have, and where they go.
#[derive(Clone, Debug)]
pub(crate) struct Set {
    /// Those in the inode. A value that is an inode has its index among [`Attributes::values`],
    /// plus one, for a number.
    pub(crate) body: Vec<Entry>,
    /// Those in a block: an index among [`Attributes::blocks`].
    pub(crate) block: Option<u32>,
    /// Lengths of the values that are inodes: the file is charged for them.
    pub(crate) charged: Vec<u32>,
}

/// What a block of attributes holds.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) entries: Vec<Entry>,
    /// Files that have it.
    pub(crate) users: u32,
}

/// A value that is an inode.
#[derive(Clone, Debug)]
pub(crate) struct LargeValue {
    pub(crate) bytes: Box<[u8]>,
    /// Owner and group of the first file that has it.
    pub(crate) owner: (u32, u32),
    /// Entries that name it.
    pub(crate) refs: u64,
}

/// All attributes of a tree, and which files are inside their inodes, which is a matter of the same
/// room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attributes {
    pub(crate) sets: Vec<Set>,
    pub(crate) blocks: Vec<Shared>,
    pub(crate) values: Vec<LargeValue>,
    /// By node; empty when there is nothing to say of any.
    nodes: Vec<OfNode>,
}

/// What a file has in its inode.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfNode {
    /// Index of its set, or [`NONE`].
    pub(crate) set: u32,
    /// It is inside its inode, with so many bytes behind the first 60.
    pub(crate) inline: Option<u16>,
}

const NOTHING: OfNode = OfNode { set: NONE, inline: None };

impl Attributes {
    /// Of all files of a tree.
    ///
    /// # Errors
    /// When there is no room for a file's attributes, or one of them is none that ext4 keeps.
    pub(crate) fn new(tree: &Tree, order: &Order, room: Room) -> Result<Self> {
        let mut it = Self::default();
        let mut known = Known::default();
        let fixed = order.fixed();
        for node in fixed.chain(order.files.iter().copied()) {
            let of_node = it.of(tree, order, node, room, &mut known)?;
            if of_node.set != NONE || of_node.inline.is_some() {
                if it.nodes.is_empty() {
                    it.nodes = vec![NOTHING; tree.nodes().len()];
                }
                it.nodes[node.index()] = of_node;
            }
        }
        it.count_refs();
        Ok(it)
    }

    /// What a node has.
    pub(crate) fn of_node(&self, node: NodeId) -> OfNode {
        self.nodes.get(node.index()).copied().unwrap_or(NOTHING)
    }

    fn of<'t>(
        &mut self,
        tree: &'t Tree,
        order: &Order,
        id: NodeId,
        room: Room,
        known: &mut Known<'t>,
    ) -> Result<OfNode> {
        let node = tree.node(id);
        let may_be_inline = room.has_inline_data && order.place(id).is_some();
        let inline = if may_be_inline { inline_len(tree, id, room) } else { None };
        let xattrs = &node.attributes.xattrs;
        if xattrs.is_empty() {
            return Ok(OfNode { set: NONE, inline });
        }
        // Contents come first; attributes have what is left.
        let taken = inline.map_or(0, |len| data_entry_len(len.into()));
        let body = room.body.saturating_sub(AROUND_BODY + taken);
        let is_directory = matches!(node.kind, Kind::Directory(_));
        let key = (body, is_directory, xattrs);
        if let Some(&set) = known.sets.get(&key) {
            self.add_user(set);
            return Ok(OfNode { set, inline });
        }
        let refused = |why: String| Error::File { path: path_of(tree, id), why };
        let entries = entries(xattrs, node).map_err(refused)?;
        let Some((body, block)) = pack(&entries, body, room) else {
            let len: usize = entries.iter().map(|it| entry_len(it, false)).sum();
            let block = room.block - AROUND_BLOCK;
            return Err(refused(format!(
                "attributes of {len} bytes, expected at most {body} in the inode and {block} in a \
                 block"
            )));
        };
        let owner = (node.attributes.uid, node.attributes.gid);
        let mut charged = Vec::new();
        let mut keep = |(entry, is_large): (Entry, bool)| match entry.value {
            Value::Here(bytes) if is_large => {
                let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                charged.push(len);
                let ino = known.value(&mut self.values, bytes, owner);
                Entry { value: Value::Inode { ino, len }, ..entry }
            }
            _ => entry,
        };
        let body: Vec<_> = body.into_iter().map(&mut keep).collect();
        let shared: Vec<_> = block.into_iter().map(&mut keep).collect();
        let block =
            if shared.is_empty() { None } else { Some(known.block(&mut self.blocks, shared)) };
        let set = number(self.sets.len());
        self.sets.push(Set { body, block, charged });
        known.sets.insert(key, set);
        self.add_user(set);
        Ok(OfNode { set, inline })
    }

    fn add_user(&mut self, set: u32) {
        let it = &self.sets[set as usize];
        if let Some(block) = it.block {
            self.blocks[block as usize].users += 1;
        }
        for entry in &it.body {
            if let Value::Inode { ino, .. } = entry.value {
                self.values[ino.get() as usize - 1].refs += 1;
            }
        }
    }

    /// A block refers to a value once, whoever shares the block.
    fn count_refs(&mut self) {
        for shared in &self.blocks {
            let copies = shared.users.div_ceil(ext4_ondisk::xattr::MAX_REFCOUNT);
            for entry in &shared.entries {
                if let Value::Inode { ino, .. } = entry.value {
                    self.values[ino.get() as usize - 1].refs += u64::from(copies);
                }
            }
        }
    }
}

/// Index, name and value of an entry, the value with a letter for where it is.
type Key = (u8, Vec<u8>, Vec<u8>);

/// What was met before.
#[derive(Default)]
struct Known<'t> {
    /// By room in the inode, whether it is a directory's, and names and values.
    sets: BTreeMap<(usize, bool, &'t Xattrs), u32>,
    /// By what is in them.
    blocks: BTreeMap<Vec<Key>, u32>,
    values: BTreeMap<Vec<u8>, InodeNr>,
}

impl Known<'_> {
    fn value(
        &mut self,
        values: &mut Vec<LargeValue>,
        bytes: Vec<u8>,
        owner: (u32, u32),
    ) -> InodeNr {
        if let Some(&ino) = self.values.get(&bytes) {
            return ino;
        }
        values.push(LargeValue { bytes: bytes.clone().into(), owner, refs: 0 });
        let ino = InodeNr::new(number(values.len())).expect("at least one");
        self.values.insert(bytes, ino);
        ino
    }

    fn block(&mut self, blocks: &mut Vec<Shared>, entries: Vec<Entry>) -> u32 {
        let key = |entry: &Entry| {
            let value = match &entry.value {
                Value::Here(bytes) => [&b"h"[..], bytes].concat(),
                Value::Inode { ino, .. } => [&b"i"[..], &ino.get().to_le_bytes()].concat(),
            };
            (entry.index, entry.name.clone(), value)
        };
        let place = self.blocks.entry(entries.iter().map(key).collect());
        *place.or_insert_with(|| {
            blocks.push(Shared { entries, users: 0 });
            number(blocks.len() - 1)
        })
    }
}

fn number(n: usize) -> u32 {
    u32::try_from(n).expect("fewer than there are files, which 32 bits count")
}

/// The attributes with names and values as on disk, in the order of blocks.
fn entries(xattrs: &Xattrs, node: &Node) -> std::result::Result<Vec<Entry>, String> {
    let mut entries = Vec::with_capacity(xattrs.len());
    for (full, value) in xattrs {
        let shown = full.escape_ascii();
        if full.len() > MAX_NAME {
            let len = full.len();
            return Err(format!("an attribute's name of {len} bytes, expected at most {MAX_NAME}"));
        }
        if value.len() > MAX_VALUE {
            let len = value.len();
            return Err(format!("attribute {shown} of {len} bytes, expected at most {MAX_VALUE}"));
        }
        let split = split_name(full).filter(|(index, _)| index.is_listed());
        let Some((index, name)) = split else {
            return Err(format!(
                "attribute {shown}, expected user., trusted., security. or an access control list"
            ));
        };
        let is_default = index == NameIndex::POSIX_ACL_DEFAULT;
        let value = if is_default || index == NameIndex::POSIX_ACL_ACCESS {
            if is_default && !matches!(node.kind, Kind::Directory(_)) {
                let kind = node.kind.name();
                return Err(format!("attribute {shown} of a {kind}, expected a directory"));
            }
            acl::to_disk(value)
                .ok_or_else(|| format!("attribute {shown} is no access control list"))?
        } else {
            value.to_vec()
        };
        entries.push(Entry {
            index: index.0,
            name: name.to_vec(),
            value: Value::Here(value),
            hash: 0,
        });
    }
    entries.sort_by(|a, b| (a.index, a.name.len(), &a.name).cmp(&(b.index, b.name.len(), &b.name)));
    Ok(entries)
}

fn value_len(entry: &Entry) -> usize {
    match &entry.value {
        Value::Here(bytes) => bytes.len(),
        Value::Inode { .. } => 0,
    }
}

/// Bytes an entry takes, with its value unless that is an inode.
fn entry_len(entry: &Entry, is_large: bool) -> usize {
    let value = if is_large { 0 } else { value_len(entry).next_multiple_of(4) };
    ENTRY + entry.name.len().next_multiple_of(4) + value
}

/// Bytes that `system.data` takes in an inode.
pub(crate) fn data_entry_len(value_len: usize) -> usize {
    ENTRY + ext4_ondisk::inline_data::XATTR_NAME.len() + value_len.next_multiple_of(4)
}

/// Entries, and whether each one's value is an inode.
type Packed = Vec<(Entry, bool)>;

/// Which go into `body` bytes of the inode and which into a block: each into the inode where it
/// fits. Where not all fit, the largest values become inodes, one after the other, if they may.
fn pack(entries: &[Entry], body: usize, room: Room) -> Option<(Packed, Packed)> {
    let may_be_large = |it: &Entry| room.has_ea_inode && value_len(it) > 0;
    let is_huge = |it: &Entry| value_len(it).next_multiple_of(4) > room.block - AROUND_LARGE;
    let mut large: Vec<bool> = entries.iter().map(|it| may_be_large(it) && is_huge(it)).collect();
    loop {
        let (mut left, mut in_body, mut in_block) = (body, Packed::new(), Packed::new());
        let mut left_in_block = room.block - AROUND_BLOCK;
        let mut fits = true;
        for (entry, &is_large) in entries.iter().zip(&large) {
            let len = entry_len(entry, is_large);
            let (left, to) = if len <= left {
                (&mut left, &mut in_body)
            } else {
                (&mut left_in_block, &mut in_block)
            };
            match left.checked_sub(len) {
                Some(rest) => *left = rest,
                None => fits = false,
            }
            to.push((entry.clone(), is_large));
        }
        if fits {
            return Some((in_body, in_block));
        }
        let candidates = entries.iter().zip(&large).enumerate();
        let candidates = candidates.filter(|(_, (it, is_large))| may_be_large(it) && !**is_large);
        let (largest, _) = candidates.max_by_key(|(_, (it, _))| value_len(it))?;
        large[largest] = true;
    }
}

/// How many bytes of a file inside its inode lie behind the first 60; `None` for one that is not.
fn inline_len(tree: &Tree, id: NodeId, room: Room) -> Option<u16> {
    use ext4_ondisk::{
        dir_entry::rec_len_for,
        inline_data::{BODY_LEN, DOTDOT_SIZE},
    };
    let len = match &tree.node(id).kind {
        // An empty one may become inline at its first write, and has a map until then.
        Kind::Regular(contents) if contents.size > 0 => {
            usize::try_from(contents.size).ok()?.saturating_sub(BODY_LEN)
        }
        Kind::Directory(_) => {
            let (mut left, mut behind) = (BODY_LEN - DOTDOT_SIZE, 0);
            for (name, _) in tree.names(id) {
                let needed = rec_len_for(name.len());
                match usize::checked_sub(left, needed) {
                    Some(rest) => left = rest,
                    None => behind += needed,
                }
                if behind > room.body {
                    return None;
                }
            }
            behind
        }
        _ => return None,
    };
    let needed = AROUND_BODY + data_entry_len(len);
    u16::try_from(len).ok().filter(|_| needed <= room.body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ext4_tree::Attributes as Fields;

    const ROOM: Room = Room { body: 96, block: 1024, has_ea_inode: false, has_inline_data: false };

    fn tree_of(sets: &[&[(&str, usize)]]) -> Tree {
        let mut tree = Tree::new(Fields::default());
        for (nr, set) in sets.iter().enumerate() {
            let value = |len: usize| vec![b'v'; len].into_boxed_slice();
            let xattrs = set.iter().map(|&(name, len)| (name.as_bytes().into(), value(len)));
            let attributes = Fields { xattrs: xattrs.collect(), ..Fields::default() };
            let node = Node { attributes, kind: Kind::Fifo };
            tree.add(NodeId::ROOT, format!("{nr:0>6}").as_bytes(), node).unwrap();
        }
        tree
    }

    fn attributes(tree: &Tree, room: Room) -> Result<Attributes> {
        Attributes::new(tree, &Order::new(tree).unwrap(), room)
    }

    fn said(set: &[(&str, usize)]) -> String {
        attributes(&tree_of(&[set]), ROOM).unwrap_err().to_string()
    }

    #[test]
    fn small_ones_are_in_the_inode_and_the_others_in_a_block_that_is_shared() {
        let set: &[(&str, usize)] = &[("user.a", 30), ("user.b", 500)];
        let it = attributes(&tree_of(&[set, set, &[("user.a", 30)]]), ROOM).unwrap();
        let shapes: Vec<_> = it.sets.iter().map(|set| (set.body.len(), set.block)).collect();
        assert_eq!(shapes, [(1, Some(0)), (1, None)]);
        assert_eq!((it.blocks.len(), it.blocks[0].users), (1, 2));
    }

    #[test]
    fn a_large_value_is_one_inode_for_all_who_have_it() {
        let room = Room { has_ea_inode: true, ..ROOM };
        let set: &[(&str, usize)] = &[("user.a", 5000), ("user.b", 1)];
        let other: &[(&str, usize)] = &[("user.other", 5000)];
        let it = attributes(&tree_of(&[set, set, other]), room).unwrap();
        assert_eq!((it.values.len(), it.values[0].refs), (1, 3));
        assert_eq!(it.sets[0].charged, [5000]);
        // 600 and 600 do not fit into a block together.
        let it = attributes(&tree_of(&[&[("user.a", 600), ("user.b", 601)]]), room).unwrap();
        assert_eq!((it.values.len(), it.values[0].bytes.len()), (1, 601));
    }

    #[test]
    fn what_ext4_does_not_keep_is_refused() {
        assert_eq!(
            said(&[("user.a", 990)]),
            "/000000: attributes of 1012 bytes, expected at most 88 in the inode and 988 in a block"
        );
        assert_eq!(
            said(&[("system.data", 1)]),
            "/000000: attribute system.data, expected user., trusted., security. or an access \
             control list"
        );
        assert_eq!(
            said(&[("user.x", 70_000)]),
            "/000000: attribute user.x of 70000 bytes, expected at most 65536"
        );
        assert_eq!(
            said(&[("system.posix_acl_access", 3)]),
            "/000000: attribute system.posix_acl_access is no access control list"
        );
    }
}
