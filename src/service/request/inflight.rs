//! The requests in flight, in memory that outlives the process. A request that was running at a crash has no event, and
//! an operator who compares our events with the upstream's log needs the ids of those requests.
//!
//! A running request holds a slot of the mapped file `DATA_DIR/inflight`. The pages belong to the operating system, so
//! a value stored in them survives `kill -9`, and storing it takes no system call. The next start reads them in
//! `last_stop`.
//!
//! * When a slot is taken, its state is stored last. Until then the state is `Free`, so a half-written slot is ignored.
//!   Its request has not been sent upstream yet.
//! * The event of a settled request may exist only in the journal's memory, and a crash may lose it. So its slot keeps
//!   the event's sequence number and is not reused until that number is durable.
//! * A crash can happen between the append of an event and the store of its sequence number in the slot. So before the
//!   append the slot gets the number of a record that the event must come after, and the next start searches the
//!   journal from there.
//! * After a power loss it is unknown which pages had reached the disk. So the file names the machine's boot that it
//!   was written under. After another boot the file is trusted only if it was closed, which syncs it.
//! * Tracking never delays or refuses a request. If no slot is free, the request is only counted; if there is no file,
//!   it is not counted either.

mod last_stop;

use std::{
    array,
    collections::VecDeque,
    fs::{self, File},
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use memmap2::MmapOptions;
use parking_lot::Mutex;
use tracing::warn;
use zerocopy::{FromBytes, IntoBytes};

use crate::{
    domain::id::{GroupId, SlugId},
    service::start::installation::write_private,
};

pub use self::last_stop::{LastStop, Unfinished};

/// The file's name in the data directory.
const FILE: &str = "inflight";

/// The file is an array of cells of eight native-endian words: a head, a cell of counts, then the slots.
const WORDS: usize = 8;
const CELL: usize = WORDS * size_of::<u64>();
const HEAD_CELLS: usize = 2;

/// The words of the head.
const MAGIC: u64 = u64::from_le_bytes(*b"tollgate");
const VERSION: u64 = 1;
const CLOSED: usize = 3;

/// Each thread takes slots from its own share first, and from the others when that one is empty.
const SHARES: usize = 16;
const SLOTS_OF_A_SHARE: usize = 2048;
const SLOTS: usize = SHARES * SLOTS_OF_A_SHARE;

/// The `f_type` of the copy-on-write file systems (btrfs, ZFS, bcachefs). On a full disk, a store into one of their
/// mapped pages kills the process.
const COPY_ON_WRITE: [u64; 3] = [0x9123_683e, 0x2fc1_2fc1, 0xca45_1a4e];

type Cell = [AtomicU64; WORDS];

/// The request that a slot records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Request {
    id: u128,
    group: GroupId,
    slug: SlugId,
    admitted_at_ms: u64,
}

impl Request {
    fn to_words(self) -> [u64; WORDS - 1] {
        let ([id_high, id_low], [group_high, group_low]) = (halves(self.id), halves(self.group.0));
        [id_high, id_low, group_high, group_low, self.slug.0, self.admitted_at_ms, 0]
    }

    fn from_words([id_high, id_low, group_high, group_low, slug, admitted_at_ms, _]: [u64; WORDS - 1]) -> Self {
        Self {
            id: whole([id_high, id_low]),
            group: GroupId(whole([group_high, group_low])),
            slug: SlugId(slug),
            admitted_at_ms,
        }
    }
}

fn halves(number: u128) -> [u64; 2] {
    [(number >> 64) as u64, number as u64]
}

fn whole([high, low]: [u64; 2]) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

/// A slot's last word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The slot is not in use.
    Free,
    /// Its request was admitted and has not ended.
    Running,
    /// Its event is being appended, and comes after the record with this sequence number.
    Settling { after: u64 },
    /// Its event is the record with this sequence number.
    Settled { seq: u64 },
}

impl State {
    const TAG_SHIFT: u32 = 62;

    fn to_word(self) -> u64 {
        let (tag, seq) = match self {
            Self::Free => (0, 0),
            Self::Running => (1, 0),
            Self::Settling { after } => (2, after),
            Self::Settled { seq } => (3, seq),
        };
        tag << Self::TAG_SHIFT | seq
    }

