//! Who goes on next.

use crate::{
    Error, Row, Waiting,
    script::{Action, Expect, Line, Op, Script, Way, Write, errno_name, steps::BLOCKED},
    stamp::StampReader,
    task::{self, Context, Failed, Progress, Task, UNLOCKED},
};
use ext4_fs::{Filesystem, Inode};
use ext4_units::InodeNr;
use std::{collections::BTreeSet, ops::ControlFlow};

/// How lines with different labels are interleaved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Not at all: one after the other, but for what is stopped by `until` or has to wait.
    Given,
    /// By a generator with this seed: each label is a thread of its own.
    Seeded(u64),
}

/// How a part of a script ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All of it was done.
    Done,
    /// At a `crash`: what was stopped in the middle stays there.
    Crash,
    /// Whoever watches it broke off.
    Cut,
}

/// A run of a script, part after part: a `crash` ends a part, and whatever opens the filesystem
/// again may go on with the next.
#[derive(Debug)]
pub struct Session<'s> {
    script: &'s Script,
    order: Order,
    random: u64,
    n_steps: u64,
    /// Index of the line to go on with.
    next: usize,
}

impl<'s> Session<'s> {
    /// The beginning.
    pub fn new(script: &'s Script, order: Order) -> Self {
        let random = if let Order::Seeded(seed) = order { seed } else { 0 };
        Self { script, order, random, n_steps: 0, next: 0 }
    }

    /// Whether lines are left.
    pub fn has_more(&self) -> bool {
        self.next < self.script.lines.len()
    }

    /// How many steps were done.
    pub fn n_steps(&self) -> u64 {
        self.n_steps
    }

    /// Runs up to the next `crash`, or to the end, where what is still stopped is finished.
    ///
    /// `watch` sees each step after it was done, and may break off; then everything stays in the
    /// middle, as at a crash. After an error what had begun is still brought to its end, so that
    /// the filesystem can be closed.
    pub fn run(
        &mut self,
        fs: &Filesystem,
        watch: &mut dyn FnMut(Row) -> ControlFlow<()>,
    ) -> Result<Ended, Error> {
        let rest = self.script.lines.get(self.next..).unwrap_or_default();
        let len = rest.iter().position(|it| it.action == Action::Crash);
        let lines = &rest[..len.unwrap_or(rest.len())];
        self.next += lines.len() + usize::from(len.is_some());
        let mut sources: Vec<_> = lines.iter().map(|it| task::source(self.script, it)).collect();
        let mut run = Run {
            cx: Context::new(fs, self.script),
            statuses: vec![Status::New; lines.len()],
            first_left: 0,
            n_labels: lines
                .iter()
                .filter_map(|it| it.actor.as_ref())
                .collect::<BTreeSet<_>>()
                .len(),
            sources: sources.iter_mut().map(Option::as_mut).collect(),
            active: Vec::new(),
            progress: 0,
            last: None,
            finishes: len.is_none(),
            lines,
            session: self,
            watch,
        };
        let ended = run.go()?;
        Ok(if ended == Ended::Done && len.is_some() { Ended::Crash } else { ended })
    }

    /// SplitMix64.
    fn below(&mut self, n: usize) -> usize {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        usize::try_from(z % (n.max(1) as u64)).unwrap_or(0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    New,
    Active,
    /// Done, or stopped where it was to stop.
    Over,
}

/// An operation that has begun.
struct Active<'a> {
    /// Index of the line that drives it: its own, or a `finish`.
    line: usize,
    op: &'a Op,
    ino: Option<InodeNr>,
    task: Box<dyn Task<'a> + 'a>,
    is_stopped: bool,
    /// An asynchronous write on its way: its line is over.
    in_flight: bool,
    /// What it waits for, and how much had happened when it last tried.
    blocked: Option<(String, u64)>,
}

#[derive(Clone, Copy, Debug)]
enum Choice {
    Start(usize),
    Step(usize),
}

struct Run<'a, 's, 'w> {
    session: &'w mut Session<'s>,
    cx: Context<'a>,
    lines: &'a [Line],
    statuses: Vec<Status>,
    /// Index of the first line that is not over: scripts may have many lines.
    first_left: usize,
    /// How many labels there are.
    n_labels: usize,
    sources: Vec<Option<&'a mut StampReader>>,
    active: Vec<Active<'a>>,
    /// Counts what happened, so that who waits is not asked again before something did.
    progress: u64,
    /// The file that rows tell about: that of the last operation on one.
    last: Option<InodeNr>,
    /// Whether what is still stopped at the end is finished.
    finishes: bool,
    watch: &'w mut dyn FnMut(Row) -> ControlFlow<()>,
}

