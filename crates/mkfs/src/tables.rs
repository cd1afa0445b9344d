//! Where each group's bitmaps and inode table lie: at home, gathered in flex groups, or all at the
//! start of the device.

use crate::{
    error::{Error, Result},
    runs::Runs,
};
use ext4_ondisk::geometry::Geometry;
use ext4_units::{BlockNr, BlockRange, GroupNr};

/// The three structures that every group has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupTables {
    /// The block bitmap's block.
    pub block_bitmap: BlockNr,
    /// The inode bitmap's block.
    pub inode_bitmap: BlockNr,
    /// The inode table's first block.
    pub inode_table: BlockNr,
}

/// How the tables are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Each group's in the group; bitmaps moved by `stride` blocks a group so that they fall on
    /// different disks.
    AtHome { stride: u16 },
    /// A flex group's together.
    Flex,
    /// All together.
    Packed,
}

/// Places the tables of all groups, and takes their blocks.
pub(crate) fn place(geo: &Geometry, layout: Layout, used: &mut Runs) -> Result<Vec<GroupTables>> {
    match layout {
        Layout::AtHome { stride } => {
            geo.groups().map(|group| at_home(geo, group, stride, used)).collect()
        }
        Layout::Flex => flex(geo, used),
        Layout::Packed => packed(geo, used),
    }
}

fn at_home(geo: &Geometry, group: GroupNr, stride: u16, used: &mut Runs) -> Result<GroupTables> {
    let home = geo.group_blocks(group);
    let (start, end) = (home.start.0, home.end().0);
    let itable = u64::from(geo.itable_blocks());
    let mut from = start;
    if stride != 0 {
        let first = used.first_free(start, end, 1, 1).unwrap_or(home.start).0 + itable;
        let room = end.saturating_sub(first).max(1);
        from = first + u64::from(stride) * u64::from(group.0) % room;
        if from + 1 >= end {
            from = start;
        }
    }
    let mut one = |what: &str, from: u64, len: u64| {
        let found = used
            .first_free(from, end, len, 1)
            .or_else(|| used.first_free(start, end, len, 1))
            .ok_or_else(|| no_room(what, group, len))?;
        used.insert(BlockRange::new(found, len));
        Ok::<_, Error>(found)
    };
    Ok(GroupTables {
        block_bitmap: one("block bitmap", from, 1)?,
        inode_bitmap: one("inode bitmap", from, 1)?,
        inode_table: one("inode table", start, itable)?,
    })
}

fn no_room(what: &str, group: GroupNr, blocks: u64) -> Error {
    Error::NoRoom { what: format!("the {what} of group {group}"), blocks }
}

/// One kind of table for the groups of a flex group, one behind the other where it can be.
struct Row<'a> {
    what: &'static str,
    /// Blocks of one.
    len: u64,
    /// All blocks of the flex group.
    within: BlockRange,
    geo: &'a Geometry,
}

impl Row<'_> {
    /// The place for the table of `group`, with `n_left` of them still to be placed: at `wished`,
    /// else where all that are left fit, else where this one fits.
    fn next(&self, used: &mut Runs, group: GroupNr, wished: u64, n_left: u64) -> Result<BlockNr> {
        let (from, to) = (self.within.start.0, self.within.end().0);
        // A whole row that is longer than this would push everything else out of its group.
        let all = (self.len * n_left).min(u64::from(self.geo.blocks_per_group) / 4).max(self.len);
        let wish = BlockRange::new(BlockNr(wished), self.len);
        let fits = wished >= from && wish.end().0 <= to && used.is_free(wish);
        let found = fits
            .then_some(wish.start)
            .or_else(|| used.first_free(from, to, all, 1))
            .or_else(|| used.first_free(from, to, self.len, 1))
            .or_else(|| {
                used.first_free(self.geo.first_data_block.0, self.geo.blocks_count, self.len, 1)
            })
            .ok_or_else(|| no_room(self.what, group, self.len))?;
        used.insert(BlockRange::new(found, self.len));
        Ok(found)
    }
}

