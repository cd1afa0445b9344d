//! Pass 1: every inode, what it maps and what it says of it, and the filesystem's own blocks.

mod attributes;
mod bad_blocks;
mod block_map;
mod budget;
mod convert;
mod encryption;
mod extents;
mod extra;
mod found;
mod frame;
mod garbage;
mod glance;
mod index;
mod inline;
mod inode;
mod kind;
mod map;
mod scan;
mod size;
mod special;
mod tree;
mod world;

pub(crate) use attributes::context as encryption_context;
pub(crate) use convert::run as convert;
pub(crate) use map::OldMap;
pub(crate) use tree::tree_blocks;

use crate::{Error, Place, Result, bits::Bits, problem::pass1::REVISION, session::Session};
use budget::Budget;
use ext4_ondisk::features::{Features, RoCompat};
use ext4_units::{BlockNr, InodeNr};
use found::{Found, Harvest};
use std::collections::BTreeSet;
use world::World;

/// Learns what is in use, and mends inodes one by one.
pub(crate) fn run(session: &mut Session<'_, '_>) -> Result<()> {
    let mut moves = frame::mark(session)?;
    let threads = session.threads;
    let none = BTreeSet::new();
    let blocks = session.image.n_blocks();
    let scan = |session: &mut Session<'_, '_>, budget: &Budget, threads| {
        let (world, gate) = split(session, &none, budget);
        scan::run(world, gate, threads)
    };
    let (mut harvest, is_over) = match scan(session, &Budget::of_scan(blocks), threads) {
        Err(Error::TooMuch) => {
            (scan(session, &Budget::in_order(blocks, Bits::default(), true), 1)?, true)
        }
        other => (other?, false),
    };
    mend(session, &mut harvest, is_over)?;
    moves.append(&mut harvest.moves);
    let old_maps = std::mem::take(&mut harvest.old_maps);
    let ratio_bits = session.geo.cluster_ratio_bits;
    let own = frame::clusters(&session.facts.metadata, ratio_bits);
    for (start, len) in own.runs() {
        harvest.claim(start, len);
    }
    harvest.into_facts(&mut session.facts, ratio_bits);
    attributes::settle(session)?;
    convert::run(session, old_maps)?;
    frame::relocate(session, moves)
}

/// The frame of the filesystem on one side, the one who may be asked on the other.
fn split<'s, 'a>(
    session: &'s mut Session<'_, 'a>,
    garbage: &'s BTreeSet<BlockNr>,
    budget: &'s Budget,
) -> (World<'s>, &'s mut crate::gate::Gate<'a>) {
    let raw = &session.raw;
    let count = session.geo.inodes_count;
    let is_early = |time: u32, high: u8| time != 0 && high == 0 && time < count;
    let knows_low_dtime = !is_early(raw.s_wtime.get(), raw.s_wtime_hi)
        && !is_early(raw.s_mtime.get(), raw.s_mtime_hi)
        && !is_early(raw.s_mkfs_time.get(), raw.s_mkfs_time_hi);
    let world = World {
        image: &session.image,
        raw,
        sb: &session.sb,
        geo: session.geo,
        format: session.format,
        descs: &session.descs,
        metadata: &session.facts.metadata,
        now: session.now,
        knows_low_dtime,
        garbage,
        budget,
        has_quota: session.sb.features.ro_compat.intersects(RoCompat::QUOTA | RoCompat::PROJECT),
    };
    (world, session.gate)
}

/// Checks the suspects again, in the order of their numbers, and mends them.
fn mend(session: &mut Session<'_, '_>, harvest: &mut Harvest, is_over: bool) -> Result<()> {
    let suspects = std::mem::take(&mut harvest.suspects);
    let named = if suspects.is_empty() { Bits::default() } else { harvest.claims.clone() };
    let budget = Budget::in_order(session.image.n_blocks(), named, is_over);
    let none = BTreeSet::new();
    let garbage = garbage::find(&split(session, &none, &budget).0, &suspects)?;
    let mut found = Found::default();
    for ino in suspects {
        let (world, gate) = split(session, &garbage, &budget);
        let Some(bytes) = world.read_inode(ino)? else { continue };
        let before = world.sb.features;
        let features =
            scan::check(&world, gate, &harvest.attributes, ino, bytes.into(), &mut found)?;
        harvest.take(ino, &mut found);
        if features != before {
            add_features(session, features)?;
        }
    }
    Ok(())
}

/// Sets features that inodes turned out to need.
fn add_features(session: &mut Session<'_, '_>, features: Features) -> Result<()> {
    session.raw.change_features(|it| *it = features);
    if session.raw.s_rev_level.get() == 0
        && session.fix(&REVISION, Place::what("superblock"), 0, 1)?
    {
        session.raw.raise_revision();
    }
    session.put_superblock()
}

/// Whether an inode's checksum is wrong. One of zeros alone has none.
fn checksum_is_bad(world: &World<'_>, ino: InodeNr, bytes: &[u8]) -> bool {
    world.format.verify(ino, bytes).is_err() && bytes.iter().any(|it| *it != 0)
}
