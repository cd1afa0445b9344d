//! Archives made entry by entry: what later entries do to earlier ones, and what is refused.

use super::{options, read, refused};
use crate::listing;
use ext4_tree::{Error, Kind, Tree, from_stream};
use std::{io::Cursor, path::Path};

/// An archive that grows.
#[derive(Clone, Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn entry(mut self, kind: u8, path: &[u8], link: &[u8], data: &[u8]) -> Self {
        let header = header(kind, path, link, data.len() as u64);
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, path: &str, data: &str) -> Self {
        self.entry(b'0', path.as_bytes(), b"", data.as_bytes())
    }

    fn dir(self, path: &str) -> Self {
        self.entry(b'5', path.as_bytes(), b"", b"")
    }

    fn link(self, path: &str, target: &str) -> Self {
        self.entry(b'1', path.as_bytes(), target.as_bytes(), b"")
    }

    fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(b'2', path.as_bytes(), target.as_bytes(), b"")
    }

    fn pax(self, kind: u8, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut len = rest;
            while rest + len.to_string().len() != len {
                len = rest + len.to_string().len();
            }
            data.extend([format!("{len} {key}=").as_bytes(), value, b"\n"].concat());
        }
        self.entry(kind, b"pax", b"", &data)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }

    #[track_caller]
    fn is(self, lines: &[&str]) -> Tree {
        let tree = read(&self.end()).unwrap_or_else(|err| panic!("{err}"));
        assert_eq!(listing::of_tree(&tree), lines);
        tree
    }
}

fn header(kind: u8, path: &[u8], link: &[u8], size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    {
        let old = header.as_old_mut();
        old.name[..path.len()].copy_from_slice(path);
        old.linkname[..link.len()].copy_from_slice(link);
        old.linkflag[0] = kind;
    }
    header.set_mode(0o644);
    header.set_uid(1);
    header.set_gid(2);
    header.set_mtime(3);
    header.set_size(size);
    header.set_cksum();
    header
}

fn archive() -> Archive {
    Archive::default()
}

const ROOT: &str = "/ 755 0:0 0.000000000 dir";

#[test]
fn directories_that_only_paths_tell_of_are_roots() {
    archive().file("a/b/c", "x").is(&[
        ROOT,
        "/a 755 0:0 0.000000000 dir",
        "/a/b 755 0:0 0.000000000 dir",
        "/a/b/c 644 1:2 3.000000000 file \"x\"",
    ]);
    archive().file("a/b", "x").dir("a/").dir("./").is(&[
        "/ 644 1:2 3.000000000 dir",
        "/a 644 1:2 3.000000000 dir",
        "/a/b 644 1:2 3.000000000 file \"x\"",
    ]);
}

#[test]
fn a_later_entry_replaces_an_earlier_one() {
    archive().file("a", "old").link("b", "a").file("./a", "new").is(&[
        ROOT,
        "/a 644 1:2 3.000000000 file \"new\"",
        "/b 644 1:2 3.000000000 file \"old\"",
    ]);
    archive().symlink("a", "x").dir("a").file("a/b", "").is(&[
        ROOT,
        "/a 644 1:2 3.000000000 dir",
        "/a/b 644 1:2 3.000000000 file \"\"",
    ]);
    archive().dir("a").file("a", "x").is(&[ROOT, "/a 644 1:2 3.000000000 file \"x\""]);
    refused(
        &archive().file("a/b", "x").file("a", "y").end(),
        "test.tar: at byte 1024: a: a regular file in the place of a directory that is not empty",
    );
}

#[test]
fn hard_links_find_targets_that_come_later() {
    archive().link("z", "y").link("y", "x").file("x", "data").is(&[
        ROOT,
        "/x 644 1:2 3.000000000 file \"data\"",
        "/y 644 1:2 3.000000000 file \"data\" /x",
        "/z 644 1:2 3.000000000 file \"data\" /x",
    ]);
    archive().symlink("s", "t").link("a", "./s").is(&[
        ROOT,
        "/a 777 1:2 3.000000000 link t",
        "/s 777 1:2 3.000000000 link t /a",
    ]);
    archive().link("a", "x").file("a", "own").is(&[ROOT, "/a 644 1:2 3.000000000 file \"own\""]);
    archive().file("a", "x").link("a", "a").is(&[ROOT, "/a 644 1:2 3.000000000 file \"x\""]);
}

