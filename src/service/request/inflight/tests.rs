use tempfile::TempDir;

use super::{last_stop::FileContents, *};
use crate::{
    domain::{record::Record, settled::Settled, testing::settled},
    journal::{Durability, Journal, codec},
    service::status::notice,
};

/// A data directory in which requests are tracked.
struct Run {
    directory: TempDir,
    journal: Journal,
    in_flight: InFlight,
}

impl Run {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(&directory.path().join("journal"), Durability::Process).unwrap();
        let in_flight = InFlight::default();
        in_flight.track(directory.path());
        Self { directory, journal, in_flight }
    }

    fn begin(&self, id: u128) -> Slot {
        self.in_flight
            .begin(self.journal.durable_seq(), id, GroupId(id << 64 | 7), SlugId(3), 1_000 + id as u64)
            .unwrap()
    }

    /// Appends the event of a request and waits until it is durable.
    fn bill(&self, id: u128) -> u64 {
        let settled = Settled { request_id: id, ..settled() };
        let mut bytes = Vec::new();
        codec::encode(&Record::Settled(settled), &mut bytes).unwrap();
        let seq = self.journal.append(&bytes).unwrap().seq;
        assert!(self.journal.durable_blocking(seq, std::time::Duration::from_secs(30)));
        seq
    }

    fn file(&self) -> Vec<u8> {
        fs::read(self.directory.path().join(FILE)).unwrap()
    }

    /// The result that the next start would find after a crash at this moment.
    fn crash(&self) -> LastStop {
        LastStop::read(self.directory.path(), &self.journal, |_| "acme/chat").unwrap()
    }

    fn listed(&self) -> Vec<u128> {
        let last_stop = self.crash();
        assert_eq!(last_stop.count, Some(last_stop.requests.len() as u64));
        last_stop.requests.iter().map(|request| request.request_id).collect()
    }
}

#[test]
fn a_state_is_read_as_it_was_written() {
    for state in [State::Free, State::Running, State::Settling { after: 0 }, State::Settled { seq: (1 << 62) - 1 }] {
        assert_eq!(State::from_word(state.to_word()), state);
    }
}

#[test]
fn requests_running_at_a_crash_are_listed_at_the_next_start_in_order_of_admission() {
    let run = Run::start();
    let _running = [2, u128::MAX >> 65, 1].map(|id| run.begin(id));
    assert_eq!(run.listed(), [1, 2, u128::MAX >> 65]);
    let expected = Unfinished {
        request_id: 1,
        group: GroupId(1 << 64 | 7),
        model_slug: Some("acme/chat".to_owned()),
        admitted_at_ms: 1_001,
    };
    assert_eq!(run.crash().requests[0], expected);
}

#[test]
fn a_request_that_ended_without_an_event_is_not_listed() {
    let run = Run::start();
    let (released, running) = (run.begin(1), run.begin(2));
    drop(released);
    assert_eq!(run.listed(), [2]);
    drop(running);
    assert_eq!(notice::of_last_stop(&run.crash()), None);
}

#[test]
fn a_settled_request_counts_as_in_flight_if_its_event_is_lost() {
    let run = Run::start();
    run.begin(1).settled(run.bill(1));
    run.begin(2).settled(run.journal.last_seq() + 1);
    assert_eq!(run.listed(), [2]);
}

#[test]
fn a_request_that_was_settling_at_a_crash_is_looked_up_in_the_journal() {
    let run = Run::start();
    run.bill(99);
    let settling = [1, 2, 3].map(|id| {
        let slot = run.begin(id);
        slot.settling(run.journal.durable_seq());
        slot
    });
    assert_eq!(run.listed(), [1, 2, 3]);
    run.bill(2);
    assert_eq!(run.listed(), [1, 3]);
    drop(settling);
    assert!(run.listed().is_empty());
}

