//! Tests of the sums of calendar windows. They are compared with sums by civil date, which are made from the list of all
//! events.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::{table::Table, *};
use crate::domain::{
    calendar::Period,
    sums::{Counted, Spent, WindowSums},
};

/// An event, as far as sums need it.
pub(super) struct Event {
    at_ms: u64,
    counted_for: Vec<GroupId>,
    slug: SlugId,
    tokens: u64,
    cost: Option<Cost>,
}

/// The events of a journal that has lost none.
pub(super) fn events(journal: &Journal) -> Vec<Event> {
    let (mut events, mut reader) = (Vec::new(), journal.reader(0));
    while let Some(frame) = reader.next().unwrap() {
        let Record::Settled(settled) = codec::decode(frame.body).unwrap() else { continue };
        let Settled { counted_for, slug, usage, cost, .. } = settled;
        events.push(Event { at_ms: frame.at_ms, counted_for, slug, tokens: usage.input + usage.output, cost });
    }
    events
}

/// The sums of a period by the first date of its windows.
type ByDate<T> = BTreeMap<Date, T>;
type ByPeriod<T> = [ByDate<T>; 3];

/// The dates on which the day, week and month of a moment begin.
fn dates(zone: &TimeZone, at_ms: u64) -> [Date; 3] {
    let date = zone.to_datetime(Timestamp::from_millisecond(at_ms as i64).unwrap()).date();
    let monday = (0..7).fold(date, |day, _| match day.weekday() {
        jiff::civil::Weekday::Monday => day,
        _ => day.yesterday().unwrap(),
    });
    [date, monday, date.first_of_month()]
}

fn assert_windows<T: Copy + Default + PartialEq + std::fmt::Debug>(
    zone: &TimeZone,
    period: usize,
    stored: &WindowSums<T>,
    expected: &ByDate<T>,
    what: &str,
) {
    let mut latest = expected.iter().rev();
    for (start_ms, sum) in [stored.latest, stored.previous] {
        match latest.next() {
            Some((date, expected)) => assert_eq!((dates(zone, start_ms)[period], sum), (*date, *expected), "{what}"),
            None => assert_eq!((start_ms, sum), (0, T::default()), "{what}"),
        }
    }
}

/// Compares all rows of a store with the sums of `events`.
pub(super) fn check(store: &Store, events: &[Event], zone: &str) {
    let time_zone = TimeZone::get(zone).unwrap();
    let mut used: BTreeMap<(GroupId, SlugId), ByPeriod<(u64, u64)>> = BTreeMap::new();
    let mut spent: BTreeMap<(GroupId, Currency), (ByPeriod<u128>, u128)> = BTreeMap::new();
    for event in events {
        let dates = dates(&time_zone, event.at_ms);
        for group in &event.counted_for {
            let row = used.entry((*group, event.slug)).or_default();
            for (sums, date) in row.iter_mut().zip(dates) {
                let sum = sums.entry(date).or_default();
                *sum = (sum.0 + 1, sum.1 + event.tokens);
            }
            let Some(cost) = event.cost.filter(|cost| cost.amount > 0) else { continue };
            let (row, total) = spent.entry((*group, cost.currency)).or_default();
            row.iter_mut().zip(dates).for_each(|(sums, date)| *sums.entry(date).or_default() += cost.amount);
            *total += cost.amount;
        }
    }
    assert_eq!(store.zone().unwrap().as_deref(), Some(zone));
    let (stored_used, stored_spent) = (store.used_by_groups().unwrap(), store.spent_by_groups().unwrap());
    assert!(stored_used.iter().map(|(key, _)| key).eq(used.keys()), "{stored_used:?}");
    assert!(stored_spent.iter().map(|(key, _)| key).eq(spent.keys()), "{stored_spent:?}");
    for ((key, stored), expected) in stored_used.iter().zip(used.values()) {
        for (period, expected) in expected.iter().enumerate() {
            let sums = stored.of(Period::ALL[period]);
            let pair = |(start_ms, counted): (u64, Counted)| (start_ms, (counted.requests, counted.tokens));
            let sums = WindowSums { latest: pair(sums.latest), previous: pair(sums.previous) };
            assert_windows(&time_zone, period, &sums, expected, &format!("{zone} {key:?} {period}"));
        }
    }
    for ((key, stored), (expected, total)) in stored_spent.iter().zip(spent.values()) {
        for (period, expected) in expected.iter().enumerate() {
            let sums = stored.of(Period::ALL[period]);
            assert_windows(&time_zone, period, sums, expected, &format!("{zone} {key:?} {period}"));
        }
        assert_eq!(stored.total, *total, "{zone} {key:?}");
    }
}

