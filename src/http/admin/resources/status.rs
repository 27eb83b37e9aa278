//! `/v1/gateway/status`: the state of the gateway, and what needs attention.

use actix_web::web::{Data, Json};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::{certificates::Certificate, gaps::Gap, webhooks::DeliveryStatus};
use crate::{
    config::Durability,
    http::admin::api::{
        field::{ProviderWord, Timestamp},
        operator::{ExportMetrics, Operator},
    },
    service::{
        Gateway,
        access::refused::RefusedFrom,
        counts::Counted,
        mail::{MailFailure, MailView},
        request::inflight::{LastStop, Unfinished},
        status::{self as service, About, QueueView, TargetView},
        webhooks::WebhookView,
    },
    store::snapshot,
    upstream::health,
};

/// The state of the gateway. More fields may be added.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct Status {
    version: &'static str,
    started_at: Timestamp,
    uptime_s: u64,
    journal: Journal,
    store: Store,
    disk: Option<Disk>,
    requests: Requests,
    in_flight_at_last_stop: InFlight,
    webhooks: Vec<Webhook>,
    /// The mails about alerts; null if they are off.
    mail: Option<Mail>,
    /// The targets of all endpoints, with their health.
    upstreams: Vec<Upstream>,
    /// The queues of the endpoints that have a target with `max_concurrent`.
    queues: Vec<Queue>,
    /// The TLS certificates of the listeners. A listener without one speaks plain HTTP.
    certificates: Vec<Certificate>,
    /// The addresses from which refused keys came since the start: the latest 20, latest first.
    refused_keys: Vec<RefusedKeys>,
    /// Problems that an operator should know about. Empty if there are none.
    notices: Vec<Notice>,
    /// The messages of the notices.
    attention: Vec<String>,
}

/// A problem that an operator should know about.
#[derive(Serialize, JsonSchema)]
struct Notice {
    /// A sentence that describes the problem.
    message: String,
    about: Subject,
}

/// The subject of a notice. More kinds may be added.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NoticeSubject")]
struct Subject {
    kind: &'static str,
    /// The id of the webhook, endpoint or group; null for other kinds.
    id: Option<String>,
}

impl Notice {
    fn new(notice: &service::Notice) -> Self {
        let (kind, id) = match notice.about {
            About::Journal => ("journal", None),
            About::Store => ("store", None),
            About::LastStop => ("last_stop", None),
            About::Keys => ("keys", None),
            About::Process => ("process", None),
            About::Mail => ("mail", None),
            About::Tls => ("tls", None),
            About::Webhook(id) => ("webhook", Some(id.to_string())),
            About::Endpoint(id) => ("endpoint", Some(id.to_string())),
            About::Group(id) => ("group", Some(id.to_string())),
            About::Groups => ("groups", None),
        };
        Self { message: notice.message.clone(), about: Subject { kind, id } }
    }
}

/// The journal: the log of everything that was billed or changed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "JournalStatus")]
struct Journal {
    /// The sequence number of the first record that is still kept.
    first_sequence: u64,
    first_at: Option<Timestamp>,
    last_sequence: u64,
    durable_sequence: u64,
    /// The number of bytes that are not durable yet.
    pending_bytes: u64,
    /// `disk` or `process`.
    durability: &'static str,
    segments: usize,
    bytes: u64,
    /// The number of records written since the start.
    records: u64,
    /// The number of writes since the start. A write has one or more records.
    syncs: u64,
    /// The average number of records per write.
    records_per_sync: Option<f64>,
    /// The median time of a write and its sync, in microseconds.
    sync_p50_us: u64,
    sync_p99_us: u64,
    /// The median time until the first record of a write was durable, in microseconds.
    wait_p50_us: u64,
    wait_p99_us: u64,
    /// The records that can no longer be read, in order.
    damage: Vec<Gap>,
    /// Why the last write failed; null if it succeeded.
    last_error: Option<String>,
}

