//! `xattr`: the extended attributes of an inode, and where each is kept.

use crate::{
    cli::Spec,
    image::Image,
    print::{Document, Fields},
    show::exit,
    text::{hex, put_name},
};
use ext4_cli::{Exit, Failure};
use ext4_fs::Inode;
use ext4_ondisk::name::Name;
use ext4_ondisk::xattr::{self, Entry, Value as Kept, XattrBlock};
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// Values longer than this are cut in the text.
const MAX_TEXT: usize = 256;

/// Where an entry is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// Behind the fields of the inode.
    Body,
    /// In this block.
    Block(u64),
}

/// The entries that can be read, and what cannot.
pub(crate) fn entries(image: &Image, inode: &Inode) -> (Vec<(Place, Entry)>, Vec<String>) {
    let (mut found, mut damage) = (Vec::new(), Vec::new());
    match xattr::parse_body(&inode.ibody, inode.ino) {
        Ok(entries) => found.extend(entries.into_iter().map(|it| (Place::Body, it))),
        Err(err) => damage.push(err.to_string()),
    }
    if let Some(blk) = inode.file_acl {
        let csum = image.fs.superblock().metadata_csum();
        let block = if image.fs.geometry().contains(blk) {
            image.meta().read(blk).map_err(|err| err.to_string())
        } else {
            Err(format!("inode {}: i_file_acl {blk} is outside the filesystem", inode.ino))
        };
        let decoded = block
            .and_then(|block| XattrBlock::decode(&block, blk, csum).map_err(|err| err.to_string()));
        match decoded {
            Ok(block) => {
                found.extend(block.entries.into_iter().map(|it| (Place::Block(blk.0), it)));
            }
            Err(err) => damage.push(err),
        }
    }
    (found, damage)
}

/// Shows them.
pub(crate) fn show(image: &Image, spec: &Spec) -> Result<Exit, Failure> {
    let ino = image.number(spec)?;
    let seen = image.look(ino).map_err(|err| image.fail(&err))?;
    let (inode, mut damage) = (seen.inode, seen.damage);
    let (found, more) = entries(image, &inode);
    damage.extend(more);
    let mut doc = Document::begin(&image.report)?;
    let mut head = Fields::new();
    head.put_json("ino", ino.get()).put_json("i_file_acl", inode.file_acl.map_or(0, |it| it.0));
    doc.fields(&head)?;
    doc.list("xattrs")?;
    for (place, entry) in &found {
        image.check_stop()?;
        let value = image.fs.xattr_value(image.meta(), &inode, entry);
        let value = value.map_err(|err| damage.push(err.to_string())).ok();
        let (json, text) = describe(*place, entry, value.as_deref());
        doc.item(&json, text)?;
    }
    let mut tail = Fields::new();
    tail.put_damage(&damage);
    doc.fields(&tail)?;
    doc.finish()?;
    Ok(exit(!damage.is_empty()))
}

fn describe(place: Place, entry: &Entry, value: Option<&[u8]>) -> (Value, String) {
    let mut json = Map::new();
    let full = xattr::full_name(entry.index, &entry.name);
    put_name(&mut json, "name", &full);
    json.insert("e_name_index".into(), entry.index.into());
    let mut text = format!("{}", Name(&full));
    let (inum, len) = match &entry.value {
        Kept::Here(value) => (0, value.len() as u64),
        Kept::Inode { ino, len } => (ino.get(), u64::from(*len)),
    };
    let (place, block) = match place {
        Place::Body => ("in the inode".to_owned(), None),
        Place::Block(blk) => (format!("in block {blk}"), Some(blk)),
    };
    json.insert("place".into(), if block.is_some() { "block" } else { "inode" }.into());
    json.insert("block".into(), block.into());
    json.insert("e_value_inum".into(), inum.into());
    json.insert("e_value_size".into(), len.into());
    json.insert("e_hash".into(), entry.hash.into());
    json.insert("value_hex".into(), value.map(hex).into());
    let _ = write!(text, " ({len} bytes, {place}");
    if inum != 0 {
        let _ = write!(text, ", value in inode <{inum}>");
    }
    text.push(')');
    if let Some(value) = value {
        let shown = &value[..value.len().min(MAX_TEXT)];
        let is_text = str::from_utf8(value).is_ok_and(|it| !it.chars().any(char::is_control));
        let more = if shown.len() < value.len() { ".." } else { "" };
        if is_text {
            let _ = write!(text, " = \"{}\"{more}", Name(shown));
        } else {
            let _ = write!(text, " = 0x{}{more}", hex(shown));
        }
    }
    (json.into(), text)
}