#[test]
fn hard_links_to_nowhere_are_refused() {
    refused(
        &archive().file("a", "").link("b", "d/c").end(),
        "test.tar: at byte 512: b: a hard link to d/c, which is nowhere",
    );
    refused(
        &archive().link("a", "b").link("b", "c").link("c", "a").end(),
        "test.tar: at byte 0: a: a hard link to b, which is nowhere",
    );
    refused(
        &archive().dir("d").link("a", "d").end(),
        "test.tar: at byte 512: a: a hard link to the directory d",
    );
    refused(
        &archive().link("a", "../x").end(),
        "test.tar: at byte 0: a: a hard link to ../x: would leave the tree",
    );
}

#[test]
fn a_hundred_thousand_links_that_wait_for_each_other_take_no_time() {
    let mut all = archive();
    for i in 0..100_000 {
        all = all.link(&format!("{i:06}"), &format!("{:06}", i + 1));
    }
    let tree = read(&all.file("100000", "x").end()).expect("good");
    assert_eq!(tree.nodes().len(), 2);
}

#[test]
fn nothing_leaves_the_tree() {
    refused(
        &archive().file("a/../../b", "").end(),
        "test.tar: at byte 0: a/../../b: would leave the tree",
    );
    refused(
        &archive().symlink("etc", "/etc").file("etc/passwd", "").end(),
        "test.tar: at byte 512: etc/passwd: its parent etc is a symbolic link",
    );
    refused(
        &archive().file("a", "").file("a/b", "").end(),
        "test.tar: at byte 512: a/b: its parent a is a regular file",
    );
    archive().file("/a", "").link("/b", "/a").is(&[
        ROOT,
        "/a 644 1:2 3.000000000 file \"\"",
        "/b 644 1:2 3.000000000 file \"\" /a",
    ]);
}

#[test]
fn what_is_not_understood_is_told_by_name() {
    refused(
        &archive().entry(b'I', b"x", b"", b"").end(),
        "test.tar: at byte 0: x: an entry of the unknown type 'I'",
    );
    refused(
        &archive().file("a", "").entry(b'M', b"x", b"", b"").end(),
        "test.tar: at byte 512: x: continues in this archive: one of several volumes",
    );
    refused(
        &archive()
            .pax(b'x', &[("GNU.sparse.major", b"2")])
            .pax(b'x', &[("GNU.sparse.realsize", b"2")])
            .file("s", "")
            .end(),
        "test.tar: at byte 0: s: a sparse file of the unknown version 2.0",
    );
    refused(&archive().file(".", "x").end(), "test.tar: at byte 0: .: a regular file as the root");
}

#[test]
fn global_headers_hold_until_an_entry_says_otherwise() {
    archive()
        .pax(b'g', &[("mtime", b"7.5"), ("comment", b"0123abc")])
        .file("a", "")
        .pax(b'x', &[("mtime", b"8"), ("uid", b"3000000000")])
        .file("b", "")
        .file("c", "")
        .is(&[
            ROOT,
            "/a 644 1:2 7.500000000 file \"\"",
            "/b 644 3000000000:2 8.000000000 file \"\"",
            "/c 644 1:2 7.500000000 file \"\"",
        ]);
}

#[test]
fn data_of_a_hard_link_is_stepped_over_when_it_is_there() {
    let there = archive().file("a", "data").entry(b'1', b"b", b"a", b"data").file("c", "");
    let lines = [
        ROOT,
        "/a 644 1:2 3.000000000 file \"data\"",
        "/b 644 1:2 3.000000000 file \"data\" /a",
        "/c 644 1:2 3.000000000 file \"\"",
    ];
    there.is(&lines);
    let mut absent = archive().file("a", "data");
    absent.0.extend_from_slice(header(b'1', b"b", b"a", 4).as_bytes());
    absent.file("c", "").is(&lines);
}

