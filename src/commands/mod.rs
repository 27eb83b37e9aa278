//! The shell commands other than `serve`, a file for each.
//!
//! * `backup`, `restore`, `verify` and `export` read or write a data directory.
//! * `completions` and `man` write files for an installation.
//!
//! Results go to standard output. If standard error is a terminal, a progress bar appears there after one second.

mod backup;
mod export;
mod failed;
mod installation;
mod output;
mod restore;
mod verify;

pub use self::{
    backup::backup,
    export::{Format, export},
    failed::Failed,
    installation::{Shell, completions, man_pages},
    restore::restore,
    verify::verify,
};
