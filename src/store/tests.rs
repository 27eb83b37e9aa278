//! Tests of the store over several days, with crashes and damage. All sums are compared with sums made from the journal
//! itself.

use std::{cell::Cell, collections::BTreeMap, fs, iter, path::Path, sync::LazyLock, time::Duration};

mod crashes;
mod windows;

use super::*;
use crate::{
    domain::{
        budget::Budgets,
        calendar::Calendar,
        day::{Day, HOUR_MS, Hour},
        group::{Enforcement, Group, GroupModels},
        id::{GroupId, SlugId},
        money::{Cost, Currency},
        record::{Actor, Changed, Record, Row},
        rollup::{Rollup, Sums},
        settled::Settled,
        testing::{Random, settled},
        usage::Usage,
    },
    journal::{Durability, Journal, codec},
};

const FIRST_DAY: Day = Day(20_000);

thread_local! {
    static NOW_MS: Cell<u64> = const { Cell::new(0) };
}

fn set_clock(day: Day, hour: u32) {
    NOW_MS.set(day.start_unix_ms() + u64::from(hour) * HOUR_MS);
}

fn journal(directory: &Path) -> Journal {
    Journal::open_with_clock(&directory.join("journal"), Durability::Process, || NOW_MS.get()).unwrap().0
}

fn utc() -> Option<&'static Calendar> {
    static UTC: LazyLock<Calendar> = LazyLock::new(Calendar::default);
    Some(&UTC)
}

fn append(journal: &Journal, record: &Record<'_>) -> u64 {
    let mut bytes = Vec::new();
    codec::encode(record, &mut bytes).unwrap();
    journal.append(&bytes).unwrap().seq
}

fn group(id: u128, enforcement: Enforcement, parent: Option<u128>) -> Row {
    Row::Group(Group {
        id: GroupId(id),
        external_entity_id: id.to_string(),
        name: None,
        models: GroupModels::new(Vec::new()).unwrap(),
        enforcement,
        parent: parent.map(GroupId),
        created_at_ms: 0,
        disabled: false,
        budgets: Budgets::default(),
    })
}

fn change(journal: &Journal, rows: Vec<Row>) {
    change_of(journal, "a.b", None, rows);
}

fn change_of(journal: &Journal, action: &str, before: Option<Vec<Row>>, rows: Vec<Row>) {
    let changed = Changed { actor: Actor::system(), action: action.to_owned(), before, rows };
    let seq = append(journal, &Record::Changed(changed));
    assert!(journal.durable_blocking(seq, Duration::from_secs(10)));
}

/// Creates the groups of [`bill`], if the journal is empty.
fn found_groups(journal: &Journal) {
    if journal.last_seq() == 0 {
        let children = (0..3).map(|id| group(id, Enforcement::Cascading, Some(99)));
        change(journal, iter::once(group(99, Enforcement::Cascading, None)).chain(children).collect());
    }
}

/// Bills `events` events with ids from `from` on, and waits until they are durable.
fn bill(journal: &Journal, random: &mut Random, from: u64, events: usize, metadata: Option<&str>) {
    let mut last = 0;
    for id in (from..).take(events) {
        let group = GroupId(u128::from(random.below(3)));
        let usage = Usage { input: random.below(1000), output: random.below(1000), cached: 0, cache_write: 0 };
        let currency = Currency::parse(["EUR", "USD"][random.below(2) as usize]).unwrap();
        let (slug, key) = (format!("acme/{}", random.below(2)), format!("sk_{}", group.0));
        let record = Record::Settled(Settled {
            request_id: id.into(),
            metadata,
            model_slug: &slug,
            slug: SlugId(1 + u64::from(slug.ends_with('1'))),
            counted_for: vec![group, GroupId(99)],
            api_key_prefix: &key,
            usage,
            cost: Some(Cost { currency, amount: random.below(1 << 40).into() }),
            ..settled()
        });
        last = append(journal, &record);
    }
    assert!(journal.durable_blocking(last, Duration::from_secs(10)));
}

