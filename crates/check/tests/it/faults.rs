//! A device with a block that cannot be read: what it does not give is never taken for damage.

use crate::kit::{Except, NOW, inode, with_inode};
use ext4_blockdev::{BlockDevice, Fault, FaultDevice, Limits, MemoryDevice, Op, Overlay};
use ext4_check::{Error, Finding, Options, Outcome, Result, check};
use ext4_testkit::image::{Image, Recipe};
use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex},
};

/// Bytes of the blocks that are read, or not.
const BLOCK: u64 = 1024;

/// A device with a bad block.
#[derive(Debug)]
struct Device {
    inner: MemoryDevice,
    bad: Option<u64>,
    /// Blocks that were read.
    seen: Mutex<BTreeSet<u64>>,
}

impl BlockDevice for Device {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> ext4_blockdev::Result<()> {
        let blocks = offset / BLOCK..(offset + buf.len() as u64).div_ceil(BLOCK);
        if self.bad.is_some_and(|it| blocks.contains(&it)) {
            let source = io::Error::other("a bad block");
            return Err(ext4_blockdev::Error::Read { offset, len: buf.len() as u64, source });
        }
        self.seen.lock().unwrap().extend(blocks);
        self.inner.read_at(offset, buf)
    }

    fn write_at(&self, _offset: u64, _buf: &[u8]) -> ext4_blockdev::Result<()> {
        Err(ext4_blockdev::Error::Poisoned)
    }

    fn flush(&self) -> ext4_blockdev::Result<()> {
        Ok(())
    }

    fn discard(&self, _offset: u64, _len: u64) -> ext4_blockdev::Result<()> {
        Ok(())
    }
}

/// A check of what is on a device: its result, and what it found, but for the paths, which are a help.
fn run(device: Arc<dyn BlockDevice>) -> (Result<()>, Vec<Finding>) {
    let overlay = Arc::new(Overlay::new(device));
    let mut outcome = Outcome::default();
    let result = check(&overlay, &Options::new(NOW), &mut Except(&[]), &mut outcome);
    let found = outcome.findings.iter().map(|it| Finding { path: None, ..it.clone() }).collect();
    (result, found)
}

/// The same on a device with this bad block, and the blocks that were read.
fn run_with(image: &Image, bad: Option<u64>) -> (Result<()>, Vec<Finding>, BTreeSet<u64>) {
    let inner = MemoryDevice::new(image.bytes().to_vec());
    let device = Arc::new(Device { inner, bad, seen: Mutex::default() });
    let (result, found) = run(Arc::clone(&device) as _);
    let seen = device.seen.lock().unwrap().clone();
    (result, found, seen)
}

/// Makes each block bad that is read, in turn: the check ends with the device's error, and has told nothing
/// that it does not tell of the whole image.
#[track_caller]
fn each_block_is_bad(image: &Image) {
    let (result, expected, seen) = run_with(image, None);
    result.unwrap();
    for bad in seen {
        let (result, found, _) = run_with(image, Some(bad));
        assert!(matches!(result, Err(Error::Device(_))), "block {bad}: {result:?}");
        let more: Vec<_> = found.iter().filter(|it| !expected.contains(it)).collect();
        assert!(more.is_empty(), "block {bad}: {more:?}");
    }
}

/// A filesystem with a directory of several blocks; without contents, which may be read with them.
fn tree() -> Recipe {
    let recipe = Recipe::new("ext4-1k").mib(8).mkdir("/d");
    (0..60).fold(recipe, |it, nr| it.write(&format!("/d/a-name-of-some-length-{nr}"), []))
}

#[test]
fn a_block_that_cannot_be_read_is_not_damaged() {
    let Some(image) = tree().image() else { return };
    each_block_is_bad(&image);
}

#[test]
fn a_repair_of_what_cannot_be_read_is_none() {
    let Some(image) = tree().image() else { return };
    // The directory is of no kind any more.
    each_block_is_bad(&with_inode(&image, 12, |inode| inode[..2].fill(0)));
}

/// A map that was read once may not be read again: what the device keeps back then is not left out.
#[test]
fn a_device_that_goes_away_ends_a_check_at_any_read() {
    let recipe = Recipe::new("ext3-1k").mib(8);
    let recipe = recipe.write("/file", vec![7; 30 << 10]).write("/other", vec![8; 30 << 10]);
    let Some(image) = recipe.image() else { return };
    let map = inode(&image, 12)[0x28..0x64].to_vec();
    let shared = with_inode(&image, 13, |it| it[0x28..0x64].copy_from_slice(&map));
    let device = |faults: &[Fault]| {
        let inner = Arc::new(MemoryDevice::new(shared.bytes().to_vec()));
        Arc::new(FaultDevice::new(inner, faults))
    };
    let counted = device(&[]);
    let (result, expected) = run(Arc::clone(&counted) as _);
    result.unwrap();
    assert!(expected.iter().any(|it| it.problem.id == "shared-blocks"), "{expected:#?}");
    let reads = counted.counts().reads;
    for nth in 1..=reads {
        let (result, found) = run(device(&[Fault::from(Op::Read, nth)]));
        // Paths are looked for after the rounds.
        let is_over = result.is_ok() && found == expected;
        assert!(is_over || matches!(result, Err(Error::Device(_))), "{nth} of {reads}: {result:?}");
        assert!(found.iter().all(|it| expected.contains(it)), "{nth} of {reads}");
    }
}
