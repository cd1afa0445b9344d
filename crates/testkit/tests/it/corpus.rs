//! The corpus is read as it was written, and the kernel passes its own judgement.

use ext4_testkit::{
    corpus::{Corpus, Tree},
    image::Image,
    mount,
    oracle::{self, Need, skip_without},
};

#[test]
fn what_the_kernel_recovers_today_is_judged_as_in_order() {
    let Some(corpus) = Corpus::find() else { return };
    if skip_without(&[Need::Kernel]) {
        return;
    }
    let crashes = corpus.crashes().unwrap();
    assert!(crashes.len() > 50, "{} crashes", crashes.len());
    for crash in crashes.iter().filter(|it| it.kernel_is_right).step_by(7) {
        let scratch = oracle::scratch().unwrap();
        let file = scratch.path().join("image");
        crash.image().unwrap().save(&file).unwrap();
        mount::recover(&file).unwrap();
        let found = crash.expected.judge(&Image::load(&file).unwrap());
        assert!(found.is_empty(), "{}: {found:#?}", crash.name);
    }
}

#[test]
fn an_unrecovered_crash_is_judged_as_not_in_order() {
    let Some(corpus) = Corpus::find() else { return };
    let crashes = corpus.crashes().unwrap();
    for crash in crashes.iter().step_by(20) {
        let found = crash.expected.judge(&crash.image().unwrap());
        assert!(found.iter().any(|it| it.code == "at rest"), "{}: {found:?}", crash.name);
    }
}

#[test]
fn power_cuts_are_rebuilt_byte_for_byte() {
    let Some(corpus) = Corpus::find() else { return };
    let recordings = corpus.recordings().unwrap();
    assert!(recordings.len() > 20, "{} recordings", recordings.len());
    let mut n = 0;
    for recording in &recordings {
        let loaded = recording.decompress().unwrap();
        for cut in recording.cuts.iter().step_by(29) {
            let image = cut.state(&loaded).image();
            assert!(cut.is(&image), "{}: power cut {} ({})", recording.name, cut.id, cut.kind);
            n += 1;
        }
    }
    assert!(n > 90, "{n} power cuts");
}

#[test]
fn what_the_kernel_makes_of_a_power_cut_is_judged_as_in_order() {
    let Some(corpus) = Corpus::find() else { return };
    if skip_without(&[Need::Kernel]) {
        return;
    }
    let mut n = 0;
    for recording in corpus.recordings().unwrap() {
        let loaded = recording.decompress().unwrap();
        let good = recording.cuts.iter().filter(|it| it.kernel.mounted && it.kernel.e2fsck == 0);
        for cut in good.step_by(60) {
            let scratch = oracle::scratch().unwrap();
            let file = scratch.path().join("image");
            cut.state(&loaded).image().save(&file).unwrap();
            mount::recover(&file).unwrap();
            let expected = recording.expected(&loaded, cut);
            let found = expected.judge(&Image::load(&file).unwrap());
            assert!(found.is_empty(), "{} {}: {found:#?}", recording.name, cut.id);
            assert!(matches!(expected.kernel.tree, Tree::Digests { .. }));
            n += 1;
        }
    }
    assert!(n > 30, "{n} power cuts");
}

#[test]
fn debugfs_passes_where_it_is_the_oracle_of_replay() {
    let Some(corpus) = Corpus::find() else { return };
    if skip_without(&[Need::Debugfs]) {
        return;
    }
    let replay = |image: &Image| {
        let scratch = oracle::scratch().unwrap();
        let file = scratch.path().join("image");
        image.save(&file).unwrap();
        oracle::tool("debugfs", ["-w", "-R", "jr", file.to_str().unwrap()], b"").unwrap();
        Image::load(&file).unwrap()
    };
    for crash in corpus.crashes().unwrap().iter().step_by(9) {
        let image = crash.image().unwrap();
        assert_eq!(crash.judge_replay(&replay(&image)).unwrap(), [], "{}", crash.name);
        if crash.replay.as_ref().is_some_and(|it| it.len() > 2) {
            assert_ne!(crash.judge_replay(&image).unwrap(), [], "{}", crash.name);
        }
    }
    for journal in corpus.journals().unwrap() {
        let image = journal.image().unwrap();
        assert_eq!(journal.judge(&replay(&image)).unwrap(), [], "{}", journal.name);
        assert_ne!(journal.judge(&image).unwrap(), [], "{}", journal.name);
    }
}

#[test]
fn mutations_are_rebuilt_byte_for_byte() {
    let Some(corpus) = Corpus::find() else { return };
    let mutations = corpus.mutations().unwrap();
    assert!(mutations.len() > 500, "{} mutations", mutations.len());
    for mutation in mutations.iter().step_by(40) {
        mutation.image().unwrap();
    }
}

#[test]
fn the_second_reader_agrees_with_the_manifests_of_clean_images() {
    use ext4_testkit::view::View;
    use sha2::{Digest, Sha256};
    let Some(corpus) = Corpus::find() else { return };
    let images = corpus.clean().unwrap();
    assert!(images.len() > 60, "{} images", images.len());
    for clean in images.iter().step_by(8) {
        let image = Image::load(&clean.file).unwrap();
        let view = View::new(&image).unwrap();
        let paths = view.paths().unwrap();
        for entry in clean.entries.iter().filter(|it| it.kind == "f" && it.size < Some(1 << 20)) {
            let Some(expected) = &entry.sha256 else { continue };
            if entry.path_hex.is_some() {
                continue;
            }
            let node = view.inode(paths[entry.path.trim_start_matches('/')]).unwrap();
            let bytes = view.read(&node, 0, 1 << 20).unwrap();
            let found = ext4_testkit::manifest::hex(&Sha256::digest(&bytes));
            assert_eq!(found, *expected, "{}: {}", clean.name, entry.path);
        }
    }
}
