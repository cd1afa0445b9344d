//! Directories inside their inode (INCOMPAT inline_data): entries in `i_block` and in the value of
//! the `system.data` attribute.
//!
//! `body` is the inode's `i_block`: the parent's number in 4 bytes, then 56 bytes of records.
//! `value` is the attribute's value, empty or one more run of records; `i_size` is 60 and its
//! length. There are no records for `.` and `..`. Storing either is the caller's business.

use crate::{
    Context, Entry, Error, Place,
    area::{NewEntry, set_in},
};
use ext4_ondisk::dir_entry::{Area, FileType, Record, Records, put_record, rec_len_for};
use ext4_units::{InodeNr, LogicalBlock};

/// Bytes of `i_block`, `EXT4_MIN_INLINE_DATA_SIZE`.
pub const BODY_LEN: usize = 60;
/// Bytes of the parent's number before the records, `EXT4_INLINE_DOTDOT_SIZE`.
const PARENT_LEN: usize = 4;

/// An inline directory as it lies in the inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inline {
    /// `i_block`.
    pub body: [u8; BODY_LEN],
    /// The value of `system.data`.
    pub value: Vec<u8>,
}

impl Inline {
    /// An empty directory (`ext4_try_create_inline_dir`).
    pub fn new(context: &Context, parent: InodeNr) -> Result<Self, Error> {
        let mut inline = Self { body: [0; BODY_LEN], value: Vec::new() };
        inline.set_parent(parent);
        let (area, place) = inline.area(context, PARENT_LEN);
        let free = Record { offset: 0, rec_len: area.len(), ino: None, file_type: 0, name: b"" };
        put_record(area, context.block_size, &free)
            .ok_or_else(|| place.corrupt("no room for a free record"))?;
        Ok(inline)
    }

    /// What `..` names: `None` for 0, which is damage.
    pub fn parent(&self) -> Option<InodeNr> {
        InodeNr::new(u32::from_le_bytes(*self.body.first_chunk::<PARENT_LEN>()?))
    }

    /// Lets `..` name `parent`.
    pub fn set_parent(&mut self, parent: InodeNr) {
        self.body[..PARENT_LEN].copy_from_slice(&parent.get().to_le_bytes());
    }

    /// All entries, `.` and `..` first. An entry's place is block 0 and the byte within `body`
    /// followed by `value`; both dots are at byte 0.
    pub fn entries(&self, context: &Context) -> Result<Vec<Entry>, Error> {
        let parent = self.parent().filter(|parent| parent.get() <= context.inodes_count);
        let parent = parent.ok_or_else(|| {
            Area::InlineBody { ino: context.ino }.corrupt("parent inode out of range")
        })?;
        let mut entries = Vec::new();
        for (name, ino) in [(".", context.ino), ("..", parent)] {
            entries.push(Entry {
                ino,
                file_type: FileType::Directory,
                name: name.into(),
                place: Place { lblk: LogicalBlock(0), offset: 0 },
            });
        }
        for (start, records) in self.records(context) {
            for record in records {
                let record = record?;
                if !record.name.is_empty() {
                    let entry = Entry::new(context, &record, LogicalBlock(0));
                    entries.extend(entry.map(|mut entry| {
                        entry.place.offset = start + record.offset;
                        entry
                    }));
                }
            }
        }
        Ok(entries)
    }

    /// Looks `name` up (`ext4_find_inline_entry`).
    pub fn find(&self, context: &Context, name: &[u8]) -> Result<Option<Entry>, Error> {
        context.check_len(name)?;
        Ok(self.entries(context)?.into_iter().find(|entry| entry.name == name))
    }

    /// Whether there is nothing but `.` and `..` (`empty_inline_dir`).
    pub fn is_empty(&self, context: &Context) -> Result<bool, Error> {
        Ok(self.entries(context)?.iter().all(Entry::is_dot_or_dotdot))
    }

