//! Records of a directory block as they lie there, and what is made of a block whose records do not
//! follow each other.

use ext4_ondisk::dir_entry::{
    HEADER_LEN, MIN_REC_LEN, put_rec_len, rec_len_for, rec_len_from_disk,
};
use ext4_units::BlockSize;

/// The area of records in a block, to be read and changed in place.
#[derive(Debug)]
pub(crate) struct Area<'b> {
    pub(crate) bytes: &'b mut [u8],
    size: BlockSize,
    inodes_count: u32,
}

/// The fields of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) offset: usize,
    pub(crate) ino: u32,
    pub(crate) rec_len: usize,
    pub(crate) name_len: usize,
    pub(crate) file_type: u8,
}

impl Fields {
    pub(crate) const fn end(&self) -> usize {
        self.offset + self.rec_len
    }
}

impl<'b> Area<'b> {
    pub(crate) fn new(bytes: &'b mut [u8], size: BlockSize, inodes_count: u32) -> Self {
        Self { bytes, size, inodes_count }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The record at `offset`; `None` when not even its header fits.
    pub(crate) fn fields(&self, offset: usize) -> Option<Fields> {
        let header = self.bytes.get(offset..)?.get(..HEADER_LEN)?;
        let rec_len = u16::from_le_bytes([header[4], header[5]]);
        Some(Fields {
            offset,
            ino: u32::from_le_bytes([header[0], header[1], header[2], header[3]]),
            rec_len: rec_len_from_disk(rec_len, self.size),
            name_len: header[6].into(),
            file_type: header[7],
        })
    }

    /// Whether the record is one: long enough for its name, inside the area.
    pub(crate) fn is_sound(&self, it: &Fields) -> bool {
        it.rec_len >= MIN_REC_LEN
            && it.rec_len.is_multiple_of(4)
            && it.rec_len <= self.len() - it.offset
            && it.name_len + HEADER_LEN <= it.rec_len
    }

    pub(crate) fn name(&self, it: &Fields) -> &[u8] {
        let from = it.offset + HEADER_LEN;
        self.bytes.get(from..from + it.name_len).unwrap_or_default()
    }

    /// Whether two records may have the same name: false only when all of them are sound, their names
    /// are different, and none has a byte that no name has.
    pub(crate) fn may_have_twins(&self) -> bool {
        // Places of names, by hash: more than there can be records. One step for each name, so a few more
        // than that mean that somebody made names for this.
        let n = (self.len() / 8).max(1).next_power_of_two();
        let mut places = vec![u16::MAX; n];
        let mut steps = 4 * n;
        let mut offset = 0;
        while offset < self.len() {
            let Some(it) = self.fields(offset).filter(|it| self.is_sound(it)) else { return true };
            offset = it.end();
            let name = self.name(&it);
            if it.ino == 0 {
                continue;
            }
            let Some(hash) = hash(name) else { return true };
            let Ok(place) = u16::try_from(it.offset / 4) else { return true };
            // A power of two: a mask does for a division.
            let mut at = usize::from(hash) & (n - 1);
            while let Some(other) = places.get(at).filter(|other| **other != u16::MAX) {
                let other = self.fields(usize::from(*other) * 4);
                steps -= 1;
                if steps == 0 || other.is_none_or(|it| self.name(&it) == name) {
                    return true;
                }
                at = (at + 1) & (n - 1);
            }
            places[at] = place;
        }
        false
    }

    pub(crate) fn name_mut(&mut self, it: &Fields) -> &mut [u8] {
        let from = it.offset + HEADER_LEN;
        self.bytes.get_mut(from..from + it.name_len).unwrap_or_default()
    }

    pub(crate) fn set_ino(&mut self, offset: usize, ino: u32) {
        if let Some(place) = self.bytes.get_mut(offset..offset + 4) {
            place.copy_from_slice(&ino.to_le_bytes());
        }
    }

    pub(crate) fn set_file_type(&mut self, offset: usize, file_type: u8) {
        if let Some(place) = self.bytes.get_mut(offset + 7) {
            *place = file_type;
        }
    }

    /// Sets the length of a record, which is a multiple of 4 inside the area.
    pub(crate) fn set_rec_len(&mut self, offset: usize, len: usize) {
        // A length that cannot be written would be a fault of the caller; the next round tells.
        let _ = put_rec_len(self.bytes, self.size, offset, len);
    }

    /// Makes the record at `offset` free space of this length.
    pub(crate) fn set_free(&mut self, offset: usize, len: usize) {
        if let Some(header) = self.bytes.get_mut(offset..offset + HEADER_LEN) {
            header.fill(0);
        }
        self.set_rec_len(offset, len);
    }

    /// Puts a name of at most 4 bytes, `.` or `..`, into the record at `offset`.
    pub(crate) fn set_dot(&mut self, offset: usize, ino: u32, name: &[u8], file_type: u8) {
        self.set_ino(offset, ino);
        let Some(rest) = self.bytes.get_mut(offset + 6..offset + MIN_REC_LEN) else { return };
        rest.fill(0);
        rest[0] = u8::try_from(name.len()).unwrap_or(0);
        rest[1] = file_type;
        rest[2..2 + name.len()].copy_from_slice(name);
    }

    /// Mends a block whose record at `offset` is not one: the longest chain of records that ends with
    /// the area is kept, and what is before it goes to the record at `offset` if its name is whole,
    /// else to the record before. Gives where to go on.
    pub(crate) fn salvage(&mut self, offset: usize, before: Option<usize>) -> usize {
        let own = self.fields(offset).filter(|it| self.is_name_whole(it));
        let first = offset + own.map_or(4, |it| rec_len_for(it.name_len).max(MIN_REC_LEN));
        let next = self.first_chain(first.next_multiple_of(4));
        match (own, before) {
            (Some(_), _) => {
                self.set_rec_len(offset, next - offset);
                offset
            }
            (None, Some(before)) => {
                self.set_rec_len(before, next - before);
                next
            }
            // Less than a record: nothing can be there.
            (None, None) if next - offset < MIN_REC_LEN => next,
            (None, None) => {
                self.set_free(offset, next - offset);
                offset
            }
        }
    }

    /// Whether inode and name of a record may be believed, whatever its length says.
    fn is_name_whole(&self, it: &Fields) -> bool {
        let end = it.offset + HEADER_LEN + it.name_len;
        let name = self.bytes.get(it.offset + HEADER_LEN..end).unwrap_or_default();
        (1..=self.inodes_count).contains(&it.ino)
            && !name.is_empty()
            && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
            && self.len() - it.offset >= MIN_REC_LEN
    }

    /// The first place from `from` on where a chain of sound records begins that ends with the area;
    /// the area's end if there is none.
    fn first_chain(&self, from: usize) -> usize {
        let len = self.len();
        if from >= len {
            return len;
        }
        // From the end backwards, so that each place is looked at once.
        let mut ends_well = vec![false; (len - from) / 4 + 1];
        let mut first = len;
        for (nr, at) in (from..len).step_by(4).enumerate().rev() {
            let Some(it) = self.fields(at).filter(|it| self.is_sound(it)) else { continue };
            let chains =
                it.end() == len || ends_well.get((it.end() - from) / 4).copied().unwrap_or(false);
            if chains && (it.ino == 0 || self.is_name_whole(&it)) {
                ends_well[nr] = true;
                first = at;
            }
        }
        first
    }
}

/// A hash of a name; `None` for one with a byte that no name has.
fn hash(name: &[u8]) -> Option<u16> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const SLASHES: u64 = ONES * b'/' as u64;
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & ONES << 7 != 0;
    let (whole, part) = name.as_chunks::<8>();
    // The last word, where bytes are left: it reaches back over bytes of the one before if there is one.
    let last = (!part.is_empty()).then(|| {
        name.last_chunk()
            .copied()
            .unwrap_or_else(|| std::array::from_fn(|nr| part.get(nr).copied().unwrap_or(1)))
    });
    let mut hash = name.len() as u64;
    for word in whole.iter().copied().chain(last).map(u64::from_le_bytes) {
        if has_zero(word) || has_zero(word ^ SLASHES) {
            return None;
        }
        hash = (hash ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        hash ^= hash >> 32;
    }
    Some((hash >> 48) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(ino: u32, rec_len: u16, name: &[u8]) -> Vec<u8> {
        let mut bytes = ino.to_le_bytes().to_vec();
        bytes.extend(rec_len.to_le_bytes());
        bytes.push(u8::try_from(name.len()).unwrap());
        bytes.push(1);
        bytes.extend(name);
        bytes.resize(usize::from(rec_len).max(12), 0);
        bytes
    }

    #[test]
    fn names_behind_a_broken_length_are_kept() {
        let mut bytes = record(12, 16, b"first");
        bytes.extend(record(13, 16, b"second"));
        bytes.extend(record(14, 32, b"third"));
        bytes[16 + 4] = 0xFF; // the length of the second
        let mut area = Area::new(&mut bytes, BlockSize::MIN, 100);
        let second = area.fields(16).unwrap();
        assert!(!area.is_sound(&second));
        assert_eq!(area.salvage(16, Some(0)), 16);
        let second = area.fields(16).unwrap();
        assert_eq!((second.rec_len, area.name(&second)), (16, &b"second"[..]));
    }

    #[test]
    fn rubbish_goes_to_the_record_before_it() {
        let mut bytes = record(12, 16, b"first");
        bytes.extend([0xA5; 20]);
        bytes.extend(record(14, 28, b"third"));
        let mut area = Area::new(&mut bytes, BlockSize::MIN, 100);
        assert_eq!(area.salvage(16, Some(0)), 36);
        assert_eq!(area.fields(0).unwrap().end(), 36);
    }

    #[test]
    fn twins_are_seen() {
        let twins = |names: &[&[u8]]| {
            let mut bytes: Vec<u8> = names.iter().flat_map(|it| record(12, 20, it)).collect();
            Area::new(&mut bytes, BlockSize::MIN, 100).may_have_twins()
        };
        assert!(!twins(&[b"first", b"second", b"first1", b"firs"]));
        assert!(twins(&[b"first", b"second", b"first"]));
        assert!(twins(&[b"a/b"]) && twins(&[b"a\0b"]));
        let mut broken = record(12, 16, b"first");
        broken[4] = 7;
        assert!(Area::new(&mut broken, BlockSize::MIN, 100).may_have_twins());
    }

    #[test]
    fn a_block_of_rubbish_becomes_free_space() {
        let mut bytes = vec![0xFF; 64];
        let mut area = Area::new(&mut bytes, BlockSize::MIN, 100);
        assert_eq!(area.salvage(0, None), 0);
        assert_eq!(
            area.fields(0).unwrap(),
            Fields { offset: 0, ino: 0, rec_len: 64, name_len: 0, file_type: 0 }
        );
    }
}
