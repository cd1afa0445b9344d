//! The files' contents on their way into the image: read once, chunk by chunk of the image, by a
//! few threads. What comes out does not depend on how many.

use crate::{
    error::{Error, Result},
    mapping::Segment,
    plan::Plan,
};
use ext4_blockdev::{AlignedBuf, BlockDevice, Completion, TransferQueue, Write};
use ext4_ondisk::checksum::Csum;
use ext4_tree::{Contents, Kind, NodeId, Tree};
use ext4_units::{BlockNr, BlockSize, InodeNr};
use std::{
    collections::BTreeMap,
    num::NonZero,
    ops::Range,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Sender, channel},
    },
};

/// Most bytes of the image that one thread holds: what stays in a processor's cache between reading
/// and writing.
const CHUNK: usize = 1 << 20;
/// Chunks that a thread has handed to the device while it fills the next.
const IN_FLIGHT: usize = 2;
/// A chunk as long as this ends before a file that would not fit into it whole.
const ENOUGH: usize = CHUNK / 2;
/// Files inside inodes that are read in one go.
const INLINE_AT_ONCE: usize = 256;
/// Where an inode's map is, `i_block`.
const MAP: Range<usize> = 40..100;

/// A regular file with data, and where that goes.
#[derive(Clone, Debug)]
pub(crate) struct FileData {
    /// The file in the plan's tree.
    pub(crate) node: NodeId,
    pub(crate) ino: InodeNr,
    pub(crate) place: Place,
}

/// Where a file's data goes.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// To the blocks of these of the plan's segments. They are in order of logical blocks, and bytes
    /// of them that the file has no data for become zeros.
    Blocks(Range<u32>),
    /// Into the inode: the first 60 bytes instead of a map, the others from this byte of the inode
    /// on, where the plan has room for them.
    Inline {
        /// Where the value of `system.data` begins, in bytes from the inode's start.
        rest_at: u16,
    },
}

/// What is known once all contents are in the image.
#[derive(Clone, Debug, Default)]
pub(crate) struct Copied {
    /// Checksums of all that was copied, in an order that only depends on the plan.
    pub(crate) sums: Vec<u32>,
    /// The bytes of files inside inodes.
    pub(crate) inline: BTreeMap<InodeNr, Inline>,
}

/// The bytes of a file inside its inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Inline {
    bytes: Box<[u8]>,
    rest_at: u16,
}

impl Inline {
    /// Puts the bytes into the inode, as far as it has room.
    pub(crate) fn put(&self, inode: &mut [u8]) {
        let (map, rest) = self.bytes.split_at(self.bytes.len().min(MAP.len()));
        for (at, part) in [(MAP.start, map), (self.rest_at.into(), rest)] {
            if let Some(room) = inode.get_mut(at..at + part.len()) {
                room.copy_from_slice(part);
            }
        }
    }
}

impl Plan {
    /// Bytes of blocks that contents are copied to.
    pub(crate) fn contents_len(&self) -> u64 {
        let blocks = |it: &FileData| match &it.place {
            Place::Blocks(range) => {
                let segments = segments_of(&self.segments, range);
                segments.iter().map(|it| it.blocks.len).sum()
            }
            Place::Inline { .. } => 0,
        };
        let blocks: u64 = self.data.iter().map(blocks).sum();
        blocks * u64::from(self.geometry.block_size.bytes())
    }
}

/// A file's part of all segments.
pub(crate) fn segments_of<'a>(all: &'a [Segment], range: &Range<u32>) -> &'a [Segment] {
    all.get(range.start as usize..range.end as usize).unwrap_or_default()
}

