//! Opens the TCP connection of an upstream whose name may have several addresses.
//!
//! Addresses are tried as in RFC 8305 ("Happy Eyeballs"), section 5, in the resolver's order: the next attempt starts
//! when an earlier one fails, or after a delay while earlier ones continue. The first connection wins and the other
//! attempts are dropped. One dead address therefore costs a fraction of a second.

use std::{
    future::poll_fn,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    pin::Pin,
    task::Poll,
    time::Duration,
};

use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::{
    error::SendErrorKind,
    origin::Origin,
    resolve::{AddressRefusal, ResolveError, resolve},
};

/// Time after which the next address is tried while the earlier attempts continue (RFC 8305, section 8).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The step that failed, and details for the operator.
type ConnectFailure = (SendErrorKind, String);

/// Resolves `origin` and connects to the first of its addresses that accepts before `deadline`. Addresses in
/// `listeners` are not called. If no address accepts, returns the last failure.
pub(super) async fn connect_tcp(
    origin: &Origin,
    deadline: Instant,
    listeners: &[SocketAddr],
) -> Result<TcpStream, ConnectFailure> {
    let addresses = resolve(origin.host(), origin.port(), listeners).await.map_err(|error| match error {
        ResolveError::NotFound(error) => {
            // The resolver's error does not say whether it ran out of file descriptors, so try to open a socket.
            let cannot_open = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).err();
            (SendErrorKind::Resolve.or_no_files(cannot_open.as_ref().unwrap_or(&error)), error.to_string())
        }
        ResolveError::Refused(AddressRefusal::LinkLocal) => (SendErrorKind::Forbidden, "it is link-local".to_owned()),
        ResolveError::Refused(AddressRefusal::OurOwn) => {
            (SendErrorKind::Forbidden, "it is one of Tollgate's own listeners".to_owned())
        }
    })?;
    connect_first(&addresses, deadline).await
}

