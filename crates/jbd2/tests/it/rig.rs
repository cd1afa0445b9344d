//! A small device with a log in it, a recorder around it, and a workload that knows its own states.

use crate::reference;
use ext4_blockdev::{BlockDevice, Event, MemoryDevice, Recorder};
use ext4_jbd2::{Clock, Error, Journal, Log, Options};
use ext4_ondisk::jbd2::{JournalCompat, JournalIncompat, JournalSuperblock, MIN_LOG_BLOCKS};
use ext4_testkit::{
    rng::Rng,
    trace::{Step, Trace},
};
use ext4_units::{BlockNr, BlockRange, BlockSize, Tid};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// The contents of a block.
pub(crate) type Version = Vec<u8>;

/// Blocks at the start of the device that are not the log's.
pub(crate) const HOMES: u64 = 96;

/// What the log on the device looks like.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) size: BlockSize,
    pub(crate) compat: JournalCompat,
    pub(crate) incompat: JournalIncompat,
    pub(crate) log_len: u32,
    /// `s_sequence` of the empty log.
    pub(crate) sequence: Tid,
    /// `s_head` of the empty log.
    pub(crate) head: u32,
}

impl Shape {
    /// The smallest log with v3 checksums.
    pub(crate) fn new() -> Self {
        Self {
            size: BlockSize::MIN,
            compat: JournalCompat::empty(),
            incompat: JournalIncompat::CSUM_V3 | JournalIncompat::BIT64,
            log_len: MIN_LOG_BLOCKS,
            sequence: Tid(41),
            head: 0,
        }
    }

    /// In two pieces, to see that nobody takes the log for one.
    pub(crate) fn log(&self) -> Log {
        let half = u64::from(self.log_len / 2);
        Log::internal(vec![
            BlockRange::new(BlockNr(HOMES), half),
            BlockRange::new(BlockNr(HOMES + half + 3), u64::from(self.log_len) - half),
        ])
    }

    pub(crate) fn superblock(&self, first: u32) -> JournalSuperblock {
        let features = (self.compat, self.incompat);
        let mut sb =
            JournalSuperblock::new(self.size, self.log_len, first, features, [7; 16], 0).unwrap();
        sb.sequence = self.sequence;
        sb.head = self.head;
        sb
    }

    /// A device with an empty log.
    pub(crate) fn image(&self) -> Vec<u8> {
        let n = HOMES + u64::from(self.log_len) + 8;
        let mut bytes = vec![0; usize::try_from(n).unwrap() * self.size.len()];
        let start = usize::try_from(HOMES).unwrap() * self.size.len();
        bytes[start..start + 1024].copy_from_slice(&self.superblock(1).encode());
        bytes
    }

    /// Whether a byte of the device belongs to the homes.
    pub(crate) fn is_home(&self, offset: u64) -> bool {
        offset < BlockNr(HOMES).byte(self.size)
    }

    /// Where the journal superblock is.
    pub(crate) fn superblock_byte(&self) -> u64 {
        BlockNr(HOMES).byte(self.size)
    }
}

/// A recorded device and its journal.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) shape: Shape,
    pub(crate) memory: Arc<MemoryDevice>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) journal: Journal,
}

impl Rig {
    pub(crate) fn new(shape: Shape, options: Options) -> Self {
        let memory = Arc::new(MemoryDevice::new(shape.image()));
        let recorder = Arc::new(Recorder::new(memory.clone()));
        let journal = open(recorder.clone(), &shape, options).unwrap();
        Self { shape, memory, recorder, journal }
    }

    /// A handle that gives one block one byte.
    pub(crate) fn put(&self, blk: u64, byte: u8) -> Tid {
        let mut handle = self.journal.start(1).unwrap();
        handle.write(BlockNr(blk), vec![byte; self.shape.size.len()]).unwrap();
        handle.stop().unwrap()
    }

    /// The complete transactions that the device has now.
    pub(crate) fn logged(&self) -> Vec<reference::Logged> {
        reference::scan(&self.memory.contents(), &self.shape).1
    }
}

