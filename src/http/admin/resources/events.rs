//! `/v1/gateway/events`: billing events.

use std::sync::Arc;

use actix_web::web::Data;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{event_rows, gaps::Gap};
use crate::{
    domain::id::GroupId,
    http::admin::{
        api::{
            field::{FormatName, GroupIdText, Moment, OrderWord, PageLimit},
            format::{Answer, Format},
            operator::{ExportMetrics, Operator},
            page::{self, Page},
            query::Query,
        },
        error::AdminError,
    },
    service::{
        Gateway,
        error::Error,
        reading::events::{self as service, Event, EventFilter, Order},
    },
};

const LIST: &str = "events";

/// A page of events.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct EventPage {
    #[serde(flatten)]
    page: Page<Event>,
    /// Records that can no longer be read and are missing from this page. Absent if nothing is missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<Gap>,
}

/// The parameters of a list of events.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct EventsQuery {
    /// The start of the time range (inclusive). Required without a cursor, except with `order=desc`, which then goes
    /// back to the first event.
    start_time: Option<Moment>,
    /// The end of the time range (exclusive). Default: now.
    end_time: Option<Moment>,
    /// The order by time. Default: `asc`, the oldest first.
    order: Option<OrderWord>,
    /// The maximum number of items on a page. Default: 100. In CSV, the maximum number of rows; default: all.
    limit: Option<PageLimit>,
    /// The `pagination.cursor` of the previous page. It includes the time range, the order and the filters. Not allowed
    /// with `format=csv`.
    cursor: Option<String>,
    /// The format of the answer. Default: `json`. `csv` returns the whole time range in one file.
    format: Option<FormatName>,
    /// Return only events of the keys with these prefixes.
    #[serde(default)]
    api_keys: Vec<String>,
    /// Return only events of the groups with these external entity ids.
    #[serde(default)]
    external_entity_ids: Vec<String>,
    /// Return only events of these models, by the slug that was called.
    #[serde(default)]
    model_slugs: Vec<String>,
    /// Return only events of the groups with these ids.
    #[serde(default)]
    group_ids: Vec<GroupIdText>,
}

/// The content of this list's cursors. A cursor from an earlier version has only `seq`, `end_ms` and the first two
/// filters.
#[derive(Serialize, Deserialize)]
struct Position {
    /// The sequence number of the last event of the previous page.
    seq: u64,
    /// The rest of the time range.
    #[serde(default)]
    start_ms: u64,
    end_ms: u64,
    #[serde(default)]
    is_descending: bool,
    api_keys: Vec<String>,
    external_entity_ids: Vec<String>,
    #[serde(default)]
    model_slugs: Vec<String>,
    #[serde(default)]
    group_ids: Vec<GroupId>,
}

impl Position {
    fn new(query: &service::EventsQuery, (seq, end_ms): (u64, u64)) -> Self {
        let EventFilter { api_keys, external_entity_ids, model_slugs, group_ids } = query.filter.clone();
        let is_descending = query.order == Order::Descending;
        // An ascending walk is already past the start.
        let start_ms = query.start_ms.filter(|_| is_descending).unwrap_or(0);
        Self { seq, start_ms, end_ms, is_descending, api_keys, external_entity_ids, model_slugs, group_ids }
    }

    fn order(&self) -> Order {
        if self.is_descending { Order::Descending } else { Order::Ascending }
    }
}

impl EventsQuery {
    fn resolve(self) -> Result<service::EventsQuery, Error> {
        let limit = page::size(self.limit);
        let given = EventFilter {
            api_keys: self.api_keys,
            external_entity_ids: self.external_entity_ids,
            model_slugs: self.model_slugs,
            group_ids: self.group_ids.into_iter().map(|id| id.0).collect(),
        };
        let Some(cursor) = self.cursor else {
            let order = self.order.map_or_else(Order::default, |order| order.0);
            let start_ms = self.start_time.map(|moment| moment.0);
            if start_ms.is_none() && order == Order::Ascending {
                return Err(invalid("start_time: is required without a cursor"));
            }
            let end_ms = self.end_time.map(|moment| moment.0);
            if end_ms.zip(start_ms).is_some_and(|(end_ms, start_ms)| end_ms < start_ms) {
                return Err(invalid("end_time: must not be before start_time"));
            }
            return Ok(service::EventsQuery { start_ms, end_ms, after: None, order, limit, filter: given });
        };
        let position: Position = page::decode(LIST, &cursor)?;
        // A client may repeat the order and the filters of the cursor, but not change them.
        let order = position.order();
        if self.order.is_some_and(|given| given.0 != order) {
            return Err(invalid("cursor: is from a list in the other order"));
        }
        let Position { seq, start_ms, end_ms, api_keys, external_entity_ids, model_slugs, group_ids, .. } = position;
        let held = EventFilter { api_keys, external_entity_ids, model_slugs, group_ids };
        if is_other(&given.api_keys, &held.api_keys)
            || is_other(&given.external_entity_ids, &held.external_entity_ids)
            || is_other(&given.model_slugs, &held.model_slugs)
            || is_other(&given.group_ids, &held.group_ids)
        {
            return Err(invalid("cursor: is from a list with other filters"));
        }
        let (start_ms, after) = (Some(start_ms), Some((seq, end_ms)));
        Ok(service::EventsQuery { start_ms, end_ms: None, after, order, limit, filter: held })
    }
}

