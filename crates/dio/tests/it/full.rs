//! No space: exactly `n` clusters are free when a job begins, for every `n` until it needs no more;
//! and no inodes. A job that fails says `ENOSPC` and leaves no half of a step behind.
//!
//! Every `n` is tried with `EXT4_FAULTS=all`; otherwise some, the same each time.

use crate::jobs::{Failed, JOBS, Job, Step, contents};
use ext4_blockdev::{BlockDevice, MemoryDevice, Overlay};
use ext4_dio::{DirectWrite, Offset, Request};
use ext4_fs::{Filesystem, NewFile};
use ext4_testkit::{
    image::{Image, profile},
    judge,
    oracle::{self, FsckMode, Need},
    recovery::Device,
};
use ext4_units::InodeNr;
use std::sync::Arc;

const ENOSPC: i32 = 28;
const FILE: NewFile = NewFile::of_root(0o644);

/// Clusters for data that no job needs as many of.
const PLENTY: u64 = 400;

#[derive(Debug, Default)]
struct Totals {
    jobs: u64,
    runs: u64,
    refused: u64,
    by_e2fsck: u64,
    violations: Vec<String>,
}

fn is_all() -> bool {
    std::env::var("EXT4_FAULTS").is_ok_and(|it| it == "all")
}

/// The next number of clusters free for data.
fn after(n: u64) -> u64 {
    if is_all() || n < 4 { n + 1 } else { n + n / 2 }
}

/// What is left to tree nodes (`ext4_set_resv_clusters`): 2 % of the clusters, with extents.
fn reserve(job: &Job, fs: &Filesystem) -> u64 {
    let clusters = fs.geometry().blocks_count >> fs.geometry().cluster_ratio_bits;
    let has_reserve = profile(job.profile).extents || job.profile == "ext4-indirect-1k";
    if has_reserve { (clusters / 50).min(4096) } else { 0 }
}

#[test]
fn with_any_number_of_free_clusters_a_job_is_done_or_refused() {
    let mut totals = Totals::default();
    for job in JOBS {
        let Some(image) = job.image() else { return };
        let full = filled(job, &image);
        totals.jobs += 1;
        let reserve = reserve(job, &job.open(image.overlay()).expect("opening"));
        for has_pending in [false, true] {
            let mut n = 0;
            while run(job, &full, reserve + n, has_pending, &mut totals) {
                n = after(n);
                assert!(n < PLENTY, "{}: never enough", job.name);
            }
        }
    }
    println!("{totals:?}");
    assert!(totals.violations.is_empty() && totals.refused > 0, "{totals:#?}");
}

fn free(fs: &Filesystem) -> (u64, u32) {
    let raw = fs.raw_superblock(fs.meta()).expect("the superblock");
    let clusters = raw.free_blocks_count() >> fs.geometry().cluster_ratio_bits;
    (clusters, raw.s_free_inodes_count.get())
}

fn cluster(fs: &Filesystem) -> u64 {
    u64::from(fs.geometry().block_size.bytes()) << fs.geometry().cluster_ratio_bits
}

/// The image with all its space in `/fill`, but for what is left to tree nodes.
fn filled(job: &Job, image: &Image) -> Image {
    let device = Arc::new(MemoryDevice::new(image.bytes().to_vec()));
    let fs = job.open(device.clone()).expect("opening");
    let fill = fs.create(InodeNr::ROOT, b"fill", &FILE).expect("a file");
    grow(job, &fs, fill, 0, free(&fs).0);
    fs.close().expect("closing");
    Image::new(device.contents())
}

/// Makes symbolic links until `n` clusters are free, or fewer: each has one.
fn take(fs: &Filesystem, n: u64, name: &str) {
    for nr in 0..1000 {
        if free(fs).0 <= n {
            return;
        }
        let name = format!("{name}{nr}");
        fs.symlink(InodeNr::ROOT, name.as_bytes(), &[b't'; 200], &FILE).expect("a link");
    }
}

/// Gives a file as many clusters from `at` on as there are, `n` at most; those that only a smaller
/// request finds included.
fn grow(job: &Job, fs: &Filesystem, ino: InodeNr, mut at: u64, n: u64) {
    let bytes = cluster(fs);
    let mut want = n;
    let end = at + n * bytes;
    while want > 0 && at < end {
        want = want.min((end - at) / bytes);
        let res = if profile(job.profile).extents {
            fs.fallocate(ino, at, want * bytes, false).map_err(Failed::from)
        } else {
            let zeros = vec![0; usize::try_from(want * bytes).expect("a small image")];
            let request = Request::new(Offset::At(at), Some(want * bytes));
            DirectWrite::new(fs, ino, request, &mut &zeros[..])
                .run()
                .map(drop)
                .map_err(Failed::from)
        };
        match res {
            Ok(()) => at += want * bytes,
            Err(failed) => {
                assert_eq!(failed.errno, ENOSPC, "{}", failed.text);
                at = fs.inode(fs.meta(), ino).expect("/fill").i_size.next_multiple_of(bytes);
                want /= 2;
            }
        }
    }
}

