//! Quota files made anew: what each id holds so far, in the tree the kernel reads.

use ext4_ondisk::quota::{
    BLOCK, DEPTH, Kind, RECORDS_PER_BLOCK, RawHeader, RawRecord, RawRecordsHeader, Record,
};
use std::collections::BTreeMap;
use zerocopy::{FromZeros as _, IntoBytes as _};

/// Seconds a soft limit may be passed: a week (`MAX_IQ_TIME`, `MAX_DQ_TIME`).
const GRACE: u32 = 7 * 24 * 60 * 60;

/// What one id holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) inodes: u64,
    pub(crate) bytes: u64,
}

/// The bytes of a quota file: header, the tree of ids, then the records.
pub(crate) fn file(kind: Kind, usage: &BTreeMap<u32, Usage>) -> Vec<u8> {
    let mut blocks: Vec<Vec<u8>> = vec![vec![0; BLOCK], vec![0; BLOCK]];
    let mut leaf = 0;
    let mut in_leaf = RECORDS_PER_BLOCK;
    for (&id, held) in usage {
        if in_leaf == RECORDS_PER_BLOCK {
            blocks.push(vec![0; BLOCK]);
            leaf = blocks.len() - 1;
            in_leaf = 0;
        }
        let record = Record { id, inodes: held.inodes, space: held.bytes, ..Record::default() };
        let at = size_of::<RawRecordsHeader>() + in_leaf * size_of::<RawRecord>();
        blocks[leaf][at..at + size_of::<RawRecord>()].copy_from_slice(record.encode().as_bytes());
        in_leaf += 1;
        set_used(&mut blocks[leaf], in_leaf);
        link(&mut blocks, id, leaf);
    }
    let mut header = RawHeader::new_zeroed();
    header.dqh_magic.set(kind.magic());
    header.dqh_version.set(1);
    header.dqi_bgrace.set(GRACE);
    header.dqi_igrace.set(GRACE);
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

#[cfg(test)]
mod tests {
    use super::*;
    use ext4_ondisk::{Corrupt, quota};

    struct File(Vec<u8>);

    impl quota::Blocks for File {
        type Error = Corrupt;

        fn read(&self, blk: u32) -> Result<Vec<u8>, Corrupt> {
            Ok(self.0.chunks(BLOCK).nth(blk as usize).unwrap().to_vec())
        }

        fn len(&self) -> u32 {
            number(self.0.len() / BLOCK)
        }
    }

    #[test]
    fn every_id_is_found_with_what_it_holds() {
        let held = |i: u32| Usage { inodes: u64::from(i) + 1, bytes: u64::from(i) * 4096 };
        let ids = (0..40).chain([1000, 65534, u32::MAX]);
        let usage: BTreeMap<_, _> = ids.map(|id| (id, held(id % 99))).collect();
        let file = File(file(Kind::User, &usage));
        quota::header(&file.0, Kind::User).unwrap();
        let found: BTreeMap<_, _> = quota::all(&file)
            .unwrap()
            .into_iter()
            .map(|(_, it)| (it.id, Usage { inodes: it.inodes, bytes: it.space }))
            .collect();
        assert_eq!(found, usage);
        assert!(quota::find(&file, 1001).unwrap().is_none());
    }

    #[test]
    fn the_file_of_a_new_filesystem_has_six_blocks() {
        let usage = BTreeMap::from([(0, Usage { inodes: 2, bytes: 20480 })]);
        assert_eq!(file(Kind::Group, &usage).len(), 6 * BLOCK);
    }
}
