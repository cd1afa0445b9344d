//! A directory inside its inode, as the directory crate sees it; and one that moves to a block.

use super::File;
use crate::{Error, Result};
use ext4_dir::{DirStore as _, inline::Inline};
use ext4_ondisk::{
    inline_data,
    inode::InodeFlags,
    xattr::{self, Entry, Value},
};

impl File<'_, '_, '_> {
    /// The parts of a directory inside its inode; `None` of one that is not, and when the attribute is
    /// not there.
    pub(crate) fn inline(&self) -> Result<Option<Inline>> {
        if !self.inode.flags.contains(InodeFlags::INLINE_DATA) {
            return Ok(None);
        }
        let entries = xattr::parse_body(&self.inode.ibody, self.ino)?;
        Ok(inline_data::attribute(&entries)
            .map(|value| Inline { body: self.inode.i_block, value: value.to_vec() }))
    }

    /// Puts the parts back.
    pub(crate) fn set_inline(&mut self, inline: &Inline) -> Result<()> {
        self.inode.i_block = inline.body;
        let mut entries = xattr::parse_body(&self.inode.ibody, self.ino)?;
        for entry in entries.iter_mut().filter(|it| inline_data::is_attribute(it)) {
            entry.value = Value::Here(inline.value.clone());
        }
        self.put_body(&entries)
    }

    /// Moves a directory from its inode to a block.
    pub(crate) fn leave_inode(&mut self) -> Result<()> {
        let Some(inline) = self.inline()? else { return Ok(()) };
        let context = self.dir_context();
        let block = inline.to_block(&context)?;
        let mut entries = xattr::parse_body(&self.inode.ibody, self.ino)?;
        entries.retain(|it| !inline_data::is_attribute(it));
        self.put_body(&entries)?;
        self.inode.flags.remove(InodeFlags::INLINE_DATA);
        self.begin_map();
        self.inode.size = 0;
        let known = self.session.facts.directories.get_mut(self.ino);
        if let Some(known) = known {
            known.is_inline = false;
            known.runs.clear();
        }
        let lblk = self.append()?;
        self.write(lblk, block)
    }

    fn put_body(&mut self, entries: &[Entry]) -> Result<()> {
        let len = self.inode.ibody.len();
        self.inode.ibody = xattr::encode_body(entries, len).ok_or_else(|| {
            Error::Damaged(format!("inode {}: its attributes do not fit", self.ino))
        })?;
        Ok(())
    }
}
