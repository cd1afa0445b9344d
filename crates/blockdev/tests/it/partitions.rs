//! Windows: offsets, GPT and MBR partitions.

use crate::{folders, pattern};
use ext4_blockdev::{AlignedBuf, BlockDevice, DirectIo, FileDevice, Location, OpenMode, Write};
use gpt::{
    GptConfig,
    disk::LogicalBlockSize,
    mbr::{PartRecord, ProtectiveMBR},
    partition_types,
};
use proptest::prelude::*;
use std::{
    fs,
    io::{Cursor, Write as _},
    path::Path,
    process::{Command, Stdio},
};

const LEN: usize = 4 << 20;

/// An image whose bytes tell their sector, under whatever table is laid on it.
fn disk() -> Vec<u8> {
    pattern(LEN)
}

fn open(path: &Path, part: &str) -> Result<FileDevice, String> {
    let location = Location::parse(format!("{}{part}", path.display())).unwrap();
    let strip = |err: ext4_blockdev::OpenError| {
        err.to_string().strip_prefix(&format!("{}: ", path.display())).unwrap().to_owned()
    };
    FileDevice::open_location(&location, OpenMode::Exclusive).map_err(strip)
}

/// The device covers exactly these bytes of the file.
#[track_caller]
fn check_window(path: &Path, part: &str, start: u64, len: u64) {
    let device = open(path, part).unwrap();
    assert_eq!((device.start(), device.len()), (start, len));
    let mut all = vec![0; usize::try_from(len).unwrap()];
    device.read_at(0, &mut all).unwrap();
    let file = fs::read(path).unwrap();
    assert!(all == file[usize::try_from(start).unwrap()..][..all.len()]);
    assert!(device.read_at(len, &mut [0]).is_err());
}

/// A GPT with partitions of these (first sector, sectors), numbered from 1.
fn gpt_disk(size: LogicalBlockSize, parts: &[(u64, u64)]) -> Vec<u8> {
    let mut cursor = Cursor::new(disk());
    let sectors = LEN as u64 / size.as_u64() - 1;
    let mbr = ProtectiveMBR::with_lb_size(u32::try_from(sectors).unwrap());
    mbr.overwrite_lba0(&mut cursor).unwrap();
    let config = GptConfig::new().writable(true).logical_block_size(size);
    let mut table = config.create_from_device(&mut cursor, None).unwrap();
    for (number, &(first, n)) in (1..).zip(parts) {
        table.add_partition_at("data", number, first, n, partition_types::LINUX_FS, 0).unwrap();
    }
    table.write().unwrap();
    cursor.into_inner()
}

/// Moves the third entry of the first table to the fifth place: numbers may have gaps.
fn leave_a_gap(disk: &mut [u8], size: LogicalBlockSize) {
    let (header, entries) = (size.as_usize(), 2 * size.as_usize());
    disk.copy_within(entries + 256..entries + 384, entries + 512);
    disk[entries + 256..entries + 384].fill(0);
    let sum = crc32(&disk[entries..entries + 128 * 128]);
    disk[header + 88..header + 92].copy_from_slice(&sum.to_le_bytes());
    fix_header_sum(disk, header);
}

fn fix_header_sum(disk: &mut [u8], header: usize) {
    disk[header + 16..header + 20].fill(0);
    let sum = crc32(&disk[header..header + 92]);
    disk[header + 16..header + 20].copy_from_slice(&sum.to_le_bytes());
}

fn record(os_type: u8, lb_start: u32, lb_size: u32) -> PartRecord {
    PartRecord { os_type, lb_start, lb_size, ..PartRecord::zero() }
}

/// Writes a boot record with these entries at a sector.
fn put_mbr(disk: &mut [u8], sector: usize, records: &[PartRecord]) {
    let mut mbr = ProtectiveMBR::new();
    mbr.set_partition(0, PartRecord::zero());
    for (at, record) in records.iter().enumerate() {
        mbr.set_partition(at, *record);
    }
    disk[sector * 512..][..512].copy_from_slice(&mbr.to_bytes());
}

/// Primary 1, extended 2 with logical 5 and 6, primary 3.
fn mbr_disk() -> Vec<u8> {
    let mut disk = disk();
    put_mbr(
        &mut disk,
        0,
        &[record(0x83, 64, 100), record(0x05, 1000, 3000), record(0x83, 5000, 10)],
    );
    put_mbr(&mut disk, 1000, &[record(0x83, 8, 500), record(0x05, 1000, 2000)]);
    put_mbr(&mut disk, 2000, &[record(0x83, 16, 600)]);
    disk
}

