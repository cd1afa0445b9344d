//! What must hold for an inode in core at any quiet moment.

use crate::{Filesystem, MapState, Result, incore::PageState};
use ext4_units::{InodeNr, LogicalBlock};

impl Filesystem {
    /// For tests: which of the rules about the sizes of `ino` and its pages are broken. Call it
    /// with the inode's lock held, or when nobody uses the file.
    ///
    /// - `i_disksize <= i_size`;
    /// - where it is less, dirty pages reach to `i_size`;
    /// - bytes behind `i_size` are zero, in the last page and in a written last block.
    pub fn check_incore(&self, ino: InodeNr) -> Result<Vec<String>> {
        let mut broken = Vec::new();
        let inode = self.open_inode(self.meta(), ino)?;
        let (i_size, i_disksize) = (inode.i_size, inode.i_disksize());
        if i_disksize > i_size {
            broken.push(format!("inode {ino}: i_disksize {i_disksize} beyond i_size {i_size}"));
        }
        if !inode.is_regular() || inode.has_inline_data() {
            return Ok(broken);
        }
        let size = self.geometry().block_size;
        let incore = self.incores().find(ino);
        let page = |lblk| {
            incore.as_ref().and_then(|it| {
                let pages = it.pages();
                pages.get(lblk).map(|page| (page.state(), page.data().clone()))
            })
        };
        let last = i_size.checked_sub(1).and_then(|byte| LogicalBlock::of_byte(byte, size));
        if i_disksize < i_size
            && !last.and_then(page).is_some_and(|(state, _)| state != PageState::Clean)
        {
            broken.push(format!(
                "inode {ino}: i_disksize {i_disksize}, i_size {i_size}, and no dirty page there"
            ));
        }
        if let Some(incore) = &incore {
            let beyond = size.blocks_for(i_size);
            for (lblk, _) in incore.pages().range(LogicalBlock(0)..=LogicalBlock(u32::MAX)) {
                if u64::from(lblk.0) >= beyond {
                    broken.push(format!("inode {ino}: page at block {lblk}, i_size {i_size}"));
                }
            }
        }
        let within = size.within(i_size) as usize;
        if let Some(lblk) = last.filter(|_| within != 0) {
            let is_zero = |bytes: &[u8]| bytes.iter().skip(within).all(|&byte| byte == 0);
            match page(lblk) {
                Some((_, data)) if !is_zero(&data) => {
                    broken.push(format!("inode {ino}: its last page has bytes behind {i_size}"));
                }
                Some((state, _)) if state != PageState::Clean => {}
                _ => {
                    if let MapState::Written(blk) = self.steady_lookup(ino, lblk)?.1.state
                        && !self.logs_data(&inode)
                    {
                        let mut block = vec![0; size.len()];
                        self.device().read_at(blk.byte(size), &mut block)?;
                        if !is_zero(&block) {
                            let fault =
                                format!("inode {ino}: block {blk} has bytes behind {i_size}");
                            broken.push(fault);
                        }
                    }
                }
            }
        }
        Ok(broken)
    }
}
