//! Tests of the client against real sockets: each test scripts the exact bytes that the upstream sends.

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    join,
    net::{TcpListener, TcpStream},
    time::timeout,
};
use url::Url;

use super::{connect::tests::black_hole, *};

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(40);
const PATIENT: Timeouts = Timeouts { connect: LONG, first_byte: LONG, idle: LONG };

struct Upstream {
    listener: TcpListener,
    template: Template,
}

impl Upstream {
    async fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn on(listener: TcpListener) -> Self {
        let url = format!("http://{}/v1/chat", listener.local_addr().unwrap());
        let template = Template::new(Method::Post, &Url::parse(&url).unwrap(), &[]).unwrap();
        Self { listener, template }
    }

    fn request(&self, body: &'static str) -> Request {
        self.template.request(&[], vec![Bytes::from_static(body.as_bytes())]).unwrap()
    }

    fn has_no_idle_connection(&self, client: &Client) -> bool {
        client.pool.take(self.template.origin(), Instant::now()).is_none()
    }

    async fn accept(&self) -> Peer {
        let (stream, _) = self.listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        Peer(stream)
    }

    /// Whether no connection was opened other than the accepted ones.
    async fn has_no_other_connection(&self) -> bool {
        timeout(SHORT, self.listener.accept()).await.is_err()
    }
}

/// The upstream's end of a connection.
struct Peer(TcpStream);

impl Peer {
    /// Reads until the client has sent `end`.
    async fn read_until(&mut self, end: &str) -> String {
        let mut received = Vec::new();
        while !received.ends_with(end.as_bytes()) {
            assert_ne!(self.0.read_buf(&mut received).await.unwrap(), 0, "the client hung up");
        }
        String::from_utf8(received).unwrap()
    }