/// The store: the tables that are computed from the journal.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "StoreStatus")]
struct Store {
    /// The sequence number of the last record that the store includes.
    applied_sequence: Option<u64>,
    bytes: u64,
    /// The snapshots, newest first.
    snapshots: Vec<Snapshot>,
    /// The number of closed days with a rollup file.
    rollup_days: usize,
    rollup_bytes: u64,
    /// The records that are missing from totals because they were missing from the journal.
    missing: Vec<Gap>,
}

/// A snapshot: a file with all tables, from which the store can be rebuilt.
#[derive(Serialize, JsonSchema)]
struct Snapshot {
    /// The sequence number of the last record that the snapshot includes.
    sequence: u64,
    bytes: u64,
}

impl Store {
    fn new(store: service::StoreStatus) -> Self {
        let of_snapshot = |one: snapshot::Snapshot| Snapshot { sequence: one.applied, bytes: one.bytes };
        Self {
            applied_sequence: store.applied,
            bytes: store.bytes,
            snapshots: store.snapshots.into_iter().map(of_snapshot).collect(),
            rollup_days: store.rollup_days,
            rollup_bytes: store.rollup_bytes,
            missing: store.missing.iter().map(Gap::new).collect(),
        }
    }
}

/// The file system of the data directory.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DiskStatus")]
struct Disk {
    free_bytes: u64,
    total_bytes: u64,
}

/// Customers' requests since the start.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RequestsStatus")]
struct Requests {
    running: u64,
    admitted: u64,
    /// Requests refused by a limit.
    refused: u64,
    /// Requests that were answered with a 5xx or broken off by an upstream.
    errors: u64,
    billed: u64,
    /// The number of times that a target failed and the next one was tried.
    target_failures: u64,
    input_tokens: u64,
    output_tokens: u64,
}

/// The requests that were running when Tollgate last ended unexpectedly, for comparison with the upstreams' own logs.
/// They have no event and are not counted. The list is of the latest run only; after a clean stop it is empty.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "InFlightStatus")]
struct InFlight {
    /// Whether these requests are known. They are not after a loss of power.
    known: bool,
    /// The number of these requests; null if unknown.
    count: Option<u64>,
    /// The first 1,000 of these requests, in order of admission.
    requests: Vec<UnfinishedRequest>,
}

/// A request that was running when Tollgate ended.
#[derive(Serialize, JsonSchema)]
struct UnfinishedRequest {
    /// The `x-request-id` of its response.
    request_id: String,
    group_id: String,
    /// The model's slug at that time; null if another model has it now.
    model_slug: Option<String>,
    admitted_at: Timestamp,
}

impl InFlight {
    fn new(last_stop: &LastStop) -> Self {
        let unfinished = |request: &Unfinished| UnfinishedRequest {
            request_id: Uuid::from_u128(request.request_id).to_string(),
            group_id: request.group.to_string(),
            model_slug: request.model_slug.clone(),
            admitted_at: Timestamp(request.admitted_at_ms),
        };
        Self {
            known: last_stop.count.is_some(),
            count: last_stop.count,
            requests: last_stop.requests.iter().map(unfinished).collect(),
        }
    }
}

/// A webhook and the state of its deliveries.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WebhookStatus")]
struct Webhook {
    id: String,
    /// The scheme, host and port of its URL.
    origin: String,
    enabled: bool,
    delivery: DeliveryStatus,
}

impl Webhook {
    fn new(view: &WebhookView) -> Self {
        let webhook = &view.webhook;
        let (id, origin, enabled) = (webhook.id.to_string(), webhook.origin().to_owned(), webhook.enabled);
        Self { id, origin, enabled, delivery: DeliveryStatus::new(view) }
    }
}

/// The mails about alerts.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MailStatus")]
struct Mail {
    /// The host and the port of the mail server.
    server: String,
    /// The number of mails since the start.
    mails: u64,
    last_sent_at: Option<Timestamp>,
    /// The number of alerts that wait for a mail; null if unknown.
    waiting: Option<u64>,
    /// The time since when mails have failed; null if the last one was sent.
    failing_since: Option<Timestamp>,
    /// Why the last mail failed; null if it was sent.
    last_error: Option<String>,
    /// The number of alerts since the start that could not be mailed for a day and were given up.
    given_up: u64,
}