fn flex(geo: &Geometry, used: &mut Runs) -> Result<Vec<GroupTables>> {
    let size = 1u32.checked_shl(u32::from(geo.log_groups_per_flex)).unwrap_or(u32::MAX);
    let mut tables: Vec<GroupTables> = Vec::with_capacity(geo.groups_count as usize);
    let mut first = GroupNr(0);
    while first.0 < geo.groups_count {
        let last = GroupNr(first.0.saturating_add(size - 1).min(geo.groups_count - 1));
        let start = geo.group_blocks(first).start;
        let end = geo.group_blocks(last).end();
        let flex = Flex {
            geo,
            first,
            last,
            within: BlockRange::new(start, end.0 - start.0),
            // Room for the bitmaps of all groups; a lone group leaves room for those to come.
            spread: u64::from(if last == first { size } else { last.0 - first.0 + 1 }),
        };
        if !flex.at_once(used, &mut tables) {
            flex.one_by_one(used, &mut tables)?;
        }
        first = GroupNr(last.0.saturating_add(1));
    }
    Ok(tables)
}

/// One flex group.
struct Flex<'a> {
    geo: &'a Geometry,
    first: GroupNr,
    last: GroupNr,
    within: BlockRange,
    /// Blocks from the first block bitmap to the first inode bitmap, and from there to the first
    /// inode table.
    spread: u64,
}

impl Flex<'_> {
    /// All three rows behind each other, if they fit so: what `one_by_one` comes to in most groups,
    /// without asking for each table.
    fn at_once(&self, used: &mut Runs, tables: &mut Vec<GroupTables>) -> bool {
        let n = u64::from(self.last.0 - self.first.0) + 1;
        let itable = u64::from(self.geo.itable_blocks());
        let (from, to) = (self.within.start.0, self.within.end().0);
        if n > u64::from(self.geo.blocks_per_group) / 4 {
            return false;
        }
        let Some(bitmaps) = used.first_free(from, to, n, 1) else { return false };
        let inode_bitmaps = bitmaps.plus(self.spread);
        let inode_tables = inode_bitmaps.plus(self.spread);
        let rows = [
            BlockRange::new(bitmaps, n),
            BlockRange::new(inode_bitmaps, n),
            BlockRange::new(inode_tables, n * itable),
        ];
        if rows.iter().any(|it| it.end().0 > to || !used.is_free(*it)) {
            return false;
        }
        for row in rows {
            used.insert(row);
        }
        tables.extend((0..n).map(|i| GroupTables {
            block_bitmap: bitmaps.plus(i),
            inode_bitmap: inode_bitmaps.plus(i),
            inode_table: inode_tables.plus(i * itable),
        }));
        true
    }

    fn one_by_one(&self, used: &mut Runs, tables: &mut Vec<GroupTables>) -> Result<()> {
        let itable = u64::from(self.geo.itable_blocks());
        let row = |what, len| Row { what, len, within: self.within, geo: self.geo };
        let mut before: Option<GroupTables> = None;
        for group in (self.first.0..=self.last.0).map(GroupNr) {
            let n_left = u64::from(self.last.0 - group.0) + 1;
            let wished = before.map_or(0, |it| it.block_bitmap.0 + 1);
            let block_bitmap = row("block bitmap", 1).next(used, group, wished, n_left)?;
            let wished = before.map_or(block_bitmap.0 + self.spread, |it| it.inode_bitmap.0 + 1);
            let inode_bitmap = row("inode bitmap", 1).next(used, group, wished, n_left)?;
            let wished =
                before.map_or(inode_bitmap.0 + self.spread, |it| it.inode_table.0 + itable);
            let inode_table = row("inode table", itable).next(used, group, wished, n_left)?;
            let placed = GroupTables { block_bitmap, inode_bitmap, inode_table };
            tables.push(placed);
            before = Some(placed);
        }
        Ok(())
    }
}

fn packed(geo: &Geometry, used: &mut Runs) -> Result<Vec<GroupTables>> {
    let mut at = geo.first_data_block.0;
    let mut row = |what: &'static str, len: u64| {
        let mut found = Vec::with_capacity(geo.groups_count as usize);
        for group in geo.groups() {
            let blk = used
                .first_free(at, geo.blocks_count, len, 1)
                .ok_or_else(|| no_room(what, group, len))?;
            used.insert(BlockRange::new(blk, len));
            at = blk.0 + len;
            found.push(blk);
        }
        Ok::<_, Error>(found)
    };
    let block_bitmaps = row("block bitmap", 1)?;
    let inode_bitmaps = row("inode bitmap", 1)?;
    let inode_tables = row("inode table", u64::from(geo.itable_blocks()))?;
    let tables = block_bitmaps.into_iter().zip(inode_bitmaps).zip(inode_tables);
    Ok(tables
        .map(|((block_bitmap, inode_bitmap), inode_table)| GroupTables {
            block_bitmap,
            inode_bitmap,
            inode_table,
        })
        .collect())
}
