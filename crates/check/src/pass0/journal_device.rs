//! A journal on a device of its own: whether what is given is one, and this filesystem's
//! (`e2fsck_get_journal`, `ext4_get_journal_blkdev`).
//!
//! A wrong device ends the check: the right one may hold what is not yet in the filesystem, and
//! then nothing that is there can be judged.

use crate::{
    Error, Place, Problem, Result,
    problem::pass0::{
        JOURNAL_DEVICE_CHECKSUM, JOURNAL_DEVICE_HINT, JOURNAL_DEVICE_SUPERBLOCK,
        JOURNAL_DEVICE_UUID,
    },
    session::Session,
};
use ext4_blockdev::{BlockDevice as _, Overlay};
use ext4_jbd2::Log;
use ext4_ondisk::{features::Incompat, superblock::RawSuperblock, uuid};
use std::{fmt, sync::Arc};
use zerocopy::{FromZeros as _, IntoBytes as _};

/// Whether the superblock says that the journal is on another device.
pub(super) fn is_elsewhere(session: &Session<'_, '_>) -> bool {
    session.raw.s_journal_inum.get() == 0 && session.raw.s_journal_uuid != [0; 16]
}

/// The log on the device that is at hand, once that is known to be the right one; `None` when there
/// is no device, or its superblock stays damaged.
pub(super) fn check(session: &mut Session<'_, '_>) -> Result<Option<Log>> {
    let Some(device) = session.journal.clone() else { return Ok(None) };
    let overlay = device.overlay;
    let mut raw = RawSuperblock::new_zeroed();
    if overlay.len() >= RawSuperblock::OFFSET + RawSuperblock::SIZE as u64 {
        overlay.read_at(RawSuperblock::OFFSET, raw.as_mut_bytes())?;
    }
    let is_journal = raw.s_magic.get() == RawSuperblock::MAGIC
        && raw.s_feature_incompat.get() & Incompat::JOURNAL_DEV.bits() != 0;
    if !is_journal {
        let problem = &JOURNAL_DEVICE_SUPERBLOCK;
        return Err(refuse(session, problem, &"no journal device", &"one")?);
    }
    let (found, expected) = (raw.s_uuid, session.raw.s_journal_uuid);
    if found != expected {
        let (found, expected) = (uuid::text(&found), uuid::text(&expected));
        return Err(refuse(session, &JOURNAL_DEVICE_UUID, &found, &expected)?);
    }
    let size = session.geo.block_size;
    let bits = raw.s_log_block_size.get().saturating_add(10);
    if bits != size.bits() {
        let found = format!("s_log_block_size {}", raw.s_log_block_size);
        let expected = size.bits() - 10;
        return Err(refuse(session, &JOURNAL_DEVICE_SUPERBLOCK, &found, &expected)?);
    }
    let (sum, right) = (raw.s_checksum.get(), raw.checksum());
    if raw.has_checksum() && sum != right {
        let (sum, right) = (format!("{sum:#010x}"), format!("{right:#010x}"));
        if !session.fix(&JOURNAL_DEVICE_CHECKSUM, place(), sum, right)? {
            return Ok(None);
        }
        raw.update_checksum();
        overlay.write_at(RawSuperblock::OFFSET, raw.as_bytes())?;
    }
    if let Some(number) = device.number {
        hint(session, number)?;
    }
    Ok(Some(log(overlay, &raw, session)))
}

fn log(overlay: Arc<Overlay>, raw: &RawSuperblock, session: &Session<'_, '_>) -> Log {
    let blocks = raw.blocks_count().min(overlay.len() >> session.geo.block_size.bits());
    Log::external(overlay, blocks)
}

/// Tells that the device is the wrong one, and gives the error that ends the check.
pub(super) fn refuse(
    session: &mut Session<'_, '_>,
    problem: &'static Problem,
    found: &dyn fmt::Display,
    expected: &dyn fmt::Display,
) -> Result<Error> {
    let told = session.fix(problem, place(), found, expected);
    let why = format!(
        "{}: {}: found {found}, expected {expected} [{}]",
        place(),
        problem.text,
        problem.id
    );
    match told {
        // Nothing is to be decided: it has to be another device.
        Ok(_) | Err(Error::NeedsDecision(_)) => Ok(Error::Unsupported(why)),
        Err(other) => Err(other),
    }
}

/// The number by which the kernel finds the device.
fn hint(session: &mut Session<'_, '_>, number: u32) -> Result<()> {
    let found = session.raw.s_journal_dev.get();
    if found != number
        && session.fix(
            &JOURNAL_DEVICE_HINT,
            Place::what("superblock"),
            format!("{found:#x}"),
            format!("{number:#x}"),
        )?
    {
        session.raw.s_journal_dev.set(number);
        session.put_superblock()?;
    }
    Ok(())
}

fn place() -> Place {
    Place::what("journal device")
}
