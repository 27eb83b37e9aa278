//! Makes the alerts about the use of limits and budgets (`domain::alert`).
//!
//! * What is compared are the store's sums, so an alert may be due as soon as the store has applied an event. An alert
//!   is a record of the journal, like the event itself.
//! * Each event is compared on its own, in order. So two events that each reach a share make two alerts, also if the
//!   store has applied both at once. The use after an event is the store's sum without the later events. Of very many
//!   events, only the sum is compared (`touched`).
//! * Only the use that has changed is compared: that of the groups, slugs and currencies of new events, and that of
//!   groups whose limits or budgets were written. Everything is compared once at the start, since `alert_at` may have
//!   changed.
//! * The store notes the last record whose alerts are durable (`Store::alerted_through`). Events after it are read
//!   again after a crash. An alert that was durable before it is among the last alerts, which the store folds from the
//!   journal. So none is lost and none is made twice, whenever the process ends.
//! * A window that has ended gets alerts about the events of that window only, not about a rule that was changed later.
//! * If the journal takes no alert, the use is compared again the next time.
//!
//! The memory is bounded by the groups and the slugs and currencies that each of them has used.

mod touched;
mod windows;

use std::{collections::BTreeSet, sync::Arc};

use tracing::error;

use self::{
    touched::Touched,
    windows::{Times, UseOfWindow, amount_of, uses_of_budget, uses_of_limit},
};
use crate::{
    crypto::random,
    domain::{
        alert::{Alert, Declaration, LastAlerts, WindowUse},
        group::{Enforcement, Group},
        id::{AlertId, GroupId, SlugId},
        ledger::Effective,
        limit::LimitKind,
        money::Currency,
        record::Record,
        sums::{Counted, Spent, Used},
    },
    journal::{Reader, codec},
    service::{
        catalog::{Catalog, GroupNode},
        storage::Storage,
    },
    store::{FoldError, StoreError},
};

/// Makes the alerts.
pub(super) struct Alerts<'a> {
    storage: &'a Storage,
    /// `None` until the store has been read, and if alerts are off.
    watch: Option<Watch<'a>>,
    /// Whether the store knows that alerts are off.
    is_off_noted: bool,
}

impl<'a> Alerts<'a> {
    pub(super) fn new(storage: &'a Storage) -> Self {
        Self { storage, watch: None, is_off_noted: false }
    }

    /// Makes the alerts that are due. Called after the store has applied new records.
    pub(super) fn round(&mut self) -> Result<(), FoldError> {
        if self.storage.core.config.alert_at.is_empty() {
            // Use while alerts are off makes none later.
            if !self.is_off_noted {
                self.storage.store.forget_alerted_through()?;
                self.is_off_noted = true;
            }
            return Ok(());
        }
        let watch = match &mut self.watch {
            Some(watch) => watch,
            None => self.watch.insert(Watch::begin(self.storage)?),
        };
        watch.round()
    }
}

struct Watch<'a> {
    storage: &'a Storage,
    reader: Reader,
    touched: Touched,
    /// The last alerts, including those that the store has not applied yet.
    last: LastAlerts,
    /// The last alert's record.
    appended: u64,
    /// The value of `Store::alerted_through`.
    noted: Option<u64>,
}

impl<'a> Watch<'a> {
    /// Begins after the last record whose alerts are known to be durable, with every group to be compared.
    fn begin(storage: &'a Storage) -> Result<Self, StoreError> {
        let (core, store) = (&storage.core, &storage.store);
        let applied = store.applied()?;
        let mut noted = store.alerted_through()?.filter(|noted| *noted <= applied);
        if noted.is_none() {
            // From now on, a crash finds the place to continue from.
            store.set_alerted_through(applied)?;
            store.flush()?;
            noted = Some(applied);
        }
        let groups = core.catalog.load().groups().keys().copied().collect();
        Ok(Self {
            storage,
            reader: core.journal.reader(noted.unwrap_or(applied)),
            touched: Touched { groups, ..Touched::default() },
            last: store.last_alerts()?,
            appended: 0,
            noted,
        })
    }

