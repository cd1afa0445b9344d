//! Quota files made anew: what each id holds so far, in the tree the kernel reads.

use ext4_ondisk::quota::{self, Kind, Record};
use std::collections::BTreeMap;

/// What one id holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) inodes: u64,
    pub(crate) bytes: u64,
}

/// The bytes of a quota file: header, the tree of ids, then the records.
pub(crate) fn file(kind: Kind, usage: &BTreeMap<u32, Usage>) -> Vec<u8> {
    let records: Vec<_> = usage
        .iter()
        .map(|(&id, held)| Record {
            id,
            inodes: held.inodes,
            space: held.bytes,
            ..Record::default()
        })
        .collect();
    quota::file(kind, (quota::GRACE, quota::GRACE), &records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ext4_ondisk::{Corrupt, quota::BLOCK};

    struct File(Vec<u8>);

    impl quota::Blocks for File {
        type Error = Corrupt;

        fn read(&self, blk: u32) -> Result<Vec<u8>, Corrupt> {
            Ok(self.0.chunks(BLOCK).nth(blk as usize).unwrap().to_vec())
        }

        fn len(&self) -> u32 {
            u32::try_from(self.0.len() / BLOCK).unwrap()
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
