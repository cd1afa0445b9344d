//! Directories inside their inode: taken out of it, put back, and moved to a block when full.

use crate::{Error, Handle, Inode, Result};
use ext4_dir::inline::Inline;
use ext4_ondisk::inline_data;

impl Inode {
    /// An inline directory's records.
    pub(super) fn inline_dir(&self) -> Result<Inline> {
        let contents = self.inline_contents()?;
        let value = contents.get(inline_data::BODY_LEN..).unwrap_or_default().to_vec();
        Ok(Inline { body: self.i_block, value })
    }
}

impl Handle<'_> {
    /// Puts records back into their inode. The caller writes it.
    pub(super) fn store_inline_dir(&mut self, dir: &mut Inode, inline: &Inline) -> Result<()> {
        let contents = [&inline.body[..], &inline.value].concat();
        if !dir.set_inline_contents(&contents)? {
            return Err(Error::NoSpace { what: "room in the inode" });
        }
        self.set_size(dir, contents.len() as u64)
    }

    /// Moves a full inline directory to its first block (`ext4_convert_inline_data_nolock`). The
    /// caller writes the inode back.
    pub(super) fn inline_dir_to_block(&mut self, dir: &mut Inode, inline: &Inline) -> Result<()> {
        let block = inline.to_block(&self.fs().dir_context(dir))?;
        dir.drop_inline_data(self.fs())?;
        self.set_size(dir, 0)?;
        self.first_dir_block(dir, block)
    }
}
