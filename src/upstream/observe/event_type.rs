//! The types of stream events, on routes whose events name their type.

use crate::domain::route::Route;

/// Whether the stream events of a route name their type.
pub(super) fn is_typed(route: Route) -> bool {
    match route {
        Route::Responses
        | Route::Messages
        | Route::Images
        | Route::Speech
        | Route::Transcriptions
        | Route::Translations => true,
        Route::ChatCompletions
        | Route::Completions
        | Route::Embeddings
        | Route::CountTokens
        | Route::Rerank
        | Route::Moderations => false,
    }
}

/// The type of a stream event, as far as it matters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum EventType {
    #[default]
    Other,
    Error,
    /// The last event of a stream.
    Terminal,
    /// The last event of a stream that the upstream could not finish.
    Failed,
    /// An output item is complete and repeats its text.
    ItemDone,
    /// A piece of sound or an unfinished picture, as base64.
    Media,
    /// A complete picture.
    Image,
}

impl EventType {
    /// The type with this name.
    pub(super) fn named(name: &[u8]) -> Self {
        match name {
            b"error" => Self::Error,
            b"response.completed"
            | b"response.incomplete"
            | b"response.cancelled"
            | b"message_stop"
            | b"speech.audio.done"
            | b"transcript.text.done" => Self::Terminal,
            b"response.failed" => Self::Failed,
            b"response.output_item.done" => Self::ItemDone,
            b"response.audio.delta" | b"speech.audio.delta" | b"image_generation.partial_image" => Self::Media,
            b"image_generation.completed" => Self::Image,
            _ => Self::Other,
        }
    }
}
