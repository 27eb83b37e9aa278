//! A strict pull parser for JSON in memory. It builds no tree and does not recurse.
//!
//! The caller of a [`Reader`] opens an object or array, takes its members one by one, and passes over the others with
//! [`Reader::skip`] or [`Reader::walk`]. All bytes up to the reader's position have been validated by RFC 8259: no byte
//! order mark, no invalid UTF-8, no control character in a string, and no bytes after the end once [`Reader::end`] has
//! succeeded. As RFC 8259 does, the reader accepts a `\u` escape of an unpaired surrogate; it reads as U+FFFD.
//! [`Reader::lenient`] accepts more, for answers of servers that write invalid JSON.
//!
//! Nesting deeper than [`MAX_DEPTH`] is an error.

use std::{fmt, ops::Range};

use self::text::{hex4, plain_run, unit_len};

pub use self::text::{Text, quote};

#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod text;

/// The most objects and arrays that may be open at the same time.
pub const MAX_DEPTH: u32 = 512;

/// The error for bytes that are not valid JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalid {
    /// The offset of the fault, in bytes.
    pub at: usize,
    /// The fault, as a phrase that can follow "the JSON is invalid: ".
    pub reason: &'static str,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.reason, self.at)
    }
}

impl std::error::Error for Invalid {}

/// The kind of a value, by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `{`
    Object,
    /// `[`
    Array,
    /// `"`
    String,
    /// A digit or `-`.
    Number,
    /// `true`
    True,
    /// `false`
    False,
    /// `null`
    Null,
}

/// An event of [`Reader::walk`].
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// The beginning of an object or array.
    Open,
    /// The end of the innermost object or array.
    Close,
    /// The key of the next value.
    Key(Text<'a>),
    /// A string value.
    String(Text<'a>),
    /// A number.
    Number,
}

/// A reader of a JSON text.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    // At most `bytes.len()`. All bytes before it are valid.
    pos: usize,
    depth: u32,
    // The innermost container has just been opened, so no comma is expected.
    fresh: bool,
    lenient: bool,
}

