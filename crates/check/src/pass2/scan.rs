//! The scan over directories by several threads, which tells what is in those without a fault and
//! which are to be checked again alone, when somebody can be asked.

use super::{
    directory,
    view::{self, Report, View},
};
use crate::{Error, Result};
use ext4_units::InodeNr;
use std::{
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Directories that a thread takes at once.
const BATCH: usize = 32;

/// What the scan of some directories came to. One for many of them: what each came to is small, and
/// to ask for memory is not.
#[derive(Debug, Default)]
pub(super) struct Batch {
    directories: Vec<Scanned>,
    names: Vec<u32>,
    children: Vec<InodeNr>,
}

/// One directory of a batch.
#[derive(Debug)]
struct Scanned {
    dir: InodeNr,
    is_suspect: bool,
    dotdot: Option<InodeNr>,
    names: Range<usize>,
    children: Range<usize>,
}

/// What is in a directory without a fault.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contents<'b> {
    /// Inodes that have a name in it, `.` and `..` included.
    pub(super) names: &'b [u32],
    /// Directories among them, without `.` and `..`.
    pub(super) children: &'b [InodeNr],
    /// Where `..` leads.
    pub(super) dotdot: Option<InodeNr>,
}

impl Batch {
    /// Its directories in order; `None` for a suspect.
    pub(super) fn iter(&self) -> impl Iterator<Item = (InodeNr, Option<Contents<'_>>)> {
        self.directories.iter().map(|it| {
            let names = self.names.get(it.names.clone()).unwrap_or_default();
            let children = self.children.get(it.children.clone()).unwrap_or_default();
            let contents = Contents { names, children, dotdot: it.dotdot };
            (it.dir, (!it.is_suspect).then_some(contents))
        })
    }

    fn add(&mut self, dir: InodeNr, is_suspect: bool, report: &Report) {
        let (names, children) = (self.names.len(), self.children.len());
        if !is_suspect {
            self.names.extend(&report.names);
            self.children.extend(&report.children);
        }
        self.directories.push(Scanned {
            dir,
            is_suspect,
            dotdot: report.dotdot,
            names: names..self.names.len(),
            children: children..self.children.len(),
        });
    }
}

/// What these directories came to, in their order.
pub(super) fn run(view: View<'_>, dirs: &[InodeNr], threads: usize) -> Result<Vec<Batch>> {
    let next = AtomicUsize::new(0);
    let batches: Vec<&[InodeNr]> = dirs.chunks(BATCH).collect();
    let work = || {
        let mut done = Vec::new();
        let (mut room, mut report) = (Vec::new(), Report::default());
        loop {
            let nr = next.fetch_add(1, Ordering::Relaxed);
            let Some(batch) = batches.get(nr) else { return done };
            done.push((nr, scan(view, batch, &mut room, &mut report)));
        }
    };
    let mut done = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.max(1)).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for other in others {
            match other.join() {
                Ok(part) => done.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_by_key(|it| it.0);
    done.into_iter().map(|it| it.1).collect()
}

fn scan(
    view: View<'_>,
    dirs: &[InodeNr],
    room: &mut Vec<u8>,
    report: &mut Report,
) -> Result<Batch> {
    let mut batch = Batch::default();
    for &dir in dirs {
        let Some(known) = view.facts.directories.get(dir) else { continue };
        report.clear();
        match directory::check(view, dir, known, &mut view::suspect, report, room) {
            Ok(()) => batch.add(dir, false, report),
            Err(Error::Suspect) => batch.add(dir, true, report),
            Err(other) => return Err(other),
        }
    }
    Ok(batch)
}
