//! What a run of a program takes: time, processor and memory.

use rustix::fs::{Advice, fadvise, fsync};
use std::{
    fmt,
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Whether the host has the image in its cache.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Temperature {
    Warm,
    Cold,
}

impl fmt::Display for Temperature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Warm { "warm" } else { "cold" })
    }
}

/// What one run took, or the typical one of several.
#[derive(Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) wall: Duration,
    /// Of all threads, by the program and by the kernel for it.
    pub(crate) cpu: Duration,
    /// The most bytes it was seen to hold.
    pub(crate) memory: u64,
}

impl Figures {
    /// Of several runs: the median of time, the mean of processor (which is told in steps of 10 ms),
    /// the most of memory.
    pub(crate) fn of(mut all: Vec<Self>) -> Self {
        all.sort_by_key(|it| it.wall);
        let cpu: Duration = all.iter().map(|it| it.cpu).sum();
        let runs = u32::try_from(all.len()).expect("a few runs");
        Self {
            wall: all[all.len() / 2].wall,
            cpu: cpu / runs,
            memory: all.iter().map(|it| it.memory).max().unwrap_or(0),
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2?} (cpu {:.2?}, {} MiB)", self.wall, self.cpu, self.memory >> 20)
    }
}

/// Makes the host forget what it has of a file; false where the file is nowhere else.
pub(crate) fn chill(image: &Path) -> bool {
    const TMPFS: i64 = 0x0102_1994;
    let file = File::open(image).expect("the image");
    if rustix::fs::fstatfs(&file).expect("its filesystem").f_type == TMPFS {
        return false;
    }
    fsync(&file).and_then(|()| fadvise(&file, 0, None, Advice::DontNeed)).expect("an advice");
    true
}

/// Runs it; it must find the image clean.
pub(crate) fn run(command: &mut Command) -> Figures {
    let before = cpu_of_children();
    let start = Instant::now();
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("it can be started");
    let mut memory = 0;
    let file = format!("/proc/{}/status", child.id());
    let status = loop {
        memory = memory.max(most_memory(&file).unwrap_or(0));
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let wall = start.elapsed();
    assert!(status.success(), "{command:?}: {status}");
    Figures { wall, cpu: cpu_of_children().saturating_sub(before), memory }
}

/// `VmHWM`, in bytes.
fn most_memory(status: &str) -> Option<u64> {
    let text = fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|it| it.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
}

/// What children that have ended took: `cutime` and `cstime` of proc_pid_stat(5), in ticks of which
/// a second has a hundred.
fn cpu_of_children() -> Duration {
    let text = fs::read_to_string("/proc/self/stat").expect("proc");
    let behind_name = text.rsplit(')').next().unwrap_or_default();
    let fields = behind_name.split_whitespace().skip(13).take(2);
    let ticks: u64 = fields.map(|it| it.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}
