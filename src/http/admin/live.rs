//! `/v1/gateway/live`: how the gateway is, as server-sent events: one at once and then one a second, for as long as
//! somebody looks.
//!
//! Each viewer has a task that ends when he is gone, when his session or key ends, and when the process is asked to stop.
//! What one viewer is shown is made once for all who look in that second. A viewer who does not read (a laptop that
//! sleeps) is cut off, so that he holds neither a place nor a stop.

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

use super::{
    describe::{Describe, EVENT_STREAM, Operation, Schemas},
    field::Timestamp,
    operator::{ExportMetrics, Operator},
    received::Received,
    status::Status,
};
use crate::{
    domain::activity::Figures,
    http::{connection::Activity, error::AdminError},
    service::{Gateway, activity::Minute, error::Error},
};

/// So many may look at a time with one key. All together are bounded by the listener's connections.
const MAX_VIEWERS: usize = 64;

const INTERVAL: Duration = Duration::from_secs(1);

/// For so long what one viewer was shown is shown to others.
const FRESH: Duration = Duration::from_millis(500);

/// For so long a viewer may leave an event unread.
const PATIENCE: Duration = Duration::from_secs(30);

/// For so long the end of the stream may be on its way to him.
const LINGER: Duration = Duration::from_secs(2);

/// Who looks, and what they are shown.
#[derive(Default)]
pub(super) struct Viewers {
    /// How many look with each key, by its prefix.
    counts: Mutex<HashMap<String, usize>>,
    latest: Mutex<Option<(Instant, Bytes)>>,
}

impl Viewers {
    fn event(&self, gateway: &Gateway) -> Result<Bytes, serde_json::Error> {
        let mut latest = self.latest.lock();
        let fresh = latest.as_ref().filter(|(made, _)| made.elapsed() < FRESH).map(|(_, event)| event.clone());
        if let Some(event) = fresh {
            return Ok(event);
        }
        let data = serde_json::to_string(&Live::new(gateway))?;
        let event = Bytes::from(format!("event: live\ndata: {data}\n\n"));
        *latest = Some((Instant::now(), event.clone()));
        Ok(event)
    }
}

/// Somebody who looks, until it is dropped.
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
    /// Sums of the last 60 seconds.
    now: Sums,
    /// The latest complete minute; null if nothing is known of it.
    minute: Option<MinuteSums>,
}

/// What went on in some time.
#[derive(Serialize, JsonSchema)]
struct Sums {
    /// Billed.
    requests: u64,
    /// Input and output tokens of them.
    tokens: u64,
    /// Stopped by a limit.
    refused: u64,
    /// Answered with a 5xx, or broken off by an upstream.
    errors: u64,
}

/// What went on in a minute.
#[derive(Serialize, JsonSchema)]
struct MinuteSums {
    /// When it began.
    at: Timestamp,
    #[serde(flatten)]
    sums: Sums,
}

impl Sums {
    fn new(Figures { requests, tokens, refused, errors }: Figures) -> Self {
        Self { requests, tokens, refused, errors }
    }
}

impl Live {
    fn new(gateway: &Gateway) -> Self {
        let (now, minute) = gateway.activity_now();
        let of_minute =
            |Minute { at_ms, figures }: Minute| MinuteSums { at: Timestamp(at_ms), sums: Sums::new(figures) };
        Self { status: Status::new(gateway), now: Sums::new(now), minute: minute.map(of_minute) }
    }
}

/// Events, as they come; none for whoever asks for the head alone.
pub(super) struct Events(Option<mpsc::Receiver<std::io::Result<Bytes>>>);

impl Responder for Events {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        let mut answer = HttpResponse::Ok();
        answer.insert_header((CONTENT_TYPE, EVENT_STREAM)).insert_header((CACHE_CONTROL, "no-cache"));
        // A reverse proxy in front of us would gather events for a while.
        answer.insert_header(("x-accel-buffering", "no"));
        match self.0 {
            // The connection is for this alone: nobody else's answer is cut with it.
            Some(events) => answer.force_close().streaming(Received(events)),
            None => answer.finish(),
        }
    }
}

impl Describe for Events {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        let data = schemas.of_answer::<Live>();
        let description = "Events called `live`; the data of each is JSON.";
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

pub(super) async fn live(
    operator: Operator<ExportMetrics>,
    gateway: Data<Gateway>,
    viewers: Data<Viewers>,
    request: HttpRequest,
) -> Result<Events, AdminError> {
    if request.method() == Method::HEAD {
        return Ok(Events(None));
    }
    let viewer = Viewer::enter(viewers, operator.actor().api_key_prefix)?;
    // One event is on its way, and the next one waits for it.
    let (events, received) = mpsc::channel(1);
    let first = viewer.viewers.event(&gateway).map_err(Error::internal)?;
    let _ = events.try_send(Ok(first));
    let connection = request.conn_data::<Rc<Activity>>().cloned();
    rt::spawn(async move {
        tokio::select! {
            () = show(&operator, &gateway, &viewer, &events) => {}
            () = gateway.asked_to_stop() => {}
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

/// Sends an event each second while it may be seen.
async fn show(
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
        // Before the event is made: a viewer who is slow is shown how it is, not how it was.
        let Ok(Ok(place)) = timeout(PATIENCE, events.reserve()).await else { return };
        if !operator.is_still(gateway) {
            return;
        }
        let Ok(event) = viewer.viewers.event(gateway) else { return };
        place.send(Ok(event));
    }
}
