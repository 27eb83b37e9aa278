//! The vocabulary of an answer: the names of the members that are read. The reader of documents and the lexer of large
//! answers share it, so that both measure the same:
//!
//! ```text
//! model, usage, response.model, message.model, choices[], data[], content[], output[]
//!   choices[]   text, finish_reason, usage, delta, message
//!   message     content, refusal, reasoning (six names), audio.transcript, function_call, tool_calls[].function
//!   function    name, arguments, input
//!   parts       text, thinking, at any depth of a content or reasoning that is not a string; in reasoning also content
//!               and summary
//! ```

/// The names under which servers send reasoning. Some servers send the same text under several of them.
const REASONING: [&[u8]; REASONING_NAMES] =
    [b"reasoning_content", b"reasoning", b"reasoning_text", b"reasoning_details", b"thinking", b"thinking_blocks"];

/// The number of names for reasoning.
pub(super) const REASONING_NAMES: usize = 6;

/// The name of a member.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Key {
    Model,
    Usage,
    Choices,
    Response,
    /// The message of a choice, or of an answer that holds one message.
    Message,
    Delta,
    FinishReason,
    /// `content` or `refusal`
    Content,
    Text,
    /// A name of reasoning, by its index in `REASONING`. `thinking` is also the name of a part's text.
    Reasoning(usize),
    Summary,
    Audio,
    Transcript,
    FunctionCall,
    ToolCalls,
    /// `function` or `custom`
    Function,
    Name,
    /// `arguments` or `input`
    Arguments,
    /// The output items of a response.
    Output,
    /// The pictures of an answer, or its vectors.
    Data,
    #[default]
    Other,
}

impl Key {
    /// Returns the key with this name. Escapes in the name must be resolved.
    pub(super) fn named(name: &[u8]) -> Self {
        match name {
            b"model" => Self::Model,
            b"usage" => Self::Usage,
            b"choices" => Self::Choices,
            b"response" => Self::Response,
            b"message" => Self::Message,
            b"delta" => Self::Delta,
            b"finish_reason" => Self::FinishReason,
            b"content" | b"refusal" => Self::Content,
            b"text" => Self::Text,
            b"summary" => Self::Summary,
            b"audio" => Self::Audio,
            b"transcript" => Self::Transcript,
            b"function_call" => Self::FunctionCall,
            b"tool_calls" => Self::ToolCalls,
            b"function" | b"custom" => Self::Function,
            b"name" => Self::Name,
            b"arguments" | b"input" => Self::Arguments,
            b"output" => Self::Output,
            b"data" => Self::Data,
            _ => REASONING.iter().position(|known| *known == name).map_or(Self::Other, Self::Reasoning),
        }
    }

    /// Whether this is the name of the text in a part of a content or of reasoning.
    pub(super) fn is_part(self) -> bool {
        const THINKING: Key = Key::Reasoning(4);
        matches!(self, Self::Text | THINKING)
    }

    /// Whether this is the name of the text in a part of an output item.
    pub(super) fn is_part_of_item(self) -> bool {
        self.is_part() || self == Self::Content
    }

    /// Whether this is the name of the text in a part of reasoning.
    pub(super) fn is_part_of_reasoning(self) -> bool {
        // In the parts of a content, `content` holds the result of a tool, which the model did not generate.
        self.is_part() || self == Self::Content
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_part_is_text_or_thinking() {
        let names = [&b"text"[..], b"summary", b"data", b""].into_iter().chain(REASONING);
        let parts: Vec<_> = names.filter(|name| Key::named(name).is_part()).collect();
        assert_eq!(parts, [&b"text"[..], b"thinking"]);
    }
}
