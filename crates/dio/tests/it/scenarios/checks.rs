//! 13 to 30: what a write is asked before anything happens, and what a refused one leaves.

use super::{
    Op, PATH, Write, append, errno, limited, nowait,
    stage::{Stage, both, file, ours},
    write,
};
use ext4_blockdev::{BlockDevice, Fault, FaultDevice, Op as DeviceOp};
use ext4_dio::{DirectWrite, Offset, Request};
use ext4_fs::Filesystem;
use ext4_testkit::{image::Recipe, view::View};
use std::sync::Arc;

/// The largest file of extents with blocks of 4 KiB.
const MAX_BYTES: u64 = 17_592_186_040_320;

fn with_field(recipe: Recipe, field: &str, value: &str) -> Recipe {
    recipe.debugfs(&format!("set_inode_field {PATH} {field} {value}"))
}

#[test]
fn s13_an_immutable_file_refuses_and_keeps_its_times() {
    let recipe = with_field(file("ext4-4k", 8192), "flags", "0x80010");
    let Some(image) = recipe.image() else { return };
    // The kernel refuses to open it, or to write by what was open before the flag.
    let ran = ours(&image, &[write(0, 4096), write(0, 0)]);
    ran.expect(&[Err(errno::EPERM), Err(errno::EPERM)], 8192, "W0-1");
    assert!(!ran.face.touched);
}

#[test]
fn s14_an_append_only_file_is_written_anywhere_because_only_opening_asks() {
    let recipe = with_field(file("ext4-4k", 8192), "flags", "0x80020");
    let Some(image) = recipe.image() else { return };
    ours(&image, &[write(0, 4096)]).expect(&[Ok(4096)], 8192, "W0-1");
}

#[test]
fn s15_no_bytes_are_no_write() {
    let recipe = with_field(file("ext4-4k", 8192), "mode", "0106755");
    let none = Op::Write(Write { fsetid: true, ..Write::new(0, 0) });
    let Some(ran) = both(&recipe, &[none, write(100, 0), write(1 << 50, 0)]) else { return };
    ran.expect(&[Ok(0), Ok(0), Ok(0)], 8192, "W0-1");
    assert_eq!((ran.face.touched, ran.face.mode), (false, 0o6755));
}

#[test]
fn s16_appending_ignores_the_offset() {
    let Some(ran) = both(&file("ext4-4k", 8192), &[append(4096)]) else { return };
    ran.expect(&[Ok(4096)], 12288, "W0-2");
}

#[test]
fn s17_appending_to_an_odd_size_is_misaligned() {
    let Some(ran) = both(&file("ext4-4k", 1000), &[append(512)]) else { return };
    ran.expect(&[Err(errno::EINVAL)], 1000, "W0");
    assert!(ran.face.touched, "times change before the alignment is looked at");
}

#[test]
fn s18_a_misaligned_write_leaves_nothing_but_its_times() {
    let Some(ran) = both(&file("ext4-4k", 0), &[write(100, 100)]) else { return };
    ran.expect(&[Err(errno::EINVAL)], 0, "");
    assert!(ran.face.touched);
}

#[test]
fn s18_a_misaligned_write_behind_the_end_frees_what_was_preallocated() {
    // As any failed extending write.
    let ops = [Op::Keep(0, 1 << 20), write(8192, 4096), write(12288 + 100, 100)];
    let Some(ran) = both(&file("ext4-4k", 0), &ops) else { return };
    ran.expect(&[Ok(0), Ok(4096), Err(errno::EINVAL)], 12288, "U0-1 W2");
}

#[test]
fn s18_a_misaligned_write_into_a_hole_allocates_nothing() {
    // The kernel maps the block first and leaves it behind, unwritten. Nobody can tell the
    // difference from the file's bytes; we ask before.
    let Some(image) = file("ext4-4k", 0).image() else { return };
    let ran = ours(&image, &[Op::Truncate(1 << 20), write(8192 + 100, 100)]);
    ran.expect(&[Ok(0), Err(errno::EINVAL)], 1 << 20, "");
}

#[test]
fn s19_the_first_block_is_zeros_around_the_data() {
    let Some(ran) = both(&file("ext4-4k", 0), &[write(512, 512)]) else { return };
    ran.expect(&[Ok(512)], 1024, "W0");
    assert_eq!(ran.face.bytes(0, 512), [0; 512]);
}

#[test]
fn s20_the_limit_of_file_sizes_shortens_a_write() {
    let empty = file("ext4-4k", 0);
    // 6000 is no multiple of the sector, and what is left of the write is misaligned.
    let Some(ran) = both(&empty, &[limited(0, 8192, 6000)]) else { return };
    ran.expect(&[Err(errno::EINVAL)], 0, "");
    let Some(ran) = both(&empty, &[limited(0, 8192, 6144)]) else { return };
    ran.expect(&[Ok(6144)], 6144, "W0-1");
}