#[test]
fn a_slot_is_reused_only_after_its_event_is_durable() {
    let run = Run::start();
    let first = run.begin(1);
    let index = first.index;
    first.settled(1);
    let second = run.begin(2);
    assert_ne!(second.index, index);
    assert_eq!(run.listed(), [1, 2]);
    run.bill(1);
    assert_eq!(run.begin(3).index, index);
}

#[test]
fn requests_without_a_slot_are_served_and_counted() {
    let run = Run::start();
    let running: Vec<_> = (0..SLOTS as u128 + 2).map(|id| run.begin(id)).collect();
    let last_stop = run.crash();
    assert_eq!(last_stop.count, Some(SLOTS as u64 + 2));
    assert_eq!(last_stop.requests.len(), 1000, "the list is bounded");
    assert!(notice::of_last_stop(&last_stop).unwrap().starts_with("32770 requests were running"));
    drop(running);
    assert!(run.listed().is_empty());
    assert!(run.begin(1).index.is_some());
}

#[test]
fn threads_return_the_slots_that_they_took() {
    let run = Run::start();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let run = &run;
            scope.spawn(move || {
                for round in 0..2_000 {
                    let slots: Vec<_> = (0..8).map(|id| run.begin(thread << 32 | round << 8 | id)).collect();
                    slots.into_iter().for_each(|slot| if round % 2 == 0 { drop(slot) } else { slot.settled(0) });
                }
            });
        }
    });
    assert!(run.listed().is_empty());
    let all: Vec<_> = (0..SLOTS as u128).map(|id| run.begin(id)).collect();
    assert!(all.iter().all(|slot| slot.index.is_some()), "a slot was lost");
}

#[test]
fn after_a_restart_of_the_machine_only_a_closed_file_is_trusted() {
    let run = Run::start();
    let running = run.begin(1);
    let other = boot_id().map(|id| id ^ 1);
    assert!(FileContents::read(&run.file(), other).is_err());
    assert!(FileContents::read(&run.file(), None).is_err());
    drop(running);
    run.in_flight.close();
    assert_eq!(FileContents::read(&run.file(), other).unwrap(), FileContents::default());
}

#[test]
fn a_file_without_slots_still_distinguishes_a_clean_stop_from_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let file = Tracking::open(directory.path(), 0).unwrap();
    let read = || FileContents::read(&fs::read(directory.path().join(FILE)).unwrap(), boot_id());
    assert!(read().is_err());
    set_closed(&file).unwrap();
    assert_eq!(read().unwrap(), FileContents::default());
}

#[test]
fn a_truncated_or_corrupted_file_is_rejected() {
    let run = Run::start();
    let _running = run.begin(1);
    let whole = run.file();
    assert!(FileContents::read(&whole, boot_id()).is_ok());
    for length in [0, 1, CELL, HEAD_CELLS * CELL, whole.len() - CELL, whole.len() - 1] {
        assert!(FileContents::read(&whole[..length], boot_id()).is_err(), "{length}");
    }
    for word in 0..3 {
        let mut changed = whole.clone();
        changed[word * size_of::<u64>()] ^= 1;
        assert!(FileContents::read(&changed, boot_id()).is_err(), "{word}");
    }
}

#[test]
fn a_missing_file_is_reported_unless_the_directory_is_new() {
    let run = Run::start();
    fs::remove_file(run.directory.path().join(FILE)).unwrap();
    assert_eq!((run.crash().count, notice::of_last_stop(&run.crash())), (Some(0), None));
    run.bill(1);
    assert_eq!(run.crash().count, None);
    assert!(notice::of_last_stop(&run.crash()).unwrap().starts_with("It is not known which requests were running"));
}

#[test]
fn an_unwritable_directory_is_reported_and_stops_no_request() {
    let in_flight = InFlight::default();
    in_flight.track(Path::new("/nowhere"));
    assert!(in_flight.begin(0, 1, GroupId(1), SlugId(1), 1).is_none());
    assert!(in_flight.error().is_some());
    in_flight.close();
}
