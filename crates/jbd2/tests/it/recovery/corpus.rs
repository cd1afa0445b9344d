//! Logs that the kernel left when it crashed, that debugfs wrote and that were damaged afterwards,
//! with what the kernel and debugfs made of them. See `crash-images` in the corpus.

use super::image::Ext4;
use ext4_blockdev::{BlockDevice, MemoryDevice, Overlay};
use ext4_jbd2::recovery::{self, Options, Scan};
use ext4_ondisk::{
    checksum::Csum,
    jbd2::{Class, JournalIncompat},
};
use ext4_testkit::oracle::{self, Need, corpus, skip_without};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The folder of images, or `None` with a word about it.
fn crash_images() -> Option<PathBuf> {
    if skip_without(&[Need::Corpus]) {
        return None;
    }
    corpus().map(|dir| dir.join("crash-images"))
}

fn json(path: &Path) -> Value {
    serde_json::from_reader(BufReader::new(File::open(path).unwrap())).unwrap()
}

fn unpacked(path: &Path) -> Vec<u8> {
    zstd::decode_all(File::open(path).unwrap()).unwrap()
}

/// The names of the images in a folder that have a manifest.
fn names(dir: &Path) -> Vec<String> {
    let files = fs::read_dir(dir).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> =
        files.filter_map(|it| it.strip_suffix(".img.zst").map(str::to_owned)).collect();
    names.sort();
    names
}

/// zlib's crc32.
fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 }
        })
    })
}

/// A scan of the log in an image.
fn scan(image: &Ext4) -> ext4_jbd2::Result<Scan> {
    let options = Options {
        block_size: image.block_size,
        home: image.blocks(),
        inode_size: image.inode_size,
        metadata_csum: image.has_metadata_csum,
    };
    recovery::scan(image.device(), &image.log(), &options)
}

/// Replays into an overlay of `base`; the changed blocks with their contents, those of the log
/// left out.
fn replayed(base: &Arc<MemoryDevice>) -> BTreeMap<u64, Vec<u8>> {
    let overlay = Overlay::new(base.clone());
    let image = Ext4::open(&overlay).unwrap();
    let log = image.log();
    let scan = scan(&image).unwrap();
    assert_eq!(scan.verdict(), Ok(()));
    scan.replay(&overlay, &log, &mut |_, _| {}).unwrap();
    let homes = overlay.written_sectors();
    scan.reset(&overlay, &log).unwrap();
    assert!(self::scan(&image).unwrap().is_empty());
    let size = u64::from(image.block_size.bytes());
    let blocks: BTreeSet<u64> = homes.iter().map(|byte| byte / size).collect();
    let mut changed = BTreeMap::new();
    for block in blocks {
        let read = |device: &dyn BlockDevice| {
            let mut bytes = vec![0; image.block_size.len()];
            device.read_at(block * size, &mut bytes).unwrap();
            bytes
        };
        let (old, new) = (read(&**base), read(&overlay));
        if old != new {
            changed.insert(block, new);
        }
    }
    changed
}

/// What debugfs makes of a log without its fast commits, for which it would throw the log away: the
/// blocks it changes.
fn replayed_by_debugfs(base: &MemoryDevice) -> BTreeMap<u64, u32> {
    let copy = MemoryDevice::new(base.contents());
    let image = Ext4::open(&copy).unwrap();
    let log = image.log();
    let superblock = log.read_superblock(&copy, image.block_size).unwrap();
    let mut raw = superblock.encode();
    let incompat = superblock.incompat.difference(JournalIncompat::FAST_COMMIT);
    raw[0x28..0x2C].copy_from_slice(&incompat.bits().to_be_bytes());
    raw[0x10..0x14].copy_from_slice(&superblock.ring_end().to_be_bytes());
    if superblock.checksums().per_block() {
        raw[0xFC..0x100].fill(0);
        let sum = Csum::START.over(&raw).0;
        raw[0xFC..0x100].copy_from_slice(&sum.to_be_bytes());
    }
    log.write(&copy, image.block_size, 0, &raw).unwrap();
    let dir = oracle::scratch().unwrap();
    let path = dir.path().join("image");
    fs::write(&path, copy.contents()).unwrap();
    let args = ["-w", "-R", "jr", path.to_str().unwrap()];
    oracle::tool("debugfs", args, b"").unwrap();
    let (old, new) = (base.contents(), fs::read(&path).unwrap());
    let blocks = old.chunks(image.block_size.len()).zip(new.chunks(image.block_size.len()));
    (0..).zip(blocks).filter(|(_, (a, b))| a != b).map(|(nr, (_, b))| (nr, crc32(b))).collect()
}

