//! Every operation as something that is stepped and never waits.

mod direct;
mod locked;
mod pages;

use crate::{
    script::{Action, Contents, Line, Op, Script},
    stamp::{Stamp, StampReader, describe},
};
use direct::Stepped;
use ext4_fs::{Filesystem, Last, NewFile, Setattr};
use ext4_units::InodeNr;
use locked::Locked;
use pages::{Flush, SyncAll};
use std::collections::BTreeMap;

/// The step from which on an asynchronous write needs nobody.
pub(crate) const UNLOCKED: &str = "unlocked";

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// This kind of step, and the same with numbers.
    Did(&'static str, String),
    /// Nothing: it has to wait for this.
    Blocked(String),
    /// The end: the result, and what it was.
    Done(u64, String),
}

/// How an operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) errno: i32,
    pub(crate) message: String,
}

impl From<ext4_fs::Error> for Failed {
    fn from(err: ext4_fs::Error) -> Self {
        Self { errno: err.errno(), message: err.to_string() }
    }
}

impl From<ext4_dio::Error> for Failed {
    fn from(err: ext4_dio::Error) -> Self {
        Self { errno: err.errno(), message: err.to_string() }
    }
}

/// An operation on its way.
pub(crate) trait Task<'fs> {
    /// Does the next step, or says what it would have to wait for.
    fn step(&mut self, cx: &mut Context<'fs>) -> Result<Progress, Failed>;
}

/// What operations share.
#[derive(Debug)]
pub(crate) struct Context<'fs> {
    pub(crate) fs: &'fs Filesystem,
    script: &'fs Script,
    /// Files that have lost their name while open.
    nameless: BTreeMap<String, InodeNr>,
    /// How many operations use a file: it is not freed under them.
    users: BTreeMap<InodeNr, usize>,
    /// Asynchronous writes by who submitted them.
    submitted: BTreeMap<String, Submitted>,
}

/// The asynchronous writes of one actor whose ends were not taken.
#[derive(Debug, Default)]
struct Submitted {
    in_flight: usize,
    bytes: u64,
    failed: Option<Failed>,
}

impl<'fs> Context<'fs> {
    pub(crate) fn new(fs: &'fs Filesystem, script: &'fs Script) -> Self {
        Self {
            fs,
            script,
            nameless: BTreeMap::new(),
            users: BTreeMap::new(),
            submitted: BTreeMap::new(),
        }
    }

    /// The file of this path.
    pub(crate) fn find(&self, path: &str) -> Result<InodeNr, Failed> {
        if let Some(&ino) = self.nameless.get(path) {
            return Ok(ino);
        }
        Ok(self.fs.resolve(self.fs.meta(), path.as_bytes(), Last::Follow)?.ino)
    }

    /// An operation on the file begins.
    pub(crate) fn enter(&mut self, ino: Option<InodeNr>) {
        if let Some(ino) = ino {
            *self.users.entry(ino).or_default() += 1;
        }
    }

    /// It is over.
    pub(crate) fn leave(&mut self, ino: Option<InodeNr>) {
        if let Some(users) = ino.and_then(|ino| self.users.get_mut(&ino)) {
            *users = users.saturating_sub(1);
        }
    }

    /// A write of this actor is on its way without him.
    pub(crate) fn submitted(&mut self, actor: &str) {
        self.submitted.entry(actor.to_owned()).or_default().in_flight += 1;
    }

    /// It came to its end.
    pub(crate) fn completed(&mut self, actor: &str, was_in_flight: bool, res: Result<u64, Failed>) {
        let submitted = self.submitted.entry(actor.to_owned()).or_default();
        submitted.in_flight -= usize::from(was_in_flight);
        match res {
            Ok(bytes) => submitted.bytes += bytes,
            Err(failed) => {
                submitted.failed.get_or_insert(failed);
            }
        }
    }

    fn users_of(&self, ino: InodeNr) -> usize {
        self.users.get(&ino).copied().unwrap_or(0)
    }

    fn stamp(&self, line: usize, path: &str) -> Stamp {
        Stamp { file: self.script.file_nr(path), line }
    }
}

/// Where a direct write takes its bytes from; whoever steps through the lines keeps it.
pub(crate) fn source(script: &Script, line: &Line) -> Option<StampReader> {
    let Action::Op(Op::Write(write)) = &line.action else { return None };
    let stamp = Stamp { file: script.file_nr(&write.path), line: line.nr };
    Some(StampReader::new(stamp, write.offset.unwrap_or(0), write.len))
}

