//! Invalid config files and variables.

use super::{Config, FIELDS, parse, set, variable};

/// Takes the text of a file; its first line is also used as the value of each variable. Each is accepted, or the error
/// names the field.
pub(crate) fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(table) = text.parse::<toml::Table>() {
        match parse(table.clone()) {
            Ok(config) => assert!(config.max_body > 0 && config.workers <= 1024),
            Err((field, why)) => {
                let named = field.split(['.', '[']).next().unwrap_or_default();
                assert!(table.contains_key(named) && !why.is_empty(), "the error names no field: {field}: {why}");
            }
        }
    }
    let text = text.lines().next().unwrap_or_default();
    for field in FIELDS {
        let mut table = toml::Table::new();
        set(&mut table, field, text.to_owned());
        let outcome = Config::load(None, |name| (name == variable(field)).then(|| text.to_owned()), &[]);
        match (parse(table), outcome) {
            (Err((named, _)), Err(error)) => {
                assert!(named.starts_with(field) && error.to_string().contains(&variable(field)), "{named}: {error}");
            }
            // Two valid fields can contradict each other.
            (Ok(_), Err(error)) => assert!(error.to_string().contains(": must "), "{error}"),
            (parsed, loaded) => assert!(parsed.is_ok() && loaded.is_ok(), "{field}"),
        }
    }
}
