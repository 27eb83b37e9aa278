//! The certificate of one listener.
//!
//! The two files are often replaced one after the other, and a file may be read while it is being written. So a fault
//! is reported only if it lasts for [`PATIENCE_NS`], or if an operator asked for the reload.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::{ServerConfig, crypto::ring, sign::SingleCertAndKey};
use tracing::{error, info, warn};

use super::expiry::Expiry;
use crate::{
    crypto::certificate::{Certificate, Part, Pem, Unusable},
    domain::{day::Now, time::rfc3339},
};

/// How long changed files may be unusable before that is reported, in nanoseconds.
pub(super) const PATIENCE_NS: u64 = 20_000_000_000;

/// The certificate of one listener, with the files that it comes from.
pub struct ListenerCertificate {
    /// `inference` or `admin`.
    listener: &'static str,
    /// The section of the configuration.
    section: &'static str,
    cert: PathBuf,
    key: PathBuf,
    in_force: ArcSwap<InForce>,
    watch: Mutex<Watch>,
}

/// The certificate that new connections get.
struct InForce {
    session: Arc<ServerConfig>,
    certificate: Certificate,
    fingerprint: [u8; 32],
    loaded_at_ms: u64,
}

/// The outcome of the latest reloads.
#[derive(Default)]
struct Watch {
    /// The monotonic time since when the files have been unusable.
    faulty_since_ns: Option<u64>,
    /// The fault that was reported.
    reported: Option<String>,
    /// The expiry that was logged.
    logged: Option<Expiry>,
}

/// The certificate of one listener, for the status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateView {
    /// `inference` or `admin`.
    pub listener: &'static str,
    /// The file of the certificate.
    pub file: PathBuf,
    /// The name of the certificate's subject. It may be empty.
    pub subject: String,
    /// The name of its issuer.
    pub issuer: String,
    /// The beginning of its validity, in Unix ms.
    pub not_before_ms: u64,
    /// The end of its validity, in Unix ms.
    pub not_after_ms: u64,
    /// When it was loaded, in Unix ms.
    pub loaded_at_ms: u64,
    /// Why the files cannot be used now; `None` if they can.
    pub fault: Option<String>,
}

impl ListenerCertificate {
    /// Loads the certificate. The error names the setting, the file and its fault.
    pub(super) fn load(
        listener: &'static str,
        section: &'static str,
        cert: &Path,
        key: &Path,
        now: Now,
    ) -> Result<Self, String> {
        let read = || {
            let pem = Pem::read(cert, key)?;
            Ok((pem.certificate(now.unix_ms)?, pem))
        };
        let (certificate, pem) = read().map_err(|unusable| {
            let (field, path) = file_of(&unusable, cert, key);
            format!("{section}.{field}: {} {}", path.display(), unusable.fault)
        })?;
        let session = session(&certificate)?;
        let fingerprint = pem.fingerprint();
        let in_force = InForce { session, certificate, fingerprint, loaded_at_ms: now.unix_ms };
        let (cert, key, in_force) = (cert.to_owned(), key.to_owned(), ArcSwap::from_pointee(in_force));
        let this = Self { listener, section, cert, key, in_force, watch: Mutex::default() };
        this.log_loaded(&pem);
        this.log_expiry(now.unix_ms);
        Ok(this)
    }

    /// The TLS configuration of the next connection.
    pub fn session(&self) -> Arc<ServerConfig> {
        self.in_force.load().session.clone()
    }

    /// The reported fault of the files; `None` if they can be used.
    fn fault(&self) -> Option<String> {
        self.watch.lock().reported.clone()
    }

    pub(super) fn view(&self) -> CertificateView {
        let in_force = self.in_force.load();
        let Certificate { subject, issuer, not_before_ms, not_after_ms, .. } = &in_force.certificate;
        CertificateView {
            listener: self.listener,
            file: self.cert.clone(),
            subject: subject.clone(),
            issuer: issuer.clone(),
            not_before_ms: *not_before_ms,
            not_after_ms: *not_after_ms,
            loaded_at_ms: in_force.loaded_at_ms,
            fault: self.fault(),
        }
    }

    /// Sentences about problems of this certificate.
    pub(super) fn problems(&self, now_ms: u64) -> Vec<String> {
        let unusable = self.fault().map(|fault| self.unusable(&fault));
        unusable.into_iter().chain(self.expiry_sentence(now_ms)).collect()
    }

