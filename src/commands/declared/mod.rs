//! The state that a file declares, the state of the gateway, and the way from one to the other.
//!
//! * Resources are compared in the normal form of the admin API (`http::admin::normal`), so defaults and spellings of
//!   numbers make no difference, and a new field of the API needs no change here.
//! * A plan is complete before its first request: everything that can be checked against the live state has been
//!   checked by then.
//! * The order of the requests keeps every rule of the gateway true in between (`plan`).

mod difference;
mod file;
mod groups;
mod live;
mod perform;
mod plan;
mod resource;

#[cfg(test)]
pub(super) use self::resource::tidy;
pub(super) use self::{
    file::{Declared, is_variable},
    live::Live,
    perform::perform,
    plan::{Options, Plan, plan},
};
