//! One test for each thing that a direct write does, numbered; where the kernel can be asked, it
//! does the same on a copy and must end with the same file.

mod checks;
mod crash;
mod extents;
mod face;
mod kernel;
mod limits;
mod mapping;
mod protocol;
mod races;
mod space;
mod stage;

use ext4_dio::Sync;

/// The file that everything is done to.
const PATH: &str = "/f";

/// Its id in patterns.
const ID: u32 = 0xF;

/// One thing to do, by us or by the kernel.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// A direct write.
    Write(Write),
    /// Sets the size.
    Truncate(u64),
    /// Preallocates `offset, len`, and sets the size if that is larger.
    Allocate(u64, u64),
    /// The same without the size.
    Keep(u64, u64),
    /// Makes `offset, len` a hole.
    Punch(u64, u64),
}

/// A direct write.
#[derive(Clone, Copy, Debug)]
struct Write {
    /// `None` appends.
    at: Option<u64>,
    len: usize,
    nowait: bool,
    sync: Sync,
    /// RLIMIT_FSIZE.
    limit: Option<u64>,
    /// With CAP_FSETID.
    fsetid: bool,
    /// Which writing of the place it is.
    generation: u32,
}

impl Write {
    const fn new(at: u64, len: usize) -> Self {
        Self {
            at: Some(at),
            len,
            nowait: false,
            sync: Sync::None,
            limit: None,
            fsetid: true,
            generation: 1,
        }
    }
}

const fn write(at: u64, len: usize) -> Op {
    Op::Write(Write::new(at, len))
}

const fn append(len: usize) -> Op {
    Op::Write(Write { at: None, ..Write::new(0, len) })
}

const fn nowait(at: u64, len: usize) -> Op {
    Op::Write(Write { nowait: true, ..Write::new(at, len) })
}

const fn limited(at: u64, len: usize, limit: u64) -> Op {
    Op::Write(Write { limit: Some(limit), ..Write::new(at, len) })
}

/// Numbers of Linux on most processors.
mod errno {
    pub(super) const EPERM: i32 = 1;
    pub(super) const EIO: i32 = 5;
    pub(super) const EAGAIN: i32 = 11;
    pub(super) const EFAULT: i32 = 14;
    pub(super) const EINVAL: i32 = 22;
    pub(super) const EFBIG: i32 = 27;
    pub(super) const ENOSPC: i32 = 28;
    pub(super) const EROFS: i32 = 30;
    pub(super) const EBADMSG: i32 = 74;
    pub(super) const EOVERFLOW: i32 = 75;
    pub(super) const EOPNOTSUPP: i32 = 95;
    pub(super) const EUCLEAN: i32 = 117;
}