    async fn send(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// Waits until the client has closed its end. Discards the bytes that it sends before that.
    async fn wait_for_close(&mut self) {
        let mut received = [0; 64 * 1024];
        while let Ok(1..) = self.0.read(&mut received).await {}
    }
}

async fn whole(mut body: Body) -> Result<String, BodyError> {
    let mut all = Vec::new();
    while let Some(piece) = body.chunk().await {
        all.extend_from_slice(&piece?);
    }
    assert!(body.chunk().await.is_none());
    Ok(String::from_utf8(all).unwrap())
}

fn client(timeouts: Timeouts) -> Client {
    Client::new(timeouts, Arc::new([]))
}

/// Makes one exchange and checks that it uses the connection that the upstream has already accepted.
async fn exchange(client: &Client, upstream: &Upstream, peer: &mut Peer) {
    let (answer, _) = join!(client.send(upstream.request("again")), async {
        peer.read_until("again").await;
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nsame").await;
    });
    assert_eq!(whole(answer.unwrap().body).await.unwrap(), "same");
}

/// Returns a client with one idle connection to `upstream`, and the other end of that connection.
async fn warm(upstream: &Upstream) -> (Client, Peer) {
    let client = client(PATIENT);
    let (answer, peer) = join!(client.send(upstream.request("first")), async {
        let mut peer = upstream.accept().await;
        peer.read_until("first").await;
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        peer
    });
    assert_eq!(whole(answer.unwrap().body).await.unwrap(), "ok");
    (client, peer)
}

#[tokio::test]
async fn an_answer_is_read_the_same_whole_and_byte_by_byte() {
    let upstream = Upstream::start().await;
    for (head, body, closes) in [
        ("content-length: 12", "hello, world", false),
        ("transfer-encoding: chunked", "5\r\nhello\r\n2;x\r\n, \r\n5\r\nworld\r\n0\r\nt: 1\r\n\r\n", false),
        ("x: y", "hello, world", true),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{head}\r\n\r\n{body}");
        for step in [1, 7, answer.len()] {
            let client = client(PATIENT);
            let serve = async {
                let mut peer = upstream.accept().await;
                let received = peer.read_until("prompt").await;
                assert!(received.starts_with("POST /v1/chat HTTP/1.1\r\nhost: 127.0.0.1:"));
                assert!(received.ends_with("accept-encoding: identity\r\ncontent-length: 6\r\n\r\nprompt"));
                for piece in answer.as_bytes().chunks(step) {
                    peer.0.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
                if closes { None } else { Some(peer) }
            };
            let call = async {
                let answer = client.send(upstream.request("prompt")).await.unwrap();
                assert_eq!(answer.status, 200);
                assert_eq!(answer.headers.get("content-type"), Some(&b"text/plain"[..]));
                whole(answer.body).await.unwrap()
            };
            let (text, peer) = join!(call, serve);
            assert_eq!(text, "hello, world");
            if let Some(mut peer) = peer {
                exchange(&client, &upstream, &mut peer).await;
            }
        }
    }
    assert!(upstream.has_no_other_connection().await);
}

#[tokio::test]
async fn a_connection_is_closed_when_the_answer_asks_for_it_or_has_bytes_after_its_end() {
    let upstream = Upstream::start().await;
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nmore",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nkeep-alive: timeout=0\r\n\r\nok",
    ] {
        let client = client(PATIENT);
        let call = async { whole(client.send(upstream.request("one")).await.unwrap().body).await.unwrap() };
        let (text, mut peer) = join!(call, async {
            let mut peer = upstream.accept().await;
            peer.read_until("one").await;
            peer.send(answer).await;
            peer
        });
        assert_eq!(text, "ok");
        let (second, _) = join!(client.send(upstream.request("two")), async {
            let mut fresh = upstream.accept().await;
            fresh.read_until("two").await;
            fresh.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        });
        assert_eq!(second.unwrap().status, 204);
        peer.wait_for_close().await;
    }
}

#[tokio::test]
async fn an_empty_body_returns_its_connection_at_once() {
    let upstream = Upstream::start().await;
    let (client, mut peer) = warm(&upstream).await;
    let (answer, _) = join!(client.send(upstream.request("empty")), async {
        peer.read_until("empty").await;
        peer.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        peer.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    });
    let answer = answer.unwrap();
    assert_eq!(answer.status, 204);
    exchange(&client, &upstream, &mut peer).await;
    drop(answer);
    exchange(&client, &upstream, &mut peer).await;
}

#[tokio::test]
async fn a_reused_connection_that_closes_before_it_answers_is_replaced_once() {
    let upstream = Upstream::start().await;
    let (client, mut stale) = warm(&upstream).await;
    let (answer, _) = join!(client.send(upstream.request("second")), async {
        stale.read_until("second").await;
        drop(stale);
        let mut fresh = upstream.accept().await;
        let received = fresh.read_until("second").await;
        assert!(received.starts_with("POST /v1/chat HTTP/1.1\r\n"));
        fresh.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfresh").await;
    });
    assert_eq!(whole(answer.unwrap().body).await.unwrap(), "fresh");
    assert!(upstream.has_no_other_connection().await);

    let (client, mut stale) = warm(&upstream).await;
    let (answer, _) = join!(client.send(upstream.request("second")), async {
        stale.read_until("second").await;
        drop(stale);
        upstream.accept().await.read_until("second").await;
    });
    assert_eq!(answer.err().unwrap().kind, SendErrorKind::Closed);
    assert!(upstream.has_no_other_connection().await);
}

#[tokio::test]
async fn a_request_is_not_repeated_after_the_first_byte_of_its_answer() {
    let upstream = Upstream::start().await;
    let (client, mut peer) = warm(&upstream).await;
    let (answer, _) = join!(client.send(upstream.request("second")), async {
        peer.read_until("second").await;
        peer.send("H").await;
        drop(peer);
    });
    assert_eq!(answer.err().unwrap().kind, SendErrorKind::Protocol);
    assert!(upstream.has_no_other_connection().await);
}

#[tokio::test]
async fn a_fresh_connection_that_closes_is_an_error() {
    let upstream = Upstream::start().await;
    let client = client(PATIENT);
    let (answer, _) = join!(client.send(upstream.request("only")), async {
        upstream.accept().await.read_until("only").await;
    });
    let error = answer.err().unwrap();
    assert_eq!(error.kind, SendErrorKind::Closed);
    let origin = upstream.template.origin();
    assert_eq!(error.to_string(), format!("{origin}: it closed the connection before it answered: end of stream"));
    assert!(upstream.has_no_other_connection().await);
}

#[tokio::test]
async fn an_idle_connection_that_was_closed_or_received_bytes_is_not_used_again() {
    let upstream = Upstream::start().await;
    for last_bytes in ["", "HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n"] {
        let (client, mut stale) = warm(&upstream).await;
        stale.send(last_bytes).await;
        drop(stale);
        // Lets the runtime see the bytes or the close.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let (answer, _) = join!(client.send(upstream.request("second")), async {
            let mut fresh = upstream.accept().await;
            fresh.read_until("second").await;
            fresh.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        });
        assert_eq!(answer.unwrap().status, 200);
    }
}

