//! The images that are checked: made by mke2fs and filled by the kernel, so that neither program under
//! comparison has had a hand in them.

use anyhow::{Context, Result};
use ext4_testkit::{mount::Mount, oracle};
use rustix::fs::{FallocateFlags, fallocate};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

/// How an image is made.
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    file: &'static str,
    len: u64,
    /// Options of mke2fs.
    options: &'static [&'static str],
    fill: fn(&Path) -> Result<()>,
}

/// All of them.
pub(crate) const ALL: &[Recipe] = &[
    Recipe {
        name: "2 million files",
        file: "files.img",
        len: 40 << 30,
        options: &["-N", "2100000"],
        fill: |root| tree(root, 2000, 1000),
    },
    Recipe {
        name: "empty tebibyte",
        file: "empty.img",
        len: 1 << 40,
        options: &[],
        fill: |_| Ok(()),
    },
    Recipe {
        name: "empty tebibyte, all inode tables to be read",
        file: "tables.img",
        len: 1 << 40,
        options: &["-O", "^metadata_csum,^uninit_bg"],
        fill: |_| Ok(()),
    },
    Recipe {
        name: "fragmented, deep extent trees, 200,000 directories",
        file: "fragmented.img",
        len: 40 << 30,
        options: &["-N", "700000"],
        fill: |root| {
            holes(root, 16)?;
            // 447 times 447 are 200,000.
            (0..447).try_for_each(|nr| tree(&root.join(format!("branch-{nr:03}")), 447, 2))
        },
    },
];

impl Recipe {
    /// The image in this folder, which is made where it is not there yet.
    pub(crate) fn image_in(&self, folder: &Path) -> Result<PathBuf> {
        let image = folder.join(self.file);
        if image.exists() {
            return Ok(image);
        }
        // Under its name only when it is whole.
        let new = image.with_extension("new");
        File::create(&new).and_then(|it| it.set_len(self.len)).context("a sparse file")?;
        oracle::mke2fs(&new, [&["-t", "ext4"], self.options].concat())?;
        let mount = Mount::new(&new, "nobarrier,commit=60")?;
        (self.fill)(mount.path())?;
        mount.unmount()?;
        fs::rename(&new, &image)?;
        Ok(image)
    }
}

/// Directories of files with one block each.
fn tree(root: &Path, directories: usize, files: usize) -> Result<()> {
    for directory in 0..directories {
        let directory = root.join(format!("directory-{directory:04}"));
        fs::create_dir_all(&directory)?;
        for file in 0..files {
            let file = File::create(directory.join(format!("file-{file:04}.txt")))?;
            fallocate(&file, FallocateFlags::empty(), 0, 4096)?;
        }
    }
    Ok(())
}

/// Files of 512 MiB of which each second block is a hole: 65,536 extents.
fn holes(root: &Path, files: usize) -> Result<()> {
    for nr in 0..files {
        let file = File::create(root.join(format!("holes-{nr:02}")))?;
        fallocate(&file, FallocateFlags::empty(), 0, 512 << 20)?;
        for at in (4096..512 << 20).step_by(8192) {
            let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(&file, punch, at, 4096)?;
        }
    }
    Ok(())
}
