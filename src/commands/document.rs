//! A YAML or JSON document as a tree of values with their lines, so that an error can say where it is.
//!
//! JSON is read as YAML, which includes it. Plain scalars have the types of the core schema of YAML 1.2 (only decimal
//! numbers). Repeated keys, tags and further documents are refused. A document has at most [`MAX_DEPTH`] levels, those
//! behind aliases included. Anchors and aliases copy at most [`MAX_COPIED`], so a small file cannot become a large tree.

use std::{collections::HashMap, fmt};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};
use serde_json::{Map, Number, Value};

/// The most levels of a document.
const MAX_DEPTH: usize = 64;

/// The most that all anchors and aliases of a document copy.
const MAX_COPIED: Size = Size { height: MAX_DEPTH, values: 2_000_000, bytes: 64 << 20 };

/// The extent of a value.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    /// The levels below the value.
    height: usize,
    /// The values, itself included.
    values: usize,
    /// The bytes of its texts and keys.
    bytes: usize,
}

/// A value and its line.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// The line, from 1.
    pub(super) line: usize,
    /// The value.
    pub(super) content: Content,
}

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) line: usize,
}

/// An error in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The line, from 1.
    pub(super) line: usize,
    /// A sentence without a full stop. It begins with the path of the field, if there is one.
    pub(super) message: String,
}

impl Wrong {
    pub(super) fn new(line: usize, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl Node {
    /// Reads a document.
    pub(super) fn read(text: &str) -> Result<Self, Wrong> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader =
            Reader { parser: Parser::new_from_str(text), anchors: HashMap::new(), copied: Size::default(), line: 1 };
        reader.document()
    }

    /// The value of a key of a map.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        self.entry(name).map(|(_, value)| value)
    }

    fn entry(&self, name: &str) -> Option<&(Key, Self)> {
        match &self.content {
            Content::Map(entries) => entries.iter().find(|(key, _)| key.name == name),
            _ => None,
        }
    }

