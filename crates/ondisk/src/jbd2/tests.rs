//! Encoders against decoders, and both against the sizes that the kernel's own code gives.

use super::*;
use crate::checksum::Csum;
use ext4_units::{BlockNr, BlockSize, Tid};

fn format(checksums: Checksums, is_64bit: bool, bits: u32) -> LogFormat {
    LogFormat {
        block_size: BlockSize::from_bits(bits).unwrap(),
        is_64bit,
        checksums,
        async_commit: false,
        seed: Csum::of_uuid(b"0123456789abcdef"),
    }
}

fn all_formats() -> Vec<LogFormat> {
    let mut all = vec![];
    for checksums in [Checksums::None, Checksums::V1, Checksums::V2, Checksums::V3] {
        for is_64bit in [false, true] {
            for bits in [10, 12, 16] {
                all.push(format(checksums, is_64bit, bits));
            }
        }
    }
    all
}

#[test]
fn tag_sizes_are_those_of_journal_tag_bytes() {
    let sizes = |c| [format(c, false, 12).tag_len(), format(c, true, 12).tag_len()];
    assert_eq!(sizes(Checksums::None), [8, 12]);
    assert_eq!(sizes(Checksums::V1), [8, 12]);
    assert_eq!(sizes(Checksums::V2), [10, 14]);
    assert_eq!(sizes(Checksums::V3), [16, 16]);
}

#[test]
fn a_full_descriptor_reads_back_in_every_layout() {
    for format in all_formats() {
        let n = u32::try_from(format.tags_per_descriptor()).unwrap();
        let high = if format.is_64bit { 7 << 32 } else { 0 };
        let mask = match format.checksums {
            Checksums::V3 => u32::MAX,
            Checksums::V2 => 0xFFFF,
            _ => 0,
        };
        let mut it = DescriptorBuilder::new(&format, Tid(9), [0xAA; 16]);
        for i in 0..n {
            it.push(BlockNr(high + u64::from(i)), i % 3 == 0, 0xDEAD_0000 + i);
        }
        assert!(it.is_full());
        // The kernel closes a descriptor when another tag with uuid would not fit; so there is no
        // more room than that, and no less.
        let used = 12 + 16 + n as usize * format.tag_len();
        let left = format.block_size.len() - used;
        let reserve = format.tag_len() + 16 + format.tail_len();
        assert!(left < reserve && left + format.tag_len() >= reserve, "{format:?}");

        let block = it.finish();
        format.check_tail(&block).unwrap();
        let header = BlockHeader { kind: BlockKind::Descriptor, tid: Tid(9) };
        assert_eq!(BlockHeader::decode(&block), Some(header));
        let read: Vec<_> = tags(&format, &block).collect();
        assert_eq!(read.len(), n as usize, "{format:?}");
        for (i, tag) in (0..n).zip(&read) {
            assert_eq!(tag.block, BlockNr(high + u64::from(i)));
            assert_eq!(tag.checksum, (0xDEAD_0000 + i) & mask);
            assert_eq!(tag.flags.contains(TagFlags::ESCAPE), i % 3 == 0);
            assert_eq!(tag.flags.contains(TagFlags::SAME_UUID), i > 0);
            assert_eq!(tag.flags.contains(TagFlags::LAST_TAG), i + 1 == n);
        }
    }
}

#[test]
fn a_descriptor_without_a_last_tag_ends_with_its_block() {
    for format in all_formats() {
        for fill in [0u8, 2, 0xFF] {
            let block = vec![fill; format.block_size.len()];
            assert!(tags(&format, &block).count() <= block.len() / format.tag_len());
        }
        assert_eq!(tags(&format, &[]).count(), 0);
        assert_eq!(tags(&format, &[0; 13]).count(), 0);
    }
}

