//! Idle connections, ready to be used again.
//!
//! The one that idled least is taken first, so that a pool that was large in a busy minute runs empty from its bottom.

use std::{cell::RefCell, collections::HashMap, rc::Weak, time::Duration};

use tokio::time::{Instant, sleep};

use super::{connection::Connection, origin::Origin};

/// Idle connections kept for one origin.
const MAX_IDLE: usize = 256;

/// The idle connections of one worker thread.
#[derive(Default)]
pub(super) struct Pool {
    /// Each origin's connections, the one that idled longest first.
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
    /// A connection to `origin` that looks usable at `now`. The ones that do not are closed on the way.
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

    /// Keeps `connection` until the given instant; closes it if there are enough.
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

/// Closes what has idled too long or was closed by its upstream, for as long as the pool exists.
pub(super) async fn sweep_each_second(pool: Weak<Pool>) {
    while let Some(pool) = pool.upgrade() {
        pool.sweep(Instant::now());
        drop(pool);
        sleep(Duration::from_secs(1)).await;
    }
}
