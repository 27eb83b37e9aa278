//! `tollgate check`: says what would stop a start. Starts nothing and changes nothing.

use std::process::ExitCode;

use super::{failed::Failed, output::say};
use crate::{config::Config, crypto::secret::Secret, service::start::inspect::inspect};

/// Checks a configuration and its data directory. `admin_key` is the value of `TOLLGATE_ADMIN_KEY`. Returns failure if
/// there are problems.
pub fn check(config: &Config, admin_key: Option<&Secret>) -> Result<ExitCode, Failed> {
    let inspected = inspect(config, admin_key);
    for seen in &inspected.seen {
        say(&format!("ok: {seen}"))?;
    }
    for problem in &inspected.problems {
        say(&format!("FOUND: {problem}"))?;
    }
    match inspected.problems.len() {
        0 => say("No problems found.")?,
        1 => say("1 problem found.")?,
        count => say(&format!("{count} problems found."))?,
    }
    Ok(if inspected.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
