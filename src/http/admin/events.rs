//! `/v1/gateway/events`: what was billed.

use actix_web::web::{Data, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    field::{Moment, PageLimit},
    gaps::Gap,
    operator::{ExportMetrics, Operator},
    page::{self, Page},
    query::Query,
};
use crate::{
    http::error::AdminError,
    service::{
        Gateway,
        error::Error,
        events::{self as service, Event, EventFilter},
    },
};

const LIST: &str = "events";

/// A page of events.
#[derive(Serialize, JsonSchema)]
pub(super) struct EventPage {
    #[serde(flatten)]
    page: Page<Event>,
    /// What is not on this page since it cannot be read any more; left out when nothing is missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<Gap>,
}

/// Which events.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    /// Inclusive; needed without a cursor.
    start_time: Option<Moment>,
    /// Exclusive; now when left out.
    end_time: Option<Moment>,
    /// Items on a page; 100 when left out.
    limit: Option<PageLimit>,
    /// `pagination.cursor` of the page before. It holds the window and the filters.
    cursor: Option<String>,
    /// Only of these keys, by prefix.
    #[serde(default)]
    api_keys: Vec<String>,
    /// Only of these groups.
    #[serde(default)]
    external_entity_ids: Vec<String>,
}

/// What a cursor of this list holds.
#[derive(Serialize, Deserialize)]
struct Position {
    /// The last event of the page before.
    seq: u64,
    /// The end of the window.
    end_ms: u64,
    api_keys: Vec<String>,
    external_entity_ids: Vec<String>,
}

impl EventsQuery {
    fn resolve(self) -> Result<service::EventsQuery, Error> {
        let limit = page::size(self.limit);
        let Some(cursor) = self.cursor else {
            let start_ms = self.start_time.map(|moment| moment.0);
            let start_ms = start_ms.ok_or_else(|| invalid("start_time: must be given where there is no cursor"))?;
            let end_ms = self.end_time.map(|moment| moment.0);
            if end_ms.is_some_and(|end_ms| end_ms < start_ms) {
                return Err(invalid("end_time: must not be before start_time"));
            }
            let Self { api_keys, external_entity_ids, .. } = self;
            let filter = EventFilter { api_keys, external_entity_ids };
            return Ok(service::EventsQuery { start_ms: Some(start_ms), end_ms, after: None, limit, filter });
        };
        let position: Position = page::decode(LIST, &cursor)?;
        // A client may repeat its filters beside the cursor; other ones would make another list.
        let other = |given: &[String], held: &[String]| !given.is_empty() && given != held;
        if other(&self.api_keys, &position.api_keys) || other(&self.external_entity_ids, &position.external_entity_ids)
        {
            return Err(invalid("cursor: belongs to a list with other filters"));
        }
        Ok(service::EventsQuery {
            start_ms: None,
            end_ms: None,
            after: Some((position.seq, position.end_ms)),
            limit,
            filter: EventFilter { api_keys: position.api_keys, external_entity_ids: position.external_entity_ids },
        })
    }
}

fn invalid(message: &str) -> Error {
    Error::invalid("invalid_parameter", message)
}

pub(super) async fn list(
    _: Operator<ExportMetrics>,
    gateway: Data<Gateway>,
    Query(query): Query<EventsQuery>,
) -> Result<Json<EventPage>, AdminError> {
    let query = query.resolve()?;
    let EventFilter { api_keys, external_entity_ids } = query.filter.clone();
    let page = gateway.read_events(query).await?;
    let next = page.next.map(|(seq, end_ms)| Position { seq, end_ms, api_keys, external_entity_ids });
    let incomplete = page.missing.iter().map(Gap::new).collect();
    Ok(Json(EventPage { page: Page::new(LIST, page.events, next)?, incomplete }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(start: Option<u64>, end: Option<u64>, cursor: Option<String>, keys: &[&str]) -> EventsQuery {
        EventsQuery {
            start_time: start.map(Moment),
            end_time: end.map(Moment),
            limit: None,
            cursor,
            api_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            external_entity_ids: Vec::new(),
        }
    }

    fn cursor(position: Position) -> String {
        let page = Page::<()>::new(LIST, Vec::new(), Some(position)).unwrap();
        let page = serde_json::to_value(page).unwrap();
        page["pagination"]["cursor"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_window_has_a_start_and_does_not_end_before_it() {
        assert!(query(None, None, None, &[]).resolve().is_err());
        assert!(query(Some(5), Some(4), None, &[]).resolve().is_err());
        assert!(query(Some(5), Some(5), None, &[]).resolve().is_ok());
    }

    #[test]
    fn a_cursor_pins_the_window_and_the_filters() {
        let position =
            || Position { seq: 7, end_ms: 9, api_keys: vec!["sk_a".to_owned()], external_entity_ids: Vec::new() };
        for repeated in [&[][..], &["sk_a"]] {
            let resolved = query(Some(1), Some(2), Some(cursor(position())), repeated).resolve().unwrap();
            assert_eq!((resolved.after, resolved.filter.api_keys), (Some((7, 9)), vec!["sk_a".to_owned()]));
        }
        assert!(query(None, None, Some(cursor(position())), &["sk_b"]).resolve().is_err());
    }
}
