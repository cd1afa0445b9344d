//! What operations write: bytes that say which file they are of, which line of the script wrote
//! them, and where they belong.

use std::io::Read;

/// Bytes of one record.
const RECORD: u64 = 32;
/// The same in memory.
const LEN: usize = 32;

/// The contents that one line of a script gives a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Number of the file, from 1 in the order of the script.
    pub file: u32,
    /// Line of the script.
    pub line: usize,
}

impl Stamp {
    /// The bytes at `offset`: records of 32 bytes such as `F01 L00005 O000000001000 ~~~~~~`, each with
    /// the offset at which it begins, in hexadecimal. Those of an appending write count from its
    /// own first byte.
    pub fn bytes(self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(offset, &mut bytes);
        bytes
    }

    fn fill(self, offset: u64, bytes: &mut [u8]) {
        let Self { file, line } = self;
        let mut rest = bytes;
        let mut at = offset;
        while !rest.is_empty() {
            let begin = at - at % RECORD;
            let record = format!("F{file:02} L{line:05} O{begin:012x} ~~~~~~\n");
            // Numbers too large for their field make it longer; what is cut off is the filling.
            let skip = usize::try_from(at - begin).unwrap_or(0);
            let record = record.as_bytes().get(skip..LEN).unwrap_or_default();
            let n = record.len().min(rest.len());
            let (head, tail) = rest.split_at_mut(n);
            head.copy_from_slice(record.get(..n).unwrap_or_default());
            rest = tail;
            at += n as u64;
        }
    }

    /// Whether `bytes` are those at `offset`.
    pub fn is_at(self, offset: u64, bytes: &[u8]) -> bool {
        // In pieces: what is compared may be large.
        bytes.chunks(4096).enumerate().all(|(i, piece)| {
            let mut expected = [0; 4096];
            let expected = &mut expected[..piece.len()];
            self.fill(offset + i as u64 * 4096, expected);
            expected == piece
        })
    }

    /// Which line's record `bytes` begin with, when they begin with a whole record of `offset`.
    pub fn line_of(offset: u64, bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes.get(..LEN)?).ok()?;
        let file = text.strip_prefix('F')?.split_once(" L")?.0.parse().ok()?;
        let line = text.split_once(" L")?.1.split_once(" O")?.0.parse().ok()?;
        let stamp = Self { file, line };
        stamp.is_at(offset, &bytes[..LEN]).then_some(stamp)
    }
}

/// The same bytes, for those who pull them.
#[derive(Clone, Debug)]
pub(crate) struct StampReader {
    stamp: Stamp,
    at: u64,
    left: u64,
}

impl StampReader {
    /// `len` bytes from `offset` on.
    pub(crate) fn new(stamp: Stamp, offset: u64, len: u64) -> Self {
        Self { stamp, at: offset, left: len }
    }
}

impl Read for StampReader {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.stamp.fill(self.at, &mut buf[..n]);
        self.at += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}

/// What a part of a file holds, as runs of one kind: zeros, a line's bytes, or something else.
pub fn describe(offset: u64, bytes: &[u8]) -> String {
    let kind = |at: u64, piece: &[u8]| match Stamp::line_of(at, piece) {
        Some(stamp) => format!("line {}", stamp.line),
        None if piece.iter().all(|&byte| byte == 0) => "zeros".to_owned(),
        None => "other bytes".to_owned(),
    };
    let mut runs: Vec<(u64, String)> = Vec::new();
    let mut at = offset;
    let mut rest = bytes;
    while !rest.is_empty() {
        let n = usize::try_from(RECORD - at % RECORD).unwrap_or(LEN).min(rest.len());
        let (piece, tail) = rest.split_at(n);
        let kind = kind(at, piece);
        if runs.last().is_none_or(|(_, last)| *last != kind) {
            runs.push((at, kind));
        }
        (rest, at) = (tail, at + n as u64);
    }
    let runs: Vec<_> = runs.iter().map(|(at, kind)| format!("{kind} from {at}")).collect();
    if runs.is_empty() { "nothing".to_owned() } else { runs.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_say_who_wrote_them_wherever_one_begins_to_read() {
        let stamp = Stamp { file: 1, line: 5 };
        let all = stamp.bytes(4096, 8192);
        assert_eq!(&all[..32], b"F01 L00005 O000000001000 ~~~~~~\n");
        assert_eq!(stamp.bytes(5000, 100), all[904..1004]);
        assert!(stamp.is_at(5000, &all[904..]) && !stamp.is_at(5000, &all[905..]));
        assert_eq!(Stamp::line_of(4128, &all[32..]), Some(stamp));
        assert_eq!(Stamp::line_of(4096, &all[32..]), None);
        let mut pulled = Vec::new();
        StampReader::new(stamp, 4096, 8192).read_to_end(&mut pulled).unwrap();
        assert_eq!(pulled, all);
    }

    #[test]
    fn a_part_of_a_file_is_told_in_runs() {
        let mut bytes = vec![0; 64];
        bytes.extend(Stamp { file: 1, line: 7 }.bytes(64, 64));
        bytes.extend([1; 32]);
        assert_eq!(describe(0, &bytes), "zeros from 0, line 7 from 64, other bytes from 128");
        assert_eq!(describe(0, &[]), "nothing");
    }
}