#[test]
fn kernel_crashes_are_replayed_as_debugfs_replays_them() {
    let Some(dir) = crash_images() else { return };
    let (mut images, mut blocks, mut skipped) = (0, 0, vec![]);
    for name in names(&dir) {
        let manifest = json(&dir.join(format!("{name}.json")));
        let replay = &manifest["journal_only"];
        if replay["rc"] != 0 || replay["out"].as_array().is_some_and(|it| !it.is_empty()) {
            skipped.push(name);
            continue;
        }
        let base = Arc::new(MemoryDevice::new(unpacked(&dir.join(format!("{name}.img.zst")))));
        let image = Ext4::open(&*base).unwrap();
        let mut expected: BTreeMap<u64, u32> = BTreeMap::new();
        for pair in replay["changed"].as_array().unwrap() {
            let sum = u32::from_str_radix(pair[1].as_str().unwrap(), 16).unwrap();
            expected.insert(pair[0].as_u64().unwrap(), sum);
        }
        if manifest["facts_raw"]["journal"]["fc_blocks"] != 0 {
            if skip_without(&[Need::Debugfs]) {
                skipped.push(name);
                continue;
            }
            expected = replayed_by_debugfs(&base);
        }
        let ours = replayed(&base);
        let mut ours: BTreeMap<u64, u32> = ours.iter().map(|(&nr, it)| (nr, crc32(it))).collect();
        // debugfs changes both superblocks on its own account, and with meta_bg it brings the copies
        // of the group descriptors up to date as well.
        let size = u64::from(image.block_size.bytes());
        let theirs = [1024 / size, image.log().block(0).unwrap().0];
        ours.retain(|block, _| !theirs.contains(block));
        let sums: BTreeSet<u32> = ours.values().copied().collect();
        expected.retain(|block, sum| {
            !theirs.contains(block) && (ours.contains_key(block) || !sums.contains(sum))
        });
        assert_eq!(ours, expected, "{name}");
        images += 1;
        blocks += ours.len();
    }
    println!("{images} images, {blocks} blocks as debugfs has them; it cannot do {skipped:?}");
    assert!(images > 50);
}

#[test]
fn kernel_crashes_are_accepted_and_recovered_logs_are_empty() {
    let Some(dir) = crash_images() else { return };
    let mut n = 0;
    for name in names(&dir) {
        let base = MemoryDevice::new(unpacked(&dir.join(format!("{name}.img.zst"))));
        let image = Ext4::open(&base).unwrap();
        let scan = scan(&image).unwrap();
        assert_eq!(scan.verdict(), Ok(()), "{name}");
        let manifest = json(&dir.join(format!("{name}.json")));
        let facts = &manifest["facts_raw"]["journal"];
        let transactions = facts["txns"].as_array().map_or(0, Vec::len);
        if transactions < 41 {
            assert_eq!(scan.transactions.len(), transactions, "{name}");
        }
        let logged: usize = scan.transactions.iter().map(|it| it.logged.len()).sum();
        if facts["partial_txn"].is_null() {
            assert_eq!(logged as u64, facts["logged_tags"].as_u64().unwrap_or(0), "{name}");
        }
        // The fast commits read as what they are.
        let log = image.log();
        for op in scan.fast_commits.ops(&base, &log, image.block_size) {
            op.unwrap();
        }
        if facts["fc"]["live"] == true {
            assert!(scan.fast_commits.commits > 0, "{name}");
        }
        n += 1;
    }
    println!("{n} of {n} kernel crashes accepted");
    assert!(n > 60);
}

