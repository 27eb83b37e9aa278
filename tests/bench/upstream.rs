//! The upstream. It answers every request with a chat completion or a stream of its route, as fast as the connection
//! accepts it or at a given pace.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::answer::{self, Asked, Events, Stream};
use crate::http::Connection;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The addresses to listen on.
    #[arg(long, required = true, value_parser = crate::address)]
    listen: Vec<SocketAddr>,
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// Serves until killed. Threads get connections in turn, because the kernel's hash might give most of them to one
/// thread.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    let listeners = options.listen.iter().map(TcpListener::bind).collect::<io::Result<Vec<_>>>()?;
    let (workers, connections): (Vec<_>, Vec<_>) =
        (0..options.threads.max(1)).map(|_| mpsc::unbounded_channel()).unzip();
    for listener in listeners {
        let workers = workers.clone();
        std::thread::spawn(move || {
            for (stream, worker) in listener.incoming().flatten().zip(workers.iter().cycle()) {
                if worker.send(stream).is_err() {
                    return;
                }
            }
        });
    }
    crate::on_threads(connections, async |mut accepted: mpsc::UnboundedReceiver<std::net::TcpStream>| {
        while let Some(stream) = accepted.recv().await {
            // Errors are ignored: the load generator reports the missing answer.
            tokio::task::spawn_local(serve(stream));
        }
    })?;
    Ok(())
}

async fn serve(stream: std::net::TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let mut connection = Connection::new(TcpStream::from_std(stream)?)?;
    let mut answer = Answer::to(Asked::default());
    let mut body = Vec::new();
    while let Some(path) = connection.request().await? {
        body.clear();
        while !connection.body(&mut body).await? {}
        let asked = Asked::read(&path, &body);
        if asked != answer.asked {
            answer = Answer::to(asked);
        }
        match (&answer.events, answer.asked.stream) {
            (Some(events), Some(stream)) => send_stream(&mut connection, events, stream).await?,
            _ => connection.send(&answer.json).await?,
        }
    }
    Ok(())
}

/// The answer to a request, built once for all equal requests in a row.
struct Answer {
    asked: Asked,
    json: Vec<u8>,
    events: Option<Events>,
}

impl Answer {
    fn to(asked: Asked) -> Self {
        let body = answer::json(&asked.model);
        let mut json =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len())
                .into_bytes();
        json.extend_from_slice(body.as_bytes());
        let events = asked.stream.map(|stream| stream.route.events(&asked.model, stream.chunks, asked.include_usage));
        Self { asked, json, events }
    }
}

/// Sends a stream with each event in its own HTTP chunk. A paced stream writes one event at each tick. A stream without
/// a pace writes `batch` events at a time and yields to other streams in between, like a server that decodes requests
/// in batches.
async fn send_stream(connection: &mut Connection, events: &Events, stream: Stream) -> io::Result<()> {
    let mut out = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n\
                    transfer-encoding: chunked\r\n\r\n"
        .to_vec();
    put_chunks(&events.start, &mut out)?;
    connection.send(&out).await?;
    let mut ticks = (stream.pace_ms > 0).then(|| {
        let mut ticks = tokio::time::interval(Duration::from_millis(u64::from(stream.pace_ms)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    });
    let batch = if ticks.is_some() { 1 } else { stream.batch };
    let size_line = format!("{:x}\r\n", events.text_len());
    let mut left = stream.chunks;
    while left > 0 {
        match &mut ticks {
            Some(ticks) => {
                ticks.tick().await;
            }
            None => tokio::task::yield_now().await,
        }
        out.clear();
        let count = left.min(batch);
        let now_ns = crate::monotonic_ns();
        for _ in 0..count {
            out.extend_from_slice(size_line.as_bytes());
            events.put_text(now_ns, &mut out);
            out.extend_from_slice(b"\r\n");
        }
        connection.send(&out).await?;
        left -= count;
    }
    out.clear();
    put_chunks(&events.end, &mut out)?;
    out.extend_from_slice(b"0\r\n\r\n");
    connection.send(&out).await
}

/// Appends events, each in its own HTTP chunk.
fn put_chunks(events: &str, out: &mut Vec<u8>) -> io::Result<()> {
    for event in events.split_inclusive("\n\n") {
        write!(out, "{:x}\r\n{event}\r\n", event.len())?;
    }
    Ok(())
}
