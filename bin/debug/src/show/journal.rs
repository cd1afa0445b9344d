//! `journal`: the log's superblock, every transaction in it with what it holds, where it ends and
//! why, fast commits, and what is left over from before.

use crate::{
    image::Image,
    layout::{self, Layout, What},
    print::{Document, Fields},
    show::exit,
    text::{Time, count, names, put_name},
};
use ext4_cli::{Exit, Failure};
use ext4_jbd2::{
    Error, Log, Ring,
    recovery::{self, FastCommitEnd, LogEnd, Logged, Record, RecordKind, Scan, Transaction},
};
use ext4_ondisk::name::Name;
use ext4_ondisk::{
    fast_commit::Op,
    features::Incompat,
    inode::RawInode,
    jbd2::{self, JournalSuperblock, TagFlags},
    superblock::JournalPlace,
    uuid,
};
use ext4_units::Tid;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// The log of the image, read for looking.
pub(crate) struct Journal<'a> {
    pub(crate) image: &'a Image,
    pub(crate) log: Log,
    pub(crate) superblock: JournalSuperblock,
}

impl<'a> Journal<'a> {
    /// Finds the log and reads its superblock; `None` on a filesystem without one.
    pub(crate) fn open(image: &'a Image) -> Result<Option<Self>, Failure> {
        let log =
            image.fs.find_log(image.journal_device.as_ref()).map_err(|err| image.fail(&err))?;
        let Some(log) = log else { return Ok(None) };
        let size = image.fs.geometry().block_size;
        let superblock = log
            .read_superblock(&**image.fs.device(), size)
            .map_err(|err| image.fail(&err.into()))?;
        Ok(Some(Self { image, log, superblock }))
    }

    /// Reads and verifies all of the log.
    pub(crate) fn scan(&self) -> Result<Scan, Error> {
        let sb = self.image.fs.superblock();
        let options = recovery::Options {
            block_size: sb.block_size,
            home: self.image.fs.geometry().all_blocks(),
            inode_size: sb.inode_size,
            metadata_csum: sb.metadata_csum().is_some(),
        };
        recovery::scan(&**self.image.fs.device(), &self.log, &options)
    }

    /// Whether the log is to be replayed: otherwise it is thrown away.
    pub(crate) fn needs_recovery(&self) -> bool {
        self.image.fs.superblock().features.has_incompat(Incompat::RECOVER)
    }

    /// The block that log block `at` holds a copy of, as it will be at home.
    pub(crate) fn copy(&self, logged: &Logged) -> Result<Vec<u8>, Error> {
        let mut block = self.block(logged.at)?;
        if logged.flags.contains(TagFlags::ESCAPE) {
            jbd2::unescape(&mut block);
        }
        Ok(block)
    }

    fn block(&self, at: u32) -> Result<Vec<u8>, Error> {
        let size = self.superblock.block_size;
        let mut block = vec![0; size.len()];
        self.log.read(&**self.image.fs.device(), size, at, &mut block)?;
        Ok(block)
    }
}

/// Shows it.
pub(crate) fn show(image: &Image) -> Result<Exit, Failure> {
    let Some(journal) = Journal::open(image)? else {
        let mut doc = Document::begin(&image.report)?;
        let mut out = Fields::new();
        out.put_json("has_journal", false).put_text("journal", "none");
        doc.fields(&out)?;
        doc.finish()?;
        return Ok(exit(false));
    };
    let mut show = Show {
        doc: Document::begin(&image.report)?,
        layout: Layout::read(&image.fs, image.meta()),
        journal,
        damage: Vec::new(),
    };
    show.superblock()?;
    let scan = match show.journal.scan() {
        Ok(scan) => Some(scan),
        Err(err) => {
            show.damage.push(err.to_string());
            None
        }
    };
    if let Some(scan) = &scan {
        show.transactions(scan)?;
    }
    show.leftovers(scan.as_ref())?;
    let mut tail = Fields::new();
    tail.put_damage(&show.damage);
    show.doc.fields(&tail)?;
    show.doc.finish()?;
    Ok(exit(!show.damage.is_empty()))
}

struct Show<'a> {
    doc: Document,
    layout: Layout,
    journal: Journal<'a>,
    damage: Vec<String>,
}