/// Copies the contents of all files of `plan`. `goes_on` is told of bytes as they are written;
/// false stops.
pub(crate) fn copy(
    plan: &Plan,
    device: &dyn BlockDevice,
    threads: NonZero<usize>,
    goes_on: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Copied> {
    let Some(tree) = plan.tree.as_deref().filter(|_| !plan.data.is_empty()) else {
        return Ok(Copied::default());
    };
    let work = Work {
        tree,
        data: &plan.data,
        device,
        size: plan.geometry.block_size,
        tasks: Mutex::new(Tasks::new(&plan.data, &plan.segments, plan.geometry.block_size)),
        is_over: AtomicBool::new(false),
        done: Mutex::default(),
    };
    let mut outcome = Ok(());
    std::thread::scope(|scope| {
        let (sender, reports) = channel();
        for _ in 0..threads.get() {
            let sender = sender.clone();
            scope.spawn(|| work.run(sender));
        }
        drop(sender);
        // Until the last thread is gone, so that nobody writes when this returns.
        for report in reports {
            let said =
                report.and_then(|bytes| if outcome.is_ok() { goes_on(bytes) } else { Ok(()) });
            if outcome.is_ok() && said.is_err() {
                work.is_over.store(true, Ordering::Relaxed);
                outcome = said;
            }
        }
    });
    outcome?;
    let done = work.done.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Copied { sums: done.sums.into_values().collect(), inline: done.inline })
}

/// A piece of one file: blocks from a logical one on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    /// Its index in the plan's list.
    file: usize,
    lblk: u32,
    blocks: usize,
}

/// What a thread does at once.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Task {
    /// Neighbouring blocks of the image from this one on, and what they consist of.
    Blocks(BlockNr, Vec<Piece>),
    /// Files inside inodes.
    Inline(Vec<usize>),
}

/// All tasks, made as they are asked for.
#[derive(Debug)]
struct Tasks<'a> {
    data: &'a [FileData],
    segments: &'a [Segment],
    block: usize,
    nr: u32,
    /// The next piece: file, segment, and blocks of the segment that are passed.
    file: usize,
    segment: usize,
    passed: u64,
    /// The next file to look at for one inside an inode.
    inline: usize,
}

impl<'a> Tasks<'a> {
    const fn new(data: &'a [FileData], segments: &'a [Segment], size: BlockSize) -> Self {
        let block = size.len();
        Self { data, segments, block, nr: 0, file: 0, segment: 0, passed: 0, inline: 0 }
    }

    /// The next piece, and where it goes.
    fn peek(&mut self) -> Option<(BlockNr, Piece)> {
        loop {
            let Place::Blocks(range) = &self.data.get(self.file)?.place else {
                (self.file, self.segment) = (self.file + 1, 0);
                continue;
            };
            let Some(segment) = segments_of(self.segments, range).get(self.segment) else {
                (self.file, self.segment) = (self.file + 1, 0);
                continue;
            };
            let left = segment.blocks.len.saturating_sub(self.passed);
            if left == 0 {
                (self.segment, self.passed) = (self.segment + 1, 0);
                continue;
            }
            let passed = u32::try_from(self.passed).unwrap_or(u32::MAX);
            let piece = Piece {
                file: self.file,
                lblk: segment.lblk.saturating_add(passed),
                blocks: usize::try_from(left).unwrap_or(usize::MAX),
            };
            return Some((segment.blocks.start.plus(self.passed), piece));
        }
    }

    fn blocks(&mut self) -> Option<Task> {
        let (start, _) = self.peek()?;
        let most = (CHUNK / self.block).max(1);
        let mut pieces = Vec::new();
        let mut taken = 0;
        while let Some((at, mut piece)) = self.peek() {
            let follows = at == start.plus(taken as u64);
            let is_full = taken * self.block >= ENOUGH && taken + piece.blocks > most;
            if !follows || is_full || taken == most {
                break;
            }
            piece.blocks = piece.blocks.min(most - taken);
            taken += piece.blocks;
            self.passed += piece.blocks as u64;
            pieces.push(piece);
        }
        Some(Task::Blocks(start, pieces))
    }

    fn inline(&mut self) -> Option<Task> {
        let mut files = Vec::new();
        while files.len() < INLINE_AT_ONCE
            && let Some(file) = self.data.get(self.inline)
        {
            if matches!(file.place, Place::Inline { .. }) {
                files.push(self.inline);
            }
            self.inline += 1;
        }
        (!files.is_empty()).then_some(Task::Inline(files))
    }
}

impl Iterator for Tasks<'_> {
    type Item = (u32, Task);

    fn next(&mut self) -> Option<(u32, Task)> {
        let task = self.blocks().or_else(|| self.inline())?;
        self.nr += 1;
        Some((self.nr, task))
    }
}

