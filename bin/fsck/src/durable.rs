//! Files that are made on the host: new ones only, whole or not at all, and durable with their names before
//! anything relies on them.

use ext4_cli::Failure;
use std::{
    fmt::Display,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::Path,
};

/// Checks that nothing has the name yet: in time, before anybody has answered a question.
pub(crate) fn check_new(path: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(path) {
        Ok(_) => Err(Failure::operational("exists already").at(path.display())),
        Err(_) => Ok(()),
    }
}

/// Makes a file with what `fill` writes. On failure nothing of it is left: nobody shall believe it, and
/// the disk may be full of it.
pub(crate) fn create<E: From<io::Error>>(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let mut file = BufWriter::new(File::create_new(path)?);
    let made = fill(&mut file).and_then(|()| {
        file.flush()?;
        file.get_ref().sync_all()?;
        Ok(sync_name(path)?)
    });
    if made.is_err() {
        let _ = fs::remove_file(path);
    }
    made
}

/// Opens what was made so: a file, for anything else could keep the run waiting, or never end.
pub(crate) fn open(path: &Path) -> Result<File, Failure> {
    let failure = |err: &dyn Display| Failure::operational(err).at(path.display());
    match fs::metadata(path) {
        Ok(it) if !it.is_file() => Err(failure(&"not a regular file")),
        Ok(_) => File::open(path).map_err(|err| failure(&err)),
        Err(err) => Err(failure(&err)),
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes the name of a file or folder durable.
pub(crate) fn sync_name(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    sync(folder.unwrap_or(Path::new(".")))
}
