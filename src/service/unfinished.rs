//! Memory for events of streams that have begun and not ended, bounded for all streams together: upstreams that never
//! end an event must not be able to fill the machine.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// The most that is held for all streams, in bytes. One stream may hold an event of 16 MiB.
const MOST: u64 = 64 << 20;

/// A stream may hold so many bytes without being counted: every event is in pieces for a moment.
const UNCOUNTED: u64 = 64 << 10;

/// Bytes that are held for all streams, beyond what each may hold without being counted.
#[derive(Debug, Default)]
pub struct Unfinished {
    held: AtomicU64,
}

/// Of which one stream holds these; given back when dropped.
#[derive(Debug)]
pub struct Share {
    of: Arc<Unfinished>,
    held: u64,
}

impl Share {
    /// Nothing, for a stream that begins.
    pub fn of(unfinished: &Arc<Unfinished>) -> Self {
        Self { of: unfinished.clone(), held: 0 }
    }

    /// The stream now holds `bytes`. Whether there is room for that; without it nothing changes.
    pub fn hold(&mut self, bytes: u64) -> bool {
        let wanted = bytes.saturating_sub(UNCOUNTED);
        if wanted <= self.held {
            self.of.held.fetch_sub(self.held - wanted, Ordering::Relaxed);
        } else {
            let more = wanted - self.held;
            if self.of.held.fetch_add(more, Ordering::Relaxed) + more > MOST {
                self.of.held.fetch_sub(more, Ordering::Relaxed);
                return false;
            }
        }
        self.held = wanted;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.held > 0 {
            self.of.held.fetch_sub(self.held, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_streams_together_hold_no_more_than_the_bound() {
        let all = Arc::new(Unfinished::default());
        let (mut one, mut other) = (Share::of(&all), Share::of(&all));
        assert!(one.hold(UNCOUNTED) && all.held.load(Ordering::Relaxed) == 0);
        assert!(one.hold(MOST));
        assert!(other.hold(2 * UNCOUNTED) && !other.hold(3 * UNCOUNTED), "there is room for this much");
        assert!(one.hold(10) && other.hold(3 * UNCOUNTED));
        drop((one, other));
        assert_eq!(all.held.load(Ordering::Relaxed), 0);
    }
}
