//! The journal's threads.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use parking_lot::Mutex;

use super::{shared::Shared, writer::Writer};

/// The writer thread and the upkeep thread.
#[derive(Debug)]
pub(super) struct Threads {
    shared: Arc<Shared>,
    running: Mutex<Option<(JoinHandle<()>, JoinHandle<()>)>>,
}

impl Threads {
    /// No threads, for a journal that is only read.
    pub(super) fn none(shared: Arc<Shared>) -> Self {
        Self { shared, running: Mutex::new(None) }
    }

    pub(super) fn start(shared: Arc<Shared>, writer: Writer) -> io::Result<Self> {
        let keeper = shared.clone();
        let upkeep = thread::Builder::new().name("journal-upkeep".into()).spawn(move || keeper.upkeep.run())?;
        let writing = thread::Builder::new().name("journal-writer".into()).spawn(move || writer.run());
        match writing {
            Ok(writing) => Ok(Self { shared, running: Mutex::new(Some((writing, upkeep))) }),
            Err(error) => {
                shared.upkeep.stop();
                Err(error)
            }
        }
    }

    pub(super) fn stop(&self, timeout: Duration) -> bool {
        let mut running = self.running.lock();
        let last_seq = {
            let mut queue = self.shared.queue.lock();
            queue.closing = true;
            queue.last_seq
        };
        self.shared.queued.notify_all();
        let complete = self.shared.progress.wait_blocking(last_seq, timeout);
        if !complete {
            self.shared.queue.lock().abandoned = true;
            self.shared.queued.notify_all();
        }
        self.shared.upkeep.stop();
        self.shared.progress.close();
        if let Some((writing, upkeep)) = running.take()
            && complete
        {
            // If `complete` is false, a thread hangs in the kernel, so neither is joined. Panics were already reported.
            let _ = (writing.join(), upkeep.join());
        }
        complete
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop(Duration::from_secs(5));
    }
}
