//! 145 to 149: what stands around a replay: the superblock it brings back, a log nobody asked to be
//! replayed, a view without replay, an error that the journal recorded, a log on a device of its own.

use super::{
    as_kernel, as_kernel_and_clean, change, crashed, create, ext4, fates, has_errors, image,
    patch_superblock, shrink,
};
use crate::rig::{clock, open};
use ext4_blockdev::{BlockDevice, MemoryDevice, Recorder};
use ext4_fs::{Filesystem, Last, RecoverOptions, recover};
use ext4_ondisk::{
    checksum::Csum,
    features::{Compat, Incompat},
    superblock::RawSuperblock,
};
use ext4_testkit::{
    image::{Image, Recipe},
    loop_device::LoopDevice,
    mount::Mount,
    oracle::{self, Need, skip_without},
};
use ext4_units::InodeNr;
use std::sync::Arc;

fn superblock(device: &dyn BlockDevice) -> RawSuperblock {
    let mut bytes = [0; RawSuperblock::SIZE];
    device.read_at(RawSuperblock::OFFSET, &mut bytes).unwrap();
    RawSuperblock::of(&bytes).unwrap().clone()
}

/// The image after the kernel has mounted it for writing and unmounted it.
fn by_kernel(device: &MemoryDevice) -> Option<Image> {
    if skip_without(&[Need::Kernel]) {
        return None;
    }
    let scratch = oracle::scratch().unwrap();
    let file = scratch.path().join("image");
    oracle::save(device, &file).unwrap();
    Mount::new(&file, "").unwrap().unmount().unwrap();
    Some(Image::load(&file).unwrap())
}

fn history(sb: &RawSuperblock) -> (u32, u32, u32, [u8; 32], u64) {
    (
        sb.s_error_count.get(),
        sb.s_first_error_time.get(),
        sb.s_last_error_ino.get(),
        sb.s_first_error_func,
        sb.s_last_error_block.get(),
    )
}

#[test]
fn scenario_145_an_older_superblock_in_the_log_brings_its_orphans_and_no_older_history() {
    let mut ino = InodeNr::ROOT;
    let device = crashed(&ext4(), |fs| {
        ino = create(fs, "f", &[1; 9000]);
        shrink(fs, ino, 10);
    });
    let Some(device) = device else { return };
    assert_eq!(superblock(&*device).s_last_orphan.get(), 0, "the record is in the log only");
    patch_superblock(&device, |raw| {
        raw.s_error_count.set(3);
        raw.s_first_error_time.set(1_600_000_000);
        raw.s_last_error_time.set(1_650_000_000);
        raw.s_last_error_ino.set(77);
        raw.s_first_error_func[..4].copy_from_slice(b"then");
        raw.s_last_error_block.set(4711);
        raw.s_first_error_errcode = 5;
    });
    let before = history(&superblock(&*device));
    let kernel = by_kernel(&device);
    let report = as_kernel_and_clean(&device);
    assert_eq!(fates(&report), [(ino.get(), "truncated")]);
    assert!(report.replayed.is_some());
    let after = superblock(&*device);
    assert_eq!((history(&after), after.s_last_orphan.get()), (before, 0));
    assert_eq!(after.s_first_error_errcode, 5, "the kernel loses this one");
    if let Some(kernel) = kernel {
        assert_eq!(history(&superblock(&kernel)), before, "the kernel's");
    }
}

#[test]
fn scenario_146_a_log_that_nobody_asked_to_be_replayed_is_thrown_away() {
    let Some(device) = image(&ext4(), |fs| _ = create(fs, "old", &[1; 9000])) else { return };
    let fs = open(Arc::clone(&device) as _);
    create(&fs, "new", &[2; 9000]);
    fs.commit().unwrap();
    drop(fs);
    patch_superblock(&device, |raw| {
        let incompat = raw.s_feature_incompat.get() & !Incompat::RECOVER.bits();
        raw.s_feature_incompat.set(incompat);
    });
    let report = as_kernel_and_clean(&device);
    assert!(report.discarded_log && report.replayed.is_none(), "{report:?}");
    let fs = open(Arc::clone(&device) as _);
    assert!(fs.resolve(fs.meta(), b"/old", Last::Stay).is_ok());
    assert!(fs.resolve(fs.meta(), b"/new", Last::Stay).is_err());
}

