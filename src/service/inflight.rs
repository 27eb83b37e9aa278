//! Which requests are in flight, in memory that outlives the process: what was running at a crash has no event, and an
//! operator who compares with the upstream's own log must be able to tell which requests those were.
//!
//! A running request holds a slot of the file `DATA_DIR/inflight`, which is mapped. Its pages are the operating system's,
//! so what was stored into them is still there after `kill -9`, and a store is no system call. What a next start makes of
//! them is in `last_stop`.
//!
//! * A slot's state is stored last when the slot is taken, and until then it says that nothing runs there: a slot in the
//!   middle of being filled is nobody's, and its request has not been sent upstream.
//! * A settled request's event is in the journal's memory only, and a crash may lose it. So its slot keeps the event's
//!   sequence number, and is not used anew before that is durable.
//! * Between an event's append and that number in the slot there are a few instructions. Before them the slot says which
//!   record the event can only follow, so that a start knows where to look for it.
//! * After a loss of power nobody knows which pages had reached the disk. So the file names the boot of the machine that
//!   it was written under, and a later one believes it only if it was closed, which syncs it.
//! * It never stands in a request's way. Without a slot left a request is counted; without a file it is not.

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

pub use self::last_stop::{LastStop, Unfinished};
use super::installation::write_private;
use crate::domain::id::{GroupId, SlugId};

/// In the data directory.
const FILE: &str = "inflight";

/// The file is an array of cells of eight native words: its head, a cell of counts, and the slots.
const WORDS: usize = 8;
const CELL: usize = WORDS * size_of::<u64>();
const HEAD_CELLS: usize = 2;

/// The words of the head.
const MAGIC: u64 = u64::from_le_bytes(*b"tollgate");
const VERSION: u64 = 1;
const CLOSED: usize = 3;

/// Each thread takes its slots from a share of its own, as long as there are some in it.
const SHARES: usize = 16;
const SLOTS_OF_A_SHARE: usize = 2048;
const SLOTS: usize = SHARES * SLOTS_OF_A_SHARE;

/// `f_type` of file systems that write to a new place each time (btrfs, ZFS, bcachefs): on a full disk a store into a
/// page of theirs ends the process.
const COPY_ON_WRITE: [u64; 3] = [0x9123_683e, 0x2fc1_2fc1, 0xca45_1a4e];

type Cell = [AtomicU64; WORDS];

/// What a slot says of its request.
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
    /// Nothing runs here.
    Free,
    /// A request was admitted and has not ended.
    Running,
    /// Its event is being appended, after the record of this sequence number.
    Settling { after: u64 },
    /// Its event is the record of this sequence number.
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

/// The requests in flight. Nothing is tracked before [`InFlight::track`].
#[derive(Default)]
pub struct InFlight(OnceLock<Tracking>);

struct Tracking {
    file: Option<File>,
    table: Result<&'static Table, String>,
}

impl InFlight {
    /// Tracks requests from now on in `directory`, which is locked. What the last run left there is gone.
    pub fn track(&self, directory: &Path) {
        let tracking = Tracking::begin(directory);
        if let Err(why) = &tracking.table {
            warn!(why, "requests in flight are not tracked");
        }
        let _ = self.0.set(tracking);
    }

    /// Everything has ended: a next start may believe the file, whatever happens to the machine until then.
    pub(super) fn close(&self) {
        let Some(file) = self.0.get().and_then(|tracking| tracking.file.as_ref()) else { return };
        if let Err(error) = set_closed(file) {
            warn!(%error, "the file of requests in flight could not be closed");
        }
    }

    /// Why requests are not tracked, in a sentence; `None` while they are.
    pub(super) fn trouble(&self) -> Option<String> {
        let why = self.0.get()?.table.as_ref().err()?;
        Some(format!("Requests in flight are not tracked: {why}. After a crash it will not be known what was running."))
    }

