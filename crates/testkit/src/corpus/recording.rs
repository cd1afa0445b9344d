//! Recordings of all that a kernel or e2fsck wrote, and power cuts chosen in them.

use super::{Expected, Json, Kernel, Tree};
use crate::{
    crash::{CrashState, Kept},
    image::Image,
    manifest::hex,
    promise::Promises,
    trace::Trace,
};
use anyhow::Result;
use sha2::{Digest, Sha256};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Everything a kernel or e2fsck wrote while it worked, and power cuts in it.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Its name.
    pub name: String,
    dir: PathBuf,
    /// The power cuts.
    pub cuts: Vec<PowerCut>,
    /// What was recorded when it was itself a recovery: `kernel` or `e2fsck`.
    pub recoverer: Option<String>,
    /// The digest of the tree that the kernel came to when nothing cut its recovery.
    pub uninterrupted: Option<String>,
    may_shift: bool,
    may_be_stale: bool,
}

/// A recording in memory.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The image before the first write.
    pub base: Image,
    /// What was done.
    pub trace: Arc<Trace>,
}

/// One power cut of a recording.
#[derive(Clone, Debug)]
pub struct PowerCut {
    /// Its number in the recording.
    pub id: u64,
    /// How it was chosen.
    pub kind: String,
    /// Only steps before this one had happened.
    pub upto: usize,
    /// The last flush that had completed.
    pub flushed: Option<usize>,
    /// The later writes that reached the medium; `None` for all.
    pub kept: Option<Vec<Kept>>,
    /// Whether there are fast commits in it that count.
    pub has_fast_commits: bool,
    /// The first half of the image's SHA-256, or less.
    pub sha256: String,
    /// What the kernel made of it.
    pub kernel: Kernel,
}

impl Recording {
    pub(super) fn load(dir: &Path, name: String) -> Result<Self> {
        let json = Json::load(&dir.join(format!("{name}.json")))?;
        Ok(Self {
            cuts: json.get("states").list().map(|it| PowerCut::of(&it)).collect(),
            recoverer: json.get("recover").optional_text(),
            uninterrupted: json.get("totals").get("uninterrupted").get("kernel").optional_text(),
            may_shift: json.get("workload").text() == "mix",
            may_be_stale: json.get("mount_opts").text().contains("writeback"),
            dir: dir.to_path_buf(),
            name,
        })
    }

    /// Image and trace, decompressed.
    pub fn decompress(&self) -> Result<Loaded> {
        let base = Image::load(&self.dir.join(format!("{}.base.img.zst", self.name)))?;
        let log = Image::load(&self.dir.join(format!("{}.log.zst", self.name)))?;
        Ok(Loaded { base, trace: Arc::new(Trace::parse(log.bytes())?) })
    }

    /// What a recovery from this power cut has to come to.
    pub fn expected(&self, loaded: &Loaded, cut: &PowerCut) -> Expected {
        let marks = loaded.trace.marks(cut.upto);
        Expected {
            kernel: cut.kernel.clone(),
            promises: Promises::of_marks(marks),
            may_shift: self.may_shift,
            may_be_stale: self.may_be_stale,
        }
    }
}

impl PowerCut {
    fn of(json: &Json) -> Self {
        let kernel = json.get("kernel");
        let keep = json.get("keep");
        let kept = |(step, sectors): (String, Json)| Kept {
            step: step.parse().unwrap_or(0),
            sectors: sectors.is_list().then(|| sectors.list().map(|it| it.small()).collect()),
        };
        let mut kept: Option<Vec<Kept>> = keep.is_map().then(|| keep.entries().map(kept).collect());
        if let Some(kept) = &mut kept {
            kept.sort_by_key(|it| it.step);
        }
        let free = kernel.get("free");
        Self {
            id: json.get("id").number(),
            kind: json.get("kind").text(),
            upto: json.get("upto").small() as usize,
            // -1 stands for none.
            flushed: json.get("flushed").optional_number().and_then(|it| it.try_into().ok()),
            kept,
            has_fast_commits: json.get("fc_live").is_true(),
            sha256: json.get("sha").text(),
            kernel: Kernel {
                mounted: kernel.get("mount_rc").number() == 0,
                e2fsck: kernel.get("fn").number(),
                free: (free.at(0).number(), free.at(1).number()),
                tree: match kernel.get("manifest").optional_text() {
                    Some(all) => Tree::Digests {
                        all,
                        without_blocks: kernel.get("manifest_noblocks").text(),
                    },
                    None => Tree::Unknown,
                },
            },
        }
    }

    /// The state of the medium.
    pub fn state(&self, loaded: &Loaded) -> CrashState {
        let Loaded { base, trace } = loaded;
        CrashState::build(base, trace, self.upto, self.flushed, self.kept.clone())
    }

    /// Whether an image is this state.
    pub fn is(&self, image: &Image) -> bool {
        hex(&Sha256::digest(image.bytes())).starts_with(&self.sha256)
    }
}
