//! Contents inside the inode: how much room there is, writing them, and moving them to a block.

mod file;

use crate::{Filesystem, Inode, Result};
use ext4_ondisk::{
    features::Incompat,
    inline_data::{self, BODY_LEN},
    inode::{FileType, InodeFlags},
    xattr::{Entry, Value, encode_body, parse_body},
};

impl Inode {
    /// How long the value of `system.data` may become, next to the other attributes in the inode
    /// (`get_max_inline_xattr_value_size`).
    pub(crate) fn inline_room(&self) -> Result<usize> {
        let others = self.attributes_but_data()?;
        // The body's magic, the end of the list, and the entry of `system.data` itself.
        let fixed = 4 + 4 + 16 + inline_data::XATTR_NAME.len().next_multiple_of(4);
        let taken: usize = others
            .iter()
            .map(|it| match &it.value {
                Value::Here(value) => value.len().next_multiple_of(4),
                Value::Inode { .. } => 0,
            } + 16 + it.name.len().next_multiple_of(4))
            .sum();
        let room = self.ibody.len().saturating_sub(fixed + taken);
        Ok(room & !3)
    }

    /// The most bytes of contents the inode can hold in itself.
    pub(crate) fn inline_capacity(&self) -> Result<usize> {
        Ok(BODY_LEN + self.inline_room()?)
    }

    /// Whether a new inode's contents may go into itself: regular files and directories of a
    /// filesystem with inline_data, with room for the attribute (`ext4_find_inline_data_nolock`).
    pub(crate) fn may_be_inline(&self, fs: &Filesystem) -> bool {
        let is_kind = matches!(self.file_type(), FileType::Regular | FileType::Directory);
        let never = InodeFlags::DAX | InodeFlags::EA_INODE | InodeFlags::ENCRYPT;
        is_kind
            && fs.superblock().features.has_incompat(Incompat::INLINE_DATA)
            && self.extra_isize != 0
            && !self.flags.intersects(never)
            && self.attributes_but_data().is_ok_and(|mut entries| {
                entries.push(inline_data::entry(Vec::new()));
                encode_body(&entries, self.ibody.len()).is_some()
            })
    }

    /// Makes an inode without blocks one with inline data, all zeros (`ext4_create_inline_data`).
    pub(crate) fn start_inline_data(&mut self) -> Result<()> {
        self.disk.flags.remove(InodeFlags::EXTENTS);
        self.disk.flags.insert(InodeFlags::INLINE_DATA);
        self.set_inline_contents(&[]).map(drop)
    }

    /// Stores contents, at least the bytes of `i_block`; `false`, with nothing changed, when they
    /// don't fit. The size is the caller's.
    pub(crate) fn set_inline_contents(&mut self, contents: &[u8]) -> Result<bool> {
        let (head, rest) = contents.split_at(contents.len().min(BODY_LEN));
        let mut entries = parse_body(&self.ibody, self.ino)?;
        let new = inline_data::entry(rest.to_vec());
        match entries.iter_mut().find(|it| inline_data::is_attribute(it)) {
            Some(old) => *old = new,
            None => entries.push(new),
        }
        let Some(body) = encode_body(&entries, self.ibody.len()) else { return Ok(false) };
        self.disk.ibody = body;
        self.disk.i_block = [0; BODY_LEN];
        self.disk.i_block[..head.len()].copy_from_slice(head);
        Ok(true)
    }

    /// Takes the contents out of the inode and leaves an empty map (`ext4_destroy_inline_data`).
    pub(crate) fn drop_inline_data(&mut self, fs: &Filesystem) -> Result<()> {
        let entries = self.attributes_but_data()?;
        // What is left was there before, with more beside it.
        if let Some(body) = encode_body(&entries, self.ibody.len()) {
            self.disk.ibody = body;
        }
        self.disk.flags.remove(InodeFlags::INLINE_DATA);
        let has_extents = fs.superblock().features.has_incompat(Incompat::EXTENTS);
        self.disk.flags.set(InodeFlags::EXTENTS, has_extents);
        self.disk.i_block = self.map_format().empty_root();
        Ok(())
    }

    fn attributes_but_data(&self) -> Result<Vec<Entry>> {
        let mut entries = parse_body(&self.ibody, self.ino)?;
        entries.retain(|it| !inline_data::is_attribute(it));
        Ok(entries)
    }
}
