//! The origin that a request is sent to: scheme, host and port.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use rustls::pki_types::ServerName;
use url::{Host, Url};

use super::invalid::InvalidRequest;

/// Scheme, host and port of an upstream; the key of the connection pool. Cheap to clone, hash and compare.
#[derive(Clone)]
pub struct Origin(Arc<Parts>);

struct Parts {
    host: Host<String>,
    port: u16,
    /// The name that the server's certificate must have. `None` for plain HTTP.
    tls_name: Option<ServerName<'static>>,
    /// The value of the `host` header: the host, and the port unless it is the scheme's default.
    authority: String,
    hash: u64,
}

impl Origin {
    /// Returns the origin of an `http` or `https` URL. The path is ignored.
    pub fn parse(url: &Url) -> Result<Self, InvalidRequest> {
        let https = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(InvalidRequest::new("the URL must begin with http:// or https://")),
        };
        let host = url.host().ok_or_else(|| InvalidRequest::new("the URL has no host"))?.to_owned();
        let port = url.port_or_known_default().ok_or_else(|| InvalidRequest::new("the URL has no port"))?;
        let tls_name = match &host {
            _ if !https => None,
            Host::Domain(name) => {
                let name = ServerName::try_from(name.clone());
                Some(name.map_err(|_| InvalidRequest::new("the host is not a DNS name"))?)
            }
            Host::Ipv4(ip) => Some(ServerName::from(std::net::IpAddr::from(*ip))),
            Host::Ipv6(ip) => Some(ServerName::from(std::net::IpAddr::from(*ip))),
        };
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        let mut hasher = DefaultHasher::new();
        (https, &host, port).hash(&mut hasher);
        Ok(Self(Arc::new(Parts { host, port, tls_name, authority, hash: hasher.finish() })))
    }

    pub(super) fn host(&self) -> &Host<String> {
        &self.0.host
    }

    pub(super) fn port(&self) -> u16 {
        self.0.port
    }

    pub(super) fn authority(&self) -> &str {
        &self.0.authority
    }

    pub(super) fn tls_name(&self) -> Option<&ServerName<'static>> {
        self.0.tls_name.as_ref()
    }
}

impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (&*self.0, &*other.0);
        Arc::ptr_eq(&self.0, &other.0)
            || (a.hash == b.hash && a.port == b.port && a.host == b.host && a.tls_name == b.tls_name)
    }
}

impl Eq for Origin {}

impl Hash for Origin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.0.tls_name.is_some() { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.0.authority)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(url: &str) -> Result<Origin, InvalidRequest> {
        Origin::parse(&Url::parse(url).unwrap())
    }

    #[test]
    fn origins_with_the_same_scheme_host_and_port_are_equal() {
        let plain = origin("http://model.example/v1").unwrap();
        assert_eq!(plain, origin("http://MODEL.example:80/other?x=1").unwrap());
        for other in
            ["https://model.example", "http://model.example:443", "http://model.example:81", "http://m.example"]
        {
            assert_ne!(plain, origin(other).unwrap(), "{other}");
        }
    }

    #[test]
    fn the_authority_omits_the_default_port() {
        for (url, authority) in [
            ("http://model.example/v1", "model.example"),
            ("http://model.example:8000", "model.example:8000"),
            ("https://model.example:443", "model.example"),
            ("http://[::1]:8000/v1", "[::1]:8000"),
            ("https://10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(origin(url).unwrap().authority(), authority);
        }
    }

    #[test]
    fn only_http_urls_have_an_origin() {
        assert!(origin("ftp://model.example").is_err());
        assert!(origin("file:///etc/passwd").is_err());
        assert!(origin("mailto:a@b.example").is_err());
    }
}
