//! The kernel as a judge: an image file mounted on a loop device, and always unmounted again.

use crate::{manifest::Manifest, oracle, process::run};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};
use tempfile::TempDir;

/// An image mounted by the kernel. Unmounted and detached when dropped, also by a panic.
#[derive(Debug)]
pub struct Mount {
    // `None` once unmounted; the folder must outlive the mount.
    dir: Option<TempDir>,
}

impl Mount {
    /// Mounts an image file as ext4, for reading and writing: the kernel replays the journal and
    /// removes orphans. `opts` as for `mount -o`, may be empty.
    ///
    /// # Errors
    /// With mount's words when the kernel refuses; nothing stays attached then.
    pub fn new(image: &Path, opts: &str) -> Result<Self> {
        let dir = oracle::scratch()?;
        // `loop` makes the device go away by itself with its last user, so that neither a failed
        // mount nor a killed test leaves one behind.
        let all = if opts.is_empty() { "loop".to_owned() } else { format!("loop,{opts}") };
        let paths = [image.as_os_str(), dir.path().as_os_str()];
        let args = ["-t", "ext4", "-o", &all].map(AsRef::as_ref).into_iter().chain(paths);
        run("mount", args, &[], b"", oracle::LIMIT)?.expect_ok("mount")?;
        Ok(Self { dir: Some(dir) })
    }

    /// As [`new`](Self::new), with the kernel's errno when it refuses.
    ///
    /// # Errors
    /// When mount(8) says something else than one of the errnos that ext4 has for a mount.
    pub fn attempt(image: &Path, opts: &str) -> Result<Result<Self, i32>> {
        let words = match Self::new(image, opts) {
            Ok(mount) => return Ok(Ok(mount)),
            Err(error) => format!("{error:#}"),
        };
        let known = [
            ("Structure needs cleaning", 117),
            ("Bad message", 74),
            ("probably corrupted filesystem", 74),
            ("wrong fs type, bad option, bad superblock", 22),
            ("can't read superblock", 5),
            ("Input/output error", 5),
            ("Operation not supported", 95),
            ("Operation canceled", 125),
            ("write-protected", 30),
        ];
        match known.iter().find(|it| words.contains(it.0)) {
            Some(&(_, errno)) => Ok(Err(errno)),
            None => bail!("{words}"),
        }
    }

    /// Mounts without replay and without any write: the image as it stands.
    pub fn as_it_stands(image: &Path) -> Result<Self> {
        Self::new(image, "ro,noload")
    }

    /// The folder it is mounted on.
    pub fn path(&self) -> &Path {
        self.dir.as_ref().expect("only unmount() takes it").path()
    }

    /// Where a path of the image is to be found.
    pub fn join(&self, path: &str) -> PathBuf {
        self.path().join(path.trim_start_matches('/'))
    }

    /// A file's bytes.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        fs::read(self.join(path)).with_context(|| format!("read {path} from the mounted image"))
    }

    /// Everything on it.
    pub fn manifest(&self) -> Result<Manifest> {
        Manifest::of_folder(self.path())
    }

    /// Unmounts now, and says so when that fails.
    pub fn unmount(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let Some(dir) = self.dir.take() else { return Ok(()) };
        let mut said = String::new();
        // Something may still look at a fresh mount for an instant (udev does).
        for _ in 0..100 {
            let out = run("umount", [dir.path()], &[], b"", oracle::LIMIT)?;
            if out.ok() {
                return Ok(());
            }
            said = out.text();
            thread::sleep(Duration::from_millis(50));
        }
        // Not to be emptied by the folder's own drop: those are the image's files.
        let path = dir.keep();
        bail!("umount {}: {}", path.display(), said.trim())
    }
}

impl Drop for Mount {
    #[expect(clippy::print_stderr, reason = "a mount left behind has to be known")]
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("{error:#}");
        }
    }
}

/// Lets the kernel recover an image (mount, unmount) and gives the manifest it saw.
pub fn recover(image: &Path) -> Result<Manifest> {
    let mount = Mount::new(image, "noatime,noinit_itable")?;
    let manifest = mount.manifest()?;
    mount.unmount()?;
    Ok(manifest)
}
