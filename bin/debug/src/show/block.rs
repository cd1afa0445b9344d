//! `block N`: what a block is, and who owns it.
//!
//! The owner of a block that is none of the system's own is found by going through all inodes and
//! their maps, one at a time.

use crate::{
    image::Image,
    layout::{Layout, What, guess},
    map::{self, Kind, Piece},
    print::{Document, Fields},
    show::exit,
    text::{count, hex, hexdump, put_name},
};
use ext4_cli::{Exit, Failure, Progress};
use ext4_fs::Inode;
use ext4_ondisk::name::Name;
use ext4_ondisk::{bitmap, features::Compat, inode::FileType, superblock::JournalPlace};
use ext4_units::{BlockNr, BlockRange, GroupNr, InodeNr};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Blocks of an inode table read at a time.
const RUN: u64 = 64;

/// Owners that are kept; a damaged filesystem may have any number.
const MAX_OWNERS: usize = 1000;

/// What else is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct More {
    /// The paths of the owners.
    pub(crate) paths: bool,
    /// The bytes.
    pub(crate) hex: bool,
}

/// Shows it.
pub(crate) fn show(image: &Image, nr: u64, more: More) -> Result<Exit, Failure> {
    let (blk, geo) = (BlockNr(nr), image.fs.geometry());
    if nr >= geo.blocks_count {
        let count = geo.blocks_count;
        return Err(image.refuse(format_args!("block {nr}: expected below {count}")));
    }
    let layout = Layout::read(&image.fs, image.meta());
    let mut damage = layout.damage.clone();
    let what = layout.what(blk);
    let group = geo.group_of_block(blk);
    let allocated = group.and_then(|gi| is_allocated(image, gi, blk, &mut damage));
    let owners = if matches!(what, What::Other | What::Log { .. } | What::Reserved(_)) {
        let mut search = Search { image, blk, found: Vec::new(), damage: &mut damage };
        search.all()?;
        search.found
    } else {
        Vec::new()
    };
    let bytes = image.meta().read(blk).map_err(|err| damage.push(err.to_string())).ok();

    let mut doc = Document::begin(&image.report)?;
    let mut head = Fields::new();
    let mut object = Map::new();
    what.put(&mut object);
    if what == What::Other {
        let kind = match (owners.first(), allocated) {
            (Some(owner), _) => owner.kind,
            (None, Some(false)) => "free",
            (None, _) => "allocated",
        };
        object.insert("kind".into(), kind.into());
    }
    head.put_json("block", nr);
    for (name, value) in object {
        head.put_json(&name, value);
    }
    if !matches!(what, What::Superblock(_)) {
        head.put_json("block_group", group.map(|gi| gi.0));
    }
    head.put_json("allocated", allocated);
    if what == What::Other {
        head.put_json("looks_like", bytes.as_deref().map(guess));
    }
    doc.fields(&head)?;
    doc.text(sentence(blk, &what, group, allocated, &owners, bytes.as_deref()))?;

    doc.list("owners")?;
    let mut inodes = BTreeSet::new();
    for owner in &owners {
        inodes.insert(owner.ino);
        doc.item(&owner.json(), format_args!("  {}", owner.text()))?;
    }
    if more.paths {
        doc.list("paths")?;
        paths(image, &mut doc, &inodes, &mut damage)?;
    }
    let mut tail = Fields::new();
    if more.hex {
        tail.put_json("hex", bytes.as_deref().map(hex));
        doc.text(bytes.as_deref().map(hexdump).unwrap_or_default())?;
    }
    tail.put_damage(&damage);
    doc.fields(&tail)?;
    doc.finish()?;
    Ok(exit(!damage.is_empty()))
}

fn is_allocated(
    image: &Image,
    gi: GroupNr,
    blk: BlockNr,
    damage: &mut Vec<String>,
) -> Option<bool> {
    let (_, bit) = image.fs.geometry().cluster_bit(blk)?;
    let bits = image.fs.block_bitmap(image.meta(), gi);
    let bits = bits.map_err(|err| damage.push(err.to_string())).ok()?;
    Some(bitmap::is_set(&bits, bit))
}

