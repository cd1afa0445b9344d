//! From what was typed to the library's options.

use crate::{
    cli::{Args, FsSize},
    extended::{self, Outside},
    values::{percent, size_in, uuid},
};
use ext4_cli::{Failure, clock};
use ext4_mkfs::{
    features,
    options::{Identity, Kind, OnErrors, Options},
    presets,
};
use ext4_ondisk::features::Features;
use ext4_units::BlockSize;
use std::{io::Read as _, os::unix::ffi::OsStrExt as _};

/// The options, and what is not the library's.
#[derive(Debug)]
pub(crate) struct Meaning {
    pub(crate) options: Options,
    pub(crate) outside: Outside,
}

/// Reads the whole command line.
pub(crate) fn meaning(args: &Args) -> Result<Meaning, Failure> {
    refused(args)?;
    let mut options = Options::default();
    let mut outside = Outside::default();
    options.kind = kind(&args.kind)?;
    options.usage = list(args.usage_type.as_deref());
    options.block_size = args.block_size.map(block_size).transpose()?;
    let unit = options.block_size.map_or(1024, |it| u64::from(it.bytes()));
    options.size = match &args.fs_size {
        Some(text) => Some(size_in(text, unit)?),
        None => match args.size {
            Some(FsSize::Bytes(bytes)) => Some(bytes),
            Some(FsSize::Min) | None => None,
        },
    };
    options.cluster_size = args.cluster_size.map(|it| narrow("cluster size", it)).transpose()?;
    options.blocks_per_group = args.blocks_per_group;
    options.groups_per_flex = args.groups_per_flex;
    options.inode_ratio = args.inode_ratio.map(|it| narrow("inode ratio", it)).transpose()?;
    options.inode_size = args.inode_size.map(|it| narrow("inode size", it)).transpose()?;
    options.inodes = args.inodes;
    options.revision = args.revision.unwrap_or(1);
    if let Some(text) = &args.reserved {
        options.reserved = percent(text).ok_or_else(|| {
            Failure::usage(format_args!("-m: found `{text}`, expected a percentage from 0 to 50"))
        })?;
    }
    options.label = bytes(args.label.as_deref());
    options.last_mounted = bytes(args.last_mounted.as_deref());
    options.errors = errors(args.errors.as_deref())?;
    options.creator_os = system(args.creator_os.as_deref())?;
    options.time = time(args.time.as_deref())?;
    for word in &args.features {
        options.features.extend(features::parse(word).map_err(Failure::usage)?);
    }
    if args.has_journal {
        options.features.extend(Features::named("has_journal").map(features::Edit::On));
    }
    for text in &args.extended {
        extended::extended(text, unit, &mut options, &mut outside)?;
    }
    if args.nodiscard {
        options.discard = false;
    }
    if let Some(text) = &args.journal {
        extended::journal(text, unit, &mut options, &mut outside)?;
        // As with mke2fs, options of a journal ask for one.
        options.features.extend(Features::named("has_journal").map(features::Edit::On));
    }
    if let Some(path) = &args.bad_blocks {
        options.bad_blocks = bad_blocks(path)?;
    }
    for name in &args.compat {
        let preset = presets::named(name).map_err(Failure::usage)?;
        preset.apply(&mut options).map_err(Failure::usage)?;
    }
    identities(args, &mut options)?;
    Ok(Meaning { options, outside })
}

/// What mke2fs takes and leaves no trace on disk, or cannot be had here.
fn refused(args: &Args) -> Result<(), Failure> {
    let why = [
        (
            args.check > 0,
            "-c: blocks are not looked for here: write a list with badblocks(8) and give it with -l",
        ),
        (
            args.direct,
            "-D: what is written goes through the cache and is flushed before the superblock, which \
             direct IO would not make safer",
        ),
        (
            args.undo.is_some(),
            "-z: no undo file is written: what is there is refused by name without -F, and e2image(8) \
             keeps it",
        ),
    ];
    match why.iter().find(|it| it.0) {
        Some((_, why)) => Err(Failure::usage(why)),
        None => Ok(()),
    }
}

