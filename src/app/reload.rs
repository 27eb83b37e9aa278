//! Reloads the listeners' certificates when their files change, and on SIGHUP.
//!
//! The contents of the files are compared, every few seconds. Notifications of the file system would miss what certbot
//! and Kubernetes do: they replace a symbolic link, or a directory on the way to the file.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::spawn_blocking,
};
use tracing::info;

use crate::service::{certificates::Certificates, clock::Clock};

/// The time between two looks at the files.
const INTERVAL: Duration = Duration::from_secs(5);

/// The signal that asks for a reload. Its handler is installed even without certificates: SIGHUP must not end the
/// process.
pub(super) struct Reload {
    hang_up: Signal,
}

impl Reload {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self { hang_up: signal(SignalKind::hangup())? })
    }

    /// Reloads until it is aborted.
    pub(super) async fn run(mut self, clock: Arc<Clock>, certificates: Arc<Certificates>) {
        loop {
            let is_asked = tokio::select! {
                _ = self.hang_up.recv() => true,
                () = tokio::time::sleep(INTERVAL), if certificates.is_any() => false,
            };
            if is_asked {
                info!("SIGHUP: reading the files of the certificates again");
            }
            let (clock, certificates) = (clock.clone(), certificates.clone());
            // Files can be on a network, where reading them may take long.
            let _ = spawn_blocking(move || certificates.reload(clock.now(), is_asked)).await;
        }
    }
}
