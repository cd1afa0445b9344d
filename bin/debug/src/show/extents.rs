//! `extents`: the map of one inode as a tree, each node before what lies below it.

use crate::{
    cli::Spec,
    image::Image,
    layout::blocks,
    map::{self, Kind, Piece},
    print::{Document, Fields},
    show::exit,
    text::count,
};
use ext4_cli::{Exit, Failure};
use ext4_ondisk::features::Compat;
use ext4_units::LogicalBlock;
use serde_json::{Value, json};

/// `EXT4_RESIZE_INO`.
const RESIZE_INODE: u32 = 7;

/// Shows it.
pub(crate) fn show(image: &Image, spec: &Spec) -> Result<Exit, Failure> {
    let ino = image.number(spec)?;
    let seen = image.look(ino).map_err(|err| image.fail(&err))?;
    let (inode, mut damage) = (seen.inode, seen.damage);
    let kind = Kind::of(image, &inode);
    let mut doc = Document::begin(&image.report)?;
    let mut head = Fields::new();
    head.put_json("ino", ino.get()).put_json("i_size", inode.i_size);
    head.put_json("i_blocks", inode.sectors).put_json("format", kind.name());
    doc.fields(&head)?;
    doc.text(format_args!(
        "inode <{ino}>: {}, i_size {}, i_blocks {}",
        kind.name(),
        inode.i_size,
        inode.sectors
    ))?;
    doc.list("pieces")?;
    if matches!(kind, Kind::Extents | Kind::Indirect) {
        let mut printed = Ok(());
        map::walk(image, &inode, &mut |piece| {
            let (value, text) = describe(kind, &piece);
            if let Piece::Damage(it) = piece {
                damage.push(it.to_string());
            }
            printed = image.check_stop().and_then(|()| doc.item(&value, text));
            printed.is_ok()
        });
        printed?;
        // What the library makes of the same map: it may find more than meets the eye. The resize
        // inode maps the reserve for descriptors, which no file may.
        let all = (LogicalBlock(0), LogicalBlock(u32::MAX));
        let has_reserve = image.fs.superblock().features.has_compat(Compat::RESIZE_INODE);
        let is_reserve = has_reserve && ino.get() == RESIZE_INODE;
        if !is_reserve
            && let Err(err) = image.fs.mappings(image.meta(), &inode, all.0, all.1, |_| Ok(()))
            && damage.is_empty()
        {
            damage.push(err.to_string());
        }
    }
    let mut tail = Fields::new();
    tail.put_damage(&damage);
    doc.fields(&tail)?;
    doc.finish()?;
    Ok(exit(!damage.is_empty()))
}

fn describe(kind: Kind, piece: &Piece) -> (Value, String) {
    match piece {
        Piece::Node(node) => {
            let name = if kind == Kind::Extents { "node" } else { "indirect" };
            let value = json!({
                "kind": name,
                "depth": node.depth,
                "block": node.blk.map(|blk| blk.0),
                "eh_depth": node.height,
                "eh_entries": node.entries,
                "eh_max": node.max,
                "lblk": node.lblk,
            });
            let place = match node.blk {
                Some(blk) => format!("{name} at block {blk}"),
                None => "root in the inode".to_owned(),
            };
            let text = format!(
                "{}{place}: from logical block {}, {} of {} entries, {} below",
                indent(node.depth),
                node.lblk,
                node.entries,
                node.max,
                count(node.height, "level"),
            );
            (value, text)
        }
        Piece::Run(run) => {
            let name = if kind == Kind::Extents { "extent" } else { "run" };
            let value = json!({
                "kind": name,
                "depth": run.depth,
                "lblk": run.lblk,
                "len": run.blocks.len,
                "start": run.blocks.start.0,
                "unwritten": run.is_unwritten,
            });
            let last = u64::from(run.lblk) + run.blocks.len.saturating_sub(1);
            let state = if run.is_unwritten { ", unwritten" } else { "" };
            let place = blocks(run.blocks.start, run.blocks.len);
            let text = format!("{}{}..{last} at block {place}{state}", indent(run.depth), run.lblk);
            (value, text)
        }
        Piece::Damage(it) => (json!({ "kind": "damage", "fault": it.to_string() }), String::new()),
    }
}

fn indent(depth: u16) -> String {
    "  ".repeat(usize::from(depth))
}