/// Appends events for some days, hour by hour. The store folds them and closes days as they pass.
fn run_days(directory: &Path, days: u32, random: &mut Random) {
    let journal = journal(directory);
    found_groups(&journal);
    let store = Store::open(directory, &journal, utc()).unwrap();
    let mut folder = Folder::new(&store, &journal).unwrap();
    let first = Day::from_unix_ms(NOW_MS.get().max(FIRST_DAY.start_unix_ms()));
    for day in first.0..first.0 + days {
        for hour in [1, 7, 23] {
            set_clock(Day(day), hour);
            bill(&journal, random, 0, 20, None);
            folder.catch_up().unwrap();
            store.close_days(Day(day)).unwrap();
        }
        store.write_snapshot().unwrap();
    }
    store.flush().unwrap();
}

type Totals = BTreeMap<(Hour, GroupId, String, String), Sums>;

fn key(row: &Rollup) -> (Hour, GroupId, String, String) {
    (row.hour, row.group, row.model_slug.clone(), row.api_key_prefix.clone())
}

fn of_journal(journal: &Journal) -> Totals {
    let mut totals = Totals::new();
    let mut reader = journal.reader(0);
    while let Some(frame) = reader.next().unwrap() {
        if let Record::Settled(settled) = codec::decode(frame.body).unwrap() {
            let row = Rollup::of(frame.at_ms, &settled);
            totals.entry(key(&row)).or_default().add(&row.sums);
        }
    }
    totals
}

fn of_store(store: &Store, journal: &Journal, grain: Grain) -> Totals {
    let mut totals = Totals::new();
    let all = Hour(0)..Hour(u32::MAX);
    let problems = store.rollups(Some(journal), all, grain, |row| totals.entry(key(&row)).or_default().add(&row.sums));
    assert_eq!(problems.unwrap(), Vec::<String>::new());
    totals
}

fn by_day(totals: &Totals) -> Totals {
    let mut days = Totals::new();
    for ((hour, group, slug, key), sums) in totals {
        let day = hour.day().hours().start;
        days.entry((day, *group, slug.clone(), key.clone())).or_default().add(sums);
    }
    days
}

/// Opens the directory and compares all sums with the journal's.
fn check(directory: &Path) -> Vec<String> {
    let journal = journal(directory);
    let opened = open(directory, &journal, utc()).unwrap();
    let totals = of_journal(&journal);
    assert_eq!(of_store(&opened.store, &journal, Grain::Hour), totals);
    // An open day has no rows for the whole day.
    assert_eq!(by_day(&of_store(&opened.store, &journal, Grain::Day)), by_day(&totals));
    windows::check(&opened.store, &windows::events(&journal), "UTC");
    opened.findings
}

fn after_days(days: u32, seed: u64) -> (tempfile::TempDir, Random) {
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random::new(seed);
    set_clock(FIRST_DAY, 0);
    run_days(directory.path(), days, &mut random);
    (directory, random)
}

#[test]
fn rollups_are_the_sums_of_the_events_whether_a_day_is_closed_or_not() {
    let (directory, mut random) = after_days(3, 1);
    assert_eq!(check(directory.path()), Vec::<String>::new());
    let mut files: Vec<_> =
        fs::read_dir(directory.path().join("rollups")).unwrap().map(|e| e.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["2024-10-04", "2024-10-05"]);
    // If the clock is set back by a day, without a barrier to hold the time, the day gets another file.
    let journal = journal(directory.path());
    let store = Store::open(directory.path(), &journal, utc()).unwrap();
    store.close_days(Day(FIRST_DAY.0 + 3)).unwrap();
    bill(&journal, &mut random, 0, 5, None);
    Folder::new(&store, &journal).unwrap().catch_up().unwrap();
    store.close_days(Day(FIRST_DAY.0 + 3)).unwrap();
    assert!(directory.path().join("rollups/2024-10-06.2").exists());
    drop((store, journal));
    assert_eq!(check(directory.path()), Vec::<String>::new());
}

#[test]
fn a_missing_store_is_rebuilt_from_the_newest_intact_snapshot() {
    for damaged_snapshots in 0..=2 {
        let (directory, _) = after_days(3, 2);
        fs::remove_dir_all(directory.path().join("store")).unwrap();
        let snapshots = snapshot::list(directory.path()).unwrap();
        assert_eq!(snapshots.len(), 2);
        for snapshot in &snapshots[..damaged_snapshots] {
            let mut bytes = fs::read(&snapshot.path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&snapshot.path, bytes).unwrap();
        }
        let findings = check(directory.path());
        assert!(findings[0].contains("was rebuilt from"), "{findings:?}");
        let from_snapshot = findings[0].contains("a snapshot at record");
        assert_eq!(from_snapshot, damaged_snapshots < 2, "{findings:?}");
        let skipped = findings.iter().filter(|finding| finding.contains("was skipped")).count();
        assert_eq!(skipped, damaged_snapshots, "{findings:?}");
        assert_eq!(check(directory.path()), Vec::<String>::new(), "it is reported once");
    }
}

