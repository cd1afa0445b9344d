//! Orphans as crashes leave them: each recovered as the kernel's next mount does it.

mod file;
mod list;
mod replay;

use crate::rig::{clock, open, write};
use ext4_blockdev::{BlockDevice, MemoryDevice, Recorder};
use ext4_fs::{
    Filesystem, Handle, Inode, NewFile, Orphan, OrphanFate, RecoverOptions, Report, recover,
};
use ext4_ondisk::{
    orphan_file,
    superblock::{RawSuperblock, State},
};
use ext4_testkit::{
    image::{Image, Recipe, assert_clean},
    judge::judge,
    mount,
    oracle::{self, Need, skip_without},
    view::View,
};
use ext4_units::{BlockNr, InodeNr, LogicalBlock};
use std::sync::Arc;
use zerocopy::IntoBytes as _;

const FILE: NewFile = NewFile::of_root(0o644);
const DIR: NewFile = NewFile::of_root(0o755);

/// The image of a filesystem after `setup`, closed in order.
fn image(recipe: &Recipe, setup: impl FnOnce(&Filesystem)) -> Option<Arc<MemoryDevice>> {
    let device = recipe.image()?.device();
    let fs = open(Arc::clone(&device) as _);
    setup(&fs);
    fs.close().unwrap();
    Some(device)
}

/// The image of a filesystem after `setup`, when the power went after its last commit.
fn crashed(recipe: &Recipe, setup: impl FnOnce(&Filesystem)) -> Option<Arc<MemoryDevice>> {
    let device = recipe.image()?.device();
    let fs = open(Arc::clone(&device) as _);
    setup(&fs);
    fs.commit().unwrap();
    Some(device)
}

fn create(fs: &Filesystem, name: &str, bytes: &[u8]) -> InodeNr {
    let ino = fs.create(InodeNr::ROOT, name.as_bytes(), &FILE).unwrap();
    write(fs, ino, 0, bytes).unwrap();
    ino
}

