//! Tests that reading backwards returns the records of reading forwards in reverse.

use std::os::unix::fs::FileExt;

use proptest::prelude::*;

use super::*;

/// A record as either reader returns it.
type Read = (u64, u64, Vec<u8>);

fn forwards(journal: &Journal) -> Vec<Read> {
    let mut reader = journal.reader(0);
    let mut records = Vec::new();
    while let Some(frame) = reader.next().unwrap() {
        records.push((frame.seq, frame.at_ms, frame.body.to_vec()));
    }
    records
}

fn backwards(mut reader: BackwardReader) -> Vec<Read> {
    let mut records = Vec::new();
    while let Some(frame) = reader.next().unwrap() {
        records.push((frame.seq, frame.at_ms, frame.body.to_vec()));
    }
    assert!(reader.next().unwrap().is_none(), "after the first record, `next` keeps returning `None`");
    records.reverse();
    records
}

/// The missing numbers, with the known bounds of their timestamps.
fn missing(journal: &Journal) -> Vec<(u64, u64, u64, u64)> {
    let damage = journal.damage().into_iter();
    damage.map(|damage| (*damage.missing.start(), *damage.missing.end(), damage.from_ms, damage.to_ms)).collect()
}

/// Writes a closed journal of records of these sizes, three in each millisecond, starting at 1000.
fn written(dir: &TempDir, sizes: &[usize]) {
    let (journal, _) = Journal::open_with_clock(dir.path(), Durability::Process, test_clock).unwrap();
    for (number, size) in (0..).zip(sizes) {
        NOW.set(1000 + number / 3);
        let mut body = vec![b'.'; *size];
        body.iter_mut().zip(number.to_le_bytes()).for_each(|(to, from)| *to = from);
        journal.append(&body).unwrap();
        // Many batches, so that there are several segments.
        assert!(journal.durable_blocking(journal.last_seq(), SOON));
    }
    assert!(journal.close(SOON));
}

fn segment_files(dir: &TempDir) -> Vec<PathBuf> {
    segment::list(dir.path()).unwrap().into_iter().map(|first| segment_file(dir, first)).collect()
}

fn read_only(dir: &TempDir) -> Journal {
    Journal::open_read_only(dir.path()).unwrap().0
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    #[test]
    fn reading_backwards_is_reading_forwards_in_reverse(
        sizes in prop::collection::vec(
            prop_oneof![8 => 0_usize..400, 2 => 4_000_usize..60_000, 1 => 60_000_usize..300_000], 1..160
        ),
        damaged in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1_u64..200_000), 0..4),
        removed in prop::option::weighted(0.2, any::<prop::sample::Index>()),
        begins in prop::collection::vec(any::<prop::sample::Index>(), 6),
    ) {
        let dir = TempDir::new().unwrap();
        written(&dir, &sizes);
        let files = segment_files(&dir);
        for (file, place, length) in &damaged {
            let file = fs::OpenOptions::new().write(true).open(file.get(&files)).unwrap();
            let end = file.metadata().unwrap().len();
            let from = place.index(usize::try_from(end).unwrap().max(1)) as u64;
            segment::zero(&file, from, end.min(from + length)).unwrap();
        }
        // The last segment is not removed, because only it shows where the journal ends.
        if let Some(removed) = removed.filter(|_| files.len() > 1) {
            fs::remove_file(removed.get(&files[..files.len() - 1])).unwrap();
        }

        let (one, other) = (read_only(&dir), read_only(&dir));
        let records = forwards(&one);
        prop_assert_eq!(&backwards(other.backward_reader(u64::MAX)), &records);
        prop_assert_eq!(missing(&other), missing(&one));
        for begin in begins {
            let before = begin.index(sizes.len() + 2) as u64;
            let journal = read_only(&dir);
            let mut reader = journal.backward_reader(before);
            let bound = records.iter().map(|record| record.0).find(|seq| *seq >= before);
            let _ = reader.next().unwrap();
            prop_assert_eq!(reader.bound(), bound.unwrap_or(u64::MAX));
            let expected: Vec<_> = records.iter().filter(|record| record.0 < before).cloned().collect();
            prop_assert_eq!(backwards(journal.backward_reader(before)), expected);
            let reported = missing(&journal);
            prop_assert!(missing(&one).iter().filter(|gap| gap.1 < before).all(|gap| reported.contains(gap)));

            let before_ms = 999 + begin.index(sizes.len() / 3 + 4) as u64;
            let expected: Vec<_> = records.iter().filter(|record| record.1 < before_ms).cloned().collect();
            prop_assert_eq!(backwards(read_only(&dir).backward_reader_before_time(before_ms)), expected);
        }
    }
}

