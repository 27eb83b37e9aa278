//! The two HTTP listeners: `inference` for customers and `admin` for operators. Each has its own routes and errors. No
//! route of one is available on the other, except `/healthz` and `/readyz`, which both have.
//!
//! Both use the other modules: `connection` (strict framing, timeouts, the number of connections), `credential` (the
//! key in a request's headers), `body` (reading a body with bounded memory) and `limit_names`.

pub mod admin;
mod body;
pub(crate) mod connection;
pub(crate) mod credential;
pub mod inference;
mod limit_names;

pub use connection::Serving;