#[tokio::test]
async fn idle_connections_are_closed_when_they_expire() {
    let upstream = Upstream::start().await;
    let (client, mut peer) = warm(&upstream).await;
    let origin = upstream.template.origin();
    client.pool.sweep(Instant::now());
    let connection = client.pool.take(origin, Instant::now()).unwrap();
    client.pool.put(connection, Instant::now() + Duration::from_secs(4));
    client.pool.sweep(Instant::now() + Duration::from_secs(5));
    assert!(client.pool.take(origin, Instant::now()).is_none());
    peer.wait_for_close().await;

    let (client, mut peer) = warm(&upstream).await;
    assert!(client.pool.take(origin, Instant::now() + Duration::from_secs(5)).is_none());
    peer.wait_for_close().await;
}

#[tokio::test]
async fn the_sweep_ends_with_the_client() {
    let client = client(PATIENT);
    let sweep = client.sweep_idle();
    drop(client);
    sweep.await;
}

#[tokio::test]
async fn an_early_refusal_of_a_large_body_is_read() {
    let upstream = Upstream::start().await;
    let client = client(PATIENT);
    let request = upstream.template.request(&[], vec![Bytes::from(vec![b'x'; 50 << 20])]).unwrap();
    let (answer, mut peer) = join!(client.send(request), async {
        let mut peer = upstream.accept().await;
        peer.0.read_exact(&mut [0; 100]).await.unwrap();
        peer.send("HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\nlarge").await;
        peer
    });
    let answer = answer.unwrap();
    assert_eq!(answer.status, 413);
    assert_eq!(whole(answer.body).await.unwrap(), "large");
    peer.wait_for_close().await;
    assert!(upstream.has_no_idle_connection(&client));

    // The same, but the upstream closes right after its answer: its reset must not hide the answer.
    let request = upstream.template.request(&[], vec![Bytes::from(vec![b'x'; 50 << 20])]).unwrap();
    let (answer, _) = join!(client.send(request), async {
        let mut peer = upstream.accept().await;
        peer.0.read_exact(&mut [0; 100]).await.unwrap();
        peer.send("HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\nlarge").await;
    });
    assert_eq!(whole(answer.unwrap().body).await.unwrap(), "large");
}

#[tokio::test]
async fn an_upstream_may_start_to_answer_while_it_still_reads() {
    let upstream = Upstream::start().await;
    let client = client(PATIENT);
    let size = 20 << 20;
    let request = upstream.template.request(&[], vec![Bytes::from(vec![b'#'; size])]).unwrap();
    let call = async { whole(client.send(request).await.unwrap().body).await.unwrap() };
    let (text, mut peer) = join!(call, async {
        let mut peer = upstream.accept().await;
        let mut received = Vec::with_capacity(size + 1024);
        peer.0.read_buf(&mut received).await.unwrap();
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n").await;
        while received.iter().len() < size {
            assert_ne!(peer.0.read_buf(&mut received).await.unwrap(), 0);
        }
        peer.send("3\r\ntwo\r\n0\r\n\r\n").await;
        peer
    });
    assert_eq!(text, "onetwo");
    exchange(&client, &upstream, &mut peer).await;
}

#[tokio::test]
async fn a_silent_upstream_times_out() {
    let upstream = Upstream::start().await;
    let client = client(Timeouts { first_byte: SHORT, ..PATIENT });
    for bytes in ["", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 OK\r\n"] {
        let (answer, mut peer) = join!(client.send(upstream.request("hello")), async {
            let mut peer = upstream.accept().await;
            // On a busy machine the client may have hung up already.
            let _ = peer.0.write_all(bytes.as_bytes()).await;
            peer
        });
        let error = answer.err().unwrap();
        assert!(error.kind == SendErrorKind::FirstByteTimeout && error.kind.is_timeout());
        peer.wait_for_close().await;
    }
}

#[tokio::test]
async fn a_body_that_stalls_times_out_after_its_data_was_returned() {
    let upstream = Upstream::start().await;
    let client = client(Timeouts { idle: SHORT, ..PATIENT });
    let (answer, mut peer) = join!(client.send(upstream.request("hello")), async {
        let mut peer = upstream.accept().await;
        peer.read_until("hello").await;
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await;
        peer
    });
    let mut body = answer.unwrap().body;
    assert_eq!(body.chunk().await.unwrap().unwrap(), "a");
    // The idle timeout does not count while no caller waits.
    tokio::time::sleep(SHORT * 2).await;
    peer.send("1\r\nb\r\n").await;
    assert_eq!(body.chunk().await.unwrap().unwrap(), "b");
    assert_eq!(body.chunk().await, Some(Err(BodyError::TimedOut)));
    assert_eq!(body.chunk().await, None);
    peer.wait_for_close().await;
}

