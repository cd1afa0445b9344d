//! Pass 0: a superblock and descriptors to work with, and what is wrong with them.

mod copies;
mod descriptors;
mod fields;
mod foreign;
mod journal;
mod journal_device;
mod journal_inode;
mod mmp;
pub(crate) mod orphans;
mod primary;
mod relocate;
mod resize;
pub(crate) mod special;
mod superblock;
mod table;
mod visible;

pub(crate) use journal::{OwnJournal, own as own_journal, write_empty as write_empty_journal};

use crate::{Error, Options, Result, facts::Facts, gate::Gate, image::Image, session::Session};
use ext4_blockdev::Overlay;
use ext4_ondisk::{
    Corrupt,
    geometry::Geometry,
    group_desc::{DescFormat, GroupDesc},
    inode::InodeFormat,
    superblock::Superblock,
};
use ext4_units::GroupNr;
use std::sync::Arc;

/// Opens the filesystem in `overlay` for one round.
pub(crate) fn open<'r, 'a>(
    overlay: &Arc<Overlay>,
    options: &Options,
    gate: &'r mut Gate<'a>,
) -> Result<Session<'r, 'a>> {
    let unusable = |it: Corrupt| Error::NoSuperblock(it.to_string());
    let raw = primary::find(overlay, options, gate)?;
    let sb = Superblock::decode_unverified(&raw).map_err(unusable)?;
    let raw = superblock::check(raw, sb, overlay, options, gate)?;
    let sb = Superblock::decode_unverified(&raw).map_err(unusable)?;
    let geo = Geometry::new(&sb);
    let image = Image::new(Arc::clone(overlay), sb.block_size);
    let desc_format = DescFormat::new(&sb);
    let (descs, bad) = read_descriptors(&image, &geo, &desc_format)?;
    let mut session = Session {
        gate,
        image,
        format: InodeFormat::with_all_checksums(&sb),
        desc_format,
        descs,
        facts: Facts::default(),
        journal: options.journal.clone(),
        threads: options.threads,
        now: options.now,
        raw,
        sb,
        geo,
    };
    journal::recover(&mut session)?;
    descriptors::check(&mut session, &bad)?;
    journal::check(&mut session)?;
    visible::quota(&mut session)?;
    mmp::check(&mut session)?;
    resize::check(&mut session)?;
    orphans::check(&mut session)?;
    superblock::name(&mut session)?;
    copies::refresh(&mut session)?;
    Ok(session)
}

/// After pass 1, when it is known what is free: gives those structures a place that lost theirs.
pub(crate) fn settle(session: &mut Session<'_, '_>) -> Result<()> {
    relocate::descriptors(session)?;
    resize::settle(session)?;
    mmp::settle(session)
}

/// All descriptors, as they are, and which have a wrong checksum. One outside of the device is all
/// zeros.
fn read_descriptors(
    image: &Image,
    geo: &Geometry,
    format: &DescFormat,
) -> Result<(Vec<GroupDesc>, Vec<GroupNr>)> {
    let mut bad = Vec::new();
    let mut descs = Vec::new();
    let nothing = vec![0; format.desc_size()];
    for nr in 0..geo.desc_blocks() {
        let blk = geo.desc_block(nr);
        let block = if blk.0 < image.n_blocks() { image.read(blk)? } else { Vec::new() };
        let first = nr * geo.descs_per_block();
        for index in 0..geo.descs_per_block().min(geo.groups_count - first) {
            let at = index as usize * format.desc_size();
            let bytes = block.get(at..at + format.desc_size()).unwrap_or(&nothing);
            let group = GroupNr(first + index);
            if GroupDesc::decode(bytes, group, format).is_err() {
                bad.push(group);
            }
            let desc = GroupDesc::decode_unverified(bytes, group, format);
            descs.push(desc.map_err(|it| Error::NoSuperblock(it.to_string()))?);
        }
    }
    Ok((descs, bad))
}
