//! The resize inode: the blocks behind the descriptors that are kept for more of them, each with a
//! list of its copies. All of it follows from the superblock.

use crate::{
    Place, Problem, Result,
    problem::pass0::{RESIZE_INODE, RESIZE_INODE_IN_USE, RESIZE_INODE_LATE},
    session::Session,
};
use ext4_ondisk::{
    features::Compat,
    indirect,
    inode::{FileType, Inode, InodeFlags, RawInode},
};
use ext4_units::{BlockNr, InodeNr};
use std::collections::HashSet;

/// The pointer to the double-indirect block in `i_block`.
const DOUBLE: usize = 13;

/// Checks the inode against what it must be (`ext2fs_create_resize_inode`).
pub(super) fn check(session: &mut Session<'_, '_>) -> Result<()> {
    let ino = InodeNr::RESIZE;
    if !session.has_place(ino) {
        return Ok(());
    }
    let bytes = session.read_inode(ino)?;
    let empty = vec![0; bytes.len()];
    if !session.sb.features.has_compat(Compat::RESIZE_INODE) {
        let is_used = RawInode::read(&bytes).i_block.iter().any(|&byte| byte != 0);
        if is_used && session.fix(&RESIZE_INODE_IN_USE, Place::inode(ino), "", "")? {
            session.write_inode(ino, &empty)?;
        }
        return Ok(());
    }
    if session.gate.todo.resize_inode {
        return Ok(());
    }
    let fault = match Inode::decode_unverified(&bytes, ino, &session.format) {
        Ok(inode) => fault(session, &inode)?,
        Err(fault) => Some(fault.to_string()),
    };
    if let Some(fault) = fault
        && session.fix(&RESIZE_INODE, Place::inode(ino), fault, "")?
    {
        session.write_inode(ino, &empty)?;
        session.gate.todo.resize_inode = true;
    }
    Ok(())
}

/// What is wrong with it.
fn fault(session: &Session<'_, '_>, inode: &Inode) -> Result<Option<String>> {
    if inode.links_count == 0 || inode.file_type() != FileType::Regular {
        return Ok(Some(format!("i_mode {:#o}, {} links", inode.mode, inode.links_count)));
    }
    if inode.flags.contains(InodeFlags::EXTENTS) {
        return Ok(Some("a tree of extents".into()));
    }
    let root = BlockNr(pointer(&inode.i_block, DOUBLE).into());
    let others = (0..15).filter(|&it| it != DOUBLE).any(|it| pointer(&inode.i_block, it) != 0);
    if others || !session.geo.contains(root) || root.0 >= session.image.n_blocks() {
        return Ok(Some(format!("double-indirect block {root}")));
    }
    let layout = layout(session);
    let list = session.image.read(root)?;
    // What follows a pointer that should not be there would be taken for a part of the map.
    let known: HashSet<usize> = layout.iter().map(|it| it.0).collect();
    let stray =
        (0..list.len() / 4).find(|slot| !known.contains(slot) && pointer(&list, *slot) != 0);
    if let Some(slot) = stray {
        let found = pointer(&list, slot);
        return Ok(Some(format!("slot {slot} has block {found}, expected 0")));
    }
    for (slot, blk, _) in layout {
        let found = pointer(&list, slot);
        if u64::from(found) != blk.0 {
            return Ok(Some(format!("slot {slot} has block {found}, expected {blk}")));
        }
    }
    Ok(None)
}

/// What is wrong with the lists of copies: damage in the first quarter of them, which is all that
/// `check_resize_inode` looks at, a remark in the others. Blocks that cannot be, and those of others, are
/// found by pass 1 as in any map.
fn copies_fault(session: &Session<'_, '_>) -> Result<Option<(&'static Problem, String)>> {
    let quarter = usize::from(session.sb.reserved_gdt_blocks) / 4;
    for (nr, (_, blk, copies)) in layout(session).into_iter().enumerate() {
        if blk.0 >= session.image.n_blocks() {
            continue;
        }
        let node = session.image.read(blk)?;
        for (slot, copy) in copies.iter().enumerate() {
            let found = pointer(&node, slot);
            if u64::from(found) != copy.0 {
                let problem = if nr < quarter { &RESIZE_INODE } else { &RESIZE_INODE_LATE };
                let text = format!("block {blk}, slot {slot} has block {found}, expected {copy}");
                return Ok(Some((problem, text)));
            }
        }
    }
    Ok(None)
}

