//! Many threads on one journal.

use crate::rig::{Rig, Shape, options};
use ext4_jbd2::{MetaRead, Options};
use ext4_units::BlockNr;
use std::thread;

/// Two blocks that every handle changes together.
const PAIR: (BlockNr, BlockNr) = (BlockNr(3), BlockNr(60));

#[test]
fn writers_take_turns_and_readers_see_whole_blocks() {
    let options = Options { cache_bytes: 0, committed_bytes: 2 << 10, ..options() };
    let rig = Rig::new(Shape::new(), options);
    let journal = &rig.journal;
    let n = |data: &[u8]| u64::from_be_bytes(data[..8].try_into().unwrap());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let mut handle = journal.start(2).unwrap();
                    for blk in [PAIR.0, PAIR.1] {
                        let next = n(&handle.read(blk).unwrap()) + 1;
                        handle.write(blk, next.to_be_bytes().repeat(128)).unwrap();
                    }
                    let tid = handle.stop().unwrap();
                    journal.commit_tid(tid).unwrap();
                }
            });
        }
        scope.spawn(|| {
            let mut last = 0;
            while last < 400 {
                let data = journal.read(PAIR.0).unwrap();
                assert!(data.chunks_exact(8).all(|it| it == &data[..8]), "half a block");
                assert!(n(&data) >= last, "an older version");
                last = n(&data);
            }
        });
    });
    assert_eq!(n(&journal.read(PAIR.1).unwrap()), 400);
    journal.checkpoint().unwrap();
    assert_eq!(n(&rig.memory.contents()[60 * 1024..]), 400);
}
