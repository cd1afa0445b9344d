//! Orphans on the list that begins in the superblock, and what becomes of each kind.

use super::{
    DIR, FILE, as_kernel, as_kernel_and_clean, change, crashed, create, ext4, fates, files,
    has_errors, image, inode_of, make_list, patch_superblock, recovered, shrink,
};
use crate::rig::{clock, open, write};
use ext4_blockdev::{BlockDevice, Recorder};
use ext4_fs::{
    Error, Filesystem, OrphanFate, RecoverOptions, Report, Scope, SetXattr, Stop, recover,
    recover_into,
};
use ext4_ondisk::{
    inode::{FileType, InodeFlags},
    superblock::State,
};
use ext4_testkit::{image::Recipe, judge::judge};
use ext4_units::{InodeNr, LogicalBlock};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

#[test]
fn scenario_100_without_orphans_nothing_is_written() {
    let Some(device) = image(&ext4(), |fs| _ = create(fs, "f", &[1; 5000])) else { return };
    let recorder = Arc::new(Recorder::new(device));
    let it = recover(Arc::clone(&recorder) as _, &RecoverOptions::new(clock())).unwrap();
    assert!(it.report.is_clean());
    it.fs.close().unwrap();
    assert_eq!(recorder.n_events(), 0);
}

#[test]
fn scenario_101_a_cut_zeroes_the_tail_and_keeps_the_attributes() {
    let mut ino = InodeNr::ROOT;
    let device = crashed(&ext4(), |fs| {
        ino = create(fs, "f", &vec![7; 40960]);
        fs.set_xattr(ino, b"user.big", &[3; 2000], SetXattr::Any).unwrap();
        shrink(fs, ino, 1000);
    });
    let Some(device) = device else { return };
    let report = as_kernel_and_clean(&device);
    assert_eq!(fates(&report), [(ino.get(), "truncated")]);
    let fs = Filesystem::open_read(Arc::clone(&device) as _).unwrap();
    let inode = fs.inode(fs.meta(), ino).unwrap();
    assert_eq!(inode.sectors, 16, "one block of data, one of attributes");
    let blk = fs.lookup(fs.meta(), &inode, LogicalBlock(0)).unwrap().blocks().unwrap().start;
    let block = fs.meta().read(blk).unwrap();
    assert!(block[..1000].iter().all(|&it| it == 7) && block[1000..].iter().all(|&it| it == 0));
    assert_eq!(fs.xattrs(fs.meta(), &inode).unwrap().len(), 1);
}

#[test]
fn scenario_102_a_deep_tree_without_links_is_freed() {
    let mut ino = InodeNr::ROOT;
    let device = crashed(&ext4(), |fs| {
        ino = fs.create(InodeNr::ROOT, b"f", &FILE).unwrap();
        for n in 0..400 {
            write(fs, ino, n * 8192, &[9; 4096]).unwrap();
        }
        fs.set_xattr(ino, b"user.big", &[3; 2000], SetXattr::Any).unwrap();
        fs.unlink_open(InodeNr::ROOT, b"f").unwrap();
    });
    let Some(device) = device else { return };
    let report = as_kernel_and_clean(&device);
    assert_eq!(fates(&report), [(ino.get(), "deleted")]);
    assert_ne!(inode_of(&device, ino).dtime, 0);
}

#[test]
fn scenario_103_every_kind_of_inode_is_deleted() {
    let mut inos = Vec::new();
    let device = crashed(&ext4(), |fs| {
        let root = InodeNr::ROOT;
        let dir = fs.mkdir(root, b"dir", &DIR).unwrap();
        let short = fs.symlink(root, b"short", b"target", &FILE).unwrap();
        let long = fs.symlink(root, b"long", &[b'x'; 200], &FILE).unwrap();
        let fifo = fs.mknod(root, b"fifo", FileType::Fifo, (0, 0), &FILE).unwrap();
        for name in [&b"short"[..], b"long", b"fifo"] {
            fs.unlink_open(root, name).unwrap();
        }
        // A directory goes in one piece; only a crash can leave one.
        change(fs, dir, |h, inode| {
            inode.disk.links_count = 0;
            h.orphan_add(inode).unwrap();
        });
        inos = vec![dir.get(), fifo.get(), long.get(), short.get()];
    });
    let Some(device) = device else { return };
    // Its name is still there: an orphan all the same, and e2fsck would mind the name.
    let report = recovered(&device);
    assert_eq!(fates(&report), inos.iter().map(|&ino| (ino, "deleted")).collect::<Vec<_>>());
    let fs = Filesystem::open_read(Arc::clone(&device) as _).unwrap();
    let used =
        inos.iter().filter(|&&ino| fs.is_in_use(fs.meta(), InodeNr::new(ino).unwrap()).unwrap());
    assert_eq!(used.count(), 0);
}