impl<'a> Run<'a, '_, '_> {
    fn go(&mut self) -> Result<Ended, Error> {
        loop {
            while self.statuses.get(self.first_left) == Some(&Status::Over) {
                self.first_left += 1;
            }
            let has_all = self.first_left == self.lines.len();
            if !self.finishes && has_all {
                return Ok(Ended::Done);
            }
            let Some(choice) = self.choose() else {
                if !has_all {
                    let deadlock = self.deadlock();
                    self.wind_up();
                    return Err(deadlock);
                }
                if self.active.is_empty() {
                    return Ok(Ended::Done);
                }
                self.active.iter_mut().for_each(|it| it.is_stopped = false);
                continue;
            };
            let res = match choice {
                Choice::Start(line) => self.start(line),
                Choice::Step(idx) => self.step(idx),
            };
            match res {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => return Ok(Ended::Cut),
                Err(err) => {
                    self.wind_up();
                    return Err(err);
                }
            }
        }
    }

    /// Brings what has begun to its end; its errors do not matter any more.
    fn wind_up(&mut self) {
        loop {
            let mut is_over = true;
            for mut it in std::mem::take(&mut self.active) {
                let is_left = loop {
                    match it.task.step(&mut self.cx) {
                        Ok(Progress::Did(..)) => is_over = false,
                        Ok(Progress::Blocked(_)) => break true,
                        Ok(Progress::Done(..)) | Err(_) => break false,
                    }
                };
                if is_left {
                    self.active.push(it);
                } else {
                    is_over = false;
                    self.cx.leave(it.ino);
                }
            }
            if is_over {
                return;
            }
        }
    }

    fn choose(&mut self) -> Option<Choice> {
        let running: Vec<usize> = (0..self.active.len())
            .filter(|&idx| {
                let it = &self.active[idx];
                !it.is_stopped && it.blocked.as_ref().is_none_or(|it| it.1 != self.progress)
            })
            .collect();
        let startable = |lenient| self.startable(lenient);
        let lenient = |strict: Vec<usize>| {
            // Nobody can go on: who waits may wait for what comes later.
            if strict.is_empty() && running.is_empty() { startable(true) } else { strict }
        };
        match self.session.order {
            Order::Given => {
                // What is in flight ends when somebody waits for it.
                let lowest = |in_flight| {
                    let those =
                        running.iter().filter(|&&it| self.active[it].in_flight == in_flight);
                    those.copied().min_by_key(|&idx| self.active[idx].line).map(Choice::Step)
                };
                let start = |lines: Vec<usize>| lines.first().copied().map(Choice::Start);
                lowest(false)
                    .or_else(|| start(startable(false)))
                    .or_else(|| lowest(true))
                    .or_else(|| start(startable(true)))
            }
            Order::Seeded(_) => {
                let startable = lenient(startable(false));
                let all: Vec<_> = running
                    .iter()
                    .map(|&it| Choice::Step(it))
                    .chain(startable.into_iter().map(Choice::Start))
                    .collect();
                if all.is_empty() { None } else { Some(all[self.session.below(all.len())]) }
            }
        }
    }

