//! Random sequences of everything that can be done to names, attributes and contents.

use crate::rig::{Pair, ask_all, image, open, open_committing};
use std::sync::Arc;

fn random_steps(profile: &str, seed: u64, n_steps: usize) {
    let Some(image) = image(profile) else { return };
    let device = image.device();
    let mut pair = Pair::new(open(Arc::clone(&device) as _), seed);
    for step in 0..n_steps {
        pair.step().unwrap_or_else(|err| panic!("{profile}, seed {seed}, step {step}: {err}"));
        if step % 64 == 63 {
            pair.fs.commit().unwrap();
        }
    }
    let expected = pair.manifest();
    pair.fs.close().unwrap();
    ask_all(&*device, &expected, &format!("{profile}, seed {seed}"));
}

#[test]
fn everybody_reads_what_the_model_says() {
    for profile in ["ext4-4k", "ext4-1k", "ext2-1k", "ext3-4k", "bigalloc-1k", "inline-4k"] {
        random_steps(profile, 1, 300);
    }
}

#[test]
fn every_kind_of_filesystem_takes_all_operations() {
    for profile in ext4_testkit::image::PROFILES {
        if profile.name != "quota-4k" && profile.name != "mmp-4k" {
            random_steps(profile.name, 2, 120);
        }
    }
}

#[test]
fn a_crash_between_any_two_handles_is_recovered_to_what_was_done() {
    for profile in ["ext4-1k", "orphan-4k", "inline-4k", "bigalloc-4k", "ext3-1k"] {
        let Some(image) = image(profile) else { return };
        for n_steps in [7, 31, 90, 150] {
            let device = image.device();
            let mut pair = Pair::new(open_committing(Arc::clone(&device) as _), 3);
            for _ in 0..n_steps {
                pair.step().unwrap();
            }
            pair.fs.commit().unwrap();
            let expected = pair.manifest();
            drop(pair);
            open(Arc::clone(&device) as _).close().unwrap();
            ask_all(&*device, &expected, &format!("{profile} after {n_steps} steps"));
        }
    }
}
