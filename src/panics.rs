//! The process's panic hook. It reports panics as the standard library does, except those that [`catch_unreported`]
//! catches.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    thread,
};

thread_local! {
    /// Whether panics of this thread are not reported.
    static IS_MUTED: Cell<bool> = const { Cell::new(false) };
}

/// Installs the hook. Call it once, before the process starts other threads.
pub fn install_hook() {
    let report = take_hook();
    set_hook(Box::new(move |panic| {
        if !IS_MUTED.get() {
            report(panic);
        }
    }));
}

/// Runs `work` and returns its panic, if it panics, as an error that is not reported. Panics of other threads are still
/// reported, including those of threads that `work` starts.
pub(crate) fn catch_unreported<T>(work: impl FnOnce() -> T) -> thread::Result<T> {
    let was_muted = IS_MUTED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    IS_MUTED.set(was_muted);
    outcome
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn panics_of_other_threads_are_reported_while_one_thread_is_muted() {
        let reported = Arc::new(Mutex::new(Vec::new()));
        let (reports, others) = (reported.clone(), take_hook());
        set_hook(Box::new(move |panic| match panic.payload_as_str() {
            Some(text @ ("muted" | "other thread" | "after")) => reports.lock().unwrap().push(text.to_owned()),
            _ => others(panic), // of a test that runs at the same time
        }));
        install_hook();
        let caught = catch_unreported(|| {
            assert!(catch_unreported(|| panic!("muted")).is_err());
            assert!(thread::spawn(|| panic!("other thread")).join().is_err());
            panic!("muted")
        });
        assert!(caught.is_err());
        assert!(catch_unwind(|| panic!("after")).is_err());
        assert_eq!(*reported.lock().unwrap(), ["other thread", "after"]);
    }
}