#[test]
fn an_offset_runs_to_the_end() {
    let folder = &folders()[0];
    let path = folder.path().join("disk.img");
    fs::write(&path, disk()).unwrap();
    check_window(&path, "", 0, LEN as u64);
    check_window(&path, "@1M", 1 << 20, 3 << 20);
    check_window(&path, "@100", 100, LEN as u64 - 100);
    check_window(&path, "@4194303", LEN as u64 - 1, 1);
    let refused = open(&path, "@4M").unwrap_err();
    assert_eq!(refused, "offset 4194304 is not inside the file's 4194304 bytes");
    assert!(open(&path, "@16T").is_err());
}

#[test]
fn an_offset_inside_a_sector_says_why_it_is_not_direct() {
    for folder in folders() {
        let path = folder.path().join("disk.img");
        fs::write(&path, disk()).unwrap();
        let device = open(&path, "@100").unwrap();
        let DirectIo::No { reason } = device.direct_io() else { panic!("{device:?}") };
        println!("{reason}");
        device.write_at(0, &[1; 1000]).unwrap();
        let mut queue = device.queue(2);
        queue.submit(Write { offset: 512, buf: AlignedBuf::copy_of(&[2; 512]), tag: 0 }).unwrap();
        queue.wait().unwrap().result.unwrap();
        drop(queue);
        let file = fs::read(&path).unwrap();
        assert_eq!((file[99], file[100], file[611], file[612], file[1123]), (0, 1, 1, 2, 2));
        assert_eq!(file[1124], pattern(2048)[1124]);
    }
}

#[test]
fn gpt_partitions_are_windows() {
    let folder = &folders()[0];
    for size in [LogicalBlockSize::Lb512, LogicalBlockSize::Lb4096] {
        let path = folder.path().join("disk.img");
        let mut disk = gpt_disk(size, &[(64, 10), (128, 50), (256, 20)]);
        leave_a_gap(&mut disk, size);
        fs::write(&path, disk).unwrap();
        check_window(&path, "#1", 64 * size.as_u64(), 10 * size.as_u64());
        check_window(&path, "#2", 128 * size.as_u64(), 50 * size.as_u64());
        check_window(&path, "#5", 256 * size.as_u64(), 20 * size.as_u64());
        assert_eq!(open(&path, "#7").unwrap_err(), "no partition 7 in the GPT, which has: 1, 2, 5");
    }
}

#[test]
fn a_damaged_gpt_is_read_from_its_backup_or_refused() {
    let folder = &folders()[0];
    let path = folder.path().join("disk.img");
    let mut disk = gpt_disk(LogicalBlockSize::Lb512, &[(64, 10)]);
    disk[512 + 40] ^= 1;
    fs::write(&path, &disk).unwrap();
    check_window(&path, "#1", 64 * 512, 10 * 512);
    disk[LEN - 512 + 40] ^= 1;
    fs::write(&path, &disk).unwrap();
    let refused = open(&path, "#1").unwrap_err();
    assert!(refused.starts_with("partition table: GPT header: "), "{refused}");
    disk[512..520].fill(0);
    disk[LEN - 512..].fill(0);
    fs::write(&path, &disk).unwrap();
    let refused = open(&path, "#1").unwrap_err();
    assert_eq!(refused, "partition table: the MBR announces a GPT, found none");
}

#[test]
fn mbr_partitions_are_windows_and_logical_ones_start_at_5() {
    let folder = &folders()[0];
    let path = folder.path().join("disk.img");
    fs::write(&path, mbr_disk()).unwrap();
    check_window(&path, "#1", 64 * 512, 100 * 512);
    check_window(&path, "#3", 5000 * 512, 10 * 512);
    check_window(&path, "#5", 1008 * 512, 500 * 512);
    check_window(&path, "#6", 2016 * 512, 600 * 512);
    assert_eq!(
        open(&path, "#2").unwrap_err(),
        "partition 2: an extended partition, which only holds the logical ones (from 5)"
    );
    let refused = open(&path, "#4").unwrap_err();
    assert_eq!(refused, "no partition 4 in the MBR, which has: 1, 2, 3, 5, 6");
}

