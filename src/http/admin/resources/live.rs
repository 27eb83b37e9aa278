//! `/v1/gateway/live`: the status of the gateway as server-sent events: one immediately, then one per second.
//!
//! Each viewer has a task. It ends when the viewer hangs up, when their session or key ends, and when the process is
//! asked to stop. An event is made once for all viewers of that second. A viewer that does not read, such as a sleeping
//! laptop, is disconnected, so it neither occupies a place nor delays a stop.

use std::{
    collections::HashMap,
    rc::Rc,
    time::{Duration, Instant},
};

use actix_web::{
    HttpRequest, HttpResponse, Responder,
    body::BoxBody,
    http::{
        Method,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    rt,
    web::Data,
};
use bytes::Bytes;
use parking_lot::Mutex;
use schemars::{JsonSchema, json_schema};
use serde::Serialize;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::status::Status;
use crate::{
    domain::activity::ActivityCounts,
    http::{
        admin::{
            api::{
                describe::{Describe, EVENT_STREAM, Operation, Schemas},
                field::Timestamp,
                operator::{ExportMetrics, Operator},
                received::Received,
            },
            error::AdminError,
        },
        connection::Activity,
    },
    service::{Gateway, error::Error, upkeep::activity::Minute},
};

/// The maximum number of simultaneous viewers per key. The total is bounded by the listener's connections.
const MAX_VIEWERS: usize = 64;

const INTERVAL: Duration = Duration::from_secs(1);

/// How long an event is reused for other viewers.
const MAX_EVENT_AGE: Duration = Duration::from_millis(500);

/// How long a viewer may leave an event unread.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the end of the stream may take to reach the viewer.
const LINGER: Duration = Duration::from_secs(2);

/// The current viewers and their latest event.
#[derive(Default)]
pub(in crate::http) struct Viewers {
    /// The number of viewers per key, by the key's prefix.
    counts: Mutex<HashMap<String, usize>>,
    latest: Mutex<Option<(Instant, Bytes)>>,
}

impl Viewers {
    fn event(&self, gateway: &Gateway) -> Result<Bytes, serde_json::Error> {
        let mut latest = self.latest.lock();
        let fresh = latest.as_ref().filter(|(made, _)| made.elapsed() < MAX_EVENT_AGE).map(|(_, event)| event.clone());
        if let Some(event) = fresh {
            return Ok(event);
        }
        let data = serde_json::to_string(&Live::new(gateway))?;
        let event = Bytes::from(format!("event: live\ndata: {data}\n\n"));
        *latest = Some((Instant::now(), event.clone()));
        Ok(event)
    }
}

/// The registration of one viewer. Dropping it ends the registration.
struct Viewer {
    viewers: Data<Viewers>,
    key: String,
}

impl Viewer {
    fn enter(viewers: Data<Viewers>, key: String) -> Result<Self, AdminError> {
        let mut counts = viewers.counts.lock();
        let count = counts.entry(key.clone()).or_default();
        if *count >= MAX_VIEWERS {
            return Err(AdminError::TooManyViewers(MAX_VIEWERS));
        }
        *count += 1;
        drop(counts);
        Ok(Self { viewers, key })
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let mut counts = self.viewers.counts.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
        if counts.is_empty() {
            *self.viewers.latest.lock() = None;
        }
    }
}

/// The data of one event.
#[derive(Serialize, JsonSchema)]
struct Live {
    status: Status,
    /// Totals of the last 60 seconds.
    now: Sums,
    /// Totals of the latest complete minute; null if they are unknown.
    minute: Option<MinuteSums>,
}

/// Totals of a time range.
#[derive(Serialize, JsonSchema)]
struct Sums {
    /// Billed requests.
    requests: u64,
    /// Input and output tokens of the billed requests.
    tokens: u64,
    /// Requests refused by a limit.
    refused: u64,
    /// Requests that were answered with a 5xx or broken off by an upstream.
    errors: u64,
}

/// Totals of one minute.
#[derive(Serialize, JsonSchema)]
struct MinuteSums {
    /// The start of the minute.
    at: Timestamp,
    #[serde(flatten)]
    sums: Sums,
}

impl Sums {
    fn new(ActivityCounts { requests, tokens, refused, errors }: ActivityCounts) -> Self {
        Self { requests, tokens, refused, errors }
    }
}

impl Live {
    fn new(gateway: &Gateway) -> Self {
        let (now, minute) = gateway.activity.last_60_s();
        let of_minute =
            |Minute { at_ms, figures }: Minute| MinuteSums { at: Timestamp(at_ms), sums: Sums::new(figures) };
        Self { status: Status::new(gateway), now: Sums::new(now), minute: minute.map(of_minute) }
    }
}

/// The response: a stream of events, or no body for a HEAD request.
pub(in crate::http) struct Events(Option<mpsc::Receiver<std::io::Result<Bytes>>>);

impl Responder for Events {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        let mut answer = HttpResponse::Ok();
        answer.insert_header((CONTENT_TYPE, EVENT_STREAM)).insert_header((CACHE_CONTROL, "no-cache"));
        // Without this header, a reverse proxy might buffer the events.
        answer.insert_header(("x-accel-buffering", "no"));
        match self.0 {
            // The connection is used only for this stream, so aborting it later cannot cut another response.
            Some(events) => answer.force_close().streaming(Received(events)),
            None => answer.finish(),
        }
    }
}

impl Describe for Events {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        let data = schemas.of_answer::<Live>();
        let description = "Server-sent events named `live`. The data of each event is JSON.";
        let events = json_schema!({
            "type": "string",
            "contentMediaType": EVENT_STREAM,
            "contentSchema": data,
            "description": description,
        });
        operation.answers.push((EVENT_STREAM, events));
    }
}

impl Describe for Data<Viewers> {
    fn describe(_: &mut Operation, _: &mut Schemas) {}
}

pub(in crate::http) async fn live(
    operator: Operator<ExportMetrics>,
    gateway: Data<Gateway>,
    viewers: Data<Viewers>,
    request: HttpRequest,
) -> Result<Events, AdminError> {
    if request.method() == Method::HEAD {
        return Ok(Events(None));
    }
    let viewer = Viewer::enter(viewers, operator.actor().api_key_prefix)?;
    // At most one event waits to be sent.
    let (events, received) = mpsc::channel(1);
    let first = viewer.viewers.event(&gateway).map_err(Error::internal)?;
    let _ = events.try_send(Ok(first));
    let connection = request.conn_data::<Rc<Activity>>().cloned();
    rt::spawn(async move {
        tokio::select! {
            () = send_events(&operator, &gateway, &viewer, &events) => {}
            () = gateway.core.drain_started() => {}
            () = events.closed() => return,
        }
        drop((events, viewer));
        if let Some(connection) = connection {
            sleep(LINGER).await;
            connection.cut();
        }
    });
    Ok(Events(Some(received)))
}

/// Sends an event each second until the operator's key or session ends, or the viewer stops reading.
async fn send_events(
    operator: &Operator<ExportMetrics>,
    gateway: &Gateway,
    viewer: &Viewer,
    events: &mpsc::Sender<std::io::Result<Bytes>>,
) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        // Wait for the channel before making the event, so that a slow viewer gets the current status.
        let Ok(Ok(permit)) = timeout(READ_TIMEOUT, events.reserve()).await else { return };
        if !operator.is_still_valid(gateway) {
            return;
        }
        let Ok(event) = viewer.viewers.event(gateway) else { return };
        permit.send(Ok(event));
    }
}