impl Mail {
    fn new(view: MailView) -> Self {
        let (failing_since, last_error) = match view.failing {
            Some(MailFailure { since_ms, why }) => (Some(Timestamp(since_ms)), Some(why)),
            None => (None, None),
        };
        Self {
            server: view.server,
            mails: view.mails,
            last_sent_at: view.last_sent_ms.map(Timestamp),
            waiting: view.waiting,
            failing_since,
            last_error,
            given_up: view.given_up,
        }
    }
}

/// A target of an endpoint, and its health since the start or since its address, credential or model was changed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UpstreamStatus")]
struct Upstream {
    endpoint_id: String,
    slug: String,
    /// The index of the target in the endpoint.
    index: usize,
    provider: ProviderWord,
    /// The scheme, host and port; null for a target that is not reached over the network.
    origin: Option<String>,
    weight: u8,
    /// The most requests that run there at the same time; null for no limit.
    max_concurrent: Option<u32>,
    /// The number of requests that run there now.
    running: u32,
    state: UpstreamState,
    /// The time since when it has been left out; null if it is not.
    out_since: Option<Timestamp>,
    /// The time when the next request tries it; null if it is not left out.
    out_until: Option<Timestamp>,
    /// Why it is left out; null if it is not.
    out_reason: Option<String>,
    attempts: Attempts,
    /// The number of failures since its last success.
    failures_in_a_row: u64,
    /// The last error. It is kept when the target answers again.
    last_error: Option<String>,
    last_failure_at: Option<Timestamp>,
    last_success_at: Option<Timestamp>,
}

/// The numbers of attempts by outcome. Those that customers gave up are not counted.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UpstreamAttempts")]
struct Attempts {
    /// Attempts that the target answered.
    answered: u64,
    /// Attempts that the target refused as the customer's fault.
    refused: u64,
    /// Attempts that failed.
    failed: u64,
    /// Attempts that the target answered with 429.
    limited: u64,
}

/// The state of a target.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum UpstreamState {
    /// It answered the last call.
    Ok,
    /// It did not answer the last call. Requests still go to it.
    Failing,
    /// It is left out after failures, or for the time that it asked for.
    Out,
    /// Its time is over, and the next request tries it or is trying it.
    Probing,
    /// No call to it has ended.
    Unused,
}

impl Upstream {
    fn new(view: &TargetView) -> Self {
        let TargetView { endpoint, slug, index, target, standing } = view;
        let (failure, outage, attempts) = (&standing.last_failure, &standing.outage, standing.attempts);
        Self {
            endpoint_id: endpoint.to_string(),
            slug: slug.to_string(),
            index: *index,
            provider: ProviderWord(target.provider()),
            origin: target.origin(),
            weight: target.weight,
            max_concurrent: target.max_concurrent,
            running: standing.running,
            state: match standing.state {
                health::State::Unused => UpstreamState::Unused,
                health::State::Ok => UpstreamState::Ok,
                health::State::Failing => UpstreamState::Failing,
                health::State::Out => UpstreamState::Out,
                health::State::Probing => UpstreamState::Probing,
            },
            out_since: outage.as_ref().map(|outage| Timestamp(outage.since_ms)),
            out_until: outage.as_ref().map(|outage| Timestamp(outage.until_ms)),
            out_reason: outage.as_ref().map(|outage| outage.reason.clone()),
            attempts: Attempts {
                answered: attempts.answered,
                refused: attempts.refused,
                failed: attempts.failed,
                limited: attempts.limited,
            },
            failures_in_a_row: failure.as_ref().map_or(0, |failure| failure.count),
            last_error: failure.as_ref().map(|failure| failure.reason.clone()),
            last_failure_at: failure.as_ref().map(|failure| Timestamp(failure.at_ms)),
            last_success_at: standing.last_success_ms.map(Timestamp),
        }
    }
}

/// The requests of an endpoint that wait for a free target.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "QueueStatus")]
struct Queue {
    endpoint_id: String,
    slug: String,
    /// The number of requests that wait now.
    waiting: usize,
    /// The number of requests that have waited since the start, those that waited in vain included.
    queued: u64,
    /// The number of requests that found no free target in time, those that could not wait included.
    timed_out: u64,
    /// The median wait, in milliseconds.
    wait_p50_ms: u64,
    wait_p99_ms: u64,
}

