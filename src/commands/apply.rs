//! `tollgate apply`: makes the gateway's resources equal to those of a file.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{
    client::Client,
    declared::{Declared, Live, Options, Plan, perform, plan},
    document::Wrong,
    failed::{Failed, failed_at},
    input::read_text,
    output::{Progress, say},
};
use crate::crypto::secret::Secret;

/// The exit code of `--dry-run` if there is something to do.
const SOMETHING_TO_DO: u8 = 2;

/// How a file is applied.
pub struct Apply {
    /// The file; `-` is standard input.
    pub file: PathBuf,
    /// Whether only the plan is printed.
    pub dry_run: bool,
    /// Whether everything that the file does not name is deleted.
    pub prune: bool,
    /// Whether the values of existing secrets are written too.
    pub update_secrets: bool,
    /// A new file for the signing secrets of new webhooks.
    pub webhook_secrets: Option<PathBuf>,
}

/// Applies a file. `gateway` is the URL of the admin listener, `key` the operator key.
pub fn apply(apply: &Apply, gateway: &str, key: Option<Secret>) -> Result<ExitCode, Failed> {
    let in_file = |wrong: Wrong| Failed(format!("{}, {wrong}", apply.file.display()));
    let declared = Declared::read(&read_text(&apply.file)?).map_err(in_file)?;
    let client = Client::new(gateway, key)?;
    let live = Live::read(&client)?;
    let options = Options {
        prune: apply.prune,
        update_secrets: apply.update_secrets,
        environment: &|variable| std::env::var(variable).ok(),
    };
    let plan = plan(&declared, &live, &options).map_err(in_file)?;
    let counts @ [created, changed, deleted] = plan.counts();
    if counts == [0; 3] {
        say("Nothing to do.")?;
        return Ok(ExitCode::SUCCESS);
    }
    say(&format!("{}\nPlan: {created} to create, {changed} to change, {deleted} to delete.", plan.text()))?;
    if apply.dry_run {
        return Ok(ExitCode::from(SOMETHING_TO_DO));
    }
    perform_all(apply, &plan, &live, &client)?;
    say(&format!("Done: {created} created, {changed} changed, {deleted} deleted."))?;
    Ok(ExitCode::SUCCESS)
}

fn perform_all(apply: &Apply, plan: &Plan, live: &Live, client: &Client) -> Result<(), Failed> {
    let mut secrets = match &apply.webhook_secrets {
        Some(path) if plan.creates_webhook() => Some((path, create_private(path)?)),
        _ => None,
    };
    let mut unknown = Vec::new();
    let progress = Progress::new(plan.requests());
    let outcome = perform(
        plan,
        live,
        client,
        |done| progress.set(done, plan.requests()),
        |url, secret| {
            match &mut secrets {
                Some((path, file)) => {
                    let line = format!("{}\n", serde_json::json!({ "url": url, "secret": secret.expose() }));
                    file.write_all(line.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| {
                        let why = failed_at(path)(error);
                        Failed(format!("{why}. The webhook's signing secret was not saved. Rotate it to get one."))
                    })?;
                }
                None => unknown.push(url.to_owned()),
            }
            Ok(())
        },
    );
    progress.end();
    for url in unknown {
        say(&format!("The signing secret of {url} was not saved. Rotate it to get one, or use --webhook-secrets."))?;
    }
    let Err(stopped) = outcome else { return Ok(()) };
    // The next run creates it again. If it cannot be removed, the error above is still the one to print.
    if let Some((path, file)) = secrets
        && file.metadata().is_ok_and(|file| file.len() == 0)
    {
        let _ = std::fs::remove_file(path);
    }
    let (done, all) = (stopped.done.len(), plan.counts().iter().sum::<usize>());
    say(&format!("Done before the error: {done} of {all}."))?;
    for line in stopped.done {
        say(&line.head())?;
    }
    if !stopped.in_part.is_empty() {
        say("Done in part:")?;
    }
    for line in stopped.in_part {
        say(&line.head())?;
    }
    let place = stopped.at.map(|line| format!(" ({}, line {line})", apply.file.display())).unwrap_or_default();
    Err(Failed(format!("{}{place}: {}", stopped.failed.head(), stopped.why)))
}

/// Creates a file that only its owner can read.
fn create_private(path: &Path) -> Result<File, Failed> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed_at(path))
}
