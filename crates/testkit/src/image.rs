//! Images from recipes: a named set of mkfs options, a size, and files to put in. The same recipe
//! gives the same bytes, and free space is filled with [`POISON`], so that a stale block can never
//! be taken for a written or a zeroed one.

use crate::{mount::Mount, oracle, oracle::Need};
use anyhow::{Context, Result, ensure};
use ext4_blockdev::{BlockDevice, Error, Limits, MemoryDevice, Overlay};
use std::{
    collections::HashMap,
    fmt, fs, io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

/// What every byte holds that mkfs and the kernel have not written.
pub const POISON: &[u8; 16] = b"POISON!STALE-BLK";

/// UUID and hash seed of every image.
pub const UUID: &str = "5eed5eed-1234-4321-8888-0123456789ab";

/// A named set of mkfs options.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Profile {
    /// Its name, such as `ext4-4k`.
    pub name: &'static str,
    /// What mke2fs is given besides the fixed identity.
    pub options: &'static str,
    /// Whether files have extents; else indirect blocks.
    pub extents: bool,
    /// Whether there is a journal.
    pub journal: bool,
    /// Whether the running kernel can be asked to mount it (a kernel without quota cannot).
    pub mountable: bool,
}

const fn ext4(name: &'static str, options: &'static str) -> Profile {
    Profile { name, options, extents: true, journal: true, mountable: true }
}

const fn indirect(name: &'static str, options: &'static str) -> Profile {
    Profile { extents: false, ..ext4(name, options) }
}

const fn ext2(name: &'static str, options: &'static str) -> Profile {
    Profile { journal: false, ..indirect(name, options) }
}

/// Every profile. The first is the plain modern one.
pub const PROFILES: &[Profile] = &[
    ext4("ext4-4k", "-t ext4 -b 4096"),
    ext4("ext4-1k", "-t ext4 -b 1024"),
    ext4("ext4-2k", "-t ext4 -b 2048"),
    indirect("ext3-1k", "-t ext3 -b 1024"),
    indirect("ext3-4k", "-t ext3 -b 4096"),
    ext2("ext2-1k", "-t ext2 -b 1024"),
    ext2("ext2-4k", "-t ext2 -b 4096"),
    ext4("ext4-nocsum", "-t ext4 -b 4096 -O ^metadata_csum"),
    ext4("ext4-gdtcsum-1k", "-t ext4 -b 1024 -O ^metadata_csum,uninit_bg"),
    ext4("ext4-32bit", "-t ext4 -b 4096 -O ^64bit"),
    indirect("ext4-indirect-1k", "-t ext4 -b 1024 -O ^extent,^64bit"),
    ext4("bigalloc-4k", "-t ext4 -b 4096 -O bigalloc -C 16384"),
    ext4("bigalloc-1k", "-t ext4 -b 1024 -O bigalloc -C 16384"),
    ext4("inline-4k", "-t ext4 -b 4096 -O inline_data"),
    ext4("orphan-4k", "-t ext4 -b 4096 -O orphan_file"),
    ext4("orphan-1k", "-t ext4 -b 1024 -O orphan_file"),
    ext4("noflex-1k", "-t ext4 -b 1024 -O ^flex_bg -g 2048"),
    ext4("metabg-1k", "-t ext4 -b 1024 -g 1024 -O meta_bg,^resize_inode"),
    ext4("super2-4k", "-t ext4 -b 4096 -O sparse_super2,^resize_inode,metadata_csum_seed"),
    ext4("inode128-4k", "-t ext4 -b 4096 -I 128 -O ^metadata_csum,^extra_isize"),
    ext4("journal-1m", "-t ext4 -b 1024 -J size=1"),
    ext4("fc-4k", "-t ext4 -b 4096 -O fast_commit"),
    ext4("fc-1k", "-t ext4 -b 1024 -O fast_commit"),
    Profile { mountable: false, ..ext4("quota-4k", "-t ext4 -b 4096 -O quota") },
    ext4("bigdir-1k", "-t ext4 -b 1024 -i 1024 -O large_dir,dir_nlink"),
    ext4("ea-inode-1k", "-t ext4 -b 1024 -O ea_inode"),
    ext4("mmp-4k", "-t ext4 -b 4096 -O mmp"),
    ext4("lazy-4k", "-t ext4 -b 4096 -E lazy_itable_init=1,lazy_journal_init=1"),
    ext4("modern-4k", "-t ext4 -b 4096 -O orphan_file,metadata_csum_seed,inline_data,large_dir"),
    Profile { journal: false, ..ext4("nojournal-4k", "-t ext4 -b 4096 -O ^has_journal") },
];

/// The profile of this name.
///
/// # Panics
/// When there is none: a test has a typing error.
#[track_caller]
pub fn profile(name: &str) -> &'static Profile {
    PROFILES.iter().find(|it| it.name == name).expect("a profile of that name")
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    Mkdir(String),
    Write { path: String, bytes: Vec<u8> },
    Debugfs(String),
    Kernel { name: &'static str, opts: String },
}

