//! The load generator: connections in a closed loop. It compares every answer byte for byte with the expected one.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::answer::{self, Events, STAMP_DIGITS, Stream};
use crate::http::Connection;
use crate::monotonic_ns;
use crate::tally::Tally;

/// Time after the end of the measurement until missing answers count as lost.
const GRACE: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The address to call.
    #[arg(long, value_parser = crate::address)]
    to: SocketAddr,
    /// Call over TLS. The server's certificate must be this one, or be signed by it.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The customer's key. If there are several, the requests use them in turn.
    #[arg(long = "key", default_value = "none")]
    keys: Vec<String>,
    #[arg(long)]
    model: String,
    /// The number of sessions, which the requests name in `prompt_cache_key` in turn. 0: they name none.
    #[arg(long, default_value_t = 0)]
    sessions: usize,
    /// The number of connections, each with one request in flight.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// The measured time in seconds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// The time before that in seconds, which is not measured.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// The work of every connection. Times are nanoseconds of the monotonic clock.
struct Plan {
    to: SocketAddr,
    tls: Option<TlsConnector>,
    /// One request for each key and session.
    requests: Vec<String>,
    connections: usize,
    expected: Expected,
    measured_from: u64,
    until: u64,
}

enum Expected {
    Json(String),
    Events { events: Events, chunks: u32 },
}

/// Runs the load until the time is over and every answer has ended. Returns the figures.
pub(crate) fn run(options: &Options, stream: Option<Stream>) -> io::Result<serde_json::Value> {
    let start = monotonic_ns();
    let measured_from = start + (options.warm_up * 1e9) as u64;
    let until = measured_from + (options.seconds * 1e9) as u64;
    let request = |key: &String, session| {
        let body = answer::request_body(&options.model, stream, session);
        format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {key}\r\naccept: */*\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            answer::path(stream),
            options.to,
            body.len()
        )
    };
    let sessions = || (1..=options.sessions).map(Some).chain((options.sessions == 0).then_some(None));
    let plan = Arc::new(Plan {
        to: options.to,
        tls: options.ca.as_deref().map(trusting).transpose()?,
        requests: options.keys.iter().flat_map(|key| sessions().map(move |session| request(key, session))).collect(),
        connections: options.connections,
        expected: match stream {
            None => Expected::Json(answer::json(&options.model)),
            Some(Stream { route, chunks, .. }) => {
                Expected::Events { events: route.events(&options.model, chunks, false), chunks }
            }
        },
        measured_from,
        until,
    });
    let deadline = Duration::from_nanos(until - start) + GRACE;
    let share = |thread| (thread..options.connections).step_by(options.threads.max(1)).collect::<Vec<_>>();
    let shares = (0..options.threads.max(1)).map(share).collect();
    let tallies = crate::on_threads(shares, async |connections: Vec<usize>| {
        let tally = Rc::new(RefCell::new(Tally::new()));
        let mut running = JoinSet::new();
        for index in connections {
            let (plan, tally) = (Arc::clone(&plan), Rc::clone(&tally));
            running.spawn_local(async move {
                let outcome = tokio::time::timeout(deadline, plan.connection(index, &tally)).await;
                if let Err(failure) = outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                    tally.borrow_mut().fail(&failure);
                }
            });
        }
        running.join_all().await;
        tally.replace(Tally::new())
    })?;
    let mut sum = Tally::new();
    for tally in &tallies {
        sum.add(tally);
    }
    let mut report = sum.to_json();
    report["seconds"] = options.seconds.into();
    report["events_each"] = stream.map_or(0, |stream| stream.chunks).into();
    report["tokens_each"] = answer::tokens(stream).into();
    Ok(report)
}

impl Plan {
    /// Runs one connection until the time is over or an answer is wrong.
    async fn connection(&self, index: usize, tally: &RefCell<Tally>) -> io::Result<()> {
        if let Expected::Events { .. } = self.expected {
            // Spread the starts, so that paced streams do not send at the same moments.
            tokio::time::sleep(Duration::from_millis(index as u64 % 64)).await;
        }
        let mut connection = self.connect().await?;
        let mut body = Vec::new();
        for turn in (index..).step_by(self.connections) {
            let asked = monotonic_ns();
            if asked >= self.until {
                break;
            }
            connection.send(self.requests[turn % self.requests.len()].as_bytes()).await?;
            let status = connection.response().await?;
            body.clear();
            if status != 200 {
                while !connection.body(&mut body).await? {}
                return Err(io::Error::other(format!("status {status}: {}", excerpt(&body))));
            }
            match &self.expected {
                Expected::Json(expected) => {
                    while !connection.body(&mut body).await? {}
                    if body != expected.as_bytes() {
                        return Err(io::Error::other(format!("not the upstream's answer: {}", excerpt(&body))));
                    }
                    let now = monotonic_ns();
                    tally.borrow_mut().json(self.measures(now), now - asked);
                }
                Expected::Events { events, chunks } => {
                    self.stream(&mut connection, &mut body, events, *chunks, tally).await?;
                }
            }
        }
        Ok(())
    }

    async fn connect(&self) -> io::Result<Connection> {
        let tcp = TcpStream::connect(self.to).await?;
        let Some(tls) = &self.tls else { return Connection::new(tcp) };
        tcp.set_nodelay(true)?;
        Ok(Connection::over_tls(tls.connect(self.to.ip().into(), tcp).await?))
    }

    /// Reads one stream. All events of one read have the same time of arrival.
    async fn stream(
        &self,
        connection: &mut Connection,
        text: &mut Vec<u8>,
        events: &Events,
        chunks: u32,
        tally: &RefCell<Tally>,
    ) -> io::Result<()> {
        let mut start = events.start.as_bytes();
        let mut left = chunks;
        let mut last_stamp = 0;
        loop {
            let ended = connection.body(text).await?;
            let now = monotonic_ns();
            let mut tally = tally.borrow_mut();
            let mut read = start.len().min(text.len());
            if text[..read] != start[..read] {
                return Err(io::Error::other(format!("not the upstream's first events: {}", excerpt(text))));
            }
            start = &start[read..];
            while start.is_empty() && left > 0 && text.len() - read >= events.text_len() {
                last_stamp = stamp_of(&text[read..read + events.text_len()], events)
                    .ok_or_else(|| io::Error::other(format!("not the upstream's event: {}", excerpt(&text[read..]))))?;
                tally.event(self.measures(now), now.saturating_sub(last_stamp));
                read += events.text_len();
                left -= 1;
            }
            text.drain(..read);
            if ended {
                if left > 0 || text != events.end.as_bytes() {
                    return Err(io::Error::other(format!("{left} events missing before: {}", excerpt(text))));
                }
                tally.stream(self.measures(now), now.saturating_sub(last_stamp));
                return Ok(());
            }
        }
    }

    fn measures(&self, now: u64) -> bool {
        (self.measured_from..self.until).contains(&now)
    }
}

/// A client of TLS that trusts the certificates in this file.
fn trusting(file: &Path) -> io::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(io::Error::other)? {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Returns the timestamp of `event`, or `None` if it is not an event with text.
fn stamp_of(event: &[u8], events: &Events) -> Option<u64> {
    let (digits, tail) = event.strip_prefix(events.head.as_bytes())?.split_at_checked(STAMP_DIGITS)?;
    if tail == events.tail.as_bytes() { answer::stamp(digits) } else { None }
}

fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned()
}
