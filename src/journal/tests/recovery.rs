//! Tests of opening files that were torn, damaged or tampered with.

use std::os::unix::fs::FileExt;

use super::{
    super::frame::{HEADER, MARKER},
    *,
};

/// A journal of three records in one segment. Returns its file, and the offsets of the frames and of the end.
fn three_records(dir: &TempDir) -> (PathBuf, [u64; 4]) {
    let (journal, _) = open(dir);
    let bodies = ["one", "two and a half", "three"];
    let mut bounds = [0; 4];
    for (i, body) in bodies.iter().enumerate() {
        put(&journal, body);
        bounds[i + 1] = bounds[i] + (HEADER + body.len()) as u64;
    }
    (segment_file(dir, 1), bounds)
}

fn writable(path: &Path) -> fs::File {
    fs::File::options().read(true).write(true).open(path).unwrap()
}

fn flip(path: &Path, offset: u64) {
    let file = writable(path);
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();
}

#[test]
fn a_record_that_was_torn_at_any_byte_is_cut_off() {
    for fill_with_zeros in [false, true] {
        let dir = TempDir::new().unwrap();
        let (path, bounds) = three_records(&dir);
        let whole = fs::read(&path).unwrap();
        for cut in bounds[2]..bounds[3] {
            let _ = fs::remove_file(segment_file(&dir, 3));
            let mut torn = whole.clone();
            torn.truncate(cut as usize);
            // The last byte that was written may be a zero.
            let left = torn.iter().rposition(|b| *b != 0).map_or(0, |at| at as u64 + 1).max(bounds[2]) - bounds[2];
            if fill_with_zeros {
                torn.resize(whole.len(), 0);
            }
            fs::write(&path, &torn).unwrap();
            let (journal, report) = open(&dir);
            assert_eq!(report, OpenReport { last_seq: 2, cut_bytes: left, damage: vec![] }, "torn at {cut}");
            assert_eq!(put(&journal, "new"), 3);
            assert_eq!(all(&journal), records(&["one", "two and a half", "new"]), "torn at {cut}");
            assert_eq!(journal.damage(), []);
        }
    }
}

#[test]
fn garbage_after_the_end_is_cut_off_with_a_report() {
    let dir = TempDir::new().unwrap();
    let (path, bounds) = three_records(&dir);
    let mut garbage = [b"\0\0garbage".as_slice(), &MARKER, &[0xFF; 40], &MARKER].concat();
    garbage.resize(70_000, 7);
    writable(&path).write_all_at(&garbage, bounds[3]).unwrap();
    let (journal, report) = open(&dir);
    assert_eq!(report, OpenReport { last_seq: 3, cut_bytes: 70_000, damage: vec![] });
    put(&journal, "4");
    drop(journal);
    let (journal, report) = open(&dir);
    assert_eq!(report, OpenReport { last_seq: 4, cut_bytes: 0, damage: vec![] });
    assert_eq!(all(&journal).len(), 4);
}

#[test]
fn a_damaged_record_is_skipped_and_reported() {
    for place in 0..HEADER as u64 + 14 {
        let dir = TempDir::new().unwrap();
        let (path, bounds) = three_records(&dir);
        flip(&path, bounds[1] + place);
        for _ in 0..2 {
            let (journal, report) = open(&dir);
            let [damage] = &report.damage[..] else { panic!("{:?}", report.damage) };
            assert_eq!(
                (damage.missing.clone(), damage.offset, damage.bytes),
                (2..=2, bounds[1], bounds[2] - bounds[1])
            );
            assert!(damage.from_ms > 0 && damage.to_ms >= damage.from_ms && damage.file == path);
            assert_eq!((report.last_seq, report.cut_bytes), (3, 0));
            assert_eq!(all(&journal), [(1, "one".to_owned()), (3, "three".to_owned())], "flipped at {place}");
            assert_eq!(journal.damage(), report.damage, "the reader reports the same damage");
        }
    }
}

#[test]
fn damage_in_the_last_record_is_a_torn_tail() {
    let dir = TempDir::new().unwrap();
    let (path, bounds) = three_records(&dir);
    flip(&path, bounds[3] - 1);
    let (_journal, report) = open(&dir);
    assert_eq!((report.last_seq, report.cut_bytes, report.damage), (2, bounds[3] - bounds[2], vec![]));
}

