//! Images that mke2fs makes, debugfs looks into and the kernel mounts, for whoever may.

use crate::mem::Mem;
use ext4_dir::Context;
use ext4_ondisk::checksum::Csum;
use ext4_units::{BlockSize, InodeNr};
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tempfile::TempDir;

/// What mke2fs and tune2fs are told.
pub(crate) struct Profile {
    pub(crate) block_size: u32,
    pub(crate) features: &'static str,
    pub(crate) hash: &'static str,
    pub(crate) is_unsigned: bool,
}

pub(crate) struct Image {
    folder: TempDir,
    pub(crate) path: PathBuf,
}

/// A loop mount, undone on drop.
pub(crate) struct Mount<'a> {
    image: &'a Image,
    pub(crate) root: PathBuf,
}

pub(crate) fn run(program: &str, args: &[&str]) -> Output {
    let output = Command::new(program).args(args).output();
    output.unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether the tools are there and this process may mount; says loudly when not.
pub(crate) fn can_mount() -> bool {
    for tool in ["mke2fs", "tune2fs", "debugfs", "e2fsck"] {
        if Command::new(tool).arg("-V").output().is_err() {
            eprintln!("skipped: no {tool}");
            return false;
        }
    }
    let image = Image::new(&Profile {
        block_size: 4096,
        features: "none",
        hash: "half_md4",
        is_unsigned: false,
    });
    let may = image.try_mount().is_some();
    if !may {
        eprintln!("skipped: this process may not mount an image");
    }
    may
}

impl Image {
    pub(crate) fn new(profile: &Profile) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        File::create(&path).unwrap().set_len(64 << 20).unwrap();
        fs::create_dir(folder.path().join("mnt")).unwrap();
        let image = Self { folder, path };
        let size = profile.block_size.to_string();
        let file = image.file();
        let made = run(
            "mke2fs",
            &["-q", "-F", "-t", "ext4", "-b", &size, "-O", profile.features, "-N", "8192", file],
        );
        assert!(made.status.success(), "{made:?}");
        let tuned = run("tune2fs", &["-E", &format!("hash_alg={}", profile.hash), file]);
        assert!(tuned.status.success(), "{tuned:?}");
        image.debug(&[if profile.is_unsigned { "ssv flags 2" } else { "ssv flags 1" }]);
        image
    }

    pub(crate) fn file(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Runs requests of debugfs with `-w`.
    pub(crate) fn debug(&self, requests: &[&str]) -> String {
        let script = self.folder.path().join("script");
        fs::write(&script, requests.join("\n") + "\n").unwrap();
        text(&run("debugfs", &["-w", "-f", script.to_str().unwrap(), self.file()]))
    }

    pub(crate) fn try_mount(&self) -> Option<Mount<'_>> {
        let root = self.folder.path().join("mnt");
        let output =
            run("mount", &["-t", "ext4", "-o", "loop", self.file(), root.to_str().unwrap()]);
        output.status.success().then_some(Mount { image: self, root })
    }

    pub(crate) fn mount(&self) -> Mount<'_> {
        self.try_mount().unwrap()
    }

    /// Insists that e2fsck finds nothing to do.
    pub(crate) fn insist_clean(&self) {
        let output = run("e2fsck", &["-fn", self.file()]);
        assert!(output.status.success(), "{}", text(&output));
    }

    pub(crate) fn read_at(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        File::open(&self.path).unwrap().read_exact_at(&mut bytes, at).unwrap();
        bytes
    }

    pub(crate) fn write_at(&self, at: u64, bytes: &[u8]) {
        let file = File::options().write(true).open(&self.path).unwrap();
        file.write_all_at(bytes, at).unwrap();
    }

    /// The contents of a directory's blocks.
    pub(crate) fn blocks(&self, context: &Context) -> Mem {
        let output = run("debugfs", &["-R", &format!("cat <{}>", context.ino), self.file()]);
        Mem::of_bytes(&output.stdout, context.block_size.len())
    }

    /// Where a directory's blocks are, in bytes.
    pub(crate) fn places(&self, context: &Context, n_blocks: usize) -> Vec<u64> {
        let requests: Vec<String> =
            (0..n_blocks).map(|nr| format!("bmap <{}> {nr}", context.ino)).collect();
        let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
        self.debug(&requests)
            .lines()
            .filter_map(|line| line.trim().parse::<u64>().ok())
            .map(|block| block * u64::from(context.block_size.bytes()))
            .collect()
    }

    /// The facts of a directory, from the superblock's bytes and debugfs.
    pub(crate) fn context(&self, path: &str) -> Context {
        let sb = self.read_at(1024, 1024);
        let le32 = |at: usize| u32::from_le_bytes(sb[at..at + 4].try_into().unwrap());
        let stat = text(&run("debugfs", &["-R", &format!("stat {path}"), self.file()]));
        let field = |name: &str| -> String {
            let (_, rest) = stat.split_once(name).unwrap_or_else(|| panic!("{name} of {stat}"));
            rest.split_whitespace().next().unwrap().to_owned()
        };
        let ino = InodeNr::new(field("Inode:").parse().unwrap()).unwrap();
        let generation: u32 = field("Generation:").parse().unwrap();
        let flags = u32::from_str_radix(field("Flags:").trim_start_matches("0x"), 16).unwrap();
        let (compat, incompat, ro_compat) = (le32(0x5C), le32(0x60), le32(0x64));
        let seed = if incompat & 0x2000 != 0 {
            Csum(le32(0x270))
        } else {
            Csum::of_uuid(&sb[0x68..0x78].try_into().unwrap())
        };
        Context {
            ino,
            block_size: BlockSize::from_bits(10 + le32(0x18)).unwrap(),
            inodes_count: le32(0),
            csum: (ro_compat & 0x400 != 0).then(|| seed.inode_seed(ino, generation)),
            has_filetype: incompat & 2 != 0,
            has_dir_index: compat & 0x20 != 0,
            has_largedir: incompat & 0x4000 != 0,
            is_indexed: flags & 0x1000 != 0,
            is_casefolded: flags & 0x4000_0000 != 0,
            is_encrypted: flags & 0x800 != 0,
            default_hash_version: sb[0xFC],
            has_unsigned_hash: le32(0x160) & 2 != 0,
            hash_seed: [0xEC, 0xF0, 0xF4, 0xF8].map(le32),
        }
    }
}

impl Mount<'_> {
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let umount = || run("umount", &[self.root.to_str().unwrap()]);
        let mut output = umount();
        // Something may still look at a mount for an instant (udev, a child before its exec).
        for _ in 0..100 {
            if output.status.success() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
            output = umount();
        }
        if !output.status.success() {
            eprintln!("{} stays mounted: {output:?}", Path::new(self.image.file()).display());
        }
    }
}
