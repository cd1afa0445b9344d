//! Quota files as mke2fs and e2fsck wrote them.

use crate::image::Opened;
use ext4_ondisk::{
    Corrupt,
    quota::{self, BLOCK, Blocks, Kind},
};
use ext4_testkit::image::Recipe;

struct File(Vec<u8>);

impl Blocks for File {
    type Error = Corrupt;

    fn read(&self, blk: u32) -> Result<Vec<u8>, Corrupt> {
        Ok(self.0.chunks(BLOCK).nth(blk as usize).unwrap_or_default().to_vec())
    }

    fn len(&self) -> u32 {
        u32::try_from(self.0.len() / BLOCK).unwrap()
    }
}

#[test]
fn quota_files_count_what_the_inodes_hold() {
    let recipe = Recipe::new("quota-4k")
        .write("/a", vec![1; 50_000])
        .write("/b", vec![2; 4096])
        .debugfs("set_inode_field /b uid 1000");
    let Some(image) = recipe.image() else { return };
    let it = Opened::new(image);
    for (kind, ino) in [Kind::User, Kind::Group].into_iter().zip(it.sb.quota_inums) {
        let ino = ino.unwrap();
        let inode = it.inode(ino);
        let mut bytes = Vec::new();
        for blk in Opened::blocks_of(&inode) {
            bytes.extend_from_slice(it.block(blk));
        }
        bytes.truncate(usize::try_from(inode.size).unwrap());
        let file = File(bytes);
        quota::header(&file.0, kind).unwrap();
        assert!(quota::header(&file.0, Kind::Project).is_err());
        let all = quota::all(&file).unwrap();
        for (place, record) in &all {
            assert_eq!(quota::find(&file, record.id).unwrap(), Some((*place, *record)));
            let at = place.blk as usize * BLOCK + place.offset;
            let raw = zerocopy::IntoBytes::as_bytes(&record.encode()).to_vec();
            assert_eq!(raw, file.0[at..at + 72], "id {}", record.id);
        }
        let space: u64 = all.iter().map(|(_, record)| record.space).sum();
        assert!(space >= 54_096, "{kind:?}: {all:?}");
        let ids: Vec<u32> = all.iter().map(|(_, record)| record.id).collect();
        let expected: &[u32] = if kind == Kind::User { &[0, 1000] } else { &[0] };
        assert_eq!(ids, expected, "{kind:?}");
    }
}
