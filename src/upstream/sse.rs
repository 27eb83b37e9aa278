//! Server-sent events, framed by the HTML standard: a line ends with LF, CRLF or CR, an empty line ends a frame, and a
//! line that begins with a colon is a comment.
//!
//! [`Frames`] takes the chunks of a stream, split anywhere, and returns runs of whole frames. A run is a slice of the
//! chunk, or a copy if the chunk completes a frame of an earlier chunk. [`frames`] then iterates over a run. No byte is
//! lost or added: the runs followed by the result of [`Frames::finish`] are the stream.
//!
//! A CR at the end of a chunk ends its line at once, and its frame if the line is empty. If the next chunk begins with
//! the matching LF, it forms an empty frame, which readers ignore.

use std::{borrow::Cow, fmt, ops::Range};

use bytes::Bytes;
use memchr::memchr2;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;

/// Longest frame, in bytes.
pub const MAX_FRAME: usize = 16 << 20;

/// An error returned for a frame longer than [`MAX_FRAME`]. The rest of the stream cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameTooLong;

impl fmt::Display for FrameTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an event is longer than {} MiB", MAX_FRAME >> 20)
    }
}

impl std::error::Error for FrameTooLong {}

/// Splits a stream between frames. Holds at most one incomplete frame.
#[derive(Debug)]
pub struct Frames {
    rest: Vec<u8>,
    // Whether the line at the end of `rest` is still empty.
    blank: bool,
    // Whether the last byte is a CR that an LF may follow.
    cr: bool,
}

impl Default for Frames {
    fn default() -> Self {
        Self { rest: Vec::new(), blank: true, cr: false }
    }
}

impl Frames {
    /// Adds a chunk. Returns all frames that are complete now; the result is empty if there are none.
    pub fn push(&mut self, chunk: Bytes) -> Result<Bytes, FrameTooLong> {
        let Some(end) = self.last_end(&chunk) else {
            self.keep(&chunk)?;
            return Ok(Bytes::new());
        };
        let whole = if self.rest.is_empty() {
            chunk.slice(..end)
        } else {
            self.keep(&chunk[..end])?;
            std::mem::take(&mut self.rest).into()
        };
        self.keep(&chunk[end..])?;
        Ok(whole)
    }

    /// The number of bytes held of an incomplete frame.
    pub fn held_bytes(&self) -> u64 {
        self.rest.len() as u64
    }

    /// Returns the incomplete frame that is left when the stream has ended.
    pub fn finish(&mut self) -> Bytes {
        std::mem::take(self).rest.into()
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), FrameTooLong> {
        if self.rest.len() + bytes.len() > MAX_FRAME {
            return Err(FrameTooLong);
        }
        self.rest.extend_from_slice(bytes);
        Ok(())
    }

    /// Returns the end of the last frame that is complete within `chunk`.
    fn last_end(&mut self, chunk: &[u8]) -> Option<usize> {
        // Nearly every chunk consists of whole frames. Its last bytes show that, whatever precedes them.
        if chunk.ends_with(b"\n\n") || chunk.ends_with(b"\r\n\r\n") {
            (self.blank, self.cr) = (true, false);
            return Some(chunk.len());
        }
        let mut last = None;
        let mut at = usize::from(self.cr && chunk.first() == Some(&b'\n'));
        self.cr &= chunk.is_empty();
        while let Some(n) = memchr2(b'\n', b'\r', &chunk[at..]) {
            let blank = self.blank && n == 0;
            at += n + 1;
            if chunk[at - 1] == b'\r' {
                match chunk.get(at) {
                    Some(b'\n') => at += 1,
                    Some(_) => {}
                    None => self.cr = !blank,
                }
            }
            self.blank = true;
            if blank {
                last = Some(at);
            }
        }
        self.blank &= at == chunk.len();
        last
    }
}

