//! Many writes in flight.

use crate::{folders, image, pattern, users::Loop};
use ext4_blockdev::{AlignedBuf, BlockDevice, Completion, FileDevice, OpenMode, Write};
use std::{collections::BTreeSet, path::Path};

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

/// A host caches pages of 4 KiB and more, and a filesystem of 1 KiB blocks has data and metadata
/// in one page. A page that is dirtied while its other half is being written directly would later
/// be written back with the old half.
#[test]
fn buffered_writes_beside_direct_ones_in_flight_lose_nothing() {
    for folder in folders() {
        let path = image(&folder, "disk.img", 1 << 20);
        mix_writes(&path);
        std::fs::write(&path, pattern(1 << 20)).unwrap();
        match Loop::attach(&path, &[]) {
            Some(device) => mix_writes(&device.0),
            None => println!("skipped: cannot attach a loop device (needs root and losetup)"),
        }
    }
}

/// Writes data through the queue and metadata beside it, and compares what is cached and what is
/// on the medium with a model.
fn mix_writes(path: &Path) {
    const BLOCK: usize = 1024;
    let device = FileDevice::open(path, OpenMode::Exclusive).unwrap();
    let mut model = pattern(1 << 20);
    let mut queue = device.queue(16);
    let mut random = 88_172_645_463_325_252_u64;
    let mut next = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut busy = BTreeSet::new();
    for round in 0..10_000_u32 {
        let byte = u8::try_from(round % 251).unwrap();
        // Data in even blocks, metadata in odd ones.
        let data = next(512) * 2;
        if busy.insert(data) {
            let buf = AlignedBuf::copy_of(&[byte; BLOCK]);
            let at = usize::try_from(data).unwrap() * BLOCK;
            model[at..at + BLOCK].fill(byte);
            queue.submit(Write { offset: at as u64, buf, tag: data }).unwrap();
        }
        let at = usize::try_from(next(512) * 2 + 1).unwrap() * BLOCK;
        let (from, len) = match next(3) {
            0 => (at, BLOCK),
            1 => (at + 100, 700),
            _ => (at + 512, 512),
        };
        device.write_at(from as u64, &vec![!byte; len]).unwrap();
        model[from..from + len].fill(!byte);
        while busy.len() >= 16 {
            let done = queue.wait().unwrap();
            done.result.unwrap();
            busy.remove(&done.tag);
        }
    }
    while let Some(done) = queue.wait() {
        done.result.unwrap();
    }
    drop(queue);
    let differs = |bytes: &[u8]| {
        let blocks = bytes.chunks(BLOCK).zip(model.chunks(BLOCK)).enumerate();
        blocks.filter(|(_, (a, b))| a != b).map(|(nr, _)| nr).collect::<Vec<_>>()
    };
    let mut cached = vec![0; 1 << 20];
    device.read_at(0, &mut cached).unwrap();
    assert_eq!(differs(&cached), [0; 0], "as cached");
    device.flush().unwrap();
    drop(device);
    // What is on the medium, not in the cache.
    let file = std::fs::File::open(path).unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    assert_eq!(differs(&std::fs::read(path).unwrap()), [0; 0], "on the medium");
}