/// What the kernel is asked to do on a mounted image.
type Work = fn(&Path) -> io::Result<()>;

/// How an image is made.
#[derive(Clone, Debug)]
pub struct Recipe {
    profile: &'static Profile,
    mib: u32,
    extra: String,
    steps: Vec<Step>,
    works: Vec<Work>,
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    profile: &'static str,
    mib: u32,
    extra: String,
    steps: Vec<Step>,
}

impl Recipe {
    /// An empty 16 MiB file system of the profile with this name.
    #[track_caller]
    pub fn new(name: &str) -> Self {
        let profile = profile(name);
        Self { profile, mib: 16, extra: String::new(), steps: Vec::new(), works: Vec::new() }
    }

    /// Of this size in MiB.
    #[must_use]
    pub fn mib(mut self, mib: u32) -> Self {
        self.mib = mib;
        self
    }

    /// With more options for mke2fs, separated by blanks.
    #[must_use]
    pub fn options(mut self, options: &str) -> Self {
        self.extra.push(' ');
        self.extra.push_str(options);
        self
    }

    /// With a folder; the one above must be there.
    #[must_use]
    pub fn mkdir(mut self, path: &str) -> Self {
        self.steps.push(Step::Mkdir(path.to_owned()));
        self
    }

    /// With a file of these bytes (no blanks in the path). Zeroed blocks become holes.
    #[must_use]
    pub fn write(mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.steps.push(Step::Write { path: path.to_owned(), bytes: bytes.into() });
        self
    }

    /// With one more debugfs command, such as `symlink /l target` or `fallocate /a 0 15`.
    #[must_use]
    pub fn debugfs(mut self, request: &str) -> Self {
        self.steps.push(Step::Debugfs(request.to_owned()));
        self
    }

    /// With something done by the kernel on the image, mounted with `opts`; needs root. `name`
    /// stands for the work in the cache: two different works must not share one.
    #[must_use]
    pub fn kernel(mut self, name: &'static str, opts: &str, work: Work) -> Self {
        self.steps.push(Step::Kernel { name, opts: opts.to_owned() });
        self.works.push(work);
        self
    }

    /// What this recipe cannot do without.
    pub fn needs(&self) -> Vec<Need> {
        let mut needs = vec![Need::Mke2fs];
        if self.steps.iter().any(|it| !matches!(it, Step::Kernel { .. })) {
            needs.push(Need::Debugfs);
        }
        if !self.works.is_empty() {
            needs.push(Need::Kernel);
        }
        needs
    }

    /// The image; `None`, said aloud, when a tool is missing. Made once a process and recipe.
    ///
    /// # Panics
    /// When a tool that is there refuses.
    #[track_caller]
    pub fn image(&self) -> Option<Image> {
        if oracle::skip_without(&self.needs()) {
            return None;
        }
        match self.make() {
            Ok(image) => Some(image),
            #[expect(clippy::panic, reason = "a test cannot go on without its image")]
            Err(error) => panic!("image {}: {error:#}", self.profile.name),
        }
    }

    /// The image, made once a process and recipe.
    pub fn make(&self) -> Result<Image> {
        type Cache = HashMap<Key, Arc<[u8]>>;
        static CACHE: Mutex<Option<Cache>> = Mutex::new(None);
        let key = Key {
            profile: self.profile.name,
            mib: self.mib,
            extra: self.extra.clone(),
            steps: self.steps.clone(),
        };
        // Held while mke2fs runs: two tests that want one image wait for one.
        let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
        let cache = cache.get_or_insert_default();
        if let Some(bytes) = cache.get(&key) {
            return Ok(Image { bytes: Arc::clone(bytes) });
        }
        let bytes: Arc<[u8]> = self.build()?.into();
        cache.insert(key, Arc::clone(&bytes));
        Ok(Image { bytes })
    }

    fn build(&self) -> Result<Vec<u8>> {
        let scratch = oracle::scratch()?;
        let file = scratch.path().join("image");
        let size = usize::try_from(self.mib)? << 20;
        fs::write(&file, poison(size)).context("poison the image file")?;
        let identity = format!("nodiscard,hash_seed={UUID}");
        let lazy = ",lazy_itable_init=0,lazy_journal_init=0";
        let all = format!("{} {}", self.profile.options, self.extra);
        // mke2fs takes the last -E only, so the profile's and ours are joined.
        let mut args = vec!["-U".to_owned(), UUID.to_owned()];
        let mut extended = identity;
        let mut words = all.split_whitespace();
        while let Some(word) = words.next() {
            if word == "-E" {
                extended.push(',');
                extended.push_str(words.next().context("-E without a value")?);
            } else {
                args.push(word.to_owned());
            }
        }
        if !extended.contains("lazy_itable_init") {
            extended.push_str(lazy);
        }
        args.extend(["-E".to_owned(), extended]);
        oracle::mke2fs(&file, &args)?;
        self.populate(scratch.path(), &file)?;
        fs::read(&file).context("read the image file")
    }