impl Show<'_> {
    fn superblock(&mut self) -> Result<(), Failure> {
        let sb = &self.journal.superblock;
        let raw = sb.raw();
        let mut out = Fields::new();
        out.put_json("has_journal", true);
        match self.journal.image.fs.superblock().journal {
            JournalPlace::Inode(ino) => {
                out.put_as("s_journal_inum", ino.get(), format_args!("<{ino}>"))
            }
            _ => out.put("s_journal_uuid", uuid::text(&sb.uuid)),
        };
        out.put("needs_recovery", self.journal.needs_recovery());
        out.put("s_blocktype", sb.kind.raw());
        out.put("s_blocksize", sb.block_size.bytes());
        out.put("s_maxlen", sb.max_len).put("s_first", sb.first);
        out.put("s_sequence", sb.sequence.0).put("s_start", sb.start);
        out.put("s_errno", sb.errno).put("s_head", sb.head);
        let mut features = names(sb.compat.iter_names().map(|(name, _)| name));
        features.extend(names(sb.incompat.iter_names().map(|(name, _)| match name {
            "BIT64" => "64bit",
            name => name,
        })));
        out.put_json("s_feature_compat", sb.compat.bits());
        out.put_json("s_feature_incompat", sb.incompat.bits());
        out.put("features", features);
        out.put_as("checksums", format!("{:?}", sb.checksums()).to_lowercase(), {
            format!("{:?}", sb.checksums()).to_lowercase()
        });
        out.put("s_uuid", uuid::text(&sb.uuid)).put("s_nr_users", sb.nr_users);
        out.put("s_num_fc_blks", sb.fc_blocks);
        let checksum = raw.s_checksum.get();
        out.put_as("s_checksum", checksum, format_args!("{checksum:#x}"));
        self.doc.fields(&out)
    }

    fn transactions(&mut self, scan: &Scan) -> Result<(), Failure> {
        self.doc.list("transactions")?;
        for transaction in scan.transactions.iter().chain(&scan.incomplete) {
            self.journal.image.check_stop()?;
            let (value, text) = self.transaction(scan, transaction);
            self.doc.item(&value, text)?;
        }
        for finding in &scan.findings {
            self.damage.push(finding.to_string());
        }
        let mut out = Fields::new();
        let end = log_end(scan.log_end);
        out.put_json("n_transactions", scan.transactions.len());
        out.put_json("end_tid", scan.end.0).put_json("next_tid", scan.next.0);
        out.put_json("head", scan.head).put_json("log_end", end.0);
        out.put_json("revoked_blocks", scan.revoked_blocks());
        out.put_json("finding_count", scan.finding_count);
        self.doc.fields(&out)?;
        let n = count(scan.transactions.len() as u64, "transaction");
        self.doc.text(if scan.is_empty() {
            format!("empty: nothing to be replayed; next transaction {}", scan.next)
        } else {
            format!("end: {n}, then at log block {}: {}", scan.head, end.1)
        })?;
        self.fast_commits(scan)
    }

    fn transaction(&mut self, scan: &Scan, it: &Transaction) -> (Value, String) {
        let mut text = format!("transaction {}: log block {}, {}", it.tid, it.start, {
            count(it.blocks, "block")
        });
        let commit = it.commit.map(|commit| {
            let time = Time(ext4_ondisk::time::Timestamp {
                sec: i64::try_from(commit.sec).unwrap_or(i64::MAX),
                nsec: commit.nsec,
            });
            let torn = if commit.is_torn { ", torn" } else { "" };
            let _ = write!(text, ", committed {time} in log block {}{torn}", commit.at);
            json!({
                "log_block": commit.at, "sec": commit.sec, "nsec": commit.nsec,
                "is_torn": commit.is_torn,
            })
        });
        if commit.is_none() {
            text.push_str(", no commit");
        }
        text.push('\n');
        let mut logged = Vec::new();
        for tag in &it.logged {
            let (value, line) = self.logged(scan, it.tid, tag);
            logged.push(value);
            text.push_str(&line);
        }
        let mut revokes = Vec::new();
        for &at in &it.revoke_blocks {
            let block = self.journal.block(at);
            let format = self.journal.superblock.format();
            let Ok(block) = block.map_err(|err| self.damage.push(err.to_string())) else {
                continue;
            };
            match jbd2::revokes(&format, &block) {
                Ok(blocks) => revokes.extend(blocks.map(|blk| blk.0)),
                Err(err) => self.damage.push(err.to_string()),
            }
        }
        for blk in &revokes {
            let _ = writeln!(text, "  revokes block {blk}");
        }
        let value = json!({
            "tid": it.tid.0,
            "log_block": it.start,
            "log_blocks": it.blocks,
            "descriptors": it.descriptors,
            "commit": commit,
            "logged": logged,
            "revokes": revokes,
        });
        (value, text)
    }

    fn logged(&mut self, scan: &Scan, tid: Tid, tag: &Logged) -> (Value, String) {
        let mut value = Map::new();
        value.insert("log_block".into(), tag.at.into());
        value.insert("block".into(), tag.home.0.into());
        let what = self.layout.what(tag.home);
        what.put(&mut value);
        let is_escaped = tag.flags.contains(TagFlags::ESCAPE);
        let is_revoked = scan.is_revoked(tag.home, tid);
        value.insert("escaped".into(), is_escaped.into());
        value.insert("revoked".into(), is_revoked.into());
        let mut text = format!("  log block {}: block {}: ", tag.at, tag.home);
        if what == What::Other {
            let guess = self.journal.copy(tag).map_or("unreadable", |block| layout::guess(&block));
            value.insert("looks_like".into(), guess.into());
            let _ = write!(text, "looks like {guess}");
        } else {
            let _ = write!(text, "{what}");
        }
        text.push_str(if is_escaped { ", escaped" } else { "" });
        text.push_str(if is_revoked { ", revoked" } else { "" });
        text.push('\n');
        (value.into(), text)
    }

    fn fast_commits(&mut self, scan: &Scan) -> Result<(), Failure> {
        let fast = &scan.fast_commits;
        let end = fast_commit_end(fast.end);
        let mut out = Fields::new();
        out.put_json("fast_commits", fast.commits).put_json("fast_commit_records", fast.records);
        out.put_json("fast_commit_end", end.as_str());
        self.doc.fields(&out)?;
        if fast.end != FastCommitEnd::NoArea {
            let n = count(fast.commits, "fast commit");
            self.doc.text(format_args!("{n} of transaction {}, then: {end}", scan.end))?;
        }
        self.doc.list("fast_commit_ops")?;
        let image = self.journal.image;
        let size = self.journal.superblock.block_size;
        for op in fast.ops(&**image.fs.device(), &self.journal.log, size) {
            image.check_stop()?;
            match op {
                Ok(op) => {
                    let (value, text) = operation(&op);
                    self.doc.item(&value, format_args!("  {text}"))?;
                }
                Err(err) => self.damage.push(err.to_string()),
            }
        }
        Ok(())
    }

    /// What lies in the ring and is no part of what was scanned.
    fn leftovers(&mut self, scan: Option<&Scan>) -> Result<(), Failure> {
        let image = self.journal.image;
        let ring = Ring::of(&self.journal.superblock);
        let is_live = |at: u32| {
            let parts =
                scan.into_iter().flat_map(|it| it.transactions.iter().chain(&it.incomplete));
            parts.into_iter().any(|it| ring.distance(it.start, at) < it.blocks)
        };
        let mut n_records = 0u64;
        self.doc.list("leftovers")?;
        let device = &**image.fs.device();
        for record in recovery::survey(device, &self.journal.log, &self.journal.superblock) {
            image.check_stop()?;
            let record = match record {
                Ok(record) => record,
                Err(err) => {
                    self.damage.push(err.to_string());
                    continue;
                }
            };
            if is_live(record.at) {
                continue;
            }
            n_records += 1;
            let (value, text) = leftover(&record);
            let is_wanted = self.doc.is_json() || image.common.verbose > 0;
            self.doc.item(&value, if is_wanted { text } else { String::new() })?;
        }
        if n_records > 0 {
            let n = count(n_records, "record");
            let hint = if image.common.verbose > 0 { "" } else { " (-v shows them)" };
            self.doc.text(format_args!("left over from before: {n}{hint}"))?;
        }
        Ok(())
    }
}

