//! Tests of the journal through its public interface, in temporary directories.

mod backward;
mod failure;
mod recovery;
mod waiting;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{frame::HEADER, *};

const SOON: Duration = Duration::from_secs(30);

fn open(dir: &TempDir) -> (Journal, OpenReport) {
    Journal::open(dir.path(), Durability::Disk).unwrap()
}

fn put(journal: &Journal, body: &str) -> u64 {
    let seq = journal.append(body.as_bytes()).unwrap().seq;
    assert!(journal.durable_blocking(seq, SOON), "{body} is not durable: {:?}", journal.last_error());
    seq
}

fn read(reader: &mut Reader) -> Vec<(u64, String)> {
    let mut records = Vec::new();
    while let Some(frame) = reader.next().unwrap() {
        records.push((frame.seq, String::from_utf8_lossy(frame.body).into_owned()));
    }
    records
}

fn all(journal: &Journal) -> Vec<(u64, String)> {
    read(&mut journal.reader(0))
}

fn records(bodies: &[&str]) -> Vec<(u64, String)> {
    (1..).zip(bodies.iter().map(|b| (*b).to_owned())).collect()
}

fn segment_file(dir: &TempDir, first: u64) -> PathBuf {
    dir.path().join(format!("{first:020}.log"))
}

/// Polls until `done`, for conditions without a notification.
fn until(done: impl Fn() -> bool) {
    while !done() {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Appends `count` records of a KiB, whose bodies begin with their sequence number.
fn fill(journal: &Journal, count: u64) {
    let mut body = [b'.'; 1024];
    for _ in 0..count {
        let next = journal.last_seq() + 1;
        body[..8].copy_from_slice(&next.to_le_bytes());
        assert_eq!(journal.append(&body).unwrap().seq, next);
        if next.is_multiple_of(64) {
            assert!(journal.durable_blocking(next, SOON));
        }
    }
    assert!(journal.durable_blocking(journal.last_seq(), SOON));
}

thread_local! {
    static NOW: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

fn test_clock() -> u64 {
    NOW.get()
}

#[test]
fn appended_records_are_read_back_before_and_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let (journal, report) = open(&dir);
    assert_eq!(report, OpenReport { last_seq: 0, cut_bytes: 0, damage: vec![] });
    assert_eq!(all(&journal), []);
    for body in ["first", "", "third"] {
        put(&journal, body);
    }
    assert_eq!(all(&journal), records(&["first", "", "third"]));
    drop(journal);

    let (journal, report) = open(&dir);
    assert_eq!(report, OpenReport { last_seq: 3, cut_bytes: 0, damage: vec![] });
    assert_eq!(put(&journal, "fourth"), 4);
    assert_eq!(all(&journal), records(&["first", "", "third", "fourth"]));
    assert_eq!(read(&mut journal.reader(3)), [(4, "fourth".to_owned())]);
    assert_eq!(read(&mut journal.reader(4)), []);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(dir.path()), mode(&segment_file(&dir, 1))), (0o700, 0o600));
}

#[test]
fn a_body_of_64_mib_is_accepted_and_a_larger_one_is_rejected() {
    let dir = TempDir::new().unwrap();
    let (journal, _) = open(&dir);
    let mut body = vec![b'x'; MAX_BODY];
    let seq = journal.append(&body).unwrap().seq;
    assert!(journal.durable_blocking(seq, SOON));
    put(&journal, "after");
    let mut reader = journal.reader(0);
    assert_eq!(reader.next().unwrap().unwrap().body, body);
    assert_eq!(reader.next().unwrap().unwrap().body, b"after");
    body.push(b'x');
    assert_eq!(journal.append(&body), Err(AppendError::TooLarge));
}

#[test]
fn a_reader_follows_a_live_writer_from_segment_to_segment() {
    const RECORDS: u64 = 30_000;
    let dir = TempDir::new().unwrap();
    let (journal, _) = open(&dir);
    let followers: Vec<_> = (0..2)
        .map(|_| {
            let journal = journal.clone();
            thread::spawn(move || {
                let mut reader = journal.reader(0);
                let mut next = 1;
                while next <= RECORDS {
                    assert!(journal.durable_blocking(reader.position() + 1, SOON));
                    while let Some(frame) = reader.next().unwrap() {
                        assert_eq!((frame.seq, &frame.body[..8]), (next, next.to_le_bytes().as_slice()));
                        assert!(frame.seq <= journal.durable_seq());
                        next += 1;
                    }
                    assert_eq!(reader.position() + 1, next);
                }
            })
        })
        .collect();
    fill(&journal, RECORDS);
    for follower in followers {
        follower.join().unwrap();
    }
    let stats = journal.stats();
    assert!(stats.segments >= 4, "{stats:?}");
    assert_eq!((stats.records, stats.durable_seq, stats.first_seq), (RECORDS, RECORDS, 1));
    assert_eq!(stats.log_bytes, RECORDS * (1024 + HEADER as u64));
    assert_eq!(journal.damage(), []);

    // With the index of the running journal, and with an index that must be rebuilt.
    for restart in [false, true] {
        let journal = if restart { Journal::open(dir.path(), Durability::Disk).unwrap().0 } else { journal.clone() };
        for after in [0, 1, 900, 1023, 1024, 5000, 20_000, RECORDS - 1] {
            for _ in 0..2 {
                let mut reader = journal.reader(after);
                assert_eq!(reader.next().unwrap().unwrap().seq, after + 1);
                assert_eq!(reader.position(), after + 1);
            }
        }
        let mut after_all = journal.reader(RECORDS);
        assert!(after_all.next().unwrap().is_none());
        assert_eq!(after_all.position(), RECORDS);
        assert_eq!(journal.damage(), []);
        if !restart {
            assert!(journal.close(SOON));
        }
    }
}

