//! `tollgate backup`.

use std::{
    fs::{self, File, OpenOptions},
    io::BufWriter,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::{
    failed::{Failed, failed, failed_at},
    output::{Progress, say},
};
use crate::service::backup::Backup;

/// Writes a backup of `data_dir` to `file`.
pub fn backup(data_dir: &Path, file: &Path) -> Result<(), Failed> {
    if file.exists() {
        return Err(Failed(format!("{} already exists", file.display())));
    }
    let backup = Backup::open(data_dir).map_err(failed)?;
    let (bytes, last_record) = (backup.bytes(), backup.last_record);
    let progress = Progress::new(bytes);
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = Path::new(&unfinished);
    if unfinished.exists() {
        return Err(Failed(format!("{} already exists", unfinished.display())));
    }
    let write = || {
        let out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(unfinished)?;
        backup.write(BufWriter::with_capacity(256 << 10, &out), |bytes| progress.add(bytes))?;
        out.sync_all()?;
        fs::rename(unfinished, file)?;
        File::open(file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?.sync_all()
    };
    if let Err(error) = write() {
        let _ = fs::remove_file(unfinished);
        return Err(failed_at(file)(error));
    }
    progress.end();
    say(&format!("{}: everything up to record {last_record}, {bytes} bytes.", file.display()))
}