/// Leaves exactly `n` clusters free. Whether it was possible.
fn make_room(fs: &Filesystem, n: u64, has_pending: bool) -> bool {
    let fill = fs.resolve(fs.meta(), b"/fill", ext4_fs::Last::Stay).expect("/fill").ino;
    for round in 0..8 {
        while free(fs).0 < n {
            let size = fs.inode(fs.meta(), fill).expect("/fill").i_size;
            let less = (n - free(fs).0) * cluster(fs);
            fs.truncate(fill, size.saturating_sub(less)).expect("truncate");
        }
        if !has_pending {
            fs.commit().expect("commit");
        }
        // Blocks of the map went as well.
        take(fs, n, &format!("fill{round}-"));
        if free(fs).0 == n {
            return true;
        }
    }
    false
}

/// Does a job with `n` free clusters; whether it was refused for want of more, or went wrong.
fn run(job: &Job, full: &Image, n: u64, has_pending: bool, totals: &mut Totals) -> bool {
    try_run(job, full, n, has_pending, totals).unwrap_or_else(|what| {
        let case = format!("{} ({}), {n} free, pending {has_pending}", job.name, job.profile);
        totals.violations.push(format!("{case}: {what}"));
        true
    })
}

fn try_run(
    job: &Job,
    full: &Image,
    n: u64,
    has_pending: bool,
    totals: &mut Totals,
) -> Result<bool, String> {
    let device: Device = Arc::new(Overlay::new(Arc::new(full.clone())));
    let fs = job.open(Arc::clone(&device)).map_err(|err| err.to_string())?;
    if !make_room(&fs, n, has_pending) {
        return Err(format!("{} clusters are free, {n} were to be", free(&fs).0));
    }
    totals.runs += 1;
    let mut done = 0;
    let mut refused = None;
    for (i, step) in job.steps.iter().enumerate() {
        let before = free(&fs);
        match job.step(&fs, i) {
            Ok(_) => done = i + 1,
            Err(failed) if failed.errno != ENOSPC => {
                return Err(format!("{step:?}: errno {}: {}", failed.errno, failed.text));
            }
            Err(failed) => {
                if matches!(step, Step::Fsync | Step::Writeback | Step::Commit) {
                    return Err(format!("{step:?} of what was promised: {}", failed.text));
                }
                let after = free(&fs);
                if is_all_or_nothing(&fs, step) && after != before {
                    return Err(format!("{step:?}: free {before:?} before, {after:?} after"));
                }
                refused = Some((failed, step));
                break;
            }
        }
    }
    fs.close().map_err(|err| format!("close: {err}"))?;
    check(job, &device, done, refused.is_some(), totals)
        .map_err(|err| format!("{done} steps done, then {refused:?}: {err}"))?;
    totals.refused += u64::from(refused.is_some());
    Ok(refused.is_some())
}

/// Whether nothing of a refused step may stay: everything but what a hole or a range gets.
fn is_all_or_nothing(fs: &Filesystem, step: &Step) -> bool {
    let size = fs.resolve(fs.meta(), b"/f", ext4_fs::Last::Stay).map_or(0, |it| it.i_size);
    match *step {
        Step::Write(at, ..) => at >= size,
        Step::Create | Step::WriteNew(..) | Step::RenameNew | Step::Truncate(_) => true,
        _ => false,
    }
}

fn check(
    job: &Job,
    device: &Device,
    done: usize,
    is_refused: bool,
    totals: &mut Totals,
) -> Result<(), String> {
    let versions = job.versions();
    let begun = done + usize::from(is_refused);
    let mut found = judge::judge(&**device);
    found.extend(contents(&**device, job, &versions, done, begun));
    if totals.runs.is_multiple_of(if is_all() { 5 } else { 20 }) && Need::E2fsck.is_here() {
        totals.by_e2fsck += 1;
        let said = oracle::e2fsck_device(&**device, FsckMode::Check);
        if !said.as_ref().is_ok_and(oracle::Fsck::is_clean) {
            return Err(format!("e2fsck: {said:?}"));
        }
    }
    if found.is_empty() { Ok(()) } else { Err(format!("{found:?}")) }
}

#[test]
fn with_any_number_of_free_inodes_a_job_is_done_or_refused() {
    for job in JOBS.iter().filter(|it| it.steps.iter().any(|step| matches!(step, Step::Create))) {
        let Some(image) = job.image() else { return };
        let device: Arc<dyn BlockDevice> = image.device();
        let fs = job.open(Arc::clone(&device)).expect("opening");
        let mut n = 0;
        while free(&fs).1 > 1 {
            fs.create(InodeNr::ROOT, format!("file{n}").as_bytes(), &FILE).expect("a file");
            n += 1;
        }
        fs.close().expect("closing");
        for last in [true, false] {
            let device: Device = Arc::new(Overlay::new(Arc::clone(&device)));
            let fs = job.open(Arc::clone(&device)).expect("opening");
            if last {
                fs.create(InodeNr::ROOT, b"last", &FILE).expect("a file");
            }
            let mut done = 0;
            for i in 0..job.steps.len() {
                match job.step(&fs, i) {
                    Ok(_) => done = i + 1,
                    Err(failed) => {
                        assert!(last, "{}: {}", job.name, failed.text);
                        assert_eq!(failed.errno, ENOSPC, "{}: {}", job.name, failed.text);
                        assert!(matches!(job.steps[i], Step::Create), "{:?}", job.steps[i]);
                        break;
                    }
                }
            }
            fs.close().expect("closing");
            let mut totals = Totals::default();
            check(job, &device, done, false, &mut totals).unwrap_or_else(|err| {
                panic!("{}, {} inodes free: {err}", job.name, u32::from(!last))
            });
        }
    }
}
