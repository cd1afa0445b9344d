//! Which parts of a sparse file an archive has: GNU's old map in headers, and its three maps of PAX.

use super::{
    header::{self, BLOCK, Header},
    input::Input,
};
use crate::Result;
use std::ops::Range;

/// The most parts that a file may have. More cannot be meant, and would take much memory.
pub(super) const MOST_PARTS: usize = 4 << 20;

/// The parts of a file that are not holes, checked as they come.
#[derive(Clone, Debug, Default)]
pub(super) struct Map {
    parts: Vec<Range<u64>>,
    n_parts: usize,
    /// Bytes of the last part that do not fill a block.
    odd: u64,
    packed: u64,
}

impl Map {
    /// Adds a part behind those that are there.
    ///
    /// # Errors
    /// Says how it contradicts them.
    pub(super) fn push(&mut self, offset: u64, len: u64) -> std::result::Result<(), String> {
        let wrong = |why: &str| Err(format!("sparse map: a part at {offset} of {len} bytes {why}"));
        let Some(end) = offset.checked_add(len).filter(|it| i64::try_from(*it).is_ok()) else {
            return wrong("ends beyond 2^63");
        };
        if self.parts.last().is_some_and(|last| offset < last.end) {
            return wrong("begins before the end of the part before it");
        }
        self.n_parts += 1;
        if self.n_parts > MOST_PARTS {
            return Err(format!("sparse map: more than {MOST_PARTS} parts"));
        }
        if len == 0 {
            return Ok(());
        }
        // GNU tar begins each part with a block, all others put one directly behind the other.
        if self.odd != 0 {
            return Err(format!(
                "sparse map: a part of which {} bytes do not fill a block, and one behind it",
                self.odd
            ));
        }
        self.odd = len % BLOCK as u64;
        self.packed += len;
        match self.parts.last_mut() {
            Some(last) if last.end == offset => last.end = end,
            _ => self.parts.push(offset..end),
        }
        Ok(())
    }

    /// The parts, when they fit a file of `size` bytes of which the archive has `stored`.
    pub(super) fn finish(
        self,
        size: u64,
        stored: u64,
    ) -> std::result::Result<Vec<Range<u64>>, String> {
        if let Some(last) = self.parts.last().filter(|it| it.end > size) {
            return Err(format!("sparse map: found an end at {}, expected {size}", last.end));
        }
        if self.packed != stored {
            return Err(format!(
                "sparse map: found {stored} bytes in the archive, expected {}",
                self.packed
            ));
        }
        Ok(self.parts)
    }
}

/// Reads the map of an entry of type `S`, in its header and the blocks behind it, and the size of
/// the file.
pub(super) fn old_gnu(input: &mut Input<'_>, header: &Header) -> Result<(u64, Map)> {
    let at = input.offset();
    let Some(gnu) = header.raw().as_gnu() else {
        return Err(input.damage_at(at, "a sparse file in a header that is not GNU's"));
    };
    let size = header::size(header::number(&gnu.realsize));
    let size = size.map_err(|why| input.damage_at(at, format!("sparse file: {why}")))?;
    let mut map = Map::default();
    let mut add = |input: &Input<'_>, parts: &[tar::GnuSparseHeader]| {
        for part in parts.iter().take_while(|it| it.numbytes[0] != 0) {
            let offset = header::size(header::number(&part.offset));
            let len = header::size(header::number(&part.numbytes));
            offset
                .and_then(|offset| map.push(offset, len?))
                .map_err(|why| input.damage_at(at, why))?;
        }
        Ok(())
    };
    add(input, &gnu.sparse)?;
    let mut is_extended = gnu.isextended[0] != 0;
    while is_extended {
        let mut more = tar::GnuExtSparseHeader::new();
        more.as_mut_bytes().copy_from_slice(&input.inner_block()?);
        add(input, &more.sparse)?;
        is_extended = more.isextended[0] != 0;
    }
    Ok((size, map))
}

/// Reads the map of version 1.0, which lies before the data: decimal numbers, each with a new line.
/// Returns its length as well.
pub(super) fn version_1(input: &mut Input<'_>, stored: u64) -> Result<(Map, u64)> {
    let at = input.offset();
    let mut numbers = Numbers { block: [0; BLOCK], next: BLOCK, stored, taken: 0 };
    let mut map = Map::default();
    let n_parts = numbers.next(input)?;
    if n_parts > MOST_PARTS as u64 {
        let why = format!("sparse map: found {n_parts} parts, expected at most {MOST_PARTS}");
        return Err(input.damage_at(at, why));
    }
    for _ in 0..n_parts {
        let (offset, len) = (numbers.next(input)?, numbers.next(input)?);
        map.push(offset, len).map_err(|why| input.damage_at(at, why))?;
    }
    Ok((map, numbers.taken))
}

/// Decimal numbers in blocks.
struct Numbers {
    block: [u8; BLOCK],
    next: usize,
    /// Bytes that the entry has, and those of them that were taken.
    stored: u64,
    taken: u64,
}

impl Numbers {
    fn next(&mut self, input: &mut Input<'_>) -> Result<u64> {
        let mut number: Option<u64> = None;
        loop {
            let Some(&byte) = self.block.get(self.next) else {
                let at = input.offset();
                if self.stored - self.taken < BLOCK as u64 {
                    return Err(input.damage_at(at, "sparse map: longer than the entry"));
                }
                self.block = input.inner_block()?;
                (self.next, self.taken) = (0, self.taken + BLOCK as u64);
                continue;
            };
            self.next += 1;
            let digit = byte.wrapping_sub(b'0');
            let more = match (byte, number) {
                (b'\n', Some(number)) => return Ok(number),
                (b'0'..=b'9', _) => {
                    number.unwrap_or(0).checked_mul(10).and_then(|it| it.checked_add(digit.into()))
                }
                _ => None,
            };
            number = more;
            if more.is_none() {
                return Err(input.damage_at(
                    input.offset() - BLOCK as u64,
                    format!("sparse map: found byte {byte:#04x}, expected a number of 64 bits"),
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touching_parts_become_one_and_empty_ones_none() {
        let mut map = Map::default();
        for (offset, len) in [(0, 512), (512, 1024), (8192, 100), (9000, 0)] {
            map.push(offset, len).expect("in order");
        }
        assert_eq!(map.finish(9000, 1636), Ok(vec![0..1536, 8192..8292]));
    }

    #[test]
    fn a_map_that_contradicts_itself_is_refused() {
        let mut map = Map::default();
        map.push(512, 512).expect("first");
        assert!(map.push(0, 512).is_err(), "backwards");
        assert!(map.push(u64::MAX, 2).is_err(), "beyond the end of numbers");
        map.push(2048, 100).expect("an odd one");
        assert!(map.push(4096, 512).is_err(), "not the last");
        assert_eq!(
            map.clone().finish(2100, 612).unwrap_err(),
            "sparse map: found an end at 2148, expected 2100"
        );
        assert_eq!(
            map.finish(4096, 1024).unwrap_err(),
            "sparse map: found 1024 bytes in the archive, expected 612"
        );
    }
}