    /// A request was admitted; everything up to the record `durable` is durable.
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
            // Without slots the file still tells a clean stop from a crash. What the last run left is told only once.
            Err(why) => {
                let file = Self::open(directory, 0).ok();
                if file.is_none() {
                    let _ = fs::remove_file(directory.join(FILE));
                }
                Self { file, table: Err(why) }
            }
        }
    }

    /// A new file. Its blocks are written and on the disk, so that a store into one never needs a new block.
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
    // First what the slots say, then that it can be believed.
    file.sync_all()?;
    file.write_all_at(&1_u64.to_ne_bytes(), (CLOSED * size_of::<u64>()) as u64)?;
    file.sync_all()
}

/// The machine's boot: another one after each loss of power.
fn boot_id() -> Option<u128> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    uuid::Uuid::parse_str(text.trim()).ok().map(|id| id.as_u128())
}

fn copies_on_write(directory: &Path) -> bool {
    let kind = rustix::fs::statfs(directory).map(|stat| stat.f_type as u64 & u64::from(u32::MAX));
    kind.is_ok_and(|kind| COPY_ON_WRITE.contains(&kind))
}

/// The whole file as cells, for as long as the process runs: slots are given back up to its last moment.
fn map(file: &File) -> io::Result<&'static [Cell]> {
    let mut options = MmapOptions::new();
    options.len((HEAD_CELLS + SLOTS) * CELL);
    // SAFETY: mapped memory must not change but through its atomics, and must not go away. The file is ours, in a
    // directory that is locked and nobody else's to enter; it was made in this length a moment ago and is never
    // truncated; its blocks have been written, so a store needs no new one. It is seen as atomics alone, and of its
    // head, which is written through the file, nothing is read here.
    #[expect(unsafe_code, reason = "there is no safe way to map a file")]
    let map = unsafe { options.map_mut(file) }?;
    match <[Cell]>::mut_from_bytes(&mut Box::leak(Box::new(map))[..]) {
        Ok(cells) => Ok(cells),
        Err(_) => Err(io::Error::other("it was not mapped as slots")),
    }
}

/// The mapped slots, and which of them can be taken.
struct Table {
    /// How many requests run for which there was no slot.
    beyond: &'static AtomicU64,
    slots: &'static [Cell],
    shares: [Share; SHARES],
}

/// On cache lines of its own: threads do not slow each other down.
#[repr(align(128))]
struct Share(Mutex<Unused>);

struct Unused {
    fresh: Range<usize>,
    free: Vec<usize>,
    /// Settled, by the sequence number that must be durable first; nearly in its order.
    settled: VecDeque<(u64, usize)>,
}

impl Unused {
    /// What has been used comes before what is fresh: few requests touch few pages.
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
        Self { beyond: &head[1][0], slots, shares: array::from_fn(share) }
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
            None => _ = self.beyond.fetch_add(1, Ordering::Relaxed),
        }
        Slot { table: self, index, seq: None }
    }

    fn say(&self, index: usize, state: State) {
        let [.., word] = &self.slots[index];
        word.store(state.to_word(), Ordering::Release);
    }
}

/// The share that this thread takes from first.
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
    /// `None` if there was no slot left.
    index: Option<usize>,
    /// Of its event.
    seq: Option<u64>,
}

impl Slot {
    /// Its event is about to be appended, after the record `after`.
    pub(super) fn settling(&self, after: u64) {
        if let Some(index) = self.index {
            self.table.say(index, State::Settling { after });
        }
    }

    /// It has ended, and its event is the record `seq`. Dropped otherwise, it has ended without one.
    pub(super) fn settled(mut self, seq: u64) {
        self.seq = Some(seq);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(index) = self.index else {
            self.table.beyond.fetch_sub(1, Ordering::Relaxed);
            return;
        };
        self.table.say(index, self.seq.map_or(State::Free, |seq| State::Settled { seq }));
        let mut unused = self.table.shares[index / SLOTS_OF_A_SHARE].0.lock();
        match self.seq {
            Some(seq) => unused.settled.push_back((seq, index)),
            None => unused.free.push(index),
        }
    }
}

#[cfg(test)]
mod tests;
