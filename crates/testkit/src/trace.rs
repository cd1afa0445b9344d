//! What was done to a device, in order: the raw material of crash states.

use crate::{image::poison, in_memory};
use anyhow::{Context, Result, bail, ensure};
use ext4_blockdev::Event;
use std::sync::Arc;

/// One thing that happened, at the moment it was known to have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A write that returned. It may have reached the medium at any moment since `issued`.
    Write {
        /// Number of steps before the write was issued.
        issued: usize,
        /// Byte offset.
        offset: u64,
        /// What was written.
        data: Arc<[u8]>,
    },
    /// A flush that returned: the writes among the first `covers` steps are durable.
    Flush {
        /// Number of steps when the flush was called.
        covers: usize,
    },
    /// A word of the caller: what was promised, which operation began.
    Mark(Arc<str>),
}

/// Steps in the order they completed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The steps.
    pub steps: Vec<Step>,
}

impl Trace {
    /// No steps.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a recorder saw. The bytes of a discarded range count as overwritten by
    /// [`crate::image::POISON`], since they may read as anything.
    pub fn of_events(events: &[Event]) -> Self {
        let step = |(i, event): (usize, &Event)| match event {
            Event::Write { issued, offset, data, .. } => {
                Step::Write { issued: *issued, offset: *offset, data: Arc::clone(data) }
            }
            Event::Flush { covers } => Step::Flush { covers: *covers },
            Event::Discard { offset, len } => {
                Step::Write { issued: i, offset: *offset, data: poison(in_memory(*len)).into() }
            }
            Event::Mark { text, .. } => Step::Mark(text.as_str().into()),
            // A kind of event that is not known here at least keeps its place.
            _ => Step::Mark("".into()),
        };
        Self { steps: events.iter().enumerate().map(step).collect() }
    }

    /// Adds a write that was on its way only now.
    pub fn write(&mut self, offset: u64, data: impl Into<Arc<[u8]>>) {
        let issued = self.steps.len();
        self.steps.push(Step::Write { issued, offset, data: data.into() });
    }

    /// Adds a flush of everything so far.
    pub fn flush(&mut self) {
        let covers = self.steps.len();
        self.steps.push(Step::Flush { covers });
    }

    /// Adds a mark.
    pub fn mark(&mut self, text: &str) {
        self.steps.push(Step::Mark(text.into()));
    }

    /// The number of writes.
    pub fn n_writes(&self) -> usize {
        self.steps.iter().filter(|it| matches!(it, Step::Write { .. })).count()
    }

    /// The number of flushes.
    pub fn n_flushes(&self) -> usize {
        self.steps.iter().filter(|it| matches!(it, Step::Flush { .. })).count()
    }

    /// The marks among the first `cut` steps.
    pub fn marks(&self, cut: usize) -> impl Iterator<Item = &str> {
        self.steps.iter().take(cut).filter_map(|it| match it {
            Step::Mark(text) => Some(&**text),
            _ => None,
        })
    }

    /// Reads a recording of the corpus: records of `u32 "FLOG", u32 type, u64 seq, u64 offset,
    /// u32 length, u32 pad`, little endian, each followed by its data. Type 1 is a write, 2 a
    /// flush, 3 a mark, 4 a write that was held back (no data).
    pub fn parse(log: &[u8]) -> Result<Self> {
        const MAGIC: u32 = 0x474F_4C46;
        let mut trace = Self::new();
        let mut rest = log;
        while let Some((head, tail)) = rest.split_at_checked(32) {
            let u32_at = |at: usize| {
                let bytes = head[at..at + 4].try_into().expect("four bytes");
                u32::from_le_bytes(bytes)
            };
            ensure!(u32_at(0) == MAGIC, "recording: magic {:#x}, expected {MAGIC:#x}", u32_at(0));
            let offset = u64::from_le_bytes(head[16..24].try_into().expect("eight bytes"));
            let len = usize::try_from(u32_at(24))?;
            let kind = u32_at(4);
            let len = if matches!(kind, 1 | 3) { len } else { 0 };
            let (data, tail) = tail.split_at_checked(len).context("recording: cut short")?;
            match kind {
                1 => trace.write(offset, data),
                2 => trace.flush(),
                3 => trace.mark(&String::from_utf8_lossy(data)),
                // Keeps the numbers of the steps as the recording has them.
                4 => trace.mark(""),
                other => bail!("recording: record type {other}"),
            }
            rest = tail;
        }
        Ok(trace)
    }
}
