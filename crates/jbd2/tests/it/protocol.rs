//! The order of writes and flushes, seen on the recorded device.

use crate::{
    reference,
    rig::{HOMES, Owner, Rig, Shape, Workload, contents, options},
};
use ext4_blockdev::{BlockDevice, Event, MemoryDevice};
use ext4_jbd2::{Clock, MetaRead, Options};
use ext4_ondisk::jbd2::{BlockHeader, BlockKind, JournalIncompat};
use ext4_units::{BlockNr, BlockRange, Tid};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// What a write of the journal is.
#[derive(Debug, PartialEq, Eq)]
enum Written {
    Home,
    Superblock,
    Commit,
    Log,
}

fn kind(shape: &Shape, offset: u64, data: &[u8]) -> Written {
    if shape.is_home(offset) {
        return Written::Home;
    }
    if offset == shape.superblock_byte() {
        return Written::Superblock;
    }
    match BlockHeader::decode(data) {
        Some(it) if it.kind == BlockKind::Commit => Written::Commit,
        _ => Written::Log,
    }
}

/// Some hundred handles with little memory, so that commits and checkpoints of parts alternate.
fn busy_rig() -> (Rig, Workload) {
    let options = Options { committed_bytes: 64 << 10, ..options() };
    let rig = Rig::new(Shape::new(), options);
    let mut work = Workload::new(1);
    work.has_data = false;
    for _ in 0..400 {
        work.step(&rig.journal, rig.shape.size, 12, |_| {}).unwrap();
    }
    (rig, work)
}

#[test]
fn homes_are_written_with_committed_contents_only_and_commits_wait_for_a_flush() {
    let (rig, _) = busy_rig();
    let durable = MemoryDevice::new(rig.shape.image());
    let mut in_flight: Vec<(u64, Arc<[u8]>)> = Vec::new();
    let (mut n_homes, mut n_commits, mut n_tails) = (0, 0, 0);
    for event in rig.recorder.events() {
        let Event::Write { offset, data, .. } = event else {
            for (offset, data) in in_flight.drain(..) {
                durable.write_at(offset, &data).unwrap();
            }
            continue;
        };
        match kind(&rig.shape, offset, &data) {
            Written::Home => {
                n_homes += 1;
                let (_, log) = reference::scan(&durable.contents(), &rig.shape);
                let homes = reference::homes(&log);
                for (i, data) in data.chunks_exact(rig.shape.size.len()).enumerate() {
                    let blk = BlockNr(offset >> rig.shape.size.bits()).plus(i as u64);
                    assert!(homes.get(&blk).is_some_and(|it| it == data), "home {blk}");
                }
            }
            Written::Commit => {
                n_commits += 1;
                assert!(in_flight.is_empty(), "a commit block with its log blocks in flight");
            }
            Written::Superblock => {
                n_tails += 1;
                let is_home = |it: &(u64, _)| rig.shape.is_home(it.0);
                assert!(!in_flight.iter().any(is_home), "the tail moved before its homes");
            }
            Written::Log => {
                let is_super = |it: &(u64, Arc<[u8]>)| it.0 == rig.shape.superblock_byte();
                if let Some((_, sb)) = in_flight.iter().find(|it| is_super(it)) {
                    // The superblock that opens an empty log, or adds a feature, may share its
                    // flush with log blocks; one that frees space must be durable before the
                    // space is used.
                    let start = u32::from_be_bytes(sb[0x1C..0x20].try_into().unwrap());
                    let (before, _) = reference::scan(&durable.contents(), &rig.shape);
                    let is_new_tail = before.start != 0 && start != before.start;
                    assert!(!is_new_tail, "log written before its new tail");
                }
            }
        }
        in_flight.push((offset, data));
    }
    assert!(n_homes > 50 && n_commits > 50 && n_tails > 10, "{n_homes} {n_commits} {n_tails}");
}

#[test]
fn a_commit_is_few_writes_and_two_flushes() {
    let rig = Rig::new(Shape::new(), options());
    rig.put(1, 1);
    rig.journal.commit().unwrap();
    rig.recorder.take_events();
    let mut handle = rig.journal.start(60).unwrap();
    for blk in 0..60 {
        handle.write(BlockNr(blk), vec![9; 1024]).unwrap();
    }
    handle.stop().unwrap();
    rig.journal.commit().unwrap();
    let short: Vec<_> = rig
        .recorder
        .events()
        .iter()
        .map(|it| match it {
            Event::Write { data, .. } => format!("W{}", data.len()),
            Event::Flush { .. } => "F".into(),
            other => panic!("{other:?}"),
        })
        .collect();
    // A descriptor and 60 copies; the commit block.
    assert_eq!(short, ["W62464", "F", "W1024", "F"]);
}

