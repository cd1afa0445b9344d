//! One image under test: our filesystem on it, and the model of what its files must hold.

use anyhow::{Context as _, Result, ensure};
use ext4_blockdev::BlockDevice;
use ext4_dio::{DirectWrite, Error, Offset, Outcome, Request};
use ext4_fs::Clock;
use ext4_fs::{Filesystem, NewFile, RecoverOptions, recover};
use ext4_testkit::{
    image::Image,
    model::{Model, pattern},
    mount::Mount,
    oracle,
};
use ext4_units::InodeNr;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// The time of all tests: one second a call would hide nothing, but this is simpler to compare.
pub(crate) fn clock() -> Clock {
    Clock::fixed(Duration::from_secs(1_700_000_000))
}

/// Opens a filesystem for writing as a mount would, recovery included.
pub(crate) fn open(device: &Arc<dyn BlockDevice>) -> ext4_fs::Result<Filesystem> {
    recover(Arc::clone(device), &RecoverOptions::new(clock())).map(|it| it.fs)
}

/// An image, its files by number, and their model.
pub(crate) struct World {
    pub(crate) device: Arc<dyn BlockDevice>,
    pub(crate) fs: Option<Filesystem>,
    pub(crate) model: Model,
    pub(crate) inodes: BTreeMap<String, InodeNr>,
    generation: u32,
}

impl World {
    /// The files at `paths` must be there, empty.
    pub(crate) fn new(image: &Image, paths: &[&str]) -> Result<Self> {
        let device: Arc<dyn BlockDevice> = image.device();
        let fs = open(&device)?;
        let mut world = Self {
            device,
            fs: Some(fs),
            model: Model::new(),
            inodes: BTreeMap::new(),
            generation: 0,
        };
        for &path in paths {
            world.model.create(path);
            world.find(path)?;
        }
        Ok(world)
    }

    pub(crate) fn fs(&self) -> &Filesystem {
        self.fs.as_ref().expect("open between the tests' steps")
    }

    fn find(&mut self, path: &str) -> Result<()> {
        let fs = self.fs();
        let inode = fs.resolve(fs.meta(), path.as_bytes(), ext4_fs::Last::Stay)?;
        self.inodes.insert(path.to_owned(), inode.ino);
        Ok(())
    }

    /// The next bytes for a file: they say where they belong and which writing they are of.
    pub(crate) fn bytes(&mut self, path: &str, offset: u64, len: usize) -> Vec<u8> {
        self.generation += 1;
        pattern(self.inodes[path].get(), self.generation, offset, len)
    }

    /// Writes, and tells the model. After a failure the model takes over what the file holds, if
    /// each sector of it is old or new.
    pub(crate) fn write(
        &mut self,
        path: &str,
        offset: u64,
        len: usize,
        shape: impl FnOnce(&mut Request),
    ) -> Result<Result<Outcome, Error>> {
        let bytes = self.bytes(path, offset, len);
        let mut request = Request::new(Offset::At(offset), Some(len as u64));
        shape(&mut request);
        let ino = self.inodes[path];
        let mut source = &bytes[..];
        let res = DirectWrite::new(self.fs(), ino, request, &mut source).run();
        let file = self.model.file_mut(path).context("in the model")?;
        if let Ok(outcome) = &res {
            ensure!(outcome.written == len as u64, "wrote {} of {len}", outcome.written);
            file.write(offset, &bytes);
        } else {
            let size = file.size();
            let old = file.read(offset, len);
            let now = self.read(path, offset, old.len())?;
            for (i, (now, (old, new))) in
                now.chunks(512).zip(old.chunks(512).zip(bytes.chunks(512))).enumerate()
            {
                let new = &new[..now.len()];
                let is_one = now == old || now == new;
                ensure!(is_one, "sector {i} of a failed write at {offset} is neither old nor new");
            }
            ensure!(self.size(path)? == size, "a failed write moved the size");
            self.model.file_mut(path).context("in the model")?.write(offset, &now);
        }
        Ok(res)
    }

    pub(crate) fn size(&self, path: &str) -> Result<u64> {
        Ok(self.fs().inode(self.fs().meta(), self.inodes[path])?.i_size)
    }

