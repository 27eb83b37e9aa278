//! Simulations: which of the past requests of a group would have been refused with other limits and budgets.
//!
//! The requests are read from the journal once, from some records before the window on: the records before it teach the
//! estimates and fill the rolling windows. Use before the window in the same calendar windows comes from the store's
//! rollups. Nothing is changed, and memory depends on the number of groups and slugs, not of requests.

use std::{ops::Range, sync::Arc};

use arrayvec::ArrayVec;
use parking_lot::{Mutex, MutexGuard};

use crate::{
    domain::{
        budget::Budgets,
        group::{Enforcement, Group, GroupModels, MAX_LEVELS},
        hash::IdMap,
        id::{GroupId, SlugId},
        ledger::{Account, GroupPath},
        record::Record,
        settled::Settled,
        simulation::{Outcome, PastRequest, Payer, PayerAccount, Simulation},
        slug::Slug,
        time::rfc3339,
    },
    journal::{Damage, codec},
    service::{
        catalog::{Catalog, GroupNode},
        changes::groups::resolve_models,
        error::Error,
        storage::Storage,
    },
};

/// The longest window, in ms: 92 days.
pub const LONGEST_MS: u64 = 92 * 86_400_000;

/// The records before the window from which estimates are learned.
const LEARN_FROM: u64 = 10_000;

/// The records that are read between two checks whether another simulation waits.
const TURN_RECORDS: usize = 4096;

/// Simulations take turns, so that together they keep at most one processor busy.
static TURN: Mutex<()> = Mutex::new(());

/// The limits and budgets to try, and the requests to try them with.
#[derive(Debug)]
pub struct Proposal {
    /// The group's models with their limits; `None` keeps those that it has.
    pub models: Option<GroupModels<Slug>>,
    /// The group's budgets; `None` keeps those that it has.
    pub budgets: Option<Budgets>,
    /// The start of the window: Unix ms, inclusive.
    pub start_ms: u64,
    /// The end of the window: Unix ms, exclusive. Defaults to now.
    pub end_ms: Option<u64>,
}

/// A simulation's results.
pub struct Simulated {
    /// The counts.
    pub outcome: Outcome,
    /// The records of the window that could not be replayed.
    pub missing: Vec<Damage>,
    /// Sentences about other data that is missing.
    pub problems: Vec<String>,
}

impl Storage {
    /// Replays the requests of a group and its descendants against a proposal. Everything else is as it is now.
    pub async fn simulate(self: &Arc<Self>, id: GroupId, proposal: Proposal) -> Result<Simulated, Error> {
        let catalog = self.core.catalog.load_full();
        let node = catalog.find_group(id)?;
        let mut group = Group::clone(&node.group());
        if let Some(models) = proposal.models {
            group.models = resolve_models(&catalog, models, &group.models)?;
        }
        if let Some(budgets) = proposal.budgets {
            group.budgets = budgets;
        }
        let end_ms = proposal.end_ms.unwrap_or(u64::MAX).min(self.core.now_ms());
        if end_ms.saturating_sub(proposal.start_ms) > LONGEST_MS {
            return Err(Error::invalid("invalid_parameter", "start_time: must be at most 92 days before end_time"));
        }
        let window = self.close_window(proposal.end_ms).await?;
        self.folded(window.seq).await?;
        let window = proposal.start_ms..window.end_ms;
        let storage = self.clone();
        let run = move || storage.run(&Scenario { catalog: &catalog, node: &node, group: &group }, window);
        tokio::task::spawn_blocking(run).await.map_err(Error::internal)?
    }

