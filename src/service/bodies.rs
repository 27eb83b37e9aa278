//! Memory for request bodies, bounded for all requests together: what a stranger sends must not be able to fill the
//! machine. A request that finds no room waits a while for others to end.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a request waits for room.
const PATIENCE: Duration = Duration::from_secs(10);

/// Room is given out in pieces of this size, so that it fits the semaphore's count.
const PIECE: u64 = 4096;

/// The room that is left.
pub struct Bodies {
    room: Arc<Semaphore>,
}

/// Room for one body; given back when dropped.
#[derive(Default)]
pub struct Room(Option<OwnedSemaphorePermit>);

/// There was no room in time.
#[derive(Debug)]
pub struct NoRoom;

impl Bodies {
    /// Room for `max_bodies` bytes.
    pub fn new(max_bodies: u64) -> Self {
        let pieces = usize::try_from(max_bodies.div_ceil(PIECE)).unwrap_or(usize::MAX);
        Self { room: Arc::new(Semaphore::new(pieces.min(Semaphore::MAX_PERMITS))) }
    }

    /// Waits until `room` covers `bytes`.
    pub async fn cover(&self, room: &mut Room, bytes: u64) -> Result<(), NoRoom> {
        let pieces = usize::try_from(bytes.div_ceil(PIECE)).unwrap_or(usize::MAX);
        let more = pieces.saturating_sub(room.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        if more == 0 {
            return Ok(());
        }
        let more = u32::try_from(more).map_err(|_| NoRoom)?;
        let permit = match self.room.clone().try_acquire_many_owned(more) {
            Ok(permit) => permit,
            Err(_) => match tokio::time::timeout(PATIENCE, self.room.clone().acquire_many_owned(more)).await {
                Ok(Ok(permit)) => permit,
                _ => return Err(NoRoom),
            },
        };
        match &mut room.0 {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Waker},
    };

    use super::*;

    #[tokio::test]
    async fn a_body_waits_for_room_and_gets_it_when_another_ends() {
        let bodies = Bodies::new(3 * PIECE);
        let (mut first, mut second) = (Room::default(), Room::default());
        bodies.cover(&mut first, 1).await.unwrap();
        bodies.cover(&mut first, 2 * PIECE).await.unwrap();
        let mut waiting = pin!(bodies.cover(&mut second, 2 * PIECE));
        assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(first);
        waiting.await.unwrap();
    }
}
