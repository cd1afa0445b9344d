//! A repair that is cut while it is written: whatever reached the device, a second run mends it, and
//! no file is lost that the uncut repair keeps.

use crate::{
    damage::CASES,
    kit::{Except, NOW},
};
use ext4_blockdev::{BlockDevice, MemoryDevice, Recorder};
use ext4_check::{Changes, Options, Outcome, check};
use ext4_testkit::{
    crash,
    explore::{Budget, Explorer, Report, Violation},
    image::{Image, assert_clean},
    oracle::{Need, skip_without},
    trace::Trace,
    view::View,
};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

const OPTIONS: Options = Options::new(NOW);

/// Of crashes: how many states there were, and in how many a file came to lost+found that the uncut
/// repair leaves in its place.
#[derive(Default)]
struct Tally {
    states: AtomicU64,
    moved: AtomicU64,
}

/// What is in each regular file.
fn files(device: &dyn BlockDevice) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let read = || {
        let view = View::new(device)?;
        let mut files = BTreeMap::new();
        for (path, ino) in view.paths()? {
            let node = view.inode(ino)?;
            if node.file_type() == 0x8000 {
                let len = usize::try_from(node.size())?.min(1 << 22);
                files.insert(path, view.read(&node, 0, len)?);
            }
        }
        Ok(files)
    };
    read().map_err(|it: Box<dyn std::error::Error>| it.to_string())
}

/// Cuts the repair of `image` at the states of `plan`.
fn cut(image: &Image, budget: Budget, tally: &Tally) -> Option<Report> {
    let overlay = image.overlay();
    let mut outcome = Outcome::default();
    check(&overlay, &OPTIONS, &mut Except(&[]), &mut outcome).ok()?;
    let changes = Changes::new(&overlay, image, &outcome).unwrap();
    if changes.is_empty() || outcome.left > 0 {
        return None;
    }
    let recorder = Recorder::new(Arc::new(MemoryDevice::new(image.bytes().to_vec())));
    changes.write(&recorder).unwrap();
    let uncut = files(&*overlay).ok()?;
    let mut explorer = Explorer::new(image.clone(), Trace::of_events(&recorder.take_events()));
    explorer.budget = budget;
    explorer.plan = crash::Plan {
        subsets_up_to: 5,
        pairs: 10,
        singles: 20,
        random: 10,
        torn_writes: 6,
        sector_masks: 8,
        decides: |_, _| false,
        ..crash::Plan::default()
    };
    let report = explorer.run(&|state| {
        let device = state.device();
        let mut outcome = Outcome::default();
        if let Err(err) = check(&device, &OPTIONS, &mut Except(&[]), &mut outcome) {
            return vec![Violation::new("check", err.to_string())];
        }
        let mut violations = Vec::new();
        if outcome.left > 0 {
            violations.push(Violation::new("left", format!("{:?}", outcome.findings.last())));
        }
        if let Err(err) = assert_clean(&*device) {
            violations.push(Violation::new("e2fsck", err.to_string()));
        }
        let found = match files(&*device) {
            Ok(found) => found,
            Err(err) => {
                violations.push(Violation::new("unreadable", err));
                return violations;
            }
        };
        tally.states.fetch_add(1, Ordering::Relaxed);
        let mut is_moved = false;
        for (path, contents) in uncut.iter().filter(|(path, it)| found.get(*path) != Some(it)) {
            if contents.is_empty() {
                continue;
            }
            let is_there = |(at, it): (&String, &Vec<u8>)| {
                at.trim_start_matches('/').starts_with("lost+found") && it == contents
            };
            if found.iter().any(is_there) {
                is_moved = true;
            } else {
                let what = format!("{path} is gone; there are {:?}", found.keys());
                violations.push(Violation::new("lost", what));
            }
        }
        tally.moved.fetch_add(u64::from(is_moved), Ordering::Relaxed);
        violations
    });
    Some(report)
}

/// States that are looked at of each image, for `EXT4_CUTS` to be made more.
fn budget() -> Budget {
    let states = std::env::var("EXT4_CUTS").ok().and_then(|it| it.parse().ok()).unwrap_or(12);
    Budget { states, time: Duration::from_mins(2) }
}

#[expect(clippy::print_stdout, reason = "figures for who runs it by hand")]
fn judge_all(images: impl Iterator<Item = (String, Image)>) {
    let (tally, mut n_images, mut complaints) = (Tally::default(), 0, Vec::new());
    for (name, image) in images {
        if let Some(report) = cut(&image, budget(), &tally) {
            n_images += 1;
            if report.n_failures > 0 {
                complaints.push(format!("{name}: {report}"));
            }
        }
    }
    let [states, moved] = [tally.states, tally.moved].map(AtomicU64::into_inner);
    println!("{n_images} images, {states} states, {moved} of them with a file in lost+found");
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert!(states > 0, "nothing was looked at");
}

#[test]
fn a_cut_repair_is_mended_by_the_next_run_and_loses_no_file() {
    if skip_without(&[Need::E2fsck, Need::Debugfs, Need::Mke2fs]) {
        return;
    }
    judge_all(CASES.iter().filter_map(|it| Some((it.name.to_owned(), it.image()?))));
}

/// The images in the folder that `EXT4_DAMAGED` names, each unpacked, with `.img` in the end.
#[test]
fn cut_repairs_of_other_peoples_damage_lose_no_file() {
    let Some(folder) = std::env::var_os("EXT4_DAMAGED").map(PathBuf::from) else {
        println!("skipped: EXT4_DAMAGED names no folder of damaged images");
        return;
    };
    if skip_without(&[Need::E2fsck]) {
        return;
    }
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
    paths.retain(|it| it.extension().is_some_and(|it| it == "img"));
    paths.sort();
    judge_all(paths.iter().map(|it| (it.display().to_string(), Image::load(it).unwrap())));
}
