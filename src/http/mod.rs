//! The HTTP listeners: routes, credentials, bodies and errors. The listeners share the code that reads requests from
//! connections, but no route of one is available on the other.

pub mod admin;
mod body;
pub(crate) mod connection;
pub(crate) mod credential;
pub mod inference;
mod limit_names;

pub use connection::Serving;