/// One frame. Ranges are positions in `bytes`.
#[derive(Debug)]
pub struct Frame<'a> {
    /// The position of the frame in the run.
    pub start: usize,
    /// The whole frame, including the empty line that ends it.
    pub bytes: &'a [u8],
    /// The event's name, if it has one.
    pub event: Option<&'a [u8]>,
    /// The event's data.
    pub data: Data,
    // The position of the first line that is neither a field of an event nor a comment.
    stray: Option<usize>,
}

/// The position of the data in a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// The frame has no data: it is a comment or sets a retry time.
    None,
    /// The data is in one line.
    Line(Range<usize>),
    /// The data is in several lines, to be joined by a line feed.
    Lines(Vec<Range<usize>>),
}

impl<'a> Frame<'a> {
    /// Returns the data with its lines joined, or `None` if there is no data line.
    pub fn payload(&self) -> Option<Cow<'a, [u8]>> {
        match &self.data {
            Data::None => None,
            Data::Line(line) => Some(Cow::Borrowed(&self.bytes[line.clone()])),
            Data::Lines(lines) => {
                let lines: Vec<&[u8]> = lines.iter().map(|line| &self.bytes[line.clone()]).collect();
                Some(Cow::Owned(lines.join(&b'\n')))
            }
        }
    }

    /// Returns the frame from the first line on that is neither a field of an event nor a comment. Clients ignore such
    /// lines.
    pub fn stray(&self) -> Option<&'a [u8]> {
        self.bytes.get(self.stray?..)
    }

    /// Converts a range of the payload to a range of the run. Returns `None` if it is not within one line.
    pub fn locate(&self, at: &Range<usize>) -> Option<Range<usize>> {
        let lines = match &self.data {
            Data::None => &[],
            Data::Line(line) => std::slice::from_ref(line),
            Data::Lines(lines) => lines.as_slice(),
        };
        let mut line_at = 0;
        for line in lines {
            if at.start >= line_at && at.end <= line_at + line.len() {
                let shift = self.start + line.start - line_at;
                return Some(shift + at.start..shift + at.end);
            }
            line_at += line.len() + 1;
        }
        None
    }
}

/// Returns the frames in `run`. The last one may be incomplete.
pub fn frames(run: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let frame = frame(run.get(start..)?, start)?;
        start += frame.bytes.len();
        Some(frame)
    })
}

fn frame(rest: &[u8], start: usize) -> Option<Frame<'_>> {
    if rest.is_empty() {
        return None;
    }
    let mut frame = Frame { start, bytes: rest, event: None, data: Data::None, stray: None };
    // A stream may begin with a byte order mark. Skipping one before every frame does no harm.
    let mut at = if rest.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
    while at < rest.len() {
        let line_at = at;
        let end = memchr2(b'\n', b'\r', &rest[at..]).map_or(rest.len(), |n| at + n);
        at = match rest.get(end..) {
            Some([b'\r', b'\n', ..]) => end + 2,
            Some([_, ..]) => end + 1,
            _ => end,
        };
        if end == line_at {
            frame.bytes = &rest[..at];
            break;
        }
        let line = &rest[line_at..end];
        if let Some(value) = field(line, b"data") {
            let value = end - value.len()..end;
            frame.data = match frame.data {
                Data::None => Data::Line(value),
                Data::Line(first) => Data::Lines(vec![first, value]),
                Data::Lines(mut lines) => {
                    lines.push(value);
                    Data::Lines(lines)
                }
            };
        } else if let Some(name) = field(line, b"event") {
            frame.event = Some(name);
        } else if !line.starts_with(b":") && field(line, b"id").or(field(line, b"retry")).is_none() {
            frame.stray.get_or_insert(line_at);
        }
    }
    Some(frame)
}

/// Returns the value of a line if its field is `name`.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    match line.strip_prefix(name)? {
        [b':', b' ', value @ ..] | [b':', value @ ..] | value @ [] => Some(value),
        _ => None,
    }
}
