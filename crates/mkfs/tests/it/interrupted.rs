//! What a run leaves that does not come to its end: by a crash, or because it was stopped.

use crate::trees;
use ext4_blockdev::{BlockDevice, MemoryDevice, Recorder};
use ext4_mkfs::{Error, Options, Plan, features, plan, write};
use ext4_ondisk::superblock::RawSuperblock;
use ext4_testkit::{
    crash,
    explore::{Budget, Explorer, Violation},
    image::Image,
    mount::Mount,
    oracle::{self, FsckMode, Need},
    trace::{Step, Trace},
};
use std::{
    num::NonZero,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

const LEN: u64 = 8 << 20;
/// An incompatible feature that nobody knows.
const IN_THE_MAKING: u32 = 1 << 31;

fn threads(n: usize) -> NonZero<usize> {
    NonZero::new(n).unwrap()
}

/// A filesystem with other parameters that must not shine through.
fn old() -> Vec<u8> {
    let features = features::parse("^flex_bg").unwrap();
    let options = Options { features, label: b"old".to_vec(), ..Options::default() };
    let device = MemoryDevice::new(vec![0; usize::try_from(LEN).unwrap()]);
    write(&plan(&options, LEN).unwrap(), &device, threads(1), &mut ()).unwrap();
    device.contents()
}

/// What the tools say that look for a filesystem in `image`, which is one or is none. The unknown
/// feature, which is there for a moment before the end, or half of the last superblock, keeps all
/// tools away but blkid: that one only names what it sees.
fn misjudged(image: &Path, bytes: &[u8], is_whole: bool, asks_kernel: bool) -> Vec<Violation> {
    let raw = RawSuperblock::of(&bytes[1024..]).unwrap();
    let in_the_making = raw.s_magic.get() == RawSuperblock::MAGIC
        && (raw.s_feature_incompat.get() & IN_THE_MAKING != 0
            || raw.s_checksum.get() != raw.checksum());
    let mut violations = Vec::new();
    let mut expect = |tool: &'static str, found: bool| {
        if found != is_whole {
            let said = if found { "takes it" } else { "does not take it" };
            violations.push(Violation::new(tool, format!("{tool} {said} for a filesystem")));
        }
    };
    expect("e2fsck", oracle::e2fsck(image, FsckMode::Check).unwrap().is_clean());
    let dump = oracle::tool("dumpe2fs", ["-h".as_ref(), image.as_os_str()], b"").unwrap();
    expect("dumpe2fs", dump.ok());
    let kind = ["-p", "-o", "value", "-s", "TYPE"].map(std::ffi::OsStr::new);
    let blkid = oracle::tool("blkid", kind.into_iter().chain([image.as_os_str()]), b"").unwrap();
    if !in_the_making {
        expect("blkid", blkid.text().starts_with("ext"));
    }
    if asks_kernel {
        expect("kernel", Mount::new(image, "ro").is_ok());
    }
    violations
}

#[test]
fn a_crash_leaves_the_new_filesystem_or_none() {
    if oracle::skip_without(&[Need::E2fsck]) {
        return;
    }
    let options = Options { tree: Some(Arc::new(trees::mixed())), ..Options::default() };
    let base = old();
    let device = Arc::new(MemoryDevice::new(base.clone()));
    let recorder = Recorder::new(device.clone());
    write(&plan(&options, LEN).unwrap(), &recorder, threads(1), &mut ()).unwrap();
    let trace = Trace::of_events(&recorder.take_events());
    let flush = trace.steps.iter().position(|it| matches!(it, Step::Flush { .. })).unwrap();
    assert_eq!(trace.n_flushes(), 5);
    let mut explorer = Explorer::new(Image::new(base), trace);
    // Before the first flush the old filesystem may be there.
    explorer.from = flush + 1;
    explorer.budget = Budget { states: 400, time: Duration::from_mins(1) };
    explorer.plan = crash::Plan {
        subsets_up_to: 3,
        pairs: 20,
        singles: 60,
        random: 20,
        torn_writes: 20,
        sector_masks: 4,
        ..crash::Plan::default()
    };
    let whole = device.contents();
    let has_kernel = oracle::missing(&[Need::Kernel]).is_empty();
    let (nr, n_whole) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let report = explorer.run(&|state| {
        let scratch = oracle::scratch().unwrap();
        let path = scratch.path().join("disk.img");
        let image = state.image();
        image.save(&path).unwrap();
        let is_whole = image.bytes()[..] == whole;
        n_whole.fetch_add(usize::from(is_whole), Ordering::Relaxed);
        let nr = nr.fetch_add(1, Ordering::Relaxed);
        let asks_kernel = has_kernel && (is_whole || nr % 16 == 0);
        misjudged(&path, image.bytes(), is_whole, asks_kernel)
    });
    println!("{report}");
    report.expect_no_failure();
    assert!(!report.is_cut_short && report.distinct > 100, "{report}");
    assert!(n_whole.into_inner() > 0, "the end was not reached");
}

/// How often progress is told of, which ends at what was said to be all.
fn calls_and_true_total(plan: &Plan, base: &[u8]) -> u32 {
    let device = MemoryDevice::new(base.to_vec());
    let (mut n_calls, mut last, mut total) = (0, 0, 0);
    let mut count = |done: u64, of: u64| {
        n_calls += 1;
        assert!(last <= done && done <= of && (total == 0 || total == of), "{done} of {of}");
        (last, total) = (done, of);
        true
    };
    let written = write(plan, &device, threads(2), &mut count).unwrap();
    assert_eq!((last, last), (total, written.bytes), "the total was not true");
    n_calls
}

#[test]
fn whoever_stops_it_leaves_no_filesystem() {
    if oracle::skip_without(&[Need::E2fsck]) {
        return;
    }
    let options = Options { tree: Some(Arc::new(trees::mixed())), ..Options::default() };
    let plan = plan(&options, LEN).unwrap();
    let base = old();
    // Neither where zeros have to be written.
    let not_sparse = Options { discard: false, ..options };
    calls_and_true_total(&ext4_mkfs::plan(&not_sparse, LEN).unwrap(), &base);
    let n_calls = calls_and_true_total(&plan, &base);
    for stop_at in 1..=n_calls {
        let device = MemoryDevice::new(base.clone());
        let mut calls = 0;
        let mut stop = |_: u64, _: u64| {
            calls += 1;
            calls < stop_at
        };
        let result = write(&plan, &device, threads(2), &mut stop);
        let mut start = vec![0; 2048];
        device.read_at(0, &mut start).unwrap();
        // The last call comes after the last write, when it is too late.
        let is_whole = stop_at == n_calls;
        match result {
            Ok(_) if is_whole => {}
            Err(Error::Stopped) if !is_whole => {}
            other => panic!("at call {stop_at} of {n_calls}: {other:?}"),
        }
        if stop_at % 7 == 1 || stop_at + 6 > n_calls {
            let scratch = oracle::scratch().unwrap();
            let path = scratch.path().join("disk.img");
            oracle::save(&device, &path).unwrap();
            let found = misjudged(&path, &start, is_whole, false);
            assert!(found.is_empty(), "at call {stop_at} of {n_calls}: {found:?}");
        }
    }
}
