//! The audit log: every change, newest first.
//!
//! The store indexes the records that are changes, with time and action. Actor and details are read from the record
//! itself. A page continues before a record number, so changes made meanwhile do not shift it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    domain::record::{Changed, Record},
    journal::{Damage, codec},
    service::{error::Error, storage::Storage},
    store::{IndexedChange, StoreError},
};

/// The longest time for gathering one page, so that a filter that matches few changes does not make one request walk
/// all of them.
const PAGE_TIME: Duration = Duration::from_secs(1);

/// The bytes of records after which a page ends. Their JSON may be thirty times as large.
const PAGE_BYTES: usize = 1 << 20;

/// A query for a page of changes.
pub struct AuditQuery {
    /// The start of the window: Unix ms, inclusive.
    pub start_ms: u64,
    /// The end of the window: Unix ms, exclusive. `None` for no end.
    pub end_ms: Option<u64>,
    /// The action, as `noun.verb`.
    pub event_type: Option<String>,
    /// The end of the previous page: only changes before this record are returned.
    pub before: Option<u64>,
    /// The most changes on the page.
    pub limit: usize,
}

/// A change in the audit log.
pub struct AuditEntry {
    /// The number of its record.
    pub seq: u64,
    /// The time of the change, in Unix ms.
    pub at_ms: u64,
    /// The actor, the action, and the rows before and after.
    pub changed: Changed,
}

/// A page of changes, newest first.
pub struct AuditPage {
    /// The changes.
    pub entries: Vec<AuditEntry>,
    /// The start of the next page, for [`AuditQuery::before`]; `None` on the last page. Earlier pages may also have
    /// fewer changes than the limit, or none.
    pub next: Option<u64>,
    /// The unreadable records in the page's part of the journal.
    pub missing: Vec<Damage>,
}

impl AuditQuery {
    fn matches(&self, change: &IndexedChange) -> bool {
        self.end_ms.is_none_or(|end_ms| change.at_ms < end_ms)
            && self.event_type.as_ref().is_none_or(|wanted| *wanted == change.action)
    }
}

impl Storage {
    /// Reads a page of the audit log. It includes every change whose request has been answered.
    pub async fn read_audit(self: &Arc<Self>, query: AuditQuery) -> Result<AuditPage, Error> {
        match query.before {
            Some(before) => self.folded(before.saturating_sub(1).min(self.core.journal.durable_seq())).await?,
            None => self.folded_by_now().await?,
        }
        let storage = self.clone();
        let scan = move || storage.scan_changes(&query, Instant::now() + PAGE_TIME);
        tokio::task::spawn_blocking(scan).await.map_err(Error::internal)?
    }

    fn scan_changes(&self, query: &AuditQuery, deadline: Instant) -> Result<AuditPage, Error> {
        let failed = |error: StoreError| Error::Unavailable(error.to_string());
        let begin = query.before.unwrap_or(u64::MAX);
        let first_kept = self.core.journal.first_seq();
        let (mut entries, mut next, mut bytes, mut passed) = (Vec::new(), None, 0, begin);
        for change in self.store.changes_before(begin).map_err(failed)? {
            let change = change.map_err(failed)?;
            if change.seq < first_kept || change.at_ms < query.start_ms {
                break;
            }
            let is_wanted = query.matches(&change);
            let is_full = is_wanted && (entries.len() == query.limit || bytes >= PAGE_BYTES);
            if is_full || (passed < begin && Instant::now() >= deadline) {
                next = Some(passed);
                break;
            }
            if is_wanted && let Some((entry, size)) = self.read_change(change.seq)? {
                bytes += size;
                entries.push(entry);
            }
            passed = change.seq;
        }
        let mut missing = self.unreadable();
        missing.retain(|damage| {
            let is_of_page = *damage.missing.start() < begin && next.is_none_or(|next| *damage.missing.end() > next);
            is_of_page && damage.to_ms >= query.start_ms && query.end_ms.is_none_or(|end_ms| damage.from_ms < end_ms)
        });
        Ok(AuditPage { entries, next, missing })
    }

