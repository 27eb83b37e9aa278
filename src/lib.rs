//! Tollgate: an OpenAI-compatible gateway with keys, limits that hold and bills that are right.
//!
//! Dependencies point in one direction: `main → app → http → service → { store, journal, upstream, crypto } → domain`.
//! Within the braces, the store reads the journal, and the upstream client uses the secrets of `crypto`. `decode` knows
//! no other module; `http` and `upstream` use it. Each module's documentation states its guarantees.

pub mod app;
pub mod commands;
pub mod config;
#[cfg(test)]
mod crash;
pub mod crypto;
mod decode;
pub mod domain;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod http;
pub mod journal;
mod logging;
pub mod panics;
pub mod process_limits;
pub mod service;
pub mod store;
pub mod upstream;
