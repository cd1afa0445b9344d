//! The files that go in: from a directory or an archive, then the manifest, then the command line.

use crate::{
    cli::Args,
    extended::{self, Outside},
    meaning::latest,
};
use ext4_cli::{Failure, Progress, Stop};
use ext4_mkfs::Options;
use ext4_tree::{
    ArchiveOptions, Attributes, Error, Manifest, Names, NodeId, ScanOptions, Time, Tree,
    from_archive, from_directory,
};
use std::{
    ffi::OsStr,
    fs::File,
    io::{self, IsTerminal as _},
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

/// The tree that the command line asks for, if it asks for any; `image` is where it will go.
pub(crate) fn tree(
    args: &Args,
    outside: &Outside,
    options: &Options,
    image: &Path,
    stop: &Stop,
) -> Result<Option<Tree>, Failure> {
    let root = &outside.root;
    if args.populate.is_none() && args.manifest.is_none() && root.selinux.is_none() {
        return Ok(None);
    }
    let time = Time { sec: options.time, nsec: 0 };
    let mut tree = match &args.populate {
        Some(source) => from(source, args, image, stop)?,
        None => Tree::new(Attributes {
            perms: options.root_perms,
            uid: options.root_owner.0,
            gid: options.root_owner.1,
            mtime: time,
            ..Attributes::default()
        }),
    };
    let owner = args.owner.as_deref().map(|it| extended::owner("--owner", it)).transpose()?;
    each(&mut tree, |it| {
        if let Some((uid, gid)) = owner {
            (it.uid, it.gid) = (uid, gid);
        }
        if outside.no_copy_xattrs {
            it.xattrs.clear();
        }
    });
    if let Some(path) = &args.manifest {
        let text = std::fs::read(path);
        let text = text.map_err(|err| Failure::operational(err).at(path.display()))?;
        let manifest = Manifest::parse(path, &text).map_err(|err| failure(&err))?;
        manifest.apply(&mut tree, time).map_err(|err| failure(&err))?;
    }
    let it = &mut tree.node_mut(NodeId::ROOT).attributes;
    if let Some((uid, gid)) = root.owner {
        (it.uid, it.gid) = (uid, gid);
    }
    if let Some(perms) = root.perms {
        it.chmod(perms);
    }
    if let Some(label) = &root.selinux {
        // As setfilecon(3) writes it: with the NUL.
        let value = label.bytes().chain([0]).collect();
        it.xattrs.insert((*b"security.selinux").into(), value);
    }
    if let Some(sec) = latest(args, options) {
        let latest = Time { sec, nsec: 0 };
        each(&mut tree, |it| it.mtime = it.mtime.min(latest));
    }
    Ok(Some(tree))
}

fn each(tree: &mut Tree, mut change: impl FnMut(&mut Attributes)) {
    for id in 0..u32::try_from(tree.nodes().len()).unwrap_or(u32::MAX) {
        change(&mut tree.node_mut(NodeId(id)).attributes);
    }
}

fn from(source: &OsStr, args: &Args, image: &Path, stop: &Stop) -> Result<Tree, Failure> {
    let threads = args.threads.or_else(|| std::thread::available_parallelism().ok());
    let threads = threads.map_or(1, |it| u32::try_from(it.get()).unwrap_or(u32::MAX));
    let names = args.names.as_deref().map(names).transpose()?.unwrap_or_default();
    let spool = ArchiveOptions { spool: spool(image), limit: u64::MAX, threads, names };
    if source == "-" {
        let input = io::stdin();
        if input.is_terminal() {
            return Err(Failure::usage("-d -: standard input is a terminal, expected an archive"));
        }
        let input = input.as_fd().try_clone_to_owned().map_err(Failure::operational)?;
        let (file, path) = (File::from(input), Path::new("standard input"));
        is_not_image(&file, path, image)?;
        return archive(file, path, &spool, args, stop);
    }
    let path = Path::new(source);
    let host = |err| Failure::operational(err).at(path.display());
    if std::fs::metadata(path).map_err(host)?.is_dir() {
        return directory(path, image, args, stop);
    }
    let file = File::open(path).map_err(host)?;
    is_not_image(&file, path, image)?;
    archive(file, path, &spool, args, stop)
}

/// An archive is read while the image is written.
fn is_not_image(file: &File, path: &Path, image: &Path) -> Result<(), Failure> {
    let same = match (file.metadata(), std::fs::metadata(image)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    };
    if same {
        return Err(Failure::operational("is the image itself").at(path.display()));
    }
    Ok(())
}

/// The names in the passwd and group of a folder.
fn names(folder: &Path) -> Result<Names, Failure> {
    let read = |name| {
        let path = folder.join(name);
        std::fs::read(&path).map_err(|err| Failure::operational(err).at(path.display()))
    };
    Ok(Names::new(&read("passwd")?, &read("group")?))
}

fn directory(path: &Path, image: &Path, args: &Args, stop: &Stop) -> Result<Tree, Failure> {
    let progress = Progress::counting(&args.common, "scanning", "files");
    let mut last = 0;
    let image = std::fs::metadata(image).ok().filter(std::fs::Metadata::is_file);
    let options = ScanOptions {
        one_filesystem: args.one_file_system,
        refuse: image.iter().map(|it| (it.dev(), it.ino())).collect(),
        seen: Some(&mut |count| {
            last = count;
            progress.set(count);
            !stop.requested()
        }),
    };
    let tree = from_directory(path, options);
    progress.finish(last);
    tree.map_err(|err| failure(&err))
}

fn archive(
    file: File,
    path: &Path,
    options: &ArchiveOptions,
    args: &Args,
    stop: &Stop,
) -> Result<Tree, Failure> {
    let meta = file.metadata().ok();
    let total = meta.filter(std::fs::Metadata::is_file).map(|it| it.len());
    let progress = Progress::new(&args.common, "reading", total);
    let mut last = 0;
    let tree = from_archive(file, path, options, &mut |bytes| {
        last = bytes;
        progress.set(bytes);
        !stop.requested()
    });
    progress.finish(last);
    tree.map_err(|err| failure(&err))
}

/// Where an archive is unpacked to: beside the image, which needs as much room, unless TMPDIR says
/// where.
fn spool(image: &Path) -> PathBuf {
    if let Some(path) = std::env::var_os("TMPDIR").filter(|it| !it.is_empty()) {
        return path.into();
    }
    let folder = image.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if folder.starts_with("/dev") && !folder.starts_with("/dev/shm") {
        return PathBuf::from("/var/tmp");
    }
    folder.to_path_buf()
}

/// What is wrong with a source, for the person who gave it.
pub(crate) fn failure(err: &Error) -> Failure {
    match err {
        Error::Stopped => Failure::cancelled("stopped: nothing was written"),
        _ => Failure::operational(err),
    }
}
