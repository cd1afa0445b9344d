//! A node that cannot be right is refused, wherever it is met, and nothing is written.

use crate::store::{Error, File, written};
use ext4_ondisk::{Corrupt, extent};

/// A tree of depth 1 with two leaves: 84 and 16 entries.
fn tree() -> File {
    let file = File::alternating(100);
    assert_eq!((file.check().depth, file.check().n_tree_blocks), (1, 2));
    file
}

/// The root's second child.
fn second_leaf(file: &File) -> u64 {
    u64::from(u32::from_le_bytes(*file.root[28..].first_chunk().unwrap()))
}

#[track_caller]
fn refused(mut file: File) -> Corrupt {
    let before = file.image();
    let writes = file.store.n_writes;
    // 168 is the first logical block of the second leaf.
    let fault = match file.lookup(170) {
        Err(Error::Corrupt(it)) => it,
        other => panic!("{other:?}"),
    };
    let refusal = Error::Corrupt(fault.clone());
    assert_eq!(file.validate(), Err(refusal.clone()));
    assert_eq!(file.insert(written(171, 1, 5000)), Err(refusal.clone()));
    assert_eq!(file.convert(170, 1), Err(refusal.clone()));
    assert_eq!(file.remove(170, 180, 10), Err(refusal));
    assert_eq!((file.image(), file.store.n_writes), (before, writes));
    fault
}

/// Changes the second leaf, with its checksum made right again; gives the refusal.
#[track_caller]
fn leaf(change: impl FnOnce(&mut [u8])) -> String {
    let mut file = tree();
    let blk = second_leaf(&file);
    let mut bytes = file.store.blocks[&blk].to_vec();
    change(&mut bytes);
    extent::set_checksum(file.ctx.csum.unwrap(), &mut bytes, 84);
    file.store.blocks.insert(blk, bytes.into());
    let fault = refused(file);
    assert!(!fault.is_checksum);
    let text = fault.to_string();
    let place = format!("extent node at block {blk} (inode 12, depth 0): ");
    text.strip_prefix(&place).unwrap_or_else(|| panic!("{text}")).to_owned()
}

#[track_caller]
fn root(change: impl FnOnce(&mut [u8])) -> String {
    let mut file = tree();
    change(&mut file.root);
    let text = refused(file).to_string();
    let place = "extent root (inode 12): ";
    text.strip_prefix(place).unwrap_or_else(|| panic!("{text}")).to_owned()
}

fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

fn put32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

#[test]
fn headers() {
    assert_eq!(leaf(|it| put16(it, 0, 0)), "magic 0x0000, expected 0xf30a");
    assert_eq!(leaf(|it| put16(it, 2, 85)), "85 entries, expected at most 84");
    assert_eq!(leaf(|it| put16(it, 2, 0)), "no entries, expected at least 1");
    assert_eq!(leaf(|it| put16(it, 4, 0)), "room for 0 entries, expected 1 to 84");
    assert_eq!(leaf(|it| put16(it, 4, 85)), "room for 85 entries, expected 1 to 84");
    assert_eq!(leaf(|it| put16(it, 6, 1)), "depth 1, expected 0");
    assert_eq!(root(|it| put16(it, 0, 0xF30B)), "magic 0xf30b, expected 0xf30a");
    assert_eq!(root(|it| put16(it, 2, 5)), "5 entries, expected at most 4");
    assert_eq!(root(|it| put16(it, 2, 0)), "no entries, expected at least 1");
    assert_eq!(root(|it| put16(it, 4, 5)), "room for 5 entries, expected 1 to 4");
    assert_eq!(root(|it| put16(it, 6, 6)), "depth 6, expected at most 5");
}

#[test]
fn extents() {
    assert_eq!(leaf(|it| put16(it, 16, 0)), "extent of logical block 168 has length 0");
    assert_eq!(
        leaf(|it| put32(it, 12, 169)),
        "first logical block 169, expected 168 as the parent has it"
    );
    assert_eq!(
        leaf(|it| put16(it, 16, 3)),
        "extent of logical block 170, expected 171 or more behind its neighbour"
    );
    assert_eq!(
        leaf(|it| put32(it, 24, 167)),
        "extent of logical block 167, expected 169 or more behind its neighbour"
    );
    assert_eq!(
        leaf(|it| put32(it, 12 + 15 * 12, u32::MAX)),
        "extent of 1 blocks from logical block 4294967295 ends beyond 4294967294"
    );
    for start in [0, 1] {
        assert!(leaf(|it| put32(it, 20, start)).starts_with("extent of logical block 168 is at"));
    }
}

#[test]
fn extents_on_system_blocks() {
    let mut file = tree();
    let zone = ext4_units::BlockRange::new(ext4_units::BlockNr(100_168), 1);
    file.ctx.zones = [zone].into();
    assert!(refused(file).fault.contains("free of system blocks"));
}

