//! Random job files.

use ext4_testkit::rng::Rng;
use std::fmt::Write as _;

/// What programs are made for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Bytes of a block.
    pub(crate) block: u64,
    /// Files have extents: blocks can be preallocated.
    pub(crate) extents: bool,
    /// Labelled lines at most.
    pub(crate) lines: usize,
}

/// The job of a seed: files as a few lines leave them, then two to four writers.
pub(crate) fn program(seed: u64, shape: Shape) -> String {
    let mut it = Generator { rng: Rng::new(seed), shape, text: String::new() };
    let files: &[&str] = if it.rng.percent(25) { &["/f", "/g"] } else { &["/f"] };
    for file in files {
        it.line("", &format!("create {file}"));
        for _ in 0..it.rng.below(4) {
            let line = it.prepared(file);
            it.line("", &line);
        }
    }
    let actors = 2 + it.rng.below(3);
    let lines = 3 + it.rng.below(shape.lines.saturating_sub(2));
    let mut waits = [false; 4];
    for _ in 0..lines {
        let actor = it.rng.below(actors);
        let file = *it.rng.pick(files);
        let line = it.operation(file);
        let label = format!("{}: ", ["a", "b", "c", "d"][actor]);
        it.line(&label, &line);
        waits[actor] |= line.starts_with("submit");
        if waits[actor] && it.rng.percent(30) {
            it.line(&label, "wait expect any");
            waits[actor] = false;
        }
    }
    it.text
}

struct Generator {
    rng: Rng,
    shape: Shape,
    text: String,
}

impl Generator {
    fn line(&mut self, label: &str, line: &str) {
        writeln!(self.text, "{label}{line}").unwrap();
    }

    /// A range: whole blocks, whole sectors, or any bytes.
    fn range(&mut self, may_be_bytes: bool) -> (u64, u64) {
        let block = self.shape.block;
        let unit = match self.rng.below(10) {
            0..6 => block,
            6..8 => 512,
            _ if may_be_bytes => 1,
            _ => 512,
        };
        let places = 16 * block / unit;
        let at = self.rng.below(usize::try_from(places).unwrap()) as u64 * unit;
        let most = usize::try_from(6 * block / unit).unwrap();
        (at, (1 + self.rng.below(most) as u64) * unit)
    }

    /// What a file may look like before anybody races.
    fn prepared(&mut self, file: &str) -> String {
        let (at, len) = self.range(false);
        match self.rng.below(7) {
            0 | 1 => format!("direct {file} {at} {len}"),
            2 => format!("buffered {file} {at} {len}"),
            3 => format!("truncate {file} {}", 2 * at + len),
            4 if self.shape.extents => format!("fallocate {file} {at} {} keep-size", 2 * len),
            5 if self.shape.extents => format!("fallocate {file} {at} {}", 2 * len),
            _ => format!("fsync {file}"),
        }
    }

    fn operation(&mut self, file: &str) -> String {
        let (at, len) = self.range(false);
        let (any_at, any_len) = self.range(true);
        match self.rng.below(100) {
            0..26 => self.direct("direct", file),
            26..38 => self.direct("submit", file),
            38..58 => {
                let sync = *self.rng.pick(&["", "", "", " dsync", " sync"]);
                if self.rng.percent(15) {
                    format!("buffered {file} append {any_len}{sync}")
                } else {
                    format!("buffered {file} {any_at} {any_len}{sync}")
                }
            }
            58..64 => format!("writeback {file}"),
            64..69 => format!("writeback {file} {at} {len}"),
            69..73 => format!("fsync {file}"),
            73..76 => format!("fdatasync {file}"),
            76..80 => "commit".to_owned(),
            80..87 => {
                let (size, _) = self.range(true);
                format!("truncate {file} {size}")
            }
            87..92 if self.shape.extents => {
                let keep = if self.rng.percent(50) { " keep-size" } else { "" };
                format!("fallocate {file} {any_at} {any_len}{keep}")
            }
            87..97 => format!("punch {file} {any_at} {any_len}"),
            97..98 => format!("chmod {file} 0600"),
            98..99 => "sync".to_owned(),
            _ => format!("read {file} {at} {len}"),
        }
    }

    fn direct(&mut self, word: &str, file: &str) -> String {
        let (at, len) = self.range(false);
        let mut line = if self.rng.percent(12) {
            format!("{word} {file} append {len}")
        } else {
            format!("{word} {file} {at} {len}")
        };
        line += *self.rng.pick(&["", "", "", "", " dsync", " sync"]);
        let chunk = self.shape.block;
        if self.rng.percent(40) {
            write!(line, " chunk {chunk} depth {}", 1 + self.rng.below(3)).unwrap();
        }
        if self.rng.percent(15) {
            line += " nowait expect any";
        } else if line.contains("append") {
            // The end of the file need not be the end of a sector.
            line += " expect any";
        }
        line
    }
}