    pub(crate) fn read(&self, path: &str, offset: u64, len: usize) -> Result<Vec<u8>> {
        let fs = self.fs();
        let inode = fs.inode(fs.meta(), self.inodes[path])?;
        let mut bytes = vec![0; len];
        let n = fs.read_at(fs.meta(), &inode, offset, &mut bytes)?;
        bytes.truncate(n);
        Ok(bytes)
    }

    pub(crate) fn truncate(&mut self, path: &str, size: u64) -> Result<()> {
        self.fs().truncate(self.inodes[path], size)?;
        self.model.file_mut(path).context("in the model")?.truncate(size);
        Ok(())
    }

    /// Preallocates; what a kind of file cannot have leaves it as it is.
    pub(crate) fn fallocate(
        &mut self,
        path: &str,
        offset: u64,
        len: u64,
        keep_size: bool,
    ) -> Result<()> {
        let file = self.model.file_mut(path).context("in the model")?;
        match self.fs.as_ref().expect("open").fallocate(self.inodes[path], offset, len, keep_size) {
            Ok(()) => file.allocate(offset, len, keep_size),
            // No extents; or no space, when the size stops where the blocks do.
            Err(err) if matches!(err.errno(), 95 | 28) => {
                let size = self.size(path)?;
                let file = self.model.file_mut(path).context("in the model")?;
                ensure!(
                    size >= file.size() && size <= file.size().max(offset + len),
                    "size {size}"
                );
                file.truncate(size);
            }
            Err(err) => return Err(err.into()),
        }
        Ok(())
    }

    /// Removes a file and makes an empty one of the same name.
    pub(crate) fn make_anew(&mut self, path: &str) -> Result<()> {
        let name = path.trim_start_matches('/').as_bytes();
        self.fs().unlink(InodeNr::ROOT, name)?;
        self.model.unlink(path);
        let ino = self.fs().create(InodeNr::ROOT, name, &NewFile::of_root(0o644))?;
        self.model.create(path);
        self.inodes.insert(path.to_owned(), ino);
        Ok(())
    }

    /// Every file equals the model, read by us.
    pub(crate) fn compare(&self) -> Result<()> {
        for (path, file) in self.model.files() {
            ensure!(self.size(path)? == file.size(), "{path}: size {}", self.size(path)?);
            let now = self.read(path, 0, usize::try_from(file.size())?)?;
            let expected = file.read(0, now.len());
            let wrong = now.iter().zip(&expected).position(|(a, b)| a != b);
            ensure!(now.len() == expected.len() && wrong.is_none(), "{path}: byte {wrong:?}");
        }
        Ok(())
    }

    /// Closes, has e2fsck look at it, and opens again.
    pub(crate) fn judge(&mut self) -> Result<()> {
        self.compare().context("before close")?;
        self.fs.take().expect("open").close()?;
        if !oracle::skip_without(&[oracle::Need::E2fsck]) {
            let found = oracle::e2fsck_device(&*self.device, oracle::FsckMode::Check)?;
            ensure!(found.is_clean(), "e2fsck -fn: {found:?}");
        }
        self.fs = Some(open(&self.device)?);
        self.compare().context("after open")
    }

    /// The kernel, mounting a copy, reads the same bytes.
    pub(crate) fn judge_by_kernel(&mut self) -> Result<()> {
        self.fs.take().expect("open").close()?;
        let scratch = oracle::scratch()?;
        let file = scratch.path().join("image");
        oracle::save(&*self.device, &file)?;
        self.fs = Some(open(&self.device)?);
        let mount = Mount::new(&file, "ro")?;
        for (path, model) in self.model.files() {
            let now = mount.read(path)?;
            ensure!(now.len() as u64 == model.size(), "{path}: the kernel reads {}", now.len());
            let expected = model.read(0, now.len());
            let wrong = now.iter().zip(&expected).position(|(a, b)| a != b);
            ensure!(wrong.is_none(), "{path}: the kernel reads another byte {wrong:?}");
        }
        mount.unmount()
    }
}
