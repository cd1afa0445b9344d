//! `sizes`: what the size of a file is in its place, in each transaction of the log, after replay,
//! and after all of recovery.

use crate::{
    cli::Spec,
    image::Image,
    print::{Document, Fields},
    show::{
        exit,
        journal::{Journal, operation, size_of_raw},
    },
};
use ext4_cli::{Exit, Failure};
use ext4_fs::Scope;
use ext4_jbd2::recovery::Scan;
use ext4_ondisk::{fast_commit::Op, inode::Inode};
use ext4_units::{BlockNr, InodeNr, Tid};
use serde_json::{Value, json};

/// Shows them.
pub(crate) fn show(image: &Image, spec: &Spec) -> Result<Exit, Failure> {
    let (ino, is_new) = number(image, spec)?;
    let mut damage = Vec::new();
    let mut doc = Document::begin(&image.report)?;
    let mut head = Fields::new();
    head.put_json("ino", ino.get()).put_json("only_after_recovery", is_new);
    doc.fields(&head)?;
    let remark = if is_new { ", which has this path only after recovery" } else { "" };
    doc.text(format_args!("{spec}: inode <{ino}>{remark}"))?;

    let seen = image.look(ino).map_err(|err| damage.push(err.to_string())).ok();
    let place = seen.as_ref().map(|seen| (seen.blk, seen.offset));
    let home = seen.map(|seen| {
        damage.extend(seen.damage.clone());
        state(&seen.inode.disk)
    });
    put(&mut doc, "in_place", "in place", home)?;

    doc.list("logged")?;
    let journal = Journal::open(image)?;
    let scan = journal.as_ref().map(Journal::scan).transpose();
    let scan = scan.map_err(|err| damage.push(err.to_string())).ok().flatten();
    if let (Some(journal), Some(scan), Some(place)) = (&journal, &scan, place) {
        logged(&mut doc, journal, scan, ino, place, &mut damage)?;
    }
    doc.list("fast_commits")?;
    if let (Some(journal), Some(scan)) = (&journal, &scan) {
        fast_commits(&mut doc, journal, scan, ino, &mut damage)?;
        if !scan.is_empty() && !journal.needs_recovery() {
            doc.text("needs_recovery is not set: the log will be thrown away")?;
        }
    }

    // Both in memory, each on its own.
    for (scope, key, name) in [
        (Scope::Replay, "after_replay", "after replay"),
        (Scope::Possible, "after_recovery", "after recovery"),
    ] {
        image.check_stop()?;
        let recovered = image.devices().in_memory().recovered(scope);
        let inode = recovered.and_then(|(fs, _)| fs.inode(fs.meta(), ino));
        let inode = inode.map_err(|err| damage.push(format!("{name}: {err}"))).ok();
        put(&mut doc, key, name, inode.map(|inode| state(&inode.disk)))?;
    }

    let mut tail = Fields::new();
    tail.put_damage(&damage);
    doc.fields(&tail)?;
    doc.finish()?;
    Ok(exit(!damage.is_empty()))
}

/// The inode, and whether its path is there only after recovery.
fn number(image: &Image, spec: &Spec) -> Result<(InodeNr, bool), Failure> {
    let first = match image.number(spec) {
        Ok(ino) => return Ok((ino, false)),
        Err(first) => first,
    };
    let Spec::Path(path) = spec else { return Err(first) };
    let recovered = image.devices().in_memory().recovered(Scope::Possible);
    let Ok((fs, _)) = recovered else { return Err(first) };
    let found = fs.resolve(fs.meta(), path, ext4_fs::Last::Stay);
    found.map(|inode| (inode.ino, true)).map_err(|_also| first)
}

fn logged(
    doc: &mut Document,
    journal: &Journal<'_>,
    scan: &Scan,
    ino: InodeNr,
    (blk, offset): (BlockNr, usize),
    damage: &mut Vec<String>,
) -> Result<(), Failure> {
    let image = journal.image;
    for transaction in &scan.transactions {
        for tag in transaction.logged.iter().filter(|tag| tag.home == blk) {
            image.check_stop()?;
            let block = match journal.copy(tag) {
                Ok(block) => block,
                Err(err) => {
                    damage.push(err.to_string());
                    continue;
                }
            };
            let bytes = block.get(offset..).unwrap_or_default();
            let Some(disk) = image.decode_anyhow(bytes, ino) else { continue };
            let (mut value, mut text) = state(&disk);
            let Tid(tid) = transaction.tid;
            let is_revoked = scan.is_revoked(blk, transaction.tid);
            value["tid"] = tid.into();
            value["log_block"] = tag.at.into();
            value["revoked"] = is_revoked.into();
            text.push_str(if is_revoked { ", revoked" } else { "" });
            let name = format!("transaction {tid}");
            doc.item(&value, format_args!("  {name:18} {text} (log block {})", tag.at))?;
        }
    }
    Ok(())
}

fn fast_commits(
    doc: &mut Document,
    journal: &Journal<'_>,
    scan: &Scan,
    ino: InodeNr,
    damage: &mut Vec<String>,
) -> Result<(), Failure> {
    let image = journal.image;
    let size = journal.superblock.block_size;
    for op in scan.fast_commits.ops(&**image.fs.device(), &journal.log, size) {
        image.check_stop()?;
        match op {
            Ok(Op::Inode { ino: of, raw }) if of == ino => {
                let size = size_of_raw(&raw);
                let value = json!({ "op": "inode", "ino": ino.get(), "i_size": size });
                doc.item(&value, format_args!("  {:18} i_size {size}", "fast commit"))?;
            }
            Ok(op @ (Op::AddRange { ino: of, .. } | Op::DelRange { ino: of, .. })) if of == ino => {
                let (value, text) = operation(&op);
                doc.item(&value, format_args!("  {:18} {text}", "fast commit"))?;
            }
            Ok(_) => {}
            Err(err) => damage.push(err.to_string()),
        }
    }
    Ok(())
}

fn put(
    doc: &mut Document,
    key: &str,
    name: &str,
    state: Option<(Value, String)>,
) -> Result<(), Failure> {
    let (value, text) = state.unwrap_or((Value::Null, "unreadable".to_owned()));
    let mut out = Fields::new();
    out.put_json(key, value);
    doc.fields(&out)?;
    doc.text(format_args!("  {name:18} {text}"))
}

/// The size, and what tells how it came to be.
fn state(disk: &Inode) -> (Value, String) {
    let value = json!({
        "i_size": disk.size,
        "i_blocks": disk.sectors,
        "i_links_count": disk.links_count,
        "i_mode": disk.mode,
    });
    let text = if disk.mode == 0 {
        "not in use".to_owned()
    } else {
        let (size, sectors, links) = (disk.size, disk.sectors, disk.links_count);
        format!("i_size {size}, i_blocks {sectors}, i_links_count {links}")
    };
    (value, text)
}
