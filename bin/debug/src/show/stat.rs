//! `stat`: what stat(2) tells, as stat(1) shows it.

use crate::{
    cli::Spec,
    image::Image,
    print::{Document, Fields},
    show::exit,
    text::{self, Time, pair},
};
use ext4_cli::{Exit, Failure};
use ext4_fs::Inode;
use ext4_ondisk::inode::{FileType, decode_device};
use serde_json::json;
use std::fmt::Write as _;

/// Shows it.
pub(crate) fn show(image: &Image, spec: &Spec) -> Result<Exit, Failure> {
    let inode = image.inode(spec)?;
    let mut doc = Document::begin(&image.report)?;
    doc.fields(&fields(image, &inode))?;
    doc.text(lines(image, spec, &inode))?;
    doc.finish()?;
    Ok(exit(false))
}

fn is_device(inode: &Inode) -> bool {
    matches!(inode.file_type(), FileType::CharDevice | FileType::BlockDevice)
}

fn fields(image: &Image, inode: &Inode) -> Fields {
    let mut out = Fields::new();
    out.put_json("st_ino", inode.ino.get());
    out.put_json("st_mode", inode.mode);
    out.put_json("type", text::file_type(inode.file_type()));
    out.put_json("st_nlink", inode.links_count);
    out.put_json("st_uid", inode.uid).put_json("st_gid", inode.gid);
    let (major, minor) = decode_device(&inode.i_block);
    out.put_json("st_rdev", if is_device(inode) { json!([major, minor]) } else { json!(null) });
    out.put_json("st_size", inode.i_size);
    out.put_json("st_blksize", image.fs.geometry().block_size.bytes());
    out.put_json("st_blocks", crate::manifest::blocks(inode));
    out.put_json("st_atime", pair(inode.atime));
    out.put_json("st_mtime", pair(inode.mtime));
    out.put_json("st_ctime", pair(inode.ctime));
    out.put_json("st_btime", inode.crtime.map_or(json!(null), pair));
    out
}

fn lines(image: &Image, spec: &Spec, inode: &Inode) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "  File: {spec}");
    let _ = writeln!(
        out,
        "  Size: {:<15} Blocks: {:<10} IO Block: {:<6} {}",
        inode.i_size,
        crate::manifest::blocks(inode),
        image.fs.geometry().block_size.bytes(),
        text::file_type(inode.file_type()),
    );
    let _ = write!(out, " Inode: {:<15} Links: {}", inode.ino.get(), inode.links_count);
    if is_device(inode) {
        let (major, minor) = decode_device(&inode.i_block);
        let _ = write!(out, "          Device type: {major},{minor}");
    }
    let mode = text::mode(inode.mode);
    let _ = writeln!(
        out,
        "\nAccess: ({:04o}/{mode})  Uid: {}  Gid: {}",
        inode.mode & 0o7777,
        inode.uid,
        inode.gid
    );
    for (name, time) in [("Access", inode.atime), ("Modify", inode.mtime), ("Change", inode.ctime)]
    {
        let _ = writeln!(out, "{name}: {}", Time(time));
    }
    let birth = inode.crtime.map_or("-".to_owned(), |it| Time(it).to_string());
    let _ = writeln!(out, " Birth: {birth}");
    out
}