fn leftover(record: &Record) -> (Value, String) {
    let mut value = json!({ "log_block": record.at, "tid": record.tid.0 });
    let text = match &record.kind {
        RecordKind::Descriptor { logged, is_sound } => {
            value["kind"] = "descriptor".into();
            value["blocks"] = logged.iter().map(|it| it.home.0).collect();
            value["is_sound"] = (*is_sound).into();
            format!("descriptor of {}", count(logged.len() as u64, "block"))
        }
        RecordKind::Revoke { blocks, is_sound } => {
            value["kind"] = "revoke".into();
            let blocks = blocks.as_deref().unwrap_or_default();
            value["blocks"] = blocks.iter().map(|it| it.0).collect();
            value["is_sound"] = (*is_sound).into();
            format!("revokes of {}", count(blocks.len() as u64, "block"))
        }
        RecordKind::Commit { sec, nsec, .. } => {
            value["kind"] = "commit".into();
            value["sec"] = (*sec).into();
            value["nsec"] = (*nsec).into();
            let sec = i64::try_from(*sec).unwrap_or(i64::MAX);
            format!("commit {}", Time::of_sec(sec))
        }
        RecordKind::Other(kind) => {
            value["kind"] = (*kind).into();
            format!("a block of kind {kind}")
        }
    };
    (value, format!("  log block {}: transaction {}: {text}", record.at, record.tid))
}