pub(crate) fn options() -> Options {
    Options::new(Clock::fixed(Duration::from_secs(1_000_000)))
}

pub(crate) fn open(
    dev: Arc<dyn BlockDevice>,
    shape: &Shape,
    options: Options,
) -> Result<Journal, Error> {
    Journal::open(dev, shape.size, shape.log(), options)
}

/// The recorder's log as the crash explorer wants it.
pub(crate) fn trace_of(events: &[Event]) -> Trace {
    let step = |event: &Event| match event {
        Event::Write { issued, offset, data, .. } => {
            Step::Write { issued: *issued, offset: *offset, data: Arc::clone(data) }
        }
        Event::Flush { covers } => Step::Flush { covers: *covers },
        Event::Mark { text, .. } => Step::Mark(text.as_str().into()),
        other => panic!("{other:?} is none of the journal's business"),
    };
    Trace { steps: events.iter().map(step).collect() }
}

/// What a state of the metadata is: the first 8 bytes of each block that was ever written.
pub(crate) type Stamps = BTreeMap<u64, u64>;

/// Random handles whose every state is known.
#[derive(Debug)]
pub(crate) struct Workload {
    rng: Rng,
    /// After no handle, after the first, ...
    pub(crate) states: Vec<Stamps>,
    /// How many handles are acknowledged as durable.
    pub(crate) acknowledged: usize,
}

impl Workload {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed), states: vec![Stamps::new()], acknowledged: 0 }
    }

    /// A workload that goes on from this state.
    pub(crate) fn from(state: Stamps) -> Self {
        Self { rng: Rng::new(99), states: vec![state], acknowledged: 0 }
    }

    /// One handle over up to `max` blocks, and sometimes a commit, whose end `on_ack` is told.
    pub(crate) fn step(
        &mut self,
        journal: &Journal,
        size: BlockSize,
        max: usize,
        on_ack: impl FnOnce(usize),
    ) -> Result<(), Error> {
        let stamp = self.states.len() as u64;
        let mut state = self.states.last().unwrap().clone();
        let n = 1 + self.rng.below(max);
        let mut handle = journal.start(n)?;
        for _ in 0..n {
            let blk = self.rng.below(usize::try_from(HOMES).unwrap()) as u64;
            handle.write(BlockNr(blk), contents(blk, stamp, size))?;
            state.insert(blk, stamp);
        }
        self.states.push(state);
        handle.stop()?;
        if self.rng.percent(40) {
            journal.commit()?;
            self.acknowledged = self.states.len() - 1;
            on_ack(self.acknowledged);
        }
        Ok(())
    }

    /// Which state the device is in, given the marks of acknowledgement.
    #[track_caller]
    pub(crate) fn check(&self, device: &[u8], size: BlockSize, acknowledged: usize) -> usize {
        let found = stamps(device, size);
        let state = self.states.iter().rposition(|state| *state == found);
        let Some(state) = state else { panic!("between two handles: {found:?}") };
        assert!(state >= acknowledged, "handle {acknowledged} was durable, found state {state}");
        state
    }
}

/// A block's contents: the handle's stamp, then bytes that show a mixture. Every third stamp begins
/// with the journal's magic, as file contents may.
pub(crate) fn contents(blk: u64, stamp: u64, size: BlockSize) -> Version {
    let fill = u8::try_from((blk * 31 + stamp * 7) % 251).unwrap();
    let mut data = vec![fill; size.len()];
    let head = if stamp.is_multiple_of(3) { 0xC03B_3998_0000_0000 | stamp } else { stamp };
    data[..8].copy_from_slice(&head.to_be_bytes());
    data
}

fn stamps(device: &[u8], size: BlockSize) -> Stamps {
    let mut found = Stamps::new();
    for (blk, data) in (0..HOMES).zip(device.chunks_exact(size.len())) {
        let head = u64::from_be_bytes(data[..8].try_into().unwrap());
        let stamp = head & 0xFFFF_FFFF;
        if data.iter().any(|&b| b != 0) {
            assert!(data == contents(blk, stamp, size), "block {blk} is a mixture");
            found.insert(blk, stamp);
        }
    }
    found
}
