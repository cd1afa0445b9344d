//! From text to lines.

use super::{
    Action, Contents, Expect, Line, Op, Script, Way, Write,
    words::{self, OPERATIONS, steps},
};
use ext4_dio::Sync;
use std::collections::{BTreeMap, VecDeque};

/// What is generated in memory at once.
const MAX_IN_MEMORY: u64 = 64 << 20;

/// A script that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: found {found}, expected {expected}")]
pub struct ScriptError {
    /// Number of the line, from 1.
    pub line: usize,
    /// What stands there.
    pub found: String,
    /// What could.
    pub expected: String,
}

impl Script {
    /// Reads a job file.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let mut script = Self::default();
        let mut names = BTreeMap::new();
        let mut stopped = BTreeMap::new();
        for (idx, text) in text.lines().enumerate() {
            let mut words = Words::new(idx + 1, text);
            if words.rest.is_empty() {
                continue;
            }
            let line = words.line(&mut names, &mut stopped)?;
            if let Action::Op(op) = &line.action
                && let Some(path) = op.path()
                && !script.files.iter().any(|it| it == path)
            {
                script.files.push(path.to_owned());
            }
            script.lines.push(line);
        }
        Ok(script)
    }

    /// The number of a file in what is written to it, from 1.
    pub fn file_nr(&self, path: &str) -> u32 {
        let idx = self.files.iter().position(|it| it == path).unwrap_or(self.files.len());
        u32::try_from(idx).unwrap_or(u32::MAX).saturating_add(1)
    }
}

/// Operations that are stopped: by actor, the line and the steps at which to stop again.
type Stopped = BTreeMap<Option<String>, (usize, &'static [&'static str])>;

/// The words of one line that were not taken yet.
struct Words<'a> {
    nr: usize,
    rest: VecDeque<&'a str>,
}

impl<'a> Words<'a> {
    fn new(nr: usize, text: &'a str) -> Self {
        let rest = text.split_whitespace().take_while(|it| !it.starts_with('#')).collect();
        Self { nr, rest }
    }

    fn error(&self, found: &str, expected: &str) -> ScriptError {
        ScriptError { line: self.nr, found: found.to_owned(), expected: expected.to_owned() }
    }

    fn unexpected(&self, word: Option<&str>, expected: &str) -> ScriptError {
        let found = word.map_or("the end of the line".to_owned(), |it| format!("`{it}`"));
        self.error(&found, expected)
    }

