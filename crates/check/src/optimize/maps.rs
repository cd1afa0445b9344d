//! Maps of files: trees of extents in as few blocks as there can be, and maps of blocks that become
//! such trees (`e2fsck_should_rebuild_extents`).

use super::{Optimize, Optimized};
use crate::{
    Pass, Result,
    pass1::{OldMap, convert, tree_blocks},
    pieces::{Piece, What, has_map, pieces},
    session::Session,
};
use ext4_ondisk::{
    extent::Extent,
    inode::{FileType, Inode, InodeFlags},
};
use ext4_units::LogicalBlock;

/// Looks at every inode that is not one of the filesystem's own.
pub(super) fn run(
    session: &mut Session<'_, '_>,
    wanted: Optimize,
    done: &mut Optimized,
) -> Result<()> {
    let inodes = session.facts.inodes.clone();
    for (nr, ino) in (0..).zip(inodes.inodes()) {
        if nr % 1024 == 0 {
            session.gate.progress(Pass::One, nr, inodes.len())?;
        }
        if !session.geo.is_ordinary_inode(ino) {
            continue;
        }
        let bytes = session.read_inode(ino)?;
        let Ok(inode) = Inode::decode_unverified(&bytes, ino, &session.format) else { continue };
        let is_tree = inode.flags.contains(InodeFlags::EXTENTS);
        let is_wanted = if is_tree { wanted.extents } else { wanted.block_maps };
        let has_map = has_map(&inode) && inode.file_type() != FileType::Unknown;
        if !is_wanted || !has_map {
            continue;
        }
        let pieces = pieces(&session.image, &session.geo, &inode)?;
        let Some(map) = map_of(&pieces) else { continue };
        let needed = tree_blocks(map.extents.len(), session.geo.block_size);
        if is_tree && needed >= map.nodes.len() {
            continue;
        }
        convert(session, vec![(ino, map)])?;
        *(if is_tree { &mut done.extents } else { &mut done.block_maps }) += 1;
    }
    Ok(())
}

/// What an inode with these pieces maps, in as few extents as can be; `None` where an extent cannot say
/// it.
fn map_of(pieces: &[Piece]) -> Option<OldMap> {
    let mut map = OldMap::default();
    for piece in pieces {
        match piece.what {
            What::Attributes => {}
            What::Node => map.nodes.push(piece.start),
            What::Contents { lblk, unwritten } => {
                let lblk = LogicalBlock(u32::try_from(lblk).ok()?);
                let len = piece.len.try_into().ok()?;
                map.add_run(Extent { lblk, len, start: piece.start, unwritten });
            }
        }
    }
    Some(map)
}
