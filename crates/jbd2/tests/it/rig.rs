//! A small device with a log in it, a recorder around it, and a workload that knows its own states.

use crate::reference;
use ext4_blockdev::{BlockDevice, Event, Limits, MemoryDevice, Recorder};
use ext4_jbd2::{Clock, Error, Journal, Log, Options};
use ext4_ondisk::jbd2::{JournalCompat, JournalIncompat, JournalSuperblock, MIN_LOG_BLOCKS};
use ext4_testkit::{
    rng::Rng,
    trace::{Step, Trace},
};
use ext4_units::{BlockNr, BlockRange, BlockSize, Tid};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

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

/// What a block is and which handle made it that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Metadata: written by handle n.
    Meta(u64),
    /// File data, written around the journal and made durable after handle n.
    Data(u64),
    /// Nobody's: it may hold anything.
    Free,
}

/// A state: each block that was ever used. The others are still zero.
pub(crate) type Owners = BTreeMap<u64, Owner>;

/// Random handles whose every state is known.
#[derive(Debug)]
pub(crate) struct Workload {
    rng: Rng,
    /// After no handle, after the first, ...
    pub(crate) states: Vec<Owners>,
    /// How many handles are acknowledged as durable.
    pub(crate) acknowledged: usize,
    /// Whether freed blocks get data.
    pub(crate) has_data: bool,
}

impl Workload {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed), states: vec![Owners::new()], acknowledged: 0, has_data: true }
    }

    /// A workload that goes on from this state.
    pub(crate) fn from(state: Owners) -> Self {
        Self { rng: Rng::new(99), states: vec![state], acknowledged: 0, has_data: true }
    }

    /// The newest state.
    pub(crate) fn last(&self) -> &Owners {
        self.states.last().unwrap()
    }

    /// One handle over up to `max` blocks, and sometimes a commit, whose end `on_ack` is told;
    /// after it a freed block may get data.
    pub(crate) fn step(
        &mut self,
        journal: &Journal,
        size: BlockSize,
        max: usize,
        on_ack: impl Fn(usize),
    ) -> Result<(), Error> {
        let stamp = self.states.len() as u64;
        let mut state = self.last().clone();
        let n = 1 + self.rng.below(max);
        let mut handle = journal.start(n)?;
        for _ in 0..n {
            let blk = self.rng.below(usize::try_from(HOMES).unwrap()) as u64;
            let is_freed = self.rng.percent(25);
            let owner = match state.get(&blk) {
                Some(Owner::Meta(_)) if is_freed => {
                    handle.revoke(BlockNr(blk));
                    Owner::Free
                }
                Some(Owner::Data(_)) => {
                    handle.free(BlockRange::new(BlockNr(blk), 1));
                    Owner::Free
                }
                _ => {
                    handle.write(BlockNr(blk), contents(blk, stamp, size))?;
                    Owner::Meta(stamp)
                }
            };
            state.insert(blk, owner);
        }
        if self.rng.percent(5) {
            return Ok(()); // and all of it is abandoned
        }
        self.states.push(state);
        handle.stop()?;
        if self.rng.percent(40) {
            journal.commit()?;
            self.acknowledge(&on_ack);
            if self.has_data {
                self.write_data(journal, size)?;
                self.acknowledge(&on_ack);
            }
        }
        Ok(())
    }

    /// Gives the first free block to a file, and its data to the device.
    fn write_data(&mut self, journal: &Journal, size: BlockSize) -> Result<(), Error> {
        let mut state = self.last().clone();
        let may_use = |blk: u64| !journal.is_pending_free(BlockRange::new(BlockNr(blk), 1));
        let free = state.iter().find(|it| *it.1 == Owner::Free && may_use(*it.0));
        let Some(blk) = free.map(|it| *it.0) else { return Ok(()) };
        let stamp = self.states.len() as u64;
        journal.forget_cached(BlockRange::new(BlockNr(blk), 1));
        let data = contents(blk, stamp, size);
        let res = journal.device().write_at(BlockNr(blk).byte(size), &data);
        res.map_err(|source| Error::Io { blk: BlockNr(blk), source })?;
        journal.sync_data()?;
        state.insert(blk, Owner::Data(stamp));
        self.states.push(state);
        Ok(())
    }

    fn acknowledge(&mut self, on_ack: impl Fn(usize)) {
        self.acknowledged = self.states.len() - 1;
        on_ack(self.acknowledged);
    }

    /// Which state the device is in, given the marks of acknowledgement.
    #[track_caller]
    pub(crate) fn check(&self, device: &[u8], size: BlockSize, acknowledged: usize) -> usize {
        let blocks: Vec<_> = (0..HOMES).zip(device.chunks_exact(size.len())).collect();
        let is_state = |state: &Owners| {
            blocks.iter().all(|(blk, data)| match state.get(blk) {
                None => data.iter().all(|&byte| byte == 0),
                Some(Owner::Free) => true,
                Some(&Owner::Meta(n) | &Owner::Data(n)) => is_contents(data, *blk, n, size),
            })
        };
        let Some(state) = self.states.iter().rposition(is_state) else {
            let heads: Vec<_> = blocks.iter().map(|it| (it.0, &it.1[..8])).collect();
            panic!("between two handles: {heads:x?}, last {:?}", self.last());
        };
        assert!(state >= acknowledged, "handle {acknowledged} was durable, found state {state}");
        state
    }
}

