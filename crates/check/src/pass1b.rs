//! Pass 1B: clusters that more than one inode has, or an inode and the filesystem itself. Who has them
//! is found out, and all but one get copies.

use crate::{
    Error, Pass, Place, Result,
    facts::{Runs, add_run},
    pieces::{Piece, What, pieces},
    problem::pass1::{SHARED, SHARED_LEFT},
    repair::File,
    session::Session,
};
use ext4_ondisk::{
    extent::Extent,
    features::RoCompat,
    inode::{FileType, Inode, InodeFlags, RawInode},
    xattr,
};
use ext4_units::{BlockNr, InodeNr, LogicalBlock};
use std::collections::{BTreeMap, BTreeSet};

/// Who has a cluster besides the filesystem itself, and how often.
#[derive(Clone, Debug, Default)]
struct Owners {
    /// How often inodes have it, as contents or as a block of their map.
    claims: usize,
    /// The first of these inodes: as many as are told.
    inodes: Vec<InodeNr>,
    /// Inodes that have it as their block of attributes, which files make room for.
    attributes: Vec<InodeNr>,
    /// The filesystem has it, or a file of its own: they keep it.
    is_kept: bool,
}

/// Inodes that a finding names.
const TOLD: usize = 8;

impl Owners {
    fn add(&mut self, ino: InodeNr) {
        self.claims += 1;
        // One more than are told, for the inode that is told of.
        if self.inodes.len() <= TOLD && self.inodes.last() != Some(&ino) {
            self.inodes.push(ino);
        }
    }
}

/// Gives each inode clusters of its own.
pub(crate) fn run(session: &mut Session<'_, '_>) -> Result<()> {
    // A filesystem that is never written to may share blocks, and says so.
    if session.facts.shared.is_empty() || session.sb.features.has_ro_compat(RoCompat::SHARED_BLOCKS)
    {
        return Ok(());
    }
    let (owners, inodes) = owners(session)?;
    // A cluster that one inode has alone is there because of its place in it.
    let mut left: BTreeMap<u64, usize> = owners
        .iter()
        .map(|(cluster, it)| {
            let has_keeper = it.is_kept || !it.attributes.is_empty();
            let is_single = it.claims == 1 && !has_keeper;
            (*cluster, if has_keeper || is_single { usize::MAX } else { it.claims })
        })
        .collect();
    let mut moved = BTreeMap::new();
    for owner in owners.values().filter(|it| it.is_kept) {
        for &ino in &owner.attributes {
            move_attributes(session, ino, &mut moved)?;
        }
    }
    for ino in inodes {
        share(session, ino, &owners, &mut left)?;
    }
    for (start, len) in session.facts.shared.runs() {
        session.gate.history.sources.insert_run(start, len);
    }
    session.facts.shared = crate::bits::Bits::default();
    Ok(())
}

/// Who has the shared clusters, and the inodes among them in order.
fn owners(session: &mut Session<'_, '_>) -> Result<(BTreeMap<u64, Owners>, Vec<InodeNr>)> {
    let mut owners: BTreeMap<u64, Owners> = BTreeMap::new();
    let bits = session.geo.cluster_ratio_bits;
    for cluster in session.facts.shared.iter() {
        let first = cluster << bits;
        let is_own = session.facts.metadata.range(first, first + (1 << bits)).next().is_some();
        owners.insert(cluster, Owners { is_kept: is_own, ..Owners::default() });
    }
    // The filesystem's own come first, also those that are not in use.
    let mut inodes = session.facts.inodes.clone();
    inodes.insert_run(1, u64::from(session.geo.first_ino).saturating_sub(1));
    let inodes = inodes.without(&session.facts.unread);
    let mut sharers = Vec::new();
    for (nr, ino) in (0..).zip(inodes.inodes()) {
        if nr % 1024 == 0 {
            session.gate.progress(Pass::One, nr, inodes.len())?;
        }
        let bytes = match session.read_inode(ino) {
            Err(fault @ Error::Device(_)) => return Err(fault),
            Err(_) => continue,
            Ok(bytes) => bytes,
        };
        let Ok(inode) = Inode::decode_unverified(&bytes, ino, &session.format) else { continue };
        let is_special = !session.geo.is_ordinary_inode(ino);
        let mut is_sharer = false;
        for (cluster, what) in claims(&pieces(&session.image, &session.geo, &inode)?, bits) {
            let Some(it) = owners.get_mut(&cluster) else { continue };
            // Of the filesystem's own files the first one keeps it: bad blocks stay where they are.
            // The blocks of the resize inode are the filesystem's own.
            let is_keeper = is_special && (!it.is_kept || ino == InodeNr::RESIZE);
            if is_keeper {
                it.is_kept = true;
            } else if what == What::Attributes {
                it.attributes.push(ino);
            } else {
                it.add(ino);
                is_sharer = true;
            }
        }
        if is_sharer {
            sharers.push(ino);
        }
    }
    Ok((owners, sharers))
}

