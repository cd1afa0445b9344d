//! Images of a kernel that was shut down in the middle of its work.

use super::{Expected, Json, KERNEL_IS_WRONG, Kernel, Tree, crc32, load_verified};
use crate::{explore::Violation, image::Image, manifest::Manifest, view::View};
use anyhow::Result;
use ext4_blockdev::BlockDevice;
use std::{collections::BTreeMap, path::PathBuf};

/// An image as a shut-down kernel left it.
#[derive(Clone, Debug)]
pub struct Crash {
    /// Its name.
    pub name: String,
    file: PathBuf,
    sha256: String,
    /// What its recovery has to come to.
    pub expected: Expected,
    /// Whether the kernel's answer can be believed.
    pub kernel_is_right: bool,
    /// Whether there are fast commits in it that count.
    pub has_fast_commits: bool,
    /// Replay alone: the blocks it changes, with the CRC-32 of each; `None` when there are too many
    /// to have been listed. The blocks of the superblock and of the journal's superblock are as
    /// debugfs leaves them.
    pub replay: Option<BTreeMap<u64, u32>>,
}

impl Crash {
    pub(super) fn load(name: String, file: PathBuf) -> Result<Self> {
        let json = Json::load(&file.with_file_name(format!("{name}.json")))?;
        let kernel = json.get("oracles").get("kernel");
        let changed = json.get("journal_only").get("changed");
        let replay = changed.is_list().then(|| changed.list().map(|it| pair(&it)).collect());
        Ok(Self {
            expected: Expected {
                kernel: Kernel {
                    mounted: kernel.get("mount_rc").number() == 0,
                    e2fsck: kernel.get("e2fsck_fn_rc").number(),
                    free: (kernel.get("free_blocks").number(), kernel.get("free_inodes").number()),
                    tree: match kernel.get("manifest") {
                        tree if tree.is_map() => Tree::Whole(tree.into::<Manifest>()?),
                        _ => Tree::Unknown,
                    },
                },
                promises: json.promises(),
                may_shift: json.get("workload").text() == "mix",
                may_be_stale: json.get("mount_opts").text().contains("writeback"),
            },
            kernel_is_right: !KERNEL_IS_WRONG.contains(&name.as_str()),
            has_fast_commits: json.get("facts_raw").get("journal").get("fc").get("live").is_true(),
            sha256: json.get("image_sha256").text(),
            replay,
            name,
            file,
        })
    }

    /// The image; its checksum is verified.
    pub fn image(&self) -> Result<Image> {
        load_verified(&self.file, &self.sha256)
    }

    /// Looks at an image on which the journal was replayed and nothing else was done.
    pub fn judge_replay(&self, device: &dyn BlockDevice) -> Result<Vec<Violation>> {
        let Some(expected) = &self.replay else { return Ok(Vec::new()) };
        let before = self.image()?;
        let view = View::new(&before)?;
        let bs = view.block_size;
        let jsb = view.inode(view.sb.s_journal_inum.get()).and_then(|it| view.runs(&it))?;
        let ignored = [(1024 / bs) as u64, jsb.first().map_or(0, |it| it.start)];
        let mut after = vec![0; bs];
        let mut found = BTreeMap::new();
        for (nr, old) in (0..).zip(before.bytes().chunks(bs)) {
            device.read_at(nr * bs as u64, &mut after[..old.len()])?;
            if after[..old.len()] != *old && !ignored.contains(&nr) {
                found.insert(nr, crc32(&after));
            }
        }
        let is_compared = |blk: &&u64| !ignored.contains(blk);
        let all = expected.keys().chain(found.keys().filter(|it| !expected.contains_key(it)));
        let differs = all.filter(is_compared).filter(|it| expected.get(it) != found.get(it));
        Ok(differs
            .map(|it| {
                let (a, b) = (found.get(it), expected.get(it));
                Violation::new("replay", format!("block {it}: crc {a:x?}, expected {b:x?}"))
            })
            .collect())
    }
}

/// `[number, "hex digits"]`.
fn pair(row: &Json) -> (u64, u32) {
    let crc = u32::from_str_radix(&row.at(1).text(), 16).unwrap_or(0);
    (row.at(0).number(), crc)
}
