//! Pass 4: link counts against the names that were found, and inodes without any.

use crate::{
    Pass, Place, Result,
    bits::Bits,
    facts::Facts,
    problem::{
        pass3::REPAIR_FAILED,
        pass4::{
            DIR_LINK_OVERFLOW, DIR_NLINK, EA_INODE_FLAG, EA_INODE_REFS, EMPTY_UNATTACHED,
            LINK_COUNT, UNATTACHED,
        },
    },
    session::Session,
};
use ext4_ondisk::{
    features::RoCompat,
    inode::{FileType, InodeFlags, RawInode},
};
use ext4_units::InodeNr;

/// Links that can be counted (`EXT4_LINK_MAX`).
const LINK_MAX: u32 = 65_000;

/// Looks at every inode in use that has not as many names as links, as most have.
pub(crate) fn run(session: &mut Session<'_, '_>) -> Result<()> {
    // A name in lost+found may take an inode for lost+found itself: the list stays as it was.
    let inodes = uncommon(&session.facts);
    let total = inodes.len();
    for (done, ino) in (0..).zip(inodes.inodes()) {
        if done % 4096 == 0 {
            session.gate.progress(Pass::Four, done, total)?;
        }
        let nr = u64::from(ino.get());
        if !session.geo.is_ordinary_inode(ino) || session.facts.hidden.contains(nr) {
            continue;
        }
        if session.facts.ea_inodes.contains(nr) {
            if !value_of_attribute(session, ino)? {
                continue;
            }
        } else if session.facts.names.of(ino) == 0 {
            // What had no room in lost+found in a round before has none in this one.
            if session.gate.is_left(&REPAIR_FAILED, &Place::inode(ino)) {
                continue;
            }
            let result = attach(session, ino).map(drop);
            session.tolerate(Place::inode(ino), result)?;
            if session.facts.names.of(ino) == 0 {
                continue;
            }
        }
        count(session, ino)?;
    }
    Ok(())
}

/// Inodes in use with another number of names than of links, or with none or very many, and those that
/// hold values of attributes, which have no name.
fn uncommon(facts: &Facts) -> Bits {
    let mut inodes = facts.inodes.without(&facts.names.some);
    let counted = facts.links.beside(&facts.names.more).filter_map(|(ino, links, names)| {
        let links = links.map_or(1, |it| u32::from(*it));
        let names = names.copied().unwrap_or_else(|| facts.names.of(ino));
        (links != names || names > LINK_MAX).then_some(ino.get().into())
    });
    for nr in counted.chain(facts.ea_inodes.iter()) {
        if facts.inodes.contains(nr) {
            inodes.insert(nr);
        }
    }
    inodes
}

fn read(session: &Session<'_, '_>, ino: InodeNr) -> Result<(Vec<u8>, RawInode)> {
    let bytes = session.read_inode(ino)?;
    let raw = RawInode::read(&bytes);
    Ok((bytes, raw))
}

/// Writes the fields back.
fn write(session: &Session<'_, '_>, ino: InodeNr, bytes: &mut [u8], raw: &RawInode) -> Result<()> {
    raw.write_to(bytes);
    session.write_inode(ino, bytes)
}

/// An inode without a name: cleared when nothing is in it, else named. Whether it has names now.
fn attach(session: &mut Session<'_, '_>, ino: InodeNr) -> Result<bool> {
    let (_, raw) = read(session, ino)?;
    let place = Place::inode(ino);
    let has_blocks = raw.i_blocks_lo.get() != 0 || raw.l_i_blocks_high.get() != 0;
    let is_regular = FileType::of_mode(raw.i_mode.get()) == FileType::Regular;
    // A device or a pipe is never more than this.
    if !has_blocks && raw.file_acl() == 0 && raw.size() == 0 && is_regular {
        // Declined, it is given a name instead.
        if session.fix(&EMPTY_UNATTACHED, place.clone(), "", "")? {
            session.clear_inode(ino)?;
            return Ok(false);
        }
    }
    let file_type = FileType::of_mode(raw.i_mode.get());
    if session.fix(&UNATTACHED, place, format!("{file_type:?}").to_lowercase(), "")? {
        return session.reconnect(ino, file_type);
    }
    Ok(false)
}

/// An inode with the flag of an attribute's value. Whether it is an ordinary file after all.
fn value_of_attribute(session: &mut Session<'_, '_>, ino: InodeNr) -> Result<bool> {
    let expected = session.facts.ea_inode_refs.get(&ino).copied().unwrap_or(0);
    let (mut bytes, mut raw) = read(session, ino)?;
    let place = Place::inode(ino);
    if expected == 0 {
        if session.facts.names.of(ino) > 0 {
            if session.fix(&EA_INODE_FLAG, place, "", "")? {
                raw.i_flags.set(raw.i_flags.get() & !InodeFlags::EA_INODE.bits());
                write(session, ino, &mut bytes, &raw)?;
                session.facts.ea_inodes.remove(ino.get().into());
            }
            return Ok(true);
        }
        return attach(session, ino);
    }
    // `ext4_xattr_inode_get_ref`: the low half where the change counter is, the high half in ctime.
    let found = u64::from(raw.i_ctime.get()) << 32 | u64::from(raw.l_i_version.get());
    if found != expected && session.fix(&EA_INODE_REFS, place, found, expected)? {
        raw.i_ctime.set((expected >> 32) as u32);
        raw.l_i_version.set((expected & 0xFFFF_FFFF) as u32);
        write(session, ino, &mut bytes, &raw)?;
    }
    Ok(false)
}

/// Compares the count with the names.
fn count(session: &mut Session<'_, '_>, ino: InodeNr) -> Result<()> {
    let found = session.facts.links_of(ino);
    let names = session.facts.names.of(ino);
    let is_directory = session.facts.directories.contains(ino);
    let place = Place::inode(ino);
    let mut expected = names;
    if is_directory && names > LINK_MAX {
        if !session.sb.features.has_ro_compat(RoCompat::DIR_NLINK)
            && session.fix(&DIR_NLINK, place.clone(), names, LINK_MAX)?
        {
            session.raw.change_features(|it| it.ro_compat |= RoCompat::DIR_NLINK);
            session.put_superblock()?;
        }
        expected = 1;
    }
    if u32::from(found) == expected {
        return Ok(());
    }
    let expected = u16::try_from(expected).unwrap_or(u16::MAX);
    let is_overflow = is_directory && found == 1 && expected > 1;
    let has_overflow = session.sb.features.has_ro_compat(RoCompat::DIR_NLINK);
    let problem = if is_overflow && has_overflow { &DIR_LINK_OVERFLOW } else { &LINK_COUNT };
    if session.fix(problem, place, found, expected)? {
        let (mut bytes, mut raw) = read(session, ino)?;
        raw.i_links_count.set(expected);
        write(session, ino, &mut bytes, &raw)?;
        session.facts.links.insert(ino, expected);
    }
    Ok(())
}
