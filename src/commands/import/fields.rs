//! The fields of a map of a LiteLLM configuration. Each field that is there but is not read gets a note.

use crate::commands::document::{Content, Node};

/// A map whose fields are being read.
pub(super) struct Fields<'a> {
    /// `None` reads like an empty map.
    map: Option<&'a Node>,
    /// The text before the names of fields in notes.
    prefix: &'static str,
    asked: Vec<&'static str>,
    notes: Vec<String>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(map: Option<&'a Node>, prefix: &'static str) -> Self {
        Self { map, prefix, asked: Vec::new(), notes: Vec::new() }
    }

    /// A text that is not empty.
    pub(super) fn text(&mut self, name: &'static str) -> Option<&'a str> {
        self.read(name, "a text that is not empty", |node| node.text().filter(|text| !text.is_empty()))
    }

    /// A number, also one that is written as a text.
    pub(super) fn number(&mut self, name: &'static str) -> Option<f64> {
        self.read(name, "a number", number)
    }

    /// A number above 0.
    pub(super) fn share(&mut self, name: &'static str) -> Option<f64> {
        self.read(name, "a number above 0", |node| number(node).filter(|number| *number > 0.0))
    }

    /// A number from 0 without decimals.
    pub(super) fn whole(&mut self, name: &'static str) -> Option<u64> {
        let is_whole = |number: &f64| (0.0..9e15).contains(number) && number.fract() == 0.0;
        self.read(name, "a whole number", |node| number(node).filter(is_whole).map(|number| number as u64))
    }

    /// A map.
    pub(super) fn map(&mut self, name: &'static str) -> Option<&'a Node> {
        self.read(name, "a map", |node| matches!(node.content, Content::Map(_)).then_some(node))
    }

    /// Adds a note about a field.
    pub(super) fn note(&mut self, name: &str, why: &str) {
        self.notes.push(format!("{}{name}: {why}", self.prefix));
    }

    /// All notes. Fields that were never asked for get `why` as the reason.
    pub(super) fn into_notes(mut self, why: &str) -> Vec<String> {
        let names = self.map.map(Node::entries).unwrap_or_default().iter().map(|(key, _)| key.name.as_str());
        let others = names.filter(|name| !self.asked.contains(name)).map(|name| format!("{}{name}", self.prefix));
        let others: Vec<_> = others.collect();
        if !others.is_empty() {
            self.notes.push(format!("{}: {why}", others.join(", ")));
        }
        self.notes
    }

    fn read<T>(&mut self, name: &'static str, expected: &str, read: impl Fn(&'a Node) -> Option<T>) -> Option<T> {
        self.asked.push(name);
        let node = self.map?.get(name).filter(|node| !node.is_null())?;
        let found = read(node);
        if found.is_none() {
            self.note(name, &format!("must be {expected}"));
        }
        found
    }
}

fn number(node: &Node) -> Option<f64> {
    match &node.content {
        Content::Number(number) => number.as_f64(),
        Content::Text(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
        _ => None,
    }
}
