//! `GET /v1/usage`: the limits of the key's own group and their use. For a limit that is shared with other groups, the
//! only figure is what is left.

use std::collections::BTreeMap;

use serde::Serialize;

use super::reply::Reply;
use crate::{
    domain::{day::Now, ledger::Standing, time},
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

fn view(standing: &Standing, now: Now) -> LimitView {
    let limit = standing.limit.limit;
    let shared = standing.limit.is_shared();
    let own = |figure: u64| (!shared).then_some(figure);
    LimitView {
        kind: limit_names::kind(limit.kind()),
        limit_type: limit_names::limit_type(limit.limit_type),
        unit: limit_names::unit(limit.unit),
        threshold: own(limit.threshold.get()),
        used: own(standing.used),
        held: own(standing.held),
        left: standing.left(),
        reset_at: standing.reset_at_unix_ms(now).map(time::rfc3339),
        shared,
    }
}

/// The response for a key's group.
pub(super) fn of_key(gateway: &Gateway, key: &KeyEntry) -> Reply {
    let catalog = gateway.core.catalog.load();
    let group = key.group.group();
    let now = gateway.core.now();
    let standings = |slug| standings(now, &key.group, slug);
    let of_model = |slug| standings(slug).iter().map(|standing| view(standing, now)).collect();
    let models = group.models.iter().map(|model| (catalog.slug_name(model.slug), of_model(model.slug)));
    Reply::json(&UsageView { external_entity_id: &group.external_entity_id, models: models.collect() })
}