#[test]
fn a_full_revoke_block_reads_back() {
    for format in all_formats() {
        let mut it = RevokeBuilder::new(&format, Tid(3));
        let mut blocks = vec![];
        while !it.is_full() {
            blocks.push(BlockNr(100 + blocks.len() as u64));
            it.push(blocks[blocks.len() - 1]);
        }
        assert_eq!(blocks.len(), format.revokes_per_block());
        let mut block = it.finish();
        format.check_tail(&block).unwrap();
        assert_eq!(revokes(&format, &block).unwrap().collect::<Vec<_>>(), blocks);

        let room = u32::try_from(format.block_size.len() - format.tail_len()).unwrap();
        block[12..16].copy_from_slice(&(room + 1).to_be_bytes());
        assert_eq!(revokes(&format, &block).unwrap_err().class, Class::Invalid);
        block[12..16].copy_from_slice(&3u32.to_be_bytes());
        assert_eq!(revokes(&format, &block).unwrap().len(), 0);
    }
}

#[test]
fn a_flipped_bit_anywhere_fails_a_tail() {
    let format = format(Checksums::V3, true, 10);
    let block = RevokeBuilder::new(&format, Tid(3)).finish();
    for at in 0..block.len() {
        let mut bad = block.clone();
        bad[at] ^= 4;
        assert!(format.check_tail(&bad).is_err(), "byte {at}");
    }
}

#[test]
fn a_commit_block_is_good_torn_or_bad() {
    for format in all_formats() {
        let commit = Commit { tid: Tid(7), sec: 1_700_000_000, nsec: 5 };
        let crc = 0x1234_5678;
        let block = commit.encode(&format, crc);
        assert_eq!(Commit::decode(&block), Some(commit));
        assert_eq!(Commit::check(&format, &block, crc), CommitCheck::Good);

        let mut torn = block.clone();
        torn[512..].fill(0x5A);
        let mut late = block.clone();
        late[0x37] ^= 1;
        let (on_torn, on_late) =
            (Commit::check(&format, &torn, crc), Commit::check(&format, &late, crc));
        if format.checksums.per_block() {
            assert_eq!(on_torn, CommitCheck::Torn);
            assert!(matches!(on_late, CommitCheck::Bad { .. }));
        } else {
            assert_eq!((on_torn, on_late), (CommitCheck::Good, CommitCheck::Good));
        }
        if format.checksums == Checksums::V1 {
            let bad = CommitCheck::Bad { found: crc, expected: 1 };
            assert_eq!(Commit::check(&format, &block, 1), bad);
            let mut none = block;
            none[12..20].fill(0);
            assert_eq!(Commit::check(&format, &none, 1), CommitCheck::Good);
        }
    }
}

#[test]
fn an_escaped_block_comes_back() {
    let mut block = MAGIC.to_be_bytes().to_vec();
    block.extend([1, 2, 3]);
    assert!(is_escaped_by_writer(&block));
    escape(&mut block);
    assert_eq!(block, [0, 0, 0, 0, 1, 2, 3]);
    assert!(!is_escaped_by_writer(&block));
    unescape(&mut block);
    assert_eq!(block, [0xC0, 0x3B, 0x39, 0x98, 1, 2, 3]);
}

mod superblock {
    use super::*;

    const BS: BlockSize = BlockSize::from_bytes(4096).unwrap();

    fn with(incompat: JournalIncompat) -> JournalSuperblock {
        let features = (JournalCompat::empty(), incompat);
        JournalSuperblock::new(BS, 2048, 1, features, [7; 16], 0).unwrap()
    }

    fn class_of(change: impl Fn(&mut [u8]), resum: bool) -> Option<Class> {
        let mut bytes = with(JournalIncompat::CSUM_V3 | JournalIncompat::FAST_COMMIT).encode();
        change(&mut bytes);
        if resum {
            bytes[0xFC..0x100].fill(0);
            let sum = Csum::START.over(&bytes).0;
            bytes[0xFC..0x100].copy_from_slice(&sum.to_be_bytes());
        }
        JournalSuperblock::decode(&bytes, BS, 2048).err().map(|it| it.class)
    }

    fn put(at: usize, value: u32) -> impl Fn(&mut [u8]) {
        move |bytes| bytes[at..at + 4].copy_from_slice(&value.to_be_bytes())
    }

