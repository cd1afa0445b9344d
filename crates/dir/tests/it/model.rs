//! Random names in, out and back, against a map; the independent walk after each step.

use crate::{
    mem::{Mem, MemError, PARENT, context, ino},
    walk::{Names, walk},
};
use ext4_dir::{
    Context, Error, entries, find, insert, insert_appends, insert_blocks, is_empty, remove,
    set_entry,
};
use ext4_ondisk::dir_entry::FileType;
use proptest::{collection::vec, prelude::*};

/// A directory and what should be in it.
pub(crate) struct Pair {
    pub(crate) context: Context,
    pub(crate) mem: Mem,
    pub(crate) model: Names,
}

impl Pair {
    pub(crate) fn new(context: Context) -> Self {
        let raw = if context.has_filetype { 2 } else { 0 };
        let model = [(b".".to_vec(), (context.ino.get(), raw)), (b"..".to_vec(), (2, raw))];
        Self { context, mem: Mem::new(&context), model: model.into() }
    }

    /// Inserts unless it is there; then insists on being told.
    pub(crate) fn insert(&mut self, name: &[u8], nr: u32) {
        self.mem.begin();
        let result = insert(&self.context, &mut self.mem, name, ino(nr), FileType::Regular);
        if self.model.contains_key(name) {
            assert!(matches!(result, Err(MemError::Dir(Error::Exists { .. }))), "{result:?}");
            assert_eq!((self.mem.n_written, self.mem.n_appended), (0, 0));
            return;
        }
        assert!(self.mem.n_written <= insert_blocks(&self.context));
        assert!(self.mem.n_appended <= insert_appends(&self.context));
        self.context.is_indexed = result.unwrap().now_indexed;
        self.model.insert(name.to_vec(), (nr, u8::from(self.context.has_filetype)));
    }

    pub(crate) fn remove(&mut self, name: &[u8]) {
        self.mem.begin();
        let result = remove(&self.context, &mut self.mem, name);
        match self.model.remove(name) {
            None => assert!(matches!(result, Err(MemError::Dir(Error::NotFound { .. })))),
            Some((nr, _)) => assert_eq!(result.unwrap().ino, ino(nr)),
        }
        assert!(self.mem.n_written <= 1 && self.mem.n_appended == 0);
    }

    pub(crate) fn set(&mut self, name: &[u8], nr: u32) {
        let result = set_entry(&self.context, &mut self.mem, name, ino(nr), FileType::Symlink);
        match self.model.get_mut(name) {
            None => assert!(matches!(result, Err(MemError::Dir(Error::NotFound { .. })))),
            Some(value) => {
                assert_eq!(result.unwrap().ino, ino(value.0));
                *value = (nr, if self.context.has_filetype { 7 } else { 0 });
            }
        }
    }

    pub(crate) fn check(&self) {
        assert_eq!(walk(&self.context, self.context.is_indexed, &self.mem), self.model);
    }