fn sentence(
    blk: BlockNr,
    what: &What,
    group: Option<GroupNr>,
    allocated: Option<bool>,
    owners: &[Owner],
    bytes: Option<&[u8]>,
) -> String {
    let state = match allocated {
        Some(true) => "allocated",
        Some(false) => "free",
        None => "unknown whether allocated",
    };
    let what = match (what, owners.first()) {
        (What::Other, Some(owner)) => owner.text(),
        (What::Other, None) => {
            format!("no owner, looks like {}", bytes.map_or("nothing readable", guess))
        }
        (what, _) => what.to_string(),
    };
    let group = group.map_or(String::new(), |gi| format!(" (group {gi}, {state})"));
    format!("block {blk}{group}: {what}")
}

fn paths(
    image: &Image,
    doc: &mut Document,
    inodes: &BTreeSet<InodeNr>,
    damage: &mut Vec<String>,
) -> Result<(), Failure> {
    if inodes.is_empty() {
        return Ok(());
    }
    for visit in image.fs.walk(image.meta()) {
        image.check_stop()?;
        match visit {
            Ok(visit) if inodes.contains(&visit.inode.ino) => {
                let mut value = Map::new();
                value.insert("ino".into(), visit.inode.ino.get().into());
                put_name(&mut value, "path", &visit.path);
                let text = format!("  inode <{}>: {}", visit.inode.ino, Name(&visit.path));
                doc.item(&value.into(), text)?;
            }
            Ok(_) => {}
            Err(err) => damage.push(err.to_string()),
        }
    }
    Ok(())
}

/// Who owns a block, and as what.
struct Owner {
    ino: InodeNr,
    kind: &'static str,
    /// What the inode is for, when it has no name.
    role: Option<&'static str>,
    /// Logical block of data; first logical block below a node.
    lblk: Option<u32>,
    depth: Option<u16>,
    is_unwritten: bool,
}

impl Owner {
    fn json(&self) -> Value {
        json!({
            "ino": self.ino.get(), "kind": self.kind, "role": self.role, "lblk": self.lblk,
            "depth": self.depth, "unwritten": self.is_unwritten,
        })
    }

    fn text(&self) -> String {
        let what = match (self.kind, self.lblk, self.depth) {
            ("data", Some(lblk), _) if self.is_unwritten => {
                format!("unwritten, logical block {lblk}")
            }
            ("data", Some(lblk), _) => format!("data, logical block {lblk}"),
            ("directory", Some(lblk), _) => format!("directory, logical block {lblk}"),
            ("extent_node", lblk, Some(depth)) => {
                format!("extent node of depth {depth}, from logical block {}", lblk.unwrap_or(0))
            }
            ("indirect", lblk, Some(_)) => {
                format!("indirect block, from logical block {}", lblk.unwrap_or(0))
            }
            ("xattr_block", ..) => "attribute block".to_owned(),
            (kind, ..) => kind.to_owned(),
        };
        let role = self.role.map_or(String::new(), |role| format!(" ({role})"));
        format!("{what} of inode <{}>{role}", self.ino)
    }
}

struct Search<'a> {
    image: &'a Image,
    blk: BlockNr,
    found: Vec<Owner>,
    damage: &'a mut Vec<String>,
}

