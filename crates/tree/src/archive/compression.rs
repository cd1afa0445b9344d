//! Which compression an archive has, by its first bytes, and how to undo it.

use super::header::{BLOCK, Header};
use flate2::bufread::GzDecoder;
use liblzma::{
    bufread::XzDecoder,
    stream::{CONCATENATED, MtStreamBuilder, Stream},
};
use std::io::{self, BufRead, BufReader, Cursor, Read};

/// Memory that an xz or lzip decoder may take: every preset needs less, a hostile file asks for
/// more.
const MEMORY: u64 = 1 << 30;
/// More than the decoder's own limit is an error.
const MOST_THREADS: u32 = 256;
/// Memory from which on an xz decoder rather has fewer threads.
const MEMORY_OF_THREADS: u64 = 256 << 20;

/// How an archive is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    /// Not at all.
    None,
    /// gzip, RFC 1952.
    Gzip,
    /// xz.
    Xz,
    /// lzip.
    Lzip,
    /// Zstandard, RFC 8878.
    Zstd,
}

/// First bytes, and what they mean.
const MAGIC: &[(&[u8], Compression)] = &[
    (&[0x1F, 0x8B], Compression::Gzip),
    (&[0xFD, b'7', b'z', b'X', b'Z', 0], Compression::Xz),
    (b"LZIP", Compression::Lzip),
    (&[0x28, 0xB5, 0x2F, 0xFD], Compression::Zstd),
];

/// First bytes of what is not read, and its name.
const OTHERS: &[(&[u8], &str)] = &[
    (b"BZh", "bzip2"),
    (&[0x1F, 0x9D], "compress (.Z)"),
    (&[0x04, 0x22, 0x4D, 0x18], "lz4"),
    (&[0x5D, 0, 0], "lzma without a container"),
    (b"PK\x03\x04", "zip"),
    (b"7z\xBC\xAF\x27\x1C", "7z"),
    (b"070701", "cpio"),
    (b"070707", "cpio"),
    (b"!<arch>\n", "ar"),
    (b"hsqs", "squashfs"),
];

impl Compression {
    /// What `head`, the first block of an archive, says. A tar header goes first: a file's name may
    /// begin as anything does.
    ///
    /// # Errors
    /// Names what is known and not read.
    pub(super) fn of(head: &[u8]) -> Result<Self, String> {
        if head.is_empty() {
            return Err("empty, expected an archive".to_owned());
        }
        if head.try_into().is_ok_and(|block| Header::new(block).is_ok()) {
            return Ok(Self::None);
        }
        if let Some((_, found)) = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Ok(*found);
        }
        // A skippable frame, which pzstd and some signers put first.
        if let [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..] = head {
            return Ok(Self::Zstd);
        }
        match OTHERS.iter().find(|(magic, _)| head.starts_with(magic)) {
            Some((_, found)) => {
                Err(format!("found {found}, expected tar, alone or in gzip, xz, lzip or zstd"))
            }
            None => Ok(Self::None),
        }
    }
}

/// Undoes the compression that the first bytes tell of, xz with this many threads where the file is
/// made of blocks.
///
/// # Errors
/// Of reading; and what [`Compression::of`] says.
pub(super) fn unpacked(mut input: impl Read + 'static, threads: u32) -> io::Result<Box<dyn Read>> {
    let mut head = Vec::with_capacity(BLOCK);
    input.by_ref().take(BLOCK as u64).read_to_end(&mut head)?;
    let found =
        Compression::of(&head).map_err(|why| io::Error::new(io::ErrorKind::Unsupported, why))?;
    let input = Cursor::new(head).chain(input);
    let buffered = |input| BufReader::with_capacity(1 << 17, input);
    Ok(match found {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(Members::new(buffered(input), Gzip)?),
        Compression::Xz => Box::new(Members::new(buffered(input), Xz { threads })?),
        Compression::Lzip => {
            let stream = Stream::new_lzip_decoder(MEMORY, CONCATENATED)?;
            Box::new(XzDecoder::new_stream(buffered(input), stream))
        }
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(buffered(input))?),
    })
}

/// A format in which several compressed files, one behind the other, are one.
trait Format<R> {
    type Decoder: Read;
    /// The first bytes of each.
    const MAGIC: &[u8];
    fn begin(&self, input: R) -> io::Result<Self::Decoder>;
    fn end(decoder: Self::Decoder) -> R;
}

struct Gzip;

impl<R: BufRead> Format<R> for Gzip {
    type Decoder = GzDecoder<R>;
    const MAGIC: &[u8] = &[0x1F];

    fn begin(&self, input: R) -> io::Result<Self::Decoder> {
        Ok(GzDecoder::new(input))
    }

    fn end(decoder: Self::Decoder) -> R {
        decoder.into_inner()
    }
}

struct Xz {
    threads: u32,
}

impl<R: BufRead> Format<R> for Xz {
    type Decoder = XzDecoder<R>;
    const MAGIC: &[u8] = &[0xFD];

    fn begin(&self, input: R) -> io::Result<Self::Decoder> {
        let stream = MtStreamBuilder::new()
            .threads(self.threads.clamp(1, MOST_THREADS))
            .memlimit_threading(MEMORY_OF_THREADS)
            .memlimit_stop(MEMORY)
            .decoder()?;
        Ok(XzDecoder::new_stream(input, stream))
    }

    fn end(decoder: Self::Decoder) -> R {
        decoder.into_inner()
    }
}

/// All of them, and the zeros that may be behind each: padding of xz, or of tapes.
struct Members<R, F: Format<R>> {
    format: F,
    /// None behind the last.
    decoder: Option<F::Decoder>,
}

impl<R: BufRead, F: Format<R>> Members<R, F> {
    fn new(input: R, format: F) -> io::Result<Self> {
        let decoder = Some(format.begin(input)?);
        Ok(Self { format, decoder })
    }
}

impl<R: BufRead, F: Format<R>> Read for Members<R, F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.decoder {
            let n_read = decoder.read(buf)?;
            if n_read > 0 || buf.is_empty() {
                return Ok(n_read);
            }
            let Some(mut rest) = self.decoder.take().map(F::end) else { break };
            loop {
                let next = rest.fill_buf()?;
                let n_zeros = next.iter().take_while(|it| **it == 0).count();
                if n_zeros == 0 {
                    break;
                }
                rest.consume(n_zeros);
            }
            let next = rest.fill_buf()?;
            if next.starts_with(F::MAGIC) {
                self.decoder = Some(self.format.begin(rest)?);
            } else if !next.is_empty() {
                return Err(io::Error::other("something else behind the compressed data"));
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compression_is_told_by_magic_and_what_is_not_read_by_name() {
        assert_eq!(Compression::of(&[0x1F, 0x8B, 8, 0]), Ok(Compression::Gzip));
        assert_eq!(Compression::of(&[0x5A, 0x2A, 0x4D, 0x18, 0]), Ok(Compression::Zstd));
        assert_eq!(Compression::of(&[0; 512]), Ok(Compression::None));
        let err = Compression::of(b"BZh91AY").expect_err("not read");
        assert_eq!(err, "found bzip2, expected tar, alone or in gzip, xz, lzip or zstd");
        assert_eq!(Compression::of(b""), Err("empty, expected an archive".to_owned()));
    }

    #[test]
    fn a_file_may_be_called_as_a_compression_begins() {
        let mut header = tar::Header::new_ustar();
        header.set_path("BZh").expect("short");
        header.set_size(0);
        header.set_mode(0o644);
        header.set_cksum();
        assert_eq!(Compression::of(header.as_bytes()), Ok(Compression::None));
    }
}
