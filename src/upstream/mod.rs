//! Calls model servers, rewrites requests and answers, and reads the usage that answers report.
//!
//! Bytes are forwarded as they arrive, and usage is read from them in passing. Bytes that need no change are not
//! changed.

pub mod address;
mod body_error;
pub mod body_form;
pub mod client;
pub mod declined;
pub mod health;
pub mod json;
pub mod observe;
pub mod provider;
pub mod refusal;
pub mod request;
mod response;
pub mod splice;
pub mod sse;
pub mod target;
pub mod usage;

pub use self::{
    body_error::BodyError,
    response::{Body, Response},
};