impl Search<'_> {
    fn all(&mut self) -> Result<(), Failure> {
        let geo = self.image.fs.geometry();
        let total = u64::from(geo.groups_count);
        let progress = Progress::new(&self.image.common, "searching inodes", Some(total));
        for gi in geo.groups() {
            self.group(gi)?;
            progress.set(u64::from(gi.0));
        }
        progress.finish(total);
        Ok(())
    }

    /// Looks at every inode of a group that is or may be in use.
    fn group(&mut self, gi: GroupNr) -> Result<(), Failure> {
        let (image, geo) = (self.image, self.image.fs.geometry());
        // A damaged descriptor was told of already.
        let Ok(desc) = image.fs.group(image.meta(), gi) else { return Ok(()) };
        let sb = image.fs.superblock();
        if desc.has_uninit_inode_bitmap(sb) {
            return Ok(());
        }
        let unused = if sb.features.has_group_desc_csum() { desc.itable_unused } else { 0 };
        let used = geo.inodes_per_group.saturating_sub(unused);
        let bits = image.fs.inode_bitmap(image.meta(), gi);
        let bits = bits.map_err(|err| self.damage.push(err.to_string())).ok();
        let n_blocks = u64::from(used.div_ceil(geo.inodes_per_block()));
        let mut at = 0;
        while at < n_blocks {
            image.check_stop()?;
            let n = (n_blocks - at).min(RUN);
            let run = BlockRange::new(desc.inode_table.plus(at), n);
            match image.meta().read_run(run) {
                Ok(blocks) => {
                    for (i, block) in (at..).zip(&blocks) {
                        self.table_block(gi, i, block, used, bits.as_deref());
                    }
                }
                Err(err) => self.damage.push(err.to_string()),
            }
            at += n;
        }
        Ok(())
    }

    fn table_block(&mut self, gi: GroupNr, nr: u64, block: &[u8], used: u32, bits: Option<&[u8]>) {
        let geo = self.image.fs.geometry();
        let first = u32::try_from(nr).unwrap_or(u32::MAX).saturating_mul(geo.inodes_per_block());
        let inodes = block.chunks_exact(usize::from(geo.inode_size));
        for (index, bytes) in (first..used).zip(inodes) {
            let is_free = bits.is_some_and(|bits| !bitmap::is_set(bits, index));
            let Some(ino) = geo.inode_at(gi, index).filter(|_| !is_free) else { continue };
            let Some(disk) = self.image.decode_anyhow(bytes, ino) else { continue };
            let inode = Inode { ino, i_size: disk.size, disk };
            // The resize inode and the one of bad blocks may have a mode of 0.
            if inode.mode != 0 || inode.i_block != [0; 60] {
                self.inode(&inode);
            }
        }
    }

    fn inode(&mut self, inode: &Inode) {
        if inode.file_acl == Some(self.blk) {
            self.add(inode, Owner { kind: "xattr_block", ..self.owner(inode) });
        }
        let (kind, blk) = (Kind::of(self.image, inode), self.blk);
        let is_bad_blocks = inode.ino.get() == 1;
        if !matches!(kind, Kind::Extents | Kind::Indirect) && !is_bad_blocks {
            return;
        }
        let mut found = Vec::new();
        map::walk(self.image, inode, &mut |piece| {
            match piece {
                Piece::Node(node) if node.blk == Some(blk) => found.push(Owner {
                    kind: if inode.has_extents() { "extent_node" } else { "indirect" },
                    lblk: Some(node.lblk),
                    depth: Some(node.depth),
                    ..self.owner(inode)
                }),
                Piece::Run(run) if run.blocks.contains(blk) => {
                    let skip = u32::try_from(blk.0 - run.blocks.start.0).unwrap_or(u32::MAX);
                    let is_dir = inode.file_type() == FileType::Directory;
                    found.push(Owner {
                        kind: if is_dir { "directory" } else { "data" },
                        lblk: Some(run.lblk.saturating_add(skip)),
                        is_unwritten: run.is_unwritten,
                        ..self.owner(inode)
                    });
                }
                _ => {}
            }
            found.len() < MAX_OWNERS && self.image.check_stop().is_ok()
        });
        for owner in found {
            self.add(inode, owner);
        }
    }

    fn owner(&self, inode: &Inode) -> Owner {
        Owner {
            ino: inode.ino,
            kind: "",
            role: self.role(inode.ino),
            lblk: None,
            depth: None,
            is_unwritten: false,
        }
    }

    fn add(&mut self, inode: &Inode, owner: Owner) {
        if self.found.len() < MAX_OWNERS {
            self.found.push(owner);
        } else if self.found.len() == MAX_OWNERS {
            let more = count(MAX_OWNERS as u64, "owner");
            self.damage.push(format!("block {}: more than {more}, inode {}", self.blk, inode.ino));
        }
    }

    /// What the inodes without a name are for.
    fn role(&self, ino: InodeNr) -> Option<&'static str> {
        let sb = self.image.fs.superblock();
        let features = sb.features;
        match ino.get() {
            1 => Some("bad blocks"),
            2 => Some("root"),
            7 if features.has_compat(Compat::RESIZE_INODE) => Some("reserve for growth"),
            _ if sb.journal == JournalPlace::Inode(ino) => Some("journal"),
            _ if sb.orphan_file_inum == Some(ino) => Some("orphan file"),
            _ if sb.quota_inums.contains(&Some(ino)) => Some("quota"),
            _ => None,
        }
    }
}
