//! The client against real sockets: an upstream that says exactly what a test tells it to.

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    join,
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};
use url::Url;

use super::*;

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

    /// Nobody else has connected.
    async fn is_left_alone(&self) -> bool {
        timeout(SHORT, self.listener.accept()).await.is_err()
    }
}

/// The upstream's end of a connection.
struct Peer(TcpStream);

impl Peer {
    /// Reads until the client has sent `end`.
    async fn hear(&mut self, end: &str) -> String {
        let mut heard = Vec::new();
        while !heard.ends_with(end.as_bytes()) {
            assert_ne!(self.0.read_buf(&mut heard).await.unwrap(), 0, "the client hung up");
        }
        String::from_utf8(heard).unwrap()
    }

    async fn say(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// Returns when the client has closed its end; what it sent before that is of no interest.
    async fn see_it_closed(&mut self) {
        let mut heard = [0; 64 * 1024];
        while let Ok(1..) = self.0.read(&mut heard).await {}
    }
}

async fn whole(mut body: Body) -> Result<String, BodyError> {
    let mut all = Vec::new();
    while let Some(piece) = body.chunk().await {
        all.extend_from_slice(&piece?);
    }
    assert!(body.is_end() && body.chunk().await.is_none());
    Ok(String::from_utf8(all).unwrap())
}

fn client(timeouts: Timeouts) -> Client {
    Client::new(timeouts, Arc::new([]))
}

/// One exchange on a connection that the upstream already has; true if it came as expected.
async fn exchange(client: &Client, upstream: &Upstream, peer: &mut Peer) {
    let (answer, _) = join!(client.send(upstream.request("again")), async {
        peer.hear("again").await;
        peer.say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nsame").await;
    });
    assert_eq!(whole(answer.unwrap().body).await.unwrap(), "same");
}

/// A client with one idle connection to `upstream`, and that connection's other end.
async fn warm(upstream: &Upstream) -> (Client, Peer) {
    let client = client(PATIENT);
    let (answer, peer) = join!(client.send(upstream.request("first")), async {
        let mut peer = upstream.accept().await;
        peer.hear("first").await;
        peer.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        peer
    });
    assert_eq!(whole(answer.unwrap().body).await.unwrap(), "ok");
    (client, peer)
}

#[tokio::test]
async fn an_answer_is_the_same_whole_and_byte_by_byte() {
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
                let heard = peer.hear("prompt").await;
                assert!(heard.starts_with("POST /v1/chat HTTP/1.1\r\nhost: 127.0.0.1:"));
                assert!(heard.ends_with("accept-encoding: identity\r\ncontent-length: 6\r\n\r\nprompt"));
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
            let (said, peer) = join!(call, serve);
            assert_eq!(said, "hello, world");
            if let Some(mut peer) = peer {
                exchange(&client, &upstream, &mut peer).await;
            }
        }
    }
    assert!(upstream.is_left_alone().await);
}

#[tokio::test]
async fn a_connection_is_closed_when_the_answer_says_so_or_goes_on_past_its_end() {
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
        let (said, mut peer) = join!(call, async {
            let mut peer = upstream.accept().await;
            peer.hear("one").await;
            peer.say(answer).await;
            peer
        });
        assert_eq!(said, "ok");
        let (second, _) = join!(client.send(upstream.request("two")), async {
            let mut fresh = upstream.accept().await;
            fresh.hear("two").await;
            fresh.say("HTTP/1.1 204 No Content\r\n\r\n").await;
        });
        assert_eq!(second.unwrap().status, 204);
        peer.see_it_closed().await;
    }
}

#[tokio::test]
async fn a_body_without_bytes_gives_its_connection_back_at_once() {
    let upstream = Upstream::start().await;
    let (client, mut peer) = warm(&upstream).await;
    let (answer, _) = join!(client.send(upstream.request("empty")), async {
        peer.hear("empty").await;
        peer.say("HTTP/1.1 100 Continue\r\n\r\n").await;
        peer.say("HTTP/1.1 204 No Content\r\n\r\n").await;
    });
    let answer = answer.unwrap();
    assert!(answer.status == 204 && answer.body.is_end());
    exchange(&client, &upstream, &mut peer).await;
    drop(answer);
    exchange(&client, &upstream, &mut peer).await;
}

