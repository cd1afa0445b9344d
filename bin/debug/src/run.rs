//! From what was typed to what is shown.

use crate::{
    cli::{Args, Command},
    image::{Devices, Image},
    manifest, show,
};
use ext4_cli::{Exit, Failure, Report};
use std::io::{self, BufWriter, Write as _};

/// Runs the program.
///
/// # Errors
/// One line and an exit code.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let report = Report::new(&args.common);
    let devices = Devices::open(args, &report)?;
    if matches!(args.command, Command::Super)
        && let Some(exit) = show::superblock::damaged(&report, &devices)?
    {
        return Ok(exit);
    }
    let image = Image::open(args, report, devices)?;
    match &args.command {
        Command::Super => show::superblock::show(&image),
        Command::Groups { group } => show::groups::show(&image, *group),
        Command::Inode { inode } => show::inode::show(&image, inode),
        Command::Extents { inode } => show::extents::show(&image, inode),
        Command::Ls { folder, recursive } => show::folder::show(&image, folder, *recursive),
        Command::Cat { file } => show::contents::show(&image, file),
        Command::Stat { inode } => show::stat::show(&image, inode),
        Command::Dump { inode, dest } => show::dump::show(&image, inode, dest),
        Command::Xattr { inode } => show::xattrs::show(&image, inode),
        Command::Journal => show::journal::show(&image),
        Command::Orphans => show::orphans::show(&image),
        Command::Block { block, path, hex } => {
            show::block::show(&image, *block, show::block::More { paths: *path, hex: *hex })
        }
        Command::Sizes { inode } => show::sizes::show(&image, inode),
        Command::Manifest => write_manifest(&image),
    }
}

fn write_manifest(image: &Image) -> Result<Exit, Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    let summary = manifest::write(&image.fs, image.meta(), &mut out)
        .and_then(|summary| out.flush().map(|()| summary))
        .map_err(Failure::output)?;
    Ok(show::exit(summary.damaged > 0))
}
