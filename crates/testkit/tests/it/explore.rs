//! A toy store with a log, right and with planted bugs: the explorer finds every bug and nothing in
//! the right one.

use ext4_blockdev::BlockDevice;
use ext4_testkit::{
    crash::{CrashState, Plan},
    explore::{Budget, Explorer, Report, Violation},
    image::Image,
    recovery::{Device, Recovery, record},
    trace::Trace,
};
use std::time::Duration;

/// What is wrong with the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// The commit record may reach the medium before what it commits.
    NoFlushBeforeCommit,
    /// Acknowledged before it is durable.
    NoFlushAfterCommit,
    /// Written home before the log is durable.
    HomeTooEarly,
    /// The log is emptied before its content is home for good.
    LogEmptiedTooEarly,
    /// The commit record has no checksum over the log.
    TornLogBelieved,
    /// Recovery empties the log before its content is home for good.
    RecoveryEmptiesTooEarly,
    /// Recovery writes whenever it runs.
    RecoveryNeverRests,
    /// Recovery stops on an empty log's garbage.
    RecoveryPanics,
}

const BLOCK: usize = 1024;
const N: usize = 3;
const COMMIT: u64 = 8 * BLOCK as u64;
const LOG: u64 = 9 * BLOCK as u64;
const HOME: u64 = 0;

fn block(version: u8) -> [u8; BLOCK] {
    [version; BLOCK]
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(1, |sum: u32, &it| sum.wrapping_mul(31).wrapping_add(it.into()))
}

fn put(device: &dyn BlockDevice, offset: u64, bytes: &[u8]) {
    device.write_at(offset, bytes).unwrap();
}

/// Sets all N blocks to `version`, atomically when all is right.
fn transaction(device: &dyn BlockDevice, version: u8, bug: Bug) {
    let log: Vec<u8> = (0..N).flat_map(|_| block(version)).collect();
    for (i, piece) in (0..).zip(log.chunks(BLOCK)) {
        put(device, LOG + i * BLOCK as u64, piece);
    }
    if bug != Bug::NoFlushBeforeCommit && bug != Bug::TornLogBelieved {
        device.flush().unwrap();
    }
    let sum = if bug == Bug::TornLogBelieved { 0 } else { sum(&log) };
    let mut commit = [0; 512];
    commit[0] = 1;
    commit[4..8].copy_from_slice(&sum.to_le_bytes());
    put(device, COMMIT, &commit);
    if bug != Bug::HomeTooEarly && bug != Bug::NoFlushAfterCommit {
        device.flush().unwrap();
    }
}

fn home(device: &dyn BlockDevice, version: u8, bug: Bug) {
    for i in 0..N as u64 {
        put(device, HOME + i * BLOCK as u64, &block(version));
    }
    if bug != Bug::LogEmptiedTooEarly {
        device.flush().unwrap();
    }
    put(device, COMMIT, &[0; 512]);
    device.flush().unwrap();
}

fn recover(device: &dyn BlockDevice, bug: Bug) {
    let mut commit = [0; 512];
    device.read_at(COMMIT, &mut commit).unwrap();
    let mut log = vec![0; BLOCK * N];
    device.read_at(LOG, &mut log).unwrap();
    assert!(bug != Bug::RecoveryPanics || commit[0] == 1 || log[0] != 1, "planted");
    let expected = u32::from_le_bytes(commit[4..8].try_into().unwrap());
    if commit[0] != 1 || (expected != 0 && expected != sum(&log)) {
        if bug == Bug::RecoveryNeverRests {
            put(device, COMMIT, &[0; 512]);
        }
        return;
    }
    put(device, HOME, &log);
    if bug != Bug::RecoveryEmptiesTooEarly {
        device.flush().unwrap();
    }
    put(device, COMMIT, &[0; 512]);
    device.flush().unwrap();
}

fn versions(device: &Device) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK * N];
    device.read_at(HOME, &mut bytes).unwrap();
    bytes.chunks(512).map(|it| if it.iter().all(|b| b == &it[0]) { it[0] } else { 255 }).collect()
}

