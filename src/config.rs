//! Configuration: a flag beats the environment, which beats the file, which beats the default.
//!
//! Every layer is read into one table of texts, which is then parsed into `Config` by one set of rules. So a value
//! means the same in every layer, and an error names the field and the layer that it came from.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod origins;
mod smtp;
#[cfg(test)]
mod tests;
mod tls;
mod values;

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use self::values::{
    address, boolean, calendar, duration, groups_shown, key_brand, log_filter, number, optional_duration, optional_url,
    shares, size, workers,
};
pub use self::{
    origins::Origins,
    smtp::{MailCredentials, MailSecurity, MailServer, Smtp, SmtpSection},
    tls::TlsConfig,
};
use crate::{
    domain::{alert::Shares, calendar::Calendar},
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
    /// The number of groups with metrics of their own.
    #[serde(deserialize_with = "groups_shown")]
    pub metrics_groups: usize,
    /// The timeouts of upstream requests.
    pub upstream: UpstreamConfig,
    /// The certificate of the inference listener.
    pub tls: TlsConfig,
    /// The certificate of the admin listener.
    pub admin_tls: TlsConfig,
    /// How alerts are mailed; `None` if they are not. Set once all layers have been read.
    #[serde(skip)]
    pub mail: Option<Smtp>,
    /// The section as it was read; empty once `mail` is set.
    pub smtp: SmtpSection,
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
            metrics_groups: 0,
            upstream: UpstreamConfig::default(),
            tls: TlsConfig::default(),
            admin_tls: TlsConfig::default(),
            mail: None,
            smtp: SmtpSection::default(),
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
pub const FIELDS: [&str; 31] = [
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
    "metrics_groups",
    "upstream.connect_timeout",
    "upstream.first_byte_timeout",
    "upstream.idle_timeout",
    "tls.cert",
    "tls.key",
    "admin_tls.cert",
    "admin_tls.key",
    "smtp.url",
    "smtp.from",
    "smtp.to",
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
    /// Whether operators' browsers reach the admin listener over HTTPS, directly or through a reverse proxy.
    pub fn is_admin_https(&self) -> bool {
        self.admin_tls.is_on() || self.admin_url.as_ref().is_some_and(|url| url.scheme() == "https")
    }

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

    fn check(mut self) -> Result<Self, ConfigError> {
        if self.max_bodies < self.max_body {
            return Err(ConfigError("max_bodies: must be at least max_body".to_owned()));
        }
        if self.listen == self.admin_listen && self.listen.port() != 0 {
            return Err(ConfigError("admin_listen: must differ from listen".to_owned()));
        }
        for (section, tls) in [("tls", &self.tls), ("admin_tls", &self.admin_tls)] {
            if let Some((missing, other)) = tls.missing() {
                return Err(ConfigError(format!("{section}.{missing}: must be set, because {section}.{other} is set")));
            }
        }
        if self.admin_tls.is_on() && self.admin_url.as_ref().is_some_and(|url| url.scheme() != "https") {
            return Err(ConfigError("admin_url: must be an https URL, because admin_tls is set".to_owned()));
        }
        self.mail = std::mem::take(&mut self.smtp).complete().map_err(|error| ConfigError(error.to_owned()))?;
        Ok(self)
    }
}

fn read_file(path: &Path) -> Result<toml::Table, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError(format!("the config file {} cannot be read: {error}", path.display())))?;
    text.parse().map_err(|error: toml::de::Error| {
        // The error's own text would quote the line, which may hold a password.
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        ConfigError(format!("the config file {} is not TOML: line {line}: {}", path.display(), error.message()))
    })
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
    // The library's error would repeat the value, which may hold a password.
    if table.get("smtp").is_some_and(|section| !section.is_table()) {
        return Err(("smtp".to_owned(), "must be a section with url, from and to".to_owned()));
    }
    serde_path_to_error::deserialize(toml::Value::Table(table)).map_err(|error| {
        let field = error.path().to_string();
        (field, error.into_inner().message().to_owned())
    })
}