    fn from_word(word: u64) -> Self {
        let seq = word & ((1 << Self::TAG_SHIFT) - 1);
        match word >> Self::TAG_SHIFT {
            0 => Self::Free,
            1 => Self::Running,
            2 => Self::Settling { after: seq },
            _ => Self::Settled { seq },
        }
    }
}

/// The requests in flight. Nothing is tracked until [`InFlight::track`] is called.
#[derive(Default)]
pub struct InFlight(OnceLock<Tracking>);

struct Tracking {
    file: Option<File>,
    table: Result<&'static Table, String>,
}

impl InFlight {
    /// Starts to track requests in `directory`, which must be locked. Overwrites the file of the previous run.
    pub fn track(&self, directory: &Path) {
        let tracking = Tracking::begin(directory);
        if let Err(why) = &tracking.table {
            warn!(why, "requests in flight are not tracked");
        }
        let _ = self.0.set(tracking);
    }

    /// Marks the file as closed after all requests have ended. The next start then trusts it even after a power loss.
    pub(in crate::service) fn close(&self) {
        let Some(file) = self.0.get().and_then(|tracking| tracking.file.as_ref()) else { return };
        if let Err(error) = set_closed(file) {
            warn!(%error, "the file of requests in flight could not be closed");
        }
    }

    /// Why requests are not tracked; `None` if they are.
    pub(in crate::service) fn error(&self) -> Option<&str> {
        self.0.get()?.table.as_ref().err().map(String::as_str)
    }

    /// Records an admitted request. All records up to `durable` are durable.
    pub(super) fn begin(
        &self,
        durable: u64,
        id: u128,
        group: GroupId,
        slug: SlugId,
        admitted_at_ms: u64,
    ) -> Option<Slot> {
        let table = self.0.get()?.table.as_ref().ok()?;
        Some(table.take(&Request { id, group, slug, admitted_at_ms }, durable))
    }
}

impl Tracking {
    fn begin(directory: &Path) -> Self {
        let place = if copies_on_write(directory) {
            Err("this file system copies on write".to_owned())
        } else {
            Self::open(directory, SLOTS).and_then(|file| Ok((Table::new(map(&file)?), file))).map_err(|e| e.to_string())
        };
        match place {
            Ok((table, file)) => Self { file: Some(file), table: Ok(Box::leak(Box::new(table))) },
            // Even without slots the file distinguishes a clean stop from a crash. If it cannot be written, the old
            // file is removed, so that its requests are not reported again at the next start.
            Err(why) => {
                let file = Self::open(directory, 0).ok();
                if file.is_none() {
                    let _ = fs::remove_file(directory.join(FILE));
                }
                Self { file, table: Err(why) }
            }
        }
    }

    /// Creates the file. Its blocks are written and synced, so that a store never needs a new block.
    fn open(directory: &Path, slots: usize) -> io::Result<File> {
        let mut bytes = vec![0; (HEAD_CELLS + slots) * CELL];
        let [boot_high, boot_low] = halves(boot_id().unwrap_or(0));
        let head = [MAGIC, VERSION, slots as u64, 0, boot_high, boot_low];
        let _ = head.write_to_prefix(&mut bytes);
        let path = directory.join(FILE);
        write_private(&path, &bytes)?;
        File::options().read(true).write(true).open(path)
    }
}

fn set_closed(file: &File) -> io::Result<()> {
    // Sync the slots before the mark that makes them trusted.
    file.sync_all()?;
    file.write_all_at(&1_u64.to_ne_bytes(), (CLOSED * size_of::<u64>()) as u64)?;
    file.sync_all()
}

/// The id of the machine's boot, which changes with each restart.
fn boot_id() -> Option<u128> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    uuid::Uuid::parse_str(text.trim()).ok().map(|id| id.as_u128())
}

fn copies_on_write(directory: &Path) -> bool {
    let kind = rustix::fs::statfs(directory).map(|stat| stat.f_type as u64 & u64::from(u32::MAX));
    kind.is_ok_and(|kind| COPY_ON_WRITE.contains(&kind))
}