#[test]
fn a_crash_between_a_days_file_and_its_rows_counts_nothing_twice() {
    let (directory, mut random) = after_days(2, 3);
    let before = tempfile::tempdir().unwrap();
    copy(&directory.path().join("store"), &before.path().join("store"));
    // The day is closed, and then the store is set back to its state before that.
    run_days(directory.path(), 1, &mut random);
    set_clock(Day(FIRST_DAY.0 + 2), 1);
    run_days(directory.path(), 1, &mut random);
    fs::remove_dir_all(directory.path().join("store")).unwrap();
    copy(&before.path().join("store"), &directory.path().join("store"));
    assert_eq!(check(directory.path()), Vec::<String>::new());
}

#[test]
fn a_damaged_or_missing_rollup_file_is_rebuilt() {
    let (directory, _) = after_days(3, 4);
    fs::remove_file(directory.path().join("rollups/2024-10-04")).unwrap();
    fs::write(directory.path().join("rollups/2024-10-05"), "TOLLGATE").unwrap();
    assert_eq!(check(directory.path()), Vec::<String>::new());
    assert!(directory.path().join("rollups/2024-10-04").exists());
}

#[test]
fn missing_records_are_listed_with_the_totals() {
    let (directory, _) = after_days(1, 5);
    for gone in ["store", "snapshots"] {
        fs::remove_dir_all(directory.path().join(gone)).unwrap();
    }
    let segment = fs::read_dir(directory.path().join("journal")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&segment).unwrap();
    bytes[2000] ^= 1;
    fs::write(&segment, bytes).unwrap();
    for _ in 0..2 {
        check(directory.path());
        let journal = journal(directory.path());
        let missing = Store::open(directory.path(), &journal, utc()).unwrap().missing().unwrap();
        assert_eq!(missing.len(), 1);
        assert_eq!(missing[0].missing.clone().count(), 1);
        assert_eq!((&missing[0].file, missing[0].offset <= 2000), (&segment, true));
    }
}

#[test]
fn without_snapshots_a_journal_that_has_lost_its_beginning_is_refused() {
    let (directory, _) = after_days(1, 6);
    let segment = fs::read_dir(directory.path().join("journal")).unwrap().next().unwrap().unwrap().path();
    fs::rename(&segment, segment.with_file_name("00000000000000000005.log")).unwrap();
    // The store is intact: its totals include the records that the journal has lost.
    let journal = journal(directory.path());
    let findings = open(directory.path(), &journal, utc()).unwrap().findings;
    assert!(findings[0].contains("Records 1 to 4 are gone"), "{findings:?}");
    for gone in ["store", "snapshots"] {
        fs::remove_dir_all(directory.path().join(gone)).unwrap();
    }
    let refused = open(directory.path(), &journal, utc()).err().map(|error| error.to_string());
    assert!(refused.unwrap().contains("nothing is left to rebuild it from"));
}

/// Bills `events` events in this hour, each with a different key, so that the rows fill more than one chunk of a rollup
/// file.
fn bill_many_keys(journal: &Journal, events: u64) {
    let mut last = 0;
    for id in 0..events {
        let key = format!("sk_{id:020}");
        let record = Record::Settled(Settled {
            request_id: id.into(),
            counted_for: vec![GroupId(1), GroupId(99)],
            api_key_prefix: &key,
            ..settled()
        });
        last = append(journal, &record);
    }
    assert!(journal.durable_blocking(last, Duration::from_secs(60)));
}

#[test]
fn a_start_that_was_killed_while_it_created_the_store_does_not_block_the_next_one() {
    let directory = tempfile::tempdir().unwrap();
    let (first, unfinished) = (journal(directory.path()), directory.path().join("store.new"));
    // sled writes this file in two parts, and refuses it if it has only the first.
    fs::create_dir(&unfinished).unwrap();
    fs::write(unfinished.join("conf"), "half").unwrap();
    let opened = open(directory.path(), &first, utc()).unwrap();
    assert_eq!((opened.findings.len(), unfinished.exists()), (0, false));
}

