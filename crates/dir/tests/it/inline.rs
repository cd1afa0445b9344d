//! Directories inside their inode: against a map, and turned into a block when full.

use crate::{
    mem::{Mem, PARENT, context, ino},
    model::Pair,
    walk::{Names, walk},
};
use ext4_dir::{Error, inline::Inline};
use ext4_ondisk::dir_entry::FileType;
use proptest::{collection::vec, prelude::*};

fn listed(inline: &Inline) -> Names {
    inline
        .entries(&context(1024))
        .unwrap()
        .into_iter()
        .map(|entry| (entry.name, (entry.ino.get(), entry.file_type.raw())))
        .collect()
}

proptest! {
    #[test]
    fn an_inline_directory_holds_what_a_map_would_hold(
        steps in vec((any::<bool>(), 0_u32..25), 1..80),
        max_value_len in prop_oneof![Just(0_usize), 12_usize..200],
    ) {
        let context = context(1024);
        let mut inline = Inline::new(&context, PARENT).unwrap();
        let mut model = Pair::new(context).model;
        for (is_insert, which) in steps {
            let name = format!("{which}{}", "n".repeat(which as usize)).into_bytes();
            let before = inline.clone();
            if !is_insert {
                let result = inline.remove(&context, &name);
                prop_assert_eq!(result.is_ok(), model.remove(&name).is_some());
            } else if let Some((nr, _)) = model.get(&name) {
                let result = inline.insert(&context, 0, &name, ino(*nr), FileType::Regular);
                let is_told = matches!(result, Err(Error::Exists { .. }));
                prop_assert!(is_told);
            } else if inline
                .insert(&context, max_value_len, &name, ino(which + 30), FileType::Regular)
                .unwrap()
            {
                model.insert(name, (which + 30, 1));
            } else {
                prop_assert_eq!(&inline, &before);
            }
            prop_assert_eq!(&listed(&inline), &model);
            prop_assert!(inline.value.len() <= max_value_len);
            prop_assert_eq!(inline.is_empty(&context).unwrap(), model.len() == 2);
            let block = inline.to_block(&context).unwrap();
            prop_assert_eq!(walk(&context, false, &Mem::of_bytes(&block, 1024)), model.clone());
        }
    }
}

#[test]
fn a_directory_that_outgrows_its_inode_goes_on_as_a_block() {
    let context = context(1024);
    let mut inline = Inline::new(&context, PARENT).unwrap();
    let mut pair = Pair::new(context);
    let mut nr = 30;
    while inline
        .insert(&context, 100, format!("file{nr}").as_bytes(), ino(nr), FileType::Regular)
        .unwrap()
    {
        pair.model.insert(format!("file{nr}").into_bytes(), (nr, 1));
        nr += 1;
    }
    assert_eq!(nr, 30 + 3 + 6, "three in i_block, six in 100 bytes");
    pair.mem = Mem::of_bytes(&inline.to_block(&context).unwrap(), 1024);
    pair.check();
    for nr in nr..nr + 200 {
        pair.insert(format!("file{nr}").as_bytes(), nr);
        pair.check();
    }
    pair.check_reading();
}

#[test]
fn the_parent_is_where_dotdot_is() {
    let context = context(1024);
    let mut inline = Inline::new(&context, PARENT).unwrap();
    assert_eq!(inline.find(&context, b"..").unwrap().unwrap().ino, PARENT);
    let old = inline.set_entry(&context, b"..", ino(33), FileType::Directory).unwrap();
    assert_eq!((old.ino, inline.parent()), (PARENT, Some(ino(33))));
    inline.body[..4].fill(0);
    let said = inline.find(&context, b"x").unwrap_err().to_string();
    assert_eq!(said, "inline directory in i_block (inode 20): parent inode out of range");
}
