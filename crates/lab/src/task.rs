//! Every operation as something that is stepped and never waits.

mod direct;
mod locked;

use crate::{
    script::{Action, Contents, Line, Op, Script, Way, Write},
    stamp::{Stamp, StampReader, describe},
};
use direct::Direct;
use ext4_fs::{Filesystem, Last, NewFile, Setattr};
use ext4_units::InodeNr;
use locked::Locked;
use std::collections::BTreeMap;

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
}

impl<'fs> Context<'fs> {
    pub(crate) fn new(fs: &'fs Filesystem, script: &'fs Script) -> Self {
        Self { fs, script, nameless: BTreeMap::new() }
    }

    /// The file of this path.
    pub(crate) fn find(&self, path: &str) -> Result<InodeNr, Failed> {
        if let Some(&ino) = self.nameless.get(path) {
            return Ok(ino);
        }
        Ok(self.fs.resolve(self.fs.meta(), path.as_bytes(), Last::Follow)?.ino)
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
    line: &Line,
    op: &'fs Op,
    source: Option<&'fs mut StampReader>,
) -> Result<Box<dyn Task<'fs> + 'fs>, Failed> {
    match op {
        Op::Write(write) => begin_write(cx, line.nr, write, source),
        Op::Truncate { path, .. } | Op::Fallocate { path, .. } | Op::Punch { path, .. } => {
            Ok(Box::new(Locked::new(cx.fs, cx.find(path)?, op)))
        }
        _ => Ok(Box::new(Once(op))),
    }
}

fn begin_write<'fs>(
    cx: &Context<'fs>,
    line: usize,
    write: &'fs Write,
    source: Option<&'fs mut StampReader>,
) -> Result<Box<dyn Task<'fs> + 'fs>, Failed> {
    let ino = cx.find(&write.path)?;
    if let (Way::Direct, Some(source)) = (write.way, source) {
        return Ok(Box::new(Direct::new(cx.fs, ino, write, source)));
    }
    Err(Failed { errno: 95, message: format!("line {line}: not in this build") })
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
            Op::Unlink { path, stays_open } => {
                let parent = fs.resolve_parent(fs.meta(), path.as_bytes())?;
                let gone = fs.unlink_open(parent.dir.ino, &parent.name)?;
                if !gone.is_last {
                    return done("it has other names".to_owned());
                }
                if *stays_open {
                    cx.nameless.insert(path.clone(), gone.ino);
                    return done("without a name, open".to_owned());
                }
                fs.release(gone.ino)?;
                done("gone".to_owned())
            }
            Op::Close { path } => {
                if let Some(ino) = cx.nameless.remove(path) {
                    fs.release(ino)?;
                    return done("gone".to_owned());
                }
                cx.find(path)?;
                done("it keeps its name".to_owned())
            }
            Op::Commit | Op::SyncAll => {
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
            other => Err(Failed { errno: 95, message: format!("{other}: not in this build") }),
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
