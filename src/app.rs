//! One run of the gateway: start the log, open the data directory and the ports, serve, drain, close.

mod error;
mod reload;
mod servers;
mod stop_signal;

use std::{
    io::{self, IsTerminal, Write},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use actix_web::rt;
use tracing::{info, warn};

pub use self::error::AppError;
use self::{reload::Reload, servers::Listeners, stop_signal::StopSignal};

use crate::{
    config::Config,
    crypto::secret::Secret,
    logging, process_limits,
    service::{
        Booted, Gateway, boot, ensure_operator,
        mail::Mails,
        start::demo::{self, Seeded},
        webhooks::Deliveries,
    },
};

/// How long a stop waits until aborted requests are settled.
const SETTLEMENT_GRACE: Duration = Duration::from_secs(10);

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

async fn run(booted: Booted, with_demo: bool) -> Result<(), AppError> {
    let gateway = booted.gateway.clone();
    let mut stop = StopSignal::listen()?;
    let reload = Reload::listen()?;
    let listeners = Listeners::bind(&gateway.core.config)?;
    let addresses @ [_, admin_address] = listeners.addresses();
    gateway.core.set_listeners(addresses);
    // Not earlier: if this start had failed, the next one would still need the last run's file of requests in flight.
    gateway.metering.in_flight.track(&gateway.core.config.data_dir);

    let operator_key = ensure_operator(&gateway).await.map_err(AppError::Other)?;
    let servers = listeners.serve(&gateway)?;
    // A closed standard error does not stop the gateway.
    let _ = show_operator_key(operator_key);
    servers.log_addresses();
    if with_demo {
        let demo = demo::seed(&gateway.changes).await.map_err(|error| AppError::Other(format!("{error:?}")))?;
        let _ = show_demo(&gateway, &demo, admin_address);
    }

    let reloading = rt::spawn(reload.run(gateway.core.clock.clone(), gateway.certificates.clone()));
    let deliveries = Deliveries::start(&gateway.webhooks, &gateway.storage)?;
    let mails = Mails::start(gateway.mail.as_ref())?;
    stop.received().await;
    gateway.core.start_drain();
    servers.drain(gateway.core.config.shutdown_grace, &mut stop).await;
    // Requests that run longer than the grace period are aborted and settled when their thread ends, so the journal
    // must still be open.
    if tokio::time::timeout(SETTLEMENT_GRACE, gateway.core.counts.drained()).await.is_err() {
        warn!("some requests could not be settled before the process ends");
    }
    deliveries.stop();
    mails.stop();
    reloading.abort();
    if !booted.close() {
        return Err(AppError::Other("stopped, but the last journal records could not be written".to_owned()));
    }
    info!("stopped");
    Ok(())
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
        None if gateway.core.config.admin_tls.is_on() => format!("https://{admin}"),
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
