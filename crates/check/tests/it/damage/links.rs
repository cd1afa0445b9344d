//! More links than can be counted.

use crate::kit::{ids, mend, with_superblock};
use ext4_blockdev::{BlockDevice as _, MemoryDevice};
use ext4_mkfs::{Options, features, plan, write};
use ext4_testkit::{
    image::{Image, assert_clean},
    oracle::{Need, skip_without},
};
use ext4_tree::{Attributes, NodeId, Tree};
use std::{num::NonZero, sync::Arc};

/// `EXT4_FEATURE_RO_COMPAT_DIR_NLINK`.
const DIR_NLINK: u32 = 0x20;

/// A directory of more subdirectories than its link count can say.
fn crowd() -> Image {
    let mut tree = Tree::new(Attributes { perms: 0o755, ..Attributes::default() });
    let directory = tree.node(NodeId::ROOT).clone();
    let crowd = tree.add(NodeId::ROOT, b"crowd", directory.clone()).unwrap();
    for nr in 0..65_000 {
        tree.add(crowd, nr.to_string().as_bytes(), directory.clone()).unwrap();
    }
    // In their inodes they need no blocks.
    let features = features::parse("inline_data").unwrap();
    let options = Options { tree: Some(Arc::new(tree)), features, ..Options::default() };
    let plan = plan(&options, 64 << 20).unwrap();
    let mut bytes = vec![0; 64 << 20];
    let device = MemoryDevice::new(bytes.clone());
    write(&plan, &device, NonZero::<usize>::MIN, &mut ()).unwrap();
    device.read_at(0, &mut bytes).unwrap();
    Image::new(bytes)
}

#[test]
fn a_crowded_directory_needs_the_feature_that_lets_it_count_one() {
    let without = with_superblock(&crowd(), |raw| {
        raw.s_feature_ro_compat.set(raw.s_feature_ro_compat.get() & !DIR_NLINK);
    });
    let (outcome, mended) = mend(&without, 2);
    assert_eq!(ids(&outcome), ["dir-nlink"]);
    assert_eq!(ids(&mend(&mended, 2).0), [""; 0]);
    if !skip_without(&[Need::E2fsck]) {
        assert_clean(&*mended.device()).unwrap();
    }
}