    /// The entries of a map; none for other values.
    pub(super) fn entries(&self) -> &[(Key, Self)] {
        match &self.content {
            Content::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none for other values.
    pub(super) fn items(&self) -> &[Self] {
        match &self.content {
            Content::List(items) => items,
            _ => &[],
        }
    }

    /// A text.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is null.
    pub(super) fn is_null(&self) -> bool {
        matches!(self.content, Content::Null)
    }

    /// The value as JSON, without lines.
    pub(super) fn to_json(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(value) => Value::Bool(*value),
            Content::Number(number) => Value::Number(number.clone()),
            Content::Text(text) => Value::String(text.clone()),
            Content::List(items) => items.iter().map(Self::to_json).collect(),
            Content::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| (key.name.clone(), value.to_json()));
                Value::Object(entries.collect::<Map<_, _>>())
            }
        }
    }

    /// The line of the field that a message of the admin API is about. Messages begin with a path such as
    /// `models[0].slug: `, which may end above an unknown field that the message names.
    pub(super) fn line_of(&self, message: &str) -> usize {
        let (path, why) = message.split_once(": ").unwrap_or(("", message));
        let (path, why) = if path.contains([' ', '`']) { ("", message) } else { (path, why) };
        let mut node = self;
        let mut line = self.line;
        let path = path.replace('[', ".[");
        for part in path.split('.').filter(|part| !part.is_empty()) {
            let index = part.strip_prefix('[').and_then(|part| part.strip_suffix(']')).map(str::parse::<usize>);
            let next = match index {
                Some(index) => index.ok().and_then(|index| node.items().get(index)).map(|node| (node.line, node)),
                None => node.entry(part).map(|(key, node)| (key.line, node)),
            };
            let Some((at, next)) = next else { return line };
            (line, node) = (at, next);
        }
        let unknown = why.split_once("nknown field `").and_then(|(_, rest)| rest.split_once('`'));
        unknown.and_then(|(name, _)| node.entry(name)).map_or(line, |(key, _)| key.line)
    }
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, (Node, Size)>,
    copied: Size,
    line: usize,
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Result<Node, Wrong> {
        let mut root = None;
        loop {
            match self.next()? {
                (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing, _) => {}
                (Event::StreamEnd, _) => break,
                (_, span) if root.is_some() => {
                    return Err(Wrong::new(span.start.line(), "the file must have only one YAML document"));
                }
                (event, span) => root = Some(self.node(event, span, 0)?),
            }
        }
        Ok(root.unwrap_or(Node { line: 1, content: Content::Null }))
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Wrong> {
        let invalid =
            |error: ScanError| Wrong::new(error.marker().line().max(1), format!("not YAML: {}", error.info()));
        let (event, span) =
            self.parser.next_event().unwrap_or(Ok((Event::StreamEnd, Span::default()))).map_err(invalid)?;
        self.line = span.start.line().max(self.line);
        Ok((event, span))
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Wrong> {
        let line = span.start.line();
        let too_deep = || Wrong::new(line, format!("nested more than {MAX_DEPTH} levels deep"));
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        let (anchor, content) = match event {
            Event::Alias(anchor) => {
                let known = self.anchors.get(&anchor);
                let (node, size) = known.ok_or_else(|| Wrong::new(line, "an alias inside of its own anchor"))?;
                if depth + size.height > MAX_DEPTH {
                    return Err(too_deep());
                }
                self.copied = copied(self.copied, *size, line)?;
                // Errors in it are reported where it is written.
                return Ok(node.clone());
            }
            Event::Scalar(_, _, _, Some(_)) | Event::SequenceStart(_, Some(_)) | Event::MappingStart(_, Some(_)) => {
                return Err(Wrong::new(line, "YAML tags are not supported"));
            }
            Event::Scalar(text, style, anchor, None) => (anchor, scalar(&text, style)),
            Event::SequenceStart(anchor, None) => (anchor, Content::List(self.list(depth)?)),
            Event::MappingStart(anchor, None) => (anchor, Content::Map(self.map(depth)?)),
            _ => return Err(Wrong::new(line, "not YAML")),
        };
        let node = Node { line, content };
        if anchor > 0 {
            let size = size(&node);
            self.copied = copied(self.copied, size, line)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Wrong> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Vec<(Key, Node)>, Wrong> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut lines: HashMap<String, usize> = HashMap::new();
        loop {
            let (name, span) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(entries),
                (Event::Scalar(name, _, _, None), span) => (name.into_owned(), span),
                (_, span) => return Err(Wrong::new(span.start.line(), "a key must be a text")),
            };
            let line = span.start.line();
            if let Some(first) = lines.insert(name.clone(), line) {
                return Err(Wrong::new(line, format!("the field `{name}` is repeated; it is first on line {first}")));
            }
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            entries.push((Key { name, line }, value));
        }
    }
}

/// Adds a copy to the earlier ones. Refuses more than [`MAX_COPIED`].
fn copied(earlier: Size, more: Size, line: usize) -> Result<Size, Wrong> {
    let (values, bytes) = (earlier.values.saturating_add(more.values), earlier.bytes.saturating_add(more.bytes));
    if values > MAX_COPIED.values || bytes > MAX_COPIED.bytes {
        let Size { values, bytes, .. } = MAX_COPIED;
        return Err(Wrong::new(line, format!("anchors and aliases copy more than {values} values or {bytes} bytes")));
    }
    Ok(Size { values, bytes, ..earlier })
}

fn size(node: &Node) -> Size {
    let keys = node.entries().iter().map(|(key, _)| key.name.len()).sum::<usize>();
    let own = Size { height: 0, values: 1, bytes: keys + node.text().map_or(0, str::len) };
    let inside = node.items().iter().chain(node.entries().iter().map(|(_, value)| value));
    inside.map(size).fold(own, |all, one| Size {
        height: all.height.max(one.height + 1),
        values: all.values.saturating_add(one.values),
        bytes: all.bytes.saturating_add(one.bytes),
    })
}

fn scalar(text: &str, style: ScalarStyle) -> Content {
    if style != ScalarStyle::Plain {
        return Content::Text(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Content::Null,
        "true" | "True" | "TRUE" => Content::Bool(true),
        "false" | "False" | "FALSE" => Content::Bool(false),
        _ => number(text).map_or_else(|| Content::Text(text.to_owned()), Content::Number),
    }
}

/// A decimal number; `None` for other texts.
fn number(text: &str) -> Option<Number> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.contains(|c: char| c.is_ascii_digit())
        && digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'-' | b'+'));
    if !is_number {
        return None;
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    let whole = text.parse::<u64>().map(Number::from).or_else(|_| text.parse::<i64>().map(Number::from));
    whole.ok().or_else(|| text.parse::<f64>().ok().and_then(Number::from_f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn json_of(text: &str) -> Value {
        Node::read(text).unwrap().to_json()
    }

    fn wrong(text: &str) -> String {
        Node::read(text).unwrap_err().to_string()
    }

    #[test]
    fn yaml_and_json_are_read_alike() {
        let expected = json!({ "a": [1, "1", null, true, "no"], "b": { "c": "d e", "f": -1.5, "g": "2026-11-01" } });
        assert_eq!(json_of("a: [1, \"1\", null, true, no]\nb:\n  c: d e\n  f: -1.5\n  g: 2026-11-01\n"), expected);
        assert_eq!(json_of(&expected.to_string()), expected);
        let pretty = serde_json::to_string_pretty(&expected).unwrap();
        assert_eq!(json_of(&pretty.replace("  ", "\t")), expected);
        assert_eq!(json_of("\u{feff}"), Value::Null);
        assert_eq!(json_of("a: &x {b: 1}\nc: *x\n"), json!({ "a": { "b": 1 }, "c": { "b": 1 } }));
        assert_eq!(json_of("a: |\n  one\n  two\n"), json!({ "a": "one\ntwo\n" }));
    }

    #[test]
    fn an_error_has_the_line_of_the_value() {
        for (text, message) in [
            ("a: 1\nb: 2\na: 3\n", "line 3: the field `a` is repeated; it is first on line 1"),
            ("a: 1\n---\nb: 2\n", "line 3: the file must have only one YAML document"),
            ("a:\n  - !include x\n", "line 2: YAML tags are not supported"),
            ("a: 1\n[x]: 2\n", "line 2: a key must be a text"),
        ] {
            assert_eq!(wrong(text), message);
        }
        assert!(wrong("a: [1\nb: 2\n").contains("not YAML"));
        assert!(wrong(&format!("{}{}", "[".repeat(200), "]".repeat(200))).contains("levels deep"));
        let mut laughs = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n".to_owned();
        for (of, name) in ["a", "b", "c", "d", "e", "f", "g", "h"].iter().zip(["b", "c", "d", "e", "f", "g", "h", "i"])
        {
            laughs += &format!("{name}: &{name} [{}]\n", vec![format!("*{of}"); 10].join(", "));
        }
        assert!(wrong(&laughs).contains("more than"));
    }

    #[test]
    fn aliases_cannot_make_a_small_file_deep_or_large() {
        let (open, close) = ("[".repeat(55), "]".repeat(55));
        let mut deep = "a0: &a0 1\n".to_owned();
        for level in 1..500 {
            deep += &format!("a{level}: &a{level} {open}*a{}{close}\n", level - 1);
        }
        assert_eq!(wrong(&deep), "line 3: nested more than 64 levels deep");

        let large = |aliases: usize| {
            let text = "x".repeat(200_000);
            format!("a: &a {text}\nb: [{}]\n", vec!["*a"; aliases].join(", "))
        };
        assert_eq!(
            wrong(&large(50_000)),
            "line 2: anchors and aliases copy more than 2000000 values or 67108864 bytes"
        );
        assert!(Node::read(&large(100)).is_ok());

        let groups = "- {models: *models, metadata: {external_entity_id: x}}\n".repeat(10_000);
        let shared = format!(
            "models: &models [{{slug: a/b, rate_limits: [{{type: TOKEN, unit: DAY, threshold: 1}}]}}]\n\
                              groups:\n{groups}"
        );
        assert_eq!(Node::read(&shared).unwrap().get("groups").unwrap().items().len(), 10_000);
    }

    #[test]
    fn the_line_of_a_message_is_that_of_its_field() {
        let node = Node::read("slug: a/b\ntargets:\n  - provider: DEMO\n    weight: 0\n    color: red\n").unwrap();
        for (message, line) in [
            ("targets[0].weight: must be a whole number from 1 to 100", 4),
            ("targets[0]: unknown field `color`, expected `provider`", 5),
            ("targets[0]: missing field `provider`", 3),
            ("targets[7].weight: must be", 2),
            ("Unknown field `slug`, expected `x`", 1),
            ("Missing field `routing`", 1),
            ("slug: must be \"org/name\": a text", 1),
        ] {
            assert_eq!(node.line_of(message), line, "{message}");
        }
    }
}