impl Queue {
    fn new(QueueView { endpoint, slug, standing }: &QueueView) -> Self {
        Self {
            endpoint_id: endpoint.to_string(),
            slug: slug.to_string(),
            waiting: standing.waiting,
            queued: standing.waited,
            timed_out: standing.timed_out,
            wait_p50_ms: standing.wait_p50.as_millis() as u64,
            wait_p99_ms: standing.wait_p99.as_millis() as u64,
        }
    }
}

/// The number of keys that were refused from one address.
#[derive(Serialize, JsonSchema)]
struct RefusedKeys {
    /// The IPv4 address, or the /64 network of an IPv6 address, such as `2001:db8:1:2::/64`.
    address: String,
    /// The number of wrong operator keys on the admin listener.
    admin: u64,
    /// The number of requests without a valid key on the inference listener.
    inference: u64,
    first_at: Timestamp,
    last_at: Timestamp,
}

impl RefusedKeys {
    fn new(from: &RefusedFrom) -> Self {
        Self {
            address: from.network.to_string(),
            admin: from.admin,
            inference: from.inference,
            first_at: Timestamp(from.first_at_ms),
            last_at: Timestamp(from.last_at_ms),
        }
    }
}

impl Journal {
    fn new(status: &service::Status<'_>, durability: Durability) -> Self {
        let stats = &status.journal;
        Self {
            first_sequence: stats.first_seq,
            first_at: stats.first_at_ms.map(Timestamp),
            last_sequence: stats.last_seq,
            durable_sequence: stats.durable_seq,
            pending_bytes: stats.pending_bytes,
            durability: match durability {
                Durability::Disk => "disk",
                Durability::Process => "process",
            },
            segments: stats.segments,
            bytes: stats.log_bytes,
            records: stats.records,
            syncs: stats.syncs,
            records_per_sync: (stats.syncs > 0).then(|| (10 * stats.records / stats.syncs) as f64 / 10.0),
            sync_p50_us: stats.sync_p50.as_micros() as u64,
            sync_p99_us: stats.sync_p99.as_micros() as u64,
            wait_p50_us: stats.wait_p50.as_micros() as u64,
            wait_p99_us: stats.wait_p99.as_micros() as u64,
            damage: status.unreadable.iter().map(Gap::new).collect(),
            last_error: status.journal_error.clone(),
        }
    }
}

impl Requests {
    fn new(counted: &Counted) -> Self {
        Self {
            running: counted.running,
            admitted: counted.admitted,
            refused: counted.refused,
            errors: counted.errors,
            billed: counted.billed,
            target_failures: counted.target_failures,
            input_tokens: counted.input_tokens,
            output_tokens: counted.output_tokens,
        }
    }
}

impl Status {
    /// The current state.
    pub(in crate::http) fn new(gateway: &Gateway) -> Self {
        let status = service::Status::read(gateway);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            started_at: Timestamp(status.started_at_ms),
            uptime_s: status.uptime_s,
            journal: Journal::new(&status, gateway.core.config.durability),
            store: Store::new(status.store),
            disk: status.disk.map(|(free_bytes, total_bytes)| Disk { free_bytes, total_bytes }),
            requests: Requests::new(&status.requests),
            in_flight_at_last_stop: InFlight::new(status.last_stop),
            webhooks: status.webhooks.iter().map(Webhook::new).collect(),
            mail: status.mail.map(Mail::new),
            upstreams: status.targets.iter().map(Upstream::new).collect(),
            queues: status.queues.iter().map(Queue::new).collect(),
            certificates: status.certificates.iter().map(Certificate::new).collect(),
            refused_keys: status.refused_keys.iter().map(RefusedKeys::new).collect(),
            notices: status.notices.iter().map(Notice::new).collect(),
            attention: status.notices.into_iter().map(|notice| notice.message).collect(),
        }
    }
}

pub(in crate::http) async fn status(_: Operator<ExportMetrics>, gateway: Data<Gateway>) -> Json<Status> {
    Json(Status::new(&gateway))
}
