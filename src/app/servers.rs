//! The two listeners: opened, served and drained together.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    num::NonZero,
    sync::Arc,
    thread::available_parallelism,
    time::Duration,
};

use actix_server::{Server, ServerHandle};
use actix_web::rt;
use tokio::{task::JoinHandle, time::Instant};
use tracing::{info, warn};

use super::{error::AppError, stop_signal::StopSignal};
use crate::{
    config::Config,
    http::{self, Serving},
    process_limits::{self, Connections},
    service::Gateway,
};

/// The length of a listener's queue of connections that have not been accepted yet.
const BACKLOG: i32 = 1024;

/// Below this limit of open files, the start warns: each running request needs two.
const ENOUGH_FILES: u64 = 4096;

/// The number of threads of the admin listener.
const ADMIN_WORKERS: usize = 1;

/// The least time that operators' requests have to end after the last customer's request has ended.
const ADMIN_GRACE: Duration = Duration::from_secs(1);

/// Both listeners, open but not served yet, with their addresses.
pub(super) struct Listeners {
    inference: (TcpListener, SocketAddr),
    admin: (TcpListener, SocketAddr),
}

impl Listeners {
    /// Opens the ports.
    pub(super) fn bind(config: &Config) -> Result<Self, AppError> {
        Ok(Self { inference: bind("listen", config.listen)?, admin: bind("admin_listen", config.admin_listen)? })
    }

    /// The addresses of the inference and the admin listener.
    pub(super) fn addresses(&self) -> [SocketAddr; 2] {
        [self.inference.1, self.admin.1]
    }

    /// Begins to serve.
    pub(super) fn serve(self, gateway: &Arc<Gateway>) -> Result<Servers, AppError> {
        let config = &gateway.core.config;
        info!(max_body = config.max_body, max_bodies = config.max_bodies, "limits of request bodies, in bytes");
        let (workers, grace) = (worker_count(config.workers), config.shutdown_grace);
        let connections = connections(workers);
        let certificates = &gateway.certificates;
        let certificate = certificates.inference.clone();
        let serving = Serving { workers, connections: connections.inference, grace, certificate };
        let inference = http::inference::listen(serving, self.inference.0, gateway.clone())?.run();
        let (workers, grace, certificate) = (ADMIN_WORKERS, grace.max(ADMIN_GRACE), certificates.admin.clone());
        let serving = Serving { workers, connections: connections.admin, grace, certificate };
        let admin = http::admin::listen(serving, self.admin.0, gateway.clone())?.run();
        Ok(Servers {
            inference: RunningServer::spawn(inference, self.inference.1),
            admin: RunningServer::spawn(admin, self.admin.1),
        })
    }
}

/// Both listeners, while they are served.
pub(super) struct Servers {
    inference: RunningServer,
    admin: RunningServer,
}

/// One listener, while it is served.
struct RunningServer {
    address: SocketAddr,
    handle: ServerHandle,
    task: JoinHandle<io::Result<()>>,
}

impl RunningServer {
    fn spawn(server: Server, address: SocketAddr) -> Self {
        Self { address, handle: server.handle(), task: rt::spawn(server) }
    }
}

impl Servers {
    /// Logs the addresses of both listeners.
    pub(super) fn log_addresses(&self) {
        info!(listener = "inference", address = %self.inference.address, "listening");
        info!(listener = "admin", address = %self.admin.address, "listening");
    }

    /// Stops both listeners. Running requests may take up to `grace`; a second stop signal aborts them.
    pub(super) async fn drain(self, grace: Duration, stop: &mut StopSignal) {
        let Self { inference, admin } = self;
        info!("stopping: waiting up to {} s for running requests", grace.as_secs());
        let deadline = Instant::now() + grace;
        // The admin listener serves until the last customer's request has ended. Operators' requests that still run
        // then, such as a trial call, have the rest of the grace period. Aborting a server that is stopping ends its
        // connections.
        let ended = async {
            inference.handle.stop(true).await;
            let deadline = deadline.max(Instant::now() + ADMIN_GRACE);
            if tokio::time::timeout_at(deadline, admin.handle.stop(true)).await.is_err() {
                admin.task.abort();
            }
        };
        tokio::select! {
            () = ended => {}
            () = stop.received() => {
                info!("stopping immediately");
                // A server that is already stopping handles no further command, so it is aborted.
                inference.task.abort();
                admin.task.abort();
            }
        }
        let _ = tokio::join!(inference.task, admin.task);
    }
}

fn bind(setting: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), AppError> {
    let failed = |error| AppError::Listen(setting, address, error);
    let listener = TcpListener::bind(address).map_err(failed)?;
    // The standard library's backlog is too short for a burst of customers.
    rustix::net::listen(&listener, BACKLOG).map_err(|error| failed(error.into()))?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
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
