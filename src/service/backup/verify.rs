//! `tollgate verify`: checks that all durable data are intact and that the totals equal the sums of the events.
//!
//! It changes nothing in the data directory, and a gateway may be serving from it. It reads every frame of the journal,
//! every snapshot and every rollup file. Then it folds the journal into a scratch store and compares that store with
//! the snapshots and the live store at their positions. The fold starts at the first record or, if retention has
//! removed it, at the older snapshot. The store of a running gateway cannot be opened, so only its snapshots are
//! compared.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

use crate::{
    domain::record::Record,
    journal::{Journal, OpenReport, codec},
    service::start::installation::{damaged_keys, lock_existing},
    store::{self, Folder, Store, StoreError, snapshot},
};

/// The result of a check.
#[derive(Default)]
pub struct Verified {
    /// The problems found, a sentence each; empty if there are none.
    pub findings: Vec<String>,
    /// The data that were checked, a sentence each.
    pub seen: Vec<String>,
}

/// A callback for progress: steps done and steps in total.
pub type Progress<'a> = &'a dyn Fn(u64, u64);

/// Checks a data directory. An error says why the check itself could not be done.
pub fn verify(data_dir: &Path, progress: Progress<'_>) -> Result<Verified, String> {
    let mut verified = Verified::default();
    let lock = lock_existing(data_dir).map_err(|error| error.to_string())?;
    verified.findings.extend(damaged_keys(data_dir).map(|error| format!("{error}.")));
    // Listed before the journal is opened: a snapshot that a running gateway adds later could contain records that are
    // not in our view of the journal.
    let snapshots = snapshot::list(data_dir).map_err(|error| error.to_string())?;
    let opened = Journal::open_read_only(&data_dir.join("journal"));
    let (journal, report) = opened.map_err(|error| format!("the journal cannot be opened: {error}"))?;
    check_journal(&journal, &report, progress, &mut verified)?;
    let bases = check_snapshots(snapshots, &mut verified);
    for (path, error) in store::unreadable_rollups(data_dir).map_err(|error| error.to_string())? {
        verified.findings.push(format!("{}: {error}. It is rebuilt when a report needs it.", path.display()));
    }
    compare(data_dir, &journal, &bases, lock.is_some(), progress, &mut verified)?;
    Ok(verified)
}

/// Reads every record.
fn check_journal(
    journal: &Journal,
    report: &OpenReport,
    progress: Progress<'_>,
    verified: &mut Verified,
) -> Result<(), String> {
    let mut reader = journal.reader(0);
    let (mut events, mut changes, mut deliveries, mut alerts) = (0_u64, 0_u64, 0_u64, 0_u64);
    let last = report.last_seq;
    while let Some(frame) = reader.next().map_err(|error| error.to_string())? {
        match codec::decode(frame.body) {
            Ok(Record::Settled(_)) => events += 1,
            Ok(Record::Changed(_)) => changes += 1,
            Ok(
                Record::Delivered(_)
                | Record::DeadLettered(_)
                | Record::AlertsDeadLettered(_)
                | Record::Passed(_)
                | Record::Redelivered(_),
            ) => deliveries += 1,
            Ok(Record::Alerted(_)) => alerts += 1,
            Err(error) => verified.findings.push(format!("journal: record {} cannot be decoded: {error}.", frame.seq)),
        }
        if frame.seq.is_multiple_of(10_000) {
            progress(frame.seq, last * 2);
        }
    }
    verified.findings.extend(journal.damage().iter().map(|damage| {
        let (first, last) = (damage.missing.start(), damage.missing.end());
        let place = format!("{}, {} bytes from byte {} on", damage.file.display(), damage.bytes, damage.offset);
        format!("journal: records {first} to {last} cannot be read ({place}).")
    }));
    let first = journal.first_seq();
    verified.seen.push(format!(
        "journal: records {first} to {last}: {events} events, {changes} changes, {deliveries} about webhooks, \
         {alerts} alerts"
    ));
    if report.cut_bytes > 0 {
        let torn = report.cut_bytes;
        verified
            .seen
            .push(format!("journal: {torn} bytes of an unfinished write at its end; the next start removes them"));
    }
    Ok(())
}

/// Reads every snapshot. Returns the intact ones, the oldest first.
fn check_snapshots(mut good: Vec<snapshot::Snapshot>, verified: &mut Verified) -> Vec<snapshot::Snapshot> {
    good.reverse();
    good.retain(|snapshot| match snapshot::check(&snapshot.path) {
        Ok(()) => {
            verified.seen.push(format!("snapshot of record {}: {} bytes", snapshot.applied, snapshot.bytes));
            true
        }
        // It has been replaced by a newer one meanwhile.
        Err(_) if !snapshot.path.exists() => false,
        Err(error) => {
            verified.findings.push(format!("{}: {error}.", snapshot.path.display()));
            false
        }
    });
    good
}

