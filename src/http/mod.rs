//! The HTTP listeners: routes, credentials, bodies and errors. This module has the code that both use; each has its own
//! routes and errors. No route of one is available on the other, and both have `/healthz` and `/readyz`.

pub mod admin;
mod body;
pub(crate) mod connection;
pub(crate) mod credential;
pub mod inference;
mod limit_names;

pub use connection::Serving;
