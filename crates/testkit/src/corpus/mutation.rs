//! Damage to crash images, stored as patches.

use super::Json;
use crate::{image::Image, manifest::hex};
use anyhow::{Result, ensure};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Damage to a crash image, and what the kernel made of it.
#[derive(Clone, Debug)]
pub struct Mutation {
    /// Its number.
    pub id: u64,
    /// The crash image it damages.
    pub base: String,
    /// What it damages.
    pub what: String,
    file: PathBuf,
    sha256: String,
    patches: Vec<(u64, Vec<u8>)>,
    /// Whether the kernel was asked at all: not where it would have replayed garbage.
    pub kernel_was_asked: bool,
    /// Whether the kernel mounted it.
    pub kernel_mounted: bool,
    /// Whether e2fsck then found nothing.
    pub kernel_clean: bool,
    /// Whether it saw the same tree as without the damage; `None` when it did not mount.
    pub kernel_same: Option<bool>,
}

impl Mutation {
    pub(super) fn of(dir: &Path, json: &Json) -> Result<Self> {
        let base = json.get("base").text();
        let kernel = json.get("kernel");
        let patch = |it: Json| {
            let bytes = it.at(1);
            // Digits, or digits and how often.
            let bytes = if bytes.is_list() {
                unhex(&bytes.at(0).text())?.repeat(bytes.at(1).small() as usize)
            } else {
                unhex(&bytes.text())?
            };
            Ok((it.at(0).number(), bytes))
        };
        Ok(Self {
            id: json.get("id").number(),
            what: json.get("what").text(),
            file: dir.join(format!("{base}.img.zst")),
            base,
            sha256: json.get("sha").text(),
            patches: json.get("patch").list().map(patch).collect::<Result<_>>()?,
            kernel_was_asked: kernel.get("mount_rc").optional_number().is_some(),
            kernel_mounted: kernel.get("mount_rc").optional_number() == Some(0),
            kernel_clean: kernel.get("fn").optional_number() == Some(0),
            kernel_same: kernel.get("same_as_unmutated").bool(),
        })
    }

    /// The damaged image, from the undamaged one.
    pub fn apply(&self, base: &Image) -> Result<Image> {
        let image = base.patched(self.patches.iter().map(|(at, bytes)| (*at, &bytes[..])))?;
        let found = hex(&Sha256::digest(image.bytes()));
        ensure!(found.starts_with(&self.sha256), "mutation {}: SHA-256 {found}", self.id);
        Ok(image)
    }

    /// The crash image without the damage.
    pub fn undamaged(&self) -> Result<Image> {
        Image::load(&self.file)
    }

    /// The damaged image.
    pub fn image(&self) -> Result<Image> {
        self.apply(&self.undamaged()?)
    }
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    let byte = |it: &[u8]| Ok(u8::from_str_radix(std::str::from_utf8(it)?, 16)?);
    digits.map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_digits_come_back() {
        assert_eq!(unhex("00ff10").unwrap(), [0, 255, 16]);
        assert!(unhex("0g").is_err());
    }
}