    /// Lines that can begin: their actor is free, and the lines they must come after are over.
    /// `lenient` lets those pass that wait for something.
    fn startable(&self, lenient: bool) -> Vec<usize> {
        let mut found = Vec::new();
        // Who has a line before this one that is not over.
        let mut busy = BTreeSet::new();
        // Whether a line that is not over holds up those that come after all before them, and
        // whether one without a label holds up everybody.
        let (mut holds_alone, mut holds_all) = (false, false);
        for line in self.first_left..self.lines.len() {
            let status = self.statuses[line];
            if status == Status::Over {
                continue;
            }
            let actor = self.lines[line].actor.as_deref();
            let is_ordered = self.session.order == Order::Given || actor.is_none();
            let is_held = holds_all || (is_ordered && holds_alone) || busy.contains(&actor);
            if status == Status::New && !is_held {
                found.push(line);
            }
            busy.insert(actor);
            if status == Status::New || !lenient {
                holds_alone = true;
                holds_all |= is_ordered;
            }
            let all_busy = busy.len() - usize::from(busy.contains(&None)) == self.n_labels;
            if holds_all || (holds_alone && all_busy) {
                break;
            }
        }
        found
    }

    fn start(&mut self, line: usize) -> Result<ControlFlow<()>, Error> {
        let new = &self.lines[line];
        self.statuses[line] = Status::Active;
        match &new.action {
            Action::Op(op) => {
                let source = self.sources[line].take();
                match task::begin(&mut self.cx, new, op, source) {
                    Ok((task, ino)) => {
                        self.cx.enter(ino);
                        self.active.push(Active {
                            line,
                            op,
                            ino,
                            task,
                            is_stopped: false,
                            in_flight: false,
                            blocked: None,
                        });
                        Ok(ControlFlow::Continue(()))
                    }
                    Err(failed) => self.ended(line, op, Err(failed)),
                }
            }
            Action::Finish => {
                let lines = self.lines;
                let stopped = self
                    .active
                    .iter_mut()
                    .find(|it| it.is_stopped && lines[it.line].actor == new.actor);
                if let Some(stopped) = stopped {
                    stopped.is_stopped = false;
                    stopped.line = line;
                    return Ok(ControlFlow::Continue(()));
                }
                // It came to its end before the step at which it was to stop, which was told.
                self.statuses[line] = Status::Over;
                Ok(ControlFlow::Continue(()))
            }
            Action::Crash => Ok(ControlFlow::Continue(())),
        }
    }

    fn step(&mut self, idx: usize) -> Result<ControlFlow<()>, Error> {
        let Active { line, op, .. } = self.active[idx];
        let progress = self.active[idx].task.step(&mut self.cx);
        let created = || op.path().and_then(|path| self.cx.find(path).ok());
        self.last = self.active[idx].ino.or_else(created).or(self.last);
        let stops = |event: &str| self.lines[line].until.as_deref() == Some(event);
        match progress {
            Ok(Progress::Did(event, mut what)) => {
                self.progress += 1;
                self.active[idx].blocked = None;
                if event == UNLOCKED && is_async(op) {
                    self.active[idx].in_flight = true;
                    what += ", in flight";
                    self.cx.submitted(self.lines[line].who());
                    self.statuses[line] = Status::Over;
                }
                if stops(event) {
                    self.active[idx].is_stopped = true;
                    self.statuses[line] = Status::Over;
                }
                Ok(self.tell(line, op, event, what))
            }
            Ok(Progress::Blocked(on)) => {
                let known = self.active[idx].blocked.take();
                self.active[idx].blocked = Some((on.clone(), self.progress));
                if stops(BLOCKED) {
                    self.active[idx].is_stopped = true;
                    self.statuses[line] = Status::Over;
                }
                if known.is_some_and(|it| it.0 == on) {
                    return Ok(ControlFlow::Continue(()));
                }
                Ok(self.tell(line, op, BLOCKED, on))
            }
            Ok(Progress::Done(result, what)) => {
                self.progress += 1;
                if self.leave(idx, Ok(result)) {
                    return Ok(self.tell(line, op, "done", what));
                }
                self.ended(line, op, Ok((result, what)))
            }
            Err(failed) => {
                self.progress += 1;
                if self.leave(idx, Err(failed.clone())) {
                    let what = errno_name(failed.errno);
                    return Ok(self.tell(line, op, "failed", what));
                }
                self.ended(line, op, Err(failed))
            }
        }
    }

