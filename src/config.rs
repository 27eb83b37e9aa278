//! Configuration: a flag beats the environment, which beats the file, which beats the default.
//!
//! Every layer is read into one table of texts, which is then parsed into `Config` by one set of rules. So a value
//! means the same in every layer, and an error names the field and the layer that it came from.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod origins;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Deserializer, de::Error as _};

pub use self::origins::Origins;
use crate::{
    domain::{
        alert::{InvalidShares, Shares},
        calendar::Calendar,
    },
    process_limits,
};

/// The largest default of `max_bodies`, in bytes.
const MAX_BODIES: u64 = 1 << 30;

/// The configuration of the gateway.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address of the inference listener.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// The address of the admin listener.
    #[serde(deserialize_with = "address")]
    pub admin_listen: SocketAddr,
    /// The directory of all durable data.
    pub data_dir: PathBuf,
    /// When a record counts as durable.
    pub durability: Durability,
    /// How many tokens a running request holds.
    pub token_admission: TokenAdmission,
    /// The output tokens that a request holds in `strict` if it declares no maximum.
    #[serde(deserialize_with = "number")]
    pub strict_output: u64,
    /// The maximum size of a request body, in bytes.
    #[serde(deserialize_with = "size")]
    pub max_body: u64,
    /// The maximum total size of all request bodies in memory, in bytes.
    #[serde(deserialize_with = "size")]
    pub max_bodies: u64,
    /// How long running requests may continue after a signal to stop.
    #[serde(deserialize_with = "duration")]
    pub shutdown_grace: Duration,
    /// How long events are kept.
    #[serde(deserialize_with = "duration")]
    pub events_retention: Duration,
    /// The beginning of customers' keys.
    #[serde(deserialize_with = "key_brand")]
    pub key_brand: String,
    /// The inference address that is shown in the UI and in snippets.
    #[serde(deserialize_with = "optional_url")]
    pub public_url: Option<url::Url>,
    /// The URL at which operators reach the UI behind a reverse proxy.
    #[serde(deserialize_with = "optional_url")]
    pub admin_url: Option<url::Url>,
    /// The number of threads of the inference listener; 0 means one per core.
    #[serde(deserialize_with = "workers")]
    pub workers: usize,
    /// The tracing filter of the log.
    #[serde(deserialize_with = "log_filter")]
    pub log: String,
    /// The time after which a stream that has no first byte yet gets a comment, and again each time; `None` if it gets
    /// none.
    #[serde(deserialize_with = "optional_duration")]
    pub stream_keepalive: Option<Duration>,
    /// The origins whose web pages may call the inference listener.
    pub cors_origins: Origins,
    /// The calendar by whose days, weeks and months limits and budgets count.
    #[serde(deserialize_with = "calendar")]
    pub time_zone: Calendar,
    /// Whether customers see what they cost.
    #[serde(deserialize_with = "boolean")]
    pub show_cost: bool,
    /// The shares of usage limits and budgets at which alerts are made.
    #[serde(deserialize_with = "shares")]
    pub alert_at: Shares,
    /// The timeouts of upstream requests.
    pub upstream: UpstreamConfig,
}

/// The timeouts of upstream requests.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamConfig {
    /// The time for name resolution, TCP and TLS together.
    #[serde(deserialize_with = "duration")]
    pub connect_timeout: Duration,
    /// The time from the request to the first byte of the answer.
    #[serde(deserialize_with = "duration")]
    pub first_byte_timeout: Duration,
    /// The time between two pieces of an answer.
    #[serde(deserialize_with = "duration")]
    pub idle_timeout: Duration,
}

/// When a record counts as durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// When it is on the disk: it survives a loss of power.
    Disk,
    /// When the operating system has it: it survives `kill -9`. It is synced each second.
    Process,
}

/// How many tokens a request holds while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenAdmission {
    /// Its prompt and its expected output.
    Adaptive,
    /// Its prompt and the maximum output that it may produce.
    Strict,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            data_dir: PathBuf::from("data"),
            durability: Durability::Disk,
            token_admission: TokenAdmission::Adaptive,
            strict_output: 4096,
            max_body: 100 << 20,
            max_bodies: MAX_BODIES,
            shutdown_grace: Duration::from_secs(30),
            events_retention: Duration::from_secs(400 * 24 * 60 * 60),
            key_brand: "sk".to_owned(),
            public_url: None,
            admin_url: None,
            workers: 0,
            log: "info".to_owned(),
            stream_keepalive: None,
            cors_origins: Origins::None,
            time_zone: Calendar::default(),
            show_cost: true,
            alert_at: Shares::default(),
            upstream: UpstreamConfig::default(),
        }
    }
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            first_byte_timeout: Duration::from_secs(600),
            idle_timeout: Duration::from_secs(600),
        }
    }
}

/// Every field, by its name in the file. In flags and variables, `_` replaces the dot after a section's name.
pub const FIELDS: [&str; 23] = [
    "listen",
    "admin_listen",
    "data_dir",
    "durability",
    "token_admission",
    "strict_output",
    "max_body",
    "max_bodies",
    "shutdown_grace",
    "events_retention",
    "key_brand",
    "public_url",
    "admin_url",
    "workers",
    "log",
    "stream_keepalive",
    "cors_origins",
    "time_zone",
    "show_cost",
    "alert_at",
    "upstream.connect_timeout",
    "upstream.first_byte_timeout",
    "upstream.idle_timeout",
];

/// The error message for a field, or a whole file, that cannot be used.
#[derive(Debug)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// The name of the environment variable that sets a field.
pub fn variable(field: &str) -> String {
    format!("TOLLGATE_{}", field.replace('.', "_").to_ascii_uppercase())
}

