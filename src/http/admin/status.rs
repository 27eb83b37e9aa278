//! `/v1/gateway/status`: how the gateway is, and what needs attention.

use actix_web::web::{Data, Json};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::{
    field::{ProviderWord, Timestamp},
    gaps::Gap,
    operator::{ExportMetrics, Operator},
    webhooks::DeliveryStatus,
};
use crate::{
    config::Durability,
    service::{
        Gateway,
        inflight::{LastStop, Unfinished},
        refused::RefusedFrom,
        status::{self as service, About, TargetView},
        webhooks::WebhookView,
    },
    store::snapshot,
};

/// So many addresses that refused keys came from are shown.
const REFUSED_SHOWN: usize = 20;

/// How the gateway is. More may be added.
#[derive(Serialize, JsonSchema)]
pub(super) struct Status {
    version: &'static str,
    started_at: Timestamp,
    uptime_s: u64,
    journal: Journal,
    store: Store,
    disk: Option<Disk>,
    requests: Requests,
    in_flight_at_last_stop: InFlight,
    webhooks: Vec<Webhook>,
    /// Every endpoint's targets, and how each has fared.
    upstreams: Vec<Upstream>,
    /// Where keys that were refused came from since the start: the 20 latest addresses, the latest first.
    refused_keys: Vec<RefusedKeys>,
    /// What an operator should know; empty while all is well.
    notices: Vec<Notice>,
    /// Their messages.
    attention: Vec<String>,
}

/// What an operator should know.
#[derive(Serialize, JsonSchema)]
struct Notice {
    /// A sentence.
    message: String,
    about: Subject,
}

/// What a notice is about. More kinds may be added.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NoticeSubject")]
struct Subject {
    kind: &'static str,
    /// Which one, where there are many.
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
            About::Webhook(id) => ("webhook", Some(id.to_string())),
            About::Endpoint(id) => ("endpoint", Some(id.to_string())),
        };
        Self { message: notice.message.clone(), about: Subject { kind, id } }
    }
}

/// The log of everything billed and changed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "JournalStatus")]
struct Journal {
    /// The first record that is still kept.
    first_sequence: u64,
    first_at: Option<Timestamp>,
    last_sequence: u64,
    durable_sequence: u64,
    /// Bytes that are not durable yet.
    pending_bytes: u64,
    /// `disk` or `process`.
    durability: &'static str,
    segments: usize,
    bytes: u64,
    /// Records written since the start.
    records: u64,
    /// Writes since the start, each of one or more records.
    syncs: u64,
    /// How many records shared a write, on average.
    records_per_sync: Option<f64>,
    /// What a write took, with its sync.
    sync_p50_us: u64,
    sync_p99_us: u64,
    /// How long the first record of a write waited to be durable.
    wait_p50_us: u64,
    wait_p99_us: u64,
    /// What cannot be read any more, in order.
    damage: Vec<Gap>,
    /// Why the last write failed, until one succeeds.
    last_error: Option<String>,
}

/// What was computed from the log.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "StoreStatus")]
struct Store {
    /// The last record that it contains.
    applied_sequence: Option<u64>,
    bytes: u64,
    /// The newest first.
    snapshots: Vec<Snapshot>,
    /// Files of closed days' rollups.
    rollup_days: usize,
    rollup_bytes: u64,
    /// What totals do not contain since it was missing from the journal.
    missing: Vec<Gap>,
}

/// All tables in one file, to build the store from.
#[derive(Serialize, JsonSchema)]
struct Snapshot {
    /// The last record that it contains.
    sequence: u64,
    bytes: u64,
}

impl Store {
    fn new(gateway: &Gateway) -> Self {
        let data_dir = &gateway.config.data_dir;
        let of_snapshot = |one: snapshot::Snapshot| Snapshot { sequence: one.applied, bytes: one.bytes };
        let (rollup_days, rollup_bytes) = gateway.store.rollup_files();
        Self {
            applied_sequence: gateway.store.applied().ok(),
            bytes: gateway.store.size_on_disk(),
            snapshots: snapshot::list(data_dir).unwrap_or_default().into_iter().map(of_snapshot).collect(),
            rollup_days,
            rollup_bytes,
            missing: gateway.missing_from_totals().iter().map(Gap::new).collect(),
        }
    }
}

/// The file system under the data directory.
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
    /// Stopped by a limit.
    refused: u64,
    /// Answered with a 5xx, or broken off by an upstream.
    errors: u64,
    billed: u64,
    /// Times that a target was passed over.
    target_failures: u64,
    input_tokens: u64,
    output_tokens: u64,
}

