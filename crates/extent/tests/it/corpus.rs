//! Every map in the corpus, made by the kernel and e2fsprogs, is what debugfs says it is.

use crate::image::Image;
use ext4_extent::{Format, State};
use ext4_testkit::oracle::{Need, corpus, skip_without, tool};
use ext4_units::LogicalBlock;
use std::{collections::BTreeMap, fs, path::Path};

/// Physical block and whether unwritten, by logical block.
type Blocks = BTreeMap<u64, (u64, bool)>;

/// What debugfs says of each inode, one request an inode.
fn debugfs(image: &Path, requests: &[String]) -> Vec<String> {
    let args = ["-f".as_ref(), "-".as_ref(), image.as_os_str()];
    let out = tool("debugfs", args, requests.join("\n").as_bytes()).unwrap();
    assert!(out.ok());
    let text = String::from_utf8(out.stdout).unwrap();
    let parts: Vec<_> = text.split("debugfs: ").skip(1).map(str::to_owned).collect();
    assert_eq!(parts.len(), requests.len());
    parts
}

/// The lines of `dump_extents` that describe leaves' entries.
fn of_dump_extents(text: &str) -> Blocks {
    let mut blocks = Blocks::new();
    for line in text.lines().skip(2) {
        let unwritten = line.contains("Uninit");
        let line = line.replace("Uninit", "").replace(['/', '-'], " ");
        let n: Vec<u64> = line
            .split_whitespace()
            .map(|it| it.parse().unwrap_or_else(|_| panic!("{text}")))
            .collect();
        if let [level, depth, _, _, first, last, start, end, len] = n[..] {
            assert!(level == depth && last - first == end - start && len == last - first + 1);
            blocks.extend((first..=last).map(|it| (it, (start + it - first, unwritten))));
        }
    }
    blocks
}

/// The line of `stat` that lists runs of blocks, `(0-11):5633-5644, (IND):4888, ...`.
fn of_stat(text: &str) -> Blocks {
    let mut blocks = Blocks::new();
    let list =
        text.split("BLOCKS:\n").nth(1).unwrap_or_default().lines().next().unwrap_or_default();
    for run in list.split(", ") {
        let Some((first, start)) = run
            .split_once("):")
            .and_then(|(lblk, blk)| Some((lblk.strip_prefix('(')?, blk)))
            .filter(|(lblk, _)| !lblk.contains("IND"))
        else {
            continue;
        };
        let range = |it: &str| -> (u64, u64) {
            let (first, last) = it.split_once('-').unwrap_or((it, it));
            (first.parse().unwrap(), last.parse().unwrap())
        };
        let ((first, last), (start, end)) = (range(first), range(start));
        assert_eq!(last - first, end - start);
        blocks.extend((first..=last).map(|it| (it, (start + it - first, false))));
    }
    blocks
}

fn ours(image: &Image, ino: u32) -> Option<(Format, Blocks)> {
    let inode = image.inode(ino);
    let format = Image::format(&inode)?;
    let ctx = image.context(ino, &inode);
    let sum = format.validate(&ctx, &inode.i_block, image).unwrap();
    let mut blocks = Blocks::new();
    let (from, to) = (LogicalBlock(0), LogicalBlock(u32::MAX));
    for it in format.iter(&ctx, &inode.i_block, image, from, to) {
        let it = it.unwrap();
        assert_eq!(format.lookup(&ctx, &inode.i_block, image, it.lblk).unwrap().state, it.state);
        let Some(run) = it.blocks() else { continue };
        let unwritten = matches!(it.state, State::Unwritten(_));
        let lblks = u64::from(it.lblk.0)..;
        blocks.extend(lblks.zip(run.iter().map(|blk| (blk.0, unwritten))));
    }
    assert_eq!(sum.n_data_blocks, blocks.len() as u64);
    Some((format, blocks))
}

fn check(file: &Path, manifest: &Path) -> usize {
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
    let image = Image::open(file);
    let mut found = Vec::new();
    for entry in manifest["entries"].as_array().unwrap() {
        let Some(ino) = entry["ino"].as_u64().and_then(|it| u32::try_from(it).ok()) else {
            continue;
        };
        if let Some((format, blocks)) = ours(&image, ino) {
            found.push((ino, format, blocks));
        }
    }
    let request = |(ino, format, _): &(u32, Format, Blocks)| match format {
        Format::Extents => format!("dump_extents <{ino}>"),
        Format::Indirect => format!("stat <{ino}>"),
    };
    let requests: Vec<_> = found.iter().map(request).collect();
    for ((ino, format, blocks), text) in found.iter().zip(debugfs(file, &requests)) {
        let theirs = match format {
            Format::Extents => of_dump_extents(&text),
            Format::Indirect => of_stat(&text),
        };
        assert!(*blocks == theirs, "{} inode {ino}: {text}\n{blocks:?}", file.display());
    }
    found.len()
}

#[test]
fn every_map_of_the_corpus_is_what_debugfs_says() {
    if skip_without(&[Need::Corpus, Need::Debugfs]) {
        return;
    }
    let mut n = 0;
    for entry in fs::read_dir(corpus().unwrap().join("clean")).unwrap() {
        let file = entry.unwrap().path();
        let manifest = file.with_extension("json");
        if file.extension().is_some_and(|it| it == "img") && manifest.exists() {
            n += check(&file, &manifest);
        }
    }
    assert!(n > 0, "no maps in the corpus");
}
