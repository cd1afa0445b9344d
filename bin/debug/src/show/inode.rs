//! `inode`: everything about one inode, in use or not.

use crate::{
    cli::Spec,
    image::{Image, Seen},
    map::{self, Kind, Piece},
    print::{Fields, print_fields},
    show::{exit, xattrs},
    text::{self, Time, hex, pair, put_name},
};
use ext4_cli::{Exit, Failure};
use ext4_fs::Inode;
use ext4_ondisk::name::Name;
use ext4_ondisk::{
    bitmap,
    inode::{FileType, InodeFormat, RawInode, decode_device},
    time::Timestamp,
    xattr,
};
use serde_json::{Map, Value, json};

/// Shows it.
pub(crate) fn show(image: &Image, spec: &Spec) -> Result<Exit, Failure> {
    let ino = image.number(spec)?;
    let mut seen = image.look(ino).map_err(|err| image.fail(&err))?;
    let mut damage = std::mem::take(&mut seen.damage);
    let mut out = Fields::new();
    put_place(&mut out, image, &seen, &mut damage);
    put_fields(&mut out, &seen);
    put_checksum(&mut out, image, &seen);
    put_map(&mut out, image, &seen.inode, &mut damage);
    put_special(&mut out, image, &seen.inode, &mut damage);
    put_xattrs(&mut out, image, &seen.inode, &mut damage);
    out.put_damage(&damage);
    print_fields(&image.report, &out)?;
    Ok(exit(!damage.is_empty()))
}

fn put_place(out: &mut Fields, image: &Image, seen: &Seen, damage: &mut Vec<String>) {
    let ino = seen.inode.ino;
    out.put_as("ino", ino.get(), format_args!("<{ino}>"));
    out.put_json("block", seen.blk.0).put_json("offset", seen.offset);
    out.put_text("place", format_args!("byte {} of block {}", seen.offset, seen.blk));
    let Some(place) = image.fs.geometry().inode_place(ino) else { return };
    out.put("group", place.group.0);
    let in_use = match image.fs.inode_bitmap(image.meta(), place.group) {
        Ok(bits) => Some(bitmap::is_set(&bits, place.index)),
        Err(err) => {
            damage.push(err.to_string());
            None
        }
    };
    let text = match in_use {
        Some(true) => "in use",
        Some(false) => "free",
        None => "unknown",
    };
    out.put_as("in_use", in_use, text);
}

fn put_fields(out: &mut Fields, seen: &Seen) {
    let (inode, raw) = (&seen.inode, RawInode::read(&seen.bytes));
    let mode = text::mode(inode.mode);
    out.put_as("i_mode", inode.mode, format_args!("0{:o} ({mode})", inode.mode));
    out.put("type", text::file_type(inode.file_type()));
    out.put("i_uid", inode.uid).put("i_gid", inode.gid);
    out.put("i_size", inode.i_size);
    out.put("i_links_count", inode.links_count);
    out.put_as("i_blocks", inode.sectors, format_args!("{} (of 512 bytes)", inode.sectors));
    let flags = text::names(inode.flags.iter_names().map(|(name, _)| name));
    let bits = inode.flags.bits();
    out.put_as("i_flags", bits, format_args!("{bits:#x} {}", flags.join(" ")));
    out.put_json("flags", flags);
    out.put("i_generation", inode.generation).put("i_version", inode.version);
    out.put("i_file_acl", inode.file_acl.map_or(0, |it| it.0));
    let dtime = inode.dtime;
    if inode.links_count == 0 && inode.mode != 0 && dtime != 0 {
        // Of an orphan it is the next one's number, of a deleted inode a time: which cannot be told
        // from the inode alone.
        let time = Time::of_sec(i64::from(dtime));
        out.put_as("i_dtime", dtime, format_args!("{dtime} (next orphan, or {time})"));
    } else {
        out.put("i_dtime", dtime);
    }
    put_time(out, "i_atime", Some(inode.atime));
    put_time(out, "i_ctime", Some(inode.ctime));
    put_time(out, "i_mtime", Some(inode.mtime));
    put_time(out, "i_crtime", inode.crtime);
    out.put("i_projid", inode.projid).put("i_extra_isize", inode.extra_isize);
    out.put_json("i_block", hex(&raw.i_block));
}

