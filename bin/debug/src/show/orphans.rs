//! `orphans`: the inodes that recovery still has to deal with, on the superblock's list and in the
//! orphan file, and what would become of each.

use crate::{
    image::Image,
    print::{Document, Fields},
    show::exit,
    text::count,
};
use ext4_cli::{Exit, Failure};
use ext4_fs::MapState;
use ext4_ondisk::{
    features::{Compat, RoCompat},
    orphan_file,
};
use ext4_units::{BlockNr, InodeNr, LogicalBlock};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Shows them.
pub(crate) fn show(image: &Image) -> Result<Exit, Failure> {
    let sb = image.fs.superblock();
    let raw = image.fs.raw_superblock(image.meta()).map_err(|err| image.fail(&err))?;
    let head = raw.s_last_orphan.get();
    let has_file = sb.features.has_compat(Compat::ORPHAN_FILE);
    let is_present = sb.features.has_ro_compat(RoCompat::ORPHAN_PRESENT);
    let mut damage = Vec::new();
    let mut doc = Document::begin(&image.report)?;
    let mut fields = Fields::new();
    fields.put("s_last_orphan", head).put("has_orphan_file", has_file);
    if has_file {
        fields.put("s_orphan_file_inum", raw.s_orphan_file_inum.get());
    } else {
        fields.put_json("s_orphan_file_inum", 0);
    }
    fields.put("orphan_present", is_present);
    doc.fields(&fields)?;

    doc.list("list")?;
    let mut n_list = 0u32;
    let mut seen = BTreeSet::new();
    let mut next = head;
    while let Some(ino) = InodeNr::new(next) {
        image.check_stop()?;
        // A list that comes back to where it was has no end.
        if !seen.insert(ino) {
            damage.push(format!("orphan list: inode {ino} a second time"));
            break;
        }
        let (value, text, after) = describe(image, ino, &mut damage);
        doc.item(&value, format_args!("list  {text}"))?;
        n_list += 1;
        next = after;
    }

    doc.list("file")?;
    let mut n_file = 0u32;
    if has_file {
        let blocks = file_blocks(image).map_err(|err| damage.push(err)).unwrap_or_default();
        for (blk, seed) in blocks {
            let block = match image.meta().read(blk) {
                Ok(block) => block,
                Err(err) => {
                    damage.push(err.to_string());
                    continue;
                }
            };
            if let Err(err) = orphan_file::verify(&block, blk, seed) {
                damage.push(err.to_string());
            }
            for (slot, ino) in orphan_file::entries(&block) {
                let (mut value, text, _) = describe(image, ino, &mut damage);
                value["block"] = blk.0.into();
                value["slot"] = slot.into();
                doc.item(&value, format_args!("file  block {blk} slot {slot}: {text}"))?;
                n_file += 1;
            }
        }
    }
    let (n_list, n_file) = (count(n_list, "orphan"), count(n_file, "orphan"));
    doc.text(format_args!("{n_list} on the list, {n_file} in the file"))?;
    let mut tail = Fields::new();
    tail.put_damage(&damage);
    doc.fields(&tail)?;
    doc.finish()?;
    Ok(exit(!damage.is_empty()))
}

/// What is recorded of `ino`, what would become of it, and the next on the list.
fn describe(image: &Image, ino: InodeNr, damage: &mut Vec<String>) -> (Value, String, u32) {
    let seen = match image.look(ino) {
        Ok(seen) => seen,
        Err(err) => {
            damage.push(err.to_string());
            let value = json!({ "ino": ino.get(), "error": err.to_string() });
            return (value, format!("inode <{ino}>: {err}"), 0);
        }
    };
    damage.extend(seen.damage);
    let inode = seen.inode;
    let fate = if inode.links_count == 0 { "delete" } else { "truncate" };
    let value = json!({
        "ino": ino.get(),
        "i_links_count": inode.links_count,
        "i_size": inode.i_size,
        "i_blocks": inode.sectors,
        "i_dtime": inode.dtime,
        "fate": fate,
    });
    let to = if fate == "truncate" { " to its size" } else { "" };
    let text = format!(
        "inode <{ino}>: {fate}{to}; i_links_count {}, i_size {}, i_blocks {}",
        inode.links_count, inode.i_size, inode.sectors
    );
    (value, text, inode.dtime)
}

type FileBlock = (BlockNr, Option<ext4_ondisk::checksum::Csum>);

/// The blocks of the orphan file that are mapped, with the seed of their checksums.
fn file_blocks(image: &Image) -> Result<Vec<FileBlock>, String> {
    let ino = image.fs.superblock().orphan_file_inum;
    let ino = ino.ok_or("superblock: s_orphan_file_inum 0, expected an inode")?;
    let file = image.fs.live_inode(image.meta(), ino).map_err(|err| err.to_string())?;
    let n_blocks = image.fs.geometry().block_size.blocks_for(file.i_size);
    if n_blocks > orphan_file::MAX_BLOCKS {
        let max = orphan_file::MAX_BLOCKS;
        return Err(format!(
            "orphan file (inode {ino}): {n_blocks} blocks, expected at most {max}"
        ));
    }
    let to = LogicalBlock(u32::try_from(n_blocks).unwrap_or(u32::MAX));
    let seed = file.seed(&image.fs);
    let mut blocks = Vec::new();
    let walked = image.fs.mappings(image.meta(), &file, LogicalBlock(0), to, |mapping| {
        if let MapState::Written(start) = mapping.state {
            blocks.extend((0..u64::from(mapping.len)).map(|n| (start.plus(n), seed)));
        }
        Ok(())
    });
    walked.map_err(|err| err.to_string()).map(|()| blocks)
}
