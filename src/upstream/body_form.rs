//! Recognizes the form of an answer by its first bytes, because content types are not always right. The content type
//! decides only if the bytes do not.

/// The form of an answer, recognized by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyForm {
    /// A JSON object.
    Json,
    /// A JSON array, or a text in brackets.
    List,
    /// A stream of events.
    Events,
    /// Anything else.
    Other,
}

impl BodyForm {
    /// Returns the form of an answer that begins with `bytes`, or `None` if more bytes are needed. `is_event_stream` is
    /// whether its content type is that of a stream of events.
    pub fn with(bytes: &[u8], is_event_stream: bool) -> Option<Self> {
        const MARK: &[u8] = b"\xEF\xBB\xBF";
        if MARK.starts_with(bytes) {
            return None;
        }
        let bytes = bytes.strip_prefix(MARK).unwrap_or(bytes).trim_ascii_start();
        match bytes.first()? {
            b'{' => return Some(Self::Json),
            b':' => return Some(Self::Events),
            b'[' => return Some(Self::List),
            b'<' | b'"' => return Some(Self::Other),
            _ if is_event_stream => return Some(Self::Events),
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
        Some(Self::Other)
    }
}

/// Whether a content type is `wanted`, ignoring parameters.
pub fn is_type(content_type: &[u8], wanted: &str) -> bool {
    content_type.get(..wanted.len()).is_some_and(|start| start.eq_ignore_ascii_case(wanted.as_bytes()))
}

/// Whether a content type is that of a stream of events.
pub fn is_event_stream(content_type: Option<&[u8]>) -> bool {
    content_type.is_some_and(|text| is_type(text, "text/event-stream"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_recognized_by_its_first_bytes() {
        for (bytes, expected) in [
            ("{\"id\":1}", Some(BodyForm::Json)),
            ("\u{feff} \r\n{", Some(BodyForm::Json)),
            ("data: {}\n\n", Some(BodyForm::Events)),
            ("\n\n: hi\n", Some(BodyForm::Events)),
            ("event: message_start\n", Some(BodyForm::Events)),
            ("id\n", Some(BodyForm::Events)),
            ("retry:1\n", Some(BodyForm::Events)),
            ("", None),
            (" \n", None),
            ("dat", None),
            ("data", None),
            ("dates", Some(BodyForm::Other)),
            ("<html>", Some(BodyForm::Other)),
            ("[1]", Some(BodyForm::List)),
            ("identity", Some(BodyForm::Other)),
            ("foo: bar\n", Some(BodyForm::Other)),
        ] {
            assert_eq!(BodyForm::with(bytes.as_bytes(), false), expected, "{bytes:?}");
        }
        for whole in ["\u{feff}data: {}", "\u{feff}{}"] {
            assert_eq!([1, 2, 3].map(|cut| BodyForm::with(&whole.as_bytes()[..cut], false)), [None; 3], "{whole:?}");
        }
        assert_eq!(BodyForm::with(b"\xEF{", false), Some(BodyForm::Other));
    }

    #[test]
    fn the_content_type_decides_if_the_bytes_do_not() {
        for (bytes, expected) in [
            ("foo: bar\n", Some(BodyForm::Events)),
            ("identity", Some(BodyForm::Events)),
            ("{\"id\":1}", Some(BodyForm::Json)),
            ("<html>", Some(BodyForm::Other)),
            ("[1]", Some(BodyForm::List)),
            ("", None),
            (" \n", None),
        ] {
            assert_eq!(BodyForm::with(bytes.as_bytes(), true), expected, "{bytes:?}");
        }
    }
}