    /// Takes an operation out that came to its end; whether nobody's line waits for it.
    fn leave(&mut self, idx: usize, res: Result<u64, Failed>) -> bool {
        let gone = self.active.remove(idx);
        self.cx.leave(gone.ino);
        if is_async(gone.op) {
            self.cx.completed(self.lines[gone.line].who(), gone.in_flight, res);
        }
        gone.in_flight
    }

    /// An operation came to its end: is it the one that was expected?
    fn ended(
        &mut self,
        line: usize,
        op: &'a Op,
        res: Result<(u64, String), Failed>,
    ) -> Result<ControlFlow<()>, Error> {
        self.statuses[line] = Status::Over;
        let Line { nr, until, expect, .. } = &self.lines[line];
        let (nr, op_text) = (*nr, op.to_string());
        let unexpected = |found: String, expected: String| {
            Err(Error::Unexpected { line: nr, op: op_text.clone(), found, expected })
        };
        let told = match &res {
            Ok((_, what)) => self.tell(line, op, "done", what.clone()),
            Err(Failed { errno, .. }) => self.tell(line, op, "failed", errno_name(*errno)),
        };
        match (res, expect) {
            (Ok(_), _) if until.is_some() => {
                let step = until.as_deref().unwrap_or_default();
                unexpected("done".to_owned(), format!("the step `{step}` on the way"))
            }
            (Err(_), Some(Expect::Any)) => Ok(told),
            (Err(failed), Some(Expect::Errno(errno))) if failed.errno == *errno => Ok(told),
            (Err(Failed { errno, message }), None) => {
                Err(Error::Failed { line: nr, op: op_text, errno, message })
            }
            (Err(Failed { errno, message }), Some(expect)) => {
                unexpected(format!("{}: {message}", errno_name(errno)), expected(expect))
            }
            (Ok((result, _)), Some(Expect::Result(n))) if result != *n => {
                unexpected(format!("{result}"), format!("{n}"))
            }
            (Ok(_), Some(expect @ Expect::Errno(_))) => {
                unexpected("done".to_owned(), expected(expect))
            }
            (Ok(_), _) => Ok(told),
        }
    }

    /// Tells one step to whoever watches.
    fn tell(&mut self, line: usize, op: &Op, event: &'static str, what: String) -> ControlFlow<()> {
        self.session.n_steps += 1;
        let fs = self.cx.fs;
        let ino = self.last;
        let inode = ino.and_then(|ino| fs.inode(fs.meta(), ino).ok());
        let Line { nr, .. } = self.lines[line];
        (self.watch)(Row {
            step: self.session.n_steps,
            line: nr,
            actor: self.lines[line].who().to_owned(),
            operation: op.to_string(),
            event,
            what,
            i_size: inode.as_ref().map(|it| it.i_size),
            i_disksize: inode.as_ref().map(Inode::i_disksize),
            orphan: ino.map(|ino| fs.is_orphan(ino)),
            tid: fs.journal().running_tid().0,
        })
    }

    fn deadlock(&self) -> Error {
        let waiting = self.active.iter().map(|it| Waiting {
            line: self.lines[it.line].nr,
            op: it.op.to_string(),
            on: match &it.blocked {
                Some((on, _)) if !it.is_stopped => on.clone(),
                _ => "is stopped".to_owned(),
            },
        });
        Error::Deadlock(waiting.collect())
    }
}

fn is_async(op: &Op) -> bool {
    matches!(op, Op::Write(Write { way: Way::Async, .. }))
}

fn expected(expect: &Expect) -> String {
    match expect {
        Expect::Errno(nr) => errno_name(*nr),
        Expect::Result(n) => n.to_string(),
        Expect::Any => "anything".to_owned(),
    }
}
