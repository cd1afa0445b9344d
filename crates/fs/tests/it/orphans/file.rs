//! Orphans in the orphan file.

use super::{
    FILE, as_kernel_and_clean, change, crashed, create, fates, file_blocks, files, has_errors,
    image, make_list, patch_file, recovered, set_slot,
};
use crate::rig::clock;
use ext4_blockdev::BlockDevice;
use ext4_fs::{Error, Filesystem, RecoverOptions, Report, Scope, recover, recover_into};
use ext4_ondisk::orphan_file;
use ext4_testkit::{
    image::{Image, Recipe},
    mount,
    oracle::{self, Need, skip_without},
    view::View,
};
use ext4_units::InodeNr;
use std::sync::Arc;

fn orphan_file() -> Recipe {
    Recipe::new("orphan-4k").mib(16)
}

#[test]
fn scenario_110_records_are_found_in_any_slot_of_any_block() {
    let Some((device, inos)) = files(&orphan_file(), 3) else { return };
    set_slot(&device, 0, 5, inos[0]);
    set_slot(&device, 3, 0, inos[1]);
    set_slot(&device, 3, 1021, inos[2]);
    let report = as_kernel_and_clean(&device);
    assert_eq!(fates(&report), inos.iter().map(|&it| (it, "truncated")).collect::<Vec<_>>());
}

#[test]
fn scenario_111_an_impossible_record_stays_and_the_others_are_done() {
    let Some((device, inos)) = files(&orphan_file(), 1) else { return };
    set_slot(&device, 0, 0, 999_999);
    set_slot(&device, 0, 1, inos[0]);
    let report = recovered(&device);
    assert_eq!(fates(&report), [(999_999, "refused"), (inos[0], "truncated")]);
    assert!(has_errors(&device));
    let fs = Filesystem::open_read(Arc::clone(&device) as _).unwrap();
    let (_, blocks) = file_blocks(&fs);
    let left = fs.meta().read(blocks[0]).unwrap();
    assert_eq!(
        orphan_file::entries(&left).map(|(_, ino)| ino.get()).collect::<Vec<_>>(),
        [999_999]
    );
}

#[test]
fn scenario_112_records_count_without_orphan_present() {
    let Some((device, inos)) = files(&orphan_file(), 1) else { return };
    set_slot(&device, 0, 0, inos[0]);
    assert!(!View::new(&*device).unwrap().orphan_present());
    assert_eq!(fates(&as_kernel_and_clean(&device)), [(inos[0], "truncated")]);
}

#[test]
fn scenario_113_a_damaged_orphan_file_ends_recovery_before_anything_is_cleaned() {
    for at in [4088, 4092] {
        let Some((device, inos)) = files(&orphan_file(), 1) else { return };
        make_list(&device, &inos, 0);
        patch_file(&device, 1, |block, _, _, _| block[at] ^= 1);
        let before = device.contents();
        let err = recover(Arc::clone(&device) as _, &RecoverOptions::new(clock())).unwrap_err();
        assert!(matches!(err, Error::Corrupt(_)), "{err}");
        assert_eq!(device.contents(), before);
        if !skip_without(&[Need::Kernel]) {
            let scratch = oracle::scratch().unwrap();
            let file = scratch.path().join("disk.img");
            Image::new(before).save(&file).unwrap();
            assert!(mount::recover(&file).is_err(), "the kernel mounts it");
        }
    }
}

#[test]
fn scenario_114_an_orphan_file_beyond_512_blocks_is_refused() {
    let Some(device) = image(&orphan_file(), |fs| {
        let ino = fs.superblock().orphan_file_inum.unwrap();
        change(fs, ino, |h, inode| h.set_size(inode, 513 * 4096).unwrap());
    }) else {
        return;
    };
    let err = recover(Arc::clone(&device) as _, &RecoverOptions::new(clock())).unwrap_err();
    assert!(err.to_string().contains("513 blocks, expected a regular file of 1 to 512"), "{err}");
}

#[test]
fn scenario_115_the_list_comes_before_the_file() {
    let Some((device, inos)) = files(&orphan_file(), 2) else { return };
    make_list(&device, &inos[..1], 0);
    set_slot(&device, 0, 0, inos[1]);
    let report = as_kernel_and_clean(&device);
    assert_eq!(fates(&report), [(inos[0], "truncated"), (inos[1], "truncated")]);
    assert_eq!(report.orphans.iter().map(|it| it.in_file).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn scenario_116_a_full_orphan_file_leads_to_the_list() {
    let recipe = Recipe::new("orphan-1k").mib(16).options("-E orphan_file_size=2 -N 2048");
    let mut slots = 0;
    let device = crashed(&recipe, |fs| {
        let (_, blocks) = file_blocks(fs);
        slots = blocks.len() * orphan_file::n_slots(1024);
        for i in 0..slots + 5 {
            let name = i.to_string();
            fs.create(InodeNr::ROOT, name.as_bytes(), &FILE).unwrap();
            fs.unlink_open(InodeNr::ROOT, name.as_bytes()).unwrap();
        }
    });
    let Some(device) = device else { return };
    let report = as_kernel_and_clean(&device);
    assert_eq!(report.orphans.len(), slots + 5);
    assert_eq!(report.orphans.iter().filter(|it| !it.in_file).count(), 5);
}

#[test]
fn scenario_117_an_inode_on_both_is_done_once() {
    let Some((device, inos)) = files(&orphan_file(), 1) else { return };
    make_list(&device, &inos, 0);
    set_slot(&device, 0, 0, inos[0]);
    let report = as_kernel_and_clean(&device);
    assert_eq!(fates(&report), [(inos[0], "truncated"), (inos[0], "truncated")]);
}

#[test]
fn scenario_118_a_second_record_of_a_deleted_inode_is_refused() {
    let mut ino = InodeNr::ROOT;
    let device = crashed(&orphan_file(), |fs| {
        ino = create(fs, "f", &[1; 9000]);
        fs.unlink_open(InodeNr::ROOT, b"f").unwrap();
    });
    let Some(device) = device else { return };
    let options = RecoverOptions { scope: Scope::Replay, ..RecoverOptions::new(clock()) };
    let shared: Arc<dyn BlockDevice> = device.clone();
    recover_into(&shared, &options, &mut Report::default()).unwrap();
    set_slot(&device, 2, 7, ino.get());
    let report = recovered(&device);
    assert_eq!(fates(&report), [(ino.get(), "deleted"), (ino.get(), "refused")]);
}
