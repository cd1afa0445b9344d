//! Whatever the bytes, reading ends, and says what is wrong or reads something.

use ext4_fs::Filesystem;
use ext4_testkit::image::{Image, Recipe};
use std::ops::ControlFlow;

/// Reads everything there is, up to a bound on each file.
fn read_everything(image: &Image) -> usize {
    let Ok(fs) = Filesystem::open_read(image.overlay()) else { return 0 };
    let meta = fs.meta();
    let mut buf = vec![0; 4096];
    let mut n_good = 0;
    for visit in fs.walk(meta).take(5000) {
        let Ok(visit) = visit else { continue };
        let inode = &visit.inode;
        let _ = fs.xattrs(meta, inode);
        let _ = fs.read_link(meta, inode);
        for offset in [0, 1000, 300_000, inode.i_size / 2, inode.i_size.saturating_sub(1)] {
            let _ = fs.read_at(meta, inode, offset, &mut buf);
        }
        let _ = fs.find(meta, inode, b"no such name");
        let _ = fs.entries(meta, inode, |_| Ok(ControlFlow::Continue(())));
        let _ = fs.resolve(meta, &visit.path, ext4_fs::Last::Follow);
        n_good += 1;
    }
    n_good
}

/// The same sequence at every run.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % n
    }
}

#[test]
fn no_damage_makes_reading_panic_or_hang() {
    // Without checksums, so that damage is believed; with, so that both sides are seen.
    for name in ["ext4-nocsum", "ext2-1k", "inline-4k", "bigalloc-1k", "ext4-gdtcsum-1k"] {
        let mut recipe = Recipe::new(name)
            .mib(4)
            .mkdir("/d")
            .mkdir("/d/e")
            .write("/d/e/file", vec![3; 400_000])
            .write("/small", *b"small")
            .debugfs("symlink /d/link e/file")
            .debugfs(&format!("symlink /slow /{}", "d/../".repeat(30)))
            .debugfs("ea_set /small user.name value")
            .debugfs("ea_set /d user.longer 0123456789012345678901234567890123456789");
        for i in 0..60 {
            recipe = recipe.debugfs(&format!("symlink /d/e/entry-with-a-longer-name-{i} x"));
        }
        let Some(image) = recipe.image() else { return };
        assert!(read_everything(&image) > 60, "{name}");
        // Only bytes that say something are worth damaging.
        let used: Vec<usize> = (1024..image.bytes().len())
            .filter(|&at| image.bytes()[at] != 0 && image.bytes()[at] != 3)
            .filter(|&at| !ext4_testkit::image::POISON.contains(&image.bytes()[at]))
            .collect();
        let mut rng = Rng(7);
        for _ in 0..600 {
            let mut patches = Vec::new();
            for _ in 0..=rng.below(3) {
                let at = used[rng.below(used.len())];
                let value = [0, 1, 0x7F, 0x80, 0xFF, 0x10][rng.below(6)];
                patches.push((at as u64, vec![value; 1 + rng.below(4)]));
            }
            let patches = patches.iter().map(|(at, bytes)| (*at, bytes.as_slice()));
            let Ok(damaged) = image.patched(patches) else { continue };
            read_everything(&damaged);
        }
    }
}