    /// Finds every name, and lists them all.
    pub(crate) fn check_reading(&self) {
        for (name, (nr, raw)) in &self.model {
            let entry = find(&self.context, &self.mem, name).unwrap().unwrap();
            assert_eq!((entry.ino.get(), entry.file_type), (*nr, FileType::from_raw(*raw)));
        }
        let listed: Names = entries(&self.context, &self.mem)
            .map(Result::unwrap)
            .map(|entry| (entry.name, (entry.ino.get(), entry.file_type.raw())))
            .collect();
        assert_eq!(listed, self.model);
        assert_eq!(is_empty(&self.context, &self.mem).unwrap(), self.model.len() == 2);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u16),
    Remove(u16),
    Set(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let names = 0_u16..160;
    vec(
        prop_oneof![
            5 => names.clone().prop_map(Step::Insert),
            3 => names.clone().prop_map(Step::Remove),
            1 => names.prop_map(Step::Set),
        ],
        1..250,
    )
}

/// A name of 1 to 255 bytes that depends on nothing but `nr`.
pub(crate) fn name(nr: u32) -> Vec<u8> {
    let mut name = format!("{nr}-").into_bytes();
    let len = match nr % 7 {
        0 => 255,
        1 => name.len(),
        rest => name.len() + (nr.wrapping_mul(2_654_435_761) >> 24) as usize % (rest as usize * 40),
    };
    let fill = (0..).map(|at: u32| match (nr ^ at).wrapping_mul(97).to_le_bytes()[0] {
        0 | b'/' => b'x',
        byte => byte,
    });
    let missing = len.saturating_sub(name.len());
    name.extend(fill.take(missing));
    name
}

pub(crate) fn contexts() -> impl Strategy<Value = Context> {
    let sizes = prop_oneof![Just(1024), Just(2048), Just(4096), Just(65536)];
    (sizes, 0_u8..3, any::<[bool; 5]>()).prop_map(
        |(size, hash, [csum, filetype, index, unsigned, seed])| {
            let mut context = context(size);
            context.csum = context.csum.filter(|_| csum);
            context.has_filetype = filetype;
            context.has_dir_index = index || hash != 0;
            context.default_hash_version = hash;
            context.has_unsigned_hash = unsigned;
            context.hash_seed = if seed { [9, 8, 7, 6] } else { [0; 4] };
            context
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_directory_holds_what_a_map_would_hold(context in contexts(), steps in steps()) {
        let mut pair = Pair::new(context);
        pair.check_reading();
        for (nr, step) in (100..).zip(steps) {
            match step {
                Step::Insert(which) => pair.insert(&name(which.into()), nr),
                Step::Remove(which) => pair.remove(&name(which.into())),
                Step::Set(which) => pair.set(&name(which.into()), nr),
            }
            pair.check();
        }
        pair.check_reading();
    }
}

/// Thousands of names, half of them removed and put back, then all removed.
fn campaign(context: Context, n_names: u32) {
    let mut pair = Pair::new(context);
    for nr in 0..n_names {
        pair.insert(&name(nr), nr + 100);
        if nr % 251 == 0 {
            pair.check();
        }
    }
    pair.check();
    pair.check_reading();
    assert_eq!(pair.context.is_indexed, context.has_dir_index);
    for nr in (0..n_names).step_by(2) {
        pair.remove(&name(nr));
        if nr % 502 == 0 {
            pair.check();
        }
    }
    let n_blocks = pair.mem.blocks.len();
    for nr in (0..n_names).step_by(2) {
        pair.insert(&name(nr), nr + 7000);
    }
    pair.check();
    pair.check_reading();
    assert!(pair.mem.blocks.len() < n_blocks + n_blocks / 3, "freed room is used again");
    pair.set(b"..", 77);
    for nr in 0..n_names {
        pair.remove(&name(nr));
    }
    pair.check();
    pair.check_reading();
    assert_eq!(pair.model.len(), 2);
}

#[test]
fn thousands_of_names_at_1k_with_half_md4() {
    campaign(context(1024), 5000);
}

#[test]
fn thousands_of_names_at_1k_with_legacy_and_no_checksums() {
    let context =
        Context { csum: None, default_hash_version: 0, has_filetype: false, ..context(1024) };
    campaign(context, 4000);
}

#[test]
fn thousands_of_names_at_4k_with_tea_unsigned() {
    let context = Context { default_hash_version: 2, has_unsigned_hash: true, ..context(4096) };
    campaign(context, 6000);
}

#[test]
fn thousands_of_names_at_4k_without_checksums() {
    campaign(Context { csum: None, ..context(4096) }, 6000);
}

#[test]
fn hundreds_of_names_without_an_index() {
    campaign(Context { has_dir_index: false, ..context(1024) }, 700);
}

#[test]
fn names_that_no_entry_may_have_are_refused() {
    let mut pair = Pair::new(context(1024));
    let before = pair.mem.clone();
    for name in [&b""[..], b".", b"..", b"a/b", b"a\0b"] {
        let result = insert(&pair.context, &mut pair.mem, name, PARENT, FileType::Regular);
        assert!(matches!(result, Err(MemError::Dir(Error::BadName { .. }))), "{name:?}");
        let result = remove(&pair.context, &mut pair.mem, name);
        assert!(matches!(result, Err(MemError::Dir(Error::BadName { .. }))), "{name:?}");
    }
    let long = [b'n'; 256];
    let result = insert(&pair.context, &mut pair.mem, &long, PARENT, FileType::Regular);
    assert!(matches!(result, Err(MemError::Dir(Error::NameTooLong { len: 256, .. }))));
    assert!(find(&pair.context, &pair.mem, &long).is_err());
    assert_eq!(pair.mem, before);
}

#[test]
fn directories_with_meaning_in_their_names_are_not_written() {
    let mut pair = Pair::new(context(1024));
    pair.insert(b"there", 30);
    let before = pair.mem.clone();
    let folded = Context { is_casefolded: true, ..pair.context };
    let sealed = Context { is_encrypted: true, ..pair.context };
    let message = |result: Result<_, MemError>| match result {
        Err(MemError::Dir(error)) => error.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        message(insert(&folded, &mut pair.mem, b"new", PARENT, FileType::Regular).map(|_| ())),
        "directory inode 20: a case-folded directory is not supported for writing"
    );
    assert_eq!(
        message(remove(&folded, &mut pair.mem, b"there").map(|_| ())),
        "directory inode 20: a case-folded directory is not supported for writing"
    );
    assert_eq!(
        message(insert(&sealed, &mut pair.mem, b"new", PARENT, FileType::Regular).map(|_| ())),
        "directory inode 20: an encrypted directory is not supported for writing"
    );
    assert_eq!(pair.mem, before);
    for context in [folded, sealed] {
        assert_eq!(find(&context, &pair.mem, b"there").unwrap().unwrap().ino, ino(30));
        assert_eq!(entries(&context, &pair.mem).count(), 3);
    }
}

#[test]
fn a_removed_name_leaves_no_trace() {
    let mut pair = Pair::new(Context { has_dir_index: false, ..context(1024) });
    let names = [&b"first-secret"[..], b"second-secret", b"third-secret"];
    // Enough to fill the first block: the first secret is the first record of the second one.
    for nr in 0..35 {
        pair.insert(format!("{nr:0>20}").as_bytes(), 50);
    }
    for (nr, name) in (60..).zip(names) {
        pair.insert(name, nr);
    }
    for name in names {
        pair.remove(name);
    }
    assert_eq!(pair.mem.blocks.len(), 2);
    assert_eq!(pair.mem.blocks[1][..4], [0; 4], "the first record is free");
    for block in &pair.mem.blocks {
        assert!(!block.windows(6).any(|bytes| bytes == b"secret"));
    }
}
