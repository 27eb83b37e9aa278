//! The ids of slugs by the names that they once had. Rollups of earlier versions only have the name.
//!
//! An endpoint's changes tell who had a name, and since when. If retention has removed them, the present names count.

use std::collections::{HashMap, HashSet};

use crate::{
    domain::{
        id::SlugId,
        record::{Changed, Record, Row},
    },
    journal::{Journal, codec},
    store::{error::StoreError, handle::Store},
};

/// The start of the actions that can name a slug.
const NAMING: &str = "endpoint.";

/// Who had which name.
#[derive(Default)]
pub(in crate::store) struct SlugNames {
    /// The owners of each name with the time from which it was theirs (ms of Unix time), in order of time.
    owners: HashMap<String, Vec<(u64, SlugId)>>,
    /// The slugs that have any name.
    named: HashSet<SlugId>,
}

impl SlugNames {
    /// The slug that had this name last before a moment (ms of Unix time).
    pub(in crate::store) fn id_before(&self, name: &str, unix_ms: u64) -> Option<SlugId> {
        let owners = self.owners.get(name)?;
        owners.iter().rev().find(|(from_ms, _)| *from_ms < unix_ms).map(|(_, slug)| *slug)
    }

    fn note(&mut self, name: String, from_ms: u64, slug: SlugId) {
        self.named.insert(slug);
        self.owners.entry(name).or_default().push((from_ms, slug));
    }

    fn note_change(&mut self, at_ms: u64, changed: Changed) {
        for row in changed.before.into_iter().flatten() {
            if let Row::Slug(slug, name) = row
                && !self.named.contains(&slug)
            {
                self.note(name, 0, slug);
            }
        }
        for row in changed.rows {
            if let Row::Slug(slug, name) = row {
                self.note(name, at_ms, slug);
            }
        }
    }
}

impl Store {
    /// The names that slugs have and had.
    pub(in crate::store) fn slug_names(&self, journal: &Journal) -> Result<SlugNames, StoreError> {
        let mut seqs = Vec::new();
        for change in self.changes_before(u64::MAX)? {
            let change = change?;
            seqs.extend(change.action.starts_with(NAMING).then_some(change.seq));
        }
        let mut names = SlugNames::default();
        for seq in seqs.into_iter().rev() {
            let mut reader = journal.reader(seq.saturating_sub(1));
            // A change that cannot be read is left out.
            let Ok(Some(frame)) = reader.next() else { continue };
            if let (true, Ok(Record::Changed(changed))) = (frame.seq == seq, codec::decode(frame.body)) {
                names.note_change(frame.at_ms, changed);
            }
        }
        for (name, slug) in self.slug_ids()? {
            if !names.named.contains(&slug) {
                names.note(name, 0, slug);
            }
        }
        names.owners.values_mut().for_each(|owners| owners.sort_by_key(|(from_ms, _)| *from_ms));
        Ok(names)
    }
}
