//! What the filesystem consists of (`-v`), and what of it is in pieces (`-E fragcheck`).

use ext4_check::{Break, Survey};
use serde::Serialize;
use std::fmt;

/// The counts of `e2fsck -v`.
#[derive(Clone, Debug, Serialize)]
pub struct Statistics {
    files: u64,
    regular_files: u64,
    directories: u64,
    character_devices: u64,
    block_devices: u64,
    fifos: u64,
    sockets: u64,
    symbolic_links: u64,
    fast_symbolic_links: u64,
    links: u64,
    large_files: u64,
    bad_blocks: u64,
    discontiguous_files: u64,
    discontiguous_directories: u64,
    /// Inodes with single, double and triple indirect blocks.
    indirect: [u64; 3],
    /// Trees of extents by their depth.
    extent_depths: [u64; 6],
}

impl From<&Survey> for Statistics {
    fn from(it: &Survey) -> Self {
        let [discontiguous_files, discontiguous_directories] = it.discontiguous;
        Self {
            files: [it.regular, it.directories, it.char_devices, it.block_devices]
                .into_iter()
                .chain([it.fifos, it.sockets, it.symlinks, it.links])
                .sum(),
            regular_files: it.regular,
            directories: it.directories,
            character_devices: it.char_devices,
            block_devices: it.block_devices,
            fifos: it.fifos,
            sockets: it.sockets,
            symbolic_links: it.symlinks,
            fast_symbolic_links: it.fast_symlinks,
            links: it.links,
            large_files: it.large_files,
            bad_blocks: it.bad_blocks,
            discontiguous_files,
            discontiguous_directories,
            indirect: it.indirect,
            extent_depths: it.extent_depths,
        }
    }
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            ("discontiguous files", self.discontiguous_files),
            ("discontiguous directories", self.discontiguous_directories),
            ("bad blocks", self.bad_blocks),
            ("large files", self.large_files),
            ("regular files", self.regular_files),
            ("directories", self.directories),
            ("character device files", self.character_devices),
            ("block device files", self.block_devices),
            ("fifos", self.fifos),
            ("links", self.links),
            ("symbolic links", self.symbolic_links),
            ("of them fast symbolic links", self.fast_symbolic_links),
            ("sockets", self.sockets),
            ("files in all", self.files),
        ];
        let joined = |all: &[u64]| all.iter().map(u64::to_string).collect::<Vec<_>>().join("/");
        let used = self.extent_depths.iter().rposition(|it| *it > 0).map_or(0, |it| it + 1);
        let indirect = joined(&self.indirect);
        writeln!(f, "{indirect:>12} inodes with ind/dind/tind blocks")?;
        let depths = joined(&self.extent_depths[..used]);
        writeln!(f, "{depths:>12} trees of extents by depth")?;
        for (what, n) in rows {
            writeln!(f, "{n:>12} {what}")?;
        }
        Ok(())
    }
}

/// A place where a file goes on elsewhere.
#[derive(Clone, Debug, Serialize)]
pub struct Place {
    inode: u32,
    directory: bool,
    logical_block: u64,
    expected: u64,
    found: u64,
    blocks: u64,
}

impl From<&Break> for Place {
    fn from(it: &Break) -> Self {
        Self {
            inode: it.ino.get(),
            directory: it.is_directory,
            logical_block: it.lblk,
            expected: it.expected.0,
            found: it.found.0,
            blocks: it.len,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.directory { "directory" } else { "inode" };
        write!(
            f,
            "{what} {}: {} blocks from {} on are at {}, expected {}",
            self.inode, self.blocks, self.logical_block, self.found, self.expected
        )
    }
}
