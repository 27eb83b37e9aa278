//! Tests of failing writes and syncs.

use super::{
    super::faults::{Op, fail_next, heal},
    *,
};

#[test]
fn a_failed_sync_loses_nothing_and_repeats_nothing() {
    // The failed write is removed from the file in one case and left there in the other.
    for truncate_fails in [0, 100] {
        let dir = TempDir::new().unwrap();
        let (journal, _) = open(&dir);
        put(&journal, "one");
        let mut follower = journal.reader(0);
        assert_eq!(read(&mut follower), records(&["one"]));
        fail_next(dir.path(), Op::Sync, 2);
        fail_next(dir.path(), Op::Truncate, truncate_fails);
        let two = journal.append(b"two").unwrap().seq;
        until(|| journal.last_error().is_some());
        assert_eq!(read(&mut follower), [], "readers do not see unsynced records");
        assert!(journal.pending_bytes() > 0);
        journal.append(b"three").unwrap();
        assert!(!journal.durable_blocking(two, Duration::ZERO));
        put(&journal, "four");
        assert_eq!(journal.last_error(), None);
        assert_eq!((journal.stalled(Instant::now()), journal.pending_bytes()), (None, 0));
        assert_eq!(read(&mut follower).len(), 3);
        let expected = records(&["one", "two", "three", "four"]);
        assert_eq!(all(&journal), expected);
        drop(journal);
        let (journal, report) = open(&dir);
        assert_eq!((report.last_seq, report.damage), (4, vec![]));
        assert_eq!(all(&journal), expected);
        assert_eq!(journal.damage(), []);
        assert_eq!(journal.stats().segments, 2);
    }
}

#[test]
fn a_journal_whose_very_first_write_fails_recovers() {
    for op in [Op::Write, Op::Sync] {
        let dir = TempDir::new().unwrap();
        let (journal, _) = open(&dir);
        let mut follower = journal.reader(0);
        fail_next(dir.path(), op, 2);
        fail_next(dir.path(), Op::Make, 1);
        fail_next(dir.path(), Op::SyncDir, 1);
        fail_next(dir.path(), Op::Truncate, 1);
        put(&journal, "one");
        put(&journal, "two");
        assert_eq!(read(&mut follower), records(&["one", "two"]));
        drop(journal);
        assert_eq!(all(&open(&dir).0), records(&["one", "two"]));
    }
}

#[test]
fn a_journal_that_cannot_be_written_reports_how_long_and_drops_its_records_when_closed() {
    let dir = TempDir::new().unwrap();
    let (journal, _) = open(&dir);
    put(&journal, "one");
    assert_eq!(journal.stalled(Instant::now()), None);
    fail_next(dir.path(), Op::Write, usize::MAX);
    journal.append(b"two").unwrap();
    until(|| journal.last_error().is_some());
    let later = Instant::now() + Duration::from_secs(7);
    assert!(journal.stalled(later).unwrap() >= Duration::from_secs(7));
    assert!(journal.last_error().unwrap().contains("planned failure"));
    assert!(!journal.close(Duration::from_millis(20)));
    assert_eq!(journal.append(b"three"), Err(AppendError::Closed));
    heal(dir.path());
    drop(journal);
    assert_eq!(all(&open(&dir).0), records(&["one"]));
}

#[test]
fn a_segment_that_cannot_be_created_is_reported_while_there_is_room() {
    let dir = TempDir::new().unwrap();
    let (journal, _) = open(&dir);
    put(&journal, "one");
    assert!(!journal.running_out());
    assert_eq!(journal.stats().next_segment, NextSegment::NotNeededYet);
    fail_next(dir.path(), Op::Make, usize::MAX);
    fill(&journal, 600);
    until(|| journal.running_out());
    assert!(matches!(journal.stats().next_segment, NextSegment::Failed(why) if why.contains("planned")));
    put(&journal, "there is room");
    heal(dir.path());
    until(|| !journal.running_out());
    fill(&journal, 600);
    assert_eq!(journal.stats().segments, 2);
}
