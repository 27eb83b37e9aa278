//! The words of answers and the counting of those in prompts.

use serde_json::Value;

/// Most words of an answer, whatever maximum the request declares.
const MAX_WORDS: usize = 400;

const SENTENCE: [&str; 12] =
    ["every", "token", "passes", "the", "gate", "once", "is", "counted", "once", "and", "billed", "once"];

/// The text of an answer: the first words of a sentence that repeats.
#[derive(Clone, Copy)]
pub(super) struct Text {
    words: usize,
}

impl Text {
    /// A text with the number of words that the request declares as its maximum, or the sentence if it declares none.
    pub(super) fn filling(maximum: Option<usize>) -> Self {
        Self { words: maximum.unwrap_or(SENTENCE.len()).min(MAX_WORDS) }
    }

    /// The sentence, cut after `maximum` words.
    pub(super) fn within(maximum: Option<usize>) -> Self {
        Self::filling(maximum.map(|words| words.min(SENTENCE.len())))
    }

    /// The number of words.
    pub(super) fn len(self) -> usize {
        self.words
    }

    /// Whether the maximum ended the text, rather than the sentence.
    pub(super) fn is_cut(self) -> bool {
        self.words != SENTENCE.len()
    }

    /// The words, each with the space before it.
    pub(super) fn words(self) -> impl Iterator<Item = String> {
        (0..self.words).map(|at| {
            let space = if at == 0 { "" } else { " " };
            format!("{space}{}", SENTENCE[at % SENTENCE.len()])
        })
    }

    /// All words.
    pub(super) fn whole(self) -> String {
        self.words().collect()
    }
}

/// The tokens of a prompt that consists of `parts`: one for each word or token id, and at least one.
pub(super) fn tokens<const N: usize>(parts: [&Value; N]) -> usize {
    parts.into_iter().map(words_in).sum::<usize>().max(1)
}

fn words_in(value: &Value) -> usize {
    match value {
        Value::String(text) => text.split_whitespace().count(),
        Value::Array(items) => items.iter().map(words_in).sum(),
        Value::Object(fields) => {
            ["content", "text", "output"].iter().find_map(|name| fields.get(*name)).map_or(0, words_in)
        }
        Value::Number(_) => 1,
        _ => 0,
    }
}

/// The value of a member that is a count.
pub(super) fn count(request: &Value, name: &str) -> Option<usize> {
    request[name].as_u64().and_then(|number| usize::try_from(number).ok())
}
