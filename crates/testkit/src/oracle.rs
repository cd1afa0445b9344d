//! The tools that other people wrote, as judges: e2fsck, debugfs, dumpe2fs, mke2fs.
//!
//! Each call works on a file and touches nothing else. A tool that is missing is said aloud by
//! [`skip_without`], never taken for a passed test.

use crate::process::{Output, run, write_unforked};
use anyhow::{Context, Result, bail};
use ext4_blockdev::BlockDevice;
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

/// How long a tool may take. Some versions of e2fsck never end on some damaged images.
pub const LIMIT: Duration = Duration::from_mins(1);

/// Something outside this repository that a test needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// `mke2fs`.
    Mke2fs,
    /// `e2fsck`.
    E2fsck,
    /// `debugfs`.
    Debugfs,
    /// `dumpe2fs`.
    Dumpe2fs,
    /// `tune2fs`.
    Tune2fs,
    /// `strace`.
    Strace,
    /// The right to mount a loop device, and a kernel that has ext4.
    Kernel,
    /// The corpus of images: the environment variable `EXT4_CORPUS` names a folder.
    Corpus,
}

impl Need {
    /// What a person would call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mke2fs => "mke2fs",
            Self::E2fsck => "e2fsck",
            Self::Debugfs => "debugfs",
            Self::Dumpe2fs => "dumpe2fs",
            Self::Tune2fs => "tune2fs",
            Self::Strace => "strace",
            Self::Kernel => "kernel mounts (root, loop devices, ext4)",
            Self::Corpus => "corpus (EXT4_CORPUS is not set)",
        }
    }

    /// Whether this host has it.
    pub fn is_here(self) -> bool {
        match self {
            Self::Kernel => can_mount(),
            Self::Corpus => corpus().is_some(),
            tool => which(tool.name()).is_some(),
        }
    }
}

/// Those of `needs` that this host lacks.
pub fn missing(needs: &[Need]) -> Vec<Need> {
    needs.iter().copied().filter(|need| !need.is_here()).collect()
}

/// Says `skipped: no e2fsck` on standard error and returns true when something is missing. A test
/// starts with `if skip_without(&[Need::E2fsck]) { return; }`.
#[must_use]
#[expect(clippy::print_stderr, reason = "a skipped oracle has to be seen in the test's output")]
pub fn skip_without(needs: &[Need]) -> bool {
    let missing = missing(needs);
    for need in &missing {
        eprintln!("skipped: no {}", need.name());
    }
    !missing.is_empty()
}

/// The folder that `EXT4_CORPUS` names: `clean/` and `crash-images/` are below it.
pub fn corpus() -> Option<PathBuf> {
    std::env::var_os("EXT4_CORPUS").map(PathBuf::from).filter(|dir| dir.is_dir())
}

/// A folder for scratch files, in memory where the host has `/dev/shm`; removed when dropped.
pub fn scratch() -> Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("ext4-testkit.");
    builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir()).context("a scratch folder")
}

/// Where a program lies: in `PATH` or one of the `sbin` folders, which a plain user's lacks.
fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let found = std::env::split_paths(&path).chain(sbin).map(|dir| dir.join(program));
    found.into_iter().find(|file| file.is_file())
}

/// Runs one of the tools (by its name, wherever it lies) with the fixed environment.
pub fn tool<S: AsRef<OsStr>>(
    program: &str,
    args: impl IntoIterator<Item = S>,
    stdin: &[u8],
) -> Result<Output> {
    let Some(path) = which(program) else { bail!("no {program} on this host") };
    let path = path.to_str().context("the path of a tool is not text")?;
    run(path, args, &[], stdin, LIMIT)
}

fn can_mount() -> bool {
    if !rustix::process::geteuid().is_root()
        || !Path::new("/dev/loop-control").exists()
        || which("mount").is_none()
        || which("umount").is_none()
    {
        return false;
    }
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    known.lines().any(|line| line.trim() == "ext4")
}

/// What e2fsck found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fsck {
    /// Its exit code: 0 clean, 1 corrected, 4 left uncorrected, 8 operational error; `None` when
    /// it was killed for taking too long.
    pub code: Option<i32>,
    /// What it said, without the headings of its passes.
    pub lines: Vec<String>,
}

impl Fsck {
    /// Whether it found nothing at all.
    pub fn is_clean(&self) -> bool {
        self.code == Some(0)
    }
}

/// How e2fsck is asked to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FsckMode {
    /// `-fn`: look at everything, change nothing.
    Check,
    /// `-p`: what happens at boot: replay, orphans, safe corrections.
    Preen,
    /// `-fy`: correct everything.
    Repair,
}

/// Runs e2fsck on an image file.
pub fn e2fsck(image: &Path, mode: FsckMode) -> Result<Fsck> {
    let flag = match mode {
        FsckMode::Check => "-fn",
        FsckMode::Preen => "-p",
        FsckMode::Repair => "-fy",
    };
    let out = tool("e2fsck", [OsStr::new(flag), image.as_os_str()], b"")?;
    let text = out.text().replace(&*image.to_string_lossy(), "IMAGE");
    let is_heading = |line: &&str| {
        line.trim().is_empty() || line.starts_with("e2fsck 1") || line.starts_with("Pass ")
    };
    let lines = text.lines().filter(|line| !is_heading(line)).map(str::to_owned).collect();
    Ok(Fsck { code: out.code, lines })
}

/// Runs e2fsck on a copy of a device's bytes in a scratch file.
pub fn e2fsck_device(device: &dyn BlockDevice, mode: FsckMode) -> Result<Fsck> {
    let scratch = scratch()?;
    let file = scratch.path().join("image");
    save(device, &file)?;
    e2fsck(&file, mode)
}

