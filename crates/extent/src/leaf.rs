//! Neighbours among the extents of one leaf.

use ext4_ondisk::extent::Extent;

/// Which of the extents `new`, which goes into a hole, makes longer, and how, if the merge rule allows;
/// `pos` is the last one that starts at or before it, else the first.
///
/// The neighbour to try is chosen as the kernel does, so that the same trees come out: the one on the
/// right only when there is a gap on the left (`ext4_ext_insert_extent`).
pub(crate) fn grown(extents: &[Extent], pos: usize, new: &Extent) -> Option<(usize, Extent)> {
    let near = extents.get(pos)?;
    let right_only = pos + 1 < extents.len() && near.end() < new.lblk.0;
    let pos = if right_only { pos + 1 } else { pos };
    let near = extents[pos];
    if !right_only && near.can_merge(new) {
        Some((pos, Extent { len: near.len + new.len, ..near }))
    } else if new.can_merge(&near) {
        Some((pos, Extent { len: new.len + near.len, ..*new }))
    } else {
        None
    }
}

/// Joins the extent at `pos` with its neighbours (`ext4_ext_try_to_merge`).
pub(crate) fn join(extents: &mut Vec<Extent>, pos: usize) {
    let joined_left = pos > 0 && join_right(extents, pos - 1);
    if !joined_left {
        join_right(extents, pos);
    }
}

/// Joins the extent at `pos` with as many as possible to its right
/// (`ext4_ext_try_to_merge_right`).
fn join_right(extents: &mut Vec<Extent>, pos: usize) -> bool {
    let mut joined = false;
    while let [this, next, ..] = &extents[pos..]
        && this.can_merge(next)
    {
        extents[pos].len += next.len;
        extents.remove(pos + 1);
        joined = true;
    }
    joined
}
