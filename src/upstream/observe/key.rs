//! The members of an answer that are read, by name: one vocabulary for the readers of small and of large answers.
//!
//! A document is metered alike by both:
//!
//! ```text
//! model, usage, response.model, message.model, choices[]
//!   choices[]   text, finish_reason, usage, delta, message
//!   message     content, refusal, reasoning (six names), audio.transcript, function_call, tool_calls[].function
//!   function    name, arguments, input
//!   parts       text, thinking, at any depth of a content or reasoning that is not a string; of reasoning also content
//!               and summary
//! ```

/// The names under which servers send reasoning. Some send the same text under several.
const REASONING: [&[u8]; REASONING_NAMES] =
    [b"reasoning_content", b"reasoning", b"reasoning_text", b"reasoning_details", b"thinking", b"thinking_blocks"];

/// The number of names for reasoning.
pub(super) const REASONING_NAMES: usize = 6;

/// A member's name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Key {
    Model,
    Usage,
    Choices,
    Response,
    /// Of a choice, or of an answer that holds one message.
    Message,
    Delta,
    FinishReason,
    /// `content` or `refusal`
    Content,
    Text,
    /// A name for reasoning, by its place among them. The name `thinking` is that of a part's text, too.
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
    #[default]
    Other,
}

impl Key {
    /// The key with this name, escapes resolved.
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
            _ => REASONING.iter().position(|known| *known == name).map_or(Self::Other, Self::Reasoning),
        }
    }

    /// Whether a part of a content or of reasoning has its text under this name.
    pub(super) fn is_part(self) -> bool {
        const THINKING: Key = Key::Reasoning(4);
        matches!(self, Self::Text | THINKING)
    }

    /// Whether a part of reasoning has its text under this name.
    pub(super) fn is_part_of_reasoning(self) -> bool {
        // In a content, a member named `content` holds the result of a tool, which is not generated.
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
