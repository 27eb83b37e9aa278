//! The upstream. It answers every request with a chat completion, as fast as the connection accepts it or at a given
//! pace.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::answer::{self, Asked, DONE, Events, Stream};
use crate::http::Connection;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[arg(long, value_parser = crate::address)]
    listen: SocketAddr,
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// Serves until killed. Threads get connections in turn, because the kernel's hash might give most of them to one
/// thread.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    let listener = TcpListener::bind(options.listen)?;
    let (workers, connections): (Vec<_>, Vec<_>) =
        (0..options.threads.max(1)).map(|_| mpsc::unbounded_channel()).unzip();
    std::thread::spawn(move || {
        for (stream, worker) in listener.incoming().flatten().zip(workers.iter().cycle()) {
            if worker.send(stream).is_err() {
                return;
            }
        }
    });
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
    let mut answers = Answers::of("");
    let mut body = Vec::new();
    while connection.request().await? {
        body.clear();
        while !connection.body(&mut body).await? {}
        let asked = Asked::read(&body);
        if asked.model != answers.model.as_bytes() {
            answers = Answers::of(&String::from_utf8_lossy(asked.model));
        }
        match asked.stream {
            None => connection.send(&answers.json).await?,
            Some(stream) => answers.send_stream(&mut connection, stream, asked.include_usage).await?,
        }
    }
    Ok(())
}

/// The answers of one model, built once per connection and model.
struct Answers {
    model: String,
    json: Vec<u8>,
    events: Events,
}

impl Answers {
    fn of(model: &str) -> Self {
        let body = answer::json(model);
        let mut json =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len())
                .into_bytes();
        json.extend_from_slice(body.as_bytes());
        Self { model: model.to_owned(), json, events: Events::of(model) }
    }

    /// Sends a stream with each event in its own HTTP chunk. A paced stream writes one event at each tick. A stream
    /// without a pace writes `batch` events at a time and yields to other streams in between, like a server that
    /// decodes requests in batches.
    async fn send_stream(&self, connection: &mut Connection, stream: Stream, include_usage: bool) -> io::Result<()> {
        connection
            .send(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n\
                  transfer-encoding: chunked\r\n\r\n",
            )
            .await?;
        let mut ticks = (stream.pace_ms > 0).then(|| {
            let mut ticks = tokio::time::interval(Duration::from_millis(u64::from(stream.pace_ms)));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        let batch = if ticks.is_some() { 1 } else { stream.batch };
        let size_line = format!("{:x}\r\n", self.events.text_len());
        let mut out = Vec::new();
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
                self.events.put_text(now_ns, &mut out);
                out.extend_from_slice(b"\r\n");
            }
            connection.send(&out).await?;
            left -= count;
        }
        out.clear();
        put_chunk(self.events.finish.as_bytes(), &mut out)?;
        if include_usage {
            put_chunk(Events::usage(&self.model, stream.chunks).as_bytes(), &mut out)?;
        }
        put_chunk(DONE, &mut out)?;
        out.extend_from_slice(b"0\r\n\r\n");
        connection.send(&out).await
    }
}

fn put_chunk(event: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    write!(out, "{:x}\r\n", event.len())?;
    out.extend_from_slice(event);
    out.extend_from_slice(b"\r\n");
    Ok(())
}
