//! Resolves a host to addresses and refuses those that must never be called.
//!
//! A URL that an operator configures must not reach the cloud metadata service at a link-local address, and must not
//! lead back to one of our own listeners. Addresses are checked after resolution, and the connection is opened to the
//! checked address itself, so a name cannot resolve to one address for the check and to another for the connection. An
//! IPv6 address that embeds an IPv4 address, for a translator or a tunnel, is refused if the IPv4 address is.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use url::Host;

/// The reason why a host has no address that may be called.
#[derive(Debug)]
pub enum ResolveError {
    /// The resolver failed or found no address.
    NotFound(io::Error),
    /// The host has addresses, but all of them are refused.
    Refused(AddressRefusal),
}

/// The reason why an address is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressRefusal {
    /// It is in 169.254.0.0/16 or fe80::/10.
    LinkLocal,
    /// This process listens on it.
    OurOwn,
}

/// Returns the addresses of `host` that may be called, at least one, in the resolver's order. A literal address is
/// checked like a resolved one. `listeners` are the addresses that this process listens on.
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
        None => Err(ResolveError::NotFound(io::Error::new(io::ErrorKind::NotFound, "the name has no address"))),
    }
}

/// The reason why `target` must not be called, if there is one.
fn refusal(target: SocketAddr, listeners: &[SocketAddr]) -> Option<AddressRefusal> {
    let ip = target.ip().to_canonical();
    let embedded = match ip {
        IpAddr::V4(_) => Vec::new(),
        IpAddr::V6(ip) => embedded(ip),
    };
    let ours = |ip: IpAddr| {
        let reached = |listener: &SocketAddr| reaches(ip, listener.ip().to_canonical());
        listeners.iter().filter(|listener| listener.port() == target.port()).any(reached)
    };
    // Ignore 0.0.0.0: a wrong candidate for a local translator's address is mostly 0.0.0.0.
    let embedded = embedded.into_iter().filter(|ip| !ip.is_unspecified());
    embedded.map(IpAddr::V4).chain([ip]).find_map(|ip| match ip {
        IpAddr::V4(ip) if ip.is_link_local() => Some(AddressRefusal::LinkLocal),
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Some(AddressRefusal::LinkLocal),
        ip => ours(ip).then_some(AddressRefusal::OurOwn),
    })
}

/// The IPv4 addresses that an IPv6 address may embed, by the formats of translators (RFC 6052, 6145, 8215), of tunnels
/// (RFC 3056, 4380), and of IPv4-compatible addresses (RFC 4291). The prefix of a local translator can have any of four
/// lengths, so there are four candidates for it.
fn embedded(ip: Ipv6Addr) -> Vec<Ipv4Addr> {
    let octets = ip.octets();
    let at = |places: [usize; 4]| Ipv4Addr::from(places.map(|place| octets[place]));
    let last = at([12, 13, 14, 15]);
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, _, _] | [0, 0, 0, 0, 0xffff, 0, _, _] | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => vec![last],
        [0x64, 0xff9b, 1, ..] => vec![at([6, 7, 9, 10]), at([7, 9, 10, 11]), at([9, 10, 11, 12]), last],
        [0x2002, ..] => vec![at([2, 3, 4, 5])],
        // The tunnel's server, and the client behind it, whose bits are inverted.
        [0x2001, 0, ..] => vec![at([4, 5, 6, 7]), Ipv4Addr::from_bits(!last.to_bits())],
        _ => Vec::new(),
    }
}

/// Whether a connection to `target` reaches a socket bound to `listener`. A connection to the unspecified address is
/// one to loopback.
fn reaches(target: IpAddr, listener: IpAddr) -> bool {
    let loopback = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
    target == listener
        || (loopback(target) && loopback(listener))
        || (listener.is_unspecified() && is_this_machine(target))
}

