//! Reads all metrics and writes them as text.

use std::collections::HashMap;

use super::{
    cells::{ANSWERS, OVERHEADS},
    families as of,
    figures::{self, ModelFigures},
    model::{Outcome, TOKEN_KINDS},
    process::ProcessFigures,
    text::{Format, Text},
};
use crate::{
    domain::id::EndpointId,
    service::{
        catalog::{Catalog, Model},
        gateway::Gateway,
        status::disk_space,
    },
};

/// The label `model` of requests that name no model that their key may call. No slug is without a slash.
const OTHER: &str = "other";

/// The most pairs of a group and a model that a worker may have before those that are not shown and have no tokens of the
/// day are freed.
const KEPT_GROUPS: usize = 10_000;

/// Reads all metrics and writes them as text. It may take some milliseconds.
pub fn scrape(gateway: &Gateway, format: Format) -> String {
    let catalog = gateway.core.catalog.load();
    let mut text = Text::new(format, gateway.metrics.latest_length());
    write_models(&mut text, gateway, &catalog);
    write_webhooks(&mut text, gateway);
    text.family(&of::JOURNAL).put(&[], gateway.core.journal.stats().log_bytes);
    if let Some((free, _)) = disk_space(gateway) {
        text.family(&of::DISK_FREE).put(&[], free);
    }
    text.family(&of::BUILD).put(&[env!("CARGO_PKG_VERSION")], 1_u64);
    if gateway.core.config.metrics_groups > 0 {
        write_groups(&mut text, gateway, &catalog);
    }
    write_process(&mut text, gateway);
    let text = text.finish();
    gateway.metrics.set_latest_length(text.len());
    text
}

/// A model that can be called, with its figures.
struct Row<'a> {
    slug: &'a str,
    /// `None` for requests without a model.
    model: Option<&'a Model>,
    figures: ModelFigures,
}

fn rows<'a>(gateway: &Gateway, catalog: &'a Catalog) -> Vec<Row<'a>> {
    let by_endpoint: HashMap<EndpointId, &Model> = catalog.models().map(|model| (model.endpoint, &**model)).collect();
    // Not from `catalog`: an endpoint may have been added since, and its first request counted.
    let exists = |endpoint| gateway.core.catalog.load().endpoints().contains_key(&endpoint);
    let (mut known, other) = figures::models(&gateway.metrics, exists);
    let row = |model: &'a Model, figures| Row { slug: &model.slug, model: Some(model), figures };
    let mut rows: Vec<_> =
        by_endpoint.into_values().map(|model| row(model, known.remove(&model.endpoint).unwrap_or_default())).collect();
    rows.sort_unstable_by_key(|row| row.slug);
    rows.push(Row { slug: OTHER, model: None, figures: other });
    rows
}

fn write_models(text: &mut Text, gateway: &Gateway, catalog: &Catalog) {
    let rows = rows(gateway, catalog);
    let mut samples = text.family(&of::REQUESTS);
    for Row { slug, figures, .. } in &rows {
        for ((route, status), count) in &figures.requests {
            samples.put(&[route, slug, &status.to_string()], *count);
        }
    }
    let mut samples = text.family(&of::REFUSALS);
    for Row { slug, figures, .. } in &rows {
        figures.refusals.iter().for_each(|(code, count)| samples.put(&[slug, code], *count));
    }
    let mut samples = text.family(&of::TOKENS);
    for Row { slug, figures, .. } in rows.iter().filter(|row| row.model.is_some()) {
        TOKEN_KINDS.iter().zip(figures.tokens).for_each(|(kind, count)| samples.put(&[slug, kind], count));
    }
    let mut samples = text.family(&of::COST);
    for Row { slug, figures, .. } in &rows {
        figures.costs.iter().for_each(|(currency, sum)| samples.put(&[slug, &currency.to_string()], *sum));
    }
    let mut samples = text.family(&of::ATTEMPTS);
    for Row { slug, figures, .. } in &rows {
        for (target, counts) in &figures.attempts {
            let target = target.to_string();
            let outcomes = Outcome::ALL.iter().zip(counts);
            outcomes.for_each(|(outcome, count)| samples.put(&[slug, &target, outcome.word()], *count));
        }
    }
    write_histograms(text, gateway, &rows);
    let models = || rows.iter().filter_map(|row| Some((row.slug, row.model?, &row.figures)));
    let mut samples = text.family(&of::IN_FLIGHT);
    models().for_each(|(slug, _, figures)| samples.put(&[slug], figures.in_flight));
    let mut samples = text.family(&of::QUEUE_LENGTH);
    models().for_each(|(slug, model, _)| samples.put(&[slug], model.dispatcher.waiting() as u64));
    let (mut samples, now_ms) = (text.family(&of::TARGET_UP), gateway.core.clock.monotonic_ms());
    for (slug, model, _) in models() {
        for (index, target) in model.dispatcher.plan().targets.iter().enumerate() {
            samples.put(&[slug, &index.to_string()], u64::from(target.health.is_in(now_ms)));
        }
    }
}

