//! Damage in journals, orphan records and fast commits: a verdict like the kernel's, no panic, and
//! what was recovered stays recovered.

use crate::rig::clock;
use ext4_blockdev::{BlockDevice, Overlay};
use ext4_fs::{RecoverOptions, Report, recover};
use ext4_testkit::{
    corpus::{Corpus, Mutation},
    image::Image,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// A log that begins in the area of the fast commits. The kernel takes it for empty, goes on
/// writing there, and aborts at the log's end; the fast commits are lost.
const KERNEL_IS_WRONG: &[&str] = &["jsb s_start=maxlen-1"];

fn recovered(device: &Arc<Overlay>) -> Result<Report, String> {
    let device: Arc<dyn BlockDevice> = device.clone();
    let done = catch_unwind(AssertUnwindSafe(|| {
        let it = recover(device, &RecoverOptions::new(clock()))?;
        it.fs.close().map(|()| it.report)
    }));
    match done {
        Ok(res) => res.map_err(|err| err.to_string()),
        Err(_) => Err("panic".to_owned()),
    }
}

/// What is wrong with our recovery of a damaged image.
fn differences(mutation: &Mutation, image: &Image) -> Vec<String> {
    let mut found = Vec::new();
    let device = image.overlay();
    let first = recovered(&device);
    if first == Err("panic".to_owned()) {
        found.push("panic".to_owned());
    }
    let is_judge = mutation.kernel_was_asked
        && !(mutation.base.starts_with("fc-") && KERNEL_IS_WRONG.contains(&&*mutation.what));
    if is_judge && first.is_ok() != mutation.kernel_mounted {
        found.push(format!("kernel mounted: {}, ours: {first:?}", mutation.kernel_mounted));
    }
    if first.is_ok() {
        let n = device.written_sectors().len();
        match recovered(&device) {
            Ok(second) if second.is_clean() && device.written_sectors().len() == n => {}
            other => found.push(format!("the second time: {other:?}")),
        }
    }
    found
}

#[test]
fn damage_is_refused_where_the_kernel_refuses_it() {
    let Some(corpus) = Corpus::find() else { return };
    let mutations = corpus.mutations().unwrap();
    let mut wrong = Vec::new();
    for of_one in mutations.chunk_by(|a, b| a.base == b.base) {
        let base = of_one[0].undamaged().unwrap();
        for mutation in of_one {
            let image = mutation.apply(&base).unwrap();
            for fault in differences(mutation, &image) {
                let Mutation { id, base, what, .. } = mutation;
                wrong.push(format!("{id} {base} ({what}): {fault}"));
            }
        }
    }
    println!("{} of {} as the kernel", mutations.len() - wrong.len(), mutations.len());
    assert!(mutations.len() > 500, "{} only", mutations.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
