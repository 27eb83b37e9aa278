//! The memory of incomplete server-sent events, bounded for all streams together, so that upstreams that never end an
//! event cannot use up the machine's memory.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// The most bytes held for all streams. One stream may hold an event of 16 MiB.
const MOST: u64 = 64 << 20;

/// The bytes that each stream may hold without being counted, since any event may arrive in several pieces.
const UNCOUNTED: u64 = 64 << 10;

/// The bytes held for all streams, excluding [`UNCOUNTED`] bytes of each.
#[derive(Debug, Default)]
pub struct Unfinished {
    held: AtomicU64,
}

/// One stream's share of the held bytes. Returned when dropped.
#[derive(Debug)]
pub struct Share {
    of: Arc<Unfinished>,
    held: u64,
}

impl Share {
    /// An empty share, for a new stream.
    pub fn of(unfinished: &Arc<Unfinished>) -> Self {
        Self { of: unfinished.clone(), held: 0 }
    }

    /// Sets the bytes that the stream holds. Returns false and changes nothing if there is no room for them.
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
        assert!(other.hold(2 * UNCOUNTED) && !other.hold(3 * UNCOUNTED), "there is room for the first only");
        assert!(one.hold(10) && other.hold(3 * UNCOUNTED));
        drop((one, other));
        assert_eq!(all.held.load(Ordering::Relaxed), 0);
    }
}