#[test]
fn a_record_of_a_newer_version_is_not_skipped() {
    let dir = TempDir::new().unwrap();
    let (path, bounds) = three_records(&dir);
    let (journal, _) = open(&dir);
    let mut frame = fs::read(&path).unwrap()[bounds[1] as usize..bounds[2] as usize].to_vec();
    frame[12] = VERSION + 1;
    frame::seal(&mut frame).unwrap();
    writable(&path).write_all_at(&frame, bounds[1]).unwrap();

    let mut reader = journal.reader(0);
    assert_eq!(reader.next().unwrap().unwrap().seq, 1);
    for _ in 0..2 {
        assert!(matches!(reader.next(), Err(Error::Newer { version, .. }) if version == VERSION + 1));
    }
    drop(journal);
    let error = Journal::open(dir.path(), Durability::Disk).unwrap_err();
    assert!(error.to_string().contains("newer version"), "{error}");
}

/// The state after a failed sync whose frames could not be removed, a new segment, and a kill before the first write
/// there. The old file holds frames 2 and 3, but only the new one owns those numbers.
#[test]
fn the_remains_of_a_failed_write_are_never_read_as_records() {
    let dir = TempDir::new().unwrap();
    let (path, bounds) = three_records(&dir);
    fs::write(segment_file(&dir, 2), vec![0; 4096]).unwrap();
    let (journal, report) = open(&dir);
    assert_eq!(report, OpenReport { last_seq: 1, cut_bytes: 0, damage: vec![] });
    assert_eq!(all(&journal), records(&["one"]));
    assert_eq!(put(&journal, "another two"), 2);
    assert_eq!(all(&journal), records(&["one", "another two"]));
    drop(journal);
    // Incomplete remains are not damage either.
    flip(&path, bounds[1] + 1);
    flip(&path, bounds[3] - 1);
    let (journal, _) = open(&dir);
    assert_eq!(all(&journal), records(&["one", "another two"]));
    assert_eq!(journal.damage(), []);
}

#[test]
fn a_missing_end_of_an_earlier_segment_is_damage() {
    let dir = TempDir::new().unwrap();
    let (path, bounds) = three_records(&dir);
    // The next segment starts with 4, so 3 was durable in this one.
    fs::write(segment_file(&dir, 4), vec![0; 4096]).unwrap();
    flip(&path, bounds[3] - 1);
    let (journal, report) = open(&dir);
    assert_eq!(report.last_seq, 3);
    let [damage] = &report.damage[..] else { panic!("{:?}", report.damage) };
    assert_eq!((damage.missing.clone(), damage.to_ms, damage.offset), (3..=3, u64::MAX, bounds[2]));
    put(&journal, "four");
    assert_eq!(all(&journal).into_iter().map(|(seq, _)| seq).collect::<Vec<_>>(), [1, 2, 4]);
    drop(journal);
    // A reader finds it again when opening no longer checks the earlier segment.
    let (journal, report) = open(&dir);
    assert_eq!(report.damage, []);
    all(&journal);
    let [damage] = &journal.damage()[..] else { panic!("{:?}", journal.damage()) };
    assert_eq!((damage.missing.clone(), damage.offset, &damage.file), (3..=3, bounds[2], &path));
}

#[test]
fn a_removed_segment_file_is_damage() {
    let dir = TempDir::new().unwrap();
    fill(&open(&dir).0, 10_000);
    let (journal, _) = open(&dir);
    let segments = journal.segments().unwrap();
    drop(journal);
    fs::remove_file(&segments[1].path).unwrap();
    let (journal, _) = open(&dir);
    let read = all(&journal);
    let (from, to) = (segments[1].first_seq, segments[2].first_seq);
    assert_eq!(read.len() as u64, 10_000 - (to - from));
    assert_eq!(journal.damage().into_iter().map(|d| d.missing).collect::<Vec<_>>(), [from..=to - 1]);
}

#[test]
fn any_bytes_in_the_directory_are_opened_or_rejected_without_a_panic() {
    use proptest::prelude::*;
    proptest!(ProptestConfig::with_cases(64), |(
        bytes in prop::collection::vec(any::<u8>(), 0..3000), keep in 0usize..200, first in 0u64..5
    )| {
        let dir = TempDir::new().unwrap();
        let (path, _) = three_records(&dir);
        let mut file = fs::read(&path).unwrap();
        file.truncate(keep);
        file.extend_from_slice(&bytes);
        fs::write(segment_file(&dir, first), &file).unwrap();
        fs::write(dir.path().join("notes.txt"), &bytes).unwrap();
        if let Ok((journal, _)) = Journal::open(dir.path(), Durability::Process) {
            let before = all(&journal);
            put(&journal, "after");
            prop_assert_eq!(all(&journal).len(), before.len() + 1);
        }
    });
}
