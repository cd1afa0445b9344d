//! The device fails: nothing more is written, nothing acknowledged is lost, reads go on.

use crate::{
    reference,
    rig::{HOMES, Owner, Shape, Workload, contents, open, options},
};
use ext4_blockdev::{Counts, Failure, Fault, FaultDevice, MemoryDevice, Op};
use ext4_jbd2::{Error, Journal, MetaRead, Options, recovery};
use ext4_units::{BlockNr, BlockRange};
use std::sync::Arc;

struct Run {
    memory: Arc<MemoryDevice>,
    device: Arc<FaultDevice>,
    journal: Journal,
    work: Workload,
    res: Result<(), Error>,
}

fn run(shape: &Shape, faults: &[Fault]) -> Run {
    let memory = Arc::new(MemoryDevice::new(shape.image()));
    let device = Arc::new(FaultDevice::new(memory.clone(), faults));
    let options = Options { committed_bytes: 16 << 10, ..options() };
    let journal = open(device.clone(), shape, options).unwrap();
    let mut work = Workload::new(11);
    let mut all = || {
        for nr in 0..40 {
            work.step(&journal, shape.size, 5, |_| {})?;
            if nr % 13 == 12 {
                journal.checkpoint()?;
                work.acknowledged = work.states.len() - 1;
            }
        }
        journal.checkpoint()
    };
    let res = all();
    Run { memory, device, journal, work, res }
}

fn recovered(memory: &MemoryDevice, shape: &Shape) -> Vec<u8> {
    let mut bytes = memory.contents();
    let (_, log) = reference::scan(&bytes, shape);
    for (blk, data) in reference::homes(&log) {
        let at = usize::try_from(blk.byte(shape.size)).unwrap();
        bytes[at..at + data.len()].copy_from_slice(&data);
    }
    bytes
}

#[track_caller]
fn check(op: Op, failure: Failure, count: impl Fn(Counts) -> u64) {
    let shape = Shape::new();
    let good = run(&shape, &[]);
    good.res.unwrap();
    let n = count(good.device.counts());
    assert!(n > 30, "{n}");
    for nth in 1..=n {
        let run = run(&shape, &[Fault::once(op, nth).with(failure)]);
        let err = run.res.unwrap_err();
        assert!(
            !matches!(err, Error::Aborted { .. }),
            "{op:?} {nth}: the first error is the cause"
        );

        if run.journal.start(1).is_ok() {
            // It was file data that failed; the journal learns of it with its first own write.
            assert!(matches!(run.journal.sync_data(), Err(Error::Flush(_))));
        }
        let before = run.device.counts();
        assert!(before.refused <= 2, "only s_errno may be tried: {before:?}");
        assert!(matches!(run.journal.start(1), Err(Error::Aborted { .. })));
        assert!(matches!(run.journal.commit(), Err(Error::Aborted { .. })));
        assert!(matches!(run.journal.checkpoint(), Err(Error::Aborted { .. })));
        assert!(matches!(run.journal.sync_data(), Err(Error::Aborted { .. })));
        let through = run.journal.write_through(BlockNr(95), vec![1; 1024]);
        assert!(matches!(through, Err(Error::Aborted { .. })));
        let after = run.device.counts();
        assert_eq!(
            (before.writes, before.flushes, before.refused),
            (after.writes, after.flushes, after.refused)
        );

        // What handles did stays readable, and the device recovers to a state that has all that
        // was acknowledged.
        for (&blk, &owner) in run.work.last() {
            if let Owner::Meta(stamp) = owner {
                let data = run.journal.read(BlockNr(blk)).unwrap();
                assert!(data[..] == contents(blk, stamp, shape.size)[..]);
            }
        }
        run.work.check(&recovered(&run.memory, &shape), shape.size, run.work.acknowledged);
    }
}

#[test]
fn a_failed_write_aborts_and_loses_nothing() {
    check(Op::Write, Failure::Error(std::io::ErrorKind::Other), |it| it.writes);
}

#[test]
fn so_does_a_torn_write() {
    check(Op::Write, Failure::Torn { sectors: 1 }, |it| it.writes);
}

#[test]
fn so_does_a_failed_flush() {
    check(Op::Flush, Failure::Error(std::io::ErrorKind::Other), |it| it.flushes);
}

/// A device that forgets about its failures, as a loop device over a full disk does.
#[derive(Debug)]
struct Forgiving(MemoryDevice, std::sync::atomic::AtomicU32);

impl ext4_blockdev::BlockDevice for Forgiving {
    fn len(&self) -> u64 {
        self.0.len()
    }
    fn limits(&self) -> ext4_blockdev::Limits {
        self.0.limits()
    }
    fn is_read_only(&self) -> bool {
        false
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> ext4_blockdev::Result<()> {
        self.0.read_at(offset, buf)
    }
    fn write_at(&self, offset: u64, buf: &[u8]) -> ext4_blockdev::Result<()> {
        use std::sync::atomic::Ordering::Relaxed;
        if self.1.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)) == Ok(1) {
            return Err(ext4_blockdev::Error::Poisoned);
        }
        self.0.write_at(offset, buf)
    }
    fn flush(&self) -> ext4_blockdev::Result<()> {
        Ok(())
    }
    fn discard(&self, _: u64, _: u64) -> ext4_blockdev::Result<()> {
        Ok(())
    }
}

#[test]
fn an_abort_is_recorded_when_the_device_still_takes_it() {
    let shape = Shape::new();
    // The second write is the first commit's log blocks.
    let dev = Arc::new(Forgiving(MemoryDevice::new(shape.image()), 2.into()));
    let journal = open(dev.clone(), &shape, options()).unwrap();
    let mut handle = journal.start(1).unwrap();
    handle.write(BlockNr(1), vec![1; 1024]).unwrap();
    handle.stop().unwrap();
    assert!(matches!(journal.commit(), Err(Error::Io { .. })));
    let (sb, log) = reference::scan(&dev.0.contents(), &shape);
    assert_eq!((sb.errno, log.len()), (-5, 0));

    // Whoever recovers the log is told, and clears it.
    let about = recovery::Options {
        block_size: shape.size,
        home: BlockRange::new(BlockNr(0), HOMES),
        inode_size: 256,
        metadata_csum: false,
    };
    let found = recovery::scan(&dev.0, &shape.log(), &about).unwrap();
    assert_eq!((found.superblock.errno, found.transactions.len()), (-5, 0));
    found.reset(&dev.0, &shape.log()).unwrap();
    assert_eq!(reference::scan(&dev.0.contents(), &shape).0.errno, 0);
}