#[test]
fn a_reader_that_starts_near_the_end_reads_little() {
    let dir = TempDir::new().unwrap();
    fill(&open(&dir).0, 3000);
    let (journal, _) = open(&dir);
    let last = journal.segments().unwrap().pop().unwrap();
    let segment = journal.shared.table.owner_of(3000).unwrap();
    assert_eq!(segment.path, last.path);
    let (_, offset) = reader::near(&journal.shared, &segment, reader::Start { seq: 3000, at_ms: 0 }).unwrap().unwrap();
    assert!(last.bytes - offset <= reader::NEAR + 2 * (1024 + HEADER as u64), "{offset} of {}", last.bytes);
}

#[test]
fn a_reader_finds_its_start_among_records_of_any_size_and_damaged_ones() {
    let dir = TempDir::new().unwrap();
    let (journal, _) = Journal::open_with_clock(dir.path(), Durability::Process, test_clock).unwrap();
    let sizes = [0, 100, 300 << 10, 7, 90 << 10, 4000, 64 << 10];
    for (i, size) in (0..200).zip(sizes.into_iter().cycle()) {
        NOW.set(1000 + i / 2);
        journal.append(&vec![b'.'; size]).unwrap();
        assert!(journal.durable_blocking(journal.last_seq(), SOON));
    }
    drop(journal);
    let damaged = fs::OpenOptions::new().write(true).open(segment_file(&dir, 1)).unwrap();
    segment::zero(&damaged, 100 << 10, 600 << 10).unwrap();

    let (journal, _) = open(&dir);
    assert!(journal.stats().segments >= 2);
    let mut whole = journal.reader(0);
    let mut records = Vec::new();
    while let Some(frame) = whole.next().unwrap() {
        records.push((frame.seq, frame.at_ms));
    }
    assert!(records.len() < 200 && records.last() == Some(&(200, 1099)));
    for after in 0..200 {
        let expected = records.iter().find(|(seq, _)| *seq > after);
        let found = journal.reader(after).next().unwrap().map(|frame| (frame.seq, frame.at_ms));
        assert_eq!(found.as_ref(), expected, "after {after}");
    }
    for from_ms in 999..=1100 {
        let expected = records.iter().find(|(_, at_ms)| *at_ms >= from_ms);
        let found = journal.reader_from_time(from_ms).next().unwrap().map(|frame| (frame.seq, frame.at_ms));
        assert_eq!(found.as_ref(), expected, "from {from_ms}");
    }
}

#[test]
fn retention_removes_whole_segments_and_readers_continue_after_the_gap() {
    let dir = TempDir::new().unwrap();
    let (journal, _) = open(&dir);
    fill(&journal, 10_000);
    let segments = journal.segments().unwrap();
    assert!(segments.len() >= 3, "{segments:?}");
    let [mut within, mut waiting] = [journal.reader(0), journal.reader(0)];
    assert_eq!(within.next().unwrap().unwrap().seq, 1);

    assert_eq!(journal.remove_before(segments[1].first_seq - 1).unwrap(), 0);
    assert_eq!(journal.remove_before(segments[2].first_seq + 5).unwrap(), 2);
    assert!(!segments[0].path.exists() && !segments[1].path.exists() && segments[2].path.exists());

    let first = segments[2].first_seq;
    assert_eq!(waiting.next().unwrap().unwrap().seq, first);
    let mut last = 1;
    while let Some(frame) = within.next().unwrap() {
        assert!(frame.seq == last + 1 || (frame.seq == first && last == segments[1].first_seq - 1));
        last = frame.seq;
    }
    assert_eq!(last, 10_000);
    assert_eq!(journal.damage(), [], "records removed by retention are not missing");
    assert_eq!(journal.stats().first_seq, first);
    assert_eq!(journal.remove_before(u64::MAX).unwrap(), segments.len() - 3);
    drop(journal);
    let (journal, report) = open(&dir);
    assert_eq!((report.last_seq, report.damage), (10_000, vec![]));
    assert_eq!(put(&journal, "more"), 10_001);
}

