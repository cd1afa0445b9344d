//! Logs that are damaged: each has the kernel's errno, and nothing of them comes home.

use super::forge::{BS, Forge, HOMES, Kind, Places, SIZE, V3, contents, options, scan};
use ext4_blockdev::{BlockDevice, Error, Limits, MemoryDevice, Result};
use ext4_jbd2::recovery;
use ext4_ondisk::jbd2::{Checksums, Class};
use ext4_units::Tid;

/// Three transactions, and where their parts are.
fn three(kind: Kind) -> (Forge, [Places; 3]) {
    let mut it = Forge::new(kind);
    let places = [
        it.log_blocks([1, 2, 3]).commit(),
        it.revoke(&[2]).log_blocks([3, 4]).commit(),
        it.log_blocks([4, 5]).commit(),
    ];
    (it, places)
}

fn summed() -> [Kind; 4] {
    let with = |checksums, is_64bit| Kind { checksums, is_64bit, ..V3 };
    [
        with(Checksums::V2, false),
        with(Checksums::V2, true),
        with(Checksums::V3, false),
        with(Checksums::V3, true),
    ]
}

#[test]
fn s134_a_bad_commit_checksum_is_euclean_in_the_middle_and_at_the_end() {
    for kind in summed() {
        for nr in 0..3 {
            let (mut it, places) = three(kind);
            it.log_mut(places[nr].commit)[17] ^= 1;
            let scan = it.is_refused(Class::Corrupt);
            assert_eq!(scan.transactions.len(), nr, "those before it are known to be good");
            assert_eq!(scan.findings[0].tid, Tid(10 + nr as u32));
            assert_eq!(scan.next, Tid(14), "later than all that is in the log");
            it.kernel_refuses(Class::Corrupt);
        }
    }
}

#[test]
fn s134_a_v1_checksum_covers_descriptors_and_copies() {
    for what in 0..3 {
        let (mut it, places) = three(Kind { checksums: Checksums::V1, ..V3 });
        let at = [places[1].descriptors[0], places[1].copies[1], places[1].commit][what];
        it.log_mut(at)[if what == 2 { 17 } else { 800 }] ^= 1;
        it.is_refused_as_by_kernel(Class::Corrupt);
    }
}

#[test]
fn a_v1_asynchronous_commit_that_was_followed_by_another_is_euclean() {
    let (mut it, places) = three(Kind { checksums: Checksums::V1, is_async: true, ..V3 });
    it.log_mut(places[1].copies[0])[800] ^= 1;
    it.is_refused_as_by_kernel(Class::Corrupt);
}

#[test]
fn s137_a_bad_descriptor_or_revoke_block_is_ebadmsg() {
    for kind in summed() {
        for nr in 0..3 {
            let (mut it, places) = three(kind);
            it.log_mut(places[nr].descriptors[0])[BS - 1] ^= 1;
            let scan = it.is_refused(Class::BadChecksum);
            assert_eq!(scan.findings[0].at, places[nr].descriptors[0]);
            it.kernel_refuses(Class::BadChecksum);
        }
        let (mut it, places) = three(kind);
        it.log_mut(places[1].revokes[0])[40] ^= 1;
        it.is_refused_as_by_kernel(Class::BadChecksum);
    }
}

#[test]
fn s138_a_bad_copy_is_ebadmsg_unless_it_is_revoked() {
    for kind in summed() {
        let (mut it, places) = three(kind);
        it.log_mut(places[1].copies[0])[800] ^= 1;
        let scan = it.is_refused(Class::BadChecksum);
        assert_eq!(scan.finding_count, 1);
        let text = scan.findings[0].to_string();
        let start = format!(
            "copy of block 3 in log block {} (transaction 11): checksum 0x",
            places[1].copies[0]
        );
        assert!(text.starts_with(&start), "{text}");
        it.kernel_refuses(Class::BadChecksum);

        let (mut it, places) = three(kind);
        it.log_mut(places[0].copies[1])[800] ^= 1;
        it.recovers_as_by_kernel(3);
    }
}

#[test]
fn s138_every_bad_copy_is_found_and_a_bounded_number_told() {
    let mut it = Forge::new(V3);
    let places = it.log_blocks(100..300).commit();
    for at in places.copies {
        it.log_mut(at)[1000] ^= 0x80;
    }
    let scan = it.is_refused(Class::BadChecksum);
    assert_eq!((scan.finding_count, scan.findings.len()), (200, recovery::Finding::MAX));
}

