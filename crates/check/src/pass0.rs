//! Pass 0: a superblock and descriptors to work with, and what is wrong with them.

use crate::{Error, Options, Result, facts::Facts, gate::Gate, image::Image, session::Session};
use ext4_blockdev::{BlockDevice as _, Overlay};
use ext4_ondisk::{
    geometry::Geometry,
    group_desc::{DescFormat, GroupDesc},
    inode::InodeFormat,
    superblock::{RawSuperblock, Superblock},
};
use std::sync::Arc;
use zerocopy::{FromZeros as _, IntoBytes as _};

/// Opens the filesystem in `overlay` for one round.
pub(crate) fn open<'r, 'a>(
    overlay: &Arc<Overlay>,
    options: &Options,
    gate: &'r mut Gate<'a>,
) -> Result<Session<'r, 'a>> {
    let mut raw = RawSuperblock::new_zeroed();
    overlay.read_at(RawSuperblock::OFFSET, raw.as_mut_bytes())?;
    Superblock::check_magic(&raw).map_err(|it| Error::NoSuperblock(it.to_string()))?;
    let sb =
        Superblock::decode_unverified(&raw).map_err(|it| Error::NoSuperblock(it.to_string()))?;
    let geo = Geometry::new(&sb);
    let image = Image::new(Arc::clone(overlay), sb.block_size);
    let desc_format = DescFormat::new(&sb);
    let mut descs = Vec::new();
    for group in geo.groups() {
        let (blk, offset) = geo.desc_place(group);
        let block = image.read(blk)?;
        let bytes = block.get(offset..).unwrap_or_default();
        let desc = GroupDesc::decode_unverified(bytes, group, &desc_format);
        descs.push(desc.map_err(|it| Error::NoSuperblock(it.to_string()))?);
    }
    Ok(Session {
        gate,
        image,
        format: InodeFormat::new(&sb),
        desc_format,
        descs,
        facts: Facts::default(),
        threads: options.threads,
        now: options.now,
        raw,
        sb,
        geo,
    })
}
