//! Damage is what it says, and faults reach the operation.

use ext4_blockdev::{BlockDevice, Op, Recorder};
use ext4_testkit::{
    corrupt::{
        Where, bit_storm, block_damage, field_damage, some_field_damage, structures, truncations,
    },
    explore::Violation,
    fault::{Case, Sweep, sweep},
    image::{Image, PROFILES, Recipe},
    oracle::{self, FsckMode, Need, skip_without},
    recovery::Device,
};

fn populated(name: &str) -> Recipe {
    let recipe = Recipe::new(name).mkdir("/d").write("/d/f", vec![b'x'; 200_000]);
    recipe.write("/small", *b"tiny").debugfs("ea_set /small user.a value")
}

#[test]
fn every_structure_is_known_well_enough_to_seal_it() {
    if skip_without(&[Need::Mke2fs, Need::Debugfs]) {
        return;
    }
    for profile in PROFILES {
        let image = populated(profile.name).make().unwrap();
        for structure in structures(&image).unwrap() {
            assert!(structure.is_sealed(), "{}: {}", profile.name, structure.name);
        }
    }
}

#[test]
fn sealed_damage_is_no_longer_a_wrong_checksum() {
    if skip_without(&[Need::Mke2fs, Need::Debugfs, Need::E2fsck]) {
        return;
    }
    let image = populated("ext4-1k").make().unwrap();
    let all = field_damage(&image).unwrap();
    assert!(all.len() > 1000, "{} damages", all.len());
    let fsck = |name: &str| {
        let damage = all.iter().find(|it| it.name == name).unwrap_or_else(|| panic!("{name}"));
        let damaged = damage.apply(&image).unwrap();
        oracle::e2fsck_device(&damaged, FsckMode::Check).unwrap().lines.join("\n")
    };
    let plain = fsck("inode 2: i_links_count = 0xffff, was 0x4");
    let sealed = fsck("inode 2: i_links_count = 0xffff, was 0x4, sealed");
    assert!(plain.contains("checksum") && !sealed.contains("checksum"), "{plain}\n{sealed}");
    assert!(sealed.contains("ref count"), "{sealed}");
}

#[test]
fn one_seed_draws_the_same_damage() {
    let Some(image) = populated("ext4-4k").image() else { return };
    let draw = |seed| some_field_damage(&image, 20, seed).unwrap();
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    for place in [Where::Metadata, Where::Journal, Where::Anywhere] {
        let storm = bit_storm(&image, place, 8, 3).unwrap();
        let damaged = storm.apply(&image).unwrap();
        let differ = damaged.bytes().iter().zip(&image.bytes()[..]).filter(|(a, b)| a != b).count();
        assert!((1..=8).contains(&differ), "{differ}");
    }
    let blocks = block_damage(&image, 20, 1).unwrap();
    assert_eq!(blocks, block_damage(&image, 20, 1).unwrap());
    let cut = truncations(&image);
    assert!(cut.iter().all(|it| Some(it.apply(&image).unwrap().len()) == it.len));
}

/// Writes four blocks, each after a flush; with the planted bug it does not look at one result.
fn four(device: &dyn BlockDevice, careless: bool) -> Result<(), String> {
    for i in 0..4 {
        let result = device.write_at(i * 512, &[7; 512]).and_then(|()| device.flush());
        if !(careless && i == 2) {
            result.map_err(|it| it.to_string())?;
        }
        if careless && i == 2 {
            return Ok(());
        }
    }
    Ok(())
}

#[test]
fn a_fault_at_every_io_is_tried_and_an_ignored_one_is_found() {
    let image = Image::new(vec![0; 8192]);
    let careful = |device: Device, _: &Recorder| four(&*device, false);
    let prefix = |case: &Case| {
        let mut bytes = [0; 2048];
        case.medium.read_at(0, &mut bytes).unwrap();
        let n = bytes.iter().take_while(|it| **it == 7).count();
        let is_torn = bytes[n..].iter().any(|it| *it != 0);
        is_torn.then(|| Violation::new("order", format!("{n} bytes"))).into_iter().collect()
    };
    let report = sweep(&image, &Sweep::default(), &careful, &prefix);
    report.expect_no_failure();
    // 4 writes x (EIO once, EIO for ever, ENOSPC, torn), 4 flushes x (once, for ever).
    assert_eq!((report.n_cases, report.n_reported), (24, 24), "{report}");

    let careless = |device: Device, _: &Recorder| four(&*device, true);
    let report = sweep(&image, &Sweep::default(), &careless, &|_| Vec::new());
    assert!(report.failures.iter().any(|(_, it)| it.code == "unreported"), "{report}");

    let panics = |device: Device, _: &Recorder| -> Result<(), String> {
        device.write_at(0, &[1]).unwrap();
        Ok(())
    };
    let only = Sweep { ops: vec![Op::Write], ..Sweep::default() };
    let report = sweep(&image, &only, &panics, &|_| Vec::new());
    assert!(report.failures.iter().all(|(_, it)| it.code == "panic"), "{report}");
    assert_eq!(report.failures.len(), 4);
}