#[test]
fn a_revoke_count_that_passes_its_block_is_einval() {
    for checksums in [Checksums::None, Checksums::V1, Checksums::V2, Checksums::V3] {
        for count in [BS as u32 + 1, 0xFFFF_FFFF] {
            let (mut it, places) = three(Kind { checksums, ..V3 });
            it.log_mut(places[1].revokes[0])[12..16].copy_from_slice(&count.to_be_bytes());
            it.is_refused_as_by_kernel(Class::Invalid);
            // Even without a commit block.
            it.log_mut(places[1].commit).fill(0);
            it.is_refused(Class::Invalid);
        }
    }
}

#[test]
fn s141_a_start_outside_the_ring_is_euclean() {
    for (has_fc, start) in [(false, 1100), (false, u32::MAX), (true, 1100), (true, 1139)] {
        let (mut it, _) = three(Kind { has_fc, ..V3 });
        it.superblock.start = start;
        it.write_superblock();
        let err = recovery::scan(&it.device(), &it.at_home(), &options()).unwrap_err();
        assert_eq!(err.class(), Some(Class::Corrupt), "{start}");
        // In the area of the fast commits the kernel takes the log for empty, and loses them.
        if !has_fc || start >= it.superblock.max_len {
            it.kernel_refuses(Class::Corrupt);
        }
    }
}

/// The log is not even looked at, by us and by the kernel.
#[track_caller]
fn superblock_is_refused(it: &Forge, class: Class, what: &str) {
    let err = recovery::scan(&it.device(), &it.at_home(), &options()).unwrap_err();
    assert_eq!(err.class(), Some(class), "{what}");
    it.kernel_refuses(class);
}

/// Changes a field of the superblock, and makes its checksum right again.
fn with_field(it: &Forge, at: usize, value: u32) -> Forge {
    let mut it = it.clone();
    let block = it.log_mut(0);
    block[at..at + 4].copy_from_slice(&value.to_be_bytes());
    block[0xFC..0x100].fill(0);
    let sum = ext4_ondisk::checksum::Csum::START.over(&block[..1024]).0;
    block[0xFC..0x100].copy_from_slice(&sum.to_be_bytes());
    it
}

#[test]
fn s133_an_undamaged_log_is_replayed_in_every_layout() {
    for kind in Kind::all() {
        three(kind).0.recovers_as_by_kernel(3);
    }
}

#[test]
fn s135_a_commit_block_whose_first_sector_came_through_is_enough() {
    for checksums in [Checksums::V2, Checksums::V3] {
        let mut it = Forge::new(Kind { checksums, ..V3 });
        let torn = it.log_blocks([1, 2]).commit();
        it.log_blocks([2]).commit();
        it.log_mut(torn.commit)[512..].fill(0x5A);
        it.recovers_as_by_kernel(2);
        let scan = scan(&it.device(), &it.at_home());
        assert!(scan.transactions[0].commit.unwrap().is_torn);
        assert!(!scan.transactions[1].commit.unwrap().is_torn);
    }
}

#[test]
fn s136_a_commit_block_without_its_magic_ends_the_log_before_it() {
    for kind in Kind::all() {
        for nr in 1..3 {
            let (mut it, places) = three(kind);
            it.log_mut(places[nr].commit)[0] ^= 1;
            it.recovers_as_by_kernel(nr);
        }
    }
}

#[test]
fn s139_a_superblock_whose_checksum_is_wrong_is_ebadmsg() {
    for kind in summed() {
        for at in [0xFD, 0x19, 0x58, 0x300] {
            let (mut it, _) = three(kind);
            it.log_mut(0)[at] ^= 1;
            superblock_is_refused(&it, Class::BadChecksum, &format!("byte {at:#x}"));
        }
    }
}

#[test]
fn s140_a_superblock_of_no_journal_is_einval() {
    let (it, _) = three(V3);
    for (what, at, value) in [
        ("magic", 0, 0xC03B_3999),
        ("type", 4, 5),
        ("block size", 0x0C, 2048),
        ("longer than its inode", 0x10, 4096),
        ("too short", 0x10, 1023),
        ("first block", 0x14, 0),
        ("first block behind the end", 0x14, 1100),
        ("unknown incompat", 0x28, 0x51),
        ("v2 and v3 checksums", 0x28, 0x1B),
        ("v1 and v3 checksums", 0x24, 1),
        ("checksum type", 0x50, 0x0100_0000),
    ] {
        let mut it = with_field(&it, at, value);
        if what == "longer than its inode" {
            // Ours has an inode of its own length.
            let err = recovery::scan(&it.device(), &it.at_home(), &options()).unwrap_err();
            assert_eq!(err.class(), Some(Class::Invalid));
            it.kernel_refuses(Class::Invalid);
            it = with_field(&it, at, 1101);
            let err = recovery::scan(&it.device(), &it.at_home(), &options()).unwrap_err();
            assert_eq!(err.class(), Some(Class::Invalid));
            continue;
        }
        superblock_is_refused(&it, Class::Invalid, what);
    }
    let longer = recovery::Options {
        block_size: ext4_units::BlockSize::from_bits(11).unwrap(),
        ..options()
    };
    let err = recovery::scan(&it.device(), &it.at_home(), &longer).unwrap_err();
    assert!(err.class().is_some());
}

