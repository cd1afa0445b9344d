//! `groups`: where the parts of each group are, and what is free in it.

use crate::{
    image::Image,
    layout::blocks,
    print::Document,
    show::exit,
    text::{count, names},
};
use ext4_cli::{Exit, Failure};
use ext4_ondisk::group_desc::{DescFormat, GroupDesc};
use ext4_units::GroupNr;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Shows all groups, or one.
pub(crate) fn show(image: &Image, only: Option<u32>) -> Result<Exit, Failure> {
    let n_groups = image.fs.geometry().groups_count;
    if let Some(group) = only.filter(|&group| group >= n_groups) {
        return Err(image.refuse(format_args!("group {group}: expected below {n_groups}")));
    }
    let mut doc = Document::begin(&image.report)?;
    let mut has_damage = false;
    doc.list("groups")?;
    for gi in image.fs.geometry().groups().filter(|gi| only.is_none_or(|only| only == gi.0)) {
        image.check_stop()?;
        let (value, text, is_damaged) = describe(image, gi);
        has_damage |= is_damaged;
        doc.item(&value, text)?;
    }
    doc.finish()?;
    Ok(exit(has_damage))
}

fn describe(image: &Image, gi: GroupNr) -> (Value, String, bool) {
    let (fs, meta, geo) = (&image.fs, image.meta(), image.fs.geometry());
    let mut damage = Vec::new();
    let desc = fs.group(meta, gi).map_err(|err| damage.push(err.to_string())).ok();
    let desc = desc.or_else(|| unverified(image, gi));
    if damage.is_empty() {
        damage.extend(fs.block_bitmap(meta, gi).err().map(|err| err.to_string()));
        damage.extend(fs.inode_bitmap(meta, gi).err().map(|err| err.to_string()));
    }
    let all = geo.group_blocks(gi);
    let base = geo.base_metadata(gi);
    let mut value = json!({
        "group": gi.0,
        "first_block": all.start.0,
        "last_block": all.end().0.saturating_sub(1),
        "has_super": geo.has_super(gi),
        "base_metadata": [base.start.0, base.len],
    });
    let mut text = String::new();
    let _ = writeln!(text, "group {gi}: blocks {}", blocks(all.start, all.len));
    if base.len > 0 {
        let what = if geo.has_super(gi) { "superblock and descriptors" } else { "descriptors" };
        let _ = writeln!(text, "  {what} {}", blocks(base.start, base.len));
    }
    if let Some(desc) = desc {
        put_desc(&mut value, &desc, bg_checksum(image, gi));
        let flags = names(desc.flags.iter_names().map(|(name, _)| name)).join(" ");
        let table = blocks(desc.inode_table, u64::from(geo.itable_blocks()));
        let _ = writeln!(
            text,
            "  block bitmap {}, inode bitmap {}, inode table {table}\n  {}, {}, {}, {}\n  flags {}",
            desc.block_bitmap,
            desc.inode_bitmap,
            count(desc.free_clusters, "free cluster"),
            count(desc.free_inodes, "free inode"),
            count(desc.used_dirs, "folder"),
            count(desc.itable_unused, "unused inode"),
            if flags.is_empty() { "none" } else { &flags },
        );
    }
    for it in &damage {
        let _ = writeln!(text, "  damage: {it}");
    }
    let is_damaged = !damage.is_empty();
    value["damage"] = damage.into();
    (value, text, is_damaged)
}

fn put_desc(value: &mut Value, desc: &GroupDesc, checksum: Option<u16>) {
    let members = [
        ("bg_block_bitmap", desc.block_bitmap.0.into()),
        ("bg_inode_bitmap", desc.inode_bitmap.0.into()),
        ("bg_inode_table", desc.inode_table.0.into()),
        ("bg_free_blocks_count", desc.free_clusters.into()),
        ("bg_free_inodes_count", desc.free_inodes.into()),
        ("bg_used_dirs_count", desc.used_dirs.into()),
        ("bg_itable_unused", desc.itable_unused.into()),
        ("bg_flags", desc.flags.bits().into()),
        ("flags", names(desc.flags.iter_names().map(|(name, _)| name)).into()),
        ("bg_block_bitmap_csum", desc.block_bitmap_csum.into()),
        ("bg_inode_bitmap_csum", desc.inode_bitmap_csum.into()),
        ("bg_checksum", checksum.into()),
    ];
    for (name, member) in members {
        value[name] = member;
    }
}

/// The descriptor's bytes as they are.
fn bytes(image: &Image, gi: GroupNr) -> Option<Vec<u8>> {
    let (blk, offset) = image.fs.geometry().desc_place(gi);
    let block = image.meta().read(blk).ok()?;
    let size = usize::from(image.fs.geometry().desc_size);
    Some(block.get(offset..)?.get(..size)?.to_vec())
}

fn unverified(image: &Image, gi: GroupNr) -> Option<GroupDesc> {
    let format = DescFormat::new(image.fs.superblock());
    GroupDesc::decode_unverified(&bytes(image, gi)?, gi, &format).ok()
}

fn bg_checksum(image: &Image, gi: GroupNr) -> Option<u16> {
    let bytes = bytes(image, gi)?;
    Some(u16::from_le_bytes([*bytes.get(0x1E)?, *bytes.get(0x1F)?]))
}
