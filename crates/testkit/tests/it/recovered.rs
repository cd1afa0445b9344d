//! Our own recovery, judged by the kernel's on the corpus of real crashes, and cut short itself.

use ext4_fs::{RecoverOptions, recover};
use ext4_jbd2::Clock;
use ext4_testkit::{
    corpus::{Corpus, Expected},
    crash::CrashState,
    explore::{Budget, Report, Violation},
    image::Image,
    judge::free_counts,
    recovery::{Device, Recovery, record},
    view::View,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

/// Recovers as `fsck-orphans` does.
fn recovered(device: Device) -> Result<(), String> {
    let options = RecoverOptions::new(Clock::fixed(Duration::from_secs(1_700_000_000)));
    let it = recover(device, &options).map_err(|it| it.to_string())?;
    it.fs.close().map_err(|it| it.to_string())
}

fn judge(device: &Device, expected: &Expected) -> Vec<Violation> {
    match catch_unwind(AssertUnwindSafe(|| recovered(device.clone()))) {
        Err(_) => vec![Violation::new("panic", "")],
        Ok(Err(error)) => vec![Violation::new("refused", error)],
        Ok(Ok(())) => expected.judge(&**device),
    }
}

fn lines(name: &str, found: &[Violation]) -> Vec<String> {
    found.iter().take(3).map(|it| format!("{name}: {it}")).collect()
}

#[test]
fn shut_down_kernels_are_recovered_as_the_kernel_does() {
    let Some(corpus) = Corpus::find() else { return };
    let mut bad = Vec::new();
    for crash in &corpus.crashes().unwrap() {
        let device: Device = crash.image().unwrap().overlay();
        bad.extend(lines(&crash.name, &judge(&device, &crash.expected)));
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn power_cuts_are_recovered_as_the_kernel_does() {
    let Some(corpus) = Corpus::find() else { return };
    // All of them take a minute and a half.
    let step = if std::env::var_os("EXT4_ALL_POWER_CUTS").is_some() { 1 } else { 3 };
    let (mut bad, mut n) = (Vec::new(), 0);
    for recording in corpus.recordings().unwrap() {
        let loaded = recording.decompress().unwrap();
        // Cut in the middle, e2fsck leaves what no journal can repair; the kernel cannot either.
        let is_lost = |good: bool| recording.recoverer.is_some() && !good;
        for cut in recording.cuts.iter().step_by(step) {
            let is_good = cut.kernel.mounted && cut.kernel.e2fsck == 0;
            if is_lost(is_good) {
                continue;
            }
            let device: Device = cut.state(&loaded).device();
            let found = judge(&device, &recording.expected(&loaded, cut));
            bad.extend(lines(&format!("{} {} ({})", recording.name, cut.id, cut.kind), &found));
            n += 1;
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    println!("{n} power cuts");
    assert!(n > 700, "{n} power cuts");
}

/// Recovers an image, and cuts that short wherever it can be cut: a second recovery has to come to
/// the same tree and counts.
fn cut_short(image: &Image, expected: &Expected, budget: Budget) -> Report {
    let mut explorer = record(image, |device| recovered(device)).unwrap();
    explorer.budget = budget;
    explorer.plan.states_per_epoch = 100;
    let content = |device: &Device| {
        let view = View::new(&**device).map_err(|it| format!("{it:#}"))?;
        let manifest = view.manifest().map_err(|it| format!("{it:#}"))?;
        Ok(format!("{} {:?}", manifest.digest(), free_counts(&view)))
    };
    let whole: Device = image.overlay();
    recovered(whole.clone()).unwrap();
    let whole = content(&whole).unwrap();
    let check = |_: &CrashState, device: &Device| {
        let mut found = expected.judge(&**device);
        let content = content(device).unwrap_or_else(|it| it);
        if content != whole {
            found.push(Violation::new("other content", format!("{content}, expected {whole}")));
        }
        found
    };
    let recover = |device: Device| recovered(device);
    Recovery::new(&recover, &check).explore(&explorer)
}

#[test]
fn a_recovery_that_is_cut_short_comes_to_the_same_end() {
    let Some(corpus) = Corpus::find() else { return };
    // Some of each epoch.
    let budget = Budget { states: 600, time: Duration::from_secs(30) };
    let names = [
        "pc-orph-d1k",
        "pc-orph-orph4k",
        "pc-mix-d4k",
        "pc-trunc-ext3_1k",
        "pc-revoke-d1k",
        "pc-fc-fc4k",
    ];
    for recording in corpus.recordings().unwrap() {
        if !names.contains(&recording.name.as_str()) {
            continue;
        }
        let loaded = recording.decompress().unwrap();
        let Some(last) =
            recording.cuts.iter().filter(|it| it.kernel.mounted).max_by_key(|it| it.upto)
        else {
            continue;
        };
        let expected = recording.expected(&loaded, last);
        let report = cut_short(&last.state(&loaded).image(), &expected, budget);
        println!("{} {}: {report}", recording.name, last.id);
        report.expect_no_failure();
    }
}

#[test]
fn applying_fast_commits_can_be_cut_short_anywhere() {
    let Some(corpus) = Corpus::find() else { return };
    let budget = Budget { states: 400, time: Duration::from_secs(20) };
    let mut n = 0;
    for crash in corpus.crashes().unwrap().iter().filter(|it| it.has_fast_commits) {
        let report = cut_short(&crash.image().unwrap(), &crash.expected, budget);
        println!("{}: {report}", crash.name);
        report.expect_no_failure();
        n += 1;
    }
    assert!(n >= 6, "{n} images with fast commits");
}
