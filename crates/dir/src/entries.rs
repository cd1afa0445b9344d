//! Listing a directory: every name in block order, whether it is indexed or not.

use crate::{Context, DirRead, Error};
use ext4_ondisk::dir_entry::{FileType, Record};
use ext4_units::{InodeNr, LogicalBlock};
use std::{collections::VecDeque, fmt};

/// Where an entry's record is: a block of the directory and the byte within.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The directory's logical block.
    pub lblk: LogicalBlock,
    /// The record's first byte in it.
    pub offset: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {}, byte {}", self.lblk, self.offset)
    }
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The inode it names.
    pub ino: InodeNr,
    /// What the entry says that inode is.
    pub file_type: FileType,
    /// The name: any bytes, 1 to 255 of them. Untrusted: it may hold `/` on a damaged image.
    pub name: Vec<u8>,
    /// Where its record is.
    pub place: Place,
}

impl Entry {
    /// `.` or `..`.
    pub fn is_dot_or_dotdot(&self) -> bool {
        matches!(self.name.as_slice(), b"." | b"..")
    }

    pub(crate) fn new(context: &Context, record: &Record<'_>, lblk: LogicalBlock) -> Option<Self> {
        Some(Self {
            ino: record.ino?,
            file_type: if context.has_filetype {
                FileType::from_raw(record.file_type)
            } else {
                FileType::Unknown
            },
            name: record.name.to_vec(),
            place: Place { lblk, offset: record.offset },
        })
    }
}

/// The entries of a directory, `.` and `..` among them, in block order.
///
/// After an `Err` it goes on with the next block, as `ext4_readdir` does, so a lister can show what
/// is left; whoever wants all or nothing collects into a `Result`. Holds one block's entries.
#[derive(Debug)]
pub struct Entries<'a, S: DirRead + ?Sized> {
    context: Context,
    store: &'a S,
    next: u32,
    ready: VecDeque<Result<Entry, S::Error>>,
}

/// Lists a directory.
pub fn entries<'a, S: DirRead + ?Sized>(context: &Context, store: &'a S) -> Entries<'a, S> {
    Entries { context: *context, store, next: 0, ready: VecDeque::new() }
}

impl<S: DirRead + ?Sized> Entries<'_, S> {
    fn load(&mut self, lblk: LogicalBlock) {
        let block = match self.context.read(self.store, lblk) {
            Ok(block) => block,
            Err(error) => return self.ready.push_back(Err(error)),
        };
        // Index blocks need no special treatment: a node is one free record, the root `.` and `..`.
        for record in self.context.records(&block) {
            match record {
                // A record with an inode and no name names nothing.
                Ok(record) if record.name.is_empty() => {}
                Ok(record) => {
                    self.ready.extend(Entry::new(&self.context, &record, lblk).map(Ok));
                }
                Err(corrupt) => self.ready.push_back(Err(Error::from(corrupt).into())),
            }
        }
    }
}

impl<S: DirRead + ?Sized> Iterator for Entries<'_, S> {
    type Item = Result<Entry, S::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() && self.next < self.store.n_blocks() {
            let lblk = LogicalBlock(self.next);
            self.next += 1;
            self.load(lblk);
        }
        self.ready.pop_front()
    }
}

/// Whether a directory holds nothing but `.` and `..` (`ext4_empty_dir`). An error when part of it
/// cannot be read: what is not known to be empty must not be removed.
pub fn is_empty<S: DirRead + ?Sized>(context: &Context, store: &S) -> Result<bool, S::Error> {
    for entry in entries(context, store) {
        if !entry?.is_dot_or_dotdot() {
            return Ok(false);
        }
    }
    Ok(true)
}
