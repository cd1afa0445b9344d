//! Where the bytes come from: a file, a pipe, or a terminal.

use crate::cli::Args;
use ext4_cli::{Failure, Stop};
use std::{
    borrow::Cow,
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read, Seek as _},
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::Path,
};

/// The input, which ends early when the user asks the run to stop.
pub(crate) struct Input {
    source: Box<dyn Read>,
    stop: Stop,
    /// How many bytes it will give, where that is known.
    pub(crate) length: Option<u64>,
    has_ended: bool,
}

impl Input {
    /// Opens what `args` names. The image itself is refused: it would change under the reading.
    pub(crate) fn open(args: &Args, image: &OsStr, stop: &Stop) -> Result<Self, Failure> {
        let name =
            args.input.as_deref().map_or(Cow::Borrowed("standard input"), Path::to_string_lossy);
        let at = |err: io::Error| Failure::operational(format_args!("{name}: {err}"));
        let mut source = match &args.input {
            None => File::from(io::stdin().as_fd().try_clone_to_owned().map_err(at)?),
            Some(path) => File::open(path).map_err(at)?,
        };
        let facts = source.metadata().map_err(at)?;
        if facts.is_dir() {
            return Err(at(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        let same = |it: fs::Metadata| (it.dev(), it.ino()) == (facts.dev(), facts.ino());
        if fs::metadata(image).is_ok_and(same) {
            return Err(Failure::usage(format_args!("{name}: input and image are one file")));
        }
        // Standard input may be a file that somebody has read from already.
        // Files of /proc say that they are empty, and are not.
        let available = if facts.is_file() && facts.len() > 0 {
            Some(facts.len().saturating_sub(source.stream_position().map_err(at)?))
        } else {
            None
        };
        // A length that was asked for is only known to come true when the input says so too.
        let length = match (available, args.length) {
            (Some(available), Some(asked)) => Some(available.min(asked)),
            (Some(available), None) => Some(available),
            (None, _) => None,
        };
        let source: Box<dyn Read> = match args.length {
            Some(asked) => Box::new(source.take(asked)),
            None => Box::new(source),
        };
        Ok(Self { source, stop: stop.clone(), length, has_ended: false })
    }

    /// Whether there are bytes that nobody has read. Not asked again once it has ended: a terminal
    /// would wait for its next line.
    pub(crate) fn has_more(&mut self) -> io::Result<bool> {
        loop {
            match self.read(&mut [0]) {
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                read => return Ok(read? > 0),
            }
        }
    }
}

impl Read for Input {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.stop.requested() || self.has_ended {
            return Ok(0);
        }
        let n = self.source.read(buf)?;
        self.has_ended = n == 0 && !buf.is_empty();
        Ok(n)
    }
}