    fn run(&self, scenario: &Scenario<'_>, window: Range<u64>) -> Result<Simulated, Error> {
        let mut turn = TURN.lock();
        let (calendar, journal) = (&self.core.config.time_zone, &self.core.journal);
        let before = self.store.sums_before(journal, window.start);
        let before = before.map_err(|error| Error::Unavailable(error.to_string()))?;
        let mut simulation = Simulation::new(calendar, window.start);
        before.used.iter().for_each(|((group, slug), used)| simulation.load_used(*group, *slug, used));
        before.spent.iter().for_each(|((group, currency), spent)| simulation.load_spent(*group, *currency, spent));
        let mut payers = IdMap::default();
        let first = journal.reader_from_time(window.start).position();
        let mut reader = journal.reader(first.saturating_sub(LEARN_FROM));
        let mut read = 0_usize;
        while let Some(frame) = reader.next().map_err(Error::internal)?.filter(|frame| frame.at_ms < window.end) {
            read += 1;
            if read.is_multiple_of(TURN_RECORDS) {
                MutexGuard::bump(&mut turn);
            }
            let Record::Settled(settled) = codec::decode(frame.body).map_err(Error::internal)? else { continue };
            let payer = *payers
                .entry((settled.group(), settled.slug))
                .or_insert_with(|| scenario.account(&settled).map(|account| simulation.add_payer(account)));
            if let Some(payer) = payer {
                simulation.push(past_request(payer, frame.at_ms, &settled));
            }
        }
        let mut missing = self.unreadable();
        missing.retain(|damage| damage.from_ms < window.end && window.start <= damage.to_ms);
        let mut problems = before.problems;
        problems.extend(self.dropped(window.start));
        Ok(Simulated { outcome: simulation.finish(), missing, problems })
    }

    /// A sentence that says which events of a window that starts at `start_ms` are no longer stored.
    fn dropped(&self, start_ms: u64) -> Option<String> {
        let kept = self.core.journal.stats();
        let first_ms = kept.first_at_ms.filter(|first_ms| kept.first_seq > 1 && start_ms < *first_ms)?;
        Some(format!("Events before {} are no longer stored.", rfc3339(first_ms)))
    }
}

/// A group with the limits and budgets to try, among everything as it is now.
struct Scenario<'a> {
    catalog: &'a Catalog,
    node: &'a GroupNode,
    group: &'a Group,
}

impl Scenario<'_> {
    /// Where a request counts. `None` if it neither is replayed nor shares a limit with those that are.
    fn account(&self, settled: &Settled<'_>) -> Option<PayerAccount> {
        let in_subtree = |own: &&Arc<GroupNode>| own.lineage().any(|node| node.id == self.node.id);
        let own = self.catalog.groups().get(&settled.group()).filter(in_subtree);
        let account = match own {
            Some(own) => self.proposed(own, settled.slug),
            // In CASCADING, requests of other groups, deleted ones included, use what is shared.
            None if self.group.enforcement == Enforcement::Cascading => {
                let is_shared = |group: &&GroupId| self.node.lineage().any(|node| node.id == **group);
                let shared: GroupPath =
                    settled.counted_for.iter().filter(is_shared).copied().take(MAX_LEVELS).collect();
                (!shared.is_empty()).then(|| Account::without_rules(settled.slug, shared))?
            }
            None => return None,
        };
        let pricing = self.catalog.model_of(settled.slug).and_then(|model| model.pricing);
        Some(PayerAccount { account, pricing, customer: self.node.root(), is_reported: own.is_some() })
    }

    /// The account of a group of the subtree.
    fn proposed(&self, own: &GroupNode, slug: SlugId) -> Account {
        let groups: ArrayVec<_, MAX_LEVELS> = own.lineage().take(MAX_LEVELS).map(GroupNode::group).collect();
        Account::new(slug, groups.iter().map(|group| if group.id == self.group.id { self.group } else { group }))
    }
}

fn past_request(payer: Payer, at_ms: u64, settled: &Settled<'_>) -> PastRequest {
    PastRequest {
        payer,
        arrived_ms: at_ms.saturating_sub(settled.duration_ms),
        settled_ms: at_ms,
        route: settled.route,
        prompt_bytes: settled.prompt_bytes,
        choices: settled.choices,
        usage: settled.usage,
        source: settled.usage_source,
        units: settled.units,
        cost: settled.cost,
    }
}