/// The clusters that an inode has, each once for a cluster of its contents, whatever holes are in it.
fn claims(pieces: &[Piece], bits: u32) -> impl Iterator<Item = (u64, What)> {
    let mut last = None;
    let blocks = pieces.iter().flat_map(|it| (0..it.len).map(move |nr| (it, nr)));
    blocks.filter_map(move |(piece, nr)| {
        let cluster = (piece.start.0 + nr) >> bits;
        let is_known = match piece.what {
            What::Contents { lblk, .. } => {
                let of_file = (lblk + nr) >> bits;
                last.replace((of_file, cluster)) == Some((of_file, cluster))
            }
            What::Node | What::Attributes => false,
        };
        (!is_known).then_some((cluster, piece.what))
    })
}

/// One inode whose block of attributes is the filesystem's, or a file's of its own: asks, and gives it a
/// copy, the one that others with the same block have got.
fn move_attributes(
    session: &mut Session<'_, '_>,
    ino: InodeNr,
    moved: &mut BTreeMap<BlockNr, BlockNr>,
) -> Result<()> {
    let mut bytes = session.read_inode(ino)?;
    let Ok(inode) = Inode::decode_unverified(&bytes, ino, &session.format) else { return Ok(()) };
    let Some(old) = inode.file_acl else { return Ok(()) };
    let place = Place::inode(ino).at_block(old);
    if !session.fix(&SHARED, place.clone(), "the block of attributes, with the filesystem", "")? {
        return Ok(());
    }
    let new = match moved.get(&old) {
        Some(new) => Ok(*new),
        None => copy_attributes(session, old),
    };
    match new {
        Ok(new) => {
            moved.insert(old, new);
            let mut raw = RawInode::read(&bytes);
            raw.set_file_acl(new.0);
            raw.write_to(&mut bytes);
            session.write_inode(ino, &bytes)
        }
        Err(why) => session.tolerate(place, Err(why)),
    }
}

/// Copies a block of attributes to a place of its own.
fn copy_attributes(session: &mut Session<'_, '_>, old: BlockNr) -> Result<BlockNr> {
    let new = session.take_cluster(old)?;
    let mut block = session.image.read(old)?;
    xattr::update_checksum(&mut block, new, session.sb.metadata_csum());
    session.image.write(new, &block)?;
    if let Some(known) = session.facts.xattr_blocks.remove(&old) {
        session.facts.xattr_blocks.insert(new, known);
    }
    Ok(new)
}

/// One inode: asks, and gives it copies of what others still have too.
fn share(
    session: &mut Session<'_, '_>,
    ino: InodeNr,
    owners: &BTreeMap<u64, Owners>,
    left: &mut BTreeMap<u64, usize>,
) -> Result<()> {
    let bytes = session.read_inode(ino)?;
    let Ok(inode) = Inode::decode_unverified(&bytes, ino, &session.format) else { return Ok(()) };
    let pieces = pieces(&session.image, &session.geo, &inode)?;
    let (mut n, mut others) = (0_u64, BTreeSet::new());
    for (cluster, what) in claims(&pieces, session.geo.cluster_ratio_bits) {
        if what != What::Attributes && left.get(&cluster).is_some_and(|n| *n > 1) {
            n += 1;
            let all = owners.get(&cluster).map_or(&[][..], |it| &it.inodes);
            others.extend(all.iter().filter(|it| **it != ino).map(|it| it.get()));
            while others.len() > TOLD {
                others.pop_last();
            }
        }
    }
    if n == 0 {
        return Ok(());
    }
    let others: Vec<String> = others.iter().map(u32::to_string).collect();
    let found = match (others.is_empty(), n) {
        (true, n) => format!("{n} clusters, with the filesystem or itself"),
        (false, n) => format!("{n} clusters, with inodes {}", others.join(" ")),
    };
    let all = session.clusters();
    let n_all = all.end - all.start;
    let free = n_all.saturating_sub(session.facts.used.count(all.start, n_all));
    // Copies, and blocks for the map.
    let has_room = free >= n + 8;
    let problem = if has_room { &SHARED } else { &SHARED_LEFT };
    if !session.fix(problem, Place::inode(ino), found, "")? {
        return Ok(());
    }
    let result = copy(session, ino, inode, &pieces, left, has_room);
    session.tolerate(Place::inode(ino), result)
}

