//! Recovery that is cut off, and done again.

use super::forge::{BS, Forge, HOMES, SIZE, V3, scan};
use ext4_blockdev::{BlockDevice, Error, Limits, MemoryDevice, Result};
use std::{
    io,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// A device that remembers the order of writes and flushes, and can stop taking them.
#[derive(Debug)]
pub(super) struct Recorder {
    memory: MemoryDevice,
    log: Mutex<Vec<String>>,
    /// Writes and flushes still taken.
    left: AtomicUsize,
    /// How many bytes of the write that fails still reach the medium.
    torn: usize,
}

impl Recorder {
    pub(super) fn new(image: &[u8]) -> Self {
        Self::failing(image, usize::MAX, 0)
    }

    fn failing(image: &[u8], left: usize, torn: usize) -> Self {
        let memory = MemoryDevice::new(image.to_vec());
        Self { memory, log: Mutex::default(), left: AtomicUsize::new(left), torn }
    }

    pub(super) fn writes_and_flushes(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub(super) fn contents(&self) -> Vec<u8> {
        self.memory.contents()
    }

    fn is_spent(&self) -> bool {
        self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_err()
    }
}

impl BlockDevice for Recorder {
    fn len(&self) -> u64 {
        self.memory.len()
    }

    fn limits(&self) -> Limits {
        self.memory.limits()
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.memory.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        if self.is_spent() {
            self.memory.write_at(offset, &buf[..self.torn.min(buf.len())])?;
            let source = io::Error::other("cut off");
            return Err(Error::Write { offset, len: buf.len() as u64, source });
        }
        self.log.lock().unwrap().push(format!("{offset}+{}", buf.len()));
        self.memory.write_at(offset, buf)
    }

    fn flush(&self) -> Result<()> {
        if self.is_spent() {
            return Err(Error::Flush(io::Error::other("cut off")));
        }
        self.log.lock().unwrap().push("flush".into());
        self.memory.flush()
    }

    fn discard(&self, _offset: u64, _len: u64) -> Result<()> {
        Ok(())
    }
}

fn recover(device: &dyn BlockDevice, it: &Forge) -> ext4_jbd2::Result<()> {
    let log = it.at_home();
    let scan = scan(device, &log);
    scan.replay(device, &log, &mut |_, _| {})?;
    scan.reset(device, &log)?;
    Ok(())
}

fn story() -> Forge {
    let mut it = Forge::starting(V3, 1090, ext4_units::Tid(u32::MAX));
    it.log_blocks([1, 5, 9, 30, 31, 32]).commit();
    it.revoke(&[31]).log_blocks([9, 10, 40]).commit();
    it.log_blocks([1, 31, 77, 500]).commit();
    it.log_blocks([9]);
    it
}

#[test]
fn s144_cut_off_at_any_write_it_ends_the_same() {
    let it = story();
    let whole = Recorder::new(&it.image);
    recover(&whole, &it).unwrap();
    let events = whole.writes_and_flushes();
    let (n, expected) = (events.len(), whole.contents());
    assert!(n >= 8, "{events:?}");
    for left in 0..n {
        for torn in [0, 300, 512, 1024, 1500] {
            let cut = Recorder::failing(&it.image, left, torn);
            recover(&cut, &it).unwrap_err();
            let after = cut.contents();
            let jsb = HOMES as usize * BS;
            // The superblock's one sector is written whole or not at all.
            if left + 2 == n && (1..512).contains(&torn) {
                continue;
            }
            assert!(after[jsb + BS..] == it.image[jsb + BS..], "the log was written");
            let again = Recorder::new(&after);
            recover(&again, &it).unwrap();
            assert!(again.contents() == expected, "cut at {left} of {events:?}, torn at {torn}");
        }
    }
}

#[test]
fn the_log_is_reset_after_all_is_home_and_durable() {
    let it = story();
    let device = Recorder::new(&it.image);
    recover(&device, &it).unwrap();
    let events = device.writes_and_flushes();
    let jsb = format!("{}+512", HOMES * u64::from(SIZE.bytes()));
    assert_eq!(events[events.len() - 3..], ["flush".to_owned(), jsb, "flush".to_owned()]);
}

#[test]
fn s144_done_twice_it_does_nothing_the_second_time() {
    let it = story();
    let first = Recorder::new(&it.image);
    recover(&first, &it).unwrap();
    let second = Recorder::new(&first.contents());
    recover(&second, &it).unwrap();
    assert!(second.writes_and_flushes().is_empty());
}