/// Begins an operation; nothing happens before its first step, but that its file is looked up.
pub(crate) fn begin<'fs>(
    cx: &mut Context<'fs>,
    new: &'fs Line,
    op: &'fs Op,
    source: Option<&'fs mut StampReader>,
) -> Result<(Box<dyn Task<'fs> + 'fs>, Option<InodeNr>), Failed> {
    let fs = cx.fs;
    let path = match (op, op.path()) {
        (Op::Wait, _) => return Ok((Box::new(Wait(new.who())), None)),
        (Op::SyncAll, _) => return Ok((Box::new(SyncAll::new(cx)), None)),
        (Op::Create { .. }, _) | (_, None) => return Ok((Box::new(Once(op)), None)),
        (_, Some(path)) => path,
    };
    let ino = cx.find(path)?;
    let task: Box<dyn Task<'fs> + 'fs> = match (op, source) {
        (Op::Write(write), Some(source)) => Box::new(Stepped::new(fs, ino, write, source)),
        (Op::Writeback { range, .. }, _) => {
            let range = range.map_or(0..u64::MAX, |(offset, len)| offset..offset + len);
            Box::new(Flush::new(fs, ino, range, None))
        }
        (Op::Fsync { data_only, .. }, _) => {
            Box::new(Flush::new(fs, ino, 0..u64::MAX, Some(*data_only)))
        }
        (Op::Close { path }, _) if !cx.nameless.contains_key(path) => Box::new(Once(op)),
        (
            Op::Truncate { .. }
            | Op::Fallocate { .. }
            | Op::Punch { .. }
            | Op::Unlink { .. }
            | Op::Close { .. },
            _,
        ) => Box::new(Locked::new(fs, ino, op)),
        _ => Box::new(Once(op)),
    };
    if let Op::Close { path } = op {
        cx.nameless.remove(path);
    }
    Ok((task, Some(ino)))
}

/// Takes the ends of an actor's asynchronous writes; its result is their bytes.
struct Wait<'fs>(&'fs str);

impl<'fs> Task<'fs> for Wait<'fs> {
    fn step(&mut self, cx: &mut Context<'fs>) -> Result<Progress, Failed> {
        let Some(submitted) = cx.submitted.get_mut(self.0) else {
            return Ok(Progress::Done(0, "nothing was submitted".to_owned()));
        };
        if submitted.in_flight > 0 {
            return Ok(Progress::Blocked(format!("waits for {} writes", submitted.in_flight)));
        }
        let Submitted { bytes, failed, .. } = std::mem::take(submitted);
        match failed {
            Some(failed) => Err(failed),
            None => Ok(Progress::Done(bytes, format!("{bytes} bytes in all"))),
        }
    }
}

/// What is done in one step.
struct Once<'fs>(&'fs Op);

impl<'fs> Task<'fs> for Once<'fs> {
    fn step(&mut self, cx: &mut Context<'fs>) -> Result<Progress, Failed> {
        let fs = cx.fs;
        let done = |what: String| Ok(Progress::Done(0, what));
        match self.0 {
            Op::Create { path, mode } => {
                let parent = fs.resolve_parent(fs.meta(), path.as_bytes())?;
                let ino = fs.create(parent.dir.ino, &parent.name, &NewFile::of_root(*mode))?;
                done(format!("inode {ino}"))
            }
            Op::Open { path } => done(format!("inode {}", cx.find(path)?)),
            Op::Close { .. } => done("it keeps its name".to_owned()),
            Op::Commit => {
                let tid = fs.journal().running_tid();
                fs.commit()?;
                let is_new = fs.journal().running_tid() != tid;
                done(if is_new { format!("transaction {tid}") } else { "nothing to do".to_owned() })
            }
            Op::Chmod { path, mode } => {
                let change = Setattr { mode: Some(*mode), ..Setattr::default() };
                fs.setattr(cx.find(path)?, &change)?;
                done(format!("mode {mode:04o}"))
            }
            Op::Read { path, offset, len, is } => read(cx, path, *offset, *len, *is),
            Op::Size { path } => {
                let size = fs.inode(fs.meta(), cx.find(path)?)?.i_size;
                Ok(Progress::Done(size, size.to_string()))
            }
            _ => done(String::new()),
        }
    }
}

fn read(
    cx: &Context<'_>,
    path: &str,
    offset: u64,
    len: u64,
    is: Option<Contents>,
) -> Result<Progress, Failed> {
    let fs = cx.fs;
    let inode = fs.inode(fs.meta(), cx.find(path)?)?;
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    let n = fs.read_at(fs.meta(), &inode, offset, &mut bytes)?;
    bytes.truncate(n);
    let what = describe(offset, &bytes);
    let is_so = match is {
        None => true,
        Some(Contents::Zeros) => bytes.iter().all(|&byte| byte == 0),
        Some(Contents::Line(line)) => cx.stamp(line, path).is_at(offset, &bytes),
    };
    if !is_so {
        let expected = match is {
            Some(Contents::Line(line)) => format!("line {line} from {offset}"),
            _ => format!("zeros from {offset}"),
        };
        return Err(Failed { errno: 0, message: format!("{what}, expected {expected}") });
    }
    Ok(Progress::Done(n as u64, what))
}
