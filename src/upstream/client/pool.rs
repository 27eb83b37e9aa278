//! The pool of idle connections.
//!
//! The most recently used connection is taken first, so the connections that a busy minute left over expire.

use std::{cell::RefCell, collections::HashMap, rc::Weak, time::Duration};

use tokio::time::{Instant, sleep};

use super::{connection::Connection, origin::Origin};

/// Most idle connections that are kept for one origin.
const MAX_IDLE: usize = 256;

/// The idle connections of one worker thread.
#[derive(Default)]
pub(super) struct Pool {
    /// The connections of each origin, the least recently used first.
    idle: RefCell<HashMap<Origin, Vec<Idle>>>,
}

struct Idle {
    connection: Box<Connection>,
    until: Instant,
}

impl Idle {
    fn is_usable(&mut self, now: Instant) -> bool {
        self.until > now && self.connection.is_quiet()
    }
}

impl Pool {
    /// Takes a connection to `origin` that is usable at `now`. Closes unusable ones that it finds.
    pub(super) fn take(&self, origin: &Origin, now: Instant) -> Option<Box<Connection>> {
        let mut idle = self.idle.borrow_mut();
        let stack = idle.get_mut(origin)?;
        loop {
            let mut top = stack.pop()?;
            if top.is_usable(now) {
                return Some(top.connection);
            }
        }
    }

    /// Keeps `connection` until the given instant, or closes it if its origin already has [`MAX_IDLE`].
    pub(super) fn put(&self, mut connection: Box<Connection>, until: Instant) {
        connection.shrink();
        let mut idle = self.idle.borrow_mut();
        if !idle.contains_key(&connection.origin) {
            idle.insert(connection.origin.clone(), Vec::new());
        }
        if let Some(stack) = idle.get_mut(&connection.origin)
            && stack.len() < MAX_IDLE
        {
            stack.push(Idle { connection, until });
        }
    }

    pub(super) fn sweep(&self, now: Instant) {
        self.idle.borrow_mut().retain(|_, stack| {
            stack.retain_mut(|idle| idle.is_usable(now));
            !stack.is_empty()
        });
    }
}

/// Each second, closes connections that have expired or that their upstream has closed. Runs until the pool is dropped.
pub(super) async fn sweep_each_second(pool: Weak<Pool>) {
    while let Some(pool) = pool.upgrade() {
        pool.sweep(Instant::now());
        drop(pool);
        sleep(Duration::from_secs(1)).await;
    }
}
