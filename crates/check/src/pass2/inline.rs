//! A directory inside its inode: the parent's number and entries in `i_block`, more entries in the
//! attribute system.data.

use super::{
    entries::{Entries, Expect},
    record::Area,
    view::{Ask, Report, View},
};
use crate::{Place, Result, facts::Directory, problem::pass2::INLINE_SIZE};
use ext4_ondisk::{
    inline_data,
    inode::RawInode,
    xattr::{self, Value},
};
use ext4_units::InodeNr;

/// Checks the entries of both parts.
pub(crate) fn check(
    view: View<'_>,
    dir: InodeNr,
    ask: &mut Ask<'_>,
    report: &mut Report,
    known: &Directory,
) -> Result<()> {
    let mut bytes = view.read_inode(dir)?;
    let mut raw = RawInode::read(&bytes);
    let extra = 128 + usize::from(raw.i_extra_isize.get());
    let (size, inodes) = (view.geo.block_size, view.geo.inodes_count);
    report.dotdot = inline_data::parent(&raw.i_block);
    report.names.extend([Some(dir), report.dotdot].into_iter().flatten());
    let mut is_changed = false;
    let place = Place::inode(dir).at_lblk(0_u32);
    let mut run = |area: &mut [u8], offset: usize, ask: &mut Ask<'_>| {
        let mut entries = Entries {
            view,
            dir,
            known,
            place: place.clone().at_offset(offset),
            ask: &mut *ask,
            report: &mut *report,
            is_changed: false,
            room: Vec::new(),
        };
        let whole = area.len() & !3;
        entries.check(&mut Area::new(&mut area[..whole], size, inodes), Expect::Name)?;
        Ok::<_, crate::Error>(entries.is_changed)
    };
    is_changed |= run(&mut raw.i_block[inline_data::DOTDOT_SIZE..], inline_data::DOTDOT_SIZE, ask)?;
    let body = bytes.get(extra..).unwrap_or_default();
    let mut new_body = None;
    if let Ok(mut entries) = xattr::parse_body(body, dir) {
        let data = entries.iter_mut().find(|it| inline_data::is_attribute(it));
        if let Some(Value::Here(value)) = data.map(|it| &mut it.value)
            && !value.is_empty()
        {
            let size = inline_data::BODY_LEN + value.len();
            let whole = size.next_multiple_of(4);
            let mut is_other = false;
            if size != whole
                && ask(&INLINE_SIZE, Place::inode(dir), size.to_string(), whole.to_string())?
            {
                // Zeros in place of what is padding anyway: no name becomes shorter.
                value.resize(whole - inline_data::BODY_LEN, 0);
                raw.i_size_lo.set(u32::try_from(whole).unwrap_or(u32::MAX));
                is_other = true;
            }
            if run(value, inline_data::BODY_LEN, ask)? || is_other {
                new_body = xattr::encode_body(&entries, body.len());
            }
        }
    }
    if let Some(new) = new_body {
        bytes[extra..].copy_from_slice(&new);
        is_changed = true;
    }
    if is_changed {
        raw.write_to(&mut bytes);
        report.inodes.push((dir, bytes));
    }
    // Nothing in it has an index.
    report.is_to_rebuild = false;
    Ok(())
}