impl<'a> Reader<'a> {
    /// Creates a reader of `bytes`.
    ///
    /// # Errors
    ///
    /// If `bytes` are not UTF-8 or begin with a byte order mark.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Invalid> {
        if bytes.starts_with(b"\xEF\xBB\xBF") {
            return Err(Invalid { at: 0, reason: "a byte order mark" });
        }
        utf8(bytes, 0)?;
        Ok(Self { bytes, pos: 0, depth: 0, fresh: false, lenient: false })
    }

    /// Creates a reader that also accepts the invalid JSON that some servers write: a byte order mark, bytes that are
    /// not UTF-8, control characters in strings, and the numbers `NaN`, `Infinity` and `-Infinity`.
    pub fn lenient(bytes: &'a [u8]) -> Self {
        let pos = if bytes.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
        Self { bytes, pos, depth: 0, fresh: false, lenient: true }
    }

    /// Creates a reader at `pos`, just after a member of the outermost object. An earlier reader must have reached the
    /// same position over the same first bytes.
    pub fn resume(bytes: &'a [u8], pos: usize) -> Result<Self, Invalid> {
        let pos = pos.min(bytes.len());
        utf8(&bytes[pos..], pos)?;
        Ok(Self { bytes, pos, depth: 1, fresh: false, lenient: false })
    }

    /// The offset of the first byte that has not been read.
    pub fn pos(&self) -> usize {
        self.pos
    }

    /// The bytes of a value that has been read.
    pub fn read(&self, at: &Range<usize>) -> Option<&'a [u8]> {
        self.bytes.get(at.clone())
    }

    /// The kind of the next value. Afterwards [`Self::pos`] is the beginning of that value.
    pub fn kind(&mut self) -> Result<Kind, Invalid> {
        self.space();
        Ok(match self.peek() {
            Some(b'"') => Kind::String,
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'-' | b'0'..=b'9') => Kind::Number,
            Some(b't') => Kind::True,
            Some(b'f') => Kind::False,
            Some(b'n') => Kind::Null,
            Some(b'N' | b'I') if self.lenient => Kind::Number,
            Some(_) => return Err(self.invalid("a value was expected")),
            None => return Err(self.invalid("the text ends where a value was expected")),
        })
    }

    /// Reads an object. Calls `member` with each key, unescaped; `member` must read or skip the value. Skips a value
    /// that is not an object.
    pub fn members<E: From<Invalid>>(
        &mut self,
        mut member: impl FnMut(&mut Self, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.kind()? != Kind::Object {
            self.skip()?;
            return Ok(());
        }
        self.open()?;
        self.more_members(&mut member)
    }

    /// Reads the rest of an object that is already open, after [`Self::resume`].
    pub fn more_members<E: From<Invalid>>(
        &mut self,
        mut member: impl FnMut(&mut Self, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(key) = self.key()? {
            member(self, &key.bytes())?;
        }
        Ok(())
    }

    /// Reads an array. Calls `element` before each element, which `element` must read or skip. Skips a value that is
    /// not an array.
    pub fn elements<E: From<Invalid>>(&mut self, mut element: impl FnMut(&mut Self) -> Result<(), E>) -> Result<(), E> {
        if self.kind()? != Kind::Array {
            self.skip()?;
            return Ok(());
        }
        self.open()?;
        while self.element()? {
            element(self)?;
        }
        Ok(())
    }

    /// Reads a string.
    #[inline]
    pub fn string(&mut self) -> Result<Text<'a>, Invalid> {
        self.space();
        if self.peek() != Some(b'"') {
            return Err(self.invalid("a string was expected"));
        }
        self.pos += 1;
        let at = self.pos;
        let mut shrunk = 0;
        loop {
            self.pos += plain_run(&self.bytes[self.pos..]);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => shrunk += self.escape()?,
                Some(_) if self.lenient => self.pos += 1,
                Some(_) => return Err(self.invalid("a control character in a string")),
                None => return Err(self.invalid("an unterminated string")),
            }
        }
        let raw = &self.bytes[at..self.pos];
        self.pos += 1;
        Ok(Text { raw, at, len: raw.len() - shrunk })
    }

    /// Reads a number and returns it as written.
    pub fn number(&mut self) -> Result<&'a [u8], Invalid> {
        self.space();
        let at = self.pos;
        if self.peek() == Some(b'-') {
            self.pos += 1;
        }
        match self.peek() {
            Some(b'0') => self.pos += 1,
            Some(b'N') if self.lenient => return self.literal(b"NaN").map(|()| &self.bytes[at..self.pos]),
            Some(b'I') if self.lenient => return self.literal(b"Infinity").map(|()| &self.bytes[at..self.pos]),
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.pos += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.pos += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.pos += 1;
            }
            self.digits()?;
        }
        Ok(&self.bytes[at..self.pos])
    }

    /// Skips a value.
    #[inline]
    pub fn skip(&mut self) -> Result<(), Invalid> {
        match self.kind()? {
            Kind::Object | Kind::Array => self.walk(|_| ()),
            _ => self.scalar(&mut |_| ()),
        }
    }

    /// Skips a value and returns its place.
    pub fn span(&mut self) -> Result<Range<usize>, Invalid> {
        self.space();
        let start = self.pos;
        self.skip()?;
        Ok(start..self.pos)
    }

    /// Skips a value and calls `see` with each event in it.
    #[inline]
    pub fn walk(&mut self, mut see: impl FnMut(Event<'a>)) -> Result<(), Invalid> {
        // A bit for each container that was opened here: whether it is an object. `Self::open` limits their number to
        // `MAX_DEPTH`.
        let mut objects = [0u64; MAX_DEPTH as usize / 64];
        let mut open = 0usize;
        loop {
            let kind = self.kind()?;
            if matches!(kind, Kind::Object | Kind::Array) {
                self.open()?;
                let bit = 1 << (open % 64);
                match kind {
                    Kind::Object => objects[open / 64] |= bit,
                    _ => objects[open / 64] &= !bit,
                }
                open += 1;
                see(Event::Open);
            } else {
                self.scalar(&mut see)?;
            }
            // Close the containers that end here, up to the next value.
            loop {
                let Some(innermost) = open.checked_sub(1) else { return Ok(()) };
                if objects[innermost / 64] & (1 << (innermost % 64)) == 0 {
                    if self.element()? {
                        break;
                    }
                } else if let Some(key) = self.key()? {
                    see(Event::Key(key));
                    break;
                }
                open = innermost;
                see(Event::Close);
            }
        }
    }

    /// Checks that only white space is left.
    pub fn end(&mut self) -> Result<(), Invalid> {
        self.space();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.invalid("extra bytes after the end")),
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.pos).copied()
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.pos += 1;
        }
    }

    #[cold]
    fn invalid(&self, reason: &'static str) -> Invalid {
        Invalid { at: self.pos, reason }
    }

    /// Enters the object or array at the current position.
    fn open(&mut self) -> Result<(), Invalid> {
        if self.depth == MAX_DEPTH {
            return Err(self.invalid("too many levels"));
        }
        self.pos += 1;
        self.depth += 1;
        self.fresh = true;
        Ok(())
    }

    fn close(&mut self) {
        self.pos += 1;
        self.depth = self.depth.saturating_sub(1);
        self.fresh = false;
    }

    /// The next key of the innermost object, or `None` at its end.
    #[inline]
    fn key(&mut self) -> Result<Option<Text<'a>>, Invalid> {
        self.space();
        match self.peek() {
            Some(b'}') => {
                self.close();
                return Ok(None);
            }
            Some(b',') if !self.fresh => self.pos += 1,
            Some(_) if self.fresh => {}
            _ => return Err(self.invalid("`,` or `}` was expected")),
        }
        self.fresh = false;
        let key = self.string()?;
        self.space();
        if self.peek() != Some(b':') {
            return Err(self.invalid("`:` was expected"));
        }
        self.pos += 1;
        Ok(Some(key))
    }

    /// Whether the innermost array has another element.
    #[inline]
    fn element(&mut self) -> Result<bool, Invalid> {
        self.space();
        match self.peek() {
            // A comma is read only together with the value after it, so this `]` does not follow one.
            Some(b']') => {
                self.close();
                return Ok(false);
            }
            Some(b',') if !self.fresh => self.pos += 1,
            Some(_) if self.fresh => {}
            _ => return Err(self.invalid("`,` or `]` was expected")),
        }
        self.fresh = false;
        Ok(true)
    }

    /// Reads a value that is neither an object nor an array.
    #[inline]
    fn scalar(&mut self, see: &mut impl FnMut(Event<'a>)) -> Result<(), Invalid> {
        match self.peek() {
            Some(b'"') => see(Event::String(self.string()?)),
            Some(b't') => self.literal(b"true")?,
            Some(b'f') => self.literal(b"false")?,
            Some(b'n') => self.literal(b"null")?,
            _ => {
                self.number()?;
                see(Event::Number);
            }
        }
        Ok(())
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Invalid> {
        if !self.bytes[self.pos..].starts_with(word) {
            return Err(self.invalid("a value was expected"));
        }
        self.pos += word.len();
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Invalid> {
        let at = self.pos;
        while let Some(b'0'..=b'9') = self.peek() {
            self.pos += 1;
        }
        if self.pos == at { Err(self.invalid("a digit was expected")) } else { Ok(()) }
    }

    /// Reads an escape. Returns how many bytes longer it is than its character.
    fn escape(&mut self) -> Result<usize, Invalid> {
        match self.bytes.get(self.pos + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.pos += 2;
                Ok(1)
            }
            Some(b'u') => {
                let Some(unit) = hex4(&self.bytes[self.pos + 2..]) else {
                    return Err(self.invalid("an invalid escape"));
                };
                self.pos += 6;
                Ok(6 - unit_len(unit))
            }
            _ => Err(self.invalid("an invalid escape")),
        }
    }
}

/// Checks that `bytes` are exactly one JSON text.
pub fn validate(bytes: &[u8]) -> Result<(), Invalid> {
    let mut reader = Reader::new(bytes)?;
    reader.skip()?;
    reader.end()
}

/// The value of a non-negative whole number, such as `16`, `16.0` or `1e3`. At most 2^64 - 1.
pub fn whole_number(raw: &[u8]) -> Option<u64> {
    if raw.iter().all(u8::is_ascii_digit) && !raw.is_empty() {
        let digit = |value: u64, digit: &u8| value.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
        return Some(raw.iter().try_fold(0, digit).unwrap_or(u64::MAX));
    }
    let value: f64 = std::str::from_utf8(raw).ok()?.parse().ok()?;
    (value >= 0.0 && value.fract() == 0.0).then_some(value as u64)
}

fn utf8(bytes: &[u8], offset: usize) -> Result<(), Invalid> {
    match std::str::from_utf8(bytes) {
        Ok(_) => Ok(()),
        Err(e) => Err(Invalid { at: offset + e.valid_up_to(), reason: "not UTF-8" }),
    }
}
