//! The public form of a billing event, as the events API, exports and webhooks return it.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use ulid::Ulid;
use uuid::Uuid;

use super::spreadsheet::cell;
use crate::domain::{money, settled::Settled, time::rfc3339, units, usage};

/// The billing event of a request.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// A ULID that is unique to this event.
    idempotency_key: String,
    /// The time of the settlement.
    #[schemars(extend("format" = "date-time"))]
    timestamp: String,
    /// The `x-request-id` that the customer got.
    request_id: String,
    /// The body's `metadata` object.
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    request_metadata: Option<Box<RawValue>>,
    model_slug: String,
    external_entity_id: String,
    api_key_prefix: String,
    tokens: Tokens,
    usage_source: UsageSource,
    group_id: String,
    route: &'static str,
    streamed: bool,
    status: u16,
    duration_ms: u64,
    ttft_ms: Option<u64>,
    /// The part of the duration that the request waited for a target with free capacity.
    queue_ms: u64,
    /// The index of the target that answered. Null only in events of earlier versions.
    target: Option<u16>,
    units: Option<Units>,
    cost: Option<Cost>,
}

/// Billed tokens.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Tokens {
    /// The whole prompt.
    input_tokens: u64,
    output_tokens: u64,
    /// The part of the prompt that was served from cache.
    cached_input_tokens: u64,
    /// The part of the prompt that was written to the cache.
    cache_write_input_tokens: u64,
}

/// The source of the token counts: the upstream's report, or our own count.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum UsageSource {
    Upstream,
    Counted,
}

/// The quantity besides tokens that the route is priced by: exactly one of these members.
#[derive(Debug, Default, Serialize, JsonSchema)]
struct Units {
    /// Images that were generated.
    #[serde(skip_serializing_if = "Option::is_none")]
    images: Option<u64>,
    /// The length of audio in seconds, a decimal string.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<String>,
    /// Characters of text that were spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    characters: Option<u64>,
}

impl Units {
    fn new(units: &units::Units) -> Self {
        let none = Self::default();
        match units {
            units::Units::Images(images) => Self { images: Some(*images), ..none },
            units::Units::Seconds(seconds) => Self { seconds: Some(seconds.to_string()), ..none },
            units::Units::Characters(characters) => Self { characters: Some(*characters), ..none },
        }
    }
}

/// An exact amount of money.
#[derive(Debug, Serialize, JsonSchema)]
struct Cost {
    currency: String,
    /// A decimal string.
    amount: String,
}

impl Cost {
    fn new(cost: &money::Cost) -> Self {
        Self { currency: cost.currency.to_string(), amount: cost.amount_text() }
    }
}

impl Event {
    /// The event of a record that was appended at `at_ms`.
    pub fn new(at_ms: u64, settled: &Settled<'_>) -> Self {
        Self {
            idempotency_key: Ulid::from_parts(at_ms, settled.key_random).to_string(),
            timestamp: rfc3339(at_ms),
            request_id: Uuid::from_u128(settled.request_id).to_string(),
            request_metadata: settled.metadata.and_then(|json| RawValue::from_string(json.to_owned()).ok()),
            model_slug: settled.model_slug.to_owned(),
            external_entity_id: settled.external_entity_id.to_owned(),
            api_key_prefix: settled.api_key_prefix.to_owned(),
            tokens: Tokens {
                input_tokens: settled.usage.input,
                output_tokens: settled.usage.output,
                cached_input_tokens: settled.usage.cached,
                cache_write_input_tokens: settled.usage.cache_write,
            },
            usage_source: match settled.usage_source {
                usage::UsageSource::Upstream => UsageSource::Upstream,
                usage::UsageSource::Counted => UsageSource::Counted,
            },
            group_id: settled.group().to_string(),
            route: settled.route.path(),
            streamed: settled.streamed,
            status: settled.status,
            duration_ms: settled.duration_ms,
            ttft_ms: settled.ttft_ms,
            queue_ms: settled.queue_ms,
            target: settled.target,
            units: settled.units.as_ref().map(Units::new),
            cost: settled.cost.as_ref().map(Cost::new),
        }
    }

    /// The columns of an event in a CSV file. New ones are added at the end, so that the others keep their places.
    pub const COLUMNS: [&str; 25] = [
        "idempotencyKey",
        "timestamp",
        "requestId",
        "requestMetadata",
        "modelSlug",
        "externalEntityId",
        "apiKeyPrefix",
        "inputTokens",
        "outputTokens",
        "cachedInputTokens",
        "usageSource",
        "groupId",
        "route",
        "streamed",
        "status",
        "durationMs",
        "ttftMs",
        "costCurrency",
        "costAmount",
        "cacheWriteInputTokens",
        "queueMs",
        "target",
        "images",
        "seconds",
        "characters",
    ];

    /// The event's row in a CSV file. Null values are empty strings.
    pub fn values(&self) -> [String; 25] {
        let (currency, amount) = self.cost.as_ref().map(|cost| (&*cost.currency, &*cost.amount)).unwrap_or_default();
        let units = self.units.as_ref();
        let text = |count: Option<u64>| count.map_or_else(String::new, |count| count.to_string());
        let source = match self.usage_source {
            UsageSource::Upstream => "upstream",
            UsageSource::Counted => "counted",
        };
        [
            self.idempotency_key.clone(),
            self.timestamp.clone(),
            self.request_id.clone(),
            self.request_metadata.as_ref().map_or_else(String::new, |json| json.get().to_owned()),
            cell(self.model_slug.clone()),
            cell(self.external_entity_id.clone()),
            cell(self.api_key_prefix.clone()),
            self.tokens.input_tokens.to_string(),
            self.tokens.output_tokens.to_string(),
            self.tokens.cached_input_tokens.to_string(),
            source.to_owned(),
            self.group_id.clone(),
            self.route.to_owned(),
            self.streamed.to_string(),
            self.status.to_string(),
            self.duration_ms.to_string(),
            text(self.ttft_ms),
            currency.to_owned(),
            amount.to_owned(),
            self.tokens.cache_write_input_tokens.to_string(),
            self.queue_ms.to_string(),
            text(self.target.map(u64::from)),
            text(units.and_then(|units| units.images)),
            units.and_then(|units| units.seconds.clone()).unwrap_or_default(),
            text(units.and_then(|units| units.characters)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{testing::settled, units::Seconds};

    #[test]
    fn units_are_one_member_in_json_and_one_column_in_csv() {
        let places = ["images", "seconds", "characters"].map(|name| Event::COLUMNS.iter().position(|it| *it == name));
        for (units, json, cells) in [
            (None, "null", ["", "", ""]),
            (Some(units::Units::Images(2)), r#"{"images":2}"#, ["2", "", ""]),
            (Some(units::Units::Seconds(Seconds::from_micros(12_300_000))), r#"{"seconds":"12.3"}"#, ["", "12.3", ""]),
            (Some(units::Units::Characters(400)), r#"{"characters":400}"#, ["", "", "400"]),
        ] {
            let event = Event::new(0, &Settled { units, ..settled() });
            let whole = serde_json::to_value(&event).unwrap();
            assert_eq!(whole["units"].to_string(), json);
            let values = event.values();
            assert_eq!(places.map(|place| &*values[place.unwrap()]), cells);
        }
    }
}