#[test]
fn s21_a_write_at_the_limit_of_file_sizes_is_too_big() {
    let Some(ran) = both(&file("ext4-4k", 4096), &[limited(4096, 4096, 4096)]) else { return };
    ran.expect(&[Err(errno::EFBIG)], 4096, "W0");
    assert!(!ran.face.touched);
}

#[test]
fn s21_without_o_largefile_two_gigabytes_are_the_limit() {
    let Some(image) = file("ext4-4k", 0).image() else { return };
    let stage = Stage::new(&image);
    let limit = (1 << 31) - 1;
    let small = |at: u64| {
        let (mut request, bytes) = stage.request(&Write::new(at, 4096));
        request.caller.is_largefile = false;
        DirectWrite::new(&stage.fs, stage.ino, request, &mut &bytes[..]).run()
    };
    assert_eq!(small(1 << 31).unwrap_err().errno(), errno::EFBIG);
    // 4095 bytes are left, which is misaligned.
    assert_eq!(small(limit + 1 - 4096).unwrap_err().errno(), errno::EINVAL);
    assert_eq!(small(limit + 1 - 8192).unwrap().written, 4096);
    assert_eq!(stage.close().size, limit + 1 - 4096);
}

#[test]
fn s22_the_largest_file_of_extents() {
    let ops = [write(MAX_BYTES, 4096), write(MAX_BYTES - 4096, 8192), write(MAX_BYTES, 512)];
    let Some(ran) = both(&file("ext4-4k", 0), &ops) else { return };
    ran.expect(
        &[Err(errno::EFBIG), Ok(4096), Err(errno::EFBIG)],
        MAX_BYTES,
        &format!("W{}", u32::MAX - 1),
    );
}

#[test]
fn s23_the_largest_file_with_a_block_map() {
    for (options, max) in [("-O huge_file", 4_402_345_721_856), ("", 2_196_873_666_560)] {
        let recipe = file("ext3-4k", 0).options(options);
        let ops = [write(max, 4096), write(max - 4096, 8192)];
        let Some(ran) = both(&recipe, &ops) else { return };
        ran.expect(&[Err(errno::EFBIG), Ok(4096)], max, &format!("W{}", max / 4096 - 1));
        // Data and the three blocks that lead to it.
        assert_eq!(ran.face.sectors, 4 * 8);
    }
}

#[test]
fn s24_a_write_takes_set_user_id_and_set_group_id_away() {
    let privileged = with_field(file("ext4-4k", 4096), "mode", "0106755");
    let by_user = Op::Write(Write { fsetid: false, ..Write::new(0, 4096) });
    let Some(ran) = both(&privileged, &[by_user]) else { return };
    assert_eq!((ran.results, ran.face.mode), (vec![Ok(4096)], 0o755));
    // Not from those who may set them.
    let Some(ran) = both(&privileged, &[write(0, 4096)]) else { return };
    assert_eq!((ran.results, ran.face.mode), (vec![Ok(4096)], 0o6755));
    // Set-group-id without the group's x is another thing: mandatory locks, once.
    let locks = with_field(file("ext4-4k", 4096), "mode", "0102744");
    let Some(ran) = both(&locks, &[by_user]) else { return };
    assert_eq!((ran.results, ran.face.mode), (vec![Ok(4096)], 0o2744));
}

#[test]
fn s25_a_write_takes_the_file_capability_away_from_everybody() {
    let recipe = file("ext4-4k", 4096)
        .debugfs(&format!("ea_set {PATH} security.capability 12345678901234567890"))
        .debugfs(&format!("ea_set {PATH} user.kept value"));
    let Some(ran) = both(&recipe, &[write(0, 4096)]) else { return };
    assert_eq!((ran.results, ran.face.xattrs), (vec![Ok(4096)], vec!["user.kept".to_owned()]));
}

