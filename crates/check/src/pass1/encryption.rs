//! The flag ENCRYPT and the context it stands for.

use super::{
    attributes,
    inode::{Check, Verdict},
};
use crate::{
    Result,
    problem::pass1::{ENCRYPTION_CONTEXT, NO_ENCRYPTION_CONTEXT},
};
use ext4_ondisk::{inode::InodeFlags, xattr::RawXattrHeader};
use ext4_units::BlockNr;

/// Bytes of a context of version 1 and of version 2.
const LENGTHS: [usize; 2] = [28, 40];

impl Check<'_> {
    /// Checks that an encrypted inode has a context that can be one (`add_encrypted_file`).
    pub(super) fn encryption(&mut self) -> Result<Verdict> {
        let mut context = self.context.take();
        let blk = BlockNr(self.file_acl());
        if context.is_none() && self.world.is_block(blk) {
            let block = self.world.image.read(blk)?;
            context = attributes::context(&block, size_of::<RawXattrHeader>(), 0);
        }
        let Some(context) = context else {
            if self.fix(&NO_ENCRYPTION_CONTEXT, "", "")? {
                self.clear_flags(InodeFlags::ENCRYPT);
            }
            return Ok(Verdict::Kept);
        };
        let is_good = match context.first() {
            None | Some(0) => false,
            Some(1) => context.len() == LENGTHS[0],
            Some(2) => context.len() == LENGTHS[1],
            // A version to come.
            Some(_) => true,
        };
        if !is_good && self.fix(&ENCRYPTION_CONTEXT, format_args!("{} bytes", context.len()), "")? {
            return Ok(self.clear());
        }
        Ok(Verdict::Kept)
    }
}
