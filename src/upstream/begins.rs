//! The form of an answer, told by its first bytes: content types are not always right.

/// The form of an answer, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begins {
    /// A JSON object.
    Json,
    /// A stream of events.
    Events,
    /// Neither.
    Otherwise,
}

impl Begins {
    /// `None` if more bytes are needed to tell.
    pub fn with(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes).trim_ascii_start();
        match bytes.first()? {
            b'{' => return Some(Self::Json),
            b':' => return Some(Self::Events),
            _ => {}
        }
        for field in [&b"data"[..], b"event", b"id", b"retry"] {
            if field.starts_with(bytes) {
                return None;
            }
            if bytes.strip_prefix(field).is_some_and(|rest| matches!(rest[0], b':' | b'\r' | b'\n')) {
                return Some(Self::Events);
            }
        }
        Some(Self::Otherwise)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_by_its_first_bytes() {
        for (bytes, expected) in [
            ("{\"id\":1}", Some(Begins::Json)),
            ("\u{feff} \r\n{", Some(Begins::Json)),
            ("data: {}\n\n", Some(Begins::Events)),
            ("\n\n: hi\n", Some(Begins::Events)),
            ("event: message_start\n", Some(Begins::Events)),
            ("id\n", Some(Begins::Events)),
            ("retry:1\n", Some(Begins::Events)),
            ("", None),
            (" \n", None),
            ("dat", None),
            ("data", None),
            ("dates", Some(Begins::Otherwise)),
            ("<html>", Some(Begins::Otherwise)),
            ("[1]", Some(Begins::Otherwise)),
            ("identity", Some(Begins::Otherwise)),
        ] {
            assert_eq!(Begins::with(bytes.as_bytes()), expected, "{bytes:?}");
        }
    }
}
