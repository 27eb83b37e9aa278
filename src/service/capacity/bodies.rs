//! The memory of request bodies, bounded for all requests together, so that requests cannot use up the machine's
//! memory. A request that finds no room waits up to [`ROOM_TIMEOUT`] for others to end.
//!
//! * An eighth of the memory is reserved for small bodies (up to [`SMALL`]), so they do not wait for large ones. When
//!   it is full, small bodies use the common part too.
//! * The common part is allocated fairly. The next to get room is the waiting body whose holder holds the fewest bytes;
//!   among equals, the one that has waited longest. A holder gets at most half of the common part, except for a single
//!   body.
//! * A body larger than the common part takes all of it. So the bodies in memory exceed the bound by at most an eighth,
//!   and only because of one such body.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::domain::id::GroupId;

/// The longest wait of a request for room.
const ROOM_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest small body, in bytes.
pub const SMALL: u64 = 64 << 10;

/// The holder of a body's memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Holder {
    /// A customer, by the root of the group's tree.
    Customer(GroupId),
    /// An operator, by the prefix of the key.
    Operator(Box<str>),
    /// A client without a valid key.
    Unauthenticated,
}

/// The memory of request bodies.
pub struct Bodies {
    /// The size of the common part, in bytes.
    common: u64,
    state: Arc<Mutex<State>>,
}

struct State {
    common: u64,
    /// Free bytes of the part for small bodies.
    small_left: u64,
    /// Free bytes of the common part.
    left: u64,
    /// Bytes of the common part that each holder holds.
    held: HashMap<Holder, u64>,
    /// The waiting bodies, in order of arrival.
    waiting: Vec<Waiting>,
    arrivals: u64,
}

struct Waiting {
    number: u64,
    holder: Holder,
    /// The common bytes that the body holds already, and those that it asks for.
    has: u64,
    bytes: u64,
    granted: oneshot::Sender<()>,
}

/// The memory reserved for one body. Returned when dropped.
pub struct Room {
    state: Arc<Mutex<State>>,
    holder: Holder,
    small: u64,
    common: u64,
}

/// The error for a body that got no room in time.
#[derive(Debug)]
pub struct NoRoom;

impl Bodies {
    /// Creates memory of `max_bodies` bytes, an eighth of it for small bodies.
    pub fn new(max_bodies: u64) -> Self {
        let small_left = max_bodies / 8;
        let common = max_bodies - small_left;
        let (held, waiting) = (HashMap::new(), Vec::new());
        let state = State { common, small_left, left: common, held, waiting, arrivals: 0 };
        Self { common, state: Arc::new(Mutex::new(state)) }
    }

    /// An empty room for a body of this holder.
    pub fn room(&self, holder: Holder) -> Room {
        Room { state: self.state.clone(), holder, small: 0, common: 0 }
    }

    /// Waits until `room` covers `bytes`.
    pub async fn cover(&self, room: &mut Room, bytes: u64) -> Result<(), NoRoom> {
        if bytes <= room.small + room.common || room.take_small(bytes) {
            return Ok(());
        }
        let more = bytes.min(self.common).saturating_sub(room.common);
        if more == 0 {
            return Ok(());
        }
        let (number, granted) = room.state.lock().ask(room.holder.clone(), room.common, more);
        // If this is dropped early, the request for room is withdrawn.
        let mut pending = Pending { room: &*room, number, bytes: more, is_over: false };
        if !matches!(tokio::time::timeout(ROOM_TIMEOUT, granted).await, Ok(Ok(()))) {
            return Err(NoRoom);
        }
        pending.is_over = true;
        drop(pending);
        room.common += more;
        room.give_back_small();
        Ok(())
    }
}

impl State {
    /// Asks for bytes of the common part. Returns the number of the request and a receiver that fires when they are
    /// granted.
    fn ask(&mut self, holder: Holder, has: u64, bytes: u64) -> (u64, oneshot::Receiver<()>) {
        let (granted, is_granted) = oneshot::channel();
        let number = self.arrivals;
        self.arrivals += 1;
        self.waiting.push(Waiting { number, holder, has, bytes, granted });
        self.grant();
        (number, is_granted)
    }