    /// Reads a change. Returns it with its record's size in bytes; `None` if the record cannot be read.
    fn read_change(&self, seq: u64) -> Result<Option<(AuditEntry, usize)>, Error> {
        let mut reader = self.core.journal.reader(seq.saturating_sub(1));
        let frame = reader.next().map_err(Error::internal)?;
        let Some(frame) = frame.filter(|frame| frame.seq == seq) else { return Ok(None) };
        let record = codec::decode(frame.body).map_err(Error::internal)?;
        let Record::Changed(changed) = record else { return Ok(None) };
        Ok(Some((AuditEntry { seq, at_ms: frame.at_ms, changed }, frame.body.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        domain::{
            id::SlugId,
            record::{Actor, Row},
        },
        service::{Booted, Gateway, boot},
    };
    use tokio::task::LocalSet;

    fn query(event_type: Option<&str>) -> AuditQuery {
        AuditQuery { start_ms: 0, end_ms: None, event_type: event_type.map(str::to_owned), before: None, limit: 100 }
    }

    async fn change(gateway: &Arc<Gateway>, action: &str, rows: Vec<Row>) {
        gateway.changes.begin().await.unwrap().commit(Actor::system(), action, rows).await.unwrap();
    }

    fn slugs(count: u64, name: &str) -> Vec<Row> {
        (1..=count).map(|id| Row::Slug(SlugId(id), format!("{name}/{id}"))).collect()
    }

    async fn on_a_gateway<F: Future<Output = ()>>(test: impl FnOnce(Arc<Gateway>) -> F) {
        let directory = tempfile::tempdir().unwrap();
        let booted: Booted = boot(Config { data_dir: directory.path().to_owned(), ..Config::default() }, None).unwrap();
        LocalSet::new().run_until(test(booted.gateway.clone())).await;
        booted.close();
    }

    #[tokio::test]
    async fn pages_that_run_out_of_time_return_every_change_once() {
        on_a_gateway(async |gateway| {
            for number in 0..20 {
                change(&gateway, if number % 7 == 0 { "a.rare" } else { "an.often" }, slugs(1, "a")).await;
            }
            gateway.storage.folded_by_now().await.unwrap();
            let (mut query, mut seen, mut pages) = (query(Some("a.rare")), Vec::new(), 0);
            loop {
                let page = gateway.storage.scan_changes(&query, Instant::now()).unwrap();
                seen.extend(page.entries.iter().map(|entry| entry.seq));
                pages += 1;
                query.before = page.next;
                if page.next.is_none() {
                    break;
                }
            }
            assert_eq!((seen, pages), (vec![15, 8, 1], 20));
        })
        .await;
    }

    #[tokio::test]
    async fn a_page_of_large_changes_has_few_entries() {
        on_a_gateway(async |gateway| {
            let rows = || vec![Row::Slug(SlugId(1), "x".repeat(PAGE_BYTES / 4))];
            for _ in 0..7 {
                change(&gateway, "large.change", rows()).await;
            }
            let first = gateway.storage.read_audit(query(None)).await.unwrap();
            // Every record except the first also contains the row's previous version.
            assert_eq!((first.entries.len(), first.next), (2, Some(6)));
            let huge = vec![Row::Slug(SlugId(2), "x".repeat(2 * PAGE_BYTES))];
            change(&gateway, "huge.change", huge).await;
            let page = gateway.storage.read_audit(query(None)).await.unwrap();
            assert_eq!((page.entries.len(), page.next), (1, Some(8)), "a page has at least one entry");
        })
        .await;
    }

    #[tokio::test]
    async fn a_change_of_very_many_rows_is_recorded_without_their_previous_versions() {
        on_a_gateway(async |gateway| {
            for (count, is_known) in [(10_000, true), (10_001, false)] {
                change(&gateway, "slug.made", slugs(count, "a")).await;
                change(&gateway, "slug.renamed", slugs(count, "b")).await;
                let page = gateway.storage.read_audit(AuditQuery { limit: 1, ..query(None) }).await.unwrap();
                let changed = &page.entries[0].changed;
                assert_eq!((changed.rows.len() as u64, changed.before.is_some()), (count, is_known));
            }
        })
        .await;
    }
}