    fn round(&mut self) -> Result<(), FoldError> {
        let (core, store) = (&self.storage.core, &self.storage.store);
        let applied = store.applied()?;
        while self.reader.position() < applied {
            let frame = self.reader.next().map_err(|error| FoldError::Journal(error.to_string()))?;
            let Some(frame) = frame else { break };
            let record = codec::decode(frame.body)
                .map_err(|error| FoldError::Journal(format!("record {} cannot be decoded: {error}", frame.seq)))?;
            self.touched.note(frame.at_ms, &record);
        }
        // After a gap in the journal, or while the store is rebuilt, the sums may lack some of what was read.
        if self.reader.position() > applied || !store.has_complete_sums() {
            return Ok(());
        }
        if !self.touched.is_empty() {
            let touched = std::mem::take(&mut self.touched);
            match self.compare(&touched) {
                Ok(true) => {}
                not_done => {
                    self.touched = touched;
                    return Ok(not_done.map(drop)?);
                }
            }
        }
        if self.noted != Some(applied) && core.journal.durable_seq() >= self.appended {
            store.set_alerted_through(applied)?;
            self.noted = Some(applied);
        }
        Ok(())
    }

    /// Compares the changed use with the rules. Returns false if the journal did not take an alert.
    fn compare(&mut self, touched: &Touched) -> Result<bool, StoreError> {
        let (core, store) = (&self.storage.core, &self.storage.store);
        let catalog = core.catalog.load_full();
        if touched.has_deletions {
            self.last.keep(|group| catalog.groups().contains_key(&group));
        }
        let now_ms = core.now().unix_ms;
        let times = Times { since_ms: touched.since_ms.map_or(now_ms, |since_ms| since_ms.min(now_ms)), now_ms };
        let of_now = Times { since_ms: now_ms, now_ms };
        for ((group, slug), amounts) in &touched.used {
            let Some(node) = catalog.groups().get(group) else { continue };
            let (used, amounts) = (store.used_of(*group, *slug)?, touched.each(amounts));
            if !self.compare_limits(&catalog, node, *slug, &used, amounts, times) {
                return Ok(false);
            }
        }
        for ((group, currency), amounts) in &touched.spent {
            let Some(node) = catalog.groups().get(group) else { continue };
            let (spent, amounts) = (store.spent_of(*group, *currency)?, touched.each(amounts));
            if !self.compare_budgets(&catalog, node, *currency, &spent, amounts, times) {
                return Ok(false);
            }
        }
        for node in touched.groups.iter().flat_map(|group| whose_rules_changed(&catalog, *group)) {
            for slug in store.slugs_used_by(node.id)? {
                if !self.compare_limits(&catalog, &node, slug, &store.used_of(node.id, slug)?, &[], of_now) {
                    return Ok(false);
                }
            }
            let account = node.account_of_budgets();
            let currencies = account.rules().iter().filter_map(|rule| rule.rule.budget()).map(|it| it.currency);
            for currency in currencies.collect::<BTreeSet<_>>() {
                let spent = store.spent_of(node.id, currency)?;
                if !self.compare_budgets(&catalog, &node, currency, &spent, &[], of_now) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn compare_limits(
        &mut self,
        catalog: &Catalog,
        node: &GroupNode,
        slug: SlugId,
        used: &Used,
        events: &[(u64, Counted)],
        times: Times,
    ) -> bool {
        let calendar = &self.storage.core.config.time_zone;
        let account = node.account(slug);
        let mut rules = account.rules().iter().filter(|effective| !effective.is_shared());
        rules.all(|effective| {
            let amount = |counted| amount_of(&effective.rule, counted);
            let mut uses = uses_of_limit(&effective.rule, used, calendar, times).into_iter().flatten();
            uses.all(|found| self.alert_if_due(catalog, node, effective, slug, &found, || found.steps(events, amount)))
        })
    }

    fn compare_budgets(
        &mut self,
        catalog: &Catalog,
        node: &GroupNode,
        currency: Currency,
        spent: &Spent,
        events: &[(u64, u128)],
        times: Times,
    ) -> bool {
        let calendar = &self.storage.core.config.time_zone;
        let (account, created_at_ms) = (node.account_of_budgets(), node.group().created_at_ms);
        let mut rules = account.rules().iter().filter(|effective| !effective.is_shared());
        rules.all(|effective| {
            let uses = uses_of_budget(&effective.rule, currency, spent, created_at_ms, calendar, times);
            let mut uses = uses.into_iter().flatten();
            uses.all(|found| {
                let steps = || found.steps(events, |cost| cost);
                self.alert_if_due(catalog, node, effective, SlugId(0), &found, steps)
            })
        })
    }

    /// Appends the alerts that are due after each of `steps`. Returns false if the journal did not take one.
    fn alert_if_due(
        &mut self,
        catalog: &Catalog,
        node: &GroupNode,
        effective: &Effective,
        slug: SlugId,
        found: &UseOfWindow,
        steps: impl FnOnce() -> Vec<u128>,
    ) -> bool {
        let Some(declaration) = Declaration::of(&effective.rule, slug) else { return true };
        let of = WindowUse { group: node.id, declaration, window_start_ms: found.start_ms, used: found.used };
        let storage = self.storage;
        let shares = &storage.core.config.alert_at;
        // If none is due after the last step, none is due after the others.
        if self.last.due(shares, &of).is_none() || (found.has_ended && self.last.is_beyond(&of)) {
            return true;
        }
        steps().into_iter().all(|used| {
            let of = WindowUse { used, ..of };
            let due = self.last.due(shares, &of);
            due.is_none_or(|percent| self.append(catalog, node, effective.source, &of, found.end_ms, percent))
        })
    }

    /// Appends an alert. Returns false if the journal did not take it.
    fn append(
        &mut self,
        catalog: &Catalog,
        node: &GroupNode,
        declared_by: GroupId,
        of: &WindowUse,
        reset_at_ms: Option<u64>,
        percent: u8,
    ) -> bool {
        let core = &self.storage.core;
        let WindowUse { declaration, window_start_ms, used, .. } = *of;
        let Ok(id) = random::ulid(core.now().unix_ms) else { return false };
        let alert = Alert {
            id: AlertId(id),
            group: node.id,
            declared_by,
            external_entity_id: node.group().external_entity_id.clone(),
            declaration,
            model_slug: match declaration {
                Declaration::Limit(slug, _) => Some(catalog.slug_name(slug).to_owned()),
                Declaration::Budget(_) => None,
            },
            used,
            percent,
            window_start_ms,
            reset_at_ms,
        };
        let record = Record::Alerted(alert.clone());
        let mut bytes = Vec::new();
        let appended = match codec::encode(&record, &mut bytes) {
            Ok(()) => core.journal.append(&bytes),
            Err(error) => {
                error!("an alert cannot be encoded: {error}");
                return false;
            }
        };
        // The reason is shown by all that waits for the journal.
        let Ok(appended) = appended else { return false };
        self.appended = appended.seq;
        self.last.note(&alert);
        true
    }
}

/// The groups whose rules may have changed with a group: itself and, if it declares something that its descendants may
/// inherit, these.
fn whose_rules_changed(catalog: &Catalog, group: GroupId) -> Vec<Arc<GroupNode>> {
    let Some(node) = catalog.groups().get(&group) else { return Vec::new() };
    let (is_independent, declares) = {
        let group = node.group();
        (group.enforcement == Enforcement::Independent, declares_any(&group))
    };
    match (is_independent, declares) {
        (true, true) => catalog.subtree(group),
        (true, false) => vec![node.clone()],
        // Only its own rules count for it.
        (false, true) => vec![node.clone()],
        (false, false) => Vec::new(),
    }
}

/// Whether a group declares a usage limit or a budget.
fn declares_any(group: &Group) -> bool {
    let mut limits = group.models.iter().flat_map(|model| &model.limits);
    !group.budgets.is_empty() || limits.any(|limit| limit.kind() == LimitKind::Usage)
}

#[cfg(test)]
mod tests;