async fn connect_first(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, ConnectFailure> {
    let mut untried = addresses.iter();
    let mut running = Vec::new();
    let mut failure = (SendErrorKind::Connect, String::new());
    loop {
        if let Some(&address) = untried.next() {
            running.push(Box::pin(connect(address, deadline)));
        }
        let next_at = match untried.len() {
            0 => deadline,
            left => next_attempt(Instant::now(), deadline, left),
        };
        match timeout_at(next_at, first_of(&mut running)).await {
            Ok(Some(Ok(tcp))) => return Ok(tcp),
            Ok(Some(Err(error))) => failure = error,
            Ok(None) => return Err(failure),
            Err(_) => {}
        }
    }
}

/// The time of the next attempt, with `left` addresses untried. Before a near deadline, every address gets an equal
/// share of the time, so that all of them are tried.
fn next_attempt(now: Instant, deadline: Instant, left: usize) -> Instant {
    let shares = u32::try_from(left).unwrap_or(u32::MAX).saturating_add(1);
    now + ATTEMPT_DELAY.min(deadline.saturating_duration_since(now) / shares)
}

async fn connect(address: SocketAddr, deadline: Instant) -> Result<TcpStream, ConnectFailure> {
    let failed = |error| (SendErrorKind::Connect.or_no_files(&error), format!("{address}: {error}"));
    match timeout_at(deadline, TcpStream::connect(address)).await {
        Ok(connected) => {
            let tcp = connected.map_err(failed)?;
            tcp.set_nodelay(true).map_err(failed)?;
            Ok(tcp)
        }
        Err(_) => Err((SendErrorKind::ConnectTimeout, address.to_string())),
    }
}

/// Waits for the first of these futures to end and removes it. Returns `None` if there are none. Cancel safe.
async fn first_of<F: Future>(running: &mut Vec<Pin<Box<F>>>) -> Option<F::Output> {
    poll_fn(|cx| {
        for place in 0..running.len() {
            if let Poll::Ready(output) = running[place].as_mut().poll(cx) {
                drop(running.swap_remove(place));
                return Poll::Ready(Some(output));
            }
        }
        if running.is_empty() { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::{
        net::{TcpListener, TcpSocket},
        time::timeout,
    };

    use super::*;

    const LONG: Duration = Duration::from_secs(30);
    const SHORT: Duration = Duration::from_millis(40);

    /// A listener that accepts no further connection, and the connections that fill its queue.
    pub(in super::super) async fn black_hole() -> (TcpListener, Vec<TcpStream>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let mut queue = Vec::new();
        while let Ok(queued) = timeout(SHORT, TcpStream::connect(listener.local_addr().unwrap())).await {
            queue.push(queued.unwrap());
        }
        (listener, queue)
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    async fn refused() -> SocketAddr {
        listener().await.1
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_followed_by_the_next_at_once() {
        let (_listener, alive) = listener().await;
        let mut addresses = vec![refused().await; 100];
        addresses.push(alive);
        let begun = Instant::now();
        let connected = connect_first(&addresses, begun + LONG).await;
        assert_eq!(connected.unwrap().peer_addr().unwrap(), alive);
        assert!(begun.elapsed() < ATTEMPT_DELAY * 10);
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_is_followed_by_the_next_after_the_delay() {
        let (hole, _queue) = black_hole().await;
        let (_listener, alive) = listener().await;
        let begun = Instant::now();
        let addresses = [hole.local_addr().unwrap(), refused().await, alive];
        let connected = connect_first(&addresses, begun + LONG).await;
        assert_eq!(connected.unwrap().peer_addr().unwrap(), alive);
        assert!(begun.elapsed() >= ATTEMPT_DELAY && begun.elapsed() < LONG / 2);
    }

    #[tokio::test]
    async fn an_address_may_answer_after_the_next_attempt_has_begun() {
        let (hole, mut queue) = black_hole().await;
        let late = hole.local_addr().unwrap();
        let addresses = [late, refused().await];
        let (connected, ()) = tokio::join!(connect_first(&addresses, Instant::now() + LONG), async {
            tokio::time::sleep(ATTEMPT_DELAY + SHORT).await;
            queue.clear();
            while timeout(SHORT, hole.accept()).await.is_ok() {}
        });
        assert_eq!(connected.unwrap().peer_addr().unwrap(), late);
    }

    #[tokio::test]
    async fn other_addresses_are_not_called_while_the_first_one_answers() {
        let ((_listener, alive), (other, second)) = (listener().await, listener().await);
        let connected = connect_first(&[alive, second], Instant::now() + LONG).await;
        assert_eq!(connected.unwrap().peer_addr().unwrap(), alive);
        assert!(timeout(ATTEMPT_DELAY + SHORT, other.accept()).await.is_err());
    }

    #[tokio::test]
    async fn every_address_is_tried_before_a_near_deadline() {
        let (hole, _queue) = black_hole().await;
        let (_listener, alive) = listener().await;
        let dead = hole.local_addr().unwrap();
        let connected = connect_first(&[dead, dead, alive], Instant::now() + 2 * ATTEMPT_DELAY).await;
        assert_eq!(connected.unwrap().peer_addr().unwrap(), alive);
    }

    #[tokio::test]
    async fn the_last_failure_is_reported() {
        let (hole, _queue) = black_hole().await;
        let (dead, refused) = (hole.local_addr().unwrap(), refused().await);
        for addresses in [[dead, refused], [refused, dead]] {
            let (kind, detail) = connect_first(&addresses, Instant::now() + SHORT).await.err().unwrap();
            assert_eq!((kind, detail), (SendErrorKind::ConnectTimeout, dead.to_string()));
        }
        let (kind, detail) = connect_first(&[refused], Instant::now() + LONG).await.err().unwrap();
        assert!(kind == SendErrorKind::Connect && detail.starts_with(&refused.to_string()), "{detail}");
    }
}
