//! Random programs under random schedules. `EXT4_SCHEDULES` says how many, `EXT4_SEED` from which
//! seed on.

use crate::{
    history::histories,
    program::program,
    world::{KINDS, Kind, asked, run, table},
};
use ext4_blockdev::BlockDevice;
use ext4_fs::{Filesystem, Last};
use ext4_lab::{Order, Row, Script};
use ext4_testkit::{
    image::Image,
    judge,
    oracle::{self, FsckMode, Need},
};
use std::{collections::BTreeMap, sync::Arc};

/// Unless the environment says otherwise.
const SCHEDULES: u64 = 400;
/// e2fsck looks at one schedule in so many.
const E2FSCK_EVERY: u64 = 200;

#[test]
fn every_schedule_of_random_writers_is_explained_by_some_order() {
    let (n, first) = (asked("EXT4_SCHEDULES", SCHEDULES), asked("EXT4_SEED", 1));
    let images: Vec<Option<Image>> = KINDS.iter().map(Kind::image).collect();
    if images.iter().all(Option::is_none) {
        return;
    }
    let has_e2fsck = !oracle::skip_without(&[Need::E2fsck]);
    let (mut done, mut steps, mut asked) = (0, 0, 0);
    let mut events: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in first..first + n {
        let nr = usize::try_from(seed).unwrap() % KINDS.len();
        let Some(image) = &images[nr] else { continue };
        let fsck = has_e2fsck && seed.is_multiple_of(E2FSCK_EVERY);
        let text = program(seed, KINDS[nr].shape);
        let rows = schedule(&KINDS[nr], image, &text, seed, fsck).unwrap_or_else(|err| {
            unreachable!("{text}\n{err}\nEXT4_SEED={seed} on {}", KINDS[nr].profile)
        });
        steps += rows.len();
        for row in &rows {
            *events.entry(row.event).or_default() += 1;
        }
        done += 1;
        asked += u64::from(fsck);
    }
    println!(
        "{done} schedules, {steps} steps, {asked} judged by e2fsck, 0 unexplained: {events:?}"
    );
}

/// Runs one schedule and looks at what it left.
fn schedule(
    kind: &Kind,
    image: &Image,
    text: &str,
    seed: u64,
    fsck: bool,
) -> Result<Vec<Row>, String> {
    let script = Script::parse(text).map_err(|it| it.to_string())?;
    let device: Arc<dyn BlockDevice> = image.overlay();
    let fs = kind.open(Arc::clone(&device));
    let rows = run(&fs, &script, Order::Seeded(seed), &mut |row| {
        let (i_size, i_disksize) = (row.i_size.unwrap_or(0), row.i_disksize.unwrap_or(0));
        if i_disksize > i_size { Err(format!("D1: step {}", row.step)) } else { Ok(()) }
    })?;
    let told = |what: String| format!("{}\n{what}", table(&rows));
    let mut seen = BTreeMap::new();
    for (path, history) in histories(&script, &rows) {
        let bytes = contents(&fs, &path);
        let sizes = history.sizes();
        if !sizes.contains(&(bytes.len() as u64)) {
            let found = bytes.len();
            return Err(told(format!("{path}: size {found}, expected one of {sizes:?}")));
        }
        if let Some(what) = history.unexplained(&bytes, None) {
            return Err(told(format!("{path}: {what}")));
        }
        let broken = fs.check_incore(inode(&fs, &path)).unwrap();
        if !broken.is_empty() {
            return Err(told(format!("{path}: {broken:?}")));
        }
        seen.insert(path, bytes);
    }
    fs.sync().map_err(|it| told(it.to_string()))?;
    if fs.dirty_bytes() != 0 || fs.reserved_clusters() != 0 {
        let (dirty, reserved) = (fs.dirty_bytes(), fs.reserved_clusters());
        return Err(told(format!("after sync {dirty} bytes dirty, {reserved} clusters reserved")));
    }
    for (path, bytes) in &seen {
        let ino = inode(&fs, path);
        let now = fs.inode(fs.meta(), ino).unwrap();
        if now.i_disksize() != bytes.len() as u64 || fs.is_orphan(ino) {
            let (size, orphan) = (now.i_disksize(), fs.is_orphan(ino));
            return Err(told(format!("{path}: after sync i_disksize {size}, orphan {orphan}")));
        }
        let broken = fs.check_incore(ino).unwrap();
        let wrong = fs.verify_inode(fs.meta(), ino).unwrap();
        if !broken.is_empty() || !wrong.is_empty() {
            return Err(told(format!("{path}: after sync {broken:?} {wrong:?}")));
        }
    }
    fs.close().map_err(|it| told(it.to_string()))?;
    let violations = judge::judge(&*device);
    if !violations.is_empty() {
        return Err(told(format!("{violations:?}")));
    }
    if fsck {
        let found = oracle::e2fsck_device(&*device, FsckMode::Check).unwrap();
        if !found.is_clean() {
            return Err(told(format!("{found:?}")));
        }
    }
    let fs = kind.open(device);
    for (path, bytes) in &seen {
        if contents(&fs, path) != *bytes {
            return Err(told(format!("{path}: other bytes after close and open")));
        }
    }
    Ok(rows)
}

fn inode(fs: &Filesystem, path: &str) -> ext4_units::InodeNr {
    fs.resolve(fs.meta(), path.as_bytes(), Last::Stay).unwrap().ino
}

fn contents(fs: &Filesystem, path: &str) -> Vec<u8> {
    let inode = fs.inode(fs.meta(), inode(fs, path)).unwrap();
    let mut bytes = vec![0; usize::try_from(inode.i_size).unwrap()];
    let n = fs.read_at(fs.meta(), &inode, 0, &mut bytes).unwrap();
    assert_eq!(n, bytes.len());
    bytes
}
