//! TLS sessions with upstreams, verified against the certificates that this machine trusts.
//!
//! The trusted certificates are loaded once per process, at the first call to an https upstream, so a machine without
//! any can still call http upstreams. `SSL_CERT_FILE` and `SSL_CERT_DIR` replace the system's store.

use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();

/// Opens a TLS session over `tcp` with a server that must have a certificate for `name`. The error is a text for the
/// operator.
pub(super) async fn connect(tcp: TcpStream, name: ServerName<'static>) -> Result<Box<TlsStream<TcpStream>>, String> {
    let config = match CONFIG.get() {
        Some(config) => config.clone(),
        // Loading the store takes milliseconds. A failure is not cached, so the next request sees a repaired store.
        None => {
            let loaded = tokio::task::spawn_blocking(system_roots).await.map_err(|error| error.to_string())??;
            CONFIG.get_or_init(|| loaded).clone()
        }
    };
    let session = TlsConnector::from(config).connect(name, tcp).await;
    session.map(Box::new).map_err(|error| error.to_string())
}

fn system_roots() -> Result<Arc<ClientConfig>, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reason = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(format!(
            "this machine has no CA certificates to verify an https upstream with{reason}: \
             install ca-certificates or point SSL_CERT_FILE at a PEM file"
        ));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