    fn populate(&self, scratch: &Path, file: &Path) -> Result<()> {
        let mut works = self.works.iter();
        let mut requests = Vec::new();
        for (i, step) in self.steps.iter().enumerate() {
            match step {
                Step::Mkdir(path) => requests.push(format!("cd /\nmkdir {path}")),
                Step::Write { path, bytes } => {
                    let host = scratch.join(format!("file{i}"));
                    fs::write(&host, bytes).context("a file for the image")?;
                    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
                    let dir = if dir.is_empty() { "/" } else { dir };
                    requests.push(format!("cd {dir}\nwrite {} {name}", host.display()));
                }
                Step::Debugfs(request) => requests.push(format!("cd /\n{request}")),
                Step::Kernel { opts, .. } => {
                    flush(file, &mut requests)?;
                    let work = works.next().context("a kernel step without its work")?;
                    let mount = Mount::new(file, opts)?;
                    work(mount.path()).context("the kernel's part of a recipe")?;
                    mount.unmount()?;
                }
            }
        }
        flush(file, &mut requests)?;
        if self.profile.options.contains("quota") && !self.steps.is_empty() {
            // debugfs allocates without telling the quota files.
            let found = oracle::e2fsck(file, oracle::FsckMode::Repair)?;
            ensure!(found.code == Some(1), "e2fsck -fy on new quota files: {found:?}");
        }
        Ok(())
    }
}

fn flush(file: &Path, requests: &mut Vec<String>) -> Result<()> {
    if !requests.is_empty() {
        oracle::debugfs_write(file, &(requests.join("\n") + "\n"))?;
        requests.clear();
    }
    Ok(())
}

/// `len` bytes of [`POISON`].
pub fn poison(len: usize) -> Vec<u8> {
    let mut bytes = POISON.repeat(len.div_ceil(POISON.len()));
    bytes.truncate(len);
    bytes
}

/// The bytes of an image, shared and never changed. As a device it is read-only.
#[derive(Clone)]
pub struct Image {
    bytes: Arc<[u8]>,
}

impl Image {
    /// An image of these bytes.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self { bytes: bytes.into() }
    }

    /// An image file; with `.zst` in its name, decompressed.
    pub fn load(file: &Path) -> Result<Self> {
        let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
        if file.extension().is_some_and(|it| it == "zst") {
            let bytes = zstd::decode_all(&bytes[..])
                .with_context(|| format!("decompress {}", file.display()))?;
            return Ok(Self::new(bytes));
        }
        Ok(Self::new(bytes))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// A device in memory with a copy of them, for one test to write to.
    pub fn device(&self) -> Arc<MemoryDevice> {
        Arc::new(MemoryDevice::new(self.bytes.to_vec()))
    }

    /// A device that shares them and keeps what is written to itself: cheap.
    pub fn overlay(&self) -> Arc<Overlay> {
        Arc::new(Overlay::new(Arc::new(self.clone())))
    }

    /// Writes them into a file.
    pub fn save(&self, file: &Path) -> Result<()> {
        oracle::save(self, file)
    }

    /// A changed copy: each `(offset, bytes)` written over the original.
    pub fn patched<'a>(&self, patches: impl IntoIterator<Item = (u64, &'a [u8])>) -> Result<Self> {
        let mut bytes = self.bytes.to_vec();
        for (offset, patch) in patches {
            let start = usize::try_from(offset)?;
            let target = start.checked_add(patch.len()).and_then(|end| bytes.get_mut(start..end));
            target.context("a patch passes the end of the image")?.copy_from_slice(patch);
        }
        Ok(Self::new(bytes))
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Image({} bytes)", self.bytes.len())
    }
}

impl BlockDevice for Image {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn limits(&self) -> Limits {
        Limits { sector: 512, memory: 1 }
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> ext4_blockdev::Result<()> {
        let start = usize::try_from(offset).ok();
        let range = start.and_then(|it| self.bytes.get(it..it.checked_add(buf.len())?));
        let Some(range) = range else {
            let (len, device_len) = (buf.len() as u64, self.len());
            return Err(Error::OutOfRange { offset, len, device_len });
        };
        buf.copy_from_slice(range);
        Ok(())
    }

    fn write_at(&self, _offset: u64, _buf: &[u8]) -> ext4_blockdev::Result<()> {
        Err(Error::ReadOnly)
    }

    fn flush(&self) -> ext4_blockdev::Result<()> {
        Ok(())
    }

    fn discard(&self, _offset: u64, _len: u64) -> ext4_blockdev::Result<()> {
        Err(Error::ReadOnly)
    }
}

/// Checks, by `e2fsck -fn` on a copy, that a device holds a clean file system.
pub fn assert_clean(device: &dyn BlockDevice) -> Result<()> {
    let found = oracle::e2fsck_device(device, oracle::FsckMode::Check)?;
    ensure!(found.is_clean(), "e2fsck -fn: {:?}\n{}", found.code, found.lines.join("\n"));
    Ok(())
}