/// How the log ended: a word, and a sentence.
fn log_end(end: LogEnd) -> (&'static str, String) {
    match end {
        LogEnd::Empty => ("empty", "the log is empty".to_owned()),
        LogEnd::NoHeader => ("no_header", "a block that is not the journal's".to_owned()),
        LogEnd::OtherTransaction(tid) => {
            ("other_transaction", format!("a block of transaction {tid}"))
        }
        LogEnd::UnknownKind(kind) => ("unknown_kind", format!("a block of unknown kind {kind}")),
        LogEnd::Stale => ("stale", "damaged blocks that are older".to_owned()),
        LogEnd::BadCommit => ("bad_commit", "a commit block with a wrong checksum".to_owned()),
        LogEnd::Damaged => ("damaged", "damaged blocks".to_owned()),
        _ => ("unknown", "for a reason that has no name".to_owned()),
    }
}

fn fast_commit_end(end: FastCommitEnd) -> String {
    match end {
        FastCommitEnd::NoArea => "no area".to_owned(),
        FastCommitEnd::NoHead => "no head".to_owned(),
        FastCommitEnd::StaleHead(tid) => format!("a head of transaction {tid}"),
        FastCommitEnd::BadTail => "a tail that does not fit".to_owned(),
        FastCommitEnd::BadRecord => "no record".to_owned(),
        FastCommitEnd::Full => "the area is full".to_owned(),
        FastCommitEnd::Damaged => "damaged".to_owned(),
        _ => "unknown".to_owned(),
    }
}

/// An operation of a fast commit.
pub(crate) fn operation(op: &Op) -> (Value, String) {
    let with_name = |kind: &str, parent: ext4_units::InodeNr, ino: ext4_units::InodeNr, name| {
        let mut value = Map::new();
        value.insert("op".into(), kind.into());
        value.insert("parent".into(), parent.get().into());
        value.insert("ino".into(), ino.get().into());
        put_name(&mut value, "name", name);
        (Value::from(value), format!("{kind} {} in inode <{parent}> as inode <{ino}>", Name(name)))
    };
    match op {
        Op::AddRange { ino, lblk, len, start, is_unwritten } => {
            let state = if *is_unwritten { ", unwritten" } else { "" };
            let value = json!({
                "op": "add_range", "ino": ino.get(), "lblk": lblk.0, "len": len,
                "start": start.0, "unwritten": is_unwritten,
            });
            let n = count(*len, "block");
            (value, format!("map {n} from {lblk} of inode <{ino}> to block {start}{state}"))
        }
        Op::DelRange { ino, lblk, len } => {
            let value = json!({ "op": "del_range", "ino": ino.get(), "lblk": lblk.0, "len": len });
            (value, format!("unmap {} from {lblk} of inode <{ino}>", count(*len, "block")))
        }
        Op::Creat { parent, ino, name } => with_name("create", *parent, *ino, name),
        Op::Link { parent, ino, name } => with_name("link", *parent, *ino, name),
        Op::Unlink { parent, ino, name } => with_name("unlink", *parent, *ino, name),
        Op::Inode { ino, raw } => {
            let size = size_of_raw(raw);
            let value = json!({ "op": "inode", "ino": ino.get(), "i_size": size });
            (value, format!("inode <{ino}>, i_size {size}"))
        }
    }
}

/// `i_size` of an inode's bytes.
pub(crate) fn size_of_raw(raw: &[u8]) -> u64 {
    let raw = RawInode::read(raw);
    u64::from(raw.i_size_high.get()) << 32 | u64::from(raw.i_size_lo.get())
}
