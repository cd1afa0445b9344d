//! What is asked for.

/// Where a write goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offset {
    /// This byte of the file.
    At(u64),
    /// The end of the file, as it is when the write gets its lock (`O_APPEND`).
    Append,
}

/// What must be durable when the write returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// Nothing: a crash may take it all back.
    #[default]
    None,
    /// The data and what is needed to read it (`O_DSYNC`).
    Data,
    /// Times as well (`O_SYNC`).
    Full,
}

/// Who writes: what the kernel would take from the process.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// Has CAP_FSETID: set-user-id and set-group-id bits stay.
    pub has_fsetid: bool,
    /// RLIMIT_FSIZE in bytes.
    pub file_size_limit: Option<u64>,
    /// The file was opened with O_LARGEFILE: sizes beyond 2^31 - 1 are allowed.
    pub is_largefile: bool,
}

impl Default for Caller {
    /// Root, with a 64-bit API and no limit.
    fn default() -> Self {
        Self { has_fsetid: true, file_size_limit: None, is_largefile: true }
    }
}

/// One write.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the system call's own")]
pub struct Request {
    /// Where it goes.
    pub offset: Offset,
    /// How many bytes; `None` is until the source ends.
    pub len: Option<u64>,
    /// What must be durable at the end.
    pub sync: Sync,
    /// `RWF_NOWAIT`: fail with `EAGAIN` rather than allocate, extend or wait.
    pub nowait: bool,
    /// The inode lock is given back as soon as all is submitted, where that is allowed; the transfers
    /// end later. What a [`Submitter`](crate::Submitter) does.
    pub is_async: bool,
    /// `RWF_ATOMIC`: all of it or nothing, after a crash too. Always refused, for want of a device
    /// that promises it.
    pub is_atomic: bool,
    /// Whether a misaligned request fails with `EINVAL`, as the kernel's does. Otherwise blocks that
    /// are only written in part are read, changed and written whole.
    pub is_strict: bool,
    /// Who writes.
    pub caller: Caller,
    /// Transfers in flight at once.
    pub depth: usize,
    /// Bytes of one transfer at most; rounded to blocks.
    pub chunk: usize,
}

impl Request {
    /// A write of `len` bytes at `offset`, as strict as the kernel.
    pub fn new(offset: Offset, len: Option<u64>) -> Self {
        Self {
            offset,
            len,
            sync: Sync::None,
            nowait: false,
            is_async: false,
            is_atomic: false,
            is_strict: true,
            caller: Caller::default(),
            depth: 16,
            chunk: 1 << 20,
        }
    }
}
