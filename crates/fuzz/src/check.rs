//! The full check of a small filesystem that the input has damaged.

use crate::{base, input::Input};
use ext4_blockdev::{BlockDevice as _, Overlay};
use ext4_check::{Answer, Answers, Finding, Options, Outcome};
use std::sync::Arc;

/// The time of every check.
const NOW: u64 = 1_780_000_000;
/// Patches that are made at the most.
const MOST_PATCHES: usize = 24;

/// Says the same to everything.
struct Always(Answer);

impl Answers for Always {
    fn answer(&mut self, _finding: &Finding) -> Answer {
        self.0
    }
}

/// Damages a filesystem as the input says, with checksums made right or left wrong, and checks it. It
/// has to end; what was mended must leave nothing to find, or be told as left; the number of threads
/// must play no part.
///
/// # Panics
/// When one of these does not hold.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let choice = usize::from(input.byte());
    let overlay = damaged(base::base(choice), &mut input);
    verdict(&overlay, 1 + (choice >> 7));
}

/// The filesystem with the input's patches.
fn damaged(base: &base::Base, input: &mut Input<'_>) -> Overlay {
    let overlay = Overlay::new(Arc::clone(&base.device) as _);
    for _ in 0..MOST_PATCHES {
        if input.is_empty() {
            break;
        }
        let how = input.byte();
        let place = &base.places[input.below(base.places.len())];
        let mut bytes = vec![0; place.len];
        if overlay.read_at(place.at, &mut bytes).is_err() {
            continue;
        }
        let at = input.below(place.len);
        match how & 7 {
            0..=3 => {
                // A field: 1, 2, 4 or 8 bytes.
                let new = input.bytes(1 << (how & 3));
                let end = (at + new.len()).min(bytes.len());
                bytes[at..end].copy_from_slice(&new[..end - at]);
            }
            4 => {
                // What lies elsewhere: one structure in the place of another.
                let other = &base.places[input.below(base.places.len())];
                let n = other.len.min(bytes.len());
                drop(overlay.read_at(other.at, &mut bytes[..n]));
            }
            5 => {
                let n = usize::from(input.byte());
                let end = (at + n).min(bytes.len());
                bytes[at..end].fill(input.byte());
            }
            _ => {
                let new = input.bytes(usize::from(how >> 2));
                let end = (at + new.len()).min(bytes.len());
                bytes[at..end].copy_from_slice(&new[..end - at]);
            }
        }
        if how & 0x80 == 0 {
            base.seal(place, &mut bytes);
        }
        drop(overlay.write_at(place.at, &bytes));
    }
    overlay
}

/// Checks with all answers, and judges what the check says of its own work.
pub(crate) fn verdict(overlay: &Overlay, threads: usize) {
    // With nothing mended, and unattended, it has to end too.
    drop(run(overlay, Answer::No, false, threads));
    drop(run(overlay, Answer::Yes, true, 1));
    let (first, mended) = run(overlay, Answer::Yes, false, 1);
    let (again, by_many) = run(overlay, Answer::Yes, false, 2);
    let texts = |it: &Outcome| it.findings.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(texts(&first), texts(&again), "two threads find what one does not");
    let sectors = mended.written_sectors();
    assert!(sectors == by_many.written_sectors(), "two threads write elsewhere");
    if !first.is_settled {
        assert!(first.left > 0 || first.rounds == 0 || first.bad > 0, "not settled, and not told");
        return;
    }
    if first.left > 0 {
        return;
    }
    let (second, _) = run(&mended, Answer::Yes, false, 1);
    assert!(second.findings.is_empty(), "found in what was mended: {:?}", texts(&second));
}

/// A check of a copy. One that cannot be made at all leaves an outcome that is not settled.
fn run(overlay: &Overlay, answer: Answer, is_preen: bool, threads: usize) -> (Outcome, Overlay) {
    let copy = Arc::new(overlay.fork());
    let options = Options { threads, is_preen, ..Options::new(NOW) };
    let mut outcome = Outcome::default();
    if ext4_check::check(&copy, &options, &mut Always(answer), &mut outcome).is_err() {
        outcome.is_settled = false;
        // The error is what is told.
        outcome.left = outcome.left.max(1);
    }
    (outcome, copy.fork())
}
