//! Reads a JSON document from its beginning to its end.

use std::ops::Range;

use super::{
    document::{DocumentReader, Member},
    event_type::is_typed,
    facts::DocumentFacts,
};
use crate::upstream::json::{Invalid, Kind, Reader};

/// A common prefix that is longer than this, in bytes, is not remembered.
const MAX_PREFIX: usize = 1024;

/// The prefix that the frames of a stream have in common, up to and including the model's name. It is read only once.
#[derive(Debug, Default)]
pub(super) struct CommonPrefix {
    bytes: Vec<u8>,
    /// The place of the model's name, if it must be rewritten.
    model: Option<Range<usize>>,
}

impl DocumentReader<'_> {
    /// Reads strict JSON to its end. After an `Err`, `facts` holds the facts before the fault.
    pub(super) fn read(&mut self, document: &[u8]) -> Result<(), Invalid> {
        let mut reader = Reader::new(document)?;
        self.outermost(&mut reader)?;
        reader.end()
    }

    /// Reads a frame's document like [`Self::read`], but skips the prefix if the frame begins with it. Otherwise learns
    /// the prefix from this frame.
    pub(super) fn read_after(&mut self, prefix: &mut CommonPrefix, document: &[u8]) -> Result<(), Invalid> {
        if is_typed(self.route) {
            return self.read(document);
        }
        if prefix.bytes.is_empty() || !document.starts_with(&prefix.bytes) {
            return self.learn(prefix, document);
        }
        self.models.extend(prefix.model.clone());
        let mut reader = Reader::resume(document, prefix.bytes.len())?;
        reader.more_members(|reader, key| self.member(reader, key).map(drop))?;
        reader.end()
    }

    /// Reads a document that is not strict JSON once more, with [`Reader::lenient`].
    pub(super) fn read_leniently(&mut self, document: &[u8]) -> Result<(), Invalid> {
        self.models.clear();
        self.facts = DocumentFacts::default();
        let mut reader = Reader::lenient(document);
        self.outermost(&mut reader)?;
        reader.end()
    }

    fn learn(&mut self, prefix: &mut CommonPrefix, document: &[u8]) -> Result<(), Invalid> {
        let mut reader = Reader::new(document)?;
        if reader.kind()? != Kind::Object {
            self.outermost(&mut reader)?;
            return reader.end();
        }
        // Whether every member so far can be skipped in the next frame.
        let mut is_skippable = true;
        reader.members(|reader, key| {
            let kind = self.member(reader, key)?;
            if kind == Member::Model && is_skippable && reader.pos() <= MAX_PREFIX {
                prefix.bytes.clear();
                prefix.bytes.extend_from_slice(&document[..reader.pos()]);
                prefix.model = self.models.first().cloned();
            }
            is_skippable &= kind == Member::Unknown;
            Ok::<(), Invalid>(())
        })?;
        reader.end()
    }

    fn outermost(&mut self, reader: &mut Reader<'_>) -> Result<(), Invalid> {
        match reader.kind()? {
            Kind::Array => self.list(reader),
            _ if is_typed(self.route) => self.typed(reader),
            _ => reader.members(|reader, key| self.member(reader, key).map(drop)),
        }
    }
}
