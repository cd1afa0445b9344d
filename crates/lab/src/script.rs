//! Job files: one operation a line.

mod parse;
mod words;

pub use parse::ScriptError;
pub use words::errno_name;
pub(crate) use words::steps;

use ext4_dio::Sync;
use std::fmt;

/// A job file, understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// Its lines but for empty ones, in order.
    pub lines: Vec<Line>,
    /// The files it names, in order of appearance.
    pub files: Vec<String>,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number in the file, from 1.
    pub nr: usize,
    /// Who does it: the label in front. A line without one is done alone: after all lines before it,
    /// and before all that follow.
    pub actor: Option<String>,
    /// What is done.
    pub action: Action,
    /// The step at which to stop in the middle.
    pub until: Option<String>,
    /// How it must end.
    pub expect: Option<Expect>,
}

impl Line {
    /// A line of a program that was not typed.
    pub fn new(nr: usize, actor: Option<&str>, action: Action) -> Self {
        Self { nr, actor: actor.map(str::to_owned), action, until: None, expect: None }
    }

    /// The actor's name, `-` for none.
    pub fn who(&self) -> &str {
        self.actor.as_deref().unwrap_or("-")
    }
}

/// What a line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// An operation.
    Op(Op),
    /// The actor's operation that was stopped goes on to its end.
    Finish,
    /// A power cut.
    Crash,
}

/// How an operation must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// With this errno.
    Errno(i32),
    /// Well, with this result: bytes written or read, or a size.
    Result(u64),
    /// Well or badly.
    Any,
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Makes an empty file.
    Create {
        /// Its path.
        path: String,
        /// Its permissions.
        mode: u16,
    },
    /// Fails unless the file is there.
    Open {
        /// Its path.
        path: String,
    },
    /// Removes the name, and the file unless it stays open.
    Unlink {
        /// The path.
        path: String,
        /// The file stays open: usable under its old path, on the orphan record, until `close`.
        stays_open: bool,
    },
    /// Closes a file that was unlinked while open: now it goes.
    Close {
        /// Its old path.
        path: String,
    },
    /// A write.
    Write(Write),
    /// Takes the completions of the actor's asynchronous writes.
    Wait,
    /// Makes a file durable.
    Fsync {
        /// Its path.
        path: String,
        /// Without what is not needed to read the data.
        data_only: bool,
    },
    /// Writes dirty pages of a file, allocating their blocks; nothing is made durable.
    Writeback {
        /// Its path.
        path: String,
        /// First byte and number of bytes; all of the file if not told.
        range: Option<(u64, u64)>,
    },
    /// Everything written back and durable.
    SyncAll,
    /// The running transaction commits.
    Commit,
    /// Sets the size.
    Truncate {
        /// Of this file.
        path: String,
        /// The size.
        size: u64,
    },
    /// Preallocates.
    Fallocate {
        /// In this file.
        path: String,
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
        /// The size stays.
        keep_size: bool,
    },
    /// Makes a hole.
    Punch {
        /// In this file.
        path: String,
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// Sets the permissions: a plain change of the inode.
    Chmod {
        /// Of this file.
        path: String,
        /// The permissions.
        mode: u16,
    },
    /// Reads, and compares if told with what.
    Read {
        /// From this file.
        path: String,
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
        /// What all of them must be.
        is: Option<Contents>,
    },
    /// Its result is the file's `i_size`.
    Size {
        /// Of this file.
        path: String,
    },
}

/// How bytes get into a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Through the page cache.
    Buffered,
    /// Direct IO.
    Direct,
    /// Direct IO whose end is taken by `wait`.
    Async,
}

/// A write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// How.
    pub way: Way,
    /// Into this file.
    pub path: String,
    /// First byte; `None` appends.
    pub offset: Option<u64>,
    /// Bytes.
    pub len: u64,
    /// What must be durable when it ends.
    pub sync: Sync,
    /// Fails rather than wait.
    pub nowait: bool,
    /// Whether misaligned direct writes fail, as the kernel's do.
    pub is_strict: bool,
    /// Transfers in flight.
    pub depth: usize,
    /// Bytes of one transfer.
    pub chunk: usize,
}

