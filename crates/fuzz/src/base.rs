//! Small filesystems to begin with, made by our own mkfs once a process, and where their structures are.

use ext4_blockdev::MemoryDevice;
use ext4_mkfs::{
    Options, features,
    options::{Journal, Kind},
    plan, write,
};
use ext4_ondisk::{
    dir_entry::{TAIL_LEN, seal_tail},
    extent,
    geometry::Geometry,
    group_desc::{DescFormat, GroupDesc},
    htree::DxContext,
    inode::{FileType, Inode, InodeFlags, InodeFormat},
    superblock::{RawSuperblock, Superblock},
    xattr,
};
use ext4_tree::{Attributes, Contents, Kind as Is, Node, NodeId, Tree};
use ext4_units::{BlockNr, BlockSize, GroupNr, InodeNr};
use std::{
    collections::BTreeMap,
    num::NonZero,
    sync::{Arc, LazyLock},
};
use zerocopy::{FromBytes as _, IntoBytes as _};

/// Features, and KiB of the device. Each shows structures that the others have not.
const BASES: &[(&str, u64)] = &[
    ("^has_journal,^resize_inode", 512),
    ("^has_journal,^metadata_csum,^64bit,^extent,uninit_bg", 512),
    ("^has_journal,inline_data,ea_inode,large_dir,sparse_super2", 512),
    ("^has_journal,^metadata_csum,^flex_bg,^dir_index", 512),
    ("^has_journal,bigalloc,quota,project,metadata_csum_seed", 2048),
    ("^has_journal,mmp,meta_bg,^resize_inode,casefold,encrypt,verity", 512),
    ("fast_commit,orphan_file", 4096),
];

/// A filesystem.
pub(crate) struct Base {
    pub(crate) device: Arc<MemoryDevice>,
    pub(crate) superblock: Superblock,
    /// Where its structures are.
    pub(crate) places: Vec<Place>,
}

/// A structure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Its first byte on the device.
    pub(crate) at: u64,
    /// Its bytes.
    pub(crate) len: usize,
    seal: Seal,
}

impl Place {
    /// Whether it is this inode.
    pub(crate) fn is_inode(&self, ino: InodeNr) -> bool {
        matches!(self.seal, Seal::Inode(it) if it == ino)
    }
}

/// How a structure's checksum is made.
#[derive(Clone, Copy, Debug)]
enum Seal {
    None,
    Superblock,
    Descriptor(GroupNr),
    Inode(InodeNr),
    Node(InodeNr, u32),
    Directory(InodeNr, u32),
    Index(InodeNr, u32),
    Attributes(BlockNr),
}

/// All of them.
static ALL: LazyLock<Vec<Base>> =
    LazyLock::new(|| BASES.iter().map(|(features, kib)| make(features, *kib)).collect());

/// How many there are.
pub(crate) const fn count() -> usize {
    BASES.len()
}

/// One of them.
pub(crate) fn base(nr: usize) -> &'static Base {
    &ALL[nr % BASES.len()]
}

/// The one with a journal.
pub(crate) fn journaled() -> &'static Base {
    base(BASES.len() - 1)
}

/// The superblock of one.
pub(crate) fn superblock(nr: usize) -> Option<Superblock> {
    ALL.get(nr).map(|it| it.superblock.clone())
}