fn put_time(out: &mut Fields, name: &str, time: Option<Timestamp>) {
    match time {
        Some(time) => out.put_as(name, pair(time), Time(time)),
        None => out.put(name, Value::Null),
    };
}

fn put_checksum(out: &mut Fields, image: &Image, seen: &Seen) {
    let format = InodeFormat::new(image.fs.superblock());
    let raw = RawInode::read(&seen.bytes);
    match format.checksum(seen.inode.ino, &seen.bytes) {
        None => out.put("i_checksum", Value::Null),
        Some((_, mask)) => {
            let high = if mask > 0xFFFF { u32::from(raw.i_checksum_hi.get()) << 16 } else { 0 };
            let found = high | u32::from(raw.l_i_checksum_lo.get());
            out.put_as("i_checksum", found, format_args!("{found:#x}"))
        }
    };
}

/// How the contents are kept, and how much of what.
fn put_map(out: &mut Fields, image: &Image, inode: &Inode, damage: &mut Vec<String>) {
    let kind = Kind::of(image, inode);
    if !matches!(kind, Kind::Extents | Kind::Indirect) {
        out.put("format", kind.name());
        return;
    }
    let (mut nodes, mut runs, mut written, mut unwritten, mut depth) = (0u64, 0u64, 0u64, 0u64, 0);
    let mut is_stopped = false;
    map::walk(image, inode, &mut |piece| {
        match piece {
            Piece::Node(node) => {
                nodes += u64::from(node.blk.is_some());
                depth = depth.max(if kind == Kind::Extents { node.depth } else { node.depth - 1 });
            }
            Piece::Run(run) => {
                runs += 1;
                let sum = if run.is_unwritten { &mut unwritten } else { &mut written };
                *sum = sum.saturating_add(run.blocks.len);
            }
            Piece::Damage(it) => damage.push(it.to_string()),
        }
        is_stopped = image.check_stop().is_err();
        !is_stopped
    });
    out.put_json("format", kind.name()).put_json("depth", depth);
    out.put_json("nodes", nodes).put_json("runs", runs);
    out.put_json("written_blocks", written).put_json("unwritten_blocks", unwritten);
    out.put_text(
        "map",
        format_args!(
            "{}, depth {depth}, {}, {}: {} written, {} unwritten",
            kind.name(),
            text::count(nodes, "node"),
            text::count(runs, "run"),
            text::count(written, "block"),
            text::count(unwritten, "block"),
        ),
    );
}

fn put_special(out: &mut Fields, image: &Image, inode: &Inode, damage: &mut Vec<String>) {
    match inode.file_type() {
        FileType::CharDevice | FileType::BlockDevice => {
            let (major, minor) = decode_device(&inode.i_block);
            out.put_as("rdev", json!([major, minor]), format_args!("{major},{minor}"));
        }
        FileType::Symlink => match image.fs.read_link(image.meta(), inode) {
            Ok(target) => {
                let mut object = Map::new();
                put_name(&mut object, "target", &target);
                for (name, value) in object {
                    out.put_json(&name, value);
                }
                out.put_text("target", Name(&target));
            }
            Err(err) => damage.push(err.to_string()),
        },
        _ => {}
    }
}

fn put_xattrs(out: &mut Fields, image: &Image, inode: &Inode, damage: &mut Vec<String>) {
    let (found, more) = xattrs::entries(image, inode);
    damage.extend(more);
    let names: Vec<String> = found
        .iter()
        .map(|(_, entry)| Name(&xattr::full_name(entry.index, &entry.name)).to_string())
        .collect();
    if names.is_empty() {
        out.put_json("xattrs", names);
    } else {
        out.put("xattrs", names);
    }
}
