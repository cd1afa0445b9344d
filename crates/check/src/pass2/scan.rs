//! The scan over directories by several threads, which tells what is in those without a fault and
//! which are to be checked again alone, when somebody can be asked.

use super::{
    directory,
    view::{self, Report, View},
    window::Window,
};
use crate::{Error, Result, names::Names};
use ext4_units::InodeNr;
use std::{
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Directories that a thread takes at once.
const BATCH: usize = 32;

/// What the scan of some directories came to. One for many of them: what each came to is small, and
/// to ask for memory is not.
///
/// The names in a directory without directories count at once. Those in another one may be looked at
/// once more, when a directory in it turns out to have a name elsewhere.
#[derive(Debug, Default)]
pub(super) struct Batch {
    directories: Vec<Scanned>,
    names: Vec<InodeNr>,
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
    /// Inodes that have a name in it, `.` and `..` included, where they were not counted.
    pub(super) names: &'b [InodeNr],
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

    fn add(&mut self, dir: InodeNr, is_suspect: bool, report: &Report, counted: &mut Names) {
        let (names, children) = (self.names.len(), self.children.len());
        if !is_suspect && report.children.is_empty() {
            report.names.iter().for_each(|it| counted.add(*it));
        } else if !is_suspect {
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

/// What these directories came to, in their order, and the names that were counted.
pub(super) fn run(view: View<'_>, dirs: &[InodeNr], threads: usize) -> Result<(Vec<Batch>, Names)> {
    let next = AtomicUsize::new(0);
    let batches: Vec<&[InodeNr]> = dirs.chunks(BATCH).collect();
    let work = || {
        let (mut done, mut counted) = (Vec::new(), Names::default());
        let (mut window, mut report) = (Window::default(), Report::default());
        loop {
            let nr = next.fetch_add(1, Ordering::Relaxed);
            let Some(batch) = batches.get(nr) else { return (done, counted) };
            done.push((nr, scan(view, batch, &mut window, &mut report, &mut counted)));
        }
    };
    let (mut done, counted) = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.max(1)).map(|_| scope.spawn(work)).collect();
        let (mut done, mut counted) = work();
        for other in others {
            match other.join() {
                Ok((theirs, names)) => {
                    done.extend(theirs);
                    counted.merge(names);
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        (done, counted)
    });
    done.sort_by_key(|it| it.0);
    let batches: Result<Vec<_>> = done.into_iter().map(|it| it.1).collect();
    Ok((batches?, counted))
}

fn scan(
    view: View<'_>,
    dirs: &[InodeNr],
    window: &mut Window,
    report: &mut Report,
    counted: &mut Names,
) -> Result<Batch> {
    let mut batch = Batch::default();
    let all: Vec<_> =
        dirs.iter().filter_map(|it| Some((*it, view.facts.directories.get(*it)?))).collect();
    for (nr, &(dir, known)) in all.iter().enumerate() {
        let coming = all.iter().skip(nr).flat_map(|it| &it.1.runs);
        window.reach(view.image, coming.map(|it| it.blocks));
        report.clear();
        match directory::check(view, dir, known, &mut view::suspect, report, window) {
            Ok(()) => batch.add(dir, false, report, counted),
            Err(Error::Suspect) => batch.add(dir, true, report, counted),
            Err(other) => return Err(other),
        }
    }
    Ok(batch)
}
