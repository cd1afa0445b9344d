//! A device with a block that cannot be read: what it does not give is never taken for damage.

use crate::kit::{Except, NOW, inode, with_inode};
use ext4_blockdev::{BlockDevice, Limits, MemoryDevice, Overlay};
use ext4_check::{Error, Finding, Options, Outcome, Result, check};
use ext4_testkit::image::{Image, Recipe};
use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex},
};

/// Bytes of the blocks that are read, or not.
const BLOCK: u64 = 1024;

/// What a device does not give.
#[derive(Clone, Copy, Debug)]
enum Bad {
    Nothing,
    Block(u64),
    /// What is read after so many reads.
    After(usize),
}

/// A device that does not give everything.
#[derive(Debug)]
struct Device {
    inner: MemoryDevice,
    bad: Bad,
    /// Blocks that were read, and in how many reads.
    seen: Mutex<(BTreeSet<u64>, usize)>,
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
        let mut seen = self.seen.lock().unwrap();
        let is_bad = match self.bad {
            Bad::Nothing => false,
            Bad::Block(bad) => blocks.contains(&bad),
            Bad::After(reads) => seen.1 >= reads,
        };
        if is_bad {
            let source = io::Error::other("a bad block");
            return Err(ext4_blockdev::Error::Read { offset, len: buf.len() as u64, source });
        }
        seen.0.extend(blocks);
        seen.1 += 1;
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

/// A check of an image on such a device: its result, what it found, but for the paths, which are a help, and
/// what it read.
fn run(image: &Image, bad: Bad) -> (Result<()>, Vec<Finding>, (BTreeSet<u64>, usize)) {
    let inner = MemoryDevice::new(image.bytes().to_vec());
    let device = Arc::new(Device { inner, bad, seen: Mutex::default() });
    let overlay = Arc::new(Overlay::new(Arc::clone(&device) as Arc<dyn BlockDevice>));
    let mut outcome = Outcome::default();
    let result = check(&overlay, &Options::new(NOW), &mut Except(&[]), &mut outcome);
    let found = outcome.findings.iter().map(|it| Finding { path: None, ..it.clone() }).collect();
    let seen = device.seen.lock().unwrap().clone();
    (result, found, seen)
}

/// Makes each block bad that is read, in turn: the check ends with the device's error, and has told nothing
/// that it does not tell of the whole image.
#[track_caller]
fn each_block_is_bad(image: &Image) {
    let (result, expected, (seen, _)) = run(image, Bad::Nothing);
    result.unwrap();
    for bad in seen {
        let (result, found, _) = run(image, Bad::Block(bad));
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
    let (result, expected, (_, reads)) = run(&shared, Bad::Nothing);
    result.unwrap();
    assert!(expected.iter().any(|it| it.problem.id == "shared-blocks"), "{expected:#?}");
    for bad in 0..reads {
        let (result, found, (_, n)) = run(&shared, Bad::After(bad));
        // Paths are looked for after the rounds.
        let is_over = result.is_ok() && found == expected;
        assert!(is_over || matches!(result, Err(Error::Device(_))), "{bad}, {n}: {result:?}");
        assert!(found.iter().all(|it| expected.contains(it)), "{bad} of {reads}");
    }
}
