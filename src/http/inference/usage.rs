//! `GET /v1/usage`: the limits of the key's own group and their use. For a limit that is shared with other groups, the
//! only figure is what is left.

use std::collections::BTreeMap;

use serde::Serialize;

use super::reply::Reply;
use crate::{
    domain::{
        ledger::{Moment, Standing, count},
        time,
    },
    http::limit_names,
    service::{Gateway, catalog::KeyEntry, reading::limits::standings},
};

#[derive(Serialize)]
struct UsageView<'a> {
    external_entity_id: &'a str,
    models: BTreeMap<&'a str, Vec<LimitView>>,
}

#[derive(Serialize)]
struct LimitView {
    kind: &'static str,
    #[serde(rename = "type")]
    limit_type: &'static str,
    unit: &'static str,
    threshold: Option<u64>,
    used: Option<u64>,
    held: Option<u64>,
    left: u64,
    reset_at: Option<String>,
    shared: bool,
}

/// The view of a limit; `None` for a budget.
fn view(standing: &Standing, moment: Moment) -> Option<LimitView> {
    let limit = standing.effective.rule.limit()?;
    let shared = standing.effective.is_shared();
    let own = |figure: u128| (!shared).then(|| count(figure));
    Some(LimitView {
        kind: limit_names::kind(limit.kind()),
        limit_type: limit_names::limit_type(limit.limit_type),
        unit: limit_names::unit(limit.unit),
        threshold: own(standing.effective.rule.threshold()),
        used: own(standing.used),
        held: own(standing.held),
        left: count(standing.left()),
        reset_at: standing.reset_at_unix_ms(moment).map(time::rfc3339),
        shared,
    })
}

/// The response for a key's group.
pub(super) fn of_key(gateway: &Gateway, key: &KeyEntry) -> Reply {
    let catalog = gateway.core.catalog.load();
    let group = key.group.group();
    let moment = gateway.core.moment();
    let standings = |slug| standings(moment, &key.group, slug);
    let of_model = |slug| standings(slug).iter().filter_map(|standing| view(standing, moment)).collect();
    let models = group.models.iter().map(|model| (catalog.slug_name(model.slug), of_model(model.slug)));
    Reply::json(&UsageView { external_entity_id: &group.external_entity_id, models: models.collect() })
}