#[test]
fn a_chain_that_bites_its_tail_is_refused() {
    let folder = &folders()[0];
    let path = folder.path().join("disk.img");
    let mut disk = mbr_disk();
    put_mbr(&mut disk, 2000, &[record(0x83, 16, 600), record(0x05, 1000, 2000)]);
    fs::write(&path, &disk).unwrap();
    assert_eq!(
        open(&path, "#1").unwrap_err(),
        "partition table: the chain of logical partitions has more than 100 links"
    );
}

#[test]
fn a_file_without_a_table_says_so() {
    let folder = &folders()[0];
    let path = folder.path().join("disk.img");
    for len in [1, 511, 512, 4096] {
        fs::write(&path, pattern(len)).unwrap();
        let refused = open(&path, "#1").unwrap_err();
        assert_eq!(refused, "found no partition table (MBR or GPT) in its first sector");
    }
}

#[test]
fn a_partition_that_passes_the_end_is_refused() {
    let folder = &folders()[0];
    let path = folder.path().join("disk.img");
    fs::write(&path, &mbr_disk()[..5005 * 512]).unwrap();
    assert_eq!(
        open(&path, "#3").unwrap_err(),
        "partition 3: bytes 2560000 to 2565120 pass the end of the file at byte 2562560"
    );
    check_window(&path, "#6", 2016 * 512, 600 * 512);
}

#[test]
fn writes_in_a_partition_are_direct_and_stay_inside() {
    for folder in folders() {
        let path = folder.path().join("disk.img");
        let mut model = mbr_disk();
        fs::write(&path, &model).unwrap();
        let device = open(&path, "#5").unwrap();
        println!("{:?}", device.direct_io());
        let mut queue = device.queue(4);
        for nr in 0..4 {
            let offset = nr * 1024;
            let buf = AlignedBuf::copy_of(&[0xCC; 512]);
            queue.submit(Write { offset, buf, tag: nr }).unwrap();
            model[1008 * 512 + usize::try_from(offset).unwrap()..][..512].fill(0xCC);
        }
        while let Some(done) = queue.wait() {
            done.result.unwrap();
        }
        drop(queue);
        device.write_at(500 * 512 - 1, &[0xDD]).unwrap();
        model[1508 * 512 - 1] = 0xDD;
        assert!(device.write_at(500 * 512 - 1, &[0xDD; 2]).is_err());
        assert!(fs::read(&path).unwrap() == model);
    }
}

#[test]
fn what_sfdisk_makes_is_read() {
    let folder = &folders()[0];
    let path = folder.path().join("disk.img");
    for (script, number, start, n) in [
        ("label: gpt\nstart=64, size=100\nstart=2048, size=4000\n", 2, 2048, 4000),
        (
            "label: dos\nstart=64, size=100, type=83\nstart=2048, size=4000, type=5\nstart=2100, size=100, type=83\n",
            5,
            2100,
            100,
        ),
    ] {
        fs::write(&path, disk()).unwrap();
        let child = Command::new("sfdisk").arg("-q").arg(&path).stdin(Stdio::piped()).spawn();
        let Ok(mut child) = child else {
            println!("skipped: no sfdisk");
            return;
        };
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        check_window(&path, &format!("#{number}"), start * 512, n * 512);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever a table says, opening ends, and a window lies inside the file.
    #[test]
    fn any_bytes_are_a_valid_table(
        is_gpt: bool,
        fix_sums: bool,
        hits in prop::collection::vec((0_usize..92, any::<u8>()), 1..8),
        records in prop::collection::vec((0_usize..3, 446_usize..510, any::<u8>()), 0..12),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.img");
        let mut disk =
            if is_gpt { gpt_disk(LogicalBlockSize::Lb512, &[(64, 10)]) } else { mbr_disk() };
        if is_gpt {
            for (at, byte) in hits {
                // The length of the header stays: the sum is over it.
                if !(12..20).contains(&at) {
                    disk[512 + at] = byte;
                }
            }
            if fix_sums {
                fix_header_sum(&mut disk, 512);
            }
        } else {
            for (which, at, byte) in records {
                disk[[0, 1000, 2000][which] * 512 + at] = byte;
            }
        }
        fs::write(&path, &disk).unwrap();
        for number in 1..8 {
            if let Ok(device) = open(&path, &format!("#{number}")) {
                prop_assert!(device.start() + device.len() <= LEN as u64);
            }
        }
    }
}

/// CRC-32 as GPT uses it, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            if sum & 1 == 1 { sum >> 1 ^ 0xEDB8_8320 } else { sum >> 1 }
        })
    })
}