    /// Grants free bytes to the waiting bodies in order. Stops at the first one that does not fit, even if later ones
    /// would; otherwise large bodies would never get room.
    fn grant(&mut self) {
        while let Some(first) = self.first() {
            if self.waiting[first].bytes > self.left {
                return;
            }
            let Waiting { holder, bytes, granted, .. } = self.waiting.remove(first);
            self.left -= bytes;
            *self.held.entry(holder).or_default() += bytes;
            // If the body no longer waits, `Pending` returns the bytes.
            let _ = granted.send(());
        }
    }

    fn first(&self) -> Option<usize> {
        let held = |waiting: &Waiting| self.held.get(&waiting.holder).copied().unwrap_or(0);
        let may_have = |waiting: &Waiting| {
            let held = held(waiting);
            held == waiting.has || held + waiting.bytes <= self.common / 2
        };
        let able = self.waiting.iter().enumerate().filter(|(_, waiting)| may_have(waiting));
        able.min_by_key(|(_, waiting)| (held(waiting), waiting.number)).map(|(at, _)| at)
    }

    fn give_back(&mut self, holder: &Holder, bytes: u64) {
        self.left += bytes;
        if let Some(held) = self.held.get_mut(holder) {
            *held -= bytes;
            if *held == 0 {
                self.held.remove(holder);
            }
        }
        self.grant();
    }
}

impl Room {
    /// Covers a small body from the part for small bodies, if that has room.
    fn take_small(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.small);
        let mut state = self.state.lock();
        let fits = bytes <= SMALL && self.common == 0 && more <= state.small_left;
        if fits {
            state.small_left -= more;
            self.small += more;
        }
        fits
    }

    /// Returns the common bytes in excess of `bytes`.
    pub fn shrink(&mut self, bytes: u64) {
        let less = self.common.saturating_sub(bytes);
        if less > 0 {
            self.common -= less;
            self.state.lock().give_back(&self.holder, less);
        }
    }

    fn give_back_small(&mut self) {
        self.state.lock().small_left += std::mem::take(&mut self.small);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.give_back_small();
        self.shrink(0);
    }
}

