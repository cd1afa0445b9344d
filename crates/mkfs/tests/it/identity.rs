//! The same files give the same filesystem, and others another one.

use crate::trees;
use ext4_blockdev::MemoryDevice;
use ext4_mkfs::{
    Options, Written, features,
    options::{Identity, Kind},
    plan, write,
};
use ext4_testkit::oracle::{self, FsckMode, Need};
use ext4_tree::{Contents, Kind as File, Tree};
use std::{num::NonZero, sync::Arc};

const LEN: u64 = 24 << 20;

fn options(tree: Tree) -> Options {
    Options { kind: Kind::Ext4, tree: Some(Arc::new(tree)), ..Options::default() }
}

fn made(options: &Options, threads: usize, before: u8) -> (Vec<u8>, Written) {
    let device = MemoryDevice::new(vec![before; usize::try_from(LEN).unwrap()]);
    let plan = plan(options, LEN).unwrap();
    let written = write(&plan, &device, NonZero::new(threads).unwrap(), &mut ()).unwrap();
    (device.contents(), written)
}

/// The same names, attributes and sizes; one byte of one file is another.
fn one_byte_changed() -> Tree {
    let mut tree = trees::mixed();
    let large = tree.find(&[b"large"]).unwrap();
    let mut bytes = vec![b'x'; 700_000];
    bytes[650_000] = b'y';
    tree.node_mut(large).kind = File::Regular(Contents::bytes(bytes));
    tree
}

#[test]
fn the_number_of_threads_and_what_was_there_are_of_no_effect() {
    let options = options(trees::mixed());
    let (first, _) = made(&options, 1, 0);
    for (threads, before) in [(2, 0), (7, 0), (3, 0xA5)] {
        assert!(first == made(&options, threads, before).0, "{threads} threads over {before:#x}");
    }
}

#[test]
fn other_contents_make_another_filesystem_which_is_as_sound() {
    for words in ["", "metadata_csum_seed,mmp,orphan_file,quota", "^metadata_csum,uninit_bg"] {
        let mut all = Vec::new();
        for tree in [trees::mixed(), one_byte_changed()] {
            let mut options = options(tree);
            options.features = features::parse(words).unwrap();
            let (image, written) = made(&options, 2, 0);
            assert_eq!(image[1024 + 0x68..1024 + 0x78], written.uuid, "{words}");
            if !oracle::skip_without(&[Need::E2fsck]) {
                let device = MemoryDevice::new(image);
                let fsck = oracle::e2fsck_device(&device, FsckMode::Check).unwrap();
                assert!(fsck.is_clean(), "{words}: {fsck:?}");
            }
            all.push(written.uuid);
        }
        assert_ne!(all[0], all[1], "{words}");
    }
}

#[test]
fn a_uuid_that_is_given_is_kept() {
    let given = *b"sixteen bytes ok";
    let options = Options { uuid: Identity::Given(given), ..options(one_byte_changed()) };
    let (image, written) = made(&options, 2, 0);
    assert_eq!(written.uuid, given);
    assert_eq!(image[1024 + 0x68..1024 + 0x78], given);
}