impl Write {
    /// A write of `len` bytes at `offset` with nothing special about it.
    pub fn new(way: Way, path: &str, offset: Option<u64>, len: u64) -> Self {
        Self {
            way,
            path: path.to_owned(),
            offset,
            len,
            sync: Sync::None,
            nowait: false,
            is_strict: true,
            depth: 16,
            chunk: 1 << 20,
        }
    }
}

/// What bytes may be asked to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// All zeros.
    Zeros,
    /// What the line of this number wrote there.
    Line(usize),
}

impl Op {
    /// The file it is about.
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Write(write) => Some(&write.path),
            Self::Create { path, .. }
            | Self::Open { path }
            | Self::Unlink { path, .. }
            | Self::Close { path }
            | Self::Fsync { path, .. }
            | Self::Writeback { path, .. }
            | Self::Truncate { path, .. }
            | Self::Fallocate { path, .. }
            | Self::Punch { path, .. }
            | Self::Chmod { path, .. }
            | Self::Read { path, .. }
            | Self::Size { path } => Some(path),
            Self::Wait | Self::SyncAll | Self::Commit => None,
        }
    }

    /// Its word in a script.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Open { .. } => "open",
            Self::Unlink { .. } => "unlink",
            Self::Close { .. } => "close",
            Self::Write(Write { way: Way::Buffered, .. }) => "buffered",
            Self::Write(Write { way: Way::Direct, .. }) => "direct",
            Self::Write(Write { way: Way::Async, .. }) => "submit",
            Self::Wait => "wait",
            Self::Fsync { data_only: false, .. } => "fsync",
            Self::Fsync { data_only: true, .. } => "fdatasync",
            Self::Writeback { .. } => "writeback",
            Self::SyncAll => "sync",
            Self::Commit => "commit",
            Self::Truncate { .. } => "truncate",
            Self::Fallocate { .. } => "fallocate",
            Self::Punch { .. } => "punch",
            Self::Chmod { .. } => "chmod",
            Self::Read { .. } => "read",
            Self::Size { .. } => "size",
        }
    }
}

impl fmt::Display for Op {
    /// As it would be typed, without options.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        if let Some(path) = self.path() {
            write!(f, " {path}")?;
        }
        match self {
            Self::Write(Write { offset: None, len, .. }) => write!(f, " append {len}"),
            Self::Write(Write { offset: Some(offset), len, .. })
            | Self::Writeback { range: Some((offset, len)), .. }
            | Self::Fallocate { offset, len, .. }
            | Self::Punch { offset, len, .. }
            | Self::Read { offset, len, .. } => write!(f, " {offset} {len}"),
            Self::Truncate { size, .. } => write!(f, " {size}"),
            Self::Create { mode, .. } | Self::Chmod { mode, .. } => write!(f, " {mode:04o}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(actor) = &self.actor {
            write!(f, "{actor}: ")?;
        }
        match &self.action {
            Action::Op(op) => {
                op.fmt(f)?;
                if let Op::Write(write) = op {
                    write.options(f)?;
                }
                if let Op::Fallocate { keep_size: true, .. } = op {
                    f.write_str(" keep-size")?;
                }
            }
            Action::Finish => f.write_str("finish")?,
            Action::Crash => f.write_str("crash")?,
        }
        if let Some(until) = &self.until {
            write!(f, " until {until}")?;
        }
        match self.expect {
            Some(Expect::Errno(nr)) => write!(f, " expect {}", errno_name(nr)),
            Some(Expect::Result(n)) => write!(f, " expect {n}"),
            Some(Expect::Any) => write!(f, " expect any"),
            None => Ok(()),
        }
    }
}

impl Write {
    fn options(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = Self::new(self.way, "", None, 0);
        match self.sync {
            Sync::None => {}
            Sync::Data => f.write_str(" dsync")?,
            Sync::Full => f.write_str(" sync")?,
        }
        if self.nowait {
            f.write_str(" nowait")?;
        }
        if !self.is_strict {
            f.write_str(" relaxed")?;
        }
        if self.depth != plain.depth {
            write!(f, " depth {}", self.depth)?;
        }
        if self.chunk != plain.chunk {
            write!(f, " chunk {}", self.chunk)?;
        }
        Ok(())
    }
}