/// A block's contents: the handle's stamp, then bytes that show a mixture. Every third stamp begins
/// with the journal's magic, as file contents may.
pub(crate) fn contents(blk: u64, stamp: u64, size: BlockSize) -> Version {
    let fill = u8::try_from((blk * 31 + stamp * 7) % 251).unwrap();
    let mut data = vec![fill; size.len()];
    data[..8].copy_from_slice(&head(stamp));
    data
}

fn head(stamp: u64) -> [u8; 8] {
    let magic = if stamp.is_multiple_of(3) { 0xC03B_3998_0000_0000 } else { 0 };
    (magic | stamp).to_be_bytes()
}

/// Whether `data` is [`contents`].
fn is_contents(data: &[u8], blk: u64, stamp: u64, size: BlockSize) -> bool {
    data.starts_with(&head(stamp)) && data == contents(blk, stamp, size)
}

/// A device that does something else in the middle of its next read, or in its next flush.
pub(crate) struct Hooked {
    inner: Arc<dyn BlockDevice>,
    on_read: Hook,
    on_flush: Hook,
}

type Hook = Mutex<Option<Box<dyn FnOnce() + Send>>>;

impl Hooked {
    pub(crate) fn new(inner: Arc<dyn BlockDevice>) -> Self {
        Self { inner, on_read: Hook::default(), on_flush: Hook::default() }
    }

    pub(crate) fn at_next_read(&self, act: impl FnOnce() + Send + 'static) {
        *self.on_read.lock().unwrap() = Some(Box::new(act));
    }

    pub(crate) fn at_next_flush(&self, act: impl FnOnce() + Send + 'static) {
        *self.on_flush.lock().unwrap() = Some(Box::new(act));
    }

    fn run(hook: &Hook) {
        let act = hook.lock().unwrap().take();
        if let Some(act) = act {
            act();
        }
    }
}

impl std::fmt::Debug for Hooked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hooked")
    }
}

impl BlockDevice for Hooked {
    fn len(&self) -> u64 {
        self.inner.len()
    }
    fn limits(&self) -> Limits {
        self.inner.limits()
    }
    fn is_read_only(&self) -> bool {
        false
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> ext4_blockdev::Result<()> {
        let half = buf.len() / 2;
        self.inner.read_at(offset, &mut buf[..half])?;
        Self::run(&self.on_read);
        self.inner.read_at(offset + half as u64, &mut buf[half..])
    }
    fn write_at(&self, offset: u64, buf: &[u8]) -> ext4_blockdev::Result<()> {
        self.inner.write_at(offset, buf)
    }
    fn flush(&self) -> ext4_blockdev::Result<()> {
        Self::run(&self.on_flush);
        self.inner.flush()
    }
    fn discard(&self, offset: u64, len: u64) -> ext4_blockdev::Result<()> {
        self.inner.discard(offset, len)
    }
}
