//! The power cut anywhere in random schedules. `EXT4_CRASH_STATES` says how many states of each
//! schedule, `EXT4_CRASH_SCHEDULES` how many schedules.

use crate::{
    history::{History, histories},
    program::program,
    world::{KINDS, Kind, asked, clock, run, table},
};
use ext4_fs::{RecoverOptions, recover};
use ext4_lab::{Order, Row, Script};
use ext4_testkit::{
    crash::CrashState,
    explore::{Budget, Violation},
    image::Image,
    judge,
    recovery::{Device, Recovery, record},
    view::View,
};
use std::{collections::BTreeMap, time::Duration};

/// Unless the environment says otherwise.
const SCHEDULES: u64 = 16;
const STATES: u64 = 150;

#[test]
fn every_crash_of_a_schedule_leaves_what_some_order_explains() {
    let (n, first) = (asked("EXT4_CRASH_SCHEDULES", SCHEDULES), asked("EXT4_SEED", 1));
    let states = asked("EXT4_CRASH_STATES", STATES);
    let images: Vec<Option<Image>> = KINDS.iter().map(Kind::image).collect();
    let (mut done, mut generated, mut distinct) = (0, 0, 0);
    let mut others: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in first..first + n {
        let nr = usize::try_from(seed).unwrap() % KINDS.len();
        let (kind, Some(image)) = (&KINDS[nr], &images[nr]) else { continue };
        let text = program(seed, kind.shape);
        let script = Script::parse(&text).unwrap();
        let mut rows = Vec::new();
        let recorded = record(image, |recorder| {
            let fs = kind.open(recorder.clone());
            // The files are there, whatever happens.
            rows = run(&fs, &script, Order::Seeded(seed), &mut |row| {
                recorder.mark(row.step, row.step.to_string());
                Ok(())
            })?;
            drop(fs);
            Ok::<(), String>(())
        });
        let mut explorer =
            recorded.unwrap_or_else(|err| unreachable!("{text}\n{err}\nseed {seed}"));
        explorer.budget = Budget { states, time: Duration::from_mins(5) };
        let told = Told { kind, histories: histories(&script, &rows) };
        let check = |state: &CrashState, device: &Device| told.check(state, device);
        let mut recovery = Recovery::new(&again, &check);
        recovery.e2fsck_every = 50;
        let report = recovery.explore(&explorer);
        let rows: &[Row] = &rows;
        assert!(
            report.n_failures == 0 && report.distinct > 0,
            "{text}\n{}\n{report}\nEXT4_SEED={seed} on {}",
            table(rows),
            kind.profile
        );
        done += 1;
        (generated, distinct) = (generated + report.generated, distinct + report.distinct);
        for (&name, n) in &report.others {
            *others.entry(name).or_default() += n;
        }
    }
    println!(
        "{done} schedules, {generated} crash states, {distinct} distinct, {others:?}, 0 violations"
    );
}

/// What `fsck-orphans` does.
fn again(device: Device) -> Result<(), String> {
    let recovered = recover(device, &RecoverOptions::new(clock())).map_err(|it| it.to_string())?;
    recovered.fs.close().map_err(|it| it.to_string())
}

/// What the schedule did.
struct Told<'a> {
    kind: &'a Kind,
    histories: BTreeMap<String, History>,
}

impl Told<'_> {
    fn check(&self, state: &CrashState, device: &Device) -> Vec<Violation> {
        let mut found = judge::judge(&**device);
        let step: u64 = state.marks().filter_map(|it| it.parse().ok()).max().unwrap_or(0);
        let view = match View::new(&**device) {
            Ok(view) => view,
            Err(err) => return vec![Violation::new("view", format!("{err:#}"))],
        };
        for (path, history) in &self.histories {
            let read = || -> anyhow::Result<Option<Vec<u8>>> {
                let Some(&ino) = view.paths()?.get(path.trim_start_matches('/')) else {
                    return Ok(None);
                };
                let node = view.inode(ino)?;
                Ok(Some(view.read(&node, 0, usize::try_from(node.size())?)?))
            };
            match read() {
                Err(err) => found.push(Violation::new("lost", format!("{path}: {err:#}"))),
                Ok(None) if history.is_synced(step) => {
                    found.push(Violation::new("lost", format!("{path}: is not there")));
                }
                Ok(None) => {}
                Ok(Some(bytes)) => {
                    let size = bytes.len() as u64;
                    if !history.has_crash_size(size, self.kind.shape.block, step) {
                        found.push(Violation::new("size", format!("{path}: {size}, step {step}")));
                    }
                    if let Some(what) = history.unexplained(&bytes, Some(step)) {
                        found.push(Violation::new(
                            "content",
                            format!("{path}: {what}, step {step}"),
                        ));
                    }
                }
            }
        }
        found
    }
}