/// Files of each kind, with more names than a block holds, a long map and attributes.
#[expect(clippy::unwrap_used, reason = "names that differ, in directories that are there")]
fn tree() -> Tree {
    let plain = |perms| Attributes { perms, ..Attributes::default() };
    let mut tree = Tree::new(plain(0o755));
    let mut add = |dir, name: &[u8], attributes, kind| {
        tree.add(dir, name, Node { attributes, kind }).unwrap()
    };
    let dir = add(NodeId::ROOT, b"dir", plain(0o755), Is::Directory(BTreeMap::new()));
    let below = add(dir, b"below", plain(0o755), Is::Directory(BTreeMap::new()));
    add(below, b"deep", plain(0o644), Is::Regular(Contents::bytes(*b"deep")));
    for nr in 0..40 {
        let name = format!("a-name-of-some-length-that-fills-{nr:03}");
        add(dir, name.as_bytes(), plain(0o644), Is::Fifo);
    }
    let mut with = plain(0o600);
    with.xattrs.insert((*b"user.short").into(), (*b"value").into());
    with.xattrs.insert((*b"user.long").into(), vec![b'v'; 700].into());
    add(NodeId::ROOT, b"attributes", with, Is::Regular(Contents::bytes(vec![7; 3000])));
    add(NodeId::ROOT, b"file", plain(0o644), Is::Regular(Contents::bytes(vec![9; 30_000])));
    add(NodeId::ROOT, b"link", plain(0o777), Is::Symlink((*b"dir/below").into()));
    add(NodeId::ROOT, b"long", plain(0o777), Is::Symlink(vec![b'l'; 200].into()));
    add(NodeId::ROOT, b"null", plain(0o666), Is::CharDevice { major: 1, minor: 3 });
    tree
}

#[expect(clippy::unwrap_used, reason = "options of our own, on a device in memory")]
fn make(edits: &str, kib: u64) -> Base {
    let len = kib << 10;
    let mut options = Options {
        kind: Kind::Ext4,
        block_size: Some(BlockSize::MIN),
        inode_ratio: Some(4096),
        features: features::parse(edits).unwrap(),
        time: 1_700_000_000,
        is_zeroed: true,
        tree: Some(Arc::new(tree())),
        ..Options::default()
    };
    if !edits.contains("^has_journal") {
        options.journal = Journal { mib: Some(1), ..Journal::default() };
    }
    if edits.contains("bigalloc") {
        options.cluster_size = Some(4096);
    }
    let plan = plan(&options, len).unwrap();
    let device = MemoryDevice::new(vec![0; usize::try_from(len).unwrap()]);
    write(&plan, &device, NonZero::<usize>::MIN, &mut ()).unwrap();
    let (raw, _) = RawSuperblock::read_from_prefix(&device.contents()[1024..]).unwrap();
    let superblock = Superblock::decode(&raw).unwrap();
    let places = places(&device, &superblock);
    Base { device: Arc::new(device), superblock, places }
}

#[expect(clippy::unwrap_used, reason = "a filesystem without damage")]
fn places(device: &MemoryDevice, sb: &Superblock) -> Vec<Place> {
    let bytes = device.contents();
    let (geo, inodes) = (Geometry::new(sb), InodeFormat::new(sb));
    let (size, format) = (geo.block_size, DescFormat::new(sb));
    let whole = |blk: BlockNr, seal| Place { at: blk.byte(size), len: size.len(), seal };
    let mut all = vec![Place { at: 1024, len: 1024, seal: Seal::Superblock }];
    for group in geo.groups() {
        let (blk, offset) = geo.desc_place(group);
        let at = blk.byte(size) + offset as u64;
        all.push(Place { at, len: format.desc_size(), seal: Seal::Descriptor(group) });
        let desc =
            GroupDesc::decode(&bytes[usize::try_from(at).unwrap()..], group, &format).unwrap();
        all.push(whole(desc.block_bitmap, Seal::None));
        all.push(whole(desc.inode_bitmap, Seal::None));
        for index in 0..geo.inodes_per_group {
            let ino = geo.inode_at(group, index).unwrap();
            let place = geo.inode_place(ino).unwrap();
            let at =
                desc.inode_table.plus(place.table_block.into()).byte(size) + place.offset as u64;
            let from = usize::try_from(at).unwrap();
            let raw = &bytes[from..from + inodes.inode_size()];
            let Ok(inode) = Inode::decode(raw, ino, &inodes) else { continue };
            if inode.mode == 0 {
                continue;
            }
            all.push(Place { at, len: inodes.inode_size(), seal: Seal::Inode(ino) });
            all.extend(inode.file_acl.map(|blk| whole(blk, Seal::Attributes(blk))));
            blocks_of(&bytes, &geo, ino, &inode, &mut |blk, seal| all.push(whole(blk, seal)));
        }
    }
    all
}