impl Config {
    /// Reads the file, if one is given, then the environment, then the flags.
    pub fn load(
        file: Option<&Path>,
        environment: impl Fn(&str) -> Option<String>,
        flags: &[(&'static str, String)],
    ) -> Result<Self, ConfigError> {
        let mut table = file.map(read_file).transpose()?.unwrap_or_default();
        parse(table.clone()).map_err(|(field, why)| in_file(file, &field, &why))?;
        let from_environment = FIELDS.iter().filter_map(|field| {
            let variable = variable(field);
            environment(&variable).map(|value| (*field, value, variable))
        });
        let from_flags =
            flags.iter().map(|(field, value)| (*field, value.clone(), format!("--{}", field.replace('_', "-"))));
        for (field, value, source) in from_environment.chain(from_flags) {
            set(&mut table, field, value);
            parse(table.clone()).map_err(|(_, why)| ConfigError(format!("{field} (from {source}): {why}")))?;
        }
        let is_set: Vec<String> = table.keys().cloned().collect();
        let config = parse(table).map_err(|(field, why)| ConfigError(format!("{field}: {why}")))?;
        config.with_room_for_bodies(|field| is_set.iter().any(|one| one == field)).check()
    }

    /// Sets the default of `max_bodies` from the memory that this process may use. If that is less than `max_body`, a
    /// configured `max_body` raises `max_bodies`, and the default `max_body` is lowered to it.
    fn with_room_for_bodies(mut self, is_set: impl Fn(&str) -> bool) -> Self {
        if !is_set("max_bodies") {
            self.max_bodies = process_limits::memory().map_or(MAX_BODIES, |memory| MAX_BODIES.min(memory / 4));
            match is_set("max_body") {
                true => self.max_bodies = self.max_bodies.max(self.max_body),
                false => self.max_body = self.max_body.min(self.max_bodies),
            }
        }
        self
    }

    fn check(self) -> Result<Self, ConfigError> {
        if self.max_bodies < self.max_body {
            return Err(ConfigError("max_bodies: must be at least max_body".to_owned()));
        }
        if self.listen == self.admin_listen && self.listen.port() != 0 {
            return Err(ConfigError("admin_listen: must differ from listen".to_owned()));
        }
        Ok(self)
    }
}

fn read_file(path: &Path) -> Result<toml::Table, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError(format!("the config file {} cannot be read: {error}", path.display())))?;
    text.parse().map_err(|error| ConfigError(format!("the config file {} is not TOML: {error}", path.display())))
}

fn in_file(file: Option<&Path>, field: &str, why: &str) -> ConfigError {
    let file = file.map(|path| path.display().to_string()).unwrap_or_default();
    match field {
        "." | "" => ConfigError(format!("the config file {file}: {why}")),
        field => ConfigError(format!("{field} (in {file}): {why}")),
    }
}

fn set(table: &mut toml::Table, field: &str, value: String) {
    let value = toml::Value::String(value);
    match field.split_once('.') {
        None => table.insert(field.to_owned(), value),
        Some((section, field)) => {
            let section = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            section.as_table_mut().and_then(|section| section.insert(field.to_owned(), value))
        }
    };
}

/// Parses the table. The error is the field that is not valid, and why.
fn parse(table: toml::Table) -> Result<Config, (String, String)> {
    serde_path_to_error::deserialize(toml::Value::Table(table)).map_err(|error| {
        let field = error.path().to_string();
        (field, error.into_inner().message().to_owned())
    })
}

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

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| D::Error::custom("must be an IP address and a port, such as \"127.0.0.1:8080\""))
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    const FORM: &str = "a whole number";
    scalar(deserializer, FORM)?.parse().map_err(|_| D::Error::custom(format!("must be {FORM}")))
}

fn boolean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
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

fn workers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match number(deserializer)? {
        workers @ 0..=1024 => Ok(workers as usize),
        _ => Err(D::Error::custom("must be at most 1024")),
    }
}

/// Parses a size such as `"100MiB"`: a whole number and a unit.
fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    const FORM: &str = "a size such as \"100MiB\"";
    const UNITS: [(&str, u64); 5] = [("", 1), ("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let text = scalar(deserializer, FORM)?;
    with_unit(&text, &UNITS).filter(|&bytes| bytes > 0).ok_or_else(|| D::Error::custom(format!("must be {FORM}")))
}

/// The form of a duration, for error messages.
const TIME: &str = "a time such as \"500ms\", \"30s\", \"10m\", \"12h\" or \"400d\"";

/// Parses a duration such as `"30s"`: a whole number and a unit.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    optional_duration(deserializer)?.ok_or_else(|| D::Error::custom(format!("must be {TIME}")))
}

/// Parses a duration. `None` if it is 0.
fn optional_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
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

fn key_brand<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let is_valid = matches!(text.len(), 1..=16) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    is_valid.then_some(text).ok_or_else(|| D::Error::custom("must be 1 to 16 letters, digits or '-'"))
}

fn optional_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<url::Url>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    let url = url::Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.map(Some).ok_or_else(|| D::Error::custom("must be an http or https URL, or empty"))
}

fn calendar<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Calendar, D::Error> {
    let text = String::deserialize(deserializer)?;
    Calendar::new(&text).map_err(D::Error::custom)
}

/// Parses a list of percents, or one text with commas between them (for the environment).
fn shares<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Shares, D::Error> {
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

fn log_filter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.parse::<tracing_subscriber::EnvFilter>() {
        Ok(_) => Ok(text),
        Err(error) => Err(D::Error::custom(format!("must be a tracing filter such as \"info\": {error}"))),
    }
}
