//! Every state a power cut can leave recovers to a moment between two handles, and to none before
//! the last one that was acknowledged.

use crate::{
    reference,
    rig::{Rig, Shape, Workload, options, trace_of},
};
use ext4_jbd2::Options;
use ext4_testkit::{
    crash::{self, CrashState, Plan},
    image::Image,
};
use std::{ops::ControlFlow, sync::Arc};

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
    for epoch in crash::epochs(&base, &trace) {
        let _ = crash::enumerate(&epoch, plan, &mut |state| {
            n_states += 1;
            let device = replayed(state.image().bytes(), &rig.shape);
            work.check(&device, rig.shape.size, acknowledged(&state));
            ControlFlow::Continue(())
        });
    }
    assert!(n_states > 200, "{n_states}");
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