    fn next(&mut self, expected: &str) -> Result<&'a str, ScriptError> {
        self.rest.pop_front().ok_or_else(|| self.unexpected(None, expected))
    }

    /// Takes the next word if it is this one.
    fn takes(&mut self, word: &str) -> bool {
        let is_there = self.rest.front() == Some(&word);
        if is_there {
            self.rest.pop_front();
        }
        is_there
    }

    fn size(&mut self, what: &str) -> Result<u64, ScriptError> {
        let expected = format!("{what} such as 4096, 4k, 1M");
        let word = self.next(&expected)?;
        words::size(word).ok_or_else(|| self.unexpected(Some(word), &expected))
    }

    fn number(&mut self, what: &str, from: u64, to: u64) -> Result<u64, ScriptError> {
        let expected = format!("{what} from {from} to {to}");
        let word = self.next(&expected)?;
        let number = words::size(word).filter(|it| (from..=to).contains(it));
        number.ok_or_else(|| self.unexpected(Some(word), &expected))
    }

    fn mode(&mut self) -> Result<u16, ScriptError> {
        let expected = "permissions in octal such as 0644";
        let word = self.next(expected)?;
        let mode = u16::from_str_radix(word, 8).ok().filter(|&it| it <= 0o7777);
        mode.ok_or_else(|| self.unexpected(Some(word), expected))
    }

    fn path(&mut self) -> Result<String, ScriptError> {
        let expected = "a path in the image such as /f";
        let word = self.next(expected)?;
        if !word.starts_with('/') || word.ends_with('/') {
            return Err(self.unexpected(Some(word), expected));
        }
        Ok(word.to_owned())
    }

    /// First byte and number of bytes, the end not beyond what a number holds.
    fn range(&mut self) -> Result<(u64, u64), ScriptError> {
        let offset = self.size("an offset")?;
        let len = self.size("a length")?;
        if offset.checked_add(len).is_none() {
            return Err(self.error(&format!("{offset} {len}"), "a range that ends below 2^64"));
        }
        Ok((offset, len))
    }

    fn line(
        &mut self,
        names: &mut BTreeMap<String, usize>,
        stopped: &mut Stopped,
    ) -> Result<Line, ScriptError> {
        let actor = match self.rest.front().and_then(|it| it.strip_suffix(':')) {
            Some(label) => {
                let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                if label.is_empty() || label == "-" || !label.chars().all(is_word) {
                    return Err(self.unexpected(
                        self.rest.front().copied(),
                        "a label of letters and digits before the colon",
                    ));
                }
                self.rest.pop_front();
                Some(label.to_owned())
            }
            None => None,
        };
        let action = self.action(names)?;
        let mut line = Line { nr: self.nr, actor, action, until: None, expect: None };
        if line.actor.is_some() && line.action == Action::Crash {
            return Err(self.error("a label before `crash`", "none: the power goes for all"));
        }
        let steps = match (&line.action, stopped.remove(&line.actor)) {
            (Action::Finish, None) => {
                return Err(self.error("`finish`", "an operation stopped by `until` before it"));
            }
            (Action::Op(_), Some((at, _))) => {
                let found = format!("`{line}` while the operation of line {at} is stopped");
                return Err(self.error(&found, "`finish`"));
            }
            (Action::Crash, _) => {
                stopped.clear();
                &[]
            }
            (Action::Finish, Some((_, steps))) => steps,
            (Action::Op(op), None) => steps_of(op),
        };
        while let Some(word) = self.rest.pop_front() {
            match word {
                "until" if line.until.is_none() => {
                    line.until = Some(self.until(steps)?);
                    stopped.insert(line.actor.clone(), (line.nr, steps));
                }
                "expect" if line.expect.is_none() && line.action != Action::Crash => {
                    line.expect = Some(self.expect()?);
                }
                other => {
                    let expected = match &line.action {
                        Action::Op(Op::Write(Write { way: Way::Buffered, .. })) => {
                            "dsync, sync, as, until, expect or the end of the line"
                        }
                        Action::Op(Op::Write(_)) => {
                            "nowait, dsync, sync, relaxed, depth, chunk, as, until, expect or the \
                             end of the line"
                        }
                        Action::Crash => "the end of the line",
                        _ => "until, expect or the end of the line",
                    };
                    return Err(self.unexpected(Some(other), expected));
                }
            }
        }
        Ok(line)
    }

    fn action(&mut self, names: &mut BTreeMap<String, usize>) -> Result<Action, ScriptError> {
        let expected = format!("one of {}", OPERATIONS.join(", "));
        let word = self.next(&expected)?;
        let op = match word {
            "create" => {
                let path = self.path()?;
                let is_mode = |it: &&str| it.starts_with(|c: char| c.is_ascii_digit());
                let mode =
                    if self.rest.front().is_some_and(is_mode) { self.mode()? } else { 0o644 };
                Op::Create { path, mode }
            }
            "open" => Op::Open { path: self.path()? },
            "unlink" => Op::Unlink { path: self.path()?, stays_open: self.takes("open") },
            "close" => Op::Close { path: self.path()? },
            "buffered" => Op::Write(self.write(Way::Buffered, names)?),
            "direct" => Op::Write(self.write(Way::Direct, names)?),
            "submit" => Op::Write(self.write(Way::Async, names)?),
            "wait" => Op::Wait,
            "fsync" => Op::Fsync { path: self.path()?, data_only: false },
            "fdatasync" => Op::Fsync { path: self.path()?, data_only: true },
            "writeback" => {
                let path = self.path()?;
                let has_range = self
                    .rest
                    .front()
                    .is_some_and(|it| it.starts_with(|c: char| c.is_ascii_digit()));
                Op::Writeback { path, range: has_range.then(|| self.range()).transpose()? }
            }
            "sync" => Op::SyncAll,
            "commit" => Op::Commit,
            "truncate" => Op::Truncate { path: self.path()?, size: self.size("a size")? },
            "fallocate" => {
                let (path, (offset, len)) = (self.path()?, self.range()?);
                Op::Fallocate { path, offset, len, keep_size: self.takes("keep-size") }
            }
            "punch" => {
                let (path, (offset, len)) = (self.path()?, self.range()?);
                Op::Punch { path, offset, len }
            }
            "chmod" => Op::Chmod { path: self.path()?, mode: self.mode()? },
            "read" => {
                let (path, (offset, len)) = (self.path()?, self.range()?);
                self.check_in_memory(len)?;
                let is = self.takes("is").then(|| self.contents(names)).transpose()?;
                Op::Read { path, offset, len, is }
            }
            "size" => Op::Size { path: self.path()? },
            "finish" => return Ok(Action::Finish),
            "crash" => return Ok(Action::Crash),
            other => return Err(self.unexpected(Some(other), &expected)),
        };
        Ok(Action::Op(op))
    }

    fn write(
        &mut self,
        way: Way,
        names: &mut BTreeMap<String, usize>,
    ) -> Result<Write, ScriptError> {
        let path = self.path()?;
        let (offset, len) = if self.takes("append") {
            (None, self.size("a length")?)
        } else {
            let (offset, len) = self.range()?;
            (Some(offset), len)
        };
        if way != Way::Direct {
            self.check_in_memory(len)?;
        }
        let mut write = Write::new(way, &path, offset, len);
        while let Some(&word) = self.rest.front() {
            let is_direct = way != Way::Buffered;
            match word {
                "dsync" => write.sync = Sync::Data,
                "sync" => write.sync = Sync::Full,
                "nowait" if is_direct => write.nowait = true,
                "relaxed" if way == Way::Direct => write.is_strict = false,
                "depth" | "chunk" if is_direct => {}
                "as" => {}
                _ => break,
            }
            self.rest.pop_front();
            match word {
                "depth" => {
                    let depth = self.number("transfers in flight", 1, 1024)?;
                    write.depth = usize::try_from(depth).unwrap_or(16);
                }
                "chunk" => {
                    let chunk = self.number("bytes of a transfer", 512, MAX_IN_MEMORY)?;
                    write.chunk = usize::try_from(chunk).unwrap_or(1 << 20);
                }
                "as" => {
                    let name = self.next("a name for these bytes")?;
                    names.insert(name.to_owned(), self.nr);
                }
                _ => {}
            }
        }
        Ok(write)
    }

    fn check_in_memory(&self, len: u64) -> Result<(), ScriptError> {
        if len > MAX_IN_MEMORY {
            return Err(self.error(&format!("{len} bytes"), "at most 64M in one operation"));
        }
        Ok(())
    }

    fn contents(&mut self, names: &BTreeMap<String, usize>) -> Result<Contents, ScriptError> {
        let expected = "zeros, `line N`, or a name given by `as` before";
        let word = self.next(expected)?;
        match (word, names.get(word)) {
            ("zeros", _) => Ok(Contents::Zeros),
            ("line", _) => {
                let nr = self.number("a line", 1, 1 << 30)?;
                Ok(Contents::Line(usize::try_from(nr).unwrap_or(usize::MAX)))
            }
            (_, Some(&nr)) => Ok(Contents::Line(nr)),
            (other, None) => Err(self.unexpected(Some(other), expected)),
        }
    }

    fn until(&mut self, steps: &[&str]) -> Result<String, ScriptError> {
        if steps.is_empty() {
            return Err(self.error("`until`", "an operation with steps before it"));
        }
        let expected = format!("one of {}", steps.join(", "));
        let word = self.next(&expected)?;
        if !steps.contains(&word) {
            return Err(self.unexpected(Some(word), &expected));
        }
        Ok(word.to_owned())
    }

    fn expect(&mut self) -> Result<Expect, ScriptError> {
        let expected = "an error such as ENOSPC, a number of bytes, or any";
        let word = self.next(expected)?;
        if word == "any" {
            return Ok(Expect::Any);
        }
        let errno = words::errno(word).map(Expect::Errno);
        let found = errno.or_else(|| words::size(word).map(Expect::Result));
        found.ok_or_else(|| self.unexpected(Some(word), expected))
    }
}

