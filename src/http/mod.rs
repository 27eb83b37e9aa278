//! HTTP: routes, credentials, bodies and errors. No route of one listener answers on the other; they share the code that
//! reads requests from connections.

pub mod admin;
mod body;
pub(crate) mod connection;
mod error;
pub mod inference;
mod limit_words;

pub use connection::Serving;