/// Each reserved block: its slot in the list, and where its copies are.
fn layout(session: &Session<'_, '_>) -> Vec<(usize, BlockNr, Vec<BlockNr>)> {
    let geo = &session.geo;
    let per_block = u64::from(indirect::per_block(geo.block_size));
    let descs = u64::from(geo.desc_blocks());
    let first = geo.superblock_place().0.plus(1 + descs);
    let holders: Vec<_> = geo.groups().skip(1).filter(|&it| geo.has_super(it)).collect();
    (0..u64::from(session.sb.reserved_gdt_blocks))
        .map(|nr| {
            let blk = first.plus(nr);
            let slot = usize::try_from((descs + nr) % per_block).unwrap_or(0);
            let per_group = u64::from(geo.blocks_per_group);
            let copies = holders.iter().map(|it| blk.plus(u64::from(it.0) * per_group)).collect();
            (slot, blk, copies)
        })
        .collect()
}

fn pointer(bytes: &[u8], slot: usize) -> u32 {
    let word = bytes.get(slot * 4..slot * 4 + 4);
    word.map_or(0, |it| u32::from_le_bytes([it[0], it[1], it[2], it[3]]))
}

fn put_pointer(bytes: &mut [u8], slot: usize, blk: BlockNr) {
    if let (Some(place), Ok(nr)) = (bytes.get_mut(slot * 4..slot * 4 + 4), u32::try_from(blk.0)) {
        place.copy_from_slice(&nr.to_le_bytes());
    }
}

/// Makes it anew, after pass 1.
pub(super) fn settle(session: &mut Session<'_, '_>) -> Result<()> {
    let ino = InodeNr::RESIZE;
    if !session.sb.features.has_compat(Compat::RESIZE_INODE) || !session.has_place(ino) {
        return Ok(());
    }
    let root = if session.gate.todo.resize_inode {
        session.take_cluster(BlockNr(0))?
    } else {
        let Some((problem, fault)) = copies_fault(session)? else { return Ok(()) };
        let i_block =
            Inode::decode_unverified(&session.read_inode(ino)?, ino, &session.format)?.i_block;
        let root = BlockNr(pointer(&i_block, DOUBLE).into());
        if !session.geo.contains(root) || !session.fix(problem, Place::inode(ino), fault, "")? {
            return Ok(());
        }
        root
    };
    let size = session.geo.block_size;
    let mut list = vec![0; size.len()];
    let mut blocks = 1;
    for (slot, blk, copies) in layout(session) {
        put_pointer(&mut list, slot, blk);
        let mut node = vec![0; size.len()];
        blocks += 1 + copies.len() as u64;
        for (slot, copy) in copies.into_iter().enumerate() {
            put_pointer(&mut node, slot, copy);
        }
        session.image.write(blk, &node)?;
    }
    session.image.write(root, &list)?;
    let mut inode = Inode::new(0o100_600, session.sb.want_extra_isize, &session.format);
    let per_block = u64::from(indirect::per_block(size));
    inode.links_count = 1;
    inode.size = (per_block * per_block + per_block + 12) * u64::from(size.bytes());
    let cluster = u64::from(session.geo.cluster_ratio());
    inode.sectors = blocks * cluster * u64::from(size.bytes() / 512);
    put_pointer(&mut inode.i_block, DOUBLE, root);
    session.put_special(ino, &mut inode)?;
    session.gate.todo.resize_inode = false;
    Ok(())
}
