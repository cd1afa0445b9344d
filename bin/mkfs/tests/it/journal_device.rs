//! A journal on a device of its own.

use crate::{image, make};
use ext4_testkit::oracle::{self, Need};

#[test]
fn a_filesystem_and_its_journal_device_know_each_other() {
    if oracle::skip_without(&[Need::E2fsck]) {
        return;
    }
    for block_size in ["1024", "4096"] {
        let (_log_dir, log) = image(32);
        make(&format!("-O journal_dev -b {block_size}"), &log);
        let text = oracle::tool("dumpe2fs", [&log], b"").unwrap().expect_ok("dumpe2fs").unwrap();
        assert!(text.contains("journal_dev"), "{text}");
        let (_dir, disk) = image(64);
        make(&format!("-J device={}", log.display()), &disk);
        let uuid = oracle::dumpe2fs_field(&log, "Filesystem UUID").unwrap();
        assert_eq!(oracle::dumpe2fs_field(&disk, "Journal UUID").unwrap(), uuid);
        assert_eq!(oracle::dumpe2fs_field(&disk, "Block size").unwrap(), block_size);
        let text = oracle::tool("dumpe2fs", [&log], b"").unwrap().expect_ok("dumpe2fs").unwrap();
        let fs_uuid = oracle::dumpe2fs_field(&disk, "Filesystem UUID").unwrap();
        assert!(text.contains(&fs_uuid), "{text}");
        let args = ["-fn", "-j"].map(std::ffi::OsStr::new);
        let args = args.into_iter().chain([log.as_os_str(), disk.as_os_str()]);
        let fsck = oracle::tool("e2fsck", args, b"").unwrap();
        assert!(fsck.ok(), "{}", fsck.text());
    }
}
