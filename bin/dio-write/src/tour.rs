//! `--tour`: the way of a write through a power cut, on an image of our own in a temporary folder.

use crate::image::{clock, dio_failure, fs_failure, open};
use ext4_blockdev::{BlockDevice, OpenMode, Overlay};
use ext4_cli::{Exit, Failure, Paint, Report};
use ext4_dio::{DirectWrite, Offset, Request, Step};
use ext4_fs::{Filesystem, Inode, NewFile, OrphanFate, RecoverOptions, recover};
use ext4_units::{InodeNr, LogicalBlock};
use flate2::read::GzDecoder;
use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

/// 4 MiB of ext4 with a journal of 1 MiB, made by mke2fs.
const IMAGE: &[u8] = include_bytes!("../../../fixtures/golden/tour.img.gz");

/// Bytes of the first write, and where the second one begins.
const FIRST: u64 = 64 << 10;
/// Bytes of the write that the power cut hits.
const SECOND: u64 = 512 << 10;
/// How many of them are on the device when it does.
const BEFORE_THE_CUT: u64 = 192 << 10;

/// Walks the way and prints each station.
pub(crate) fn run(report: &Report) -> Result<Exit, Failure> {
    let host = |err: io::Error| Failure::operational(format_args!("temporary folder: {err}"));
    let folder = tempfile::Builder::new().prefix("dio-write-tour-").tempdir().map_err(host)?;
    let path = folder.path().join("disk.img");
    let mut image = File::create(&path).map_err(host)?;
    io::copy(&mut GzDecoder::new(IMAGE), &mut image).map_err(host)?;
    drop(image);
    let tour = Tour { report, path: &path };
    tour.walk()?;
    folder.close().map_err(host)?;
    Ok(Exit::OK)
}

struct Tour<'a> {
    report: &'a Report,
    path: &'a Path,
}