/// Changes an inode as nothing but damage or a crash can.
fn change(fs: &Filesystem, ino: InodeNr, change: impl FnOnce(&mut Handle<'_>, &mut Inode)) {
    let mut h = fs.start(8).unwrap();
    let mut inode = h.inode(ino).unwrap();
    change(&mut h, &mut inode);
    h.put_inode(&inode).unwrap();
    h.stop().unwrap();
}

/// What an extending write leaves: blocks behind the end, and an orphan record.
fn shrink(fs: &Filesystem, ino: InodeNr, size: u64) {
    change(fs, ino, |h, inode| {
        h.orphan_add(inode).unwrap();
        h.set_size(inode, size).unwrap();
    });
}

fn patch_superblock(device: &MemoryDevice, change: impl FnOnce(&mut RawSuperblock)) {
    let mut bytes = [0; RawSuperblock::SIZE];
    device.read_at(RawSuperblock::OFFSET, &mut bytes).unwrap();
    let raw = RawSuperblock::of_mut(&mut bytes).unwrap();
    change(raw);
    raw.update_checksum();
    device.write_at(RawSuperblock::OFFSET, raw.as_bytes()).unwrap();
}

/// Makes these inodes the list, the first at its head, the last followed by `end`.
fn make_list(device: &Arc<MemoryDevice>, list: &[u32], end: u32) {
    let fs = open(Arc::clone(device) as _);
    for (i, &nr) in list.iter().enumerate() {
        let next = list.get(i + 1).copied().unwrap_or(end);
        change(&fs, InodeNr::new(nr).unwrap(), |_, inode| inode.disk.dtime = next);
    }
    fs.close().unwrap();
    patch_superblock(device, |raw| raw.s_last_orphan.set(list.first().copied().unwrap_or(end)));
}

/// The blocks of the orphan file.
fn file_blocks(fs: &Filesystem) -> (Inode, Vec<BlockNr>) {
    let ino = fs.superblock().orphan_file_inum.unwrap();
    let inode = fs.inode(fs.meta(), ino).unwrap();
    let end = fs.geometry().block_size.blocks_for(inode.i_size);
    let mut blocks = Vec::new();
    fs.mappings(
        fs.meta(),
        &inode,
        LogicalBlock(0),
        LogicalBlock(u32::try_from(end).unwrap()),
        |mapping| {
            blocks.extend(mapping.blocks().unwrap().iter());
            Ok(())
        },
    )
    .unwrap();
    (inode, blocks)
}

/// Changes block `n` of the orphan file behind everybody's back.
fn patch_file(
    device: &Arc<MemoryDevice>,
    n: usize,
    change: impl FnOnce(&mut [u8], BlockNr, &Inode, &Filesystem),
) {
    let fs = Filesystem::open_read(Arc::clone(device) as _).unwrap();
    let (inode, blocks) = file_blocks(&fs);
    let mut block = fs.meta().read(blocks[n]).unwrap().to_vec();
    change(&mut block, blocks[n], &inode, &fs);
    device.write_at(blocks[n].byte(fs.geometry().block_size), &block).unwrap();
}

fn set_slot(device: &Arc<MemoryDevice>, n: usize, slot: usize, ino: u32) {
    patch_file(device, n, |block, blk, inode, fs| {
        orphan_file::set(block, slot, InodeNr::new(ino), blk, inode.seed(fs));
    });
}

fn recovered(device: &Arc<MemoryDevice>) -> Report {
    let it = recover(Arc::clone(device) as _, &RecoverOptions::new(clock())).unwrap();
    it.fs.close().unwrap();
    it.report
}

/// Recovers, and compares with what the kernel makes of a copy.
#[track_caller]
fn as_kernel(device: &Arc<MemoryDevice>) -> Report {
    let before = Image::new(device.contents());
    let report = recovered(device);
    if !skip_without(&[Need::Kernel]) {
        let scratch = oracle::scratch().unwrap();
        let file = scratch.path().join("disk.img");
        before.save(&file).unwrap();
        let kernel = mount::recover(&file).unwrap();
        let ours = View::new(&**device).unwrap().manifest().unwrap();
        let lines = kernel.without_blocks().differences(&ours.without_blocks());
        assert_eq!(lines, Vec::<String>::new(), "{report:?}");
    }
    let again = Recorder::new(Arc::clone(device) as _);
    let again = Arc::new(again);
    let it = recover(Arc::clone(&again) as _, &RecoverOptions::new(clock())).unwrap();
    it.fs.close().unwrap();
    assert_eq!(again.n_events(), 0, "the second run writes");
    report
}

/// As [`as_kernel`], and everything is in order then.
#[track_caller]
fn as_kernel_and_clean(device: &Arc<MemoryDevice>) -> Report {
    let report = as_kernel(device);
    assert_eq!(judge(&**device), []);
    if !skip_without(&[Need::E2fsck]) {
        assert_clean(&**device).unwrap();
    }
    report
}

fn fates(report: &Report) -> Vec<(u32, &'static str)> {
    let name = |it: &Orphan| match it.fate {
        OrphanFate::Deleted { .. } => "deleted",
        OrphanFate::Truncated { .. } => "truncated",
        OrphanFate::Refused { .. } => "refused",
    };
    report.orphans.iter().map(|it| (it.ino, name(it))).collect()
}

fn inode_of(device: &Arc<MemoryDevice>, ino: InodeNr) -> Inode {
    let fs = Filesystem::open_read(Arc::clone(device) as _).unwrap();
    fs.inode(fs.meta(), ino).unwrap()
}

fn has_errors(device: &MemoryDevice) -> bool {
    let mut bytes = [0; RawSuperblock::SIZE];
    device.read_at(RawSuperblock::OFFSET, &mut bytes).unwrap();
    let raw = RawSuperblock::of(&bytes).unwrap();
    State::from_bits_retain(raw.s_state.get()).contains(State::ERROR)
}

fn ext4() -> Recipe {
    Recipe::new("ext4-4k").mib(16)
}

/// Files `f0` .. with blocks beyond their size, closed in order.
fn files(recipe: &Recipe, n: usize) -> Option<(Arc<MemoryDevice>, Vec<u32>)> {
    let mut inos = Vec::new();
    let device = image(recipe, |fs| {
        for i in 0..n {
            let ino = create(fs, &format!("f{i}"), &[1; 9000]);
            change(fs, ino, |h, inode| h.set_size(inode, 10).unwrap());
            inos.push(ino.get());
        }
    })?;
    Some((device, inos))
}
