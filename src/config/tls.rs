//! The sections `[tls]` and `[admin_tls]`: the files of a listener's certificate.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};

/// The certificate of one listener. Without one, the listener speaks plain HTTP.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate and the intermediate certificates, in PEM.
    #[serde(deserialize_with = "optional_path")]
    cert: Option<PathBuf>,
    /// The private key of the certificate, in PEM.
    #[serde(deserialize_with = "optional_path")]
    key: Option<PathBuf>,
}

impl TlsConfig {
    /// The files of the certificate and of its key; `None` if the listener speaks plain HTTP.
    pub fn files(&self) -> Option<(&Path, &Path)> {
        Some((self.cert.as_deref()?, self.key.as_deref()?))
    }

    /// Whether the listener speaks HTTPS.
    pub fn is_on(&self) -> bool {
        self.files().is_some()
    }

    /// The field that is missing beside the other one, and that other one.
    pub(super) fn missing(&self) -> Option<(&'static str, &'static str)> {
        match (&self.cert, &self.key) {
            (Some(_), None) => Some(("key", "cert")),
            (None, Some(_)) => Some(("cert", "key")),
            _ => None,
        }
    }
}

/// Parses a path. `None` if it is empty.
fn optional_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let path = PathBuf::deserialize(deserializer)?;
    Ok((!path.as_os_str().is_empty()).then_some(path))
}