/// The first blocks of a file's map, and of a directory.
fn blocks_of(
    bytes: &[u8],
    geo: &Geometry,
    ino: InodeNr,
    inode: &Inode,
    add: &mut dyn FnMut(BlockNr, Seal),
) {
    if inode.flags.contains(InodeFlags::INLINE_DATA) || inode.file_type() == FileType::Symlink {
        return;
    }
    let is_dir = inode.file_type() == FileType::Directory;
    let seal = |lblk: u64| match (is_dir, inode.flags.contains(InodeFlags::INDEX) && lblk == 0) {
        (true, true) => Seal::Index(ino, inode.generation),
        (true, false) => Seal::Directory(ino, inode.generation),
        _ => Seal::None,
    };
    if !inode.flags.contains(InodeFlags::EXTENTS) {
        for (lblk, word) in (0..).zip(inode.i_block.as_chunks::<4>().0) {
            let blk = BlockNr(u32::from_le_bytes(*word).into());
            if blk.0 > 0 && geo.contains(blk) && (is_dir || lblk >= 12) {
                add(blk, seal(lblk));
            }
        }
        return;
    }
    let mut nodes = vec![inode.i_block.to_vec()];
    while let Some(node) = nodes.pop() {
        let n = usize::from(u16::from_le_bytes([node[2], node[3]]));
        let is_leaf = node[6] == 0;
        for entry in node[12..].chunks_exact(12).take(n) {
            if is_leaf {
                let Ok(raw) = extent::RawExtent::ref_from_bytes(entry) else { continue };
                let lblks = u64::from(raw.ee_block.get())..;
                for (lblk, nr) in lblks.zip(0..u64::from(raw.len()).min(4)) {
                    add(raw.start().plus(nr), seal(lblk));
                }
            } else if let Ok(raw) = extent::RawExtentIdx::ref_from_bytes(entry) {
                add(raw.leaf(), Seal::Node(ino, inode.generation));
                let at = raw.leaf().byte(geo.block_size);
                let Ok(at) = usize::try_from(at) else { continue };
                nodes.extend(bytes.get(at..at + geo.block_size.len()).map(<[u8]>::to_vec));
            }
        }
    }
}

impl Base {
    /// Renews the checksum of a structure that was changed.
    pub(crate) fn seal(&self, place: &Place, bytes: &mut [u8]) {
        let sb = &self.superblock;
        let inodes = InodeFormat::new(sb);
        match place.seal {
            Seal::None => {}
            Seal::Superblock => {
                if let Ok(mut raw) = RawSuperblock::read_from_bytes(bytes) {
                    raw.update_checksum();
                    bytes.copy_from_slice(raw.as_bytes());
                }
            }
            Seal::Descriptor(group) => {
                let format = DescFormat::new(sb);
                if let Ok(desc) = GroupDesc::decode_unverified(bytes, group, &format) {
                    desc.encode(bytes, group, &format);
                }
            }
            Seal::Inode(ino) => inodes.update_checksum(ino, bytes),
            Seal::Node(ino, generation) => {
                let max = u16::from_le_bytes([bytes[4], bytes[5]]);
                if let Some(seed) = inodes.seed(ino, generation) {
                    extent::set_checksum(seed, bytes, max);
                }
            }
            Seal::Directory(ino, generation) => {
                if let Some(seed) = inodes.seed(ino, generation)
                    && bytes.len() > TAIL_LEN
                {
                    seal_tail(bytes, seed);
                }
            }
            Seal::Index(ino, generation) => {
                let context = DxContext {
                    ino,
                    block_size: sb.block_size,
                    csum: inodes.seed(ino, generation),
                    has_largedir: false,
                    n_blocks: u32::MAX,
                };
                // An index without sense has no place for one.
                drop(context.reseal_root(bytes));
            }
            Seal::Attributes(blk) => xattr::update_checksum(bytes, blk, sb.metadata_csum()),
        }
    }
}
