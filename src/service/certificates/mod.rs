//! The certificates of the listeners: loaded at the start, and again when their files change.
//!
//! A listener always has a certificate that was usable when it was loaded. If changed files cannot be used, the
//! certificate in force stays.

mod expiry;
mod listener;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::{
    expiry::Expiry,
    listener::{CertificateView, ListenerCertificate},
};
use super::status::notice::{About, Notice};
use crate::{
    config::{Config, TlsConfig},
    domain::day::Now,
};

/// The certificates of both listeners. A listener without one speaks plain HTTP.
#[derive(Default)]
pub struct Certificates {
    /// The certificate of the inference listener.
    pub inference: Option<Arc<ListenerCertificate>>,
    /// The certificate of the admin listener.
    pub admin: Option<Arc<ListenerCertificate>>,
}

impl Certificates {
    /// Loads all configured certificates. The error names the setting, the file and its fault.
    pub fn load(config: &Config, now: Now) -> Result<Self, String> {
        let load = |listener, section, tls: &TlsConfig| {
            let loaded = tls.files().map(|(cert, key)| ListenerCertificate::load(listener, section, cert, key, now));
            loaded.transpose().map(|certificate| certificate.map(Arc::new))
        };
        Ok(Self {
            inference: load("inference", "tls", &config.tls)?,
            admin: load("admin", "admin_tls", &config.admin_tls)?,
        })
    }

    /// Reads all files again, and takes over those that have changed. `is_asked` is true if an operator asked for it.
    /// This blocks on the file system.
    pub fn reload(&self, now: Now, is_asked: bool) {
        self.all().for_each(|certificate| certificate.reload(now, is_asked));
    }

    /// Reports that reading the files takes too long. The end of a later reload ends the report.
    pub fn note_hanging(&self, now: Now) {
        self.all().for_each(|certificate| certificate.note_fault("reading them takes too long".to_owned(), now, true));
    }

    /// Whether a listener has a certificate.
    pub fn is_any(&self) -> bool {
        self.all().next().is_some()
    }

    /// The certificates in force.
    pub fn views(&self) -> Vec<CertificateView> {
        self.all().map(|certificate| certificate.view()).collect()
    }

    /// Certificates that expire soon or have expired, and files that cannot be used.
    pub(in crate::service) fn notices(&self, now_ms: u64) -> Vec<Notice> {
        let sentences = self.all().flat_map(|certificate| certificate.problems(now_ms));
        sentences.map(|sentence| About::Tls.notice(sentence)).collect()
    }

    fn all(&self) -> impl Iterator<Item = &Arc<ListenerCertificate>> {
        self.inference.iter().chain(&self.admin)
    }
}
