//! The file of `--plan`: what a repair would do, and what the image must look like for it.
//!
//! A check gives the same changes for the same image, options and time. So the file holds those, and a
//! digest of the changes: `--apply` checks again and compares.

use crate::durable;
use ext4_blockdev::BlockDevice;
use ext4_check::{Changes, Optimize};
use ext4_cli::Failure;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{fmt::Write as _, path::Path};

/// The form of the file.
const VERSION: u32 = 3;

/// A plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    version: u32,
    /// The image as it was named, for people.
    image: String,
    /// Bytes of the device.
    device_bytes: u64,
    /// Seconds since 1970 that the check went by.
    pub(crate) now: u64,
    /// The copy of the superblock that was asked for, and its block size.
    pub(crate) superblock: Option<(u64, Option<u32>)>,
    /// What is made better behind the check.
    #[serde(with = "Improvements")]
    pub(crate) optimize: Optimize,
    /// Bytes that would be written.
    changed_bytes: u64,
    /// Digest of where and what they are.
    changes_sha256: String,
    /// What the check found, for people.
    findings: Vec<String>,
}

/// How [`Optimize`] is kept.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Optimize")]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch")]
struct Improvements {
    directories: bool,
    extents: bool,
    block_maps: bool,
    shared_blocks: bool,
}

impl Plan {
    /// Of a check that was made.
    pub(crate) fn new(
        image: &str,
        device: &dyn BlockDevice,
        options: &ext4_check::Options,
        changes: &Changes<'_>,
        outcome: &ext4_check::Outcome,
    ) -> Result<Self, Failure> {
        let (changed_bytes, changes_sha256) = digest(changes, device)?;
        Ok(Self {
            version: VERSION,
            image: image.to_owned(),
            device_bytes: device.len(),
            now: options.now,
            superblock: options.superblock,
            optimize: options.optimize,
            changed_bytes,
            changes_sha256,
            findings: outcome
                .findings
                .iter()
                .map(|it| format!("{it} [{}]", it.problem.id))
                .collect(),
        })
    }

    /// Writes the file, which must not be there yet.
    pub(crate) fn save(&self, path: &Path) -> Result<(), Failure> {
        durable::create(path, |file| {
            serde_json::to_writer_pretty(&mut *file, self)?;
            writeln!(file)
        })
        .map_err(|err| Failure::operational(err).at(path.display()))
    }

    /// Reads the file.
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        let text = std::io::read_to_string(durable::open(path)?)
            .map_err(|err| Failure::operational(err).at(path.display()))?;
        let plan: Self = serde_json::from_str(&text).map_err(|err| {
            Failure::operational(format_args!("not a plan: {err}")).at(path.display())
        })?;
        if plan.version != VERSION {
            let why = format!("plan of version {}, expected {VERSION}", plan.version);
            return Err(Failure::operational(why).at(path.display()));
        }
        Ok(plan)
    }

    /// Whether these are the changes that were planned.
    pub(crate) fn check(
        &self,
        changes: &Changes<'_>,
        device: &dyn BlockDevice,
    ) -> Result<(), Failure> {
        let (_, found) = digest(changes, device)?;
        if found == self.changes_sha256 {
            return Ok(());
        }
        Err(Failure::operational(
            "the image is not as it was when the plan was made: it was changed since, or the plan was \
             carried out, wholly or up to a cut; nothing was written now, and -y repairs it as it is",
        ))
    }
}

/// How many bytes are changed, and a digest of where they are, what they were and what they will be:
/// another image may come to the same repair.
fn digest(changes: &Changes<'_>, device: &dyn BlockDevice) -> Result<(u64, String), Failure> {
    let (mut bytes, mut sum) = (0, Sha256::new());
    for run in changes.runs() {
        let new = changes.read(&run).map_err(Failure::operational)?;
        sum.update(run.start.to_le_bytes());
        sum.update((new.len() as u64).to_le_bytes());
        sum.update(&new);
        let mut old = vec![0; new.len()];
        device.read_at(run.start, &mut old).map_err(Failure::operational)?;
        sum.update(&old);
        bytes += new.len() as u64;
    }
    let mut text = String::new();
    for byte in sum.finalize() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok((bytes, text))
}