#[test]
fn s142_unknown_compatible_features_and_an_empty_log_are_no_damage() {
    let (it, _) = three(V3);
    with_field(&it, 0x24, 0x8000_0000).recovers_as_by_kernel(3);
    let empty = with_field(&it, 0x1C, 0);
    assert!(scan(&empty.device(), &empty.at_home()).is_empty());
    empty.kernel_leaves_it_alone();
}

#[test]
fn a_tag_outside_the_filesystem_or_inside_the_log_is_euclean() {
    for kind in Kind::all() {
        for home in [HOMES, HOMES + 20, HOMES + 5000, u64::from(u32::MAX)] {
            let mut it = Forge::new(kind);
            it.log_blocks([1]).commit();
            it.log(&[(home, contents(1, Tid(11)))]).commit();
            it.is_refused(Class::Corrupt);
        }
    }
    // The log's own blocks are no home even where they are the filesystem's.
    let mut it = Forge::new(V3);
    it.log(&[(HOMES + 7, contents(1, Tid(10)))]).commit();
    let all = ext4_units::BlockRange::new(ext4_units::BlockNr(0), HOMES + 1100);
    let options = recovery::Options { home: all, ..options() };
    let scan = recovery::scan(&it.device(), &it.at_home(), &options).unwrap();
    assert_eq!(scan.verdict().unwrap_err().class, Class::Corrupt);
}

#[test]
fn a_revoked_tag_may_name_any_block() {
    let mut it = Forge::new(V3);
    it.log(&[(HOMES + 7, contents(1, Tid(10)))]).commit();
    it.revoke(&[HOMES + 7]).commit();
    it.recovers(2);
}

#[test]
fn one_transaction_all_round_the_ring_ends() {
    let mut it = Forge::new(Kind { checksums: Checksums::None, ..V3 });
    let n = it.ring().len();
    for _ in 0..n {
        it.revoke(&[1]);
    }
    assert_eq!(it.at, 1);
    it.is_refused(Class::Corrupt);
}

/// A device with one sector that cannot be read.
#[derive(Debug)]
struct Scratched {
    memory: MemoryDevice,
    sector: u64,
}

impl BlockDevice for Scratched {
    fn len(&self) -> u64 {
        self.memory.len()
    }

    fn limits(&self) -> Limits {
        self.memory.limits()
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let len = buf.len() as u64;
        if (offset..offset + len).contains(&(self.sector * 512)) {
            let source = std::io::Error::other("a scratch");
            return Err(Error::Read { offset, len, source });
        }
        self.memory.read_at(offset, buf)
    }

    fn write_at(&self, _offset: u64, _buf: &[u8]) -> Result<()> {
        Err(Error::ReadOnly)
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn discard(&self, _offset: u64, _len: u64) -> Result<()> {
        Ok(())
    }
}

#[test]
fn an_unreadable_block_is_eio_if_it_is_needed() {
    for checksums in [Checksums::None, Checksums::V1, Checksums::V2, Checksums::V3] {
        let (it, places) = three(Kind { checksums, ..V3 });
        let log = it.at_home();
        let scratched = |at: u32| Scratched {
            memory: it.device(),
            sector: (HOMES + u64::from(at)) * u64::from(SIZE.bytes()) / 512,
        };
        let verdict = |at| scan(&scratched(at), &log).verdict().map_err(|it| it.class);
        assert_eq!(verdict(places[2].copies[1]), Err(Class::Io));
        // A revoked copy is not needed (but a v1 checksum covers it, and cannot tell).
        assert_eq!(verdict(places[0].copies[1]), Ok(()));
        // Behind the end of the log.
        assert_eq!(verdict(it.at + 1), Ok(()));
        for at in [0, places[0].descriptors[0], places[1].revokes[0], places[2].commit, it.at] {
            let err = recovery::scan(&scratched(at), &log, &options()).unwrap_err();
            assert_eq!(err.class(), Some(Class::Io), "log block {at}");
        }
    }
}