/// At which steps an operation can be stopped.
fn steps_of(op: &Op) -> &'static [&'static str] {
    match op {
        Op::Write(Write { way: Way::Buffered, .. }) => steps::BUFFERED,
        Op::Truncate { .. }
        | Op::Fallocate { .. }
        | Op::Punch { .. }
        | Op::Close { .. }
        | Op::Unlink { .. } => steps::LOCKED,
        Op::Write(_) => steps::DIRECT,
        Op::Writeback { .. } => steps::WRITEBACK,
        Op::Fsync { .. } => steps::FSYNC,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, message: &str) {
        assert_eq!(Script::parse(text).unwrap_err().to_string(), message);
    }

    #[test]
    fn a_job_is_read_as_it_would_be_typed_again() {
        let job = "# a race\n\ncreate /f 0600\na: buffered /f 16k 4k dsync\n\
                   b: direct /f 4k 4k nowait depth 2 until orphan # here\nwriteback /f\n\
                   b: finish expect EAGAIN\nfallocate /f 0 1M keep-size\n\
                   submit /f append 512 expect 512\ncrash\nread /f 4k 4k is line 5\n";
        let script = Script::parse(job).unwrap();
        let lines: Vec<_> = script.lines.iter().map(|it| format!("{} {it}", it.nr)).collect();
        let expected = [
            "3 create /f 0600",
            "4 a: buffered /f 16384 4096 dsync",
            "5 b: direct /f 4096 4096 nowait depth 2 until orphan",
            "6 writeback /f",
            "7 b: finish expect EAGAIN",
            "8 fallocate /f 0 1048576 keep-size",
            "9 submit /f append 512 expect 512",
            "10 crash",
            "11 read /f 4096 4096",
        ];
        assert_eq!(lines, expected);
        assert_eq!((script.files.len(), script.file_nr("/f")), (1, 1));
    }

    #[test]
    fn bytes_can_have_a_name() {
        let script = Script::parse("direct /f 0 4k as X\nread /f 0 4k is X").unwrap();
        let Action::Op(Op::Read { is, .. }) = &script.lines[1].action else { unreachable!() };
        assert_eq!(*is, Some(Contents::Line(1)));
        refused(
            "read /f 0 4k is X",
            "line 1: found `X`, expected zeros, `line N`, or a name given by `as` before",
        );
    }

    #[test]
    fn what_makes_no_sense_is_told_with_its_line() {
        let words = OPERATIONS.join(", ");
        refused("\nwrit /f 0 1", &format!("line 2: found `writ`, expected one of {words}"));
        refused("a:", &format!("line 1: found the end of the line, expected one of {words}"));
        refused("truncate f 0", "line 1: found `f`, expected a path in the image such as /f");
        refused("direct /f 4x 4k", "line 1: found `4x`, expected an offset such as 4096, 4k, 1M");
        refused(
            "direct /f 0 4k until don",
            &format!("line 1: found `don`, expected one of {}", steps::DIRECT.join(", ")),
        );
        refused(
            "direct /f 0 4k expect EFOO",
            "line 1: found `EFOO`, expected an error such as ENOSPC, a number of bytes, or any",
        );
        refused(
            "buffered /f 0 4k nowait",
            "line 1: found `nowait`, expected dsync, sync, as, until, expect or the end of the line",
        );
        refused(
            "punch /f 20000000000G 1",
            "line 1: found `20000000000G`, expected an offset such as 4096, 4k, 1M",
        );
        refused(
            "punch /f 18446744073709551615 2",
            "line 1: found 18446744073709551615 2, expected a range that ends below 2^64",
        );
        refused(
            "buffered /f 0 65M",
            "line 1: found 68157440 bytes, expected at most 64M in one operation",
        );
        refused(
            "a/b: commit",
            "line 1: found `a/b:`, expected a label of letters and digits before the colon",
        );
        refused(
            "b: crash",
            "line 1: found a label before `crash`, expected none: the power goes for all",
        );
    }

    #[test]
    fn stopping_and_going_on_belong_together() {
        refused(
            "b: finish",
            "line 1: found `finish`, expected an operation stopped by `until` before it",
        );
        refused(
            "b: direct /f 0 4k until mapped\nb: commit",
            "line 2: found `b: commit` while the operation of line 1 is stopped, expected `finish`",
        );
        refused(
            "commit until done",
            "line 1: found `until`, expected an operation with steps before it",
        );
        assert!(Script::parse("b: direct /f 0 4k until mapped\ncrash\nb: commit").is_ok());
    }
}
