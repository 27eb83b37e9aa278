//! A process that appends, folds, closes days, turns segments and writes snapshots is killed at every point where it
//! matters, and then, at another such point, while it starts again. What it had said was durable must be there, once, and
//! all sums must be those of the journal.

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
const CHILD: &str = "store::tests::crashes::a_life_until_it_is_killed";
const KILLED: i32 = 9;

/// Each with how often the process comes there before it dies: early and late in its life.
const POINTS: [(&str, [u32; 2]); 9] = [
    ("appended, not synced", [2, 40]),
    ("segment named", [1, 3]),
    ("segment turned", [1, 2]),
    ("synced, not in the store", [1, 7]),
    ("in the store, not flushed", [1, 7]),
    ("half of a snapshot", [5, 40]),
    ("a snapshot too many", [1, 4]),
    ("a day's file, and its rows", [1, 3]),
    ("a day's rows leave", [1, 3]),
];

/// Those that a start comes to, the last one when the store is gone.
const POINTS_OF_A_START: [&str; 3] = ["synced, not in the store", "in the store, not flushed", "a store half rebuilt"];

#[test]
#[ignore = "the process that the test below kills"]
fn a_life_until_it_is_killed() {
    let Some(directory) = env::var_os(DIRECTORY) else { return };
    let directory = Path::new(&directory);
    let billed = ids(directory).len() as u64;
    set_clock(Day(FIRST_DAY.0 + billed as u32 / 60), 0);
    let journal = journal(directory);
    let store = open(directory, &journal, Day(0)).unwrap().store;
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

/// Runs a life that is to end at `point`. Gives how many events it said were durable.
fn die(directory: &Path, point: &str, times: u32) -> u64 {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", CHILD, "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(crash::VARIABLE, format!("{point}:{times}"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let durable = lines.filter_map(|line| line.strip_prefix("durable ")?.parse().ok()).last().unwrap_or(0);
    assert_eq!(child.wait().unwrap().signal(), Some(KILLED), "{point}: it did not die there");
    durable
}

fn is_whole(directory: &Path, durable: u64, point: &str) {
    let ids = ids(directory);
    let expected: Vec<u128> = (0..ids.len() as u128).collect();
    assert_eq!(ids, expected, "{point}: an event is missing, or there twice");
    assert!(ids.len() as u64 >= durable, "{point}: {} of {durable}", ids.len());
    set_clock(Day(FIRST_DAY.0 + ids.len() as u32 / 60), 1);
    check(directory);
}

#[test]
fn a_crash_at_any_point_loses_nothing_and_counts_nothing_twice() {
    for (point, times) in POINTS {
        for times in times {
            let directory = tempfile::tempdir().unwrap();
            let durable = die(directory.path(), point, times);
            is_whole(directory.path(), durable, point);
            // And it lives on, to die elsewhere.
            let durable = die(directory.path(), "in the store, not flushed", 3);
            is_whole(directory.path(), durable, point);
        }
    }
}

#[test]
fn a_crash_while_starting_after_a_crash_is_no_worse() {
    for point in POINTS_OF_A_START {
        let directory = tempfile::tempdir().unwrap();
        let durable = die(directory.path(), "synced, not in the store", 9);
        if point == "a store half rebuilt" {
            fs::remove_dir_all(directory.path().join("store")).unwrap();
        }
        for _ in 0..2 {
            die(directory.path(), point, 1);
        }
        is_whole(directory.path(), durable, point);
    }
}