fn calendar(zone: &str) -> Calendar {
    Calendar::new(zone).unwrap()
}

fn ms(text: &str) -> u64 {
    text.parse::<Timestamp>().unwrap().as_millisecond() as u64
}

/// Bills one request of a random group at a time: 1 and 2 are in the CASCADING tree of 99, 5 is alone in its tree of 6.
fn bill_one(journal: &Journal, random: &mut Random, at_ms: u64, metadata: Option<&str>) {
    bill_by_name(journal, random, at_ms, metadata, ["acme/1", "acme/2"]);
}

/// The same with the names that the two slugs have.
fn bill_by_name(journal: &Journal, random: &mut Random, at_ms: u64, metadata: Option<&str>, names: [&str; 2]) {
    NOW_MS.set(at_ms);
    let (counted_for, key) = match random.below(3) {
        0 => (vec![GroupId(1), GroupId(99)], "sk_1"),
        1 => (vec![GroupId(2), GroupId(1), GroupId(99)], "sk_2"),
        _ => (vec![GroupId(5)], "sk_5"),
    };
    let cost = [None, Some(("EUR", 0)), Some(("EUR", 1 << 70)), Some(("USD", 3))][random.below(4) as usize];
    let slug = random.below(2);
    let record = Record::Settled(Settled {
        metadata,
        model_slug: names[slug as usize],
        slug: SlugId(1 + slug),
        counted_for,
        api_key_prefix: key,
        usage: Usage { input: random.below(100), output: random.below(100), cached: 0, cache_write: 0 },
        cost: cost.map(|(code, amount)| Cost { currency: Currency::parse(code).unwrap(), amount }),
        ..settled()
    });
    let seq = append(journal, &record);
    assert!(journal.durable_blocking(seq, Duration::from_secs(10)));
}

fn trees() -> Vec<Row> {
    use Enforcement::{Cascading, Independent};
    vec![
        Row::Slug(SlugId(1), "acme/1".to_owned()),
        Row::Slug(SlugId(2), "acme/2".to_owned()),
        group(99, Cascading, None),
        group(1, Cascading, Some(99)),
        group(2, Cascading, Some(1)),
        group(6, Independent, None),
        group(5, Independent, Some(6)),
    ]
}

