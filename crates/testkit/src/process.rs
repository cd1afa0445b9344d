//! One child process with an end: its output, its exit code, and a time limit.

use anyhow::{Context, Result};
use std::{
    ffi::OsStr,
    io::{self, Read, Write},
    process::{Child, Command, Stdio},
    sync::{PoisonError, RwLock},
    thread,
    time::{Duration, Instant},
};

/// What a child said and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Exit code; `None` when a signal or the time limit ended it.
    pub code: Option<i32>,
    /// Whether it was killed because its time was over.
    pub timed_out: bool,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Whether it ended by itself with exit code 0.
    pub fn ok(&self) -> bool {
        self.code == Some(0)
    }

    /// Both streams as text, standard output first.
    pub fn text(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&self.stderr));
        text
    }

    /// The text, or an error that holds it, unless the exit code was 0.
    pub fn expect_ok(self, what: &str) -> Result<String> {
        anyhow::ensure!(
            self.ok(),
            "{what}: exit code {:?}{}: {}",
            self.code,
            if self.timed_out { " (time limit)" } else { "" },
            self.text().trim()
        );
        Ok(self.text())
    }
}

/// The environment that makes e2fsprogs say and do the same everywhere: C locale, UTC, no pager, a
/// fixed clock and no configuration file of the host.
pub(crate) const ENV: &[(&str, &str)] = &[
    ("LC_ALL", "C"),
    ("TZ", "GMT0"),
    ("E2FSCK_CONFIG", "/dev/null"),
    ("DEBUGFS_PAGER", "cat"),
    ("BLKID_FILE", "/dev/null"),
    ("E2FSPROGS_LIBMAGIC_SUPPRESS", "yes"),
    ("E2FSPROGS_FAKE_TIME", FAKE_TIME),
];

/// The second since 1970 at which e2fsprogs believes to run.
pub const FAKE_TIME: &str = "1700000000";

/// Held by who writes an image, alone by who forks.
static FORKS: RwLock<()> = RwLock::new(());

/// Starts a program while nobody is inside [`write_unforked`].
///
/// # Errors
/// Those of [`Command::spawn`].
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    let _alone = FORKS.write().unwrap_or_else(PoisonError::into_inner);
    command.spawn()
}

/// Writes a file of which no child gets a descriptor: between fork and exec one has those of all
/// threads, and a program that asks who has its image open for writing would find it.
pub fn write_unforked<T>(write: impl FnOnce() -> T) -> T {
    let _shared = FORKS.read().unwrap_or_else(PoisonError::into_inner);
    write()
}

/// Runs `program` to its end or for `limit` at most; then that child alone is killed.
///
/// # Errors
/// When it cannot be started at all.
pub fn run<S: AsRef<OsStr>>(
    program: &str,
    args: impl IntoIterator<Item = S>,
    env: &[(&str, &OsStr)],
    stdin: &[u8],
    limit: Duration,
) -> Result<Output> {
    let mut command = Command::new(program);
    command.args(args).envs(ENV.iter().copied()).envs(env.iter().copied());
    command.stdin(if stdin.is_empty() { Stdio::null() } else { Stdio::piped() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(&mut command).with_context(|| format!("{program}: cannot be started"))?;
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let input = child.stdin.take();
    thread::scope(|scope| {
        let stdout = scope.spawn(move || slurp(out.as_mut()));
        let stderr = scope.spawn(move || slurp(err.as_mut()));
        if let Some(mut input) = input {
            // A child that ends without reading all of it is no error of ours.
            scope.spawn(move || drop(input.write_all(stdin)));
        }
        let (code, timed_out) = wait(&mut child, limit)?;
        Ok(Output {
            code,
            timed_out,
            stdout: stdout.join().expect("reading a pipe does not panic"),
            stderr: stderr.join().expect("reading a pipe does not panic"),
        })
    })
}

fn slurp(pipe: Option<&mut impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // What came before the pipe broke is still worth having.
        drop(pipe.read_to_end(&mut bytes));
    }
    bytes
}

fn wait(child: &mut Child, limit: Duration) -> Result<(Option<i32>, bool)> {
    let start = Instant::now();
    let mut nap = Duration::from_micros(200);
    loop {
        if let Some(status) = child.try_wait().context("wait for a child")? {
            return Ok((status.code(), false));
        }
        if start.elapsed() >= limit {
            child.kill().context("kill a child whose time is over")?;
            child.wait().context("wait for a killed child")?;
            return Ok((None, true));
        }
        thread::sleep(nap);
        nap = (nap * 2).min(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_never_ends_is_ended() {
        let start = Instant::now();
        let out = run("sleep", ["100"], &[], b"", Duration::from_millis(50)).unwrap();
        assert!(out.timed_out && out.code.is_none());
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn both_streams_and_the_code_come_back() {
        let script = "cat; echo wrong >&2; exit 3";
        let out = run("sh", ["-c", script], &[], b"in\n", Duration::from_secs(20)).unwrap();
        assert_eq!((out.code, out.text().as_str()), (Some(3), "in\nwrong\n"));
        assert!(out.expect_ok("sh").is_err());
    }
}
