//! The start of a gateway: the data directory, the state that is computed from it, and the demo.

pub(super) mod boot;
pub mod demo;
pub mod inspect;
pub(super) mod installation;
