//! Any bytes are a directory to somebody: no panic, no endless walk, and damage is said.

use crate::{
    mem::{Mem, MemError, context, ino},
    model::{Pair, name},
};
use ext4_dir::{
    Context, Error, entries, find, inline::Inline, insert, is_empty, remove, set_entry,
};
use ext4_ondisk::dir_entry::FileType;
use proptest::{collection::vec, prelude::*};
use std::sync::Arc;

/// Does everything to a directory that may be anything.
fn use_all(context: &Context, mem: &Mem) {
    assert!(entries(context, mem).count() <= mem.blocks.len() * (mem.block_len / 12 + 1));
    let _ = is_empty(context, mem);
    for name in [b".".to_vec(), b"..".to_vec(), name(3), name(7), b"x".to_vec()] {
        let _ = find(context, mem, &name);
        let mut copy = mem.clone();
        copy.begin();
        let _ = set_entry(context, &mut copy, &name, ino(50), FileType::Fifo);
        copy.begin();
        let _ = insert(context, &mut copy, &name, ino(51), FileType::Socket);
        copy.begin();
        let _ = remove(context, &mut copy, &name);
    }
}

fn variants() -> impl Strategy<Value = Context> {
    any::<[bool; 4]>().prop_map(|[csum, index, indexed, large]| {
        let base = context(1024);
        Context {
            csum: base.csum.filter(|_| csum),
            has_dir_index: index,
            is_indexed: indexed,
            has_largedir: large,
            ..base
        }
    })
}

/// A valid indexed directory of two levels without checksums, so that damage gets past them.
fn indexed() -> Pair {
    let mut pair = Pair::new(Context { csum: None, ..context(1024) });
    for nr in 0..1200 {
        pair.insert(&name(nr), nr + 100);
    }
    assert_eq!(pair.mem.blocks[0][30], 1, "indirect levels");
    pair
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_read_without_a_panic(
        context in variants(),
        bytes in vec(any::<u8>(), 1024..4096),
        small in any::<bool>(),
    ) {
        let mut bytes = bytes;
        bytes.resize(bytes.len().next_multiple_of(1024), 0);
        if small {
            // Small numbers make it further than random ones.
            for byte in &mut bytes {
                *byte &= 0x0F;
            }
        }
        use_all(&context, &Mem::of_bytes(&bytes, 1024));
    }

    #[test]
    fn inline_bytes_are_read_without_a_panic(
        body in vec(any::<u8>(), 60),
        value in vec(any::<u8>(), 0..120),
        mask in prop_oneof![Just(0xFF_u8), Just(0x1F), Just(0x0D)],
    ) {
        let context = context(1024);
        let body: Vec<u8> = body.iter().map(|byte| byte & mask).collect();
        let inline = Inline { body: body.try_into().unwrap(), value };
        let _ = inline.entries(&context);
        let _ = inline.to_block(&context);
        let mut inline = inline;
        let _ = inline.insert(&context, 100, b"new", ino(12), FileType::Regular);
        let _ = inline.remove(&context, b"new");
    }
}

#[test]
fn a_valid_index_with_a_byte_changed_is_used_without_a_panic() {
    let pair = indexed();
    let mut mutate = 0x9E37_79B9_u32;
    let mut random = |below: usize| {
        mutate ^= mutate << 13;
        mutate ^= mutate >> 17;
        mutate ^= mutate << 5;
        mutate as usize % below
    };
    for round in 0..1500 {
        let mut mem = pair.mem.clone();
        for _ in 0..=random(3) {
            // Mostly the root and the first nodes and leaves, mostly their headers.
            let blk = if random(2) == 0 { random(4) } else { random(mem.blocks.len()) };
            let at = if random(4) == 0 { random(1024) } else { random(60) };
            let mut bytes = mem.blocks[blk].to_vec();
            bytes[at] = if random(2) == 0 { 0 } else { u8::try_from(random(256)).unwrap() };
            mem.blocks[blk] = bytes.into();
        }
        if round % 10 == 0 {
            use_all(&pair.context, &mem);
        }
        let _ = find(&pair.context, &mem, &name(round));
        let _ = insert(&pair.context, &mut mem, b"one more", ino(51), FileType::Socket);
    }
}

