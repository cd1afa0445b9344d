//! Power cuts: every state that a writer's crash can leave is replayed as the plain reader of the
//! other tests replays it, and a recovery that is itself cut off ends the same when it is done
//! again.

use super::forge::{self, Forge, V3};
use crate::{
    reference,
    rig::{HOMES, Rig, Shape, Workload, options, trace_of},
};
use ext4_blockdev::{BlockDevice, MemoryDevice, Recorder};
use ext4_jbd2::recovery;
use ext4_testkit::{
    crash::{self, Plan},
    image::Image,
};
use ext4_units::{BlockNr, BlockRange, Tid};
use std::{ops::ControlFlow, sync::Arc};

#[test]
fn a_crashed_writer_is_replayed_as_the_plain_reader_replays_it() {
    let rig = Rig::new(Shape::new(), options());
    let mut work = Workload::new(11);
    for nr in 0..30 {
        work.step(&rig.journal, rig.shape.size, 4, |_| {}).unwrap();
        if nr % 12 == 11 {
            rig.journal.checkpoint().unwrap();
        }
    }
    let base = Image::new(rig.shape.image());
    let trace = Arc::new(trace_of(&rig.recorder.events()));
    let plan = Plan { subsets_up_to: 6, random: 4, sector_masks: 4, ..Plan::default() };
    let options = recovery::Options {
        block_size: rig.shape.size,
        home: BlockRange::new(BlockNr(0), HOMES),
        inode_size: 256,
        metadata_csum: true,
    };
    let mut n_states = 0;
    for epoch in crash::epochs(&base, &trace) {
        let _ = crash::enumerate(&epoch, &plan, &mut |state| {
            n_states += 1;
            let image = state.image();
            let (_, transactions) = reference::scan(image.bytes(), &rig.shape);
            let mut expected = image.bytes().to_vec();
            for (blk, data) in reference::homes(&transactions) {
                let at = usize::try_from(blk.byte(rig.shape.size)).unwrap();
                expected[at..at + data.len()].copy_from_slice(&data);
            }
            let device = MemoryDevice::new(image.bytes().to_vec());
            let log = rig.shape.log();
            let scan = recovery::scan(&device, &log, &options).unwrap();
            assert_eq!(scan.transactions.len(), transactions.len());
            scan.replay(&device, &log, &mut |_, _| {}).unwrap();
            assert!(device.contents() == expected);
            scan.reset(&device, &log).unwrap();
            assert!(recovery::scan(&device, &log, &options).unwrap().is_empty());
            ControlFlow::Continue(())
        });
    }
    println!("{n_states} states");
    assert!(n_states > 200, "{n_states}");
}

/// Recovers a forged log.
fn recover(device: &dyn BlockDevice, it: &Forge) {
    let log = it.at_home();
    let scan = forge::scan(device, &log);
    scan.replay(device, &log, &mut |_, _| {}).unwrap();
    scan.reset(device, &log).unwrap();
}

#[test]
fn s144_a_recovery_cut_off_anywhere_ends_the_same_when_done_again() {
    let mut it = Forge::starting(V3, 1085, Tid(u32::MAX));
    it.log_blocks([1, 5, 9, 30, 31, 32, 60]).commit();
    it.revoke(&[31]).log_blocks([9, 10, 40]).commit();
    it.log_blocks([1, 31, 77, 500, 502]).commit();
    it.log_blocks([9]);

    let recorder = Recorder::new(Arc::new(MemoryDevice::new(it.image.clone())));
    recover(&recorder, &it);
    let whole = MemoryDevice::new(it.image.clone());
    recover(&whole, &it);
    let whole = whole.contents();

    let base = Image::new(it.image.clone());
    let trace = Arc::new(trace_of(&recorder.events()));
    let mut n_states = 0;
    for epoch in crash::epochs(&base, &trace) {
        let _ = crash::enumerate(&epoch, &Plan::default(), &mut |state| {
            n_states += 1;
            let device = MemoryDevice::new(state.image().bytes().to_vec());
            recover(&device, &it);
            assert!(device.contents() == whole, "{state:?}");
            ControlFlow::Continue(())
        });
    }
    println!("{n_states} states");
    assert!(n_states > 300, "{n_states}");
}
