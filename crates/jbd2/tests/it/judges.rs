//! Logs we wrote, before debugfs, e2fsck, the kernel and our own recovery: all read the same
//! transactions out of them and bring home the same bytes.

use crate::{
    reference::{self, scan_log},
    rig::{Shape, options, trace_of},
};
use ext4_blockdev::{BlockDevice, MemoryDevice, Recorder};
use ext4_jbd2::{
    Journal, Log, Options,
    recovery::{self, scan},
};
use ext4_ondisk::jbd2::{JournalCompat, JournalIncompat};
use ext4_testkit::{
    crash::{self, CrashState, Plan},
    image::{Image, Recipe},
    mount::Mount,
    oracle::{self, FsckMode, Need, debugfs, debugfs_cat, debugfs_write, e2fsck, skip_without},
    trace::Trace,
};
use ext4_units::{BlockNr, BlockRange, BlockSize};
use std::{ops::ControlFlow, path::Path, sync::Arc};

/// The layouts that a log can have: what its superblock says before the first commit.
const LAYOUTS: [(JournalCompat, JournalIncompat); 8] = {
    let (none, v1) = (JournalCompat::empty(), JournalCompat::CHECKSUM);
    let (plain, wide) = (JournalIncompat::empty(), JournalIncompat::BIT64);
    let (v2, v3) = (JournalIncompat::CSUM_V2, JournalIncompat::CSUM_V3);
    [
        (none, plain),
        (none, wide),
        (v1, plain),
        (v1, wide),
        (none, v2),
        (none, v2.union(wide)),
        (none, v3),
        (none, v3.union(wide)),
    ]
};

/// Contents of the file whose blocks are journaled, as data=journal would do it: a change that no
/// other structure of the filesystem has to know of.
const FILE: &str = "/f";

/// The runs of an inode's blocks as `debugfs stat` lists them, its own tree's blocks left out.
fn runs(image: &Path, inode: &str) -> Vec<BlockRange> {
    let text = debugfs(image, &format!("stat {inode}")).unwrap();
    let list = text.lines().skip_while(|it| !matches!(*it, "EXTENTS:" | "BLOCKS:")).nth(1).unwrap();
    let run = |item: &str| {
        let (logical, blocks) = item.split_once("):")?;
        logical.trim_start_matches('(').chars().next().filter(char::is_ascii_digit)?;
        let (from, to) = blocks.split_once('-').unwrap_or((blocks, blocks));
        let (from, to): (u64, u64) = (from.parse().unwrap(), to.parse().unwrap());
        Some(BlockRange::new(BlockNr(from), to - from + 1))
    };
    list.split(", ").filter_map(run).collect()
}

/// A filesystem with one file, whose blocks get journaled.
struct Base {
    image: Image,
    /// The file's contents, to the end of its last block.
    file: Vec<u8>,
    /// The homes of its blocks.
    homes: Vec<BlockNr>,
    size: BlockSize,
    log: Log,
}

const FILE_LEN: usize = 300_000;

impl Base {
    fn new(profile: &str) -> Self {
        let mut file: Vec<u8> = (0..FILE_LEN).map(|i| i.to_le_bytes()[1] ^ 0x5A).collect();
        let image = Recipe::new(profile).write(FILE, file.clone()).make().unwrap();
        let scratch = oracle::scratch().unwrap();
        let path = scratch.path().join("image");
        image.save(&path).unwrap();
        let size: u32 = oracle::dumpe2fs_field(&path, "Block size").unwrap().parse().unwrap();
        let size = BlockSize::from_bytes(size).unwrap();
        let log = Log::internal(runs(&path, "<8>"));
        let homes: Vec<BlockNr> =
            runs(&path, FILE).into_iter().flat_map(|run| run.iter().collect::<Vec<_>>()).collect();
        file.resize(homes.len() * size.len(), 0);
        debugfs_write(&path, "feature +needs_recovery\n").unwrap();
        let image = Image::load(&path).unwrap();
        Self { image, file, homes, size, log }
    }

    fn shape(&self) -> Shape {
        Shape { size: self.size, ..Shape::new() }
    }

    /// What block `i` of the file is made into; it starts with the journal's magic, so that it has
    /// to be escaped in the log.
    fn version(&self, byte: u8) -> Vec<u8> {
        let mut data = vec![byte; self.size.len()];
        data[..4].copy_from_slice(&[0xC0, 0x3B, 0x39, 0x98]);
        data
    }

