//! Attributes as the kernel wrote them: decoded, and built to the same hashes.

use crate::image::Opened;
use ext4_ondisk::{
    acl,
    xattr::{NameIndex, Value, XattrBlock, encode_body, full_name, parse_body},
};
use ext4_testkit::image::Recipe;
use std::{collections::BTreeMap, io, path::Path, process::Command};

/// Attributes for the body and, the larger ones, for a block.
fn set_attributes(root: &Path) -> io::Result<()> {
    let file = root.join("file");
    std::fs::write(&file, b"contents")?;
    for (name, len) in [("user.a", 3), ("user.zz", 400), ("trusted.long", 300), ("user.empty", 0)] {
        let value: Vec<u8> = (0..len).map(|i: u32| (i % 251) as u8).collect();
        rustix::fs::setxattr(&file, name, &value, rustix::fs::XattrFlags::empty())?;
    }
    let ok = Command::new("setfacl").args(["-m", "u:1000:r"]).arg(&file).status();
    drop(ok);
    Ok(())
}

#[test]
fn kernel_attributes_are_read_and_a_block_is_built_alike() {
    for name in ["ext4-4k", "ext4-1k", "inode128-4k"] {
        let recipe = Recipe::new(name).kernel("attributes", "", set_attributes);
        let Some(image) = recipe.image() else { return };
        let it = Opened::new(image);
        let csum = it.sb.metadata_csum();
        let mut found = BTreeMap::new();
        let mut blocks = 0;
        for ino in it.used_inodes() {
            let inode = it.inode(ino);
            let body = parse_body(&inode.ibody, ino).unwrap();
            if !body.is_empty() {
                let again = encode_body(&body, inode.ibody.len()).unwrap();
                assert_eq!(parse_body(&again, ino).unwrap(), body, "{name}");
            }
            let mut entries = body;
            if let Some(blk) = inode.file_acl {
                let block = XattrBlock::decode(it.block(blk), blk, csum).unwrap();
                let bytes = block.encode(it.geo.block_size.len(), blk, csum).unwrap();
                // Where values lie is the builder's choice; hashes and order are not.
                let again = XattrBlock::decode(&bytes, blk, csum).unwrap();
                assert_eq!(again, block, "{name}");
                assert_eq!(bytes[..0x10], it.block(blk)[..0x10], "{name}: magic to hash");
                entries.extend(block.entries);
                blocks += 1;
            }
            for entry in entries {
                let Value::Here(value) = entry.value else { panic!("{name}: ea_inode") };
                found
                    .insert(String::from_utf8(full_name(entry.index, &entry.name)).unwrap(), value);
            }
        }
        assert!(blocks > 0, "{name}");
        assert_eq!(found["user.a"], [0, 1, 2], "{name}");
        assert_eq!(found["user.zz"].len(), 400, "{name}");
        assert_eq!(found["trusted.long"].len(), 300, "{name}");
        assert!(found["user.empty"].is_empty(), "{name}");
        let access = NameIndex::POSIX_ACL_ACCESS.prefix().unwrap();
        if let Some(value) = found.get(access) {
            assert_eq!(&acl::to_disk(&acl::from_disk(value).unwrap()).unwrap(), value);
        }
    }
}
