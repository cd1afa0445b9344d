//! Running a job on an image in memory.

use ext4_blockdev::BlockDevice;
use ext4_fs::{Clock, Filesystem, RecoverOptions, recover};
use ext4_lab::{Order, Row, Script, Session};
use ext4_testkit::image::{Image, Recipe, profile};
use std::{ops::ControlFlow, sync::Arc, time::Duration};

use crate::program::Shape;

/// One kind of filesystem.
pub(crate) struct Kind {
    pub(crate) profile: &'static str,
    pub(crate) shape: Shape,
    /// Without delayed allocation, or without unwritten blocks for pages.
    pub(crate) delalloc: bool,
    pub(crate) dioread_nolock: bool,
}

/// The kinds that schedules run on.
pub(crate) const KINDS: &[Kind] = &[
    kind("ext4-1k", 1024, true, true, true),
    kind("ext4-4k", 4096, true, true, true),
    kind("ext4-1k", 1024, true, true, false),
    kind("ext3-1k", 1024, false, true, true),
    kind("bigalloc-1k", 1024, true, true, true),
    kind("orphan-1k", 1024, true, false, true),
    kind("ext4-indirect-1k", 1024, false, true, true),
    kind("inline-4k", 4096, true, true, true),
];

const fn kind(
    profile: &'static str,
    block: u64,
    extents: bool,
    delalloc: bool,
    dioread_nolock: bool,
) -> Kind {
    let shape = Shape { block, extents, lines: 12 };
    Kind { profile, shape, delalloc, dioread_nolock }
}

impl Kind {
    pub(crate) fn image(&self) -> Option<Image> {
        assert_eq!(profile(self.profile).extents, self.shape.extents);
        Recipe::new(self.profile).image()
    }

    pub(crate) fn open(&self, device: Arc<dyn BlockDevice>) -> Filesystem {
        let mut options = RecoverOptions::new(clock());
        options.delayed.delalloc = self.delalloc;
        options.delayed.dioread_nolock = self.dioread_nolock;
        recover(device, &options).unwrap().fs
    }
}

pub(crate) fn clock() -> Clock {
    Clock::fixed(Duration::from_secs(1_700_000_000))
}

/// Runs all of a script; each row is shown to `each`.
pub(crate) fn run(
    fs: &Filesystem,
    script: &Script,
    order: Order,
    each: &mut dyn FnMut(&Row) -> Result<(), String>,
) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    let mut broken = Ok(());
    let mut session = Session::new(script, order);
    let ended = session.run(fs, &mut |row| {
        if broken.is_ok() {
            broken = each(&row);
        }
        rows.push(row);
        if broken.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    broken.map_err(|it| format!("{}\n{it}", table(&rows)))?;
    ended.map_err(|it| format!("{}\n{it}", table(&rows)))?;
    Ok(rows)
}

/// Rows for a person.
pub(crate) fn table(rows: &[Row]) -> String {
    let rows: Vec<String> = rows.iter().map(Row::to_string).collect();
    format!("{}\n{}", ext4_lab::HEADER, rows.join("\n"))
}

/// A number from the environment.
pub(crate) fn asked(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|it| it.parse().ok()).unwrap_or(otherwise)
}
