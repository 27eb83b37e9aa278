//! The parts that the routes of the admin API are made of: who may call a route, its input, its response and its
//! description, and the middleware around all routes.

pub(super) mod body;
pub(super) mod columns;
pub(super) mod describe;
pub(super) mod envelope;
pub(super) mod field;
pub(super) mod format;
pub(super) mod gzip;
pub(super) mod number;
pub(super) mod operator;
pub(super) mod origin;
pub(crate) mod page;
pub(super) mod path;
pub(super) mod query;
pub(super) mod received;
pub(super) mod route;
pub(super) mod spec;
