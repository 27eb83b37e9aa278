//! `tollgate restore`.

use std::path::Path;

use super::{
    failed::{Failed, failed, failed_at},
    output::{Progress, say},
};
use crate::service::backup;

/// Creates `data_dir` from the backup `file`.
pub fn restore(file: &Path, data_dir: &Path) -> Result<(), Failed> {
    let bytes = file.metadata().map_err(failed_at(file))?.len();
    let progress = Progress::new(bytes * 2);
    let restored = backup::restore(file, data_dir, |bytes| progress.add(bytes)).map_err(failed)?;
    progress.end();
    let backup::Restored { created_at, last_record, groups, api_keys, webhooks } = restored;
    let mut sentences = vec![
        format!("{}: restored the state of {created_at}, up to record {last_record}.", data_dir.display()),
        format!("Groups: {groups}. Customer keys: {api_keys}. Operators sign in with the operator keys of that time."),
    ];
    if webhooks > 0 {
        sentences.push(format!("Webhooks that resume delivery when the gateway starts: {webhooks}."));
    }
    say(&sentences.join(" "))
}