    /// One handle and its commit.
    fn commit(&self, journal: &Journal, blocks: &[usize], byte: u8, revoke: &[usize]) {
        let mut handle = journal.start(blocks.len() + revoke.len()).unwrap();
        for &i in blocks {
            handle.write(self.homes[i], self.version(byte)).unwrap();
        }
        for &i in revoke {
            handle.revoke(self.homes[i]);
        }
        handle.stop().unwrap();
        journal.commit().unwrap();
    }

    /// An image whose log has this layout and holds four transactions, and the file as it is when
    /// they are replayed.
    fn dirty(&self, (compat, incompat): (JournalCompat, JournalIncompat)) -> (Image, Vec<u8>) {
        let memory = Arc::new(MemoryDevice::new(self.image.bytes().to_vec()));
        let mut sb = self.log.read_superblock(&*memory, self.size).unwrap();
        (sb.compat, sb.incompat) = (compat, incompat);
        self.log.write_superblock(&*memory, &sb).unwrap();
        let journal =
            Journal::open(memory.clone(), self.size, self.log.clone(), options()).unwrap();
        let all: Vec<usize> = (0..self.homes.len()).collect();
        self.commit(&journal, &all[10..70], 1, &[]);
        self.commit(&journal, &[3, 12, 20], 2, &[]);
        // Older copies of these two stay away, and one is journaled again later.
        self.commit(&journal, &[13], 3, &[12, 14]);
        self.commit(&journal, &[14, 3], 4, &[]);

        let mut file = self.file.clone();
        let versions = (10..70).filter(|&i| i != 12).map(|i| (i, 1));
        for (i, byte) in versions.chain([(20, 2), (13, 3), (14, 4), (3, 4)]) {
            file[i * self.size.len()..(i + 1) * self.size.len()]
                .copy_from_slice(&self.version(byte));
        }
        file.truncate(FILE_LEN);
        (Image::new(memory.contents()), file)
    }

    /// Our own recovery.
    fn recover(&self, device: &dyn BlockDevice) {
        let about = recovery::Options {
            block_size: self.size,
            home: BlockRange::new(BlockNr(0), device.len() >> self.size.bits()),
            inode_size: 256,
            metadata_csum: false,
        };
        let found = scan(device, &self.log, &about).unwrap();
        assert_eq!(found.verdict(), Ok(()));
        found.replay(device, &self.log, &mut |_, _| {}).unwrap();
        found.reset(device, &self.log).unwrap();
    }

    #[track_caller]
    fn assert_file(&self, path: &Path, expected: &[u8], by: &str) {
        let found = debugfs_cat(path, FILE).unwrap();
        assert_eq!(found.len(), expected.len());
        let size = self.size.len();
        for (i, (found, expected)) in found.chunks(size).zip(expected.chunks(size)).enumerate() {
            assert!(found == expected, "{by}: block {i} of the file starts {:?}", &found[..8]);
        }
    }
}

#[test]
fn debugfs_e2fsck_the_kernel_and_our_recovery_agree_on_every_layout() {
    if skip_without(&[Need::Mke2fs, Need::Debugfs, Need::E2fsck, Need::Dumpe2fs]) {
        return;
    }
    let has_kernel = !skip_without(&[Need::Kernel]);
    let scratch = oracle::scratch().unwrap();
    let path = scratch.path().join("image");
    for profile in ["ext4-1k", "ext3-4k"] {
        let base = Base::new(profile);
        for layout in LAYOUTS {
            let (dirty, file) = base.dirty(layout);
            let name = format!("{profile} {layout:?}");

            dirty.save(&path).unwrap();
            assert_eq!(logdump(&path), as_logdump(&base, &dirty), "{name}");

            debugfs_write(&path, "jr\n").unwrap();
            base.assert_file(&path, &file, &format!("debugfs, {name}"));

            dirty.save(&path).unwrap();
            let fsck = e2fsck(&path, FsckMode::Repair).unwrap();
            assert!(matches!(fsck.code, Some(0 | 1)), "{name}: {fsck:?}");
            base.assert_file(&path, &file, &format!("e2fsck, {name}"));
            assert!(e2fsck(&path, FsckMode::Check).unwrap().is_clean(), "{name}");

            if has_kernel {
                dirty.save(&path).unwrap();
                Mount::new(&path, "").unwrap().unmount().unwrap();
                base.assert_file(&path, &file, &format!("the kernel, {name}"));
            }

            let device = dirty.overlay();
            base.recover(&*device);
            oracle::save(&*device, &path).unwrap();
            base.assert_file(&path, &file, &format!("our recovery, {name}"));
        }
    }
}

