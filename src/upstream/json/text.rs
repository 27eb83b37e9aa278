//! JSON strings in their escaped form.

use std::{borrow::Cow, ops::Range};

/// A string or a key of the input. Its escapes have been validated but not replaced.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    pub(super) raw: &'a [u8],
    // The position after the opening quote.
    pub(super) at: usize,
    pub(super) len: usize,
}

impl<'a> Text<'a> {
    /// Length of the unescaped text in UTF-8 bytes. An unpaired surrogate counts as 2.
    #[allow(clippy::len_without_is_empty, reason = "it is not the length of a container")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The position in the input, including the quotes.
    pub fn span(&self) -> Range<usize> {
        self.at - 1..self.at + self.raw.len() + 1
    }

    /// The unescaped text. Borrowed if it contains no escapes.
    pub fn bytes(&self) -> Cow<'a, [u8]> {
        // Every escape is longer than the character it represents, so equal lengths mean that there are none.
        if self.len == self.raw.len() { Cow::Borrowed(self.raw) } else { Cow::Owned(unescape(self.raw)) }
    }

    /// The unescaped text as an owned string.
    pub fn to_text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// Whether the unescaped text is `text`.
    pub fn is(&self, text: &str) -> bool {
        self.len == text.len() && *self.bytes() == *text.as_bytes()
    }

    /// The first `limit` bytes, still escaped.
    pub fn raw_head(&self, limit: usize) -> &'a [u8] {
        &self.raw[..limit.min(self.raw.len())]
    }
}

/// The number of UTF-8 bytes that a `\u` escape represents. Each half of a surrogate pair counts as 2.
pub(crate) fn unit_len(unit: u16) -> usize {
    match unit {
        0..0x80 => 1,
        0x80..0x800 | 0xD800..0xE000 => 2,
        _ => 3,
    }
}

/// Returns `text` as a JSON string, including the quotes.
pub fn quote(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            0..0x20 => {
                let hex = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
                out.extend_from_slice(b"\\u00");
                out.extend([hex(byte >> 4), hex(byte & 15)]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
    out
}

pub(super) fn hex4(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk::<4>()?.iter().try_fold(0, |unit, &digit| Some(unit << 4 | hex_digit(digit)?))
}

/// The value of a hexadecimal digit.
pub(crate) fn hex_digit(digit: u8) -> Option<u16> {
    (digit as char).to_digit(16).map(|value| value as u16)
}

/// Replaces the escapes of `raw`, which must be from a validated string.
fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let escape = &rest[at + 1..];
        let (byte, mut len) = match escape.first() {
            Some(b'b') => (8, 1),
            Some(b'f') => (12, 1),
            Some(b'n') => (b'\n', 1),
            Some(b'r') => (b'\r', 1),
            Some(b't') => (b'\t', 1),
            Some(&other) => (other, 1),
            None => return out,
        };
        if byte == b'u' {
            let unit = hex4(&escape[1..]).unwrap_or(0xFFFD);
            len = escape.len().min(5);
            let mut c = char::from_u32(unit.into());
            if let (0xD800..0xDC00, Some(low)) = (unit, escape.get(5..7).filter(|next| *next == b"\\u"))
                && let Some(low @ 0xDC00..0xE000) = hex4(&escape[5 + low.len()..])
            {
                c = char::from_u32(0x10000 + (u32::from(unit - 0xD800) << 10 | u32::from(low - 0xDC00)));
                len = 11;
            }
            let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            out.push(byte);
        }
        rest = &escape[len..];
    }
    out.extend_from_slice(rest);
    out
}

/// Returns the number of bytes before the first quote, backslash or control character. Tests eight bytes at a time, by
/// the classic test for a zero byte in a word. A borrow can wrongly mark a byte above the one that caused it, but never
/// one below, so the lowest mark is correct.
#[inline]
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let mut n = 0;
    while let Some(word) = bytes[n..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let quote = word ^ (ONES * b'"' as u64);
        let backslash = word ^ (ONES * b'\\' as u64);
        let marks = control | (quote.wrapping_sub(ONES) & !quote) | (backslash.wrapping_sub(ONES) & !backslash);
        if marks & HIGH != 0 {
            return n + ((marks & HIGH).trailing_zeros() / 8) as usize;
        }
        n += 8;
    }
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    n + bytes[n..].iter().position(special).unwrap_or(bytes.len() - n)
}
