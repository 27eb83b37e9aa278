//! Deaths that tests plan: the process kills itself at a named point, as `kill -9` would, when it is told so by
//! `TOLLGATE_CRASH_AT=POINT:N`, at the Nth time that it comes there.

use std::{
    env,
    sync::atomic::{AtomicU64, Ordering},
};

/// How a test tells a process of its own where to die.
pub(crate) const VARIABLE: &str = "TOLLGATE_CRASH_AT";

/// Dies here, if that is planned.
pub(crate) fn point(name: &str) {
    static TIMES: AtomicU64 = AtomicU64::new(0);
    let planned = env::var(VARIABLE).ok();
    let Some((_, times)) = planned.as_deref().and_then(|plan| plan.split_once(':')).filter(|(at, _)| *at == name)
    else {
        return;
    };
    if TIMES.fetch_add(1, Ordering::Relaxed) + 1 == times.parse().unwrap_or(1) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park(); // the signal is on its way
        }
    }
}
