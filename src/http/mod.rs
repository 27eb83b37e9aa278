//! HTTP: routes, credentials, bodies and errors. The two listeners share nothing but the process.

pub mod admin;
mod error;
pub mod inference;
mod limit_words;