#[tokio::test]
async fn a_reused_connection_that_dies_before_it_answers_is_replaced_once() {
    let upstream = Upstream::start().await;
    let (client, mut stale) = warm(&upstream).await;
    let (answer, _) = join!(client.send(upstream.request("second")), async {
        stale.hear("second").await;
        drop(stale);
        let mut fresh = upstream.accept().await;
        let heard = fresh.hear("second").await;
        assert!(heard.starts_with("POST /v1/chat HTTP/1.1\r\n"));
        fresh.say("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfresh").await;
    });
    assert_eq!(whole(answer.unwrap().body).await.unwrap(), "fresh");
    assert!(upstream.is_left_alone().await);

    let (client, mut stale) = warm(&upstream).await;
    let (answer, _) = join!(client.send(upstream.request("second")), async {
        stale.hear("second").await;
        drop(stale);
        upstream.accept().await.hear("second").await;
    });
    assert_eq!(answer.err().unwrap().kind, SendErrorKind::Closed);
    assert!(upstream.is_left_alone().await);
}

#[tokio::test]
async fn a_request_is_not_repeated_once_a_byte_of_its_answer_came() {
    let upstream = Upstream::start().await;
    let (client, mut peer) = warm(&upstream).await;
    let (answer, _) = join!(client.send(upstream.request("second")), async {
        peer.hear("second").await;
        peer.say("H").await;
        drop(peer);
    });
    assert_eq!(answer.err().unwrap().kind, SendErrorKind::Protocol);
    assert!(upstream.is_left_alone().await);
}

#[tokio::test]
async fn a_fresh_connection_that_dies_is_an_error_in_words() {
    let upstream = Upstream::start().await;
    let client = client(PATIENT);
    let (answer, _) = join!(client.send(upstream.request("only")), async {
        upstream.accept().await.hear("only").await;
    });
    let error = answer.err().unwrap();
    assert_eq!(error.kind, SendErrorKind::Closed);
    let origin = upstream.template.origin();
    assert_eq!(error.to_string(), format!("{origin}: closed before it answered: end of stream"));
    assert!(upstream.is_left_alone().await);
}

#[tokio::test]
async fn an_idle_connection_that_was_closed_or_spoke_is_not_used_again() {
    let upstream = Upstream::start().await;
    for last_words in ["", "HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n"] {
        let (client, mut stale) = warm(&upstream).await;
        stale.say(last_words).await;
        drop(stale);
        // Lets the runtime see what came.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let (answer, _) = join!(client.send(upstream.request("second")), async {
            let mut fresh = upstream.accept().await;
            fresh.hear("second").await;
            fresh.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        });
        assert_eq!(answer.unwrap().status, 200);
    }
}

#[tokio::test]
async fn idle_connections_are_closed_when_their_time_is_up() {
    let upstream = Upstream::start().await;
    let (client, mut peer) = warm(&upstream).await;
    let origin = upstream.template.origin();
    client.pool.sweep(Instant::now());
    let connection = client.pool.take(origin, Instant::now()).unwrap();
    client.pool.put(connection, Instant::now() + Duration::from_secs(4));
    client.pool.sweep(Instant::now() + Duration::from_secs(5));
    assert!(client.pool.take(origin, Instant::now()).is_none());
    peer.see_it_closed().await;

    let (client, mut peer) = warm(&upstream).await;
    assert!(client.pool.take(origin, Instant::now() + Duration::from_secs(5)).is_none());
    peer.see_it_closed().await;
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
        peer.say("HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\nlarge").await;
        peer
    });
    let answer = answer.unwrap();
    assert_eq!(answer.status, 413);
    assert_eq!(whole(answer.body).await.unwrap(), "large");
    peer.see_it_closed().await;
    assert!(upstream.has_no_idle_connection(&client));

    // The same, and the upstream closes right after it: its reset must not hide what it said.
    let request = upstream.template.request(&[], vec![Bytes::from(vec![b'x'; 50 << 20])]).unwrap();
    let (answer, _) = join!(client.send(request), async {
        let mut peer = upstream.accept().await;
        peer.0.read_exact(&mut [0; 100]).await.unwrap();
        peer.say("HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\nlarge").await;
    });
    assert_eq!(whole(answer.unwrap().body).await.unwrap(), "large");
}

#[tokio::test]
async fn an_upstream_may_begin_to_answer_while_it_still_reads() {
    let upstream = Upstream::start().await;
    let client = client(PATIENT);
    let size = 20 << 20;
    let request = upstream.template.request(&[], vec![Bytes::from(vec![b'#'; size])]).unwrap();
    let call = async { whole(client.send(request).await.unwrap().body).await.unwrap() };
    let (said, mut peer) = join!(call, async {
        let mut peer = upstream.accept().await;
        let mut heard = Vec::with_capacity(size + 1024);
        peer.0.read_buf(&mut heard).await.unwrap();
        peer.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n").await;
        while heard.iter().len() < size {
            assert_ne!(peer.0.read_buf(&mut heard).await.unwrap(), 0);
        }
        peer.say("3\r\ntwo\r\n0\r\n\r\n").await;
        peer
    });
    assert_eq!(said, "onetwo");
    exchange(&client, &upstream, &mut peer).await;
}

