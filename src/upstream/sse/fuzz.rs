//! Fuzzes the framing of event streams that are split anywhere.

use bytes::Bytes;

use super::{Frames, frames as frames_of};
use crate::fuzz::pieces::cut;

/// An event's name and data.
type Event = (Option<Vec<u8>>, Vec<u8>);

/// Checks that a stream has the same events wherever it is split, and that no byte is lost or added.
pub(crate) fn frames(input: &[u8]) {
    let expected = events(input);
    for pieces in [vec![input], cut(input), input.chunks(1).collect()] {
        let (mut frames, mut all, mut found) = (Frames::default(), Vec::new(), Vec::new());
        for piece in pieces {
            let Ok(run) = frames.push(Bytes::copy_from_slice(piece)) else { return };
            found.extend(events(&run));
            all.extend_from_slice(&run);
        }
        let rest = frames.finish();
        found.extend(events(&rest));
        all.extend_from_slice(&rest);
        assert_eq!(all, input, "bytes were lost or added");
        assert_eq!(found, expected, "the events depend on where the stream is split");
    }
}

fn events(run: &[u8]) -> Vec<Event> {
    let mut at = 0;
    let events = frames_of(run).filter_map(|frame| {
        assert_eq!(frame.start, at);
        at += frame.bytes.len();
        frame.payload().map(|payload| (frame.event.map(<[u8]>::to_vec), payload.into_owned()))
    });
    let events = events.collect();
    assert_eq!(at, run.len());
    events
}
