//! The files that commands read.

use std::{io::Read, path::Path};

use super::failed::{Failed, failed_at};

/// The text of a file, or of standard input if the path is `-`.
pub(super) fn read_text(file: &Path) -> Result<String, Failed> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map_err(failed_at(Path::new("standard input")))?;
        return Ok(text);
    }
    std::fs::read_to_string(file).map_err(failed_at(file))
}