/// One debugfs command, reading only. The text it prints, with debugfs' banner removed.
pub fn debugfs(image: &Path, request: &str) -> Result<String> {
    debugfs_run(image, &["-R", request], b"")
}

/// debugfs commands, one a line, that may write.
///
/// # Errors
/// With the complaint of any of them: debugfs goes on after an error, and its exit code does not
/// always tell.
pub fn debugfs_write(image: &Path, requests: &str) -> Result<String> {
    debugfs_run(image, &["-w", "-f", "-"], requests.as_bytes())
}

fn debugfs_run(image: &Path, args: &[&str], stdin: &[u8]) -> Result<String> {
    let args = args.iter().map(OsStr::new).chain([image.as_os_str()]);
    let out = tool("debugfs", args, stdin)?;
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    let complaint = said.lines().find(|line| !line.starts_with("debugfs 1"));
    match complaint {
        Some(line) => bail!("debugfs: {line}"),
        None => out.expect_ok("debugfs"),
    }
}

/// A file's bytes as `debugfs dump` has them. (1.47.0 pads inline data; do not use it for those.)
pub fn debugfs_cat(image: &Path, path: &str) -> Result<Vec<u8>> {
    let scratch = scratch()?;
    let copy = scratch.path().join("copy");
    let text = debugfs(image, &format!("dump \"{path}\" {}", copy.display()))?;
    fs::read(&copy).with_context(|| format!("debugfs dump {path}: {}", text.trim()))
}

/// The value of one line of `dumpe2fs -h`, such as `Free blocks`.
pub fn dumpe2fs_field(image: &Path, field: &str) -> Result<String> {
    let args = [OsStr::new("-h"), image.as_os_str()];
    let text = tool("dumpe2fs", args, b"")?.expect_ok("dumpe2fs")?;
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.map(|it| it.trim().to_owned()).with_context(|| format!("dumpe2fs: no line {field:?}"))
}

/// What e2fsprogs' own configuration file says upstream, so that the host's does not matter.
const MKE2FS_CONF: &str = "\
[defaults]
base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
default_mntopts = acl,user_xattr
enable_periodic_fsck = 0
blocksize = 4096
inode_size = 256
inode_ratio = 16384
[fs_types]
ext3 = {
features = has_journal
}
ext4 = {
features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
}
";

/// Runs mke2fs on an existing file, with upstream's default features and not the host's.
pub fn mke2fs<S: AsRef<OsStr>>(image: &Path, args: impl IntoIterator<Item = S>) -> Result<()> {
    run_mke2fs(image, args, MKE2FS_CONF)
}

fn run_mke2fs<S: AsRef<OsStr>>(
    image: &Path,
    args: impl IntoIterator<Item = S>,
    configuration: &str,
) -> Result<()> {
    let dir = scratch()?;
    let conf = dir.path().join("mke2fs.conf");
    fs::write(&conf, configuration).context("mke2fs.conf")?;
    let Some(path) = which("mke2fs") else { bail!("no mke2fs on this host") };
    let path = path.to_str().context("the path of a tool is not text")?;
    let mut all: Vec<_> = ["-q", "-F"].map(|it| OsStr::new(it).to_owned()).into();
    all.extend(args.into_iter().map(|it| it.as_ref().to_owned()));
    all.push(image.as_os_str().to_owned());
    let out = run(path, &all, &[("MKE2FS_CONFIG", conf.as_os_str())], b"", LIMIT)?;
    out.expect_ok(&format!("mke2fs {all:?}")).map(drop)
}

/// The rest of upstream's configuration file: what a size or `-T` chooses.
const USAGE_TYPES: &str = "\
small = {
blocksize = 1024
inode_ratio = 4096
}
floppy = {
blocksize = 1024
inode_ratio = 8192
}
big = {
inode_ratio = 32768
}
huge = {
inode_ratio = 65536
}
news = {
inode_ratio = 4096
}
largefile = {
inode_ratio = 1048576
blocksize = -1
}
largefile4 = {
inode_ratio = 4194304
blocksize = -1
}
";

/// Runs mke2fs as [`mke2fs`] does, with block size and inode ratio by the size or `-T` as upstream
/// has them.
pub fn mke2fs_by_usage<S: AsRef<OsStr>>(
    image: &Path,
    args: impl IntoIterator<Item = S>,
) -> Result<()> {
    run_mke2fs(image, args, &format!("{MKE2FS_CONF}{USAGE_TYPES}"))
}

/// Writes all bytes of a device into a new file, leaving holes for zeroes.
pub fn save(device: &dyn BlockDevice, file: &Path) -> Result<()> {
    write_unforked(|| save_holding(device, file))
}

fn save_holding(device: &dyn BlockDevice, file: &Path) -> Result<()> {
    use std::os::unix::fs::FileExt;
    const STEP: usize = 1 << 20;
    let out = fs::File::create(file).with_context(|| format!("create {}", file.display()))?;
    out.set_len(device.len()).context("size of the image file")?;
    let mut buf = vec![0; STEP];
    let mut at = 0;
    while at < device.len() {
        let n = usize::try_from((device.len() - at).min(STEP as u64))?;
        device.read_at(at, &mut buf[..n]).context("read the device")?;
        if buf[..n].iter().any(|&byte| byte != 0) {
            out.write_all_at(&buf[..n], at).context("write the image file")?;
        }
        at += n as u64;
    }
    Ok(())
}
