//! Every state a power cut can leave recovers to a moment between two handles, and to none before
//! the last one that was acknowledged.

use crate::{
    reference,
    rig::{HOMES, Owner, Rig, Shape, Workload, contents, open, options, trace_of},
};
use ext4_blockdev::{BlockDevice, Overlay, Recorder};
use ext4_jbd2::{
    Options,
    recovery::{self, scan},
};
use ext4_testkit::{
    crash::{self, CrashState, Plan},
    image::Image,
};
use ext4_units::{BlockNr, BlockRange};
use std::{collections::HashSet, ops::ControlFlow, sync::Arc};

/// The highest handle that was acknowledged before the crash.
fn acknowledged(state: &CrashState) -> usize {
    state.marks().filter_map(|mark| mark.strip_prefix("ack ")?.parse().ok()).max().unwrap_or(0)
}

/// Replays by the reference; the homes as they are then.
fn replayed(bytes: &[u8], shape: &Shape) -> Vec<u8> {
    let mut device = bytes.to_vec();
    let (_, log) = reference::scan(bytes, shape);
    for (blk, data) in reference::homes(&log) {
        let at = usize::try_from(blk.byte(shape.size)).unwrap();
        device[at..at + data.len()].copy_from_slice(&data);
    }
    device
}

#[track_caller]
fn check(shape: Shape, options: Options, seed: u64, n_handles: usize, plan: &Plan) {
    let rig = Rig::new(shape, options);
    let mut work = Workload::new(seed);
    for nr in 0..n_handles {
        let on_ack = |handle| rig.recorder.mark(0, format!("ack {handle}"));
        work.step(&rig.journal, rig.shape.size, 4, on_ack).unwrap();
        if nr % 16 == 15 {
            rig.journal.checkpoint().unwrap();
            work.acknowledged = work.states.len() - 1;
            rig.recorder.mark(0, format!("ack {}", work.acknowledged));
        }
    }
    let base = Image::new(rig.shape.image());
    let trace = Arc::new(trace_of(&rig.recorder.events()));
    let mut n_states = 0;
    let mut seen = HashSet::new();
    for epoch in crash::epochs(&base, &trace) {
        let _ = crash::enumerate(&epoch, plan, &mut |state| {
            let acknowledged = acknowledged(&state);
            if !seen.insert((state.hash, acknowledged)) {
                return ControlFlow::Continue(());
            }
            n_states += 1;
            let device = state.device();
            recover(&*device, &rig.shape);
            let found = work.check(&homes(&*device, &rig.shape), rig.shape.size, acknowledged);
            if n_states % 16 == 0 {
                let device = replayed(state.image().bytes(), &rig.shape);
                let plain = work.check(&device, rig.shape.size, acknowledged);
                assert_eq!(found, plain, "{state:?}");
            }
            if n_states % 64 == 0 {
                go_on(&device, &rig.shape);
            }
            ControlFlow::Continue(())
        });
    }
    assert!(n_states > 200, "{n_states}");
}

/// Opens the journal of a recovered device, goes on, and crashes again: whatever is left in the log
/// of the first life must not come back.
fn go_on(device: &Arc<Overlay>, shape: &Shape) {
    let mut base = vec![0; usize::try_from(device.len()).unwrap()];
    device.read_at(0, &mut base).unwrap();
    let base = Image::new(base);
    let recorder = Arc::new(Recorder::new(base.overlay()));
    let journal = open(recorder.clone(), shape, options()).unwrap();
    for blk in 0..HOMES {
        // All homes are rewritten first, so that the workload's states are whole.
        let mut handle = journal.start(1).unwrap();
        handle.write(BlockNr(blk), contents(blk, 900, shape.size)).unwrap();
        handle.stop().unwrap();
    }
    journal.commit().unwrap();
    recorder.mark(0, "ack 0");
    let mut work = Workload::from((0..HOMES).map(|blk| (blk, Owner::Meta(900))).collect());
    for _ in 0..6 {
        let on_ack = |handle| recorder.mark(0, format!("ack {handle}"));
        work.step(&journal, shape.size, 3, on_ack).unwrap();
    }
    let trace = Arc::new(trace_of(&recorder.events()));
    let plan = Plan { subsets_up_to: 4, random: 2, ..Plan::default() }.untorn();
    for epoch in crash::epochs(&base, &trace) {
        let _ = crash::enumerate(&epoch, &plan, &mut |state| {
            let device = state.device();
            recover(&*device, shape);
            if state.marks().next().is_some() {
                work.check(&homes(&*device, shape), shape.size, acknowledged(&state));
            }
            ControlFlow::Continue(())
        });
    }
}

/// Recovery as a filesystem would do it.
fn recover(device: &dyn BlockDevice, shape: &Shape) {
    let about = recovery::Options {
        block_size: shape.size,
        home: BlockRange::new(BlockNr(0), HOMES),
        inode_size: 256,
        metadata_csum: false,
    };
    let found = scan(device, &shape.log(), &about).unwrap();
    assert_eq!(found.verdict(), Ok(()));
    found.replay(device, &shape.log(), &mut |_, _| {}).unwrap();
    found.reset(device, &shape.log()).unwrap();
}

/// The bytes before the log.
fn homes(device: &dyn BlockDevice, shape: &Shape) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(HOMES).unwrap() * shape.size.len()];
    device.read_at(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn every_crash_leaves_the_state_between_two_handles() {
    let plan = Plan { subsets_up_to: 8, random: 8, sector_masks: 8, ..Plan::default() };
    check(Shape::new(), options(), 3, 40, &plan);
}

#[test]
fn so_it_is_when_checkpoints_of_parts_go_on_all_the_time() {
    let plan = Plan { subsets_up_to: 8, random: 8, sector_masks: 8, ..Plan::default() };
    let options = Options { committed_bytes: 8 << 10, ..options() };
    check(Shape::new(), options, 4, 40, &plan);
}

#[test]
fn so_it_is_at_the_end_of_the_log() {
    let plan = Plan { subsets_up_to: 6, random: 4, ..Plan::default() };
    check(Shape { head: 1010, ..Shape::new() }, options(), 5, 30, &plan);
}