#[test]
fn journals_of_every_version_from_debugfs_are_replayed() {
    let Some(dir) = crash_images().map(|dir| dir.join("jw")) else { return };
    let (mut images, mut blocks) = (0, 0);
    for name in names(&dir) {
        let manifest = json(&dir.join(format!("{name}.json")));
        let base = Arc::new(MemoryDevice::new(unpacked(&dir.join(format!("{name}.img.zst")))));
        let changed = replayed(&base);
        let size = Ext4::open(&*base).unwrap().block_size;
        let contents = |block: u64| {
            changed.get(&block).cloned().unwrap_or_else(|| {
                let mut bytes = vec![0; size.len()];
                base.read_at(block * u64::from(size.bytes()), &mut bytes).unwrap();
                bytes
            })
        };
        for (block, sum) in manifest["expected"].as_object().unwrap() {
            let sum = u32::from_str_radix(sum.as_str().unwrap(), 16).unwrap();
            assert_eq!(crc32(&contents(block.parse().unwrap())), sum, "{name} block {block}");
            blocks += 1;
        }
        for block in manifest["poison_blocks"].as_array().unwrap() {
            let block = block.as_u64().unwrap();
            assert!(contents(block).starts_with(b"POISON!STALE-BLK"), "{name} block {block}");
            blocks += 1;
        }
        images += 1;
    }
    println!("{images} of {images} journals, {blocks} blocks");
    assert!(images >= 9);
}

/// What the kernel says of a damaged journal.
fn kernel_verdict(kernel: &Value) -> Option<Result<(), Class>> {
    let messages: Vec<&str> =
        kernel["dmesg"].as_array()?.iter().filter_map(Value::as_str).collect();
    if kernel["mount_rc"] == 0 {
        return Some(Ok(()));
    }
    let has = |text: &str| messages.iter().any(|it| it.contains(text));
    if !has("JBD2: ") {
        return None;
    }
    Some(Err(if has("Invalid checksum") || has("journal checksum error") {
        Class::BadChecksum
    } else if has(" is corrupt.") || has("corrupted journal superblock") {
        Class::Corrupt
    } else {
        Class::Invalid
    }))
}

#[test]
fn damaged_journals_get_the_kernels_verdict() {
    let Some(dir) = crash_images() else { return };
    let all = json(&dir.join("mutations.json"));
    let mut bases: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for mutation in all["mutations"].as_array().unwrap() {
        bases.entry(mutation["base"].as_str().unwrap()).or_default().push(mutation);
    }
    let (mut same, mut unasked, mut stricter, mut elsewhere) = (0, 0, vec![], 0);
    let mut wrong = vec![];
    for (base, mutations) in bases {
        let path = dir.join(format!("{base}.img.zst"));
        let device: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::new(unpacked(&path)));
        for mutation in mutations {
            let what = mutation["what"].as_str().unwrap();
            let overlay = Overlay::new(device.clone());
            for patch in mutation["patch"].as_array().unwrap() {
                let bytes = match &patch[1] {
                    Value::Array(it) => {
                        unhex(it[0].as_str().unwrap()).repeat(it[1].as_u64().unwrap() as usize)
                    }
                    it => unhex(it.as_str().unwrap()),
                };
                overlay.write_at(patch[0].as_u64().unwrap(), &bytes).unwrap();
            }
            let Some(image) = Ext4::open(&overlay) else {
                elsewhere += 1;
                continue;
            };
            let ours = match scan(&image) {
                Ok(scan) => scan.verdict().map_err(|it| it.class),
                Err(err) => Err(err.class().unwrap()),
            };
            let is_journals = ["desc-", "data-", "commit-", "revoke-", "jsb ", "fc ", "a ", "an "];
            if !is_journals.iter().any(|it| what.starts_with(it)) {
                elsewhere += 1;
                continue;
            }
            // Where the kernel was not asked, because it would replay garbage over its metadata.
            let Some(kernel) = kernel_verdict(&mutation["kernel"]) else {
                unasked += 1;
                continue;
            };
            let expected = match (what, kernel) {
                // Two without a message of their own.
                ("fc HEAD unknown features", Err(_)) => Err(Class::NotSupported),
                ("fc block 0 payload bit", Err(_)) => Err(Class::BadChecksum),
                (_, kernel) => kernel,
            };
            if ours == expected {
                same += 1;
            } else if expected.is_ok()
                && what == "jsb s_start=maxlen-1"
                && ours == Err(Class::Corrupt)
            {
                // In the fast-commit area, where there can be no log: the kernel drops the log.
                stricter.push(format!("{base}: {what}"));
            } else {
                wrong.push(format!("{base}: {what}: {ours:?}, kernel {expected:?}"));
            }
        }
    }
    println!("{same} as the kernel, {unasked} not asked of it, {elsewhere} not in the journal");
    println!("stricter than the kernel: {stricter:?}");
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(same > 400, "{same}");
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2).map(|it| std::str::from_utf8(it).unwrap());
    digits.map(|it| u8::from_str_radix(it, 16).unwrap()).collect()
}

