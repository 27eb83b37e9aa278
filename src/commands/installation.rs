//! The files that an installation adds to the binary, made from the description of the command line: shell completions
//! and man pages.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

pub use clap_complete::Shell;

use super::failed::{Failed, failed, failed_at};

/// Prints the completion script of `command` for `shell`.
pub fn completions(mut command: clap::Command, shell: Shell) -> Result<(), Failed> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "tollgate", &mut script);
    io::stdout().write_all(&script).map_err(failed)
}

/// Writes the man page of `command` and one for each subcommand to `directory`.
pub fn man_pages(command: clap::Command, directory: &Path) -> Result<(), Failed> {
    fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(command, directory))
        .map_err(failed_at(directory))
}
