//! Kills a process at every critical point while it appends, folds, closes days, starts segments and writes snapshots,
//! and then at another point while it starts again. Records that it reported as durable must be there exactly once, and
//! all sums must equal those of the journal.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Stdio},
};

use super::*;
use crate::crash;

const DIRECTORY: &str = "TOLLGATE_CRASH_DIRECTORY";
/// The time zone of the process; UTC without it.
const ZONE: &str = "TOLLGATE_CRASH_ZONE";
const CHILD: &str = "store::tests::crashes::run_until_it_is_killed";
const KILLED: i32 = 9;

/// The points during a run, each with the passes at which the process is killed: an early one and a late one.
const POINTS: [(&str, [u32; 2]); 9] = [
    ("appended, not synced", [2, 40]),
    ("segment named", [1, 3]),
    ("new segment started", [1, 2]),
    ("synced, not in the store", [1, 7]),
    ("in the store, not flushed", [1, 7]),
    ("snapshot partly written", [5, 40]),
    ("old snapshots not removed", [1, 4]),
    ("day file written, rows still in the table", [1, 3]),
    ("day rows partly removed", [1, 3]),
];

/// The points during a start. The last one is passed only if the store is missing.
const START_POINTS: [&str; 3] = ["synced, not in the store", "in the store, not flushed", "store partly rebuilt"];

#[test]
#[ignore = "the process that the tests below kill"]
fn run_until_it_is_killed() {
    let Some(directory) = env::var_os(DIRECTORY) else { return };
    let directory = Path::new(&directory);
    let billed = ids(directory).len() as u64;
    set_clock(Day(FIRST_DAY.0 + billed as u32 / 60), 0);
    let journal = journal(directory);
    let zone = env::var(ZONE).map_or_else(|_| Calendar::default(), |zone| Calendar::new(&zone).unwrap());
    found_groups(&journal);
    let store = open(directory, &journal, Some(&zone)).unwrap().store;
    let mut folder = Folder::new(&store, &journal).unwrap();
    let (mut random, metadata) = (Random::new(billed), "x".repeat(16 << 10));
    for (from, step) in (billed..).step_by(15).zip(1..=40) {
        bill(&journal, &mut random, from, 15, Some(&metadata));
        println!("durable {}", from + 15);
        folder.catch_up().unwrap();
        if step % 3 == 0 {
            store.write_snapshot().unwrap();
        }
        if step % 4 == 0 {
            let today = Day(Day::from_unix_ms(NOW_MS.get()).0 + 1);
            set_clock(today, 0);
            store.close_days(today).unwrap();
        }
        store.flush().unwrap();
    }
}

/// The ids of all events, in order.
fn ids(directory: &Path) -> Vec<u128> {
    let (journal, _) = match Journal::open_read_only(&directory.join("journal")) {
        Ok(opened) => opened,
        Err(_) => return Vec::new(),
    };
    let (mut ids, mut reader) = (Vec::new(), journal.reader(0));
    while let Some(frame) = reader.next().unwrap() {
        let Record::Settled(settled) = codec::decode(frame.body).unwrap() else { continue };
        ids.push(settled.request_id);
    }
    ids
}

/// Runs the process until it is killed at `point`. Returns the number of events that it reported as durable.
fn run_and_kill(directory: &Path, point: &str, times: u32) -> u64 {
    run_and_kill_in("UTC", directory, point, times)
}

fn run_and_kill_in(zone: &str, directory: &Path, point: &str, times: u32) -> u64 {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", CHILD, "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(ZONE, zone)
        .env(crash::VARIABLE, format!("{point}:{times}"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let durable = lines.filter_map(|line| line.strip_prefix("durable ")?.parse().ok()).last().unwrap_or(0);
    assert_eq!(child.wait().unwrap().signal(), Some(KILLED), "{point}: it was not killed there");
    durable
}

fn check_events(directory: &Path, durable: u64, point: &str) {
    let ids = ids(directory);
    let expected: Vec<u128> = (0..ids.len() as u128).collect();
    assert_eq!(ids, expected, "{point}: an event is missing or duplicated");
    assert!(ids.len() as u64 >= durable, "{point}: {} of {durable}", ids.len());
    set_clock(Day(FIRST_DAY.0 + ids.len() as u32 / 60), 1);
    check(directory);
}

#[test]
fn a_crash_at_any_point_loses_nothing_and_counts_nothing_twice() {
    for (point, times) in POINTS {
        for times in times {
            let directory = tempfile::tempdir().unwrap();
            let durable = run_and_kill(directory.path(), point, times);
            check_events(directory.path(), durable, point);
            // It continues and is killed at another point.
            let durable = run_and_kill(directory.path(), "in the store, not flushed", 3);
            check_events(directory.path(), durable, point);
        }
    }
}

#[test]
fn a_crash_during_the_start_after_a_crash_loses_nothing() {
    for point in START_POINTS {
        let directory = tempfile::tempdir().unwrap();
        let durable = run_and_kill(directory.path(), "synced, not in the store", 9);
        if point == "store partly rebuilt" {
            fs::remove_dir_all(directory.path().join("store")).unwrap();
        }
        for _ in 0..2 {
            run_and_kill(directory.path(), point, 1);
        }
        check_events(directory.path(), durable, point);
    }
}

#[test]
fn a_crash_while_sums_are_computed_for_another_zone_leaves_no_half_of_them() {
    for point in ["sums partly written", "sums written, zone not set"] {
        let directory = tempfile::tempdir().unwrap();
        run_and_kill(directory.path(), "in the store, not flushed", 9);
        for zone in ["Asia/Kathmandu", "Asia/Kathmandu", "Europe/Berlin"] {
            run_and_kill_in(zone, directory.path(), point, 1);
        }
        // The process after the crash has the first zone again.
        check_events(directory.path(), 0, point);
    }
}