#[tokio::test]
async fn an_address_that_accepts_no_connection_times_out() {
    let (listener, queue) = black_hole().await;
    let upstream = Upstream::on(listener);
    let client = client(Timeouts { connect: SHORT, ..PATIENT });
    let error = client.send(upstream.request("hello")).await.err().unwrap();
    assert!(error.kind == SendErrorKind::ConnectTimeout && error.kind.is_timeout());

    drop((queue, upstream));
    let closed = Upstream::start().await;
    let request = closed.request("hello");
    drop(closed);
    assert_eq!(client.send(request).await.err().unwrap().kind, SendErrorKind::Connect);
}

#[tokio::test]
async fn our_own_listener_and_link_local_addresses_are_not_called() {
    let upstream = Upstream::start().await;
    let port = upstream.listener.local_addr().unwrap().port();
    let client = Client::new(PATIENT, Arc::new([upstream.listener.local_addr().unwrap()]));
    for url in [
        format!("http://127.0.0.1:{port}/v1"),
        format!("http://localhost:{port}/v1"),
        format!("http://[::ffff:127.0.0.1]:{port}/v1"),
        "http://169.254.169.254/latest".to_owned(),
        "http://2852039166/latest".to_owned(),
        "http://[fe80::1]/".to_owned(),
    ] {
        let template = Template::new(Method::Get, &Url::parse(&url).unwrap(), &[]).unwrap();
        let error = client.send(template.request(&[], Vec::new()).unwrap()).await.err().unwrap();
        assert_eq!(error.kind, SendErrorKind::Forbidden, "{url}");
    }
    assert!(upstream.has_no_other_connection().await);
}

#[tokio::test]
async fn a_name_without_an_address_is_an_error_that_says_so() {
    // The name is too long to be valid, so no resolver is asked.
    let name = "n".repeat(64);
    let url = Url::parse(&format!("http://{name}/v1")).unwrap();
    let template = Template::new(Method::Get, &url, &[]).unwrap();
    let error = client(PATIENT).send(template.request(&[], Vec::new()).unwrap()).await.err().unwrap();
    assert_eq!(error.kind, SendErrorKind::Resolve);
    assert!(error.to_string().starts_with(&format!("http://{name}: the name could not be resolved: ")));
}

#[tokio::test]
async fn dropping_a_request_or_body_cancels_the_upstream_request() {
    let upstream = Upstream::start().await;
    let client = client(PATIENT);
    let mut peer = {
        let mut call = Box::pin(client.send(upstream.request("hello")));
        tokio::select! {
            _ = &mut call => panic!("the call ended without an answer"),
            peer = async {
                let mut peer = upstream.accept().await;
                peer.read_until("hello").await;
                peer
            } => peer,
        }
    };
    peer.wait_for_close().await;

    let (answer, mut peer) = join!(client.send(upstream.request("hello")), async {
        let mut peer = upstream.accept().await;
        peer.read_until("hello").await;
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await;
        peer
    });
    let mut body = answer.unwrap().body;
    assert_eq!(body.chunk().await.unwrap().unwrap(), "a");
    drop(body);
    peer.wait_for_close().await;
    assert!(upstream.has_no_idle_connection(&client));
}

#[tokio::test]
async fn a_truncated_body_is_an_error_after_its_data() {
    let upstream = Upstream::start().await;
    for (answer, malformed) in [
        ("content-length: 10\r\n\r\npart", false),
        ("transfer-encoding: chunked\r\n\r\n4\r\npart\r\n", false),
        ("transfer-encoding: chunked\r\n\r\n4\r\npart\r\n0\r\n", false),
        ("transfer-encoding: chunked\r\n\r\n4\r\npart\r\nzz\r\n", true),
    ] {
        let client = client(PATIENT);
        let call = async {
            let mut body = client.send(upstream.request("hello")).await.unwrap().body;
            assert_eq!(body.chunk().await.unwrap().unwrap(), "part");
            body.chunk().await.unwrap().unwrap_err()
        };
        let (error, _) = join!(call, async {
            let mut peer = upstream.accept().await;
            peer.read_until("hello").await;
            peer.send(&format!("HTTP/1.1 200 OK\r\n{answer}")).await;
        });
        assert_eq!(matches!(error, BodyError::Protocol(_)), malformed, "{error}");
        assert!(upstream.has_no_idle_connection(&client));
    }
}

#[tokio::test]
async fn an_invalid_answer_is_an_error_at_once() {
    let upstream = Upstream::start().await;
    for garbage in ["SSH-2.0-x\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"] {
        let client = client(PATIENT);
        let (answer, mut peer) = join!(client.send(upstream.request("hello")), async {
            let mut peer = upstream.accept().await;
            peer.read_until("hello").await;
            peer.send(garbage).await;
            peer
        });
        assert_eq!(answer.err().unwrap().kind, SendErrorKind::Protocol);
        peer.wait_for_close().await;
    }
}