/// Makes the inode's map anew, with copies in place of the clusters that others have too; with holes
/// where there is no room for them.
fn copy(
    session: &mut Session<'_, '_>,
    ino: InodeNr,
    inode: Inode,
    pieces: &[Piece],
    left: &mut BTreeMap<u64, usize>,
    has_room: bool,
) -> Result<()> {
    // Copies first: the map is not touched before all contents have a place.
    let Placed { extents, clusters, mut old_nodes } = place(session, pieces, left, has_room)?;
    if !has_room {
        // The blocks of the new map have to come from somewhere.
        for node in std::mem::take(&mut old_nodes) {
            session.give_cluster(node);
        }
    }
    let has_attributes = pieces.iter().any(|it| it.what == What::Attributes);
    let keeps_extents = inode.flags.contains(InodeFlags::EXTENTS);
    let is_directory = inode.file_type() == FileType::Directory;
    let mut file = File::of(session, ino, inode);
    file.begin_map_as(keeps_extents);
    file.inode.sectors = 0;
    file.count_clusters(clusters + u64::from(has_attributes));
    for extent in &extents {
        file.put_run(*extent)?;
    }
    file.close()?;
    for node in old_nodes {
        session.give_cluster(node);
    }
    if let Some(known) = session.facts.directories.get_mut(ino).filter(|_| is_directory) {
        known.runs = runs_of(&extents);
    }
    Ok(())
}

/// Where the contents of an inode shall be.
#[derive(Debug, Default)]
struct Placed {
    extents: Vec<Extent>,
    /// Clusters that these take.
    clusters: u64,
    /// Blocks of the old map that nobody else has.
    old_nodes: Vec<BlockNr>,
}

impl Placed {
    fn add(&mut self, lblk: u64, start: BlockNr, unwritten: bool) {
        let Ok(lblk) = u32::try_from(lblk).map(LogicalBlock) else { return };
        let new = Extent { lblk, len: 1, start, unwritten };
        match self.extents.last_mut() {
            Some(it) if it.can_merge(&new) => it.len += 1,
            _ => self.extents.push(new),
        }
    }
}

/// Finds a place for all contents, and copies there what is to be copied.
fn place(
    session: &mut Session<'_, '_>,
    pieces: &[Piece],
    left: &mut BTreeMap<u64, usize>,
    has_room: bool,
) -> Result<Placed> {
    let bits = session.geo.cluster_ratio_bits;
    let mask = (1_u64 << bits) - 1;
    let mut take = |cluster: u64| match left.get_mut(&cluster) {
        Some(n) if *n > 1 => {
            if *n != usize::MAX {
                *n -= 1;
            }
            true
        }
        _ => false,
    };
    let mut placed = Placed::default();
    // The cluster of the file that was placed last, and where it is now, if there is room for it.
    let mut last: Option<(u64, Option<BlockNr>)> = None;
    for piece in pieces {
        let What::Contents { lblk, unwritten } = piece.what else {
            if piece.what == What::Node && !take(session.cluster(piece.start)) {
                placed.old_nodes.push(piece.start);
            }
            continue;
        };
        for nr in 0..piece.len {
            let (lblk, blk) = (lblk + nr, piece.start.plus(nr));
            let (of_file, cluster) = (lblk >> bits, session.cluster(blk));
            let start = match last {
                Some((file, start)) if file == of_file => start,
                _ => {
                    let start = match (take(cluster), has_room) {
                        (true, true) => Some(session.take_cluster(blk)?),
                        (true, false) => None,
                        (false, _) => Some(BlockNr(cluster << bits)),
                    };
                    placed.clusters += u64::from(start.is_some());
                    last = Some((of_file, start));
                    start
                }
            };
            let Some(start) = start else { continue };
            let target = if bits == 0 { start } else { BlockNr(start.0 | lblk & mask) };
            if target != blk {
                let bytes = session.image.read(blk)?;
                session.image.write(target, &bytes)?;
            }
            placed.add(lblk, target, unwritten);
        }
    }
    Ok(placed)
}

/// The runs of a directory that has these extents.
fn runs_of(extents: &[Extent]) -> Runs {
    let mut runs = Runs::new();
    for it in extents {
        add_run(&mut runs, it.lblk.0.into(), it.blocks());
    }
    runs
}
