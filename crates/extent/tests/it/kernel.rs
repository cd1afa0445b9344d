//! The kernel and we do the same to the same file: the same tree comes out.

use crate::{image::Image, store::File};
use ext4_extent::{Format, Mapping};
use ext4_ondisk::extent::Extent;
use ext4_testkit::{
    mount::Mount,
    oracle::{self, Need, skip_without},
    process::run,
    rng::Rng,
};
use ext4_units::LogicalBlock;
use std::{fs, path::Path};

/// Blocks of the file, of 1 KiB each.
const N: u32 = 2048;

#[derive(Debug, Clone, Copy)]
enum Op {
    /// A direct write.
    Write {
        at: u32,
        len: u32,
    },
    Punch {
        at: u32,
        len: u32,
    },
    /// Cuts off the end, and puts the size back.
    Truncate {
        to: u32,
    },
}

fn sh(words: &[&str]) {
    run(words[0], &words[1..], &[], b"", oracle::LIMIT).unwrap().expect_ok(words[0]).unwrap();
}

fn by_kernel(file: &Path, ops: &[Op]) {
    let file = file.to_str().unwrap();
    for op in ops {
        match op {
            Op::Write { at, len } => sh(&[
                "dd",
                "if=/dev/zero",
                &format!("of={file}"),
                "bs=1024",
                &format!("seek={}", at * 1024),
                "oflag=direct,seek_bytes",
                "conv=notrunc",
                "status=none",
                // One write of all blocks.
                "count=1",
                &format!("bs={}", len * 1024),
            ]),
            Op::Punch { at, len } => {
                let (at, len) = (format!("{}", at * 1024), format!("{}", len * 1024));
                sh(&["fallocate", "-p", "-o", &at, "-l", &len, file]);
            }
            Op::Truncate { to } => {
                sh(&["truncate", "-s", &format!("{}", to * 1024), file]);
                sh(&["truncate", "-s", &format!("{}", N * 1024), file]);
            }
        }
    }
}

fn by_us(file: &mut File, ops: &[Op]) {
    for op in ops {
        match *op {
            Op::Write { at, len } => {
                let mut at = at;
                let to = at + len;
                while at < to {
                    at += file.convert(at, to - at).unwrap();
                }
            }
            Op::Punch { at, len } => {
                file.remove_all(at, at + len, 1000);
            }
            Op::Truncate { to } => {
                file.remove_all(to, u32::MAX, 1000);
            }
        }
    }
}

/// Depth, blocks of nodes, and the extents.
type Tree = (u16, u64, Vec<Mapping>);

fn tree(image: &Path) -> (Extent, Tree) {
    let image = Image::open(image);
    let inode = image.inode(12);
    let ctx = image.context(12, &inode);
    let format = Image::format(&inode).unwrap();
    assert_eq!(format, Format::Extents);
    let sum = format.validate(&ctx, &inode.i_block, &image).unwrap();
    let (from, to) = (LogicalBlock(0), LogicalBlock(u32::MAX));
    let all = format.iter(&ctx, &inode.i_block, &image, from, to);
    let mappings: Vec<_> = all.map(Result::unwrap).filter(|it| it.blocks().is_some()).collect();
    assert_eq!(inode.sectors, (sum.n_data_blocks + sum.n_tree_blocks) * 2);
    let first = ext4_extent::extent_at(&ctx, &inode.i_block, &image, LogicalBlock(0));
    let first = first.unwrap().unwrap_or(Extent {
        lblk: LogicalBlock(0),
        len: 0,
        start: ext4_units::BlockNr(0),
        unwritten: true,
    });
    (first, (sum.depth, sum.n_tree_blocks, mappings))
}

/// Random changes of a preallocated file, none of which maps a hole: where the allocator would
/// put the blocks is another question.
fn ops(rng: &mut Rng, n: usize, punch: bool) -> Vec<Op> {
    let mut holes = vec![false; N as usize];
    let mut ops = Vec::new();
    while ops.len() < n {
        let at = u32::try_from(rng.below(N as usize - 8)).unwrap();
        let len = 1 + u32::try_from(rng.below(4)).unwrap();
        let range = at as usize..(at + len) as usize;
        if holes[range.clone()].contains(&true) {
            continue;
        }
        match rng.below(100) {
            0..10 if punch => {
                holes[range].fill(true);
                ops.push(Op::Punch { at, len });
            }
            10 if punch && at > N / 2 => {
                holes[at as usize..].fill(true);
                ops.push(Op::Truncate { to: at });
            }
            _ => ops.push(Op::Write { at, len }),
        }
    }
    ops
}

fn check(base: &Path, ops: &[Op]) {
    let (prealloc, (depth, _, mappings)) = tree(base);
    assert_eq!(
        (prealloc.len, depth, mappings.len()),
        (N, 0, 1),
        "one contiguous extent to begin with"
    );
    let scratch = oracle::scratch().unwrap();
    let image = scratch.path().join("image");
    fs::copy(base, &image).unwrap();
    let mount = Mount::new(&image, "").unwrap();
    by_kernel(&mount.join("f"), ops);
    mount.unmount().unwrap();

    let mut file = File::with([prealloc]);
    by_us(&mut file, ops);
    let sum = file.check();
    let (_, theirs) = tree(&image);
    let ours = (sum.depth, sum.n_tree_blocks, file.mappings());
    assert_eq!(ours, theirs, "{ops:?}");
}

#[test]
fn the_same_changes_make_the_kernels_tree() {
    if skip_without(&[Need::Mke2fs, Need::Kernel]) {
        return;
    }
    let scratch = oracle::scratch().unwrap();
    let base = scratch.path().join("base");
    fs::write(&base, []).unwrap();
    fs::OpenOptions::new().write(true).open(&base).unwrap().set_len(32 << 20).unwrap();
    oracle::mke2fs(&base, ["-t", "ext4", "-b", "1024"]).unwrap();
    let mount = Mount::new(&base, "").unwrap();
    let file = mount.join("f");
    sh(&["fallocate", "-l", &format!("{}", N * 1024), file.to_str().unwrap()]);
    mount.unmount().unwrap();

    let at = |at| Op::Write { at, len: 1 };
    check(&base, &[at(2)]);
    check(&base, &[at(2), at(3), at(1), at(0)]);
    for seed in 0..2 {
        for n in [10, 60, 150, 500] {
            for punch in [false, true] {
                check(&base, &ops(&mut Rng::new(seed), n, punch));
            }
        }
    }
}
