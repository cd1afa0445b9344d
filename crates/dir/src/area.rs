//! Changing the records of one area: a leaf block without its tail, or part of an inline directory.

use crate::{Context, leaf::Item};
use ext4_ondisk::{
    Corrupt,
    dir_entry::{Area, HEADER_LEN, Record, Records, put_rec_len, put_record, rec_len_for},
};
use ext4_units::InodeNr;

/// What a new record says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewEntry<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) ino: InodeNr,
    pub(crate) raw_type: u8,
}

impl NewEntry<'_> {
    /// As an item to build a leaf of.
    pub(crate) fn item(&self, hash: u32) -> Item {
        let rec_len = rec_len_for(self.name.len());
        Item { hash, ino: self.ino, raw_type: self.raw_type, name: self.name.to_vec(), rec_len }
    }
}

impl Context {
    /// Puts an entry into the first record with room for it; `false`, with nothing changed, when
    /// there is none (`ext4_find_dest_de`, `ext4_insert_dentry`).
    pub(crate) fn insert_into(
        &self,
        area: &mut [u8],
        place: Area,
        new: &NewEntry<'_>,
    ) -> Result<bool, Corrupt> {
        let needed = rec_len_for(new.name.len());
        let mut room = None;
        for record in Records::new(area, place, self.block_size, self.inodes_count) {
            let record = record?;
            if record.slack() >= needed {
                room = Some((record.offset, record.used(), record.rec_len));
                break;
            }
        }
        let Some((offset, used, rec_len)) = room else { return Ok(false) };
        let impossible = || place.corrupt_at(offset, "no room where there was room");
        // The new record first: it lies in the slack, so the old one still tiles the area.
        put_record(
            area,
            self.block_size,
            &Record {
                offset: offset + used,
                rec_len: rec_len - used,
                ino: Some(new.ino),
                file_type: new.raw_type,
                name: new.name,
            },
        )
        .ok_or_else(impossible)?;
        if used > 0 {
            put_rec_len(area, self.block_size, offset, used).ok_or_else(impossible)?;
        }
        Ok(true)
    }

    /// Frees the record at byte `offset`: the record before it takes its bytes, or it stays as free
    /// space when it is the first (`ext4_generic_delete_entry`). The name is wiped.
    pub(crate) fn remove_from(
        &self,
        area: &mut [u8],
        place: Area,
        offset: usize,
    ) -> Result<(), Corrupt> {
        let mut before: Option<(usize, usize)> = None;
        let mut found = None;
        for record in Records::new(area, place, self.block_size, self.inodes_count) {
            let record = record?;
            if record.offset == offset {
                found = Some((record.rec_len, rec_len_for(record.name.len())));
                break;
            }
            before = Some((record.offset, record.rec_len));
        }
        let wrong = || place.corrupt_at(offset, "no entry starts here");
        let (rec_len, used) = found.ok_or_else(wrong)?;
        let bytes = area.get_mut(offset..offset + used).ok_or_else(wrong)?;
        let (header, rest) = bytes.split_at_mut_checked(HEADER_LEN).ok_or_else(wrong)?;
        rest.fill(0);
        if let Some((start, len)) = before {
            header.fill(0);
            put_rec_len(area, self.block_size, start, len + rec_len).ok_or_else(wrong)?;
        } else {
            header[..4].fill(0);
            header[6..].fill(0);
        }
        Ok(())
    }
}

/// Lets the record at byte `offset` name another inode.
pub(crate) fn set_in(
    area: &mut [u8],
    place: Area,
    offset: usize,
    ino: InodeNr,
    raw_type: u8,
) -> Result<(), Corrupt> {
    let wrong = || place.corrupt_at(offset, "no entry starts here");
    let header = area.get_mut(offset..).and_then(|b| b.first_chunk_mut::<HEADER_LEN>());
    let header = header.ok_or_else(wrong)?;
    header[..4].copy_from_slice(&ino.get().to_le_bytes());
    header[7] = raw_type;
    Ok(())
}