fn check(state: &CrashState, device: &Device) -> Vec<Violation> {
    let acknowledged = state.marks().last().map_or(0, |it| it.parse().unwrap());
    let found = versions(device);
    let mut broken = Vec::new();
    if found.iter().any(|it| it != &found[0]) {
        broken.push(Violation::new("atomic", format!("{found:?}")));
    }
    if found[0] < acknowledged {
        broken.push(Violation::new("durable", format!("{found:?}, {acknowledged} acknowledged")));
    }
    broken
}

fn explore(bug: Bug) -> Report {
    let image = Image::new(vec![0; 16 * BLOCK]);
    let mut explorer = record(&image, |device| {
        for version in 1..=3 {
            transaction(&*device, version, bug);
            if bug == Bug::HomeTooEarly {
                home(&*device, version, bug);
            }
            device.mark(0, version.to_string());
            if bug != Bug::HomeTooEarly {
                home(&*device, version, bug);
            }
        }
        Ok::<(), ()>(())
    })
    .unwrap();
    explorer.budget = Budget { states: 100_000, time: Duration::from_mins(1) };
    let recover = |device: Device| {
        recover(&*device, bug);
        Ok(())
    };
    let digest = |device: &Device| Ok(format!("{:?}", versions(device)));
    let mut recovery = Recovery::new(&recover, &check);
    recovery.digest = Some(&digest);
    recovery.e2fsck_every = 0;
    recovery.depth2 = Some((Plan::default(), Budget::default()));
    recovery.explore(&explorer)
}

#[test]
fn the_right_protocol_survives_every_crash() {
    let report = explore(Bug::None);
    report.expect_no_failure();
    assert!(report.distinct > 100, "{report}");
    assert!(report.others["crashes in recovery"] > 100, "{report}");
    assert!(report.exhaustive == 4 || report.exhaustive == 3, "{report}");
}

#[test]
fn every_planted_bug_is_caught() {
    let caught = [
        (Bug::NoFlushAfterCommit, "durable"),
        (Bug::HomeTooEarly, "atomic"),
        (Bug::LogEmptiedTooEarly, "atomic"),
        (Bug::TornLogBelieved, "atomic"),
        (Bug::RecoveryEmptiesTooEarly, "crash in recovery: atomic"),
        (Bug::RecoveryNeverRests, "second recovery"),
        (Bug::RecoveryPanics, "recovery panics"),
    ];
    for (bug, code) in caught {
        let report = explore(bug);
        let codes: Vec<_> = report.failures.iter().flat_map(|it| &it.violations).collect();
        assert!(codes.iter().any(|it| it.code == code), "{bug:?} not caught as {code}: {report}");
    }
    // The checksum makes up for the flush: what is not whole is not believed.
    explore(Bug::NoFlushBeforeCommit).expect_no_failure();
}

#[test]
fn a_failure_shrinks_to_the_writes_that_matter() {
    let report = explore(Bug::TornLogBelieved);
    let failure = report.failures.iter().find(|it| it.violations[0].code == "atomic").unwrap();
    // The commit record without all of the log.
    assert!(failure.state.kept.len() <= 2, "{failure}");
    assert!(failure.state.kept.iter().all(|it| it.sectors.is_none()), "{failure}");
}

#[test]
fn the_same_seed_explores_the_same_states() {
    let (one, two) = (explore(Bug::None), explore(Bug::None));
    assert_eq!((one.generated, one.distinct), (two.generated, two.distinct));
    assert_eq!(one.others, two.others);
}

#[test]
fn with_a_share_for_each_epoch_the_last_one_is_reached() {
    let mut trace = Trace::new();
    for i in 0..4 {
        for j in 0..8_u8 {
            trace.write(u64::from(j) * 512, vec![i * 8 + j; 512]);
        }
        trace.flush();
    }
    let mut explorer = Explorer::new(Image::new(vec![0; 4096]), trace);
    explorer.plan.states_per_epoch = 20;
    let report = explorer.run(&|_| Vec::new());
    assert!(report.is_cut_short && report.distinct <= 4 * 21 + 1, "{report}");
    assert_eq!(report.windows[&8].epochs, 4);
}