#[test]
fn timestamps_do_not_step_back_with_the_clock() {
    let dir = TempDir::new().unwrap();
    let stamps = |journal: &Journal| {
        let mut reader = journal.reader(0);
        let mut stamps = Vec::new();
        while let Some(frame) = reader.next().unwrap() {
            stamps.push(frame.at_ms);
        }
        stamps
    };
    {
        let (journal, _) = Journal::open_with_clock(dir.path(), Durability::Process, test_clock).unwrap();
        for now in [1000, 2000, 500, 1999, 2001] {
            NOW.set(now);
            put(&journal, "x");
        }
        assert_eq!(stamps(&journal), [1000, 2000, 2000, 2000, 2001]);
    }
    NOW.set(7);
    let (journal, _) = Journal::open_with_clock(dir.path(), Durability::Process, test_clock).unwrap();
    assert_eq!(journal.now_ms(), 2001);
    put(&journal, "y");
    assert_eq!(stamps(&journal), [1000, 2000, 2000, 2000, 2001, 2001]);
}

#[test]
fn no_later_record_is_stamped_before_a_barrier() {
    let dir = TempDir::new().unwrap();
    let (journal, _) = Journal::open_with_clock(dir.path(), Durability::Process, test_clock).unwrap();
    NOW.set(1000);
    put(&journal, "a");
    assert_eq!(journal.barrier(900), Barrier { end_ms: 900, seq: 1 });
    assert_eq!(journal.barrier(u64::MAX), Barrier { end_ms: 1001, seq: 1 });
    NOW.set(1500);
    assert_eq!(journal.barrier(1400), Barrier { end_ms: 1400, seq: 1 });
    NOW.set(1200);
    assert_eq!(journal.append(b"b").unwrap(), Appended { seq: 2, at_ms: 1400 });
    assert_eq!(journal.barrier(5000), Barrier { end_ms: 1401, seq: 2 });
}

#[test]
fn a_reader_from_a_time_returns_exactly_the_records_stamped_then_or_later() {
    let dir = TempDir::new().unwrap();
    let (journal, _) = Journal::open_with_clock(dir.path(), Durability::Process, test_clock).unwrap();
    let body = [b'.'; 1024];
    for i in 0..7000 {
        NOW.set(10_000 + i / 3);
        journal.append(&body).unwrap();
        // Many batches, so that the log has several segments.
        if i % 50 == 0 {
            assert!(journal.durable_blocking(journal.last_seq(), SOON));
        }
    }
    assert!(journal.close(SOON));
    for restart in [false, true] {
        let journal = if restart { open(&dir).0 } else { journal.clone() };
        assert!(journal.stats().segments >= 2);
        assert_eq!(journal.stats().first_at_ms, Some(10_000));
        for (at_ms, first) in [(0, 1), (10_000, 1), (10_001, 4), (10_341, 1024), (10_342, 1027), (12_333, 7000)] {
            let mut reader = journal.reader_from_time(at_ms);
            assert_eq!(reader.next().unwrap().unwrap().seq, first, "from {at_ms}");
        }
        let mut late = journal.reader_from_time(12_334);
        assert!(late.next().unwrap().is_none());
    }
}

#[test]
fn records_with_process_durability_survive_a_restart() {
    let dir = TempDir::new().unwrap();
    let (journal, _) = Journal::open(dir.path(), Durability::Process).unwrap();
    fill(&journal, 3000);
    drop(journal);
    let (journal, report) = Journal::open(dir.path(), Durability::Process).unwrap();
    assert_eq!((report.last_seq, report.cut_bytes), (3000, 0));
    assert_eq!(all(&journal).len(), 3000);
}

#[test]
fn appends_from_many_threads_get_consecutive_numbers_in_log_order() {
    let dir = TempDir::new().unwrap();
    let (journal, _) = open(&dir);
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let journal = journal.clone();
            thread::spawn(move || {
                let mut mine = BTreeMap::new();
                for i in 0..2000 {
                    let body = format!("{thread}/{i}");
                    mine.insert(journal.append(body.as_bytes()).unwrap().seq, body);
                }
                mine
            })
        })
        .collect();
    let mut expected = BTreeMap::new();
    for thread in threads {
        expected.append(&mut thread.join().unwrap());
    }
    assert!(journal.durable_blocking(16_000, SOON));
    assert_eq!(all(&journal), expected.into_iter().collect::<Vec<_>>());
}

#[test]
fn closing_makes_everything_durable_first() {
    let dir = TempDir::new().unwrap();
    let (journal, _) = open(&dir);
    for i in 0..5000_u64 {
        journal.append(&i.to_le_bytes()).unwrap();
    }
    assert!(journal.close(SOON));
    assert_eq!(journal.durable_seq(), 5000);
    assert_eq!(journal.append(b"late"), Err(AppendError::Closed));
    assert_eq!(all(&journal).len(), 5000, "a closed journal can be read");
    assert!(journal.close(SOON), "closing again succeeds");
    assert!(!dir.path().join("next.tmp").exists());
}
