//! Damage met while writing: it goes into the superblock's history of errors, as `ext4_error` puts
//! it there, and the state says that a full check is due.
//!
//! Noting writes nothing. What was noted is written in a handle of its own before the next commit
//! of the whole filesystem, or at close: through the log, since the error codes lie in another
//! sector than the rest (the kernel's `update_super_work`). On a journal that was aborted nothing
//! is written; it has an error of its own on record.

use crate::{Error, Filesystem, Result};
use ext4_ondisk::{
    Corrupt,
    superblock::{RawSuperblock, State},
    time::Timestamp,
};
use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// How many damages are told apart before all others count as known.
const MAX_KNOWN: usize = 256;

/// `EXT4_ERR_EFSBADCRC` and `EXT4_ERR_EFSCORRUPTED`.
const BAD_CHECKSUM: u8 = 4;
const CORRUPTED: u8 = 5;

/// Damage that was noted since open.
#[derive(Debug, Default)]
pub(crate) struct Damage(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    /// What was noted, each place and fault once.
    known: BTreeSet<String>,
    /// Not in the superblock yet, in the order in which it was met.
    pending: Vec<ErrorRecord>,
}

/// One error, as the superblock has room for it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ErrorRecord {
    time: Timestamp,
    ino: u32,
    block: u64,
    /// What was being looked at; the kernel has the name of its function here.
    func: [u8; 32],
    code: u8,
}

impl ErrorRecord {
    fn new(fault: &Corrupt, time: Timestamp) -> Self {
        let number = |word| number_after(&fault.place, word);
        Self {
            time,
            ino: number("inode ").and_then(|it| u32::try_from(it).ok()).unwrap_or(0),
            block: number("block ").unwrap_or(0),
            func: func_of(&fault.place),
            code: if fault.is_checksum { BAD_CHECKSUM } else { CORRUPTED },
        }
    }

    /// `ext4_update_super`.
    fn put(&self, raw: &mut RawSuperblock) {
        let sec = self.time.sec.to_le_bytes();
        let (low, high) = (u32::from_le_bytes([sec[0], sec[1], sec[2], sec[3]]), sec[4]);
        raw.s_state.set(raw.s_state.get() | State::ERROR.bits());
        if raw.s_first_error_time.get() == 0 && raw.s_first_error_time_hi == 0 {
            raw.s_first_error_time.set(low);
            raw.s_first_error_time_hi = high;
            raw.s_first_error_ino.set(self.ino);
            raw.s_first_error_block.set(self.block);
            raw.s_first_error_func = self.func;
            raw.s_first_error_line.set(0);
            raw.s_first_error_errcode = self.code;
        }
        raw.s_last_error_time.set(low);
        raw.s_last_error_time_hi = high;
        raw.s_last_error_ino.set(self.ino);
        raw.s_last_error_block.set(self.block);
        raw.s_last_error_func = self.func;
        raw.s_last_error_line.set(0);
        raw.s_last_error_errcode = self.code;
        raw.s_error_count.set(raw.s_error_count.get().saturating_add(1));
    }
}

/// The number that follows a word in an address.
fn number_after(place: &str, word: &str) -> Option<u64> {
    let digits = place.match_indices(word).find_map(|(at, _)| {
        let rest = place.get(at + word.len()..)?;
        let end = rest.find(|it: char| !it.is_ascii_digit()).unwrap_or(rest.len());
        rest.get(..end).filter(|it| !it.is_empty())
    })?;
    digits.parse().ok()
}

/// The kind of structure, in the shape of a function's name: `extent_node`.
fn func_of(place: &str) -> [u8; 32] {
    let is_kind =
        |it: &&str| !matches!(*it, "at" | "of") && it.chars().all(|it| it.is_ascii_lowercase());
    let words: Vec<&str> = place.split(' ').take_while(is_kind).collect();
    let mut func = [0; 32];
    // The last byte stays zero.
    for (to, from) in func.iter_mut().take(31).zip(words.join("_").bytes()) {
        *to = from;
    }
    func
}

impl Filesystem {
    /// Takes note of an error that is damage, each once; of any other, nothing. On a filesystem that
    /// is open for reading there is nothing to be noted in.
    pub fn note_damage(&self, err: &Error) {
        let (Error::Corrupt(fault), Some(writing)) = (err, self.writing()) else { return };
        let mut noted = self.damage().0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.known.len() < MAX_KNOWN && noted.known.insert(fault.to_string()) {
            noted.pending.push(ErrorRecord::new(fault, writing.now()));
        }
    }

    /// Passes a result on, and [notes](Self::note_damage) its error.
    pub(crate) fn noting<T>(&self, res: Result<T>) -> Result<T> {
        if let Err(err) = &res {
            self.note_damage(err);
        }
        res
    }

    /// Puts what was noted into the superblock, in the running transaction. A failure is met by
    /// whoever writes next, and has more to tell than this.
    pub(crate) fn record_damage(&self) {
        let pending = {
            let mut noted = self.damage().0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut noted.pending)
        };
        if pending.is_empty() {
            return;
        }
        let record = || -> Result<()> {
            let mut h = self.start(1)?;
            h.modify_superblock(|raw| pending.iter().for_each(|it| it.put(raw)))?;
            h.stop()?;
            Ok(())
        };
        if record().is_err() {
            // This thread may hold a handle: another time.
            let mut noted = self.damage().0.lock().unwrap_or_else(PoisonError::into_inner);
            noted.pending.splice(0..0, pending);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_tells_inode_block_and_what_it_is() {
        let record = |place: &'static str| {
            let it = ErrorRecord::new(&Corrupt::new(place, "is wrong"), Timestamp::default());
            let func = it.func.into_iter().take_while(|&it| it != 0).map(char::from).collect();
            (it.ino, it.block, func, it.code)
        };
        let expected = |ino, block, func: &str| (ino, block, func.to_owned(), CORRUPTED);
        let node = "extent node at block 8193 (inode 12, depth 1)";
        assert_eq!(record(node), expected(12, 8193, "extent_node"));
        assert_eq!(record("inode 13"), expected(13, 0, "inode"));
        assert_eq!(record("block bitmap of group 3"), expected(0, 0, "block_bitmap"));
        assert_eq!(record("group 3 descriptor"), expected(0, 0, "group"));
        assert_eq!(record(""), expected(0, 0, ""));
        let huge = "block 99999999999999999999999 (inode 5000000000)";
        assert_eq!(record(huge), expected(0, 0, "block"));
    }

    #[test]
    fn the_first_error_stays_and_the_last_one_is_the_last() {
        let mut raw = RawSuperblock::of(&[0; 1024]).unwrap().clone();
        let at = |sec| Timestamp { sec, nsec: 0 };
        ErrorRecord::new(&Corrupt::new("inode 12", "a"), at(0x1_0000_0007)).put(&mut raw);
        ErrorRecord::new(&Corrupt::checksum("inode 13", 1, 2), at(9)).put(&mut raw);
        assert_eq!((raw.s_error_count.get(), raw.s_state.get()), (2, State::ERROR.bits()));
        assert_eq!((raw.s_first_error_ino.get(), raw.s_last_error_ino.get()), (12, 13));
        assert_eq!((raw.s_first_error_time.get(), raw.s_first_error_time_hi), (7, 1));
        assert_eq!((raw.s_last_error_time.get(), raw.s_last_error_time_hi), (9, 0));
        assert_eq!((raw.s_first_error_errcode, raw.s_last_error_errcode), (5, 4));
    }
}
