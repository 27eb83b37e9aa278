//! The TLS certificates of the listeners, in the status.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{http::admin::api::field::Timestamp, service::certificates::CertificateView};

/// The TLS certificate of a listener.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CertificateStatus")]
pub(super) struct Certificate {
    /// `inference` or `admin`.
    listener: &'static str,
    /// The file of the certificate.
    file: String,
    /// The distinguished name of its subject. It may be empty.
    subject: String,
    /// The distinguished name of its issuer.
    issuer: String,
    not_before: Timestamp,
    not_after: Timestamp,
    /// The time when it was loaded.
    loaded_at: Timestamp,
    /// Why the files cannot be used now, so that this certificate stays in force; null if they can.
    fault: Option<String>,
}

impl Certificate {
    pub(super) fn new(view: &CertificateView) -> Self {
        Self {
            listener: view.listener,
            file: view.file.display().to_string(),
            subject: view.subject.clone(),
            issuer: view.issuer.clone(),
            not_before: Timestamp(view.not_before_ms),
            not_after: Timestamp(view.not_after_ms),
            loaded_at: Timestamp(view.loaded_at_ms),
            fault: view.fault.clone(),
        }
    }
}