/// Whether `ip` is an address of this machine. Only then can a socket be bound to it.
fn is_this_machine(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(target: &str, listeners: &[&str]) -> Option<AddressRefusal> {
        let listeners: Vec<SocketAddr> = listeners.iter().map(|listener| listener.parse().unwrap()).collect();
        refusal(target.parse().unwrap(), &listeners)
    }

    #[test]
    fn link_local_addresses_are_refused_in_every_notation() {
        for target in [
            "169.254.169.254:80",
            "169.254.0.0:1",
            "[fe80::1]:80",
            "[febf::1]:80",
            // IPv4-mapped, -compatible and -translated.
            "[::ffff:169.254.169.254]:80",
            "[::169.254.169.254]:80",
            "[::ffff:0:169.254.169.254]:80",
            // NAT64: the well-known prefix, and local ones of 96, 48, 56 and 64 bits.
            "[64:ff9b::169.254.169.254]:80",
            "[64:ff9b:1::169.254.169.254]:80",
            "[64:ff9b:1:a9fe:a9:fe00::]:80",
            "[64:ff9b:1:a9:fe:a9fe::]:80",
            "[64:ff9b:1:7:a9:fea9:fe00:0]:80",
            // 6to4, and both ends of Teredo.
            "[2002:a9fe:a9fe::1]:80",
            "[2001:0:a9fe:a9fe::5601:5601]:80",
            "[2001:0:c000:201::5601:5601]:80",
        ] {
            assert_eq!(check(target, &[]), Some(AddressRefusal::LinkLocal), "{target}");
        }
        for target in [
            "169.253.255.255:80",
            "169.255.0.0:80",
            "10.0.0.1:80",
            "192.168.1.1:80",
            "[fec0::1]:80",
            "[fd00::1]:80",
            "[64:ff9b::192.168.1.1]:80",
            "[64:ff9b:1::10.0.0.1]:80",
            "[2002:c0a8:101::1]:80",
            "[2001:0:c000:201::f5ff:fffe]:80",
            // The same octets in addresses that embed no IPv4 address.
            "[2001:db8::a9fe:a9fe]:80",
            "[64:ff9b:2::a9fe:a9fe]:80",
            "[2003:a9fe:a9fe::1]:80",
        ] {
            assert_eq!(check(target, &[]), None, "{target}");
        }
    }

    #[test]
    fn every_address_that_reaches_our_own_listeners_is_refused() {
        for target in
            ["127.0.0.1:8080", "127.0.0.2:8080", "0.0.0.0:8080", "[::1]:8080", "[::]:8080", "[::ffff:127.0.0.1]:8080"]
        {
            for listener in ["127.0.0.1:8080", "[::1]:8080", "0.0.0.0:8080", "[::]:8080"] {
                assert_eq!(
                    check(target, &["10.9.9.9:1", listener]),
                    Some(AddressRefusal::OurOwn),
                    "{target} {listener}"
                );
            }
        }
        assert_eq!(check("192.168.1.5:8080", &["192.168.1.5:8080"]), Some(AddressRefusal::OurOwn));
        for target in ["[::ffff:192.168.1.5]:8080", "[64:ff9b::192.168.1.5]:8080", "[2002:c0a8:105::]:8080"] {
            assert_eq!(check(target, &["192.168.1.5:8080"]), Some(AddressRefusal::OurOwn), "{target}");
        }
    }

    #[test]
    fn other_servers_on_this_or_another_machine_are_allowed() {
        assert_eq!(check("127.0.0.1:8081", &["127.0.0.1:8080"]), None);
        assert_eq!(check("127.0.0.1:8080", &["192.168.1.5:8080"]), None);
        assert_eq!(check("[64:ff9b:1::10.0.0.1]:8080", &["127.0.0.1:8080"]), None);
        // No machine has an address in TEST-NET-1.
        assert_eq!(check("192.0.2.1:8080", &["0.0.0.0:8080", "[::]:8080"]), None);
    }

    #[tokio::test]
    async fn names_and_literal_addresses_are_checked_alike() {
        let listeners = ["127.0.0.1:8080".parse().unwrap()];
        for host in [Host::Domain("localhost".to_owned()), Host::Ipv4([127, 0, 0, 1].into())] {
            let refused = resolve(&host, 8080, &listeners).await;
            assert!(matches!(refused, Err(ResolveError::Refused(AddressRefusal::OurOwn))));
            assert!(!resolve(&host, 8081, &listeners).await.unwrap().is_empty());
        }
    }
}
