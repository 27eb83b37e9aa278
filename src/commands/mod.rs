//! The shell commands other than `serve`, a file for each.
//!
//! * `backup`, `restore`, `verify` and `export` read or write a data directory.
//! * `apply` and `dump` are clients of the admin API (`client`). They compare a file with the gateway (`declared`) with
//!   the API's own types. `document` and `yaml` read and write such files.
//! * `import` makes such a file from another gateway's configuration.
//! * `check` and `health` look at this configuration's data directory and listener (`address`).
//! * `completions` and `man` write files for an installation.
//!
//! Results go to standard output. If standard error is a terminal, a progress bar appears there after one second.

mod address;
mod apply;
mod backup;
mod check;
mod client;
mod declared;
mod document;
mod dump;
mod export;
mod failed;
mod health;
mod import;
mod input;
mod installation;
mod output;
mod restore;
mod verify;
mod yaml;

pub use self::{
    address::admin_url,
    apply::{Apply, apply},
    backup::backup,
    check::check,
    dump::dump,
    export::{Format, export},
    failed::Failed,
    health::health,
    import::litellm,
    installation::{Shell, completions, man_pages},
    restore::restore,
    verify::verify,
};