/// What the threads share.
struct Work<'a> {
    tree: &'a Tree,
    data: &'a [FileData],
    device: &'a dyn BlockDevice,
    size: BlockSize,
    tasks: Mutex<Tasks<'a>>,
    is_over: AtomicBool,
    done: Mutex<Done>,
}

#[derive(Debug, Default)]
struct Done {
    /// By the number of the task.
    sums: BTreeMap<u32, u32>,
    inline: BTreeMap<InodeNr, Inline>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Work<'_> {
    /// One thread: tasks until there are none, or somebody failed.
    #[expect(clippy::needless_pass_by_value, reason = "the thread's end is told by its drop")]
    fn run(&self, reports: Sender<Result<u64>>) {
        let mut writer = Writer {
            queue: self.device.queue(IN_FLIGHT),
            // One more is filled meanwhile.
            idle: vec![AlignedBuf::zeroed(0); IN_FLIGHT + 1],
            reports: &reports,
        };
        while !self.is_over.load(Ordering::Relaxed) {
            let Some((nr, task)) = lock(&self.tasks).next() else { break };
            let result = match task {
                Task::Blocks(at, pieces) => self.blocks(nr, at, &pieces, &mut writer),
                Task::Inline(files) => self.inline(nr, &files),
            };
            if let Err(err) = result {
                self.is_over.store(true, Ordering::Relaxed);
                writer.tell(Err(err));
            }
        }
        while writer.wait() {}
    }

    fn contents(&self, file: usize) -> Result<&Contents> {
        let node = self.data[file].node;
        match &self.tree.node(node).kind {
            Kind::Regular(contents) => Ok(contents),
            other => Err(Error::Options(format!("contents of a {}", other.name()))),
        }
    }

    fn blocks(
        &self,
        nr: u32,
        at: BlockNr,
        pieces: &[Piece],
        writer: &mut Writer<'_>,
    ) -> Result<()> {
        let mut buf = writer.buffer();
        buf.resize(pieces.iter().map(|it| it.blocks).sum::<usize>() * self.size.len());
        let mut rest = &mut buf[..];
        for piece in pieces {
            let (room, behind) = rest.split_at_mut(piece.blocks * self.size.len());
            fill(self.contents(piece.file)?, u64::from(piece.lblk) * self.size.len() as u64, room)?;
            rest = behind;
        }
        lock(&self.done).sums.insert(nr, Csum::START.over(&buf).0);
        let write = Write { offset: at.byte(self.size), buf, tag: 0 };
        writer.submit(write)
    }

    fn inline(&self, nr: u32, files: &[usize]) -> Result<()> {
        let mut sum = Csum::START;
        for &file in files {
            let contents = self.contents(file)?;
            // At most what an inode has room for, or the plan would not have it inside.
            let len = usize::try_from(contents.size).unwrap_or(CHUNK).min(CHUNK);
            let mut bytes = vec![0; len];
            fill(contents, 0, &mut bytes)?;
            sum = sum.over(&bytes);
            let FileData { ino, place: Place::Inline { rest_at }, .. } = self.data[file] else {
                continue;
            };
            lock(&self.done).inline.insert(ino, Inline { bytes: bytes.into(), rest_at });
        }
        lock(&self.done).sums.insert(nr, sum.0);
        Ok(())
    }
}

/// What one thread writes with.
struct Writer<'a> {
    queue: Box<dyn TransferQueue + 'a>,
    idle: Vec<AlignedBuf>,
    reports: &'a Sender<Result<u64>>,
}

impl Writer<'_> {
    /// A buffer that is not in flight.
    fn buffer(&mut self) -> AlignedBuf {
        while self.idle.is_empty() && self.wait() {}
        self.idle.pop().unwrap_or_else(|| AlignedBuf::zeroed(0))
    }

    fn submit(&mut self, write: Write) -> Result<()> {
        self.queue.submit(write)?;
        // A queue may line writes up until it is asked for one.
        if let Some(done) = self.queue.poll() {
            self.take_back(done);
        }
        Ok(())
    }

    /// Waits for a write; false when there is none.
    fn wait(&mut self) -> bool {
        let done = self.queue.wait();
        done.map(|done| self.take_back(done)).is_some()
    }

    fn take_back(&mut self, done: Completion) {
        self.tell(done.result.map(|()| done.buf.len() as u64).map_err(Error::Device));
        self.idle.push(done.buf);
    }

    fn tell(&self, report: Result<u64>) {
        // Whoever listens does so until all threads are gone.
        let _ = self.reports.send(report);
    }
}