#[tokio::test]
async fn a_silent_upstream_is_given_up() {
    let upstream = Upstream::start().await;
    let client = client(Timeouts { first_byte: SHORT, ..PATIENT });
    for words in ["", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 OK\r\n"] {
        let (answer, mut peer) = join!(client.send(upstream.request("hello")), async {
            let mut peer = upstream.accept().await;
            // On a busy machine the client may be gone by now.
            let _ = peer.0.write_all(words.as_bytes()).await;
            peer
        });
        let error = answer.err().unwrap();
        assert!(error.kind == SendErrorKind::FirstByteTimeout && error.kind.is_timeout());
        peer.see_it_closed().await;
    }
}

#[tokio::test]
async fn a_body_that_stops_coming_is_given_up_and_keeps_its_beginning() {
    let upstream = Upstream::start().await;
    let client = client(Timeouts { idle: SHORT, ..PATIENT });
    let (answer, mut peer) = join!(client.send(upstream.request("hello")), async {
        let mut peer = upstream.accept().await;
        peer.hear("hello").await;
        peer.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await;
        peer
    });
    let mut body = answer.unwrap().body;
    assert_eq!(body.chunk().await.unwrap().unwrap(), "a");
    // Nobody waits: no time counts.
    tokio::time::sleep(SHORT * 2).await;
    peer.say("1\r\nb\r\n").await;
    assert_eq!(body.chunk().await.unwrap().unwrap(), "b");
    assert_eq!(body.chunk().await, Some(Err(BodyError::TimedOut)));
    assert_eq!(body.chunk().await, None);
    peer.see_it_closed().await;
}

#[tokio::test]
async fn an_address_that_does_not_accept_is_given_up() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let upstream = Upstream::on(socket.listen(1).unwrap());
    let mut queue = Vec::new();
    let address = upstream.listener.local_addr().unwrap();
    while let Ok(queued) = timeout(SHORT, TcpStream::connect(address)).await {
        queue.push(queued);
    }
    let client = client(Timeouts { connect: SHORT, ..PATIENT });
    let error = client.send(upstream.request("hello")).await.err().unwrap();
    assert!(error.kind == SendErrorKind::ConnectTimeout && error.kind.is_timeout());

    drop((queue, upstream));
    let gone = Upstream::start().await;
    let request = gone.request("hello");
    drop(gone);
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
    assert!(upstream.is_left_alone().await);
}

#[tokio::test]
async fn a_name_without_an_address_says_so() {
    // Too long for a name: no resolver has to be asked.
    let name = "n".repeat(64);
    let url = Url::parse(&format!("http://{name}/v1")).unwrap();
    let template = Template::new(Method::Get, &url, &[]).unwrap();
    let error = client(PATIENT).send(template.request(&[], Vec::new()).unwrap()).await.err().unwrap();
    assert_eq!(error.kind, SendErrorKind::Resolve);
    assert!(error.to_string().starts_with(&format!("http://{name}: the name could not be resolved: ")));
}

#[tokio::test]
async fn a_request_or_body_that_is_dropped_cancels_the_upstream() {
    let upstream = Upstream::start().await;
    let client = client(PATIENT);
    let mut peer = {
        let mut call = Box::pin(client.send(upstream.request("hello")));
        tokio::select! {
            _ = &mut call => panic!("nobody answered"),
            peer = async {
                let mut peer = upstream.accept().await;
                peer.hear("hello").await;
                peer
            } => peer,
        }
    };
    peer.see_it_closed().await;

    let (answer, mut peer) = join!(client.send(upstream.request("hello")), async {
        let mut peer = upstream.accept().await;
        peer.hear("hello").await;
        peer.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await;
        peer
    });
    let mut body = answer.unwrap().body;
    assert_eq!(body.chunk().await.unwrap().unwrap(), "a");
    drop(body);
    peer.see_it_closed().await;
    assert!(upstream.has_no_idle_connection(&client));
}

#[tokio::test]
async fn a_body_cut_short_is_an_error_after_what_came() {
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
            peer.hear("hello").await;
            peer.say(&format!("HTTP/1.1 200 OK\r\n{answer}")).await;
        });
        assert_eq!(matches!(error, BodyError::Protocol(_)), malformed, "{error}");
        assert!(upstream.has_no_idle_connection(&client));
    }
}

#[tokio::test]
async fn garbage_is_an_error_at_once() {
    let upstream = Upstream::start().await;
    for garbage in ["SSH-2.0-x\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"] {
        let client = client(PATIENT);
        let (answer, mut peer) = join!(client.send(upstream.request("hello")), async {
            let mut peer = upstream.accept().await;
            peer.hear("hello").await;
            peer.say(garbage).await;
            peer
        });
        assert_eq!(answer.err().unwrap().kind, SendErrorKind::Protocol);
        peer.see_it_closed().await;
    }
}
