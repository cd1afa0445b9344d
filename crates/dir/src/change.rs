//! Removing a name, and letting one name another inode. Each writes one block.

use crate::{Context, DirStore, Entry, Error, area::set_in, block::Kind, find};
use ext4_ondisk::{
    Corrupt,
    dir_entry::{Area, FileType},
};
use ext4_units::InodeNr;

/// Removes the entry `name` and says what it was (`ext4_delete_entry`). Blocks never become fewer.
pub fn remove<S: DirStore + ?Sized>(
    context: &Context,
    store: &mut S,
    name: &[u8],
) -> Result<Entry, S::Error> {
    context.check_writable()?;
    context.check_name(name)?;
    let entry = find(context, store, name)?.ok_or_else(|| context.not_found(name))?;
    rewrite(context, store, &entry, |area, place| {
        context.remove_from(area, place, entry.place.offset)
    })?;
    Ok(entry)
}

/// Lets the entry `name`, which may be `..`, name `ino` instead, and says what it was
/// (`ext4_setent`): the step of a rename that replaces, and of moving a directory.
pub fn set_entry<S: DirStore + ?Sized>(
    context: &Context,
    store: &mut S,
    name: &[u8],
    ino: InodeNr,
    file_type: FileType,
) -> Result<Entry, S::Error> {
    context.check_writable()?;
    let entry = find(context, store, name)?.ok_or_else(|| context.not_found(name))?;
    let raw_type = context.raw_type(file_type);
    rewrite(context, store, &entry, |area, place| {
        set_in(area, place, entry.place.offset, ino, raw_type)
    })?;
    Ok(entry)
}

fn rewrite<S: DirStore + ?Sized>(
    context: &Context,
    store: &mut S,
    entry: &Entry,
    change: impl FnOnce(&mut [u8], Area) -> Result<(), Corrupt>,
) -> Result<(), S::Error> {
    let lblk = entry.place.lblk;
    let block = context.read(store, lblk)?;
    let place = context.area(lblk);
    if block.kind != Kind::Leaf && !entry.is_dot_or_dotdot() {
        let fault = "an index block, expected entries";
        return Err(Error::from(place.corrupt_at(entry.place.offset, fault)).into());
    }
    let mut bytes = block.bytes.to_vec();
    // An index root's `.` and `..` lie before its tail, whatever its length.
    let area = bytes.get_mut(..context.leaf_len()).unwrap_or_default();
    match block.kind {
        Kind::Leaf => change(area, place).map_err(Error::from)?,
        Kind::Root | Kind::Node => change(&mut bytes, place).map_err(Error::from)?,
    }
    context.seal(block.kind, &mut bytes, store.n_blocks())?;
    store.write(lblk, bytes)
}