    #[test]
    fn every_rule_has_the_kernels_errno() {
        let invalid = Some(Class::Invalid);
        assert_eq!(class_of(|_| {}, true), None);
        assert_eq!(class_of(put(0, 1), true), invalid, "magic");
        assert_eq!(class_of(put(4, 2), true), invalid, "type");
        assert_eq!(class_of(put(0xC, 1024), true), invalid, "block size");
        assert_eq!(class_of(put(0x10, 2049), true), invalid, "longer than its file");
        assert_eq!(class_of(put(0x10, 1023), true), invalid, "too short");
        assert_eq!(class_of(put(0x10, 1279), true), invalid, "too short with fast commits");
        assert_eq!(class_of(put(0x10, 1280), true), None);
        assert_eq!(class_of(put(0x14, 0), true), invalid, "first");
        assert_eq!(class_of(put(0x14, 2048), true), invalid, "first");
        assert_eq!(class_of(put(0x14, 1792), true), invalid, "first behind the ring");
        assert_eq!(class_of(put(0x24, 0xFFFE), true), None, "unknown compat");
        assert_eq!(class_of(put(0x24, 1), true), invalid, "v1 and v3 checksums");
        assert_eq!(class_of(put(0x28, 0x18), true), invalid, "v2 and v3 checksums");
        assert_eq!(class_of(put(0x28, 0x50), true), invalid, "unknown incompat");
        assert_eq!(class_of(put(0x2C, 1), true), invalid, "unknown ro_compat");
        assert_eq!(class_of(put(0x50, 0x0100_0000), true), invalid, "checksum type");
        assert_eq!(class_of(put(0x54, 1025), true), invalid, "fast-commit area too long");
        assert_eq!(class_of(put(0x18, 77), false), Some(Class::BadChecksum));
    }

    #[test]
    fn version_1_has_no_features_and_no_smallest_size() {
        let mut bytes = with(JournalIncompat::CSUM_V3).encode();
        bytes[7] = 3;
        bytes[0x10..0x14].copy_from_slice(&100u32.to_be_bytes());
        let it = JournalSuperblock::decode(&bytes, BS, 2048).unwrap();
        assert_eq!((it.checksums(), it.incompat), (Checksums::None, JournalIncompat::empty()));
        assert_eq!(it.encode(), bytes);
    }

    #[test]
    fn an_update_changes_one_sector_only_and_keeps_what_it_does_not_know() {
        let mut bytes = with(JournalIncompat::CSUM_V3).encode();
        bytes[0x44..0x50].fill(9);
        bytes[0x100..].fill(8);
        let sum = {
            bytes[0xFC..0x100].fill(0);
            Csum::START.over(&bytes).0
        };
        bytes[0xFC..0x100].copy_from_slice(&sum.to_be_bytes());
        let mut it = JournalSuperblock::decode(&bytes, BS, 2048).unwrap();
        assert_eq!(it.encode(), bytes);
        it.start = 5;
        it.sequence = Tid(u32::MAX);
        it.errno = -5;
        it.head = 6;
        let after = it.encode();
        assert_eq!(after[SUPERBLOCK_MUTABLE_LEN..], bytes[SUPERBLOCK_MUTABLE_LEN..]);
        let it = JournalSuperblock::decode(&after, BS, 2048).unwrap();
        assert_eq!((it.start, it.sequence, it.errno, it.head), (5, Tid(u32::MAX), -5, 6));
    }

    #[test]
    fn the_ring_ends_where_the_fast_commits_begin_one_block_early() {
        let it = with(JournalIncompat::FAST_COMMIT);
        assert_eq!(it.ring_end(), 2048 - 256);
        assert_eq!(it.fc_area(), 1793..2048);
        let it = with(JournalIncompat::empty());
        assert_eq!(it.ring_end(), 2048);
        assert!(it.fc_area().is_empty());
    }

    #[test]
    fn a_start_outside_the_ring_is_damage_and_zero_is_empty() {
        let mut it = with(JournalIncompat::FAST_COMMIT);
        assert_eq!(it.checked_start(), Ok(None));
        it.start = 1791;
        assert_eq!(it.checked_start(), Ok(Some(1791)));
        it.start = 1792;
        assert_eq!(it.checked_start().unwrap_err().class, Class::Corrupt);
    }
}