/// Fills `buf` with the file's bytes from `start` on: data where there is some, otherwise zeros.
fn fill(contents: &Contents, start: u64, buf: &mut [u8]) -> Result<()> {
    let open = contents.open()?;
    let end = start + buf.len() as u64;
    let first = contents.data.partition_point(|it| it.end <= start);
    let mut filled = 0;
    for part in contents.data.iter().skip(first).take_while(|it| it.start < end) {
        let index = |at: u64| usize::try_from(at.clamp(start, end) - start).unwrap_or(buf.len());
        let (from, to) = (index(part.start), index(part.end));
        buf[filled..from].fill(0);
        open.read_at(start + from as u64, &mut buf[from..to])?;
        filled = to;
    }
    buf[filled..].fill(0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, plan::plan};
    use ext4_blockdev::MemoryDevice;
    use ext4_tree::{Attributes, Node, Origin};
    use ext4_units::BlockRange;
    use std::sync::Arc;

    fn segment(lblk: u32, start: u64, len: u64) -> Segment {
        Segment { lblk, blocks: BlockRange::new(BlockNr(start), len) }
    }

    /// Where a file goes.
    enum To {
        Blocks(Vec<Segment>),
        Inode(u16),
    }

    /// A plan with these files: contents, and where they go.
    fn planned(files: Vec<(Contents, To)>) -> Plan {
        let mut tree = Tree::new(Attributes::default());
        let mut plan = plan(&Options::default(), 64 << 20).unwrap();
        for ((contents, to), nr) in files.into_iter().zip(100..) {
            let node = Node { attributes: Attributes::default(), kind: Kind::Regular(contents) };
            let node = tree.add(NodeId::ROOT, nr.to_string().as_bytes(), node).unwrap();
            let first = u32::try_from(plan.segments.len()).unwrap();
            let place = match to {
                To::Blocks(segments) => {
                    plan.segments.extend(segments);
                    Place::Blocks(first..u32::try_from(plan.segments.len()).unwrap())
                }
                To::Inode(rest_at) => Place::Inline { rest_at },
            };
            plan.data.push(FileData { node, ino: InodeNr::new(nr).unwrap(), place });
        }
        plan.tree = Some(Arc::new(tree));
        plan
    }

    fn noise(len: usize, seed: usize) -> Vec<u8> {
        let bytes = (0..len).map(|i| (i.wrapping_mul(2_654_435_761) >> 7) ^ (i + seed));
        bytes.map(|it| u8::try_from(it & 0xFF).unwrap()).collect()
    }

    fn copied(plan: &Plan, threads: usize) -> (Vec<u8>, Copied) {
        let device = MemoryDevice::new(vec![0xEE; 64 << 20]);
        let mut total = 0;
        let threads = NonZero::new(threads).unwrap();
        let copied = copy(plan, &device, threads, &mut |bytes| {
            total += bytes;
            Ok(())
        });
        let copied = copied.unwrap();
        assert_eq!(total, plan.contents_len());
        (device.contents(), copied)
    }

    #[test]
    fn every_byte_is_at_its_place_whatever_the_number_of_threads() {
        let large = noise(5 << 20, 1);
        let sparse = Contents {
            size: 10_000,
            data: vec![100..200, 1500..1600, 9000..9500],
            origin: Origin::Bytes(noise(700, 3).into()),
        };
        let blocks = To::Blocks;
        let plan = planned(vec![
            (Contents::bytes(noise(1500, 0)), blocks(vec![segment(0, 20_000, 2)])),
            // In two pieces, both longer than a chunk or close to it.
            (
                Contents::bytes(large.clone()),
                blocks(vec![segment(0, 20_002, 3000), segment(3000, 30_000, 2120)]),
            ),
            (sparse, blocks(vec![segment(0, 32_120, 2), segment(8, 40_000, 2)])),
            (Contents::bytes(noise(130, 9)), To::Inode(160)),
        ]);
        let (image, one) = copied(&plan, 1);
        let (again, many) = copied(&plan, 5);
        assert!(image == again);
        assert_eq!(one.sums, many.sums);
        let at = |blk: usize, len: usize| &image[blk * 1024..blk * 1024 + len];
        assert!(at(20_000, 1500) == noise(1500, 0));
        assert!(at(20_000, 2048)[1500..] == [0; 548]);
        assert!(at(20_002, 3000 * 1024) == &large[..3000 * 1024]);
        assert!(at(30_000, 2120 * 1024) == &large[3000 * 1024..]);
        let data = noise(700, 3);
        let mut expected = vec![0; 2048];
        expected[100..200].copy_from_slice(&data[..100]);
        expected[1500..1600].copy_from_slice(&data[100..200]);
        assert!(at(32_120, 2048) == expected);
        let mut expected = vec![0; 2048];
        expected[808..1308].copy_from_slice(&data[200..]);
        assert!(at(40_000, 2048) == expected);
        assert!(at(40_002, 1024) == [0xEE; 1024], "written behind the end");
        let mut inode = vec![0; 256];
        many.inline[&InodeNr::new(103).unwrap()].put(&mut inode);
        assert!(inode[40..100] == noise(130, 9)[..60]);
        assert!(inode[160..230] == noise(130, 9)[60..]);
        assert!(inode[230..] == [0; 26]);
    }

    #[test]
    fn small_files_are_written_together_and_large_ones_begin_anew() {
        let runs = [(1000, 3), (1003, 700), (1703, 400), (9000, 2), (9002, 1023)];
        let segments = runs.map(|(start, len)| segment(0, start, len));
        let file = |nr| FileData {
            node: NodeId::ROOT,
            ino: InodeNr::ROOT,
            place: Place::Blocks(nr..nr + 1),
        };
        let data: Vec<_> = (0..5).map(file).collect();
        let tasks = Tasks::new(&data, &segments, BlockSize::MIN);
        let tasks: Vec<_> = tasks.map(|(_, task)| task).collect();
        let piece = |file, lblk, blocks| Piece { file, lblk, blocks };
        let expected = [
            Task::Blocks(BlockNr(1000), vec![piece(0, 0, 3), piece(1, 0, 700)]),
            Task::Blocks(BlockNr(1703), vec![piece(2, 0, 400)]),
            Task::Blocks(BlockNr(9000), vec![piece(3, 0, 2), piece(4, 0, 1022)]),
            Task::Blocks(BlockNr(10_024), vec![piece(4, 1022, 1)]),
        ];
        assert_eq!(tasks, expected);
    }

    #[test]
    fn a_file_that_changed_stops_all_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grown");
        std::fs::write(&path, b"longer than it was").unwrap();
        let grown = Contents {
            size: 6,
            data: std::iter::once(0..6).collect(),
            origin: Origin::Path(path.as_path().into()),
        };
        let place = |start| To::Blocks(vec![segment(0, start, 1)]);
        let mut files = vec![(grown, place(20_000))];
        files.extend((1..50).map(|i| (Contents::bytes(noise(10, 1)), place(20_000 + i * 2))));
        let plan = planned(files);
        let device = MemoryDevice::new(vec![0; 64 << 20]);
        let threads = NonZero::new(3).unwrap();
        let err = copy(&plan, &device, threads, &mut |_| Ok(())).unwrap_err();
        let said = format!("{}: changed while it was read: found ", path.display());
        assert!(err.to_string().starts_with(&said), "{err}");
    }

    #[test]
    fn whoever_is_told_can_stop_it() {
        let place = |i| To::Blocks(vec![segment(0, 20_000 + i * 2, 1)]);
        let plan = planned((0..50u64).map(|i| (Contents::bytes(noise(10, 1)), place(i))).collect());
        let device = MemoryDevice::new(vec![0; 64 << 20]);
        let mut told = 0;
        let err = copy(&plan, &device, NonZero::<usize>::MIN, &mut |_| {
            told += 1;
            if told < 3 { Ok(()) } else { Err(Error::Stopped) }
        });
        assert!(matches!(err, Err(Error::Stopped)));
        assert_eq!(told, 3);
    }
}
