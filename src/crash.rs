//! Crashes for tests: with `TOLLGATE_CRASH_AT=POINT:N`, the process kills itself with SIGKILL when it reaches the named
//! point for the Nth time.

use std::{
    env,
    sync::atomic::{AtomicU64, Ordering},
};

/// The environment variable that names the crash point.
pub(crate) const VARIABLE: &str = "TOLLGATE_CRASH_AT";

/// A crash point: kills the process if `TOLLGATE_CRASH_AT` names this point and this is the Nth call.
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
            std::thread::park(); // until the signal arrives
        }
    }
}
