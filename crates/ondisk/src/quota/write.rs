//! A quota file made anew from its records, in the tree the kernel reads.

use super::{
    BLOCK, DEPTH, Kind, RECORDS_PER_BLOCK, RawHeader, RawRecord, RawRecordsHeader, Record,
};
use zerocopy::{FromZeros as _, IntoBytes as _};

/// Seconds a soft limit may be passed where nobody said otherwise: a week (`MAX_IQ_TIME`,
/// `MAX_DQ_TIME`).
pub const GRACE: u32 = 7 * 24 * 60 * 60;

/// The bytes of a quota file: header, the tree of ids, then the records. Each id may come once.
/// `block_grace` and `inode_grace` are the seconds that soft limits may be passed.
///
/// # Panics
/// With more records than ids exist, which only a caller's mistake can bring about.
pub fn file(kind: Kind, (block_grace, inode_grace): (u32, u32), records: &[Record]) -> Vec<u8> {
    let mut blocks: Vec<Vec<u8>> = vec![vec![0; BLOCK], vec![0; BLOCK]];
    let mut leaf = 0;
    let mut in_leaf = RECORDS_PER_BLOCK;
    for record in records {
        if in_leaf == RECORDS_PER_BLOCK {
            blocks.push(vec![0; BLOCK]);
            leaf = blocks.len() - 1;
            in_leaf = 0;
        }
        let at = size_of::<RawRecordsHeader>() + in_leaf * size_of::<RawRecord>();
        blocks[leaf][at..at + size_of::<RawRecord>()].copy_from_slice(record.encode().as_bytes());
        in_leaf += 1;
        set_used(&mut blocks[leaf], in_leaf);
        link(&mut blocks, record.id, leaf);
    }
    let mut header = RawHeader::new_zeroed();
    header.dqh_magic.set(kind.magic());
    header.dqh_version.set(1);
    header.dqi_bgrace.set(block_grace);
    header.dqi_igrace.set(inode_grace);
    header.dqi_blocks.set(number(blocks.len()));
    // The list of records blocks that have room has one member: the last.
    let has_room = in_leaf < RECORDS_PER_BLOCK;
    header.dqi_free_entry.set(if has_room { number(leaf) } else { 0 });
    blocks[0][..size_of::<RawHeader>()].copy_from_slice(header.as_bytes());
    blocks.concat()
}

fn number(n: usize) -> u32 {
    u32::try_from(n).expect("ids are 32 bits, and a file of all of them is below 2^32 blocks")
}

fn set_used(block: &mut [u8], entries: usize) {
    let mut header = RawRecordsHeader::new_zeroed();
    header.dqdh_entries.set(u16::try_from(entries).expect("at most 14 in a block"));
    block[..size_of::<RawRecordsHeader>()].copy_from_slice(header.as_bytes());
}

/// Makes the tree lead from the root to the records of `id`.
fn link(blocks: &mut Vec<Vec<u8>>, id: u32, leaf: usize) {
    let mut table = 1;
    for depth in 0..DEPTH {
        let at = usize::from(id.to_be_bytes()[depth as usize]) * 4;
        let mut next = [0; 4];
        next.copy_from_slice(&blocks[table][at..at + 4]);
        let mut next = u32::from_le_bytes(next) as usize;
        if depth + 1 == DEPTH {
            next = leaf;
        } else if next == 0 {
            blocks.push(vec![0; BLOCK]);
            next = blocks.len() - 1;
        }
        blocks[table][at..at + 4].copy_from_slice(&number(next).to_le_bytes());
        table = next;
    }
}
