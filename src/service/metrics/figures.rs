//! Adds up the cells of all workers for a scrape, and frees those that are no longer needed.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
};

use super::{
    cells::Histogram,
    groups::GroupKey,
    model::{ModelCells, Outcome, TOKEN_KINDS},
    registry::Metrics,
    text::HistogramFigures,
};
use crate::domain::{
    id::{EndpointId, GroupId},
    money::Currency,
    route::Route,
};

/// The figures of a model, or of the requests without a model. The lists are short: a search is faster than a map.
#[derive(Default)]
pub(super) struct ModelFigures {
    pub(super) in_flight: u64,
    pub(super) requests: Vec<((&'static str, u16), u64)>,
    pub(super) durations: Vec<(&'static str, HistogramFigures)>,
    pub(super) first_bytes: Vec<(&'static str, HistogramFigures)>,
    pub(super) refusals: Vec<(&'static str, u64)>,
    pub(super) tokens: [u64; TOKEN_KINDS.len()],
    pub(super) costs: Vec<(Currency, f64)>,
    pub(super) attempts: Vec<(u16, [u64; Outcome::ALL.len()])>,
    pub(super) queue_wait: HistogramFigures,
}

/// The figures of a group and a model.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupFigures {
    pub(super) tokens: u64,
    pub(super) requests: u64,
    pub(super) refusals: u64,
    tokens_of_day: u64,
}

/// The value of `key` in a short list, which is added if it is new.
fn entry<K: PartialEq, V: Default>(list: &mut Vec<(K, V)>, key: K) -> &mut V {
    let index = list.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
        list.push((key, V::default()));
        list.len() - 1
    });
    &mut list[index].1
}

impl HistogramFigures {
    fn add(&mut self, cells: &Histogram) {
        for (index, sum) in self.buckets.iter_mut().enumerate() {
            *sum += cells.bucket(index);
        }
        self.sum_ns = self.sum_ns.wrapping_add(cells.sum_ns());
    }
}

impl ModelFigures {
    fn add(&mut self, cells: &ModelCells) {
        // The end of a request is written after its admission, and is read before it: no request counts as ended before
        // it counts as admitted.
        let ended = cells.ended.get_acquired();
        self.in_flight += cells.admitted.get().saturating_sub(ended);
        for (route, cells) in cells.routes.iter() {
            for (status, count) in cells.statuses.iter() {
                *entry(&mut self.requests, (route, status)) += count.get();
            }
            entry(&mut self.durations, route).add(&cells.duration);
            if !cells.first_byte.is_empty() {
                entry(&mut self.first_bytes, route).add(&cells.first_byte);
            }
        }
        for (code, count) in cells.refusals.iter() {
            *entry(&mut self.refusals, code) += count.get();
        }
        self.tokens.iter_mut().zip(&cells.tokens).for_each(|(sum, count)| *sum += count.get());
        for (currency, sum) in cells.costs.iter() {
            *entry(&mut self.costs, currency) += sum.get();
        }
        for (target, counts) in cells.attempts.iter() {
            let sums = entry(&mut self.attempts, target);
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count.get());
        }
        self.queue_wait.add(&cells.queue_wait);
    }
}

/// The figures of each model of which any request has come, and of the requests without a model. Frees the cells of
/// endpoints that do not exist any more. `exists` must know all endpoints of the moment when it is called.
pub(super) fn models(
    metrics: &Metrics,
    exists: impl Fn(EndpointId) -> bool,
) -> (HashMap<EndpointId, ModelFigures>, ModelFigures) {
    let (mut models, mut other) = (HashMap::<_, ModelFigures>::new(), ModelFigures::default());
    for worker in metrics.workers() {
        let mut cells_of = worker.models.lock();
        cells_of.retain(|endpoint, cells| {
            exists(*endpoint) || {
                cells.set_gone();
                false
            }
        });
        let known: Vec<_> = cells_of.iter().map(|(endpoint, cells)| (*endpoint, cells.clone())).collect();
        drop(cells_of);
        known.iter().for_each(|(endpoint, cells)| models.entry(*endpoint).or_default().add(cells));
        other.add(&worker.other);
    }
    (models, other)
}

/// The overhead by route.
pub(super) fn overheads(metrics: &Metrics) -> BTreeMap<Route, HistogramFigures> {
    let mut overheads = BTreeMap::<_, HistogramFigures>::new();
    for worker in metrics.workers() {
        worker.overhead.iter().for_each(|(route, cells)| overheads.entry(route).or_default().add(cells));
    }
    overheads
}

/// The figures of the `most` groups with the most tokens on the day that begins at `day`, then by all their tokens.
/// Frees the cells that do not exist any more. If a worker has more than `kept` cells, those of groups that are not
/// shown and have no tokens on that day are freed too, on all workers: if one worker kept its cells, the group would come
/// back with a lower sum, which Prometheus adds as the increase after a reset.
pub(super) fn groups(
    metrics: &Metrics,
    (most, kept): (usize, usize),
    day: u64,
    exists: impl Fn(&GroupKey) -> bool,
) -> BTreeMap<GroupKey, GroupFigures> {
    let (workers, mut is_full) = (metrics.workers(), false);
    let mut all = BTreeMap::<GroupKey, GroupFigures>::new();
    for worker in &workers {
        let groups = worker.groups.lock();
        is_full |= groups.len() > kept;
        for (key, cells) in groups.iter() {
            let sum = all.entry(*key).or_default();
            sum.tokens += cells.tokens.get();
            sum.requests += cells.requests.get();
            sum.refusals += cells.refusals.get();
            sum.tokens_of_day += cells.tokens_of_day(day);
        }
    }
    let mut freed: HashSet<GroupKey> = all.keys().filter(|key| !exists(key)).copied().collect();
    all.retain(|key, _| !freed.contains(key));
    let mut ranks = BTreeMap::<GroupId, (u64, u64)>::new();
    for ((group, _), figures) in &all {
        let (of_day, tokens) = ranks.entry(*group).or_default();
        (*of_day, *tokens) = (*of_day + figures.tokens_of_day, *tokens + figures.tokens);
    }
    let mut ranked: Vec<_> = ranks.into_iter().collect();
    ranked.sort_by_key(|(_, tokens)| Reverse(*tokens));
    ranked.truncate(most);
    all.retain(|key, figures| {
        let is_shown = ranked.iter().any(|(shown, _)| *shown == key.0);
        if is_full && !is_shown && figures.tokens_of_day == 0 {
            freed.insert(*key);
        }
        is_shown
    });
    for worker in &workers {
        worker.groups.lock().retain(|key, cells| {
            let stays = !freed.contains(key);
            if !stays {
                cells.set_gone();
            }
            stays
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{
        super::worker::{Billed, WorkerMetrics},
        *,
    };
    use crate::domain::usage::Usage;

    const MODEL: EndpointId = EndpointId(7);

    fn bill(worker: &WorkerMetrics, group: u128, tokens: u64, day: u64) {
        let usage = Usage { input: tokens, ..Usage::default() };
        let (route, group) = (Route::ChatCompletions, GroupId(group));
        worker.model(MODEL).billed(&Billed { route, group, day, ttft_ms: None, usage: &usage, cost: None });
    }

    fn shown(metrics: &Metrics, most: usize, day: u64) -> Vec<(u128, u64)> {
        groups(metrics, (most, 1), day, |_| true).iter().map(|((group, _), one)| (group.0, one.tokens)).collect()
    }

    #[test]
    fn the_groups_with_the_most_tokens_of_the_day_are_shown_and_their_counters_go_on() {
        let metrics = Metrics::new(true);
        let (one, two) = (WorkerMetrics::start(&metrics), WorkerMetrics::start(&metrics));
        for (worker, group, tokens) in [(&one, 1, 100), (&two, 1, 10), (&one, 2, 50), (&two, 3, 60)] {
            bill(worker, group, tokens, 1);
        }
        assert_eq!(shown(&metrics, 2, 1), [(1, 110), (3, 60)]);
        bill(&one, 2, 5, 2);
        assert_eq!(shown(&metrics, 2, 2), [(1, 110), (2, 55)], "the second by the tokens of all days");
        // Both workers had more than one group. Group 3 was not shown and had no tokens that day: it starts again.
        bill(&two, 3, 200, 2);
        assert_eq!(shown(&metrics, 2, 2), [(2, 55), (3, 200)]);
    }

    #[test]
    fn the_cells_of_a_group_are_freed_on_all_workers_or_on_none() {
        for has_tokens_of_the_day in [false, true] {
            let metrics = Metrics::new(true);
            let (one, two) = (WorkerMetrics::start(&metrics), WorkerMetrics::start(&metrics));
            for (worker, group, tokens) in [(&one, 1, 500), (&one, 2, 50), (&two, 2, 10)] {
                bill(worker, group, tokens, 1);
            }
            bill(&one, 1, 5, 2);
            if has_tokens_of_the_day {
                bill(&two, 2, 1, 2);
            }
            // Only the first worker has more than one group, and only the second may have tokens of group 2 that day.
            assert_eq!(shown(&metrics, 1, 2), [(1, 505)]);
            bill(&one, 2, 1_000, 2);
            assert_eq!(shown(&metrics, 1, 2), [(2, if has_tokens_of_the_day { 1_061 } else { 1_000 })]);
        }
    }

    #[test]
    fn the_cells_of_a_removed_endpoint_are_freed_and_a_new_one_starts_at_zero() {
        let metrics = Metrics::new(true);
        let worker = WorkerMetrics::start(&metrics);
        let old = worker.model(MODEL);
        old.admitted();
        bill(&worker, 1, 9, 1);
        assert_eq!(models(&metrics, |_| true).0[&MODEL].in_flight, 1);
        assert!(models(&metrics, |_| false).0.is_empty());
        assert!(groups(&metrics, (5, 5), 1, |_| false).is_empty());
        old.ended(std::time::Duration::ZERO);
        bill(&worker, 1, 2, 1);
        let (read, _) = models(&metrics, |_| true);
        assert_eq!((read[&MODEL].in_flight, read[&MODEL].tokens), (0, [2, 0, 0, 0]));
        assert_eq!(shown(&metrics, 5, 1), [(1, 2)]);
    }
}