/// Numbers of `s_creator_os`.
fn system(text: Option<&str>) -> Result<u32, Failure> {
    const NAMES: [&str; 5] = ["linux", "hurd", "masix", "freebsd", "lites"];
    let Some(text) = text else { return Ok(0) };
    let lower = text.to_ascii_lowercase();
    let name = lower.strip_prefix("gnu/").unwrap_or(&lower);
    let named = (0..).zip(NAMES).find(|it| it.1 == name || (name == "gnu" && it.1 == "hurd"));
    match named {
        Some((number, _)) => Ok(number),
        None => crate::values::number("-o: the system", text),
    }
}

fn kind(text: &str) -> Result<Kind, Failure> {
    match text {
        "ext2" => Ok(Kind::Ext2),
        "ext3" => Ok(Kind::Ext3),
        "ext4" => Ok(Kind::Ext4),
        _ => Err(Failure::usage(format_args!("-t: found `{text}`, expected ext2, ext3 or ext4"))),
    }
}

fn list(text: Option<&str>) -> Vec<String> {
    let words = text.unwrap_or_default().split(',').map(str::trim);
    words.filter(|it| !it.is_empty()).map(str::to_owned).collect()
}

fn block_size(bytes: u64) -> Result<BlockSize, Failure> {
    u32::try_from(bytes).ok().and_then(BlockSize::from_bytes).ok_or_else(|| {
        Failure::usage(format_args!(
            "-b: found {bytes}, expected a power of two from 1024 to 65536"
        ))
    })
}

fn narrow(what: &str, bytes: u64) -> Result<u32, Failure> {
    u32::try_from(bytes)
        .map_err(|_large| Failure::usage(format_args!("{what} {bytes}, expected below 2^32")))
}

fn bytes(text: Option<&std::ffi::OsStr>) -> Vec<u8> {
    text.map(|it| it.as_bytes().to_vec()).unwrap_or_default()
}

fn errors(text: Option<&str>) -> Result<OnErrors, Failure> {
    match text {
        None | Some("continue") => Ok(OnErrors::Continue),
        Some("remount-ro") => Ok(OnErrors::RemountReadOnly),
        Some("panic") => Ok(OnErrors::Panic),
        Some(other) => Err(Failure::usage(format_args!(
            "-e: found `{other}`, expected continue, remount-ro or panic"
        ))),
    }
}

/// The time that no file's may be later than: one that was asked for.
pub(crate) fn latest(args: &Args, options: &Options) -> Option<i64> {
    let is_given = args.time.is_some() || clock::source_date_epoch().is_some();
    is_given.then_some(options.time)
}

fn time(text: Option<&str>) -> Result<i64, Failure> {
    match text {
        Some("now") => Ok(clock::now().0),
        Some(seconds) => crate::values::number("--time", seconds),
        // The clock is no input unless it is asked for: the same input, the same image.
        None => Ok(clock::source_date_epoch().unwrap_or(0)),
    }
}

/// One number a line, as badblocks(8) writes them.
fn bad_blocks(path: &std::path::Path) -> Result<Vec<u64>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|err| Failure::operational(err).at(path.display()))?;
    let lines = text.lines().map(str::trim).filter(|it| !it.is_empty() && !it.starts_with('#'));
    lines
        .map(|line| crate::values::number("a bad block", line).map_err(|it| it.at(path.display())))
        .collect()
}

fn identities(args: &Args, options: &mut Options) -> Result<(), Failure> {
    let read = |text: Option<&str>, so_far: Identity| match text {
        Some("random") => Ok(Identity::Given(random()?)),
        Some("clear" | "null") => Ok(Identity::Given([0; 16])),
        Some(text) => uuid(text).map(Identity::Given).ok_or_else(|| {
            Failure::usage(format_args!(
                "found `{text}`, expected a uuid of 32 hexadecimal digits, clear or random"
            ))
        }),
        None if args.random && so_far == Identity::Derived => Ok(Identity::Given(random()?)),
        None => Ok(so_far),
    };
    options.uuid = read(args.uuid.as_deref(), options.uuid)?;
    options.hash_seed = read(args.hash_seed.as_deref(), options.hash_seed)?;
    Ok(())
}

/// A uuid of version 4.
fn random() -> Result<[u8; 16], Failure> {
    const SOURCE: &str = "/dev/urandom";
    let mut bytes = [0; 16];
    std::fs::File::open(SOURCE)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|err| Failure::operational(err).at(SOURCE))?;
    bytes[6] = bytes[6] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    Ok(bytes)
}
