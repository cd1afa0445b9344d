//! What the handles of one small direct write cost, on a device in memory: a hole of one block gets
//! a block, and the block is marked written. Nothing but processor time is measured.
//!
//!     cargo bench -p ext4-fs --bench handles -- [WRITES]
//!
//! Counted instructions, which repeat from run to run:
//! `valgrind --tool=callgrind --toggle-collect='*timed*' target/release/deps/handles-* 5000`.

#![expect(clippy::print_stdout, reason = "figures are what a bench is for")]
#![expect(clippy::cast_precision_loss, reason = "of seconds, for people to read")]

use anyhow::{Context as _, Result, ensure};
use ext4_blockdev::MemoryDevice;
use ext4_fs::{Clock, Filesystem, MapState, NewFile, RecoverOptions, recover};
use ext4_testkit::{oracle, rng::Rng};
use ext4_units::{InodeNr, LogicalBlock};
use std::{
    env,
    fs::{self, File},
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

/// Blocks of the file that is written to.
const BLOCKS: u32 = (256 << 20) / 4096;

fn main() -> Result<()> {
    let n = env::args().skip(1).find_map(|it| it.parse().ok()).unwrap_or(40_000);
    if oracle::skip_without(&[oracle::Need::Mke2fs]) {
        return Ok(());
    }
    let scratch = tempfile::tempdir()?;
    let image = scratch.path().join("disk.img");
    File::create(&image)?.set_len(400 << 20)?;
    oracle::mke2fs(&image, ["-t", "ext4", "-b", "4096"])?;
    let device = Arc::new(MemoryDevice::new(fs::read(&image)?));
    let options = RecoverOptions::new(Clock::fixed(Duration::from_secs(1_700_000_000)));
    let fs = recover(device, &options)?.fs;
    let ino = fs.create(InodeNr::ROOT, b"sparse", &NewFile::of_root(0o644))?;
    fs.truncate(ino, u64::from(BLOCKS) * 4096)?;

    let mut rng = Rng::new(1);
    let mut places: Vec<u32> = (0..BLOCKS).collect();
    for at in (1..places.len()).rev() {
        places.swap(at, rng.below(at + 1));
    }
    places.truncate(n);
    let places: Vec<LogicalBlock> = places.into_iter().map(LogicalBlock).collect();

    timed("allocate one block in a hole", &places, |lblk| allocate(&fs, ino, lblk))?;
    timed("look it up", &places, |lblk| look_up(&fs, ino, lblk))?;
    timed("mark it written", &places, |lblk| Ok(black_box(fs.convert_written(ino, lblk, 1)?)))?;
    timed("set the times", &places, |_| touch(&fs, ino))?;
    let begin = Instant::now();
    fs.commit()?;
    println!("commit: {:?}", begin.elapsed());
    fs.close()?;
    Ok(())
}

fn timed<T>(
    what: &str,
    places: &[LogicalBlock],
    mut each: impl FnMut(LogicalBlock) -> Result<T>,
) -> Result<()> {
    let begin = processor_time()?;
    for &lblk in places {
        black_box(each(lblk)?);
    }
    let micros = processor_time()?.saturating_sub(begin).as_secs_f64() * 1e6;
    println!("{what}: {:.2} us", micros / places.len() as f64);
    Ok(())
}

/// What this thread has used so far.
fn processor_time() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = stat.split(' ').next().context("a number")?.parse()?;
    Ok(Duration::from_nanos(nanos))
}

/// What a direct write does before its data (`ext4_iomap_alloc`).
fn allocate(fs: &Filesystem, ino: InodeNr, lblk: LogicalBlock) -> Result<()> {
    let inode = fs.inode(fs.meta(), ino)?;
    ensure!(fs.lookup(fs.meta(), &inode, lblk)?.state == MapState::Hole, "no hole at {lblk}");
    let mut h = fs.start(fs.allocate_credits(&inode, 1)?)?;
    let mut inode = h.inode(ino)?;
    h.allocate(&mut inode, lblk, 1, true)?.blocks().context("no block")?;
    h.put_inode(&inode)?;
    h.stop()?;
    Ok(())
}

fn look_up(fs: &Filesystem, ino: InodeNr, lblk: LogicalBlock) -> Result<()> {
    let inode = fs.inode(fs.meta(), ino)?;
    ensure!(fs.lookup(fs.meta(), &inode, lblk)?.state != MapState::Hole, "a hole at {lblk}");
    Ok(())
}

fn touch(fs: &Filesystem, ino: InodeNr) -> Result<()> {
    let mut h = fs.start(1)?;
    let mut inode = h.inode(ino)?;
    inode.modified(h.now());
    h.put_inode(&inode)?;
    h.stop()?;
    Ok(())
}