/// A power cut at any moment: the kernel and e2fsck recover the file to the bytes that we do.
#[test]
fn the_kernel_and_e2fsck_recover_our_crashes_to_the_same_bytes() {
    if skip_without(&[Need::Mke2fs, Need::Debugfs, Need::E2fsck, Need::Dumpe2fs]) {
        return;
    }
    let has_kernel = !skip_without(&[Need::Kernel]);
    let base = Base::new("ext4-4k");
    let recorder =
        Arc::new(Recorder::new(Arc::new(MemoryDevice::new(base.image.bytes().to_vec()))));
    // What a mount would make of the log, and so little memory that checkpoints go on.
    let options = Options {
        is_64bit: true,
        metadata_csum: true,
        committed_bytes: 8 * base.size.len(),
        ..options()
    };
    let journal = Journal::open(recorder.clone(), base.size, base.log.clone(), options).unwrap();
    for byte in 1..12 {
        let i = usize::from(byte);
        base.commit(&journal, &[i, 2 * i, 3 * i, 40], byte, &[i + 1, 50]);
    }
    journal.close().unwrap();

    let scratch = oracle::scratch().unwrap();
    let path = scratch.path().join("image");
    let trace = Arc::new(trace_of(&recorder.events()));
    let mut n_states = 0;
    each_state(&base.image, &trace, |_| n_states += 1);
    let mut nr = 0;
    each_state(&base.image, &trace, |state| {
        nr += 1;
        if nr % (n_states / 24) == 0 {
            let device = state.device();
            base.recover(&*device);
            oracle::save(&*device, &path).unwrap();
            let ours = debugfs_cat(&path, FILE).unwrap();

            state.image().save(&path).unwrap();
            let fsck = e2fsck(&path, FsckMode::Repair).unwrap();
            assert!(matches!(fsck.code, Some(0 | 1)), "{state:?}: {fsck:?}");
            base.assert_file(&path, &ours, &format!("e2fsck, {state:?}"));
            if has_kernel {
                state.image().save(&path).unwrap();
                Mount::new(&path, "").unwrap().unmount().unwrap();
                base.assert_file(&path, &ours, &format!("the kernel, {state:?}"));
            }
        }
    });
    assert!(n_states > 24 * 10, "{n_states}");
}

fn each_state(base: &Image, trace: &Arc<Trace>, mut each: impl FnMut(CrashState)) {
    for epoch in crash::epochs(base, trace) {
        let _ = crash::enumerate(&epoch, &Plan::default(), &mut |state| {
            each(state);
            ControlFlow::Continue(())
        });
    }
}

/// The records of a log as debugfs tells them: transaction, whether a revoke, block.
fn logdump(path: &Path) -> Vec<(u32, bool, u64)> {
    let text = debugfs(path, "logdump -a").unwrap();
    let number = |text: &str| text.split([' ', ',']).next().unwrap().parse::<u64>().unwrap();
    let mut tid = 0;
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some((_, rest)) = line.split_once("sequence ") {
            tid = u32::try_from(number(rest)).unwrap();
        }
        for (prefix, is_revoke) in [("FS block ", false), ("Revoke FS block ", true)] {
            found.extend(line.strip_prefix(prefix).map(|rest| (tid, is_revoke, number(rest))));
        }
    }
    found
}

/// The same as we read it.
fn as_logdump(base: &Base, dirty: &Image) -> Vec<(u32, bool, u64)> {
    let (_, log) = scan_log(dirty.bytes(), &base.shape(), &base.log);
    assert_eq!(log.len(), 4);
    assert!(!reference::homes(&log).contains_key(&base.homes[12]));
    let mut all = Vec::new();
    for tx in log {
        all.extend(tx.revoked.iter().map(|blk| (tx.tid.0, true, blk.0)));
        all.extend(tx.blocks.iter().map(|it| (tx.tid.0, false, it.0.0)));
    }
    all
}