/// Requests that were running when Tollgate last ended without being asked to, so that their upstreams' own logs can be
/// compared: they have no event and count nowhere. Nothing is listed after a clean stop, nor once started anew.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "InFlightStatus")]
struct InFlight {
    /// Whether it is known which ones. It is not after a loss of power.
    known: bool,
    /// How many there were; null if that is not known.
    count: Option<u64>,
    /// The first thousand of them, those that had been admitted first at the front.
    requests: Vec<UnfinishedRequest>,
}

/// A request that was running.
#[derive(Serialize, JsonSchema)]
struct UnfinishedRequest {
    /// The `x-request-id` of its answer.
    request_id: String,
    group_id: String,
    /// The name that the model had by then; null if another model has taken it.
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

/// A webhook, and how far it is behind.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WebhookStatus")]
struct Webhook {
    id: String,
    /// Scheme, host and port of its address.
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

/// A target of an endpoint, and how it has fared since the start or since the endpoint changed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UpstreamStatus")]
struct Upstream {
    endpoint_id: String,
    slug: String,
    /// Among the endpoint's targets.
    index: usize,
    provider: ProviderWord,
    /// Scheme, host and port; null for one that is not reached over the network.
    origin: Option<String>,
    state: UpstreamState,
    /// Since it last answered.
    failures_in_a_row: u64,
    /// It stays when it answers again.
    last_error: Option<String>,
    last_failure_at: Option<Timestamp>,
    /// To the second.
    last_success_at: Option<Timestamp>,
}

/// How a target is.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum UpstreamState {
    /// It answered the last call.
    Ok,
    /// It did not.
    Failing,
    /// Nothing was sent to it.
    Unused,
}

impl Upstream {
    fn new(view: &TargetView) -> Self {
        let TargetView { endpoint, slug, index, target } = view;
        let (failure, last_success) = (target.health.last_failure(), target.health.last_success_ms());
        let failures_in_a_row = failure.as_ref().map_or(0, |failure| failure.times);
        let state = match (failures_in_a_row, last_success) {
            (0, None) => UpstreamState::Unused,
            (0, Some(_)) => UpstreamState::Ok,
            _ => UpstreamState::Failing,
        };
        Self {
            endpoint_id: endpoint.to_string(),
            slug: slug.to_string(),
            index: *index,
            provider: ProviderWord(target.provider()),
            origin: target.origin(),
            state,
            failures_in_a_row,
            last_failure_at: failure.as_ref().map(|failure| Timestamp(failure.at_ms)),
            last_error: failure.map(|failure| failure.why),
            last_success_at: last_success.map(Timestamp),
        }
    }
}

/// Keys that were refused, of one address.
#[derive(Serialize, JsonSchema)]
struct RefusedKeys {
    /// Of IPv6 the first half, as `2001:db8:1:2::/64`.
    address: String,
    /// Wrong operator keys on the admin listener.
    admin: u64,
    /// Requests on the inference listener without a key that is good.
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
    fn new(gateway: &Gateway) -> Self {
        let stats = gateway.journal.stats();
        Self {
            first_sequence: stats.first_seq,
            first_at: stats.first_at_ms.map(Timestamp),
            last_sequence: stats.last_seq,
            durable_sequence: stats.durable_seq,
            pending_bytes: stats.pending_bytes,
            durability: match gateway.config.durability {
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
            damage: gateway.unreadable().iter().map(Gap::new).collect(),
            last_error: gateway.journal.last_error(),
        }
    }
}

impl Status {
    /// As it is now.
    pub(super) fn new(gateway: &Gateway) -> Self {
        let counted = gateway.counts.read();
        let notices = gateway.notices();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            started_at: Timestamp(gateway.clock.started_unix_ms()),
            uptime_s: gateway.clock.now().monotonic_ns / 1_000_000_000,
            journal: Journal::new(gateway),
            store: Store::new(gateway),
            disk: gateway.disk_space().map(|(free_bytes, total_bytes)| Disk { free_bytes, total_bytes }),
            requests: Requests {
                running: counted.running,
                admitted: counted.admitted,
                refused: counted.refused,
                errors: counted.errors,
                billed: counted.billed,
                target_failures: counted.target_failures,
                input_tokens: counted.input_tokens,
                output_tokens: counted.output_tokens,
            },
            in_flight_at_last_stop: InFlight::new(&gateway.last_stop),
            webhooks: gateway.webhooks(None).iter().map(Webhook::new).collect(),
            upstreams: gateway.targets().iter().map(Upstream::new).collect(),
            refused_keys: gateway.refused_keys(REFUSED_SHOWN).iter().map(RefusedKeys::new).collect(),
            notices: notices.iter().map(Notice::new).collect(),
            attention: notices.into_iter().map(|notice| notice.message).collect(),
        }
    }
}

pub(super) async fn status(_: Operator<ExportMetrics>, gateway: Data<Gateway>) -> Json<Status> {
    Json(Status::new(&gateway))
}
