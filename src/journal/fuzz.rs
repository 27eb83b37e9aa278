//! Fuzz targets for damaged files.

use super::{
    Error, Journal,
    codec::{decode, decode_settled, encode},
    frame::{self, HEADER, VERSION},
};

/// A record's sequence number and body.
type Found = (u64, Vec<u8>);

/// Checks a journal whose only segment has the bytes `input`: every intact record is read, and each missing one is
/// reported.
pub(crate) fn segment(input: &[u8]) {
    let Ok(dir) = tempfile::tempdir() else { return };
    let path = dir.path().join(format!("{:020}.log", 1));
    if std::fs::write(path, input).is_err() {
        return;
    }
    let Some(expected) = records(input) else {
        let opened = Journal::open_read_only(dir.path());
        assert!(matches!(opened, Err(Error::Newer { .. })), "a newer version is not rejected");
        return;
    };
    let opened = Journal::open_read_only(dir.path());
    assert!(opened.is_ok(), "{:?}", opened.err());
    let Ok((journal, report)) = opened else { return };
    let (mut found, mut reader) = (Vec::new(), journal.reader(0));
    loop {
        let next = reader.next();
        assert!(next.is_ok(), "{:?}", next.err());
        let Ok(Some(frame)) = next else { break };
        found.push((frame.seq, frame.body.to_vec()));
    }
    let numbers = |found: &[Found]| found.iter().map(|(seq, _)| *seq).collect::<Vec<_>>();
    assert_eq!(numbers(&found), numbers(&expected), "the reader does not return exactly the intact records");
    assert!(found == expected);
    let (mut missing, mut last) = (Vec::new(), 0);
    for (seq, _) in &expected {
        missing.extend((last + 1 < *seq).then_some(last + 1..=*seq - 1));
        last = *seq;
    }
    let missing_in = |damage: Vec<super::Damage>| damage.into_iter().map(|damage| damage.missing).collect::<Vec<_>>();
    assert_eq!(missing_in(report.damage), missing, "opening does not report the missing records");
    assert_eq!(missing_in(journal.damage()), missing, "the reader does not report the missing records");
    assert_eq!(report.last_seq, last);
}

/// The records in a segment, found by a byte-by-byte search; `None` if one has a newer version.
fn records(input: &[u8]) -> Option<Vec<Found>> {
    let (mut found, mut at, mut last): (Vec<Found>, _, _) = (Vec::new(), 0, 0);
    while at < input.len() {
        let frame = frame::total_len(&input[at..]).and_then(|length| input.get(at..at + length));
        let Some((frame, header)) = frame.and_then(|frame| Some((frame, frame::open(frame)?))) else {
            at += 1;
            continue;
        };
        at += frame.len();
        if header.seq > last && header.seq < u64::MAX {
            if header.version > VERSION {
                return None;
            }
            last = header.seq;
            found.push((header.seq, frame[HEADER..].to_vec()));
        }
    }
    Some(found)
}

/// Checks a record's bytes: a record that can be decoded can be encoded, and is then decoded as the same record.
pub(crate) fn record(input: &[u8]) {
    let Ok(record) = decode(input) else {
        assert!(!matches!(decode_settled(input), Ok(Some(_))));
        return;
    };
    let mut bytes = Vec::new();
    assert!(encode(&record, &mut bytes).is_ok());
    let again = decode(&bytes).map(|again| format!("{again:?}"));
    assert!(again.is_ok_and(|again| again == format!("{record:?}")), "a record changes when it is encoded");
}
