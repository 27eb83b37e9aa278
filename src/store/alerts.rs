//! Alerts: their list, which is kept as long as the journal's records, and the last one about each limit and budget,
//! which is kept until its group is deleted. A budget without a reset may have been alerted long ago.

use super::{
    apply::Batch,
    error::StoreError,
    handle::Store,
    table::{DAMAGED, Table, decode, encode},
};
use crate::domain::{
    alert::{Alert, LastAlert, LastAlerts, Place},
    id::GroupId,
};

/// The name of the meta value of [`Store::alerted_through`].
const ALERTED: &str = "alerted";

/// An alert in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAlert {
    /// The sequence number of its record.
    pub seq: u64,
    /// Unix ms.
    pub at_ms: u64,
    /// The alert.
    pub alert: Alert,
}

/// The start of the keys of a group's last alerts.
fn group_key(group: GroupId) -> [u8; 16] {
    group.0.to_be_bytes()
}

fn last_key((group, place): (GroupId, Place)) -> Result<Vec<u8>, StoreError> {
    Ok([&group_key(group)[..], &encode(&place)?].concat())
}

fn stored(entry: sled::Result<(sled::IVec, sled::IVec)>) -> Result<StoredAlert, StoreError> {
    let (key, value) = entry?;
    let seq = u64::from_be_bytes(key.as_ref().try_into().map_err(|_| DAMAGED)?);
    let (at_ms, alert) = decode(&value)?;
    Ok(StoredAlert { seq, at_ms, alert })
}

impl Store {
    /// Stores an alert.
    pub(super) fn fold_alerted(
        &self,
        batch: &mut Batch,
        seq: u64,
        at_ms: u64,
        alert: &Alert,
    ) -> Result<(), StoreError> {
        batch.write(Table::Alerts, &seq.to_be_bytes(), Some(encode(&(at_ms, alert))?));
        // The group may have been deleted before the alert was recorded.
        if self.value_in(batch, Table::Groups, &group_key(alert.group))?.is_some() {
            batch.write(Table::LastAlerts, &last_key(alert.rule())?, Some(encode(&LastAlert::from(alert))?));
        }
        Ok(())
    }

    /// Removes the last alerts about a deleted group. The list keeps its alerts.
    pub(super) fn forget_last_alerts(&self, batch: &mut Batch, group: GroupId) -> Result<(), StoreError> {
        let prefix = group_key(group);
        batch.rows.retain(|(table, key), _| !(*table == Table::LastAlerts && key.starts_with(&prefix)));
        for key in self.tables()?.of(Table::LastAlerts).scan_prefix(prefix).keys() {
            batch.write(Table::LastAlerts, &key?, None);
        }
        Ok(())
    }

    /// The alerts before the record `before`, the newest first.
    pub fn alerts_before(
        &self,
        before: u64,
    ) -> Result<impl Iterator<Item = Result<StoredAlert, StoreError>> + use<>, StoreError> {
        Ok(self.tables()?.of(Table::Alerts).range(..before.to_be_bytes()).rev().map(stored))
    }

    /// The alerts after the record `after`, the oldest first.
    pub fn alerts_after(
        &self,
        after: u64,
    ) -> Result<impl Iterator<Item = Result<StoredAlert, StoreError>> + use<>, StoreError> {
        Ok(self.tables()?.of(Table::Alerts).range(after.saturating_add(1).to_be_bytes()..).map(stored))
    }

    /// The number of alerts after the record `after`.
    pub fn count_alerts_after(&self, after: u64) -> Result<u64, StoreError> {
        let mut keys = self.tables()?.of(Table::Alerts).range(after.saturating_add(1).to_be_bytes()..).keys();
        Ok(keys.try_fold(0, |count, key| key.map(|_| count + 1))?)
    }

