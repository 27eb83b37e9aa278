//! Server-sent events as the HTML standard frames them: lines end in LF, CRLF or CR, a line without characters ends a
//! frame, a line that begins with a colon is a comment.
//!
//! [`Frames`] takes the chunks of a stream, cut anywhere, and gives out runs of whole frames: a slice of the chunk where
//! it can, joined with what was left over where it must. [`frames`] then walks such a run. Bytes are neither lost nor
//! added: the runs, and what [`Frames::finish`] gives at the end, are the stream.
//!
//! A CR at the end of a chunk ends its line there and then, and so the frame; should the next chunk begin with its LF,
//! that is an empty frame, which means nothing to anybody.

use std::{borrow::Cow, fmt, ops::Range};

use bytes::Bytes;
use memchr::memchr2;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;

/// The longest frame that is waited for, in bytes.
pub const MAX_FRAME: usize = 16 << 20;

/// A frame grew beyond [`MAX_FRAME`]: the stream cannot be followed any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameTooLong;

impl fmt::Display for FrameTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an event of more than {} MiB", MAX_FRAME >> 20)
    }
}

impl std::error::Error for FrameTooLong {}

/// Cuts a stream between frames. Holds at most one incomplete frame.
#[derive(Debug)]
pub struct Frames {
    rest: Vec<u8>,
    // Where `rest` ends: in a line without characters so far?
    blank: bool,
    // Behind a CR, whose LF may follow?
    cr: bool,
}

impl Default for Frames {
    fn default() -> Self {
        Self { rest: Vec::new(), blank: true, cr: false }
    }
}

impl Frames {
    /// Adds a chunk; gives back all frames that are now complete, empty if there is none.
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

    /// Bytes that are held of a frame whose end has not come.
    pub fn held_bytes(&self) -> u64 {
        self.rest.len() as u64
    }

    /// What is left over when the stream has ended: a frame whose end never came.
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

    /// Where the last frame that ends in `chunk` does.
    fn last_end(&mut self, chunk: &[u8]) -> Option<usize> {
        // Nearly every chunk is whole frames, and its last bytes say so, whatever came before.
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

/// One frame. Ranges are into `bytes`.
#[derive(Debug)]
pub struct Frame<'a> {
    /// Where it begins in the run of frames.
    pub start: usize,
    /// All of it, with the line that ends it.
    pub bytes: &'a [u8],
    /// The event's name, if it has one.
    pub event: Option<&'a [u8]>,
    /// Its data.
    pub data: Data,
    // Where the first line begins that is no field of an event and no comment.
    stray: Option<usize>,
}

/// Where a frame's data stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// It has none: a comment, a retry time.
    None,
    /// In one line.
    Line(Range<usize>),
    /// In several; they are joined by a line feed.
    Lines(Vec<Range<usize>>),
}

impl<'a> Frame<'a> {
    /// The data, joined. `None` without a data line.
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

    /// The frame from the first line on that is neither a field of an event nor a comment. Readers of events skip these
    /// lines.
    pub fn stray(&self) -> Option<&'a [u8]> {
        self.bytes.get(self.stray?..)
    }

    /// Where a stretch of the payload stands in the run of frames. `None` if it does not lie within one line.
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

/// The frames in `run`; the last one may lack its end.
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
    // A byte order mark may open the stream. Looking for it in front of every frame does no harm.
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

/// The value of a line that is of field `name`.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    match line.strip_prefix(name)? {
        [b':', b' ', value @ ..] | [b':', value @ ..] | value @ [] => Some(value),
        _ => None,
    }
}
