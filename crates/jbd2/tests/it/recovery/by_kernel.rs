//! The same logs before the kernel: in an image that it can mount, whose file `/f` has the homes.

use super::forge::{BS, Forge, HOMES};
use ext4_ondisk::jbd2::Class;
use ext4_testkit::{
    image::{Image, Recipe},
    mount::Mount,
    oracle::{self, Need, skip_without},
    view::View,
};
use std::sync::OnceLock;

const FILE: &str = "/f";

/// A filesystem that says it needs recovery, with blocks for [`HOMES`] homes in one run.
struct Base {
    image: Image,
    /// First block of the file.
    first: u64,
    /// Where the blocks of the log are, in its order.
    log: Vec<u64>,
}

/// `None`, said once, where the kernel cannot be asked.
fn base() -> Option<&'static Base> {
    static BASE: OnceLock<Option<Base>> = OnceLock::new();
    BASE.get_or_init(|| {
        if skip_without(&[Need::Kernel, Need::Mke2fs, Need::Debugfs]) {
            return None;
        }
        let options = "-O sparse_super2,^resize_inode -E num_backup_sb=0,packed_meta_blocks=1";
        let bytes: Vec<u8> =
            (0..HOMES as usize * BS).map(|i| (i / BS).to_le_bytes()[0] | 1).collect();
        let image = Recipe::new("ext4-gdtcsum-1k")
            .options(options)
            .options("-J size=2")
            .write(FILE, bytes)
            .debugfs("feature +needs_recovery")
            .image()?;
        let view = View::new(&image).unwrap();
        let runs = |ino| view.runs(&view.inode(ino).unwrap()).unwrap();
        let file = runs(view.paths().unwrap()[&FILE[1..]]);
        assert!(file.len() == 1 && file[0].len == HOMES, "{file:?}");
        let log = runs(8).iter().flat_map(|run| run.start..run.start + run.len).collect();
        Some(Base { first: file[0].start, log, image })
    })
    .as_ref()
}

/// How far the homes in the kernel's image are from those in the forge's.
pub(super) fn shift() -> u64 {
    base().map_or(0, |it| it.first)
}

impl Forge {
    /// The image whose log is the twin of this one.
    fn to_mount(&self, base: &Base) -> Image {
        let mut bytes = base.image.bytes().to_vec();
        for (block, blk) in self.twin().chunks(BS).zip(&base.log) {
            let at = *blk as usize * BS;
            bytes[at..at + BS].copy_from_slice(block);
        }
        Image::new(bytes)
    }

    /// What the kernel makes of the log: the homes when it mounts, else its errno.
    fn by_kernel(&self, base: &Base) -> Result<Vec<u8>, i32> {
        let scratch = oracle::scratch().unwrap();
        let file = scratch.path().join("image");
        self.to_mount(base).save(&file).unwrap();
        let mount = Mount::attempt(&file, "").unwrap()?;
        let homes = mount.read(FILE).unwrap();
        mount.unmount().unwrap();
        Ok(homes)
    }

    /// As [`recovers`](Self::recovers), and the kernel brings the same home.
    #[track_caller]
    pub(super) fn recovers_as_by_kernel(&self, transactions: usize) {
        self.recovers(transactions);
        let Some(base) = base() else { return };
        let found = self.by_kernel(base).expect("the kernel mounts it");
        let at = base.first as usize * BS;
        let mut expected = base.image.bytes()[at..at + HOMES as usize * BS].to_vec();
        for (home, data) in self.expected(transactions) {
            let from = home as usize * BS;
            expected[from..from + BS].copy_from_slice(&data);
        }
        for (nr, (a, b)) in found.chunks(BS).zip(expected.chunks(BS)).enumerate() {
            assert!(a == b, "the kernel has another home block {nr}");
        }
    }

    /// As [`is_refused`](Self::is_refused), and the kernel's errno is that of `class`.
    #[track_caller]
    pub(super) fn is_refused_as_by_kernel(&self, class: Class) {
        self.is_refused(class);
        self.kernel_refuses(class);
    }

    /// The kernel refuses to mount, with the errno of `class`.
    #[track_caller]
    pub(super) fn kernel_refuses(&self, class: Class) {
        let Some(base) = base() else { return };
        let errno = match class {
            Class::Io => 5,
            Class::Invalid => 22,
            Class::BadChecksum => 74,
            Class::NotSupported => 95,
            Class::Corrupt => 117,
            Class::Cancelled => 125,
            other => panic!("no errno for {other:?}"),
        };
        assert_eq!(self.by_kernel(base).map(|_homes| ()), Err(errno), "the kernel's errno");
    }

    /// The kernel mounts it and changes no home.
    #[track_caller]
    pub(super) fn kernel_leaves_it_alone(&self) {
        let Some(base) = base() else { return };
        let at = base.first as usize * BS;
        let homes = &base.image.bytes()[at..at + HOMES as usize * BS];
        assert!(self.by_kernel(base).expect("the kernel mounts it") == homes);
    }
}