/// Folds the journal into a scratch store and compares it with the snapshots and the store.
fn compare(
    data_dir: &Path,
    journal: &Journal,
    snapshots: &[snapshot::Snapshot],
    may_open_store: bool,
    progress: Progress<'_>,
    verified: &mut Verified,
) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("the totals could not be computed from the journal: {error}");
    let scratch = tempfile::tempdir().map_err(|error| failed(&error))?;
    let rollups = data_dir.join("rollups");
    let base = if journal.first_seq() > 1 { snapshots.first() } else { None };
    if journal.first_seq() > 1 && base.is_none() {
        verified.findings.push(
            "the totals cannot be compared: the journal's start has been removed, and no snapshot is intact".to_owned(),
        );
        return Ok(());
    }
    let mut lost_rollups = BTreeSet::new();
    let mut copies: BTreeMap<u64, Vec<(String, Store)>> = BTreeMap::new();
    for snapshot in snapshots.iter().filter(|snapshot| base.is_none_or(|base| snapshot.applied > base.applied)) {
        let directory = scratch.path().join(format!("snapshot-{}", snapshot.applied));
        let name = format!("snapshot of record {}", snapshot.applied);
        match store::load_copy(&snapshot.path, &directory, &rollups) {
            Ok(loaded) => copies.entry(snapshot.applied).or_default().push((name, loaded)),
            Err(error @ StoreError::Older { .. }) => verified.seen.push(format!("{name}: not compared, since {error}")),
            Err(_) if !snapshot.path.exists() => {} // replaced by a newer one meanwhile
            Err(error) => return Err(failed(&error)),
        }
    }
    if may_open_store && data_dir.join("store").exists() {
        let directory = scratch.path().join("live");
        copy(&data_dir.join("store"), &directory.join("store")).map_err(|error| failed(&error))?;
        match store::open_copy(&directory, &rollups) {
            Ok(live) => {
                let applied = live.applied().map_err(|error| failed(&error))?;
                copies.entry(applied).or_default().push(("store".to_owned(), live));
            }
            Err(error @ StoreError::Older { .. }) => verified.seen.push(format!("store: not compared, since {error}")),
            Err(error) => verified.findings.push(format!("store: {error}; the next start rebuilds it.")),
        }
    }
    let directory = scratch.path().join("anew");
    let anew = match base {
        Some(base) => store::load_copy(&base.path, &directory, &rollups),
        None => store::scratch(&directory, &rollups),
    };
    let anew = anew.map_err(|error| failed(&error))?;
    for store in copies.values().flatten().map(|(_, copy)| copy).chain([&anew]) {
        lost_rollups.extend(store.lost_rollups().map_err(|error| failed(&error))?);
    }
    verified.findings.extend(lost_rollups.iter().map(|name| {
        let path = rollups.join(name);
        format!(
            "{}: the file is missing. It is rebuilt when a report needs it, if the journal still has that day.",
            path.display()
        )
    }));
    if let (None, Some((_, copy))) = (base, copies.values().flatten().next()) {
        anew.count_like(copy, journal).map_err(|error| failed(&error))?;
    }
    let mut folder = Folder::new(&anew, journal).map_err(|error| failed(&error))?;
    let last = journal.durable_seq();
    for (applied, copies) in copies {
        if applied > last {
            let lost = format!("the journal ends with record {last}");
            verified
                .findings
                .extend(copies.iter().map(|(name, _)| format!("{name}: it contains record {applied}, but {lost}.")));
            continue;
        }
        folder.catch_up_to(applied).map_err(|error| failed(&error))?;
        progress(last + applied, last * 2);
        for (name, copy) in copies {
            let has_sums = anew.count_like(&copy, journal).map_err(|error| failed(&error))?;
            let differences = anew.differences(&copy).map_err(|error| failed(&error))?;
            if differences.is_empty() {
                verified.seen.push(format!("{name}: all tables and totals match the journal"));
            }
            if !has_sums {
                let why = "the next start computes them, or the journal lacks events to compute them from";
                verified.seen.push(format!("{name}: sums of days, weeks and months were not compared, since {why}"));
            }
            verified.findings.extend(differences.into_iter().map(|difference| format!("{name}: {difference}.")));
        }
    }
    folder.catch_up().map_err(|error| failed(&error))?;
    Ok(())
}

/// Copies a directory.
pub(in crate::service) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
