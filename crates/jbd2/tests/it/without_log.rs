//! Handles of a filesystem that has no journal.

use ext4_blockdev::{BlockDevice, MemoryDevice};
use ext4_jbd2::{Error, Journal, MetaRead};
use ext4_units::{BlockNr, BlockRange, BlockSize};
use std::sync::Arc;

const SIZE: BlockSize = BlockSize::MIN;

fn journal() -> (Arc<MemoryDevice>, Journal) {
    let dev = Arc::new(MemoryDevice::new(vec![0; 64 * SIZE.len()]));
    (Arc::clone(&dev), Journal::without_log(dev, SIZE))
}

fn first_byte(dev: &MemoryDevice, blk: u64) -> u8 {
    let mut byte = [0];
    dev.read_at(BlockNr(blk).byte(SIZE), &mut byte).unwrap();
    byte[0]
}

#[test]
fn a_dropped_handle_changes_nothing() {
    let (dev, journal) = journal();
    let mut handle = journal.start(2).unwrap();
    handle.write(BlockNr(3), vec![7; SIZE.len()]).unwrap();
    assert_eq!(handle.read(BlockNr(3)).unwrap()[0], 7);
    drop(handle);
    assert_eq!(journal.read(BlockNr(3)).unwrap()[0], 0);
    assert_eq!(first_byte(&dev, 3), 0);
}

#[test]
fn a_stopped_handle_is_seen_by_readers_and_is_on_the_device() {
    let (dev, journal) = journal();
    let mut handle = journal.start(2).unwrap();
    handle.write(BlockNr(3), vec![7; SIZE.len()]).unwrap();
    handle.modify(BlockNr(3), |bytes| bytes[1] = 8).unwrap();
    handle.modify(BlockNr(4), |bytes| bytes[0] = 9).unwrap();
    assert_eq!(handle.credits_left(), 0);
    let run = handle.read_run(BlockRange::new(BlockNr(2), 3)).unwrap();
    assert_eq!(run.iter().map(|b| b[0]).collect::<Vec<_>>(), [0, 7, 9]);
    assert_eq!(first_byte(&dev, 3), 0, "nothing is written before stop");
    handle.stop().unwrap();
    assert_eq!(journal.read(BlockNr(3)).unwrap()[..2], [7, 8]);
    assert_eq!((first_byte(&dev, 3), first_byte(&dev, 4)), (7, 9));
}

#[test]
fn what_no_block_or_device_can_be_is_an_error() {
    let (_, journal) = journal();
    let mut handle = journal.start(1).unwrap();
    assert!(matches!(handle.write(BlockNr(1), vec![0; 5]), Err(Error::BlockLen { found: 5, .. })));
    assert!(matches!(handle.read(BlockNr(64)), Err(Error::Io { .. })));
    assert!(matches!(handle.read(BlockNr(u64::MAX)), Err(Error::OutOfRange { .. })));
    assert!(handle.read_run(BlockRange::new(BlockNr(0), u64::MAX)).is_err());
    assert!(matches!(journal.start(1), Err(Error::HandleOpen)));
}

#[test]
fn without_a_log_a_freed_block_is_free_at_once() {
    let (_, journal) = journal();
    let mut handle = journal.start(1).unwrap();
    handle.free(BlockRange::new(BlockNr(5), 2));
    handle.stop().unwrap();
    assert!(!journal.is_pending_free(BlockRange::new(BlockNr(5), 1)));
}
