//! Extended attributes as the kernel lists them, and inline data, which is one that it hides.

use super::{INLINE_DATA_FL, Node, View, le16, le32};
use crate::in_memory;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;

const MAGIC: u32 = 0xEA02_0000;
const HEADER: usize = 32;
const ENTRY: usize = 16;
const SYSTEM: u8 = 7;

/// One attribute: index of its prefix, name, value, and the inode that holds the value.
struct Attribute {
    index: u8,
    name: Vec<u8>,
    value: Vec<u8>,
    inode: u32,
}

impl View<'_> {
    /// Names and values as a mounted file system shows them to root.
    pub fn xattrs(&self, node: &Node) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut all = BTreeMap::new();
        for it in self.attributes(node)? {
            let is_acl = matches!(it.index, 2 | 3);
            let prefix = match it.index {
                1 => "user.",
                2 => "system.posix_acl_access",
                3 => "system.posix_acl_default",
                4 => "trusted.",
                6 => "security.",
                _ => continue,
            };
            let name = format!("{prefix}{}", String::from_utf8_lossy(&it.name));
            all.insert(name, if is_acl { acl(&it.value) } else { it.value });
        }
        Ok(all)
    }

    /// The inodes that hold values of an inode's attributes.
    pub fn value_inodes(&self, node: &Node) -> Result<Vec<u32>> {
        let all = self.attributes(node)?;
        Ok(all.iter().map(|it| it.inode).filter(|&it| it != 0).collect())
    }

    /// All bytes of a file whose data is in its inode. Of a folder: the number of the one above,
    /// then two areas of entries.
    pub(super) fn inline(&self, node: &Node) -> Result<Vec<u8>> {
        ensure!(node.has(INLINE_DATA_FL), "inode {}: no inline data", node.ino);
        let mut bytes = node.raw.i_block.to_vec();
        let all = self.attributes(node)?;
        let rest = all.into_iter().find(|it| it.index == SYSTEM && it.name == b"data");
        bytes.extend(rest.map(|it| it.value).unwrap_or_default());
        Ok(bytes)
    }

    fn attributes(&self, node: &Node) -> Result<Vec<Attribute>> {
        let mut all = Vec::new();
        let extra = usize::from(le16(&node.bytes, 128));
        if node.bytes.len() > 128 && le32(&node.bytes, 128 + extra) == MAGIC {
            let area = node.bytes.get(128 + extra + 4..).context("attributes in an inode")?;
            self.entries(area, 0, &mut all)?;
        }
        let blk = node.acl_block();
        if blk != 0 {
            let block = self.block(blk)?;
            ensure!(
                le32(&block, 0) == MAGIC,
                "attribute block {blk}: magic {:#x}",
                le32(&block, 0)
            );
            self.entries(&block, HEADER, &mut all)?;
        }
        Ok(all)
    }

    /// Entries from `at`; values are counted from the start of `area`.
    fn entries(&self, area: &[u8], mut at: usize, all: &mut Vec<Attribute>) -> Result<()> {
        while at + 4 <= area.len() && le32(area, at) != 0 {
            let name_len = usize::from(area[at]);
            let head = area.get(at..at + ENTRY + name_len).context("an attribute's entry")?;
            let inode = le32(head, 4);
            let size = in_memory(le32(head, 8).into());
            let value = if inode == 0 {
                let from = usize::from(le16(head, 2));
                area.get(from..from.saturating_add(size)).context("an attribute's value")?.to_vec()
            } else {
                self.read(&self.inode(inode)?, 0, size)?
            };
            all.push(Attribute { index: head[1], name: head[ENTRY..].to_vec(), value, inode });
            at += (ENTRY + name_len).next_multiple_of(4);
        }
        Ok(())
    }
}

/// An ACL as user space sees it (version 2, eight bytes an entry) from the short form on disk
/// (version 1, ids only where they mean something).
fn acl(disk: &[u8]) -> Vec<u8> {
    const USER: u16 = 2;
    const GROUP: u16 = 8;
    let mut out = 2_u32.to_le_bytes().to_vec();
    let mut at = 4;
    while at + 4 <= disk.len() {
        let tag = le16(disk, at);
        let has_id = tag == USER || tag == GROUP;
        out.extend_from_slice(&disk[at..at + 4]);
        let id = if has_id { le32(disk, at + 4) } else { u32::MAX };
        out.extend_from_slice(&id.to_le_bytes());
        at += if has_id { 8 } else { 4 };
    }
    out
}