/// A pending request for room. It is withdrawn when dropped, unless it is over.
struct Pending<'a> {
    room: &'a Room,
    number: u64,
    bytes: u64,
    is_over: bool,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut state = self.room.state.lock();
        match state.waiting.iter().position(|waiting| waiting.number == self.number) {
            Some(at) => {
                state.waiting.remove(at);
                state.grant();
            }
            // It has been granted meanwhile.
            None => state.give_back(&self.room.holder, self.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A memory of 8 MiB, 7 MiB of it common.
    fn bodies() -> Bodies {
        Bodies::new(8 * MIB)
    }

    fn room(bodies: &Bodies, customer: u128) -> Room {
        bodies.room(Holder::Customer(GroupId(customer)))
    }

    /// Covers a body that must not have to wait.
    async fn at_once(bodies: &Bodies, customer: u128, bytes: u64) -> Room {
        let mut room = room(bodies, customer);
        let covered = pin!(bodies.cover(&mut room, bytes)).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(covered, Poll::Ready(Ok(()))), "it waits");
        room
    }

    fn is_waiting(covered: &mut (impl Future<Output = Result<(), NoRoom>> + Unpin)) -> bool {
        pin!(covered).poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// The free bytes of the common part and of the part for small bodies.
    fn left(bodies: &Bodies) -> (u64, u64) {
        let state = bodies.state.lock();
        (state.left, state.small_left)
    }

    fn assert_all_is_free(bodies: &Bodies) {
        assert_eq!(left(bodies), (7 * MIB, MIB));
        let state = bodies.state.lock();
        assert!(state.held.is_empty() && state.waiting.is_empty());
    }

    #[tokio::test]
    async fn a_waiting_body_gets_room_when_another_ends() {
        let bodies = bodies();
        let (first, mut second) = (at_once(&bodies, 1, 5 * MIB).await, room(&bodies, 2));
        let mut waiting = Box::pin(bodies.cover(&mut second, 3 * MIB));
        assert!(is_waiting(&mut waiting));
        drop(first);
        waiting.await.unwrap();
        drop(second);
        assert_all_is_free(&bodies);
    }

    #[tokio::test]
    async fn small_bodies_do_not_wait_for_large_ones() {
        let bodies = bodies();
        let (large, mut other) = (at_once(&bodies, 1, 7 * MIB).await, room(&bodies, 2));
        let mut waiting = Box::pin(bodies.cover(&mut other, MIB));
        assert!(is_waiting(&mut waiting));
        let mut small = Vec::new();
        for _ in 0..MIB / SMALL {
            small.push(at_once(&bodies, 3, SMALL).await);
        }
        let mut one_more = room(&bodies, 4);
        let mut waits_for_large = Box::pin(bodies.cover(&mut one_more, 1));
        assert!(is_waiting(&mut waits_for_large));
        drop(large);
        waiting.await.unwrap();
        waits_for_large.await.unwrap();
        drop((small, other, one_more));
        assert_all_is_free(&bodies);
    }

    #[tokio::test]
    async fn a_small_body_that_grows_leaves_the_part_for_small_ones() {
        let bodies = bodies();
        let mut room = at_once(&bodies, 1, 10).await;
        bodies.cover(&mut room, SMALL).await.unwrap();
        assert_eq!(left(&bodies), (7 * MIB, MIB - SMALL));
        bodies.cover(&mut room, 2 * MIB).await.unwrap();
        assert_eq!(left(&bodies), (5 * MIB, MIB));
        room.shrink(MIB);
        assert_eq!(left(&bodies), (6 * MIB, MIB));
        drop(room);
        assert_all_is_free(&bodies);
    }

    #[tokio::test]
    async fn the_holder_of_the_fewest_bytes_gets_room_first() {
        let bodies = bodies();
        let full = at_once(&bodies, 1, 5 * MIB).await;
        let _held = at_once(&bodies, 2, MIB).await;
        let (mut much, mut little) = (room(&bodies, 2), room(&bodies, 3));
        let mut heavy = Box::pin(bodies.cover(&mut much, 2 * MIB));
        assert!(is_waiting(&mut heavy));
        let mut light = Box::pin(bodies.cover(&mut little, 5 * MIB));
        assert!(is_waiting(&mut light));
        drop(full);
        assert!(is_waiting(&mut heavy), "it came first, but its holder has a body already");
        light.await.unwrap();
        assert!(is_waiting(&mut heavy));
        drop(little);
        heavy.await.unwrap();
    }

    #[tokio::test]
    async fn a_holder_gets_at_most_half_of_the_room_or_a_single_body() {
        let bodies = bodies();
        let first = at_once(&bodies, 1, 3 * MIB).await;
        let mut second = room(&bodies, 1);
        let mut waiting = Box::pin(bodies.cover(&mut second, MIB));
        assert!(is_waiting(&mut waiting));
        let other = at_once(&bodies, 2, 4 * MIB).await;
        drop(other);
        assert!(is_waiting(&mut waiting), "the other half is for others");
        drop(first);
        waiting.await.unwrap();
        bodies.cover(&mut second, 6 * MIB).await.unwrap();
        bodies.cover(&mut second, 100 * MIB).await.unwrap();
        assert_eq!(left(&bodies), (0, MIB), "a single body may have everything");
        drop(second);
        assert_all_is_free(&bodies);
    }

    #[tokio::test]
    async fn a_request_that_ends_while_it_waits_holds_no_memory_and_delays_no_other() {
        let bodies = bodies();
        let first = at_once(&bodies, 1, 4 * MIB).await;
        let (mut second, mut third) = (room(&bodies, 2), room(&bodies, 3));
        {
            let mut hung_up = Box::pin(bodies.cover(&mut second, 6 * MIB));
            assert!(is_waiting(&mut hung_up));
            let mut waiting = Box::pin(bodies.cover(&mut third, MIB));
            assert!(is_waiting(&mut waiting));
            drop(hung_up);
            waiting.await.unwrap();
            let mut hung_up = Box::pin(bodies.cover(&mut second, 6 * MIB));
            assert!(is_waiting(&mut hung_up));
            drop(first);
            // Its room has been granted but is never used.
            drop(hung_up);
        }
        drop((second, third));
        assert_all_is_free(&bodies);
    }
}