#[test]
fn a_bad_root_is_read_past_but_not_written_to() {
    let mut pair = indexed();
    let mut root = pair.mem.blocks[0].to_vec();
    root[28] = 9; // no such hash version
    pair.mem.blocks[0] = root.into();
    assert!(find(&pair.context, &pair.mem, &name(77)).unwrap().is_some());
    assert_eq!(find(&pair.context, &pair.mem, b"nowhere").unwrap(), None);
    let before = pair.mem.clone();
    pair.mem.begin();
    let result = insert(&pair.context, &mut pair.mem, b"new", ino(51), FileType::Regular);
    assert!(matches!(result, Err(MemError::Dir(Error::Unsupported { .. }))), "{result:?}");
    assert_eq!(pair.mem.blocks, before.blocks);
}

#[test]
fn siphash_is_refused_by_name() {
    let mut pair = indexed();
    let mut root = pair.mem.blocks[0].to_vec();
    root[28] = 6;
    pair.mem.blocks[0] = root.into();
    match insert(&pair.context, &mut pair.mem, b"new", ino(51), FileType::Regular) {
        Err(MemError::Dir(error)) => assert_eq!(
            error.to_string(),
            "directory inode 20: siphash is not supported for writing"
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_changed_byte_fails_its_checksum() {
    let mut pair = Pair::new(context(1024));
    for nr in 0..200 {
        pair.insert(&name(nr), nr + 100);
    }
    for blk in [0, 1] {
        let mut mem = pair.mem.clone();
        let mut bytes = mem.blocks[blk].to_vec();
        bytes[40] ^= 0x10;
        mem.blocks[blk] = bytes.into();
        let errors: Vec<Error> = entries(&pair.context, &mem)
            .filter_map(Result::err)
            .map(|error| match error {
                MemError::Dir(error) => error,
                MemError::NoSpace => panic!("no space while reading"),
            })
            .collect();
        assert!(
            matches!(errors.as_slice(), [Error::Corrupt(corrupt)] if corrupt.is_checksum),
            "{errors:?}"
        );
        assert!(entries(&pair.context, &mem).flatten().count() > 148);
    }
}

#[test]
fn an_index_that_leads_in_circles_ends() {
    let pair = indexed();
    let node = {
        let root = &pair.mem.blocks[0];
        u32::from_le_bytes(root[36..40].try_into().unwrap())
    };
    for target in [0, node] {
        let mut mem = pair.mem.clone();
        let mut bytes = mem.blocks[node as usize].to_vec();
        for entry in bytes[8..].chunks_exact_mut(8) {
            entry[4..].copy_from_slice(&target.to_le_bytes());
        }
        mem.blocks[node as usize] = bytes.into();
        // Found all the same, by reading everything.
        for nr in 0..50 {
            assert!(find(&pair.context, &mem, &name(nr)).unwrap().is_some());
        }
    }
    // Every leaf the same hash and every entry the same leaf: bounded by the number of blocks.
    let mut mem = pair.mem.clone();
    let mut bytes = mem.blocks[node as usize].to_vec();
    let leaf = bytes[12..16].to_vec();
    let count = usize::from(u16::from_le_bytes([bytes[10], bytes[11]]));
    for entry in bytes[8..8 + count * 8].chunks_exact_mut(8).skip(1) {
        entry[..4].fill(0);
        entry[4..].copy_from_slice(&leaf);
    }
    mem.blocks[node as usize] = bytes.into();
    for nr in 0..200 {
        let _ = find(&pair.context, &mem, &name(nr));
    }
}

#[test]
fn a_block_of_the_wrong_length_is_refused() {
    let mut pair = Pair::new(context(1024));
    pair.mem.blocks[0] = Arc::from([0; 512]);
    let Err(MemError::Dir(error)) = find(&pair.context, &pair.mem, b"x") else { panic!("found") };
    assert_eq!(error.to_string(), "directory block 0 (inode 20): 512 bytes, expected 1024");
}
