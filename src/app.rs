//! One run of the gateway: start the log, open the data directory and the ports, serve, drain, close.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    net::{SocketAddr, TcpListener},
    num::NonZero,
    path::PathBuf,
    thread::available_parallelism,
    time::Duration,
};

use actix_web::rt;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};
use tracing::{info, warn};

use crate::{
    config::Config,
    crypto::secret::Secret,
    http::{self, Serving},
    logging,
    process_limits::{self, Connections},
    service::{
        BootError, Booted, Gateway, boot, ensure_operator,
        start::demo::{self, Seeded},
        webhooks::Deliveries,
    },
};

/// The length of a listener's queue of connections that have not been accepted yet.
const BACKLOG: i32 = 1024;

/// Below this limit of open files, the start warns: each running request needs two.
const ENOUGH_FILES: u64 = 4096;

/// The number of threads of the admin listener.
const ADMIN_WORKERS: usize = 1;

/// The least time that operators' requests have to end after the last customer's request has ended.
const ADMIN_GRACE: Duration = Duration::from_secs(1);

/// How long a stop waits until aborted requests are settled.
const SETTLEMENT_GRACE: Duration = Duration::from_secs(10);

/// Why the gateway could not run.
#[derive(Debug)]
pub enum AppError {
    /// The data directory, or a file in it, cannot be used.
    Boot(BootError),
    /// A listener cannot be opened: the name of its setting, its address and the error.
    Listen(&'static str, SocketAddr, io::Error),
    /// Any other error, as text.
    Other(String),
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boot(error) => error.fmt(f),
            Self::Listen(setting, address, error) => write!(f, "{setting}: cannot listen on {address}: {error}"),
            Self::Other(error) => f.write_str(error),
        }
    }
}

impl std::error::Error for AppError {}

impl From<io::Error> for AppError {
    fn from(error: io::Error) -> Self {
        Self::Other(error.to_string())
    }
}

/// Runs the gateway until SIGTERM or Ctrl-C. `admin_key` is the value of `TOLLGATE_ADMIN_KEY`.
pub fn serve(config: Config, admin_key: Option<Secret>, with_demo: bool) -> Result<(), AppError> {
    let log = logging::start(&config.log);
    process_limits::raise_open_files();
    let booted = boot(config, admin_key).map_err(AppError::Boot)?;
    rt::System::new().block_on(run(booted, with_demo))?;
    let dropped = log.dropped.dropped_lines();
    if dropped > 0 {
        info!(dropped, "log lines were dropped");
    }
    Ok(())
}

/// The number of workers of the inference listener. A setting of 0 means one per core.
fn worker_count(workers: usize) -> usize {
    if workers > 0 { workers } else { available_parallelism().map_or(2, NonZero::get) }
}

/// The maximum number of connections of each listener. Logs a warning if the limit of open files is low.
fn connections(workers: usize) -> Connections {
    let files = process_limits::open_files();
    let connections = Connections::within(files, workers);
    if files < ENOUGH_FILES {
        let Connections { inference, admin } = connections;
        warn!(
            files,
            inference, admin, "the limit of open files is low, so few connections are accepted: raise it (ulimit -n)"
        );
    }
    connections
}