/// Whether a filter was given that differs from the cursor's.
fn is_other<T: PartialEq>(given: &[T], held: &[T]) -> bool {
    !given.is_empty() && given != held
}

fn invalid(message: &str) -> Error {
    Error::invalid("invalid_parameter", message)
}

pub(in crate::http) async fn list(
    _: Operator<ExportMetrics>,
    gateway: Data<Gateway>,
    Query(query): Query<EventsQuery>,
) -> Result<Answer<EventPage>, AdminError> {
    if matches!(query.format, Some(FormatName(Format::Csv))) {
        if query.cursor.is_some() {
            return Err(invalid("cursor: must not be given for a CSV file, which has no pages").into());
        }
        let limit = query.limit.as_ref().map(|limit| limit.0);
        return Ok(Answer::Csv(event_rows::file(gateway.into_inner(), query.resolve()?, limit).await?));
    }
    let query = Arc::new(query.resolve()?);
    let page = gateway.storage.read_events(query.clone()).await?;
    let next = page.next.map(|place| Position::new(&query, place));
    let incomplete = page.missing.iter().map(Gap::new).collect();
    Ok(Answer::Json(EventPage { page: Page::new(LIST, page.events, next)?, incomplete }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(start: Option<u64>, end: Option<u64>) -> EventsQuery {
        EventsQuery { start_time: start.map(Moment), end_time: end.map(Moment), ..EventsQuery::default() }
    }

    fn cursor<P: Serialize>(position: P) -> Option<String> {
        let page = Page::<()>::new(LIST, Vec::new(), Some(position)).unwrap();
        let page = serde_json::to_value(page).unwrap();
        Some(page["pagination"]["cursor"].as_str().unwrap().to_owned())
    }

    #[test]
    fn a_time_range_needs_a_start_in_ascending_order_and_must_not_end_before_it() {
        let newest = Some(OrderWord(Order::Descending));
        assert!(query(None, None).resolve().is_err());
        assert!(EventsQuery { order: newest, ..query(None, None) }.resolve().is_ok());
        assert!(query(Some(5), Some(4)).resolve().is_err());
        assert!(EventsQuery { order: newest, ..query(Some(5), Some(4)) }.resolve().is_err());
        assert!(query(Some(5), Some(5)).resolve().is_ok());
    }

    #[test]
    fn a_cursor_fixes_the_time_range_the_order_and_the_filters() {
        let filter = EventFilter {
            api_keys: vec!["sk_a".to_owned()],
            external_entity_ids: vec!["cust_1".to_owned()],
            model_slugs: vec!["acme/chat".to_owned()],
            group_ids: vec![GroupId(u128::MAX / 3)],
        };
        for (order, start_ms) in [(Order::Ascending, 0), (Order::Descending, 5)] {
            let first = service::EventsQuery {
                start_ms: Some(5),
                end_ms: None,
                after: None,
                order,
                limit: 100,
                filter: filter.clone(),
            };
            let with = |more: EventsQuery| EventsQuery { cursor: cursor(Position::new(&first, (7, 9))), ..more };
            let repeated = EventsQuery { order: Some(OrderWord(order)), ..query(Some(1), Some(2)) };
            let repeated = EventsQuery { api_keys: filter.api_keys.clone(), ..repeated };
            for allowed in [query(None, None), repeated] {
                let resolved = with(allowed).resolve().unwrap();
                assert_eq!((resolved.after, resolved.start_ms), (Some((7, 9)), Some(start_ms)));
                assert_eq!((resolved.order, resolved.filter), (order, filter.clone()));
            }
            let other = if order == Order::Ascending { Order::Descending } else { Order::Ascending };
            for refused in [
                EventsQuery { order: Some(OrderWord(other)), ..query(None, None) },
                EventsQuery { api_keys: vec!["sk_b".to_owned()], ..query(None, None) },
                EventsQuery { external_entity_ids: vec!["cust_2".to_owned()], ..query(None, None) },
                EventsQuery { model_slugs: vec!["acme/embed".to_owned()], ..query(None, None) },
                EventsQuery { group_ids: vec![GroupIdText(GroupId(8))], ..query(None, None) },
            ] {
                assert!(with(refused).resolve().is_err());
            }
        }
    }

    #[test]
    fn a_cursor_from_a_version_without_an_order_is_still_valid() {
        #[derive(Serialize)]
        struct Earlier {
            seq: u64,
            end_ms: u64,
            api_keys: Vec<String>,
            external_entity_ids: Vec<String>,
        }
        let api_keys = vec!["sk_a".to_owned()];
        let earlier = Earlier { seq: 7, end_ms: 9, api_keys: api_keys.clone(), external_entity_ids: Vec::new() };
        let resolved = EventsQuery { cursor: cursor(earlier), ..query(None, None) }.resolve().unwrap();
        assert_eq!((resolved.after, resolved.order), (Some((7, 9)), Order::Ascending));
        assert_eq!(resolved.filter, EventFilter { api_keys, ..EventFilter::default() });
    }
}