#[test]
fn scenario_104_a_list_of_three_kinds_is_done_from_its_head() {
    let mut inos = Vec::new();
    let device = crashed(&ext4(), |fs| {
        let cut = create(fs, "cut", &[1; 9000]);
        let gone = create(fs, "gone", &[2; 9000]);
        let link = fs.symlink(InodeNr::ROOT, b"link", &[b'x'; 200], &FILE).unwrap();
        shrink(fs, cut, 0);
        fs.unlink_open(InodeNr::ROOT, b"gone").unwrap();
        fs.unlink_open(InodeNr::ROOT, b"link").unwrap();
        inos = vec![(link.get(), "deleted"), (gone.get(), "deleted"), (cut.get(), "truncated")];
    });
    let Some(device) = device else { return };
    assert_eq!(fates(&as_kernel_and_clean(&device)), inos);
}

#[test]
fn scenario_105_an_impossible_member_drops_the_list() {
    for bad in [999_999, 5, 100] {
        let Some((device, inos)) = files(&ext4(), 1) else { return };
        // What would come behind it is not reached.
        make_list(&device, &inos, 0);
        patch_superblock(&device, |raw| raw.s_last_orphan.set(bad));
        let report = as_kernel(&device);
        assert_eq!(fates(&report), [(bad, "refused")]);
        assert!(report.has_errors && has_errors(&device));
        assert_eq!(inode_of(&device, InodeNr::new(inos[0]).unwrap()).sectors, 24);
    }
}

#[test]
fn scenario_106_a_next_beyond_the_inodes_refuses_the_inode_itself() {
    let mut ino = InodeNr::ROOT;
    let device = image(&ext4(), |fs| {
        ino = create(fs, "f", &[1; 9000]);
    });
    let Some(device) = device else { return };
    make_list(&device, &[ino.get()], 0x4000_0000);
    let report = as_kernel(&device);
    assert_eq!(fates(&report), [(ino.get(), "refused")]);
    assert_eq!(inode_of(&device, ino).dtime, 0x4000_0000);
}

#[test]
fn scenario_107_a_list_that_runs_in_a_circle_ends() {
    for n in [1, 2] {
        let mut inos = Vec::new();
        let device = image(&ext4(), |fs| {
            inos = (0..n).map(|i| create(fs, &format!("f{i}"), &[1; 9000]).get()).collect();
        });
        let Some(device) = device else { return };
        make_list(&device, &inos, inos[0]);
        let report = if n == 1 { as_kernel(&device) } else { recovered(&device) };
        assert!(report.orphans.len() <= n + 1, "{report:?}");
        assert!(recovered(&device).is_clean());
    }
}

#[test]
fn scenario_108_with_errors_recorded_the_list_is_dropped_unread() {
    let mut ino = InodeNr::ROOT;
    let device = image(&ext4(), |fs| {
        ino = create(fs, "f", &[1; 9000]);
        change(fs, ino, |h, inode| h.set_size(inode, 10).unwrap());
    });
    let Some(device) = device else { return };
    make_list(&device, &[ino.get()], 0);
    patch_superblock(&device, |raw| raw.s_state.set(raw.s_state.get() | State::ERROR.bits()));
    let report = as_kernel(&device);
    assert_eq!((report.dropped_list, report.orphans.len()), (Some(ino.get()), 0));
    assert_eq!(inode_of(&device, ino).sectors, 24, "the inode is as it was");
}

#[test]
fn scenario_109_a_replay_alone_leaves_the_orphans_on_record() {
    let mut ino = InodeNr::ROOT;
    let device = crashed(&ext4(), |fs| {
        ino = create(fs, "f", &[1; 9000]);
        shrink(fs, ino, 0);
    });
    let Some(device) = device else { return };
    let options = RecoverOptions { scope: Scope::Replay, ..RecoverOptions::new(clock()) };
    let mut report = Report::default();
    let shared: Arc<dyn BlockDevice> = device.clone();
    recover_into(&shared, &options, &mut report).unwrap().close().unwrap();
    assert!(report.orphans_left && report.replayed.is_some() && report.orphans.is_empty());
    assert_eq!(fates(&as_kernel_and_clean(&device)), [(ino.get(), "truncated")]);
}

#[test]
fn scenario_119_nothing_beyond_an_aligned_end_changes_times_only() {
    let mut ino = InodeNr::ROOT;
    let device = crashed(&ext4(), |fs| {
        ino = create(fs, "f", &[1; 8192]);
        shrink(fs, ino, 8192);
    });
    let Some(device) = device else { return };
    as_kernel_and_clean(&device);
    let inode = inode_of(&device, ino);
    assert_eq!((inode.i_size, inode.sectors, inode.dtime), (8192, 16, 0));
}

