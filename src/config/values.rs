//! The forms of values: how each is parsed from the text of a flag, of a variable or of the file.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::domain::{
    alert::{InvalidShares, Shares},
    calendar::Calendar,
};

/// A text, or a number written without quotes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Number(u64),
}

fn scalar<'de, D: Deserializer<'de>>(deserializer: D, form: &str) -> Result<String, D::Error> {
    match Scalar::deserialize(deserializer) {
        Ok(Scalar::Text(text)) => Ok(text),
        Ok(Scalar::Number(number)) => Ok(number.to_string()),
        Err(_) => Err(D::Error::custom(format!("must be {form}"))),
    }
}

pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| D::Error::custom("must be an IP address and a port, such as \"127.0.0.1:8080\""))
}

pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    const FORM: &str = "a whole number";
    scalar(deserializer, FORM)?.parse().map_err(|_| D::Error::custom(format!("must be {FORM}")))
}

pub(super) fn boolean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Bool(bool),
        Text(String),
    }
    let text = match Form::deserialize(deserializer) {
        Ok(Form::Bool(value)) => return Ok(value),
        Ok(Form::Text(text)) => text,
        Err(_) => String::new(),
    };
    text.parse().map_err(|_| D::Error::custom("must be true or false"))
}

pub(super) fn workers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match number(deserializer)? {
        workers @ 0..=1024 => Ok(workers as usize),
        _ => Err(D::Error::custom("must be at most 1024")),
    }
}

pub(super) fn groups_shown<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match number(deserializer)? {
        groups @ 0..=1000 => Ok(groups as usize),
        _ => Err(D::Error::custom("must be at most 1000")),
    }
}

/// Parses a size such as `"100MiB"`: a whole number and a unit.
pub(super) fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    const FORM: &str = "a size such as \"100MiB\"";
    const UNITS: [(&str, u64); 5] = [("", 1), ("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let text = scalar(deserializer, FORM)?;
    with_unit(&text, &UNITS).filter(|&bytes| bytes > 0).ok_or_else(|| D::Error::custom(format!("must be {FORM}")))
}

/// The form of a duration, for error messages.
const TIME: &str = "a time such as \"500ms\", \"30s\", \"10m\", \"12h\" or \"400d\"";

/// Parses a duration such as `"30s"`: a whole number and a unit.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    optional_duration(deserializer)?.ok_or_else(|| D::Error::custom(format!("must be {TIME}")))
}

/// Parses a duration. `None` if it is 0.
pub(super) fn optional_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let millis = with_unit(&scalar(deserializer, TIME)?, &UNITS);
    let millis = millis.ok_or_else(|| D::Error::custom(format!("must be {TIME}")))?;
    Ok((millis > 0).then(|| Duration::from_millis(millis)))
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    count.parse::<u64>().ok()?.checked_mul(*factor)
}

pub(super) fn key_brand<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let is_valid = matches!(text.len(), 1..=16) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    is_valid.then_some(text).ok_or_else(|| D::Error::custom("must be 1 to 16 letters, digits or '-'"))
}

pub(super) fn optional_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<url::Url>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    let url = url::Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.map(Some).ok_or_else(|| D::Error::custom("must be an http or https URL, or empty"))
}

pub(super) fn calendar<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Calendar, D::Error> {
    let text = String::deserialize(deserializer)?;
    Calendar::new(&text).map_err(D::Error::custom)
}

/// Parses a list of percents, or one text with commas between them (for the environment).
pub(super) fn shares<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Shares, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum List {
        Text(String),
        Items(Vec<u64>),
    }
    let shares = match List::deserialize(deserializer) {
        Ok(List::Text(text)) => Shares::parse(&text),
        Ok(List::Items(percents)) => Shares::new(percents),
        Err(_) => Err(InvalidShares),
    };
    shares.map_err(D::Error::custom)
}

pub(super) fn log_filter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.parse::<tracing_subscriber::EnvFilter>() {
        Ok(_) => Ok(text),
        Err(error) => Err(D::Error::custom(format!("must be a tracing filter such as \"info\": {error}"))),
    }
}
