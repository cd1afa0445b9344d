//! Journals that debugfs wrote: every version of checksums, revokes, escapes, an uncommitted end.

use super::{Json, crc32, load_verified};
use crate::{
    explore::Violation,
    image::{Image, POISON},
    view::View,
};
use anyhow::Result;
use ext4_blockdev::BlockDevice;
use std::{collections::BTreeMap, path::PathBuf};

/// An image with a journal that debugfs wrote.
#[derive(Clone, Debug)]
pub struct Journal {
    /// Its name: checksums or none, 32 or 64 bit, block size, version of journal checksums.
    pub name: String,
    file: PathBuf,
    sha256: String,
    /// What replay has to put into these blocks, as CRC-32.
    pub replayed: BTreeMap<u64, u32>,
    /// Blocks that are only in revoked or uncommitted transactions: still poison afterwards.
    pub untouched: Vec<u64>,
}

impl Journal {
    pub(super) fn load(name: String, file: PathBuf) -> Result<Self> {
        let json = Json::load(&file.with_file_name(format!("{name}.json")))?;
        let expected = json.get("expected");
        let number = |(blk, crc): (String, Json)| {
            (blk.parse().unwrap_or(0), u32::from_str_radix(&crc.text(), 16).unwrap_or(0))
        };
        Ok(Self {
            sha256: json.get("image_sha256").text(),
            replayed: expected.entries().map(number).collect(),
            untouched: json.get("poison_blocks").list().map(|it| it.number()).collect(),
            name,
            file,
        })
    }

    /// The image; its checksum is verified.
    pub fn image(&self) -> Result<Image> {
        load_verified(&self.file, &self.sha256)
    }

    /// Looks at the replayed blocks.
    pub fn judge(&self, device: &dyn BlockDevice) -> Result<Vec<Violation>> {
        let view = View::new(device)?;
        let mut all = Vec::new();
        for (&blk, &expected) in &self.replayed {
            let found = crc32(&view.block(blk)?);
            if found != expected {
                let text = format!("block {blk}: crc {found:08x}, expected {expected:08x}");
                all.push(Violation::new("replay", text));
            }
        }
        for &blk in &self.untouched {
            if !view.block(blk)?.starts_with(POISON) {
                all.push(Violation::new(
                    "replay",
                    format!("block {blk}: written, expected poison"),
                ));
            }
        }
        Ok(all)
    }
}