impl Tour<'_> {
    fn walk(&self) -> Result<(), Failure> {
        self.head(1, "an ext4 image of 4 MiB, made by mke2fs, that nobody has mounted")?;
        self.say(format_args!("{}", self.path.display()))?;

        self.head(2, "write 64 KiB into a new file /db.bin, and close the image")?;
        let fs = Self::open_fs(self.open()?)?;
        let ino = fs.create(InodeNr::ROOT, b"db.bin", &NewFile::of_root(0o644));
        let ino = ino.map_err(|err| fs_failure(&err))?;
        let mut source = Letters::new(b'A', FIRST);
        let request = Request::new(Offset::At(0), Some(FIRST));
        let write = DirectWrite::new(&fs, ino, request, &mut source);
        write.run().map_err(|err| dio_failure(&err))?;
        self.show_inode(&fs, ino)?;
        fs.close().map_err(|err| fs_failure(&err))?;

        self.head(3, "append 512 KiB, and cut the power when 192 KiB are on the disk")?;
        self.append_until_the_cut(ino)?;

        self.head(4, "what the power cut left: needs_recovery is set, the inode as it was")?;
        let fs = Filesystem::open_read(self.open()?).map_err(|err| fs_failure(&err))?;
        self.show_inode(&fs, ino)?;
        drop(fs);
        self.say("after a replay of the journal, in memory only, the orphan record shows:")?;
        let found = self.recovered(Arc::new(Overlay::new(self.open()?)))?;
        drop(found);

        self.head(5, "recover for real: replay the journal, then clean the orphan")?;
        let fs = self.recovered(self.open()?)?;
        fs.close().map_err(|err| fs_failure(&err))?;

        self.head(6, "the inode afterwards: the old size, its 64 KiB, and no block lost")?;
        let fs = Filesystem::open_read(self.open()?).map_err(|err| fs_failure(&err))?;
        self.show_inode(&fs, ino)?;
        Self::check_contents(&fs, ino)?;
        drop(fs);
        let again = recover(self.open()?, &RecoverOptions::new(clock()));
        let again = again.map_err(|err| fs_failure(&err))?;
        if !again.report.is_clean() {
            return Err(Failure::damage("recovery found work the second time, which must not be"));
        }
        again.fs.close().map_err(|err| fs_failure(&err))?;
        self.say("and a second recovery has nothing to do")
    }

    /// Steps through an extending write, and drops everything in the middle, as a power cut would.
    fn append_until_the_cut(&self, ino: InodeNr) -> Result<(), Failure> {
        let fs = Self::open_fs(self.open()?)?;
        let mut source = Letters::new(b'B', SECOND);
        let mut request = Request::new(Offset::Append, Some(SECOND));
        request.chunk = 64 << 10;
        let mut write = DirectWrite::new(&fs, ino, request, &mut source);
        while write.sent() < BEFORE_THE_CUT {
            match write.step().map_err(|err| dio_failure(&err))? {
                Step::OrphanAdded => self.say("orphan record made, size still 65536")?,
                Step::Mapped { lblk, len, changed: true } => {
                    self.say(format_args!("{len} blocks allocated from logical block {lblk}"))?;
                }
                Step::Submitted { len } => self.say(format_args!("{len} bytes sent"))?,
                _ => {}
            }
        }
        // The journal commits now and then by itself; here, so that there is something to see.
        fs.commit().map_err(|err| fs_failure(&err))?;
        self.say("the journal commits, and the power goes")
    }

    fn open(&self) -> Result<Arc<dyn BlockDevice>, Failure> {
        Ok(open(self.path.as_os_str(), OpenMode::Exclusive, self.report)?)
    }

    fn open_fs(device: Arc<dyn BlockDevice>) -> Result<Filesystem, Failure> {
        let recovered = recover(device, &RecoverOptions::new(clock()));
        Ok(recovered.map_err(|err| fs_failure(&err))?.fs)
    }

    /// Recovers, and says what that took.
    fn recovered(&self, device: Arc<dyn BlockDevice>) -> Result<Filesystem, Failure> {
        let recovered = recover(device, &RecoverOptions::new(clock()));
        let recovered = recovered.map_err(|err| fs_failure(&err))?;
        if let Some(replayed) = recovered.report.replayed {
            let (n, blocks) = (replayed.transactions, replayed.blocks);
            self.say(format_args!("{n} transactions replayed, {blocks} blocks written home"))?;
        }
        for orphan in &recovered.report.orphans {
            if let OrphanFate::Truncated { size, sectors } = &orphan.fate {
                self.say(format_args!(
                    "orphan inode {}: truncated to {size} bytes, {} KiB freed",
                    orphan.ino,
                    sectors / 2
                ))?;
            }
        }
        Ok(recovered.fs)
    }

    fn show_inode(&self, fs: &Filesystem, ino: InodeNr) -> Result<(), Failure> {
        let inode = fs.inode(fs.meta(), ino).map_err(|err| fs_failure(&err))?;
        let Inode { i_size, .. } = inode;
        let mut extents = String::new();
        fs.mappings(fs.meta(), &inode, LogicalBlock(0), LogicalBlock(1 << 20), |mapping| {
            if let Some(blocks) = mapping.blocks() {
                let _infallible = write!(extents, ", blocks {blocks}");
            }
            Ok(())
        })
        .map_err(|err| fs_failure(&err))?;
        self.say(format_args!("inode {ino}: i_size {i_size}, i_blocks {}{extents}", inode.sectors))
    }

    fn check_contents(fs: &Filesystem, ino: InodeNr) -> Result<(), Failure> {
        let inode = fs.inode(fs.meta(), ino).map_err(|err| fs_failure(&err))?;
        let mut bytes = vec![0; usize::try_from(FIRST).unwrap_or(0)];
        let n = fs.read_at(fs.meta(), &inode, 0, &mut bytes).map_err(|err| fs_failure(&err))?;
        if inode.i_size != FIRST || n != bytes.len() || bytes.iter().any(|&byte| byte != b'A') {
            return Err(Failure::damage("the file is not what was written, which must not be"));
        }
        Ok(())
    }

    fn head(&self, nr: u8, text: &str) -> Result<(), Failure> {
        self.report
            .text(format_args!("{}", self.report.paint(Paint::Strong, format!("{nr}. {text}"))))
    }

    fn say(&self, text: impl std::fmt::Display) -> Result<(), Failure> {
        self.report.text(format_args!("   {text}"))
    }
}

/// The same letter, so many times.
struct Letters(io::Take<io::Repeat>);

impl Letters {
    fn new(letter: u8, len: u64) -> Self {
        Self(io::repeat(letter).take(len))
    }
}

impl Read for Letters {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}
