//! The journal: every durable fact, in order, in append-only files.
//!
//! It does not interpret records: a body is bytes, with a sequence number and a timestamp.
//!
//! * Sequence numbers are consecutive from 1. Timestamps are Unix milliseconds and never step back in log order, even
//!   if the wall clock does.
//! * [`Journal::append`] only writes to memory. [`Journal::durable`] waits until a record is durable: on disk with
//!   [`Durability::Disk`], with the OS (and on disk within about a second) with [`Durability::Process`].
//! * Readers, and tasks woken by `durable`, see durable records only.
//! * Records that cannot be written stay in memory and are retried until they can. Callers watch [`Journal::stalled`],
//!   [`Journal::pending_bytes`] and [`Journal::running_out`] to stop admitting work in time.
//! * Records that cannot be read are skipped and reported: [`Damage`] gives the missing sequence numbers.
//!
//! `append` → queue → `writer` thread → `segment` files of `frame`s → `wait`ers and `reader`s.

mod clock;
pub mod codec;
mod damage;
mod durability;
mod error;
#[cfg(test)]
pub(crate) mod faults;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod handle;
mod reader;
mod recover;
mod scan;
mod segment;
mod shared;
mod stats;
mod threads;
mod upkeep;
mod wait;
mod writer;

#[cfg(test)]
mod tests;

pub use self::{
    clock::{Clock, system_clock},
    damage::Damage,
    durability::Durability,
    error::{AppendError, Error},
    frame::{MAX_BODY, VERSION},
    handle::{Appended, Barrier, Journal, OpenReport, SegmentInfo},
    reader::{Frame, Reader, backward::BackwardReader},
    stats::Stats,
    upkeep::NextSegment,
    wait::Durable,
};