#[test]
fn a_sync_write_is_one_commit_and_the_next_sync_none() {
    let rig = Rig::new(Shape::new(), options());
    let tid = rig.put(1, 1);
    rig.journal.commit_tid(tid).unwrap();
    assert_eq!(rig.logged().len(), 1);
    let before = rig.recorder.n_events();
    rig.journal.commit_tid(tid).unwrap();
    rig.journal.commit().unwrap();
    assert_eq!(rig.recorder.n_events(), before);
    rig.journal.sync_data().unwrap();
    assert_eq!(rig.recorder.n_events(), before + 1);
}

#[test]
fn an_opened_and_closed_journal_writes_nothing() {
    let rig = Rig::new(Shape::new(), options());
    rig.journal.close().unwrap();
    assert_eq!(rig.recorder.n_events(), 0);
}

#[test]
fn two_handles_in_one_transaction_are_committed_together() {
    let rig = Rig::new(Shape::new(), options());
    assert_eq!(rig.put(1, 1), rig.put(2, 2));
    rig.journal.commit().unwrap();
    let log = rig.logged();
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].blocks.iter().map(|it| it.0.0).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn the_test_hook_commits_between_any_two_handles() {
    let rig = Rig::new(Shape::new(), Options { commit_every_handle: true, ..options() });
    let tids = [rig.put(1, 1), rig.put(2, 2), rig.put(1, 3)];
    assert_eq!(tids, [Tid(42), Tid(43), Tid(44)]);
    assert_eq!(rig.logged().len(), 2);
}

#[test]
fn ids_go_up_by_one_and_times_never_down() {
    let hours = [5, 3, 9, 9, 2, 10].map(|h| h * 3600);
    let calls = AtomicU64::new(0);
    let clock = Clock::new(move || {
        let nr = calls.fetch_add(1, Ordering::Relaxed);
        Duration::from_secs(hours[usize::try_from(nr).unwrap() % hours.len()])
    });
    let rig = Rig::new(Shape::new(), Options { clock, ..options() });
    for byte in 0..6 {
        rig.put(1, byte);
        rig.journal.commit().unwrap();
    }
    let log = rig.logged();
    let times: Vec<_> = log.iter().map(|it| it.time.as_secs() / 3600).collect();
    assert_eq!(times, [5, 5, 9, 9, 9, 10]);
    let tids: Vec<_> = log.iter().map(|it| it.tid.0).collect();
    assert_eq!(tids, [42, 43, 44, 45, 46, 47]);
}

#[test]
fn closing_leaves_an_empty_log_that_goes_on_where_it_stopped() {
    let (rig, _) = busy_rig();
    let (memory, shape) = (Arc::clone(&rig.memory), rig.shape.clone());
    let last = rig.put(1, 1);
    rig.journal.close().unwrap();
    let (sb, log) = reference::scan(&memory.contents(), &shape);
    assert!(log.is_empty());
    assert_eq!((sb.start, sb.sequence), (0, last.next()));
    assert!(sb.head > 1 && sb.head < shape.log_len);
    assert!(!sb.incompat.contains(JournalIncompat::FAST_COMMIT));

    let journal = crate::rig::open(memory.clone(), &shape, options()).unwrap();
    let mut handle = journal.start(1).unwrap();
    handle.modify(BlockNr(2), |bytes| bytes[100] = 77).unwrap();
    assert_eq!(handle.stop().unwrap(), last.next().next());
    journal.commit().unwrap();
    let (after, log) = reference::scan(&memory.contents(), &shape);
    assert_eq!((after.start, log.len()), (sb.head, 1));
}

#[test]
fn every_reader_sees_the_newest_version_wherever_it_is() {
    let (rig, work) = busy_rig();
    let newest = work.last();
    let run = rig.journal.read_run(BlockRange::new(BlockNr(0), HOMES)).unwrap();
    for (blk, data) in (0..HOMES).zip(run) {
        let expected = match newest.get(&blk) {
            None => vec![0; 1024],
            Some(Owner::Free) => continue,
            Some(&Owner::Meta(it) | &Owner::Data(it)) => contents(blk, it, rig.shape.size),
        };
        assert!(data[..] == expected[..], "block {blk}");
        assert_eq!(rig.journal.read(BlockNr(blk)).unwrap(), data);
    }
    rig.journal.checkpoint().unwrap();
    work.check(&rig.memory.contents(), rig.shape.size, work.states.len() - 1);
}