#[test]
fn s26_a_write_that_cannot_take_privileges_away_fails_without_data() {
    // The capability is in a block that makes no sense.
    let long = "x".repeat(2000);
    let recipe = file("ext4-4k", 4096)
        .debugfs(&format!("ea_set {PATH} user.long {long}"))
        .debugfs(&format!("ea_set {PATH} security.capability {}", "1".repeat(120)));
    let Some(image) = recipe.image() else { return };
    let view = View::new(&image).unwrap();
    let ino = view.paths().unwrap()[&PATH[1..]];
    let blk = view.inode(ino).unwrap().acl_block();
    assert_ne!(blk, 0);
    let damaged = image.patched([(blk * 4096, &b"rubbish!"[..])]).unwrap();
    let stage = Stage::new(&damaged);
    assert_eq!(stage.write(Write::new(0, 4096)).unwrap_err().errno(), errno::EUCLEAN);
    stage.fs.close().unwrap();
    // Nothing but the error on record, and the log that it went through.
    let log = view.runs(&view.inode(8).unwrap()).unwrap();
    let is_log =
        |at: u64| log.iter().any(|run| (run.start..run.start + run.len).contains(&(at / 4096)));
    let mut now = vec![0; damaged.bytes().len()];
    stage.device.read_at(0, &mut now).unwrap();
    for (i, (now, before)) in now.chunks(512).zip(damaged.bytes().chunks(512)).enumerate() {
        let at = 512 * i as u64;
        assert!(now == before || at < 4096 || is_log(at), "byte {at}");
    }

    // The device fails while they are taken away: at the first write, the superblock's mark.
    let device = Arc::new(FaultDevice::new(image.overlay(), [Fault::from(DeviceOp::Write, 1)]));
    let stage = Stage::on(device.clone());
    assert_eq!(stage.write(Write::new(0, 4096)).unwrap_err().errno(), errno::EIO);
    drop(stage);
    assert_eq!(changed(&image, &*device), 0);
}

/// Sectors in which a device is not the image.
fn changed(image: &ext4_testkit::image::Image, device: &dyn BlockDevice) -> usize {
    let mut now = vec![0; image.bytes().len()];
    device.read_at(0, &mut now).unwrap();
    now.chunks(512).zip(image.bytes().chunks(512)).filter(|(a, b)| a != b).count()
}

#[test]
fn s28_nothing_is_written_to_what_is_open_for_reading() {
    let Some(image) = file("ext4-4k", 4096).image() else { return };
    let device = image.overlay();
    let fs = Filesystem::open_read(device.clone()).unwrap();
    let ino = fs.resolve(fs.meta(), PATH.as_bytes(), ext4_fs::Last::Stay).unwrap().ino;
    for at in [0, 4096] {
        let request = Request::new(Offset::At(at), Some(4096));
        let err = DirectWrite::new(&fs, ino, request, &mut &[0; 4096][..]).run().unwrap_err();
        assert_eq!(err.errno(), errno::EROFS, "{err}");
    }
    assert_eq!(changed(&image, &*device), 0);
}

#[test]
fn s28_after_the_journal_gave_up_nothing_is_written() {
    let Some(image) = file("ext4-4k", 4096).image() else { return };
    let device = Arc::new(FaultDevice::new(image.overlay(), []));
    let stage = Stage::on(device.clone());
    stage.write(Write::new(0, 4096)).unwrap();
    device.add(Fault::from(DeviceOp::Flush, device.counts().flushes + 1));
    assert_eq!(stage.fs.commit().map_err(|err| err.errno()), Err(errno::EIO));
    let before = device.counts();
    for at in [0, 4096] {
        let err = stage.write(Write::new(at, 4096)).unwrap_err();
        assert_eq!(err.errno(), errno::EROFS, "{err}");
    }
    assert_eq!((device.counts().writes, device.counts().refused), (before.writes, before.refused));
}

#[test]
fn s29_what_may_not_wait_only_overwrites_one_mapping() {
    let wait = Err(errno::EAGAIN);
    let steps = [
        // One before, that the kernel knows there are no privileges to be stripped.
        (Op::Truncate(1 << 20), Ok(0)),
        (write(0, 8192), Ok(8192)),
        (Op::Allocate(65536, 65536), Ok(0)),
        (nowait(32768, 4096), wait),            // a hole
        (nowait(1 << 20, 4096), wait),          // extends
        (nowait((1 << 20) - 4096, 8192), wait), // extends, in part
        (nowait(0, 4096), Ok(4096)),            // written
        (nowait(512, 512), Ok(512)),            // a part of that
        (nowait(4096, 8192), wait),             // goes on into a hole
        (nowait(65536, 4096), Ok(4096)),        // unwritten
        (nowait(69632 + 512, 512), wait),       // unwritten, a part of a block
        (nowait(65536, 8192), wait),            // written, then unwritten
        (nowait(65536 + 512, 512), Ok(512)),    // written by now
    ];
    let ops = steps.map(|it| it.0);
    let Some(ran) = both(&file("ext4-4k", 0), &ops) else { return };
    ran.expect(&steps.map(|it| it.1), 1 << 20, "W0-1 W16 U17-31");
}

#[test]
fn s29_a_refused_write_that_may_not_wait_changes_no_times() {
    let Some(ran) = both(&file("ext4-4k", 4096), &[nowait(4096, 4096)]) else { return };
    ran.expect(&[Err(errno::EAGAIN)], 4096, "W0");
    assert!(!ran.face.touched);
}
