use proptest::prelude::*;

use super::*;

/// The name and payload of every frame that has one of them.
fn events(run: &[u8]) -> Vec<(String, Option<String>)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    frames(run)
        .map(|frame| (text(frame.event.unwrap_or_default()), frame.payload().map(|payload| text(&payload))))
        .filter(|(name, payload)| !name.is_empty() || payload.is_some())
        .collect()
}

fn one(name: &str, payload: &str) -> (String, Option<String>) {
    (name.into(), Some(payload.into()))
}

#[test]
fn frames_are_read_as_the_html_standard_says() {
    for (run, expected) in [
        ("data: a\n\n", vec![one("", "a")]),
        ("data:a\n\n", vec![one("", "a")]),
        ("data:  a \n\n", vec![one("", " a ")]),
        ("data\n\n", vec![one("", "")]),
        ("data:\n\n", vec![one("", "")]),
        ("data: a: b\n\n", vec![one("", "a: b")]),
        ("data: a\r\n\r\ndata: b\r\rdata: c\n\n", vec![one("", "a"), one("", "b"), one("", "c")]),
        ("data: a\ndata: b\r\ndata: c\r\n\n", vec![one("", "a\nb\nc")]),
        ("data\ndata\n\n", vec![one("", "\n")]),
        (": comment\n\n: another\ndata: a\n: third\n\n", vec![one("", "a")]),
        ("id: 1\nevent: e\nretry: 5\ndata: a\n\n", vec![one("e", "a")]),
        ("event: e\n\n", vec![("e".into(), None)]),
        ("database: x\nDATA: x\n data: x\ndata : x\n\n", vec![]),
        ("\u{feff}data: a\n\n", vec![one("", "a")]),
        ("\n\n\r\n\rdata: a\n\n\n\n", vec![one("", "a")]),
        ("data: a", vec![one("", "a")]),
        ("", vec![]),
    ] {
        assert_eq!(events(run.as_bytes()), expected, "{run:?}");
    }
}

#[test]
fn a_range_of_the_payload_is_located_in_the_run() {
    let run = b": c\n\ndata: ab\nid: 1\ndata:cde\ndata\n\n";
    let frame = frames(run).nth(1).unwrap();
    let payload = frame.payload().unwrap();
    for (from, to) in [(0, 1), (0, 2), (3, 4), (3, 6), (5, 6)] {
        let at = frame.locate(&(from..to)).unwrap();
        assert_eq!(run[at], payload[from..to]);
    }
    assert_eq!(frame.locate(&(1..4)), None);
    assert_eq!(frame.locate(&(5..60)), None);
}

#[test]
fn a_chunk_of_whole_frames_is_passed_on_without_a_copy() {
    let chunk = Bytes::from_static(b"data: a\n\ndata: b\r\n\r\n: c\n\ndata: rest");
    let mut stream = Frames::default();
    let run = stream.push(chunk.clone()).unwrap();
    assert_eq!((run.as_ptr(), run.len()), (chunk.as_ptr(), chunk.len() - 10));
    assert_eq!(stream.push(Bytes::from_static(b" of it\n\n")).unwrap(), "data: rest of it\n\n");
    let run = stream.push(chunk.slice(..9)).unwrap();
    assert_eq!(run.as_ptr(), chunk.as_ptr());
    assert!(stream.finish().is_empty());
}

#[test]
fn a_complete_frame_is_returned_without_waiting_for_more_bytes() {
    for ending in ["\n\n", "\r\r", "\r\n\r\n", "\r\n\n", "\n\r"] {
        let mut stream = Frames::default();
        let frame = format!("data: a{ending}");
        assert_eq!(stream.push(Bytes::copy_from_slice(frame.as_bytes())).unwrap(), frame);
    }
}

#[test]
fn a_frame_that_is_too_long_is_an_error() {
    let mut stream = Frames::default();
    let piece = Bytes::from(vec![b'x'; 1 << 20]);
    for _ in 0..16 {
        assert_eq!(stream.push(piece.clone()), Ok(Bytes::new()));
    }
    assert_eq!(stream.push(piece), Err(FrameTooLong));
}

proptest! {
    #[test]
    fn a_stream_has_the_same_events_wherever_it_is_split(
        lines in prop::collection::vec(("(data|event|id|:|da|)(: ?)?[ab]{0,2}", "\n|\r|\r\n"), 0..16),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let stream: String = lines.iter().flat_map(|(line, end)| [line.as_str(), end.as_str()]).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.push(stream.len());
        cuts.sort_unstable();
        let (mut cutter, mut at, mut joined, mut found) = (Frames::default(), 0, Vec::new(), Vec::new());
        for cut in cuts {
            let run = cutter.push(Bytes::copy_from_slice(&stream.as_bytes()[at..cut])).unwrap();
            joined.extend_from_slice(&run);
            found.extend(events(&run));
            at = cut;
        }
        let rest = cutter.finish();
        joined.extend_from_slice(&rest);
        found.extend(events(&rest));
        prop_assert_eq!(String::from_utf8(joined).unwrap(), stream.clone());
        prop_assert_eq!(found, events(stream.as_bytes()));
    }
}