fn write_histograms(text: &mut Text, gateway: &Gateway, rows: &[Row<'_>]) {
    let mut samples = text.family(&of::DURATION);
    for Row { slug, figures, .. } in rows {
        figures.durations.iter().for_each(|(route, one)| samples.histogram(&[route, slug], &ANSWERS, one));
    }
    let mut samples = text.family(&of::FIRST_BYTE);
    for Row { slug, figures, .. } in rows {
        figures.first_bytes.iter().for_each(|(route, one)| samples.histogram(&[route, slug], &ANSWERS, one));
    }
    let mut samples = text.family(&of::OVERHEAD);
    for (route, one) in figures::overheads(&gateway.metrics) {
        samples.histogram(&[route.path()], &OVERHEADS, &one);
    }
    let mut samples = text.family(&of::QUEUE_WAIT);
    for Row { slug, model, figures } in rows {
        // The targets of other models take any number of requests.
        if model.is_some_and(|model| model.dispatcher.plan().has_capacity()) {
            samples.histogram(&[slug], &ANSWERS, &figures.queue_wait);
        }
    }
}

fn write_webhooks(text: &mut Text, gateway: &Gateway) {
    let (webhooks, now_ms) = (gateway.webhooks.list(None), gateway.core.now_ms());
    let ids: Vec<_> = webhooks.iter().map(|view| view.webhook.id.to_string()).collect();
    let mut samples = text.family(&of::WEBHOOK_LAG);
    for (id, view) in ids.iter().zip(&webhooks) {
        let lag_ms = view.standing.oldest_waiting_ms.map_or(0, |since_ms| now_ms.saturating_sub(since_ms));
        samples.put(&[id], lag_ms as f64 / 1e3);
    }
    let mut samples = text.family(&of::DEAD_LETTERS);
    for (id, view) in ids.iter().zip(&webhooks) {
        samples.put(&[id], view.standing.dead_letters);
    }
}

fn write_groups(text: &mut Text, gateway: &Gateway, catalog: &Catalog) {
    let models: HashMap<EndpointId, &str> = catalog.models().map(|model| (model.endpoint, &*model.slug)).collect();
    let (day, most) = (gateway.core.moment().windows.day.start_ms, gateway.core.config.metrics_groups);
    let groups = figures::groups(&gateway.metrics, (most, KEPT_GROUPS), day, |(group, endpoint)| {
        let catalog = gateway.core.catalog.load();
        let has_endpoint = |endpoint| catalog.endpoints().contains_key(&endpoint);
        catalog.groups().contains_key(group) && endpoint.is_none_or(has_endpoint)
    });
    let rows: Vec<_> = groups
        .iter()
        .filter_map(|((group, endpoint), figures)| {
            let slug = endpoint.map_or(Some(OTHER), |endpoint| models.get(&endpoint).copied())?;
            Some((catalog.groups().get(group)?.group(), slug, figures))
        })
        .collect();
    for (family, of) in [
        (&of::GROUP_TOKENS, (|one| one.tokens) as fn(&figures::GroupFigures) -> u64),
        (&of::GROUP_REQUESTS, |one| one.requests),
        (&of::GROUP_REFUSALS, |one| one.refusals),
    ] {
        let mut samples = text.family(family);
        rows.iter().for_each(|(group, slug, figures)| samples.put(&[&group.external_entity_id, slug], of(figures)));
    }
}

fn write_process(text: &mut Text, gateway: &Gateway) {
    let figures = ProcessFigures::read();
    text.family(&of::CPU).put(&[], figures.cpu_seconds);
    text.family(&of::MAX_FILES).put(&[], figures.max_files);
    for (family, figure) in [
        (&of::OPEN_FILES, figures.open_files),
        (&of::VIRTUAL_MEMORY, figures.virtual_bytes),
        (&of::RESIDENT_MEMORY, figures.resident_bytes),
    ] {
        if let Some(figure) = figure {
            text.family(family).put(&[], figure);
        }
    }
    text.family(&of::START_TIME).put(&[], gateway.core.clock.started_unix_ms() as f64 / 1e3);
}