#[test]
fn indexes() {
    assert_eq!(
        root(|it| put32(it, 24, 0)),
        "index of logical block 0, expected 1 or more behind its neighbour"
    );
    assert_eq!(
        root(|it| put32(it, 28, 1)),
        "index of logical block 168 points to block 1, expected one that is free of system blocks \
         within 2-1099511627777"
    );
}

#[test]
fn an_extent_that_reaches_into_the_next_leaf() {
    let mut file = tree();
    let blk = u64::from(u32::from_le_bytes(*file.root[16..].first_chunk().unwrap()));
    let mut bytes = file.store.blocks[&blk].to_vec();
    put16(&mut bytes, 12 + 83 * 12 + 4, 3);
    extent::set_checksum(file.ctx.csum.unwrap(), &mut bytes, 84);
    file.store.blocks.insert(blk, bytes.into());
    let Err(Error::Corrupt(fault)) = file.lookup(0) else { panic!("not refused") };
    assert_eq!(
        fault.fault,
        "extents reach to logical block 169, expected 168 where the next node starts"
    );
}

#[test]
fn a_wrong_checksum_is_told_apart() {
    let mut file = tree();
    let blk = second_leaf(&file);
    let mut bytes = file.store.blocks[&blk].to_vec();
    // An unused slot is covered as well.
    bytes[1000] ^= 1;
    file.store.blocks.insert(blk, bytes.into());
    let fault = refused(file);
    assert!(fault.is_checksum, "{fault}");

    let mut file = tree();
    file.ctx.csum = None;
    let mut bytes = file.store.blocks[&blk].to_vec();
    bytes[1000] ^= 1;
    file.store.blocks.insert(blk, bytes.into());
    file.check();
}

#[test]
fn a_tree_that_points_to_itself() {
    let mut file = tree();
    // The leaf becomes an index node whose only child is itself.
    let blk = second_leaf(&file);
    let mut bytes = vec![0; 1024];
    put16(&mut bytes, 0, 0xF30A);
    put16(&mut bytes, 2, 1);
    put16(&mut bytes, 4, 84);
    put16(&mut bytes, 6, 4);
    put32(&mut bytes, 12, 168);
    put32(&mut bytes, 16, u32::try_from(blk).unwrap());
    extent::set_checksum(file.ctx.csum.unwrap(), &mut bytes, 84);
    file.store.blocks.insert(blk, bytes.into());
    put16(&mut file.root, 6, 5);
    let Err(Error::Corrupt(fault)) = file.lookup(170) else { panic!("not refused") };
    assert_eq!(fault.fault, "depth 4, expected 3");
}

#[test]
fn an_index_node_that_is_its_own_child() {
    // Planning a change took the node at hand for its child, without end and without bound.
    let mut file = File::alternating(84 * 5);
    assert_eq!(file.check().depth, 2);
    let blk = u64::from(u32::from_le_bytes(*file.root[16..].first_chunk().unwrap()));
    let mut bytes = file.store.read_bytes(blk);
    put32(&mut bytes, 16, u32::try_from(blk).unwrap());
    extent::set_checksum(file.ctx.csum.unwrap(), &mut bytes, 84);
    file.store.blocks.insert(blk, bytes.into());
    let before = file.image();
    for res in [
        file.lookup(0).map(drop),
        file.insert(written(1, 1, 5000)),
        file.convert(0, 1).map(drop),
        file.remove(0, 10, 10).map(drop),
    ] {
        assert!(matches!(res, Err(Error::Corrupt(_))), "{res:?}");
    }
    assert_eq!(file.image(), before);
}

#[test]
fn nodes_made_for_one_entry_can_still_be_filled() {
    // Legal, though nobody writes such: room for one entry in the root and in a leaf.
    let mut file = File::with([written(100, 1, 5000)]);
    put16(&mut file.root, 4, 1);
    for lblk in [50, 150, 60, 40, 200, 120] {
        file.insert(written(lblk, 1, 6000 + u64::from(lblk) * 2)).unwrap();
        file.check();
    }
    assert_eq!(file.shape(), "W40-40 W50-50 W60-60 W100-100 W120-120 W150-150 W200-200");

    let mut file = tree();
    let blk = second_leaf(&file);
    let mut bytes = vec![0; 1024];
    put16(&mut bytes, 0, 0xF30A);
    put16(&mut bytes, 2, 1);
    put16(&mut bytes, 4, 1);
    put32(&mut bytes, 12, 168);
    put16(&mut bytes, 16, 1);
    put32(&mut bytes, 20, 7000);
    extent::set_checksum(file.ctx.csum.unwrap(), &mut bytes, 1);
    file.store.blocks.insert(blk, bytes.into());
    file.remove_all(0, 168, 1000);
    for lblk in [100, 200, 90, 300, 95, 150] {
        file.insert(written(lblk, 1, 8000 + u64::from(lblk) * 2)).unwrap();
        file.check();
    }
    assert_eq!(file.mappings().len(), 7);
}
