//! Quota: what the files say their owners have, against what pass 1 counted.

use crate::{
    Error, Place, Result,
    facts::Usage,
    pass0::special::{self, Special},
    problem::pass6::QUOTA_USAGE,
    repair::File,
    session::Session,
};
use ext4_ondisk::{
    Corrupt,
    features::RoCompat,
    inode::{Inode, InodeFlags},
    quota::{self, BLOCK, Blocks, GRACE, Kind, Record},
};
use ext4_units::{BlockNr, InodeNr, LogicalBlock};
use std::collections::BTreeMap;

/// Largest quota file that is read: 32 bits of ids never need so much.
const LARGEST: u64 = 1 << 32;

/// Compares each quota file with what was counted, and writes it anew where they differ.
pub(super) fn check(session: &mut Session<'_, '_>) -> Result<()> {
    if !session.sb.features.has_ro_compat(RoCompat::QUOTA) {
        return Ok(());
    }
    for (kind, nr) in [(Kind::User, 0), (Kind::Group, 1), (Kind::Project, 2)] {
        let Some(Some(ino)) = session.sb.quota_inums.get(nr).copied() else { continue };
        if session.has_place(ino) {
            check_file(session, kind, nr, ino)?;
        }
    }
    Ok(())
}

fn check_file(session: &mut Session<'_, '_>, kind: Kind, nr: usize, ino: InodeNr) -> Result<()> {
    let file = special::read(session, ino)?;
    let said = match &file {
        Ok(file) => read(session, file, kind)?,
        Err(fault) => Err(fault.clone()),
    };
    let empty = BTreeMap::new();
    let counted = session.facts.usage.get(nr).unwrap_or(&empty).clone();
    let (found, grace, mut records) = match said {
        Ok(said) => match difference(&said.records, &counted) {
            None => return Ok(()),
            Some(text) => (text, said.grace, said.records),
        },
        Err(fault) => (fault, (GRACE, GRACE), BTreeMap::new()),
    };
    if !session.fix(&QUOTA_USAGE, Place::inode(ino), found, "")? {
        return Ok(());
    }
    for record in records.values_mut() {
        (record.inodes, record.space) = (0, 0);
    }
    for (&id, held) in &counted {
        let record = records.entry(id).or_insert(Record { id, ..Record::default() });
        (record.inodes, record.space) = (held.inodes, held.bytes);
    }
    // Who has nothing and may have anything needs no record.
    records.retain(|&id, it| *it != Record { id, ..Record::default() } || id == 0);
    let records: Vec<_> = records.into_values().collect();
    write(session, ino, file.ok(), &quota::file(kind, grace, &records))
}

/// What a quota file says.
struct Said {
    grace: (u32, u32),
    records: BTreeMap<u32, Record>,
}

/// Reads a quota file; else what is wrong with it.
fn read(
    session: &Session<'_, '_>,
    file: &Special,
    kind: Kind,
) -> Result<std::result::Result<Said, String>> {
    let blocks: Vec<BlockNr> = file.blocks().collect();
    let pieces = Pieces { session, blocks: &blocks, size: file.inode.size.min(LARGEST) };
    let read = || -> Result<Said> {
        let header = quota::header(&pieces.read(0)?, kind)?;
        let records = quota::all(&pieces)?.into_iter().map(|(_, it)| (it.id, it)).collect();
        Ok(Said { grace: (header.dqi_bgrace.get(), header.dqi_igrace.get()), records })
    };
    match read() {
        Ok(said) => Ok(Ok(said)),
        Err(Error::Device(err)) => Err(Error::Device(err)),
        Err(fault) => Ok(Err(fault.to_string())),
    }
}

/// The first owner of whom the file says something else.
fn difference(said: &BTreeMap<u32, Record>, counted: &BTreeMap<u32, Usage>) -> Option<String> {
    let nothing = Usage::default();
    for (&id, held) in counted {
        let (inodes, space) = said.get(&id).map_or((0, 0), |it| (it.inodes, it.space));
        if (inodes, space) != (held.inodes, held.bytes) {
            return Some(format!(
                "{inodes} inodes and {space} bytes for {id}, who has {} and {}",
                held.inodes, held.bytes
            ));
        }
    }
    for (id, record) in said {
        if counted.get(id).unwrap_or(&nothing) == &nothing
            && (record.inodes, record.space) != (0, 0)
        {
            let (inodes, space) = (record.inodes, record.space);
            return Some(format!("{inodes} inodes and {space} bytes for {id}, who has none"));
        }
    }
    None
}

/// Blocks of a quota file, which are not those of the filesystem.
struct Pieces<'s, 'r, 'a> {
    session: &'s Session<'r, 'a>,
    blocks: &'s [BlockNr],
    size: u64,
}

impl Blocks for Pieces<'_, '_, '_> {
    type Error = Error;

    fn read(&self, blk: u32) -> Result<Vec<u8>> {
        let byte = u64::from(blk) * BLOCK as u64;
        let size = self.session.image.size;
        let index = usize::try_from(byte >> size.bits()).unwrap_or(usize::MAX);
        let outside = || Corrupt::new("quota file", format!("block {blk} is not in it"));
        let place = *self.blocks.get(index).ok_or_else(outside)?;
        let block = self.session.image.read(place)?;
        let at = usize::try_from(byte).unwrap_or(usize::MAX) % size.len();
        Ok(block.get(at..at + BLOCK).ok_or_else(outside)?.to_vec())
    }

    fn len(&self) -> u32 {
        u32::try_from(self.size / BLOCK as u64).unwrap_or(u32::MAX)
    }
}

/// Replaces the contents of a quota file. It does not become shorter: the rest is zeros.
fn write(
    session: &mut Session<'_, '_>,
    ino: InodeNr,
    old: Option<Special>,
    contents: &[u8],
) -> Result<()> {
    let (inode, mut blocks) = if let Some(old) = old {
        let blocks: Vec<_> = old.blocks().collect();
        (old.inode, blocks)
    } else {
        let inode = Inode::new(0o100_600, session.sb.want_extra_isize, &session.format);
        (inode, Vec::new())
    };
    let size = session.image.size;
    let is_new = blocks.is_empty();
    let mut file = File::of(session, ino, inode);
    if is_new {
        file.begin_map();
        file.inode.links_count = 1;
        file.inode.flags |= InodeFlags::IMMUTABLE;
    }
    let needed = usize::try_from(size.blocks_for(contents.len() as u64)).unwrap_or(0);
    while blocks.len() < needed {
        let lblk = u32::try_from(blocks.len()).unwrap_or(u32::MAX);
        blocks.push(file.add_block(LogicalBlock(lblk))?);
    }
    file.inode.size = file.inode.size.max(contents.len() as u64);
    let mut inode = file.inode;
    let mut rest = contents.chunks(size.len());
    for blk in blocks {
        let mut block = vec![0; size.len()];
        if let Some(part) = rest.next() {
            block[..part.len()].copy_from_slice(part);
        }
        session.image.write(blk, &block)?;
    }
    session.put_special(ino, &mut inode)
}
