//! `tollgate verify`.

use std::{path::Path, process::ExitCode};

use super::{
    failed::Failed,
    output::{Progress, say},
};
use crate::service::backup::verify;

/// Checks `data_dir`, prints the findings and returns failure if there are any.
pub fn verify(data_dir: &Path) -> Result<ExitCode, Failed> {
    let progress = Progress::new(0);
    let verified = verify::verify(data_dir, &|done, total| progress.set(done, total)).map_err(Failed)?;
    progress.end();
    for seen in &verified.seen {
        say(&format!("ok: {seen}"))?;
    }
    for finding in &verified.findings {
        say(&format!("FOUND: {finding}"))?;
    }
    match verified.findings.len() {
        0 => say("No problems found.")?,
        1 => say("1 problem found.")?,
        count => say(&format!("{count} problems found."))?,
    }
    Ok(if verified.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
