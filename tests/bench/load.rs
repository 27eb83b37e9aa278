//! The two ends of the load benchmark: a fast upstream, and a load generator that checks every answer.
//!
//! `load upstream` answers like a model server. `load json` and `load sse` call it, directly or through a proxy, in a
//! closed loop: each connection sends its next request when the last answer has ended. Both compare every byte of every
//! answer with the one that the upstream sends, so that a proxy cannot win with wrong answers. The figures are written
//! to standard output as one JSON object, which `tests/bench/run` reads.
//!
//! Upstream, load generator and proxy share the machine, so both ends are as cheap as tokio allows: one single-threaded
//! runtime per thread, an equal number of connections for each, and no shared state except the final sum.

mod answer;
mod client;
mod histogram;
mod http;
mod route;
mod tally;
mod upstream;

use std::io::{self, Write};
use std::net::SocketAddr;

use clap::Parser;

#[derive(Parser)]
#[command(about = "The upstream and the load generator of Tollgate's benchmarks")]
enum Command {
    /// Answer chat completions, plain and streamed, and streams of the other routes, until killed.
    Upstream(upstream::Options),
    /// Request JSON answers.
    Json(client::Options),
    /// Request streams.
    Sse {
        #[command(flatten)]
        client: client::Options,
        #[command(flatten)]
        stream: answer::Stream,
    },
}

fn main() -> io::Result<()> {
    let report = match Command::parse() {
        Command::Upstream(options) => return upstream::run(&options),
        Command::Json(options) => client::run(&options, None)?,
        Command::Sse { client, stream } => client::run(&client, Some(stream))?,
    };
    writeln!(io::stdout(), "{report}")
}

/// Parses the value of `--to` or `--listen`.
fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is not an address such as 127.0.0.1:8080"))
}

/// Nanoseconds of the system's monotonic clock. All processes share this clock; `Instant` does not guarantee that.
fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Runs `work` for each input on a thread with its own runtime, and returns the results.
fn on_threads<I: Send, T: Send>(inputs: Vec<I>, work: impl AsyncFn(I) -> T + Sync) -> io::Result<Vec<T>> {
    let work = &work;
    let thread = move |input| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(tokio::task::LocalSet::new().block_on(&runtime, work(input)))
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = inputs.into_iter().map(|input| scope.spawn(move || thread(input))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}
