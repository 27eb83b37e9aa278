//! Tollgate: an OpenAI-compatible gateway with keys, limits that hold and bills that are right.
//!
//! Arrows point down only: `main → app → http → service → { store, journal, upstream, crypto } → domain`. What each
//! promises stands at the head of its module.

pub mod app;
pub mod commands;
pub mod config;
#[cfg(test)]
mod crash;
pub mod crypto;
pub mod domain;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod http;
pub mod journal;
mod logging;
pub mod process_limits;
pub mod service;
pub mod store;
pub mod upstream;