/// One event of a recorded run: offset and bytes of a write, `None` for anything else.
type Event = Option<(u64, Vec<u8>)>;

/// A log of writes, flushes and marks.
fn events(bytes: &[u8]) -> Vec<Event> {
    let mut rest = bytes;
    let mut events = vec![];
    while let Some((head, tail)) = rest.split_first_chunk::<32>() {
        let u32_at = |at: usize| u32::from_le_bytes(*head[at..].first_chunk().unwrap());
        assert_eq!(u32_at(0), 0x474F_4C46);
        let offset = u64::from_le_bytes(*head[16..].first_chunk().unwrap());
        let len = if matches!(u32_at(4), 1 | 3) { u32_at(24) as usize } else { 0 };
        let (data, after) = tail.split_at(len);
        events.push((u32_at(4) == 1).then(|| (offset, data.to_vec())));
        rest = after;
    }
    events
}

/// Writes to `device` what of the events reached the medium in a state.
fn apply(events: &[Event], state: &Value, device: &dyn BlockDevice) {
    let flushed = state["flushed"].as_i64().unwrap();
    let upto = state["upto"].as_u64().unwrap() as usize;
    for (i, event) in events[..upto].iter().enumerate() {
        let Some((offset, data)) = event else { continue };
        let keep = &state["keep"];
        if i as i64 <= flushed || keep.is_null() {
            device.write_at(*offset, data).unwrap();
        } else if let Some(sectors) = keep.get(i.to_string()) {
            match sectors.as_array() {
                None => device.write_at(*offset, data).unwrap(),
                Some(sectors) => {
                    for nr in sectors.iter().map(|it| it.as_u64().unwrap() as usize) {
                        let part = &data[512 * nr..data.len().min(512 * nr + 512)];
                        device.write_at(offset + 512 * nr as u64, part).unwrap();
                    }
                }
            }
        }
    }
}

#[test]
fn power_cuts_leave_logs_that_are_accepted() {
    let Some(dir) = crash_images().map(|dir| dir.join("powercut")) else { return };
    let mut files: Vec<_> = fs::read_dir(&dir).unwrap().map(|it| it.unwrap().path()).collect();
    files.sort();
    let (mut accepted, mut kernel_refused, mut unreadable) = (0, 0, 0);
    for path in files.iter().filter(|it| it.extension().is_some_and(|it| it == "json")) {
        let manifest = json(path);
        let base: Arc<dyn BlockDevice> =
            Arc::new(MemoryDevice::new(unpacked(&path.with_extension("base.img.zst"))));
        let events = events(&unpacked(&path.with_extension("log.zst")));
        for state in manifest["states"].as_array().unwrap() {
            let overlay = Overlay::new(base.clone());
            apply(&events, state, &overlay);
            let mut superblock = [0; 1024];
            overlay.read_at(1024, &mut superblock).unwrap();
            // A superblock torn in two is what the kernel refuses; there is a log all the same.
            let kernel_mounts = state["kernel"]["mount_rc"] == 0;
            let Some(image) = Ext4::open(&overlay) else {
                assert!(!kernel_mounts, "{path:?} {}", state["id"]);
                unreadable += 1;
                continue;
            };
            let at = || format!("{} state {}", path.display(), state["id"]);
            let scan = scan(&image).unwrap_or_else(|err| panic!("{}: {err}", at()));
            assert_eq!(scan.verdict(), Ok(()), "{}", at());
            if let (Some(n), true) = (state["txns"].as_u64(), kernel_mounts) {
                assert_eq!(scan.transactions.len() as u64, n, "{}", at());
            }
            accepted += 1;
            kernel_refused += u32::from(!kernel_mounts);
        }
    }
    println!(
        "{accepted} states accepted, {kernel_refused} of them refused by the kernel; \
         {unreadable} without a superblock"
    );
    assert!(accepted > 2000);
}