    /// The last alert about each limit and budget of each group.
    pub fn last_alerts(&self) -> Result<LastAlerts, StoreError> {
        let read = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
            let (key, value) = entry?;
            let group = key.first_chunk().ok_or(DAMAGED)?;
            Ok((GroupId(u128::from_be_bytes(*group)), decode(&value)?))
        };
        self.tables()?.of(Table::LastAlerts).iter().map(read).collect()
    }

    /// The last record whose alerts have been made durably; `None` if alerts were off.
    pub fn alerted_through(&self) -> Result<Option<u64>, StoreError> {
        self.meta(ALERTED)
    }

    /// Notes that the alerts about all use up to the record `seq` are durable.
    pub fn set_alerted_through(&self, seq: u64) -> Result<(), StoreError> {
        self.set_meta(ALERTED, seq)
    }

    /// Notes that alerts are off.
    pub fn forget_alerted_through(&self) -> Result<(), StoreError> {
        self.tables()?.of(Table::Meta).remove(ALERTED)?;
        Ok(())
    }

    /// Removes the alerts that retention removes from the journal.
    pub(super) fn forget_alerts_before(&self, seq: u64) -> Result<(), StoreError> {
        let tables = self.tables()?;
        let mut removed = sled::Batch::default();
        for key in tables.of(Table::Alerts).range(..seq.to_be_bytes()).keys() {
            removed.remove(key?);
        }
        Ok(tables.of(Table::Alerts).apply_batch(removed)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{
            alert::{Shares, WindowUse},
            group::Group,
            record::{Actor, Changed, Record, Row},
            testing::{alert, group_of_v1},
        },
        journal::{Durability, Journal, codec},
        store::Folder,
    };

    const GROUP: GroupId = GroupId(7);

    fn group(id: GroupId) -> Record<'static> {
        changed(Row::Group(Group { id, ..group_of_v1() }))
    }

    fn changed(row: Row) -> Record<'static> {
        Record::Changed(Changed { actor: Actor::system(), action: "a.b".to_owned(), before: None, rows: vec![row] })
    }

    fn alerted(group: GroupId, percent: u8) -> Record<'static> {
        Record::Alerted(Alert { group, percent, ..alert() })
    }

    /// A store that has folded these records, in batches that end at each number in `cuts`.
    fn folded(records: &[Record<'_>], cuts: &[u64]) -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(&directory.path().join("journal"), Durability::Process).unwrap();
        let store = Store::open(directory.path(), &journal, None).unwrap();
        for record in records {
            let mut bytes = Vec::new();
            codec::encode(record, &mut bytes).unwrap();
            let appended = journal.append(&bytes).unwrap();
            assert!(journal.durable_blocking(appended.seq, std::time::Duration::from_secs(10)));
        }
        let mut folder = Folder::new(&store, &journal).unwrap();
        for cut in cuts.iter().chain([&u64::MAX]) {
            folder.catch_up_to(*cut).unwrap();
        }
        drop(folder);
        (directory, store)
    }

    /// Sequence number, group and percent of the alerts before a record.
    fn list(store: &Store, before: u64) -> Vec<(u64, GroupId, u8)> {
        let alerts = store.alerts_before(before).unwrap().map(Result::unwrap);
        alerts.map(|StoredAlert { seq, alert, .. }| (seq, alert.group, alert.percent)).collect()
    }

    /// The share that is due if everything is used.
    fn due(store: &Store, group: GroupId) -> Option<u8> {
        let Alert { declaration, window_start_ms, .. } = alert();
        let used = declaration.threshold();
        store.last_alerts().unwrap().due(&Shares::default(), &WindowUse { group, declaration, window_start_ms, used })
    }

    #[test]
    fn alerts_are_listed_from_the_newest_and_the_last_one_is_not_due_again() {
        let records =
            [group(GROUP), group(GroupId(8)), alerted(GROUP, 75), alerted(GroupId(8), 90), alerted(GROUP, 100)];
        for cuts in [&[][..], &[1, 2, 3, 4], &[3]] {
            let (_directory, store) = folded(&records, cuts);
            assert_eq!(list(&store, u64::MAX), [(5, GROUP, 100), (4, GroupId(8), 90), (3, GROUP, 75)], "{cuts:?}");
            assert_eq!(list(&store, 4), [(3, GROUP, 75)]);
            let after = |seq| store.alerts_after(seq).unwrap().map(|alert| alert.unwrap().seq).collect::<Vec<_>>();
            for (seq, expected) in [(0, &[3, 4, 5][..]), (3, &[4, 5]), (5, &[]), (u64::MAX, &[])] {
                assert_eq!(after(seq), expected);
                assert_eq!(store.count_alerts_after(seq).unwrap(), expected.len() as u64);
            }
            let newest = store.alerts_before(u64::MAX).unwrap().next().unwrap().unwrap();
            assert_eq!(newest.alert, Alert { group: GROUP, percent: 100, ..alert() });
            assert!(newest.at_ms > 0);
            assert_eq!((due(&store, GROUP), due(&store, GroupId(8))), (None, Some(100)));
        }
    }

    #[test]
    fn retention_removes_alerts_from_the_list_but_they_are_not_due_again() {
        let (_directory, store) = folded(&[group(GROUP), alerted(GROUP, 90), alerted(GROUP, 100)], &[]);
        store.keep_from(3).unwrap();
        assert_eq!(list(&store, u64::MAX), [(3, GROUP, 100)]);
        store.keep_from(4).unwrap();
        assert_eq!((list(&store, u64::MAX), due(&store, GROUP)), (Vec::new(), None));
    }

    #[test]
    fn a_deleted_group_leaves_its_alerts_in_the_list_only_and_a_later_one_is_added() {
        let records = [
            group(GROUP),
            group(GroupId(8)),
            alerted(GROUP, 75),
            alerted(GroupId(8), 75),
            changed(Row::GroupGone(GROUP)),
            alerted(GROUP, 90),
        ];
        for cuts in [&[][..], &[1, 2, 3, 4, 5], &[4]] {
            let (_directory, store) = folded(&records, cuts);
            let expected = [(6, GROUP, 90), (4, GroupId(8), 75), (3, GROUP, 75)];
            assert_eq!(list(&store, u64::MAX), expected, "{cuts:?}");
            assert_eq!(store.tables().unwrap().of(Table::LastAlerts).len(), 1);
        }
    }
}