#[test]
fn the_size_of_a_directory_is_that_of_data_or_of_none() {
    let lines = [ROOT, "/a 644 1:2 3.000000000 dir", "/b 644 1:2 3.000000000 file \"\""];
    archive().entry(b'5', b"a", b"", b"names").file("b", "").is(&lines);
    archive().entry(b'D', b"a", b"", b"names").file("b", "").is(&lines);
    let mut room = archive();
    room.0.extend_from_slice(header(b'5', b"a", b"", 4096).as_bytes());
    room.file("b", "").is(&lines);
}

#[test]
fn sizes_that_cannot_be_do_not_take_memory() {
    let huge = |kind: u8, size: u64| {
        let mut archive = archive();
        archive.0.extend_from_slice(header(kind, b"huge", b"", 0).as_bytes());
        let mut header = header(kind, b"huge", b"", 0);
        header.set_size(size);
        header.set_cksum();
        archive.0 = header.as_bytes().to_vec();
        archive.end()
    };
    refused(
        &huge(b'0', u64::MAX >> 1),
        "test.tar: at byte 1536: the archive ends here, expected at least 9223372036854774783 more bytes",
    );
    refused(
        &huge(b'0', 1 << 63),
        "test.tar: at byte 0: huge: size: found 9223372036854775808, expected 0 to 9223372036854775807",
    );
    refused(
        &huge(b'x', 1 << 30),
        "test.tar: at byte 0: extended header: found 1073741824 bytes, expected at most 67108864",
    );
    refused(
        &huge(b'L', 1 << 20),
        "test.tar: at byte 0: long name: found 1048576 bytes, expected at most 65536",
    );
    let path = "a/".repeat(1 << 19);
    refused(
        &archive().pax(b'x', &[("path", path.as_bytes())]).file("x", "").end(),
        "test.tar: at byte 0: found a path of 1048576 bytes, expected at most 65536",
    );
}

#[test]
fn an_archive_that_was_cut_is_told_by_the_byte() {
    let whole = archive().file("a", "data").end();
    for (len, why) in [
        (0, "at byte 0: empty, expected an archive"),
        (100, "at byte 100: the archive ends here, expected at least 412 more bytes"),
        (512, "at byte 512: the archive ends here, expected at least 4 more bytes"),
        (514, "at byte 514: the archive ends here, expected at least 2 more bytes"),
        (516, "at byte 516: the archive ends here, expected at least 508 more bytes"),
        (1024, "at byte 1024: the archive ends here without two blocks of zeros: was it cut?"),
    ] {
        refused(&whole[..len], &format!("test.tar: {why}"));
    }
    refused(
        b"BZh91AY&SY",
        "test.tar: at byte 0: found bzip2, expected tar, alone or in gzip, xz, lzip or zstd",
    );
    assert!(read(&whole[..1536]).is_ok(), "one block of zeros and the end");
    let mut more = whole[..1536].to_vec();
    more.extend(archive().file("b", "").end());
    refused(&more, "test.tar: at byte 1024: a lone block of zeros, expected two at the end");
    refused(
        &[b'x'; 2048],
        "test.tar: at byte 0: not a tar archive: header checksum: found \"xxxxxxxx\", expected octal digits",
    );
}

#[test]
fn the_limit_and_the_progress_function_stop_the_work() {
    let bytes = archive().file("a", &"x".repeat(10_000)).file("b", "").end();
    let mut limited = options();
    limited.limit = 5000;
    let name = Path::new("test.tar");
    let err = from_stream(Cursor::new(bytes.clone()), name, &limited, &mut |_| true);
    let err = err.expect_err("too much").to_string();
    assert!(err.ends_with("the archive unpacks to more than 5000 bytes, the limit"), "{err}");
    let stopped = from_stream(Cursor::new(bytes), name, &options(), &mut |_| false);
    assert!(matches!(stopped, Err(Error::Stopped)));
}

#[test]
fn old_tars_tell_directories_by_a_slash() {
    let mut header = tar::Header::new_old();
    header.set_path("dir/").expect("short");
    header.set_mode(0o755);
    header.set_cksum();
    let tree = Archive(header.as_bytes().to_vec()).is(&[ROOT, "/dir 755 0:0 0.000000000 dir"]);
    assert!(matches!(tree.node(tree.find(&[b"dir"]).expect("there")).kind, Kind::Directory(_)));
}