#[test]
fn scenario_147_without_replay_there_is_what_lies_at_home() {
    let Some(device) = image(&ext4(), |fs| _ = create(fs, "f", &[1; 5000])) else { return };
    let fs = open(Arc::clone(&device) as _);
    let ino = fs.resolve(fs.meta(), b"/f", Last::Stay).unwrap().ino;
    change(&fs, ino, |h, inode| assert!(h.raise_size(inode, 6000).unwrap()));
    create(&fs, "g", &[2; 100]);
    fs.commit().unwrap();
    drop(fs);
    let before = device.contents();
    let recorder = Arc::new(Recorder::new(Arc::clone(&device) as _));
    let fs = Filesystem::open_read(Arc::clone(&recorder) as _).unwrap();
    let inode = fs.resolve(fs.meta(), b"/f", Last::Stay).unwrap();
    let mut bytes = vec![0; 8192];
    let n = fs.read_at(fs.meta(), &inode, 0, &mut bytes).unwrap();
    assert_eq!(bytes[..n], [1; 5000]);
    assert!(fs.resolve(fs.meta(), b"/g", Last::Stay).is_err());
    fs.close().unwrap();
    assert_eq!(recorder.n_events(), 0);
    if !skip_without(&[Need::Kernel]) {
        let scratch = oracle::scratch().unwrap();
        let file = scratch.path().join("image");
        oracle::save(&*device, &file).unwrap();
        let mount = Mount::as_it_stands(&file).unwrap();
        assert_eq!(mount.read("/f").unwrap(), bytes[..n]);
        assert!(!mount.join("/g").exists());
        mount.unmount().unwrap();
        assert!(std::fs::read(&file).unwrap() == before, "the kernel's view changed the image");
        assert_eq!(Mount::attempt(&file, "noload").unwrap().err(), Some(22), "for writing");
    }
}

/// The journal superblock.
fn journal_superblock(device: &Arc<MemoryDevice>) -> (u64, Vec<u8>) {
    let fs = Filesystem::open_read(Arc::clone(device) as _).unwrap();
    let at = fs.find_log(None).unwrap().unwrap().block(0).unwrap();
    let block = fs.meta().read(at).unwrap();
    (at.byte(fs.geometry().block_size), block[..1024].to_vec())
}

fn resum(jsb: &mut [u8]) {
    jsb[0xFC..0x100].fill(0);
    let sum = Csum::START.over(jsb).0;
    jsb[0xFC..0x100].copy_from_slice(&sum.to_be_bytes());
}

#[test]
fn scenario_148_an_error_of_the_journal_becomes_the_filesystems_and_orphans_stay() {
    for is_clean in [false, true] {
        let mut ino = InodeNr::ROOT;
        let setup = |fs: &Filesystem| {
            ino = create(fs, "f", &[1; 9000]);
            shrink(fs, ino, 10);
        };
        let device = if is_clean { image(&ext4(), setup) } else { crashed(&ext4(), setup) };
        let Some(device) = device else { return };
        let (at, mut jsb) = journal_superblock(&device);
        jsb[0x20..0x24].copy_from_slice(&(-5_i32).to_be_bytes());
        resum(&mut jsb);
        device.write_at(at, &jsb).unwrap();
        let kernel = by_kernel(&device);
        let report = as_kernel(&device);
        assert_eq!((report.journal_errno, report.has_errors), (-5, true));
        assert_eq!((report.dropped_list, report.orphans.len()), (Some(ino.get()), 0));
        assert_eq!(report.replayed.is_none(), is_clean);
        for device in [Some(device), kernel.map(|it| it.device())].into_iter().flatten() {
            assert!(has_errors(&device));
            assert_eq!(superblock(&*device).s_last_orphan.get(), 0);
            assert_eq!(journal_superblock(&device).1[0x20..0x24], [0; 4]);
        }
        // It was told once; what is left says that a full check is due.
    }
}