    /// Reads the files again, and takes them over if they have changed and can be used.
    pub(super) fn reload(&self, now: Now, is_asked: bool) {
        match self.read_changed(now) {
            Ok(None) => {
                let mut watch = self.watch.lock();
                watch.faulty_since_ns = None;
                if watch.reported.take().is_some() {
                    info!(listener = self.listener, "the files of the certificate can be used again");
                }
            }
            Ok(Some((in_force, pem))) => {
                *self.watch.lock() = Watch::default();
                self.in_force.store(Arc::new(in_force));
                self.log_loaded(&pem);
            }
            Err(fault) => self.note_fault(fault, now, is_asked),
        }
        self.log_expiry(now.unix_ms);
    }

    /// The certificate in the files, if it is not the one in force.
    fn read_changed(&self, now: Now) -> Result<Option<(InForce, Pem)>, String> {
        let read = || {
            let pem = Pem::read(&self.cert, &self.key)?;
            let fingerprint = pem.fingerprint();
            if fingerprint == self.in_force.load().fingerprint {
                return Ok(None);
            }
            Ok(Some((pem.certificate(now.unix_ms)?, fingerprint, pem)))
        };
        let Some((certificate, fingerprint, pem)) = read().map_err(|unusable: Unusable| {
            let (_, path) = file_of(&unusable, &self.cert, &self.key);
            format!("{} {}", path.display(), unusable.fault)
        })?
        else {
            return Ok(None);
        };
        let session = session(&certificate)?;
        Ok(Some((InForce { session, certificate, fingerprint, loaded_at_ms: now.unix_ms }, pem)))
    }

    /// Reports a fault of the files, once, if it is time.
    pub(super) fn note_fault(&self, fault: String, now: Now, is_asked: bool) {
        let mut watch = self.watch.lock();
        let since_ns = *watch.faulty_since_ns.get_or_insert(now.monotonic_ns);
        let is_due = is_asked || now.monotonic_ns.saturating_sub(since_ns) >= PATIENCE_NS;
        if is_due && watch.reported.as_ref() != Some(&fault) {
            error!("{}", self.unusable(&fault));
            watch.reported = Some(fault);
        }
    }

    fn unusable(&self, fault: &str) -> String {
        let Self { listener, section, .. } = self;
        format!(
            "The {listener} listener keeps its certificate, because the files of {section} cannot be used: {fault}."
        )
    }

    fn log_loaded(&self, pem: &Pem) {
        let (listener, file) = (self.listener, self.cert.display());
        let not_after = rfc3339(self.in_force.load().certificate.not_after_ms);
        info!(listener, %file, not_after, "certificate loaded");
        // Only a log line: in a container, files have this mode by default and no other users.
        if let Some(mode) = pem.exposed_mode() {
            warn!("{}.key: all users of this machine may use {} (mode {mode:03o})", self.section, self.key.display());
        }
    }

    /// Logs that the certificate expires soon or has expired, once for each.
    fn log_expiry(&self, now_ms: u64) {
        let expiry = self.expiry(now_ms);
        let logged = self.watch.lock().logged.replace(expiry);
        if logged < Some(expiry)
            && let Some(sentence) = self.expiry_sentence(now_ms)
        {
            warn!("{sentence}");
        }
    }

    fn expiry(&self, now_ms: u64) -> Expiry {
        let in_force = self.in_force.load();
        Expiry::at(now_ms, in_force.certificate.not_before_ms, in_force.certificate.not_after_ms)
    }

    fn expiry_sentence(&self, now_ms: u64) -> Option<String> {
        let (listener, file) = (self.listener, self.cert.display());
        let at = rfc3339(self.in_force.load().certificate.not_after_ms);
        match self.expiry(now_ms) {
            Expiry::Far => None,
            Expiry::Soon => Some(format!("The certificate of the {listener} listener ({file}) expires at {at}.")),
            Expiry::Past => Some(format!(
                "The certificate of the {listener} listener ({file}) expired at {at}: clients refuse to connect."
            )),
        }
    }
}

/// The field and the path of the file that cannot be used.
fn file_of<'a>(unusable: &Unusable, cert: &'a Path, key: &'a Path) -> (&'static str, &'a Path) {
    match unusable.file {
        Part::Certificate => ("cert", cert),
        Part::Key => ("key", key),
    }
}

/// The TLS configuration of a certificate. Each has its own key for session tickets, so that no session outlives the
/// certificate that it began with.
fn session(certificate: &Certificate) -> Result<Arc<ServerConfig>, String> {
    let failed = |error: rustls::Error| error.to_string();
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(failed)?.with_no_client_auth();
    let resolver = SingleCertAndKey::from(certificate.certified.clone());
    let mut config = builder.with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = ring::Ticketer::new().map_err(failed)?;
    Ok(Arc::new(config))
}