async fn run(booted: Booted, with_demo: bool) -> Result<(), AppError> {
    let gateway = booted.gateway.clone();
    let config = &gateway.core.config;
    let mut stop = StopSignal::listen()?;
    let (inference, inference_address) = bind("listen", config.listen)?;
    let (admin, admin_address) = bind("admin_listen", config.admin_listen)?;
    gateway.core.set_listeners([inference_address, admin_address]);
    // Not earlier: if this start had failed, the next one would still need the last run's file of requests in flight.
    gateway.metering.in_flight.track(&config.data_dir);

    let operator_key = ensure_operator(&gateway).await.map_err(AppError::Other)?;
    info!(max_body = config.max_body, max_bodies = config.max_bodies, "limits of request bodies, in bytes");
    let (workers, grace) = (worker_count(config.workers), config.shutdown_grace);
    let connections = connections(workers);
    let serving = Serving { workers, connections: connections.inference, grace };
    let inference = http::inference::listen(serving, inference, gateway.clone())?.run();
    let serving = Serving { workers: ADMIN_WORKERS, connections: connections.admin, grace: grace.max(ADMIN_GRACE) };
    let admin = http::admin::listen(serving, admin, gateway.clone())?.run();
    let (stop_inference, stop_admin) = (inference.handle(), admin.handle());
    let (inference, admin) = (rt::spawn(inference), rt::spawn(admin));
    // A closed standard error does not stop the gateway.
    let _ = show_operator_key(operator_key);
    info!(listener = "inference", address = %inference_address, "listening");
    info!(listener = "admin", address = %admin_address, "listening");
    let demo = match with_demo {
        true => demo::seed(&gateway.changes).await.map_err(|error| AppError::Other(format!("{error:?}"))).map(Some)?,
        false => None,
    };
    let _ = demo.map(|demo| show_demo(&gateway, &demo, admin_address));

    let deliveries = Deliveries::start(&gateway.webhooks, &gateway.storage)?;
    stop.received().await;
    gateway.core.start_drain();
    info!("stopping: waiting up to {} s for running requests", config.shutdown_grace.as_secs());
    let deadline = Instant::now() + config.shutdown_grace;
    // The admin listener serves until the last customer's request has ended. Operators' requests that still run then,
    // such as a trial call, have the rest of the grace period. Aborting a server that is stopping ends its connections.
    let ended = async {
        stop_inference.stop(true).await;
        let deadline = deadline.max(Instant::now() + ADMIN_GRACE);
        if tokio::time::timeout_at(deadline, stop_admin.stop(true)).await.is_err() {
            admin.abort();
        }
    };
    tokio::select! {
        () = ended => {}
        () = stop.received() => {
            info!("stopping immediately");
            // A server that is already stopping handles no further command, so it is aborted.
            inference.abort();
            admin.abort();
        }
    }
    let _ = tokio::join!(inference, admin);
    // Requests that run longer than the grace period are aborted and settled when their thread ends, so the journal
    // must still be open.
    if tokio::time::timeout(SETTLEMENT_GRACE, gateway.core.counts.drained()).await.is_err() {
        warn!("some requests could not be settled before the process ends");
    }
    deliveries.stop();
    if !booted.close() {
        return Err(AppError::Other("stopped, but the last journal records could not be written".to_owned()));
    }
    info!("stopped");
    Ok(())
}

fn bind(setting: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), AppError> {
    let failed = |error| AppError::Listen(setting, address, error);
    let listener = TcpListener::bind(address).map_err(failed)?;
    // The standard library's backlog is too short for a burst of customers.
    rustix::net::listen(&listener, BACKLOG).map_err(|error| failed(error.into()))?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Prints the path of the first operator key. The key itself is printed once, only to a terminal, and never logged.
fn show_operator_key(created: Option<(PathBuf, Secret)>) -> io::Result<()> {
    let Some((path, key)) = created else { return Ok(()) };
    let mut err = io::stderr();
    writeln!(err, "\nAn operator key was created and saved in {}.", path.display())?;
    if err.is_terminal() { writeln!(err, "It is shown here only once: {}", key.expose()) } else { Ok(()) }
}

/// Prints how to use the demo.
fn show_demo(gateway: &Gateway, demo: &Seeded, admin: SocketAddr) -> io::Result<()> {
    let admin_url = match &gateway.core.config.admin_url {
        Some(url) => url.as_str().trim_end_matches('/').to_owned(),
        None => format!("http://{admin}"),
    };
    let mut out = io::stdout();
    match demo {
        Seeded::Demo(key) => writeln!(
            out,
            "\nThe demo is ready. Ask it something:\n\n  curl -N {}/v1/chat/completions \\\n    -H \
             'Authorization: Bearer {}' \\\n    -H 'Content-Type: application/json' \\\n    -d '{{\"model\": \"{}\", \
             \"stream\": true, \"messages\": [{{\"role\": \"user\", \"content\": \"Hello!\"}}]}}'\n",
            gateway.core.inference_url(),
            key.expose(),
            demo::SLUG,
        )?,
        Seeded::NotEmpty => writeln!(out, "\nThe data directory is not empty, so the demo was not set up.")?,
    }
    writeln!(out, "Web UI: {admin_url}/ (sign in with an operator key)\n")
}

/// SIGTERM and Ctrl-C. The handlers are installed before the ports open, so that an early signal stops the gateway
/// cleanly.
struct StopSignal {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignal {
    fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