#[test]
fn sums_equal_those_by_civil_date_in_every_zone_and_after_each_change_of_the_zone() {
    // Each zone with a moment at which its dates are unusual.
    let zones = [
        ("UTC", "2026-02-27T00:00:00Z"),
        ("Europe/Berlin", "2026-03-27T00:00:00Z"),
        ("Europe/Berlin", "2026-10-23T00:00:00Z"),
        ("Asia/Kathmandu", "2026-02-27T00:00:00Z"),
        ("Australia/Lord_Howe", "2026-04-03T00:00:00Z"),
        ("Pacific/Apia", "2011-12-28T00:00:00Z"),
        ("America/St_Johns", "2026-10-30T00:00:00Z"),
    ];
    for (seed, (zone, from)) in (0..).zip(zones) {
        let mut random = Random::new(seed);
        let directory = tempfile::tempdir().unwrap();
        let mut at_ms = ms(from);
        NOW_MS.set(at_ms);
        let journal = journal(directory.path());
        change(&journal, trees());
        let mut opened = open(directory.path(), &journal, Some(&calendar(zone))).unwrap();
        for step in 0..120 {
            // Mostly minutes, sometimes days, and often the edge of a quarter of an hour.
            at_ms += [0, 1, 60_000 * random.below(90), HOUR_MS * random.below(60)][random.below(4) as usize];
            at_ms = at_ms.next_multiple_of(if random.below(3) == 0 { 15 * 60_000 } else { 1 });
            bill_one(&journal, &mut random, at_ms, None);
            if random.below(4) > 0 {
                continue;
            }
            Folder::new(&opened.store, &journal).unwrap().catch_up().unwrap();
            check(&opened.store, &events(&journal), zone);
            match random.below(4) {
                0 => drop(opened.store.close_days(Day::from_unix_ms(at_ms)).unwrap()),
                1 => drop(opened.store.write_snapshot().unwrap()),
                2 if step > 20 => {
                    drop(opened);
                    if random.below(2) == 0 {
                        fs::remove_dir_all(directory.path().join("store")).unwrap();
                    }
                    // Another zone for a while, and then the first again.
                    let other = ["Asia/Kathmandu", "UTC", "Australia/Lord_Howe", zone][random.below(4) as usize];
                    let between = open(directory.path(), &journal, Some(&calendar(other))).unwrap();
                    check(&between.store, &events(&journal), other);
                    assert!(!between.findings.iter().any(|finding| finding.contains("time zone")));
                    drop(between);
                    opened = open(directory.path(), &journal, Some(&calendar(zone))).unwrap();
                    assert!(!opened.findings.iter().any(|finding| finding.contains("time zone")));
                    check(&opened.store, &events(&journal), zone);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn hours_without_events_count_to_the_window_that_begins_in_them_and_this_is_reported() {
    let (directory, zone) = (tempfile::tempdir().unwrap(), calendar("Asia/Kathmandu"));
    NOW_MS.set(ms("2026-10-31T18:10:00Z"));
    let journal = journal(directory.path());
    change(&journal, trees());
    let (mut random, metadata) = (Random::new(1), "x".repeat(16 << 10));
    let store = open(directory.path(), &journal, utc()).unwrap().store;
    // November begins in Kathmandu at 18:15 UTC.
    for time in ["2026-10-31T18:10:00Z", "2026-10-31T18:14:59.999Z", "2026-10-31T18:15:00Z"] {
        bill_one(&journal, &mut random, ms(time), None);
    }
    (0..300).for_each(|_| bill_one(&journal, &mut random, ms("2026-11-03T12:00:00Z"), Some(&metadata)));
    Folder::new(&store, &journal).unwrap().catch_up().unwrap();
    assert_eq!(store.close_days(Day::from_unix_ms(NOW_MS.get())).unwrap().len(), 1);
    let all = events(&journal);
    let kept = journal.segments().unwrap()[1].first_seq;
    store.keep_from(kept).unwrap();
    drop(store);
    // As long as the journal has the events, the hour is divided.
    let divided = open(directory.path(), &journal, Some(&zone)).unwrap();
    assert_eq!(divided.findings, Vec::<String>::new());
    check(&divided.store, &all, zone.name());
    drop(divided);
    drop(open(directory.path(), &journal, utc()).unwrap());
    journal.remove_before(kept).unwrap();
    let opened = open(directory.path(), &journal, Some(&zone)).unwrap();
    let [finding] = &opened.findings[..] else { panic!("{:?}", opened.findings) };
    assert!(finding.contains("begin at 2026-10-31T18:15:00.000Z"), "{finding}");
    let begin_ms = ms("2026-10-31T18:15:00Z");
    let moved: Vec<Event> = all.into_iter().map(|event| Event { at_ms: event.at_ms.max(begin_ms), ..event }).collect();
    check(&opened.store, &moved, zone.name());
    drop(opened);
    // Only the start that computes the sums reports it.
    assert_eq!(open(directory.path(), &journal, Some(&zone)).unwrap().findings, Vec::<String>::new());
}

#[test]
fn a_deleted_group_keeps_no_sums_and_a_late_event_makes_no_new_ones() {
    let gone = [GroupId(2), GroupId(5)];
    for is_folded_before in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        NOW_MS.set(ms("2026-11-03T12:00:00Z"));
        let journal = journal(directory.path());
        change(&journal, trees());
        let mut random = Random::new(1);
        let store = open(directory.path(), &journal, utc()).unwrap().store;
        (0..30).for_each(|_| bill_one(&journal, &mut random, NOW_MS.get(), None));
        if is_folded_before {
            Folder::new(&store, &journal).unwrap().catch_up().unwrap();
            assert!(store.used_by_groups().unwrap().iter().any(|((group, _), _)| gone.contains(group)));
        }
        change(&journal, gone.map(Row::GroupGone).to_vec());
        (0..30).for_each(|_| bill_one(&journal, &mut random, NOW_MS.get(), None));
        Folder::new(&store, &journal).unwrap().catch_up().unwrap();
        // The ancestors of a deleted group count its requests, also when sums are computed anew.
        let mut events = events(&journal);
        events.iter_mut().for_each(|event| event.counted_for.retain(|group| !gone.contains(group)));
        check(&store, &events, "UTC");
        drop(store);
        for zone in ["Asia/Kathmandu", "UTC"] {
            check(&open(directory.path(), &journal, Some(&calendar(zone))).unwrap().store, &events, zone);
        }
    }
}

#[test]
fn a_store_without_a_calendar_keeps_its_zone_and_one_without_a_zone_counts_nothing_by_itself() {
    let (directory, zone) = (tempfile::tempdir().unwrap(), "Europe/Berlin");
    NOW_MS.set(ms("2026-11-03T12:00:00Z"));
    let journal = journal(directory.path());
    change(&journal, trees());
    let mut random = Random::new(1);
    drop(open(directory.path(), &journal, Some(&calendar(zone))).unwrap());
    (0..30).for_each(|_| bill_one(&journal, &mut random, NOW_MS.get(), None));
    let opened = open(directory.path(), &journal, None).unwrap();
    check(&opened.store, &events(&journal), zone);
    opened.store.forget_zone().unwrap();
    drop(opened);
    (0..30).for_each(|_| bill_one(&journal, &mut random, NOW_MS.get(), None));
    let opened = open(directory.path(), &journal, None).unwrap();
    assert_eq!((opened.store.zone().unwrap(), opened.used, opened.spent), (None, Vec::new(), Vec::new()));
    drop(opened.store);
    let opened = open(directory.path(), &journal, Some(&calendar(zone))).unwrap();
    check(&opened.store, &events(&journal), zone);
}

#[test]
fn a_total_is_not_made_smaller_by_a_rollup_file_that_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    NOW_MS.set(ms("2026-11-03T12:00:00Z"));
    let journal = journal(directory.path());
    change(&journal, trees());
    let (mut random, metadata) = (Random::new(1), "x".repeat(16 << 10));
    let store = open(directory.path(), &journal, utc()).unwrap().store;
    (0..300).for_each(|_| bill_one(&journal, &mut random, NOW_MS.get(), Some(&metadata)));
    bill_one(&journal, &mut random, ms("2026-11-04T12:00:00Z"), None);
    Folder::new(&store, &journal).unwrap().catch_up().unwrap();
    store.close_days(Day::from_unix_ms(NOW_MS.get())).unwrap();
    let before = store.spent_by_groups().unwrap();
    let kept = journal.segments().unwrap()[1].first_seq;
    store.keep_from(kept).unwrap();
    drop(store);
    journal.remove_before(kept).unwrap();
    fs::remove_file(directory.path().join("rollups/2026-11-03")).unwrap();
    let opened = open(directory.path(), &journal, Some(&calendar("Europe/Berlin"))).unwrap();
    assert!(opened.findings[0].starts_with("The rollups of 2026-11-03 cannot be read"), "{:?}", opened.findings);
    let totals = |rows: &[((GroupId, Currency), Spent)]| -> Vec<_> {
        rows.iter().map(|(key, spent)| (*key, spent.total)).collect()
    };
    assert_eq!(totals(&opened.spent), totals(&before));
}

/// Makes a store and the files of its days as format 6 had them.
fn make_format_6(directory: &Path, store: Store) {
    let tables = store.tables().unwrap();
    let hours = tables.db.open_tree(table::ROLLUPS).unwrap();
    for entry in tables.of(Table::Rollups).iter() {
        let (key, value) = entry.unwrap();
        hours.insert(&key[..key.len() - 8], value).unwrap();
    }
    tables.db.open_tree(table::COUNTERS).unwrap().insert([1; 28], b"\x01\x01\x01").unwrap();
    for table in [Table::Rollups, Table::Used, Table::Spent] {
        tables.of(table).clear().unwrap();
    }
    store.forget_zone().unwrap();
    store.set_meta("format", 6).unwrap();
    store.write_snapshot().unwrap();
    store.flush().unwrap();
    for file in fs::read_dir(directory.join("rollups")).unwrap() {
        rollups::file::make_earlier(&file.unwrap().path());
    }
}

#[test]
fn a_store_of_format_6_gets_exact_sums_although_a_slug_was_renamed() {
    for (is_interrupted, is_rebuilt) in [(false, false), (true, false), (false, true)] {
        let directory = tempfile::tempdir().unwrap();
        NOW_MS.set(ms("2026-11-03T12:00:00Z"));
        let journal = journal(directory.path());
        let mut random = Random::new(3);
        let store = open(directory.path(), &journal, utc()).unwrap().store;
        change_of(&journal, "endpoint.created", None, trees());
        // Two closed days and an open one; "acme/1" gets another name on the second day, and "acme/2" gets its name.
        let mut names = ["acme/1", "acme/2"];
        for time in ["2026-11-03T12:00:00Z", "2026-11-04T01:00:00Z", "2026-11-04T03:00:00Z", "2026-11-05T12:00:00Z"] {
            NOW_MS.set(ms(time));
            if time == "2026-11-04T03:00:00Z" {
                let slug = |id, name: &str| Row::Slug(SlugId(id), name.to_owned());
                let old = vec![slug(1, "acme/1")];
                change_of(&journal, "endpoint.updated", Some(old), vec![slug(1, "acme/other")]);
                change_of(&journal, "endpoint.updated", None, vec![slug(2, "acme/1")]);
                names = ["acme/other", "acme/1"];
            }
            (0..30).for_each(|_| bill_by_name(&journal, &mut random, ms(time), None, names));
        }
        Folder::new(&store, &journal).unwrap().catch_up().unwrap();
        assert_eq!(store.close_days(Day::from_unix_ms(NOW_MS.get())).unwrap().len(), 2);
        make_format_6(directory.path(), store);
        if is_interrupted {
            // It had begun to move the hours.
            let db = database::database(&directory.path().join("store")).unwrap();
            db.open_tree("hours").unwrap().insert([9; 40], b"half").unwrap();
        }
        if is_rebuilt {
            fs::remove_dir_all(directory.path().join("store")).unwrap();
        }
        let opened = open(directory.path(), &journal, Some(&calendar("Asia/Kathmandu"))).unwrap();
        assert_eq!(opened.findings.len(), usize::from(is_rebuilt), "{:?}", opened.findings);
        check(&opened.store, &events(&journal), "Asia/Kathmandu");
        assert_eq!(opened.store.tables().unwrap().of_earlier_formats().unwrap().len(), 0);
        assert_eq!(opened.store.meta("format").unwrap(), Some(7));
    }
}

#[test]
fn a_zone_whose_rules_have_changed_gets_its_sums_anew() {
    let directory = tempfile::tempdir().unwrap();
    NOW_MS.set(ms("2026-11-03T12:00:00Z"));
    let journal = journal(directory.path());
    change(&journal, trees());
    let mut random = Random::new(1);
    let store = open(directory.path(), &journal, utc()).unwrap().store;
    (0..30).for_each(|_| bill_one(&journal, &mut random, NOW_MS.get(), None));
    Folder::new(&store, &journal).unwrap().catch_up().unwrap();
    // The same zone, but with windows that begin at other moments.
    store.set_zone(&calendar("Europe/Berlin")).unwrap();
    drop(store);
    let opened = open(directory.path(), &journal, Some(&calendar("Europe/Berlin"))).unwrap();
    check(&opened.store, &events(&journal), "Europe/Berlin");
}

#[test]
fn a_copy_in_another_zone_can_be_compared() {
    let (directory, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    NOW_MS.set(ms("2026-11-03T12:00:00Z"));
    let journal = journal(directory.path());
    change(&journal, trees());
    let mut random = Random::new(1);
    (0..30).for_each(|_| bill_one(&journal, &mut random, NOW_MS.get(), None));
    let store = open(directory.path(), &journal, Some(&calendar("Europe/Berlin"))).unwrap().store;
    let anew = compare::scratch(scratch.path(), &directory.path().join("rollups")).unwrap();
    anew.use_calendar(utc()).unwrap();
    Folder::new(&anew, &journal).unwrap().catch_up().unwrap();
    assert!(anew.count_like(&store, &journal).unwrap());
    assert_eq!(anew.differences(&store).unwrap(), Vec::<String>::new());
    let (key, _) = store.tables().unwrap().of(Table::Spent).pop_min().unwrap().unwrap();
    assert_eq!(anew.differences(&store).unwrap(), ["1 rows of its sums of costs differ from the journal"]);
    assert_eq!(key.len(), 19);
    store.forget_zone().unwrap();
    assert!(!anew.count_like(&store, &journal).unwrap());
}

#[test]
fn a_store_rebuilt_at_run_time_from_a_snapshot_of_another_zone_has_the_sums_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    NOW_MS.set(ms("2026-11-03T12:00:00Z"));
    let journal = journal(directory.path());
    change(&journal, trees());
    let mut random = Random::new(1);
    (0..30).for_each(|_| bill_one(&journal, &mut random, NOW_MS.get(), None));
    open(directory.path(), &journal, utc()).unwrap().store.write_snapshot().unwrap();
    let store = open(directory.path(), &journal, Some(&calendar("Asia/Kathmandu"))).unwrap().store;
    (0..30).for_each(|_| bill_one(&journal, &mut random, NOW_MS.get(), None));
    store.rebuild(&journal).unwrap();
    (0..30).for_each(|_| bill_one(&journal, &mut random, NOW_MS.get(), None));
    Folder::new(&store, &journal).unwrap().catch_up().unwrap();
    check(&store, &events(&journal), "Asia/Kathmandu");
}
