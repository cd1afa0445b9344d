//! `cat`: the bytes of a file.

use crate::{
    cli::Spec,
    image::Image,
    print::{Document, Fields},
    show::exit,
    text::hex,
};
use ext4_cli::{Exit, Failure};

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;

/// Passes them to standard output; as JSON they are in hexadecimal.
pub(crate) fn show(image: &Image, spec: &Spec) -> Result<Exit, Failure> {
    let inode = image.inode(spec)?;
    let mut chunk = vec![0; CHUNK];
    let mut offset = 0;
    // The first piece is read before anything is printed, so that a refusal is only one line.
    let mut read = |offset| {
        let n = image.fs.read_at(image.meta(), &inode, offset, &mut chunk);
        n.map(|n| chunk[..n].to_vec()).map_err(|err| image.fail(&err))
    };
    let mut piece = read(0)?;
    let mut doc = image.report.is_json().then(|| Document::begin(&image.report)).transpose()?;
    if let Some(doc) = &mut doc {
        let mut head = Fields::new();
        head.put("ino", inode.ino.get()).put("i_size", inode.i_size);
        doc.fields(&head)?;
        doc.raw(b",\n\"hex\":\"")?;
    }
    while !piece.is_empty() {
        image.check_stop()?;
        match &mut doc {
            Some(doc) => doc.raw(hex(&piece).as_bytes())?,
            None => image.report.bytes(&piece)?,
        }
        offset += piece.len() as u64;
        piece = read(offset)?;
    }
    if let Some(mut doc) = doc {
        doc.raw(b"\"")?;
        doc.finish()?;
    }
    Ok(exit(false))
}
