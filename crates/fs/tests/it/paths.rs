//! Paths are resolved as the kernel does.

use ext4_fs::{Error, Filesystem, Last};
use ext4_testkit::image::Recipe;

/// /d/e/file, and links around it.
fn tree() -> Option<Filesystem> {
    let mut recipe = Recipe::new("ext4-1k")
        .mkdir("/d")
        .mkdir("/d/e")
        .write("/d/e/file", *b"contents")
        .debugfs("symlink /abs /d/e/file")
        .debugfs("symlink /d/rel e/file")
        .debugfs("symlink /d/e/up ../../d/e/../rel")
        .debugfs("symlink /dir d/e/")
        .debugfs("symlink /dangling nowhere")
        .debugfs("symlink /loop /loop")
        .debugfs(&format!("symlink /long /{}d/e/file", "d/../".repeat(60)))
        .debugfs("symlink /l0 /d/e/file");
    for i in 1..=40 {
        recipe = recipe.debugfs(&format!("symlink /l{i} l{}", i - 1));
    }
    Some(Filesystem::open_read(recipe.image()?.overlay()).unwrap())
}

#[test]
fn all_ways_to_a_file_lead_to_it() {
    let Some(fs) = tree() else { return };
    let ino = |path: &str| fs.resolve(fs.meta(), path.as_bytes(), Last::Follow).map(|it| it.ino);
    let file = ino("/d/e/file").unwrap();
    for path in [
        "d/e/file",
        "//d///e/./file",
        "/d/e/../e/file",
        "/../../d/e/file",
        "/abs",
        "/d/rel",
        "/d/e/up",
        "/dir/file",
        "/dir/../e/file",
        "/long",
        "/l39",
    ] {
        assert_eq!(ino(path).unwrap(), file, "{path}");
    }
    assert_eq!(ino("/dir").unwrap(), ino("/d/e/").unwrap());
    assert_eq!(ino("/").unwrap().get(), 2);
    assert_eq!(ino("/dir/../..").unwrap().get(), 2);
}

#[test]
fn a_link_at_the_end_can_be_looked_at_itself() {
    let Some(fs) = tree() else { return };
    let get = |path: &str, last| fs.resolve(fs.meta(), path.as_bytes(), last).unwrap();
    let link = get("/dir", Last::Stay);
    assert_eq!(fs.read_link(fs.meta(), &link).unwrap(), b"d/e/");
    // With a slash behind it, it is what it names.
    assert!(get("/dir/", Last::Stay).is_dir());
    let long = fs.read_link(fs.meta(), &get("/long", Last::Stay)).unwrap();
    assert_eq!(long.len(), 309);
    assert_eq!(fs.read_link(fs.meta(), &get("/dangling", Last::Stay)).unwrap(), b"nowhere");
}

#[test]
fn what_does_not_resolve_says_why() {
    let Some(fs) = tree() else { return };
    let err = |path: &str| fs.resolve(fs.meta(), path.as_bytes(), Last::Follow).unwrap_err();
    assert!(matches!(err(""), Error::NotFound { .. }));
    assert!(matches!(err("/none"), Error::NotFound { .. }));
    assert!(matches!(err("/dangling"), Error::NotFound { .. }));
    assert!(matches!(err("/d/e/file/x"), Error::NotADirectory { .. }));
    assert!(matches!(err("/d/e/file/."), Error::NotADirectory { .. }));
    assert!(matches!(err("/abs/"), Error::NotADirectory { .. }));
    assert!(matches!(err("/loop"), Error::Loop { .. }));
    // Forty links may be followed, this is one more.
    assert!(matches!(err("/l40"), Error::Loop { .. }));
    assert!(matches!(err(&"d/../".repeat(1000)), Error::BadName { .. }));
    assert!(matches!(err(&format!("/{}", "x".repeat(256))), Error::BadName { .. }));
}

#[test]
fn the_parent_of_a_new_name_is_found() {
    let Some(fs) = tree() else { return };
    let parent = |path: &str| fs.resolve_parent(fs.meta(), path.as_bytes());
    let e = fs.resolve(fs.meta(), b"/d/e", Last::Follow).unwrap().ino;
    for path in ["/d/e/new", "/dir/new", "d/e/new/"] {
        let it = parent(path).unwrap();
        assert_eq!((it.dir.ino, it.name.as_slice()), (e, &b"new"[..]), "{path}");
    }
    assert_eq!(parent("new").unwrap().dir.ino.get(), 2);
    assert!(matches!(parent("/").unwrap_err(), Error::BadName { .. }));
    assert!(matches!(parent("/d/..").unwrap_err(), Error::BadName { .. }));
    assert!(matches!(parent("/abs/new").unwrap_err(), Error::NotADirectory { .. }));
    assert!(matches!(parent("/none/new").unwrap_err(), Error::NotFound { .. }));
}
