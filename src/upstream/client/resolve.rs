//! Finds the addresses of a host and refuses those that we must never call.
//!
//! An operator's URL must not reach the cloud metadata service on a link-local address, nor lead back into one of our
//! own listeners. Addresses are checked after resolution, and a connection is made to the checked address itself, so a
//! name cannot show one address to the check and another to the connection.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
};

use url::Host;

/// Why a host has no address that may be called.
#[derive(Debug)]
pub enum ResolveError {
    /// The resolver failed or knows no address.
    NotFound(io::Error),
    /// It has addresses, and all of them are refused.
    Refused(Refusal),
}

/// Why an address is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// 169.254.0.0/16, also as an IPv4-mapped address, or fe80::/10.
    LinkLocal,
    /// One of the addresses that this process listens on.
    OurOwn,
}

/// The addresses of `host` that may be called, in the resolver's order; at least one. A literal address is checked like
/// a resolved one. `listeners` are the addresses that this process listens on.
pub async fn resolve(
    host: &Host<String>,
    port: u16,
    listeners: &[SocketAddr],
) -> Result<Vec<SocketAddr>, ResolveError> {
    let found: Vec<SocketAddr> = match host {
        Host::Ipv4(ip) => vec![SocketAddr::from((*ip, port))],
        Host::Ipv6(ip) => vec![SocketAddr::from((*ip, port))],
        Host::Domain(name) => {
            tokio::net::lookup_host((name.as_str(), port)).await.map_err(ResolveError::NotFound)?.collect()
        }
    };
    let mut refused = None;
    let mut allowed = found;
    allowed.retain(|&address| {
        let refusal = refusal(address, listeners);
        refused = refused.or(refusal);
        refusal.is_none()
    });
    match refused {
        _ if !allowed.is_empty() => Ok(allowed),
        Some(refusal) => Err(ResolveError::Refused(refusal)),
        None => Err(ResolveError::NotFound(io::Error::new(io::ErrorKind::NotFound, "it has no address"))),
    }
}

/// Whether `target` must not be called, and why.
fn refusal(target: SocketAddr, listeners: &[SocketAddr]) -> Option<Refusal> {
    let ip = target.ip().to_canonical();
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if link_local {
        return Some(Refusal::LinkLocal);
    }
    let ours = |listener: &SocketAddr| listener.port() == target.port() && reaches(ip, listener.ip().to_canonical());
    listeners.iter().any(ours).then_some(Refusal::OurOwn)
}

/// Whether a connection to `target` arrives at a socket bound to `listener`. To connect to the unspecified address is to
/// connect to loopback.
fn reaches(target: IpAddr, listener: IpAddr) -> bool {
    let loopback = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
    target == listener
        || (loopback(target) && loopback(listener))
        || (listener.is_unspecified() && is_this_machine(target))
}

/// Only an address of this machine can be bound to.
fn is_this_machine(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(target: &str, listeners: &[&str]) -> Option<Refusal> {
        let listeners: Vec<SocketAddr> = listeners.iter().map(|listener| listener.parse().unwrap()).collect();
        refusal(target.parse().unwrap(), &listeners)
    }

    #[test]
    fn link_local_addresses_are_refused_in_every_spelling() {
        for target in
            ["169.254.169.254:80", "169.254.0.0:1", "[::ffff:169.254.169.254]:80", "[fe80::1]:80", "[febf::1]:80"]
        {
            assert_eq!(check(target, &[]), Some(Refusal::LinkLocal), "{target}");
        }
        for target in
            ["169.253.255.255:80", "169.255.0.0:80", "10.0.0.1:80", "192.168.1.1:80", "[fec0::1]:80", "[fd00::1]:80"]
        {
            assert_eq!(check(target, &[]), None, "{target}");
        }
    }

    #[test]
    fn our_own_listeners_are_refused_by_every_address_that_reaches_them() {
        for target in
            ["127.0.0.1:8080", "127.0.0.2:8080", "0.0.0.0:8080", "[::1]:8080", "[::]:8080", "[::ffff:127.0.0.1]:8080"]
        {
            for listener in ["127.0.0.1:8080", "[::1]:8080", "0.0.0.0:8080", "[::]:8080"] {
                assert_eq!(check(target, &["10.9.9.9:1", listener]), Some(Refusal::OurOwn), "{target} {listener}");
            }
        }
        assert_eq!(check("192.168.1.5:8080", &["192.168.1.5:8080"]), Some(Refusal::OurOwn));
        assert_eq!(check("[::ffff:192.168.1.5]:8080", &["192.168.1.5:8080"]), Some(Refusal::OurOwn));
    }

    #[test]
    fn a_neighbour_on_this_or_another_machine_is_allowed() {
        assert_eq!(check("127.0.0.1:8081", &["127.0.0.1:8080"]), None);
        assert_eq!(check("127.0.0.1:8080", &["192.168.1.5:8080"]), None);
        // TEST-NET-1 is no machine's own.
        assert_eq!(check("192.0.2.1:8080", &["0.0.0.0:8080", "[::]:8080"]), None);
    }

    #[tokio::test]
    async fn names_and_literals_are_checked_alike() {
        let listeners = ["127.0.0.1:8080".parse().unwrap()];
        for host in [Host::Domain("localhost".to_owned()), Host::Ipv4([127, 0, 0, 1].into())] {
            let refused = resolve(&host, 8080, &listeners).await;
            assert!(matches!(refused, Err(ResolveError::Refused(Refusal::OurOwn))));
            assert!(!resolve(&host, 8081, &listeners).await.unwrap().is_empty());
        }
    }
}