#[test]
fn a_backward_reader_from_the_end_reads_little() {
    let dir = TempDir::new().unwrap();
    let (journal, _) = open(&dir);
    fill(&journal, 20_000);
    let mut reader = journal.backward_reader_before_time(u64::MAX);
    for expected in (19_000..=20_000).rev() {
        assert_eq!(reader.next().unwrap().unwrap().seq, expected);
    }
    assert_eq!(reader.bound(), u64::MAX);
    let read = reader.block_bytes();
    assert!(read <= 2 * reader::NEAR as usize, "a block of {read} bytes");
}

#[test]
fn appending_does_not_move_a_backward_reader() {
    let dir = TempDir::new().unwrap();
    let (journal, _) = open(&dir);
    fill(&journal, 3000);
    let mut reader = journal.backward_reader_before_time(u64::MAX);
    assert_eq!(reader.next().unwrap().unwrap().seq, 3000);
    fill(&journal, 3000);
    for expected in (1..3000).rev() {
        assert_eq!(reader.next().unwrap().unwrap().seq, expected);
    }
    assert!(reader.next().unwrap().is_none());
    assert!(journal.stats().segments >= 2);
}

#[test]
fn a_backward_reader_ends_at_segments_that_retention_removed_and_reports_no_damage() {
    let dir = TempDir::new().unwrap();
    let (journal, _) = open(&dir);
    fill(&journal, 10_000);
    let segments = journal.segments().unwrap();
    assert!(segments.len() >= 3, "{segments:?}");
    let [mut within, mut before] = [journal.backward_reader(u64::MAX), journal.backward_reader(segments[1].first_seq)];
    assert_eq!(within.next().unwrap().unwrap().seq, 10_000);
    assert_eq!(before.next().unwrap().unwrap().seq, segments[1].first_seq - 1);
    assert_eq!(journal.remove_before(segments[2].first_seq).unwrap(), 2);
    let mut last = 10_000;
    while let Some(frame) = within.next().unwrap() {
        assert_eq!(frame.seq, last - 1);
        last = frame.seq;
    }
    assert_eq!(last, segments[2].first_seq);
    // The record was in a file that is still open.
    assert_eq!(before.next().unwrap().unwrap().seq, segments[1].first_seq - 2);
    assert!(journal.backward_reader(segments[2].first_seq).next().unwrap().is_none());
    assert_eq!(journal.damage(), []);
}

#[test]
fn a_backward_reader_does_not_skip_a_record_of_a_newer_version() {
    let dir = TempDir::new().unwrap();
    written(&dir, &[100; 9]);
    let journal = read_only(&dir);
    let path = segment_file(&dir, 1);
    let length = HEADER + 100;
    let mut frame = fs::read(&path).unwrap()[4 * length..5 * length].to_vec();
    frame[12] = VERSION + 1;
    frame::seal(&mut frame).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&frame, 4 * length as u64).unwrap();
    let mut reader = journal.backward_reader(u64::MAX);
    for _ in 0..2 {
        assert!(matches!(reader.next(), Err(Error::Newer { version, .. }) if version == VERSION + 1));
    }
    assert_eq!(backwards(journal.backward_reader(4)).len(), 3);
}