#[test]
fn scenario_120_a_sparse_end_frees_nothing() {
    let mut ino = InodeNr::ROOT;
    let device = crashed(&ext4(), |fs| {
        ino = create(fs, "f", &[1; 4096]);
        shrink(fs, ino, 1 << 30);
    });
    let Some(device) = device else { return };
    let report = as_kernel_and_clean(&device);
    let fate = OrphanFate::Truncated { size: 1 << 30, sectors: 0 };
    assert_eq!(report.orphans[0].fate, fate);
}

#[test]
fn scenario_121_an_unknown_ro_compat_feature_leaves_the_orphans() {
    let mut ino = InodeNr::ROOT;
    let device = crashed(&ext4(), |fs| {
        ino = create(fs, "f", &[1; 9000]);
        shrink(fs, ino, 10);
    });
    let Some(device) = device else { return };
    // The log has an older superblock, so it goes home first.
    let options = RecoverOptions { scope: Scope::Replay, ..RecoverOptions::new(clock()) };
    let shared: Arc<dyn BlockDevice> = device.clone();
    recover_into(&shared, &options, &mut Report::default()).unwrap();
    patch_superblock(&device, |raw| {
        raw.s_feature_ro_compat.set(raw.s_feature_ro_compat.get() | 1 << 30);
    });
    let err = recover(Arc::clone(&device) as _, &RecoverOptions::new(clock())).unwrap_err();
    assert!(matches!(err, Error::Unsupported(_)), "{err}");
    let options = RecoverOptions { scope: Scope::Possible, ..RecoverOptions::new(clock()) };
    let mut report = Report::default();
    recover_into(&shared, &options, &mut report).unwrap();
    assert!(report.orphans_left && report.orphans.is_empty());
    assert_eq!(report.held_back.unwrap().names, ["FEATURE_R30"]);
    assert_eq!(inode_of(&device, ino).sectors, 24);
}

#[test]
fn scenario_122_an_encrypted_file_is_cut_without_its_key() {
    let mut ino = InodeNr::ROOT;
    let device = crashed(&ext4().options("-O encrypt"), |fs| {
        ino = create(fs, "f", &vec![1; 40960]);
        shrink(fs, ino, 4096);
        change(fs, ino, |_, inode| inode.disk.flags.insert(InodeFlags::ENCRYPT));
    });
    let Some(device) = device else { return };
    let report = recovered(&device);
    assert_eq!(fates(&report), [(ino.get(), "truncated")]);
    assert_eq!(inode_of(&device, ino).sectors, 8);
    assert_eq!(judge(&*device), []);
}

#[test]
fn scenario_123_a_cluster_at_the_border_is_kept() {
    let mut ino = InodeNr::ROOT;
    let device = crashed(&Recipe::new("bigalloc-4k").mib(64), |fs| {
        ino = create(fs, "f", &vec![1; 65536]);
        shrink(fs, ino, 4097);
    });
    let Some(device) = device else { return };
    as_kernel_and_clean(&device);
    assert_eq!(inode_of(&device, ino).sectors, 32, "one cluster of four blocks");
}

#[test]
fn an_orphan_that_is_damaged_marks_the_filesystem_and_ends_the_list() {
    let Some((device, inos)) = files(&ext4(), 2) else { return };
    let fs = open(Arc::clone(&device) as _);
    change(&fs, InodeNr::new(inos[0]).unwrap(), |_, inode| inode.disk.i_block[0] ^= 1);
    fs.close().unwrap();
    make_list(&device, &inos, 0);
    let report = recovered(&device);
    assert_eq!(fates(&report), [(inos[0], "refused")]);
    assert!(has_errors(&device) && recovered(&device).is_clean());
}

#[test]
fn a_recovery_that_is_stopped_goes_on_the_next_time() {
    let device = crashed(&ext4(), |fs| {
        for name in ["a", "b", "c"] {
            let ino = create(fs, name, &[1; 9000]);
            shrink(fs, ino, 10);
        }
    });
    let Some(device) = device else { return };
    let asked = AtomicU32::new(0);
    let mut options = RecoverOptions::new(clock());
    // Once before the replay, then before each orphan.
    options.stop = Some(Stop::new(move || asked.fetch_add(1, Ordering::Relaxed) == 2));
    let shared: Arc<dyn BlockDevice> = device.clone();
    let mut report = Report::default();
    let err = recover_into(&shared, &options, &mut report).unwrap_err();
    assert!(matches!(err, Error::Stopped), "{err}");
    assert_eq!(report.orphans.len(), 1);
    as_kernel_and_clean(&device);
}