#[test]
fn an_unfinished_rollup_file_is_ignored() {
    let directory = tempfile::tempdir().unwrap();
    set_clock(FIRST_DAY, 1);
    let first = journal(directory.path());
    bill_many_keys(&first, 3000);
    drop(open(directory.path(), &first, utc()).unwrap().store.flush());
    let before = tempfile::tempdir().unwrap();
    copy(&directory.path().join("store"), &before.path().join("store"));
    set_clock(Day(FIRST_DAY.0 + 1), 1);
    open(directory.path(), &first, utc()).unwrap().store.close_days(Day(FIRST_DAY.0 + 1)).unwrap();
    // The state after a kill in the middle of writing: half a file under its temporary name, all rows in the table.
    let file = directory.path().join("rollups/2024-10-04");
    let half = fs::read(&file).unwrap();
    fs::write(file.with_extension("new"), &half[..half.len() / 2]).unwrap();
    fs::remove_file(&file).unwrap();
    fs::remove_dir_all(directory.path().join("store")).unwrap();
    copy(&before.path().join("store"), &directory.path().join("store"));
    let store = open(directory.path(), &first, utc()).unwrap().store;
    assert_eq!(store.rollup_files().0, 0);
    let problems = store.rollups(None, Hour(0)..Hour(u32::MAX), Grain::Hour, |_| ()).unwrap();
    assert_eq!(problems, Vec::<String>::new(), "its rows are in the table");
}

#[test]
fn concurrent_reports_can_rebuild_the_same_damaged_rollup_file() {
    let (directory, _) = after_days(3, 4);
    set_clock(FIRST_DAY, 1);
    let journal = journal(directory.path());
    let store = open(directory.path(), &journal, utc()).unwrap().store;
    for _ in 0..20 {
        fs::write(directory.path().join("rollups/2024-10-05"), "TOLLGATE").unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let all = Hour(0)..Hour(u32::MAX);
                    let problems = store.rollups(Some(&journal), all, Grain::Hour, |_| ()).unwrap();
                    assert_eq!(problems, Vec::<String>::new());
                });
            }
        });
    }
}

#[test]
fn a_rollup_file_rebuilt_from_a_damaged_journal_lists_its_missing_records() {
    let (directory, _) = after_days(3, 4);
    fs::remove_file(directory.path().join("rollups/2024-10-04")).unwrap();
    let segment = fs::read_dir(directory.path().join("journal")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&segment).unwrap();
    bytes[2000] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let journal = journal(directory.path());
    for _ in 0..2 {
        let store = open(directory.path(), &journal, utc()).unwrap().store;
        store.rollups(Some(&journal), Hour(0)..Hour(u32::MAX), Grain::Hour, |_| ()).unwrap();
        assert_eq!(store.missing().unwrap().len(), 1);
    }
}

#[test]
fn a_rollup_file_under_the_name_of_another_day_is_damaged() {
    let (directory, _) = after_days(3, 4);
    let name = |date: &str| directory.path().join("rollups").join(date);
    fs::copy(name("2024-10-05"), name("2024-10-04")).unwrap();
    assert_eq!(check(directory.path()), Vec::<String>::new());
}

#[test]
fn a_rebuilt_store_does_not_report_records_removed_by_retention_as_lost() {
    let directory = tempfile::tempdir().unwrap();
    set_clock(FIRST_DAY, 1);
    let first = journal(directory.path());
    let (mut random, metadata) = (Random::new(1), "x".repeat(16 << 10));
    let store = open(directory.path(), &first, utc()).unwrap().store;
    for from in (0..400).step_by(20) {
        bill(&first, &mut random, from, 20, Some(&metadata));
        Folder::new(&store, &first).unwrap().catch_up().unwrap();
        store.write_snapshot().unwrap();
    }
    let kept = first.segments().unwrap()[1].first_seq;
    store.keep_from(kept).unwrap();
    first.remove_before(kept).unwrap();
    drop(store);
    fs::remove_dir_all(directory.path().join("store")).unwrap();
    let findings = open(directory.path(), &first, utc()).unwrap().findings;
    assert!(!findings.iter().any(|finding| finding.contains("gone from the journal")), "{findings:?}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() { copy(&entry.path(), &to) } else { assert!(fs::copy(entry.path(), to).is_ok()) }
    }
}
