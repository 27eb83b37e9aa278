//! Reloads the listeners' certificates when their files change, and on SIGHUP.
//!
//! The contents of the files are compared, every few seconds. Notifications of the file system would miss what certbot
//! and Kubernetes do: they replace a symbolic link, or a directory on the way to the file.

use std::{io, sync::Arc, thread, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
    time::timeout,
};
use tracing::{error, info};

use crate::service::{certificates::Certificates, clock::Clock};

/// The time between two looks at the files.
const INTERVAL: Duration = Duration::from_secs(5);

/// The time after which a reload is reported that has not ended.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

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
            reload(&clock, &certificates, is_asked).await;
        }
    }
}

/// Reads the files. They can be on a network, where a read may never end. So a thread of its own reads them, which does
/// not keep the process from ending. There is never more than one.
async fn reload(clock: &Arc<Clock>, certificates: &Arc<Certificates>, is_asked: bool) {
    let (ended, mut has_ended) = oneshot::channel();
    let read = {
        let (clock, certificates) = (clock.clone(), certificates.clone());
        move || {
            certificates.reload(clock.now(), is_asked);
            let _ = ended.send(());
        }
    };
    if let Err(error) = thread::Builder::new().name("certificates".to_owned()).spawn(read) {
        error!("the files of the certificates cannot be read again: {error}");
        return;
    }
    loop {
        match timeout(READ_TIMEOUT, &mut has_ended).await {
            Ok(Ok(())) => return,
            Ok(Err(_)) => {
                error!("the reload of the certificates panicked");
                return;
            }
            Err(_) => certificates.note_hanging(clock.now()),
        }
    }
}
