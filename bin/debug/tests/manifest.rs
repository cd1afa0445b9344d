//! What we read of an image is what the kernel reads of it.
//!
//! `EXT4_CORPUS` names a folder with `clean/NAME.img` and, beside each, `NAME.json`: the manifest
//! that was made through a kernel's mount. Prints `read right N/N images`.
#![cfg(test)]

use ext4_fs::Filesystem;
use ext4_testkit::{image::Image, oracle::corpus};
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};

const ENCRYPTED: u64 = 0x800;

/// All that a manifest may say of an entry. The kernel's has `data` too, which depends on what was
/// in its cache.
const FIELDS: [&str; 18] = [
    "type", "ino", "mode", "uid", "gid", "nlink", "size", "blocks", "atime", "mtime", "ctime",
    "crtime", "sha256", "target", "rdev", "xattrs", "flags", "projid",
];

type Entries = BTreeMap<String, Value>;

fn entries(manifest: &Value) -> Entries {
    let path = |entry: &Value| {
        let path = entry.get("path_hex").or(entry.get("path")).unwrap();
        path.as_str().unwrap().to_owned()
    };
    manifest["entries"].as_array().unwrap().iter().map(|it| (path(it), it.clone())).collect()
}

/// Names below an encrypted directory need the key: the kernel shows them in another form.
fn without_encrypted(entries: Entries) -> Entries {
    let tops: Vec<String> = entries
        .iter()
        .filter(|(_, it)| it["type"] == "d" && it["flags"].as_u64().unwrap_or(0) & ENCRYPTED != 0)
        .map(|(path, _)| format!("{path}/"))
        .collect();
    let hidden = |path: &str, it: &Value| {
        // Those in hex are compared by their text, where the directory's name is plain.
        let text = it["path"].as_str().unwrap_or(path);
        tops.iter().any(|top| text.starts_with(top))
    };
    entries.into_iter().filter(|(path, it)| !hidden(path, it)).collect()
}

fn differences(image: &Path) -> Vec<String> {
    let json = fs::read(image.with_extension("json")).unwrap();
    let kernel = without_encrypted(entries(&serde_json::from_slice(&json).unwrap()));
    let fs = Filesystem::open_read(Image::load(image).unwrap().overlay()).unwrap();
    let mut out = Vec::new();
    let summary = ext4_debug::manifest::write(&fs, fs.meta(), &mut out).unwrap();
    let mut ours = without_encrypted(entries(&serde_json::from_slice(&out).unwrap()));
    let mut wrong = Vec::new();
    if summary.damaged != 0 {
        wrong.push(format!("{} entries could not be read", summary.damaged));
    }
    for (path, theirs) in kernel {
        let Some(it) = ours.remove(&path) else {
            wrong.push(format!("{path} is missing"));
            continue;
        };
        for field in FIELDS {
            let (found, expected) = (it.get(field), theirs.get(field).filter(|it| !it.is_null()));
            // What the kernel could not read, such as encrypted contents, is not in its manifest.
            if expected.is_some() && found != expected {
                wrong.push(format!("{path} {field}: {found:?}, expected {expected:?}"));
            }
            if expected.is_none() && matches!(field, "xattrs" | "projid") && found.is_some() {
                wrong.push(format!("{path} {field}: {found:?}, expected none"));
            }
        }
    }
    wrong.extend(ours.into_keys().map(|path| format!("{path} should not be there")));
    wrong
}

#[test]
fn every_clean_image_reads_as_the_kernel_read_it() {
    let Some(folder) = corpus().map(|it| it.join("clean")).filter(|it| it.is_dir()) else {
        println!("skipped: EXT4_CORPUS names no folder with clean/");
        return;
    };
    let mut images: Vec<_> = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
    images.retain(|it| it.extension().is_some_and(|ext| ext == "img"));
    images.retain(|it| it.with_extension("json").is_file());
    images.sort();
    let mut n_right = 0;
    for image in &images {
        let wrong = differences(image);
        n_right += usize::from(wrong.is_empty());
        for line in wrong.iter().take(5) {
            println!("{}: {line}", image.display());
        }
    }
    println!("read right {n_right}/{} images", images.len());
    assert_eq!(n_right, images.len());
    assert!(n_right > 0, "no image with its manifest");
}
