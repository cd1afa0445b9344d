//! Many writes in flight.

use crate::{folders, image, pattern};
use ext4_blockdev::{AlignedBuf, BlockDevice, Completion, FileDevice, OpenMode, Write};
use std::collections::BTreeSet;

#[test]
fn every_write_completes_once_and_lands_where_it_should() {
    for folder in folders() {
        let path = image(&folder, "disk.img", 4 << 20);
        let device = FileDevice::open(&path, OpenMode::Exclusive).unwrap();
        let mut model = pattern(4 << 20);
        let mut queue = device.queue(16);
        let mut spare = Vec::new();
        let mut tags = BTreeSet::new();
        let mut take = |done: Completion| {
            done.result.unwrap();
            assert!(tags.insert(done.tag));
            done.buf
        };
        // 937 and 1024 have no common factor, so each block is written once.
        for nr in 0..1024_u64 {
            let blk = nr * 937 % 1024;
            let mut buf = spare.pop().unwrap_or_else(|| AlignedBuf::zeroed(4096));
            let at = usize::try_from(blk * 4096).unwrap();
            buf.fill(u8::try_from(nr % 255).unwrap());
            model[at..at + 4096].copy_from_slice(&buf);
            queue.submit(Write { offset: blk * 4096, buf, tag: nr }).unwrap();
            if nr % 3 == 2 {
                spare.push(take(queue.wait().unwrap()));
            }
        }
        while let Some(done) = queue.wait() {
            take(done);
        }
        drop(queue);
        assert_eq!(tags.len(), 1024);
        device.flush().unwrap();
        drop(device);
        assert!(std::fs::read(&path).unwrap() == model);
    }
}

#[test]
fn what_does_not_fit_the_sectors_goes_through_the_page_cache() {
    for folder in folders() {
        let path = image(&folder, "disk.img", 10_100);
        let device = FileDevice::open(&path, OpenMode::Exclusive).unwrap();
        let mut model = pattern(10_100);
        let mut queue = device.queue(2);
        for (at, len) in [(100, 512), (1024, 300), (10_000, 100), (4096, 4096)] {
            model[at..at + len].fill(0xAA);
            let buf = AlignedBuf::copy_of(&vec![0xAA; len]);
            queue.submit(Write { offset: at as u64, buf, tag: 0 }).unwrap();
        }
        while let Some(done) = queue.wait() {
            done.result.unwrap();
        }
        drop(queue);
        let mut all = vec![0; 10_100];
        device.read_at(0, &mut all).unwrap();
        assert!(all == model);
    }
}

#[test]
fn a_refused_write_comes_back_with_its_buffer() {
    let folder = &folders()[0];
    let path = image(folder, "disk.img", 8192);
    let device = FileDevice::open(&path, OpenMode::Exclusive).unwrap();
    let mut queue = device.queue(4);
    queue.submit(Write { offset: 8192, buf: AlignedBuf::zeroed(4096), tag: 9 }).unwrap();
    let done = queue.wait().unwrap();
    assert_eq!((done.tag, done.buf.len()), (9, 4096));
    assert!(matches!(done.result, Err(ext4_blockdev::Error::OutOfRange { .. })));
    assert!(queue.wait().is_none());
}

#[test]
fn dropping_a_queue_waits_for_what_is_in_flight() {
    for folder in folders() {
        let path = image(&folder, "disk.img", 1 << 20);
        let device = FileDevice::open(&path, OpenMode::Exclusive).unwrap();
        let mut queue = device.queue(8);
        for nr in 0..64 {
            let buf = AlignedBuf::copy_of(&[0x55; 16384]);
            queue.submit(Write { offset: nr * 16384, buf, tag: nr }).unwrap();
        }
        drop(queue);
        assert!(std::fs::read(&path).unwrap() == vec![0x55; 1 << 20]);
    }
}