    /// Adds an entry, growing `value` to at most `max_value_len` bytes (`ext4_try_add_inline_entry`).
    /// `false`, with nothing changed, when it does not fit: then [`Inline::to_block`].
    pub fn insert(
        &mut self,
        context: &Context,
        max_value_len: usize,
        name: &[u8],
        ino: InodeNr,
        file_type: FileType,
    ) -> Result<bool, Error> {
        context.check_insertable()?;
        context.check_name(name)?;
        if self.find(context, name)?.is_some() {
            return Err(context.exists(name));
        }
        let new = NewEntry { name, ino, raw_type: context.raw_type(file_type) };
        for start in [PARENT_LEN, BODY_LEN] {
            let (area, place) = self.area(context, start);
            if context.insert_into(area, place, &new)? {
                return Ok(true);
            }
        }
        let old_len = self.value.len();
        let len = old_len + rec_len_for(name.len());
        // `rec_len_to_disk` says no more than a block.
        if len > max_value_len || len > context.block_size.len() {
            return Ok(false);
        }
        // The records tile what was there, so the new one starts where they end.
        let mut value = self.value.clone();
        value.resize(len, 0);
        let record = Record {
            offset: old_len,
            rec_len: len - old_len,
            ino: Some(ino),
            file_type: new.raw_type,
            name,
        };
        let place = Area::InlineXattr { ino: context.ino };
        put_record(&mut value, context.block_size, &record)
            .ok_or_else(|| place.corrupt_at(old_len, "no room where there was room"))?;
        self.value = value;
        Ok(true)
    }

    /// Removes the entry `name` and says what it was (`ext4_delete_inline_entry`).
    pub fn remove(&mut self, context: &Context, name: &[u8]) -> Result<Entry, Error> {
        context.check_writable()?;
        context.check_name(name)?;
        let entry = self.find(context, name)?.ok_or_else(|| context.not_found(name))?;
        let start = if entry.place.offset < BODY_LEN { PARENT_LEN } else { BODY_LEN };
        let (area, place) = self.area(context, start);
        context.remove_from(area, place, entry.place.offset - start)?;
        Ok(entry)
    }

    /// Lets the entry `name`, which may be `..`, name `ino`, and says what it was.
    pub fn set_entry(
        &mut self,
        context: &Context,
        name: &[u8],
        ino: InodeNr,
        file_type: FileType,
    ) -> Result<Entry, Error> {
        context.check_writable()?;
        let entry = self.find(context, name)?.ok_or_else(|| context.not_found(name))?;
        if name == b".." {
            self.set_parent(ino);
        } else if name != b"." {
            let start = if entry.place.offset < BODY_LEN { PARENT_LEN } else { BODY_LEN };
            let raw_type = context.raw_type(file_type);
            let (area, place) = self.area(context, start);
            set_in(area, place, entry.place.offset - start, ino, raw_type)?;
        }
        Ok(entry)
    }

    /// The directory as its first block, `.` and `..` included (`ext4_finish_convert_inline_dir`).
    pub fn to_block(&self, context: &Context) -> Result<Vec<u8>, Error> {
        let entries = self.entries(context)?;
        let parent =
            entries.iter().find(|entry| entry.name == b"..").map_or(context.ino, |e| e.ino);
        let mut items = Vec::from(context.dots(parent));
        for (_, records) in self.records(context) {
            items.extend(context.items(records, None)?);
        }
        context.build_leaf(&items)
    }

    /// Both runs of records, with their start in `body` followed by `value`.
    fn records<'a>(&'a self, context: &Context) -> [(usize, Records<'a>); 2] {
        let body = self.body.get(PARENT_LEN..).unwrap_or_default();
        let ino = context.ino;
        [
            (PARENT_LEN, body, Area::InlineBody { ino }),
            (BODY_LEN, self.value.as_slice(), Area::InlineXattr { ino }),
        ]
        .map(|(start, area, place)| {
            (start, Records::new(area, place, context.block_size, context.inodes_count))
        })
    }

    /// The run of records that starts at byte `start` of `body` followed by `value`.
    fn area(&mut self, context: &Context, start: usize) -> (&mut [u8], Area) {
        let ino = context.ino;
        match start {
            PARENT_LEN => {
                let body = self.body.get_mut(PARENT_LEN..).unwrap_or_default();
                (body, Area::InlineBody { ino })
            }
            _ => (self.value.as_mut_slice(), Area::InlineXattr { ino }),
        }
    }
}