/// Maps the whole file as cells until the process ends, since slots are returned until then.
fn map(file: &File) -> io::Result<&'static [Cell]> {
    let mut options = MmapOptions::new();
    options.len((HEAD_CELLS + SLOTS) * CELL);
    // SAFETY: mapped memory must change only through its atomics and must stay mapped. The file is in a directory that
    // is locked and private to us. It was just created at this length and is never truncated. Its blocks have been
    // written, so a store needs no new block. The memory is accessed only as atomics. The head is written through the
    // file and never read through the map.
    #[expect(unsafe_code, reason = "there is no safe way to map a file")]
    let map = unsafe { options.map_mut(file) }?;
    match <[Cell]>::mut_from_bytes(&mut Box::leak(Box::new(map))[..]) {
        Ok(cells) => Ok(cells),
        Err(_) => Err(io::Error::other("it was not mapped as slots")),
    }
}

/// The mapped slots and the lists of unused ones.
struct Table {
    /// The number of running requests without a slot.
    without_slot: &'static AtomicU64,
    slots: &'static [Cell],
    shares: [Share; SHARES],
}

/// One share of the slots, on cache lines of its own so that threads do not slow each other down.
#[repr(align(128))]
struct Share(Mutex<Unused>);

struct Unused {
    fresh: Range<usize>,
    free: Vec<usize>,
    /// Settled slots with the sequence number that must be durable before reuse, roughly in ascending order.
    settled: VecDeque<(u64, usize)>,
}

impl Unused {
    /// Takes a used slot before a fresh one, so that few concurrent requests touch few pages.
    fn take(&mut self, durable: u64) -> Option<usize> {
        let settled = self.settled.pop_front_if(|(seq, _)| *seq <= durable).map(|(_, slot)| slot);
        settled.or_else(|| self.free.pop()).or_else(|| self.fresh.next())
    }
}

impl Table {
    fn new(cells: &'static [Cell]) -> Self {
        let (head, slots) = cells.split_at(HEAD_CELLS);
        let share = |index| {
            let fresh = index * SLOTS_OF_A_SHARE..(index + 1) * SLOTS_OF_A_SHARE;
            Share(Mutex::new(Unused { fresh, free: Vec::new(), settled: VecDeque::new() }))
        };
        Self { without_slot: &head[1][0], slots, shares: array::from_fn(share) }
    }

    fn take(&'static self, request: &Request, durable: u64) -> Slot {
        let own = own_share();
        let index = (0..SHARES).find_map(|next| self.shares[(own + next) % SHARES].0.lock().take(durable));
        match index {
            Some(index) => {
                let [words @ .., state] = &self.slots[index];
                words.iter().zip(request.to_words()).for_each(|(word, of)| word.store(of, Ordering::Relaxed));
                state.store(State::Running.to_word(), Ordering::Release);
            }
            None => _ = self.without_slot.fetch_add(1, Ordering::Relaxed),
        }
        Slot { table: self, index, seq: None }
    }

    fn set_state(&self, index: usize, state: State) {
        let [.., word] = &self.slots[index];
        word.store(state.to_word(), Ordering::Release);
    }
}

/// The index of the share that this thread takes from first.
fn own_share() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARES;
    }
    OWN.with(|own| *own)
}

/// A request in flight, until it is dropped.
pub(super) struct Slot {
    table: &'static Table,
    /// The index of the slot; `None` if no slot was free.
    index: Option<usize>,
    /// The sequence number of the request's event.
    seq: Option<u64>,
}

impl Slot {
    /// Records that the request's event is about to be appended and comes after the record `after`.
    pub(super) fn settling(&self, after: u64) {
        if let Some(index) = self.index {
            self.table.set_state(index, State::Settling { after });
        }
    }

    /// Ends the request, whose event is the record `seq`. A slot that is dropped instead has ended without an event.
    pub(super) fn settled(mut self, seq: u64) {
        self.seq = Some(seq);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(index) = self.index else {
            self.table.without_slot.fetch_sub(1, Ordering::Relaxed);
            return;
        };
        self.table.set_state(index, self.seq.map_or(State::Free, |seq| State::Settled { seq }));
        let mut unused = self.table.shares[index / SLOTS_OF_A_SHARE].0.lock();
        match self.seq {
            Some(seq) => unused.settled.push_back((seq, index)),
            None => unused.free.push(index),
        }
    }
}

#[cfg(test)]
mod tests;
