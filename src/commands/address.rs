//! The address at which a command reaches the gateway on this machine, from the configuration that `serve` reads.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::failed::Failed;
use crate::config::{Config, TlsConfig};

/// The URL of the admin listener. If it speaks HTTPS, `admin_url` is preferred: certificates name hosts, not addresses.
pub fn admin_url(config: &Config) -> Result<String, Failed> {
    match &config.admin_url {
        Some(url) if config.admin_tls.files().is_some() => Ok(url.as_str().trim_end_matches('/').to_owned()),
        _ => local_url(config.admin_listen, &config.admin_tls, "admin_listen", "give the address with --admin-url"),
    }
}

/// The URL of the inference listener.
pub(super) fn inference_url(config: &Config) -> Result<String, Failed> {
    local_url(config.listen, &config.tls, "listen", "give the address with --listen")
}

/// The URL of a listener. A listener on all addresses is reached at the loopback address.
fn local_url(listener: SocketAddr, tls: &TlsConfig, field: &str, instead: &str) -> Result<String, Failed> {
    if listener.port() == 0 {
        return Err(Failed(format!("{field}: the system chooses port 0 at each start, so it is not known; {instead}")));
    }
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let scheme = if tls.files().is_some() { "https" } else { "http" };
    Ok(format!("{scheme}://{}", SocketAddr::new(ip, listener.port())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_reached_at_the_loopback_address() {
        for (listener, url) in [
            ("0.0.0.0:8080", "http://127.0.0.1:8080"),
            ("[::]:8080", "http://[::1]:8080"),
            ("10.0.0.7:80", "http://10.0.0.7:80"),
        ] {
            assert_eq!(local_url(listener.parse().unwrap(), &TlsConfig::default(), "listen", "").unwrap(), url);
        }
        let error = local_url("127.0.0.1:0".parse().unwrap(), &TlsConfig::default(), "listen", "give it").unwrap_err();
        assert!(error.to_string().starts_with("listen: "), "{error}");
    }
}
