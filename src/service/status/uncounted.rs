//! Calls whose cost counts against none of the budgets of their group: the model has no prices, or is priced in a
//! currency that no budget has.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::notice::{About, Notice};
use crate::{
    domain::money::Currency,
    service::catalog::{Catalog, GroupNode},
};

/// The most pairs of a group and a model that get a notice each.
const DESCRIBED: usize = 20;

/// The notices on one version of the catalog. The status is read every second, but what is uncounted changes only with
/// the catalog.
#[derive(Default)]
pub(in crate::service) struct Uncounted {
    known: Mutex<Option<(Weak<Catalog>, Vec<Notice>)>>,
}

impl Uncounted {
    /// A notice for each group that has budgets and each of its models that counts against none of them.
    pub(super) fn notices(&self, catalog: &Arc<Catalog>) -> Vec<Notice> {
        let mut known = self.known.lock();
        let version = Arc::downgrade(catalog);
        if let Some((of, notices)) = &*known
            && of.ptr_eq(&version)
        {
            return notices.clone();
        }
        let notices = read(catalog);
        *known = Some((version, notices.clone()));
        notices
    }
}

fn read(catalog: &Catalog) -> Vec<Notice> {
    let mut notices = Vec::new();
    let mut more: usize = 0;
    for node in catalog.groups().values() {
        for (slug, why) in of_group(catalog, node) {
            if notices.len() == DESCRIBED {
                more += 1;
                continue;
            }
            let entity = &node.group().external_entity_id;
            let sentence = format!("Calls of {slug} by {entity} count against no budget: the model is {why}.");
            notices.push(About::Group(node.id).notice(sentence));
        }
    }
    if more > 0 {
        let sentence = format!("Calls of a model count against no budget in {more} more cases of a group and a model.");
        notices.push(About::Groups.notice(sentence));
    }
    notices
}

/// The slugs of the models of a group that count against none of its budgets, each with the reason.
fn of_group(catalog: &Catalog, node: &GroupNode) -> Vec<(Arc<str>, String)> {
    let account = node.account_of_budgets();
    let budgets = account.rules().iter().filter_map(|effective| effective.rule.budget());
    let budgets: Vec<Currency> = budgets.map(|budget| budget.currency).collect();
    if budgets.is_empty() {
        return Vec::new();
    }
    let group = node.group();
    let models = group.models.iter().filter_map(|carried| catalog.model_of(carried.slug));
    let uncounted = models.filter_map(|model| match model.pricing {
        None => Some((model.slug.clone(), "not priced".to_owned())),
        Some(pricing) if budgets.contains(&pricing.currency) => None,
        Some(pricing) => Some((model.slug.clone(), format!("priced in {}", pricing.currency))),
    });
    uncounted.collect()
}