/// A filesystem whose log is on a device of its own, as mke2fs makes both.
fn with_external_journal() -> Option<(Arc<MemoryDevice>, Arc<MemoryDevice>)> {
    let fs = Recipe::new("nojournal-4k").image()?.device();
    let scratch = oracle::scratch().unwrap();
    let file = scratch.path().join("journal");
    std::fs::write(&file, vec![0; 8 << 20]).unwrap();
    let uuid = "0e0e0e0e-1111-2222-3333-444444444444";
    oracle::mke2fs(&file, ["-O", "journal_dev", "-b", "4096", "-U", uuid]).unwrap();
    let journal = Image::load(&file).unwrap().device();
    let uuid = superblock(&*journal).s_uuid;
    patch_superblock(&fs, |raw| {
        raw.s_feature_compat.set(raw.s_feature_compat.get() | Compat::HAS_JOURNAL.bits());
        raw.s_journal_uuid = uuid;
        raw.s_journal_dev.set(0x0801);
    });
    // What `mke2fs -J device=` adds: one user.
    set_users(&journal, 1);
    Some((fs, journal))
}

fn set_users(journal: &MemoryDevice, n: u32) {
    let mut jsb = vec![0; 1024];
    journal.read_at(4096, &mut jsb).unwrap();
    jsb[0x40..0x44].copy_from_slice(&n.to_be_bytes());
    let has_sums = jsb[0x2B] & 0x18 != 0;
    if has_sums {
        resum(&mut jsb);
    }
    journal.write_at(4096, &jsb).unwrap();
}

fn open_with(
    fs: &Arc<MemoryDevice>,
    journal: Option<&Arc<MemoryDevice>>,
) -> ext4_fs::Result<ext4_fs::Recovered> {
    let mut options = RecoverOptions::new(clock());
    options.journal_device = journal.map(|it| Arc::clone(it) as _);
    recover(Arc::clone(fs) as _, &options)
}

/// What the kernel makes of the two: `/f` as it recovers it, or its errno.
fn mounted_by_kernel(fs: &MemoryDevice, journal: &MemoryDevice) -> Option<Result<Vec<u8>, i32>> {
    if skip_without(&[Need::Kernel]) {
        return None;
    }
    let scratch = oracle::scratch().unwrap();
    let (image, log) = (scratch.path().join("image"), scratch.path().join("log"));
    oracle::save(fs, &image).unwrap();
    oracle::save(journal, &log).unwrap();
    let log = LoopDevice::attach(&log).unwrap();
    let options = format!("journal_path={}", log.path().display());
    let mount = Mount::attempt(&image, &options).unwrap();
    Some(mount.map(|mount| {
        let bytes = mount.read("/f").unwrap();
        mount.unmount().unwrap();
        bytes
    }))
}

#[test]
fn scenario_149_a_log_on_another_device_is_replayed_if_it_is_the_right_one() {
    let Some((device, journal)) = with_external_journal() else { return };
    let fs = open_with(&device, Some(&journal)).unwrap().fs;
    let ino = create(&fs, "f", &[1; 9000]);
    shrink(&fs, ino, 10);
    fs.commit().unwrap();
    drop(fs);
    let before = (device.contents(), journal.contents());

    let refused = |device: &Arc<MemoryDevice>, journal, errno: i32| {
        let err = open_with(device, journal).unwrap_err();
        assert_eq!(err.errno(), errno, "{err}");
    };
    // Not named; another uuid; shared by two.
    refused(&device, None, 95);
    let other = Arc::new(MemoryDevice::new(before.1.clone()));
    patch_superblock(&other, |raw| raw.s_uuid[0] ^= 1);
    refused(&device, Some(&other), 117);
    if let Some(found) = mounted_by_kernel(&device, &other) {
        assert_eq!(found, Err(117), "the kernel, for another uuid");
    }
    let shared = Arc::new(MemoryDevice::new(before.1.clone()));
    set_users(&shared, 2);
    refused(&device, Some(&shared), 22);
    if let Some(found) = mounted_by_kernel(&device, &shared) {
        assert_eq!(found, Err(22), "the kernel, for two users");
    }
    assert!((device.contents(), journal.contents()) == before, "something refused was written");

    if let Some(found) = mounted_by_kernel(&device, &journal) {
        assert_eq!(found, Ok(vec![1; 10]), "the kernel");
    }
    let recovered = open_with(&device, Some(&journal)).unwrap();
    assert_eq!(fates(&recovered.report), [(ino.get(), "truncated")]);
    let inode = recovered.fs.inode(recovered.fs.meta(), ino).unwrap();
    assert_eq!((inode.i_size, inode.sectors), (10, 8));
    recovered.fs.close().unwrap();
    assert_eq!(open_with(&device, Some(&journal)).unwrap().report.replayed, None);
}
