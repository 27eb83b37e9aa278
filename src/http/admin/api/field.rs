//! The types of fields and query parameters. Each type validates its value when it is parsed, so every existing value
//! is valid, and errors say what would be valid. The schema for `/v1/spec` is next to each rule.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{columns::parse_columns, format::Format};
use crate::{
    crypto::{ed25519::parse_public_key, secret::Secret},
    domain::{
        action,
        budget::BudgetUnit,
        endpoint::{Provider, Region, Routing},
        group::Enforcement,
        id::{DeadLetterId, GroupId, SecretId},
        key::{OperatorType, PublicKey},
        limit::{LimitKind, LimitType, Threshold, Unit},
        money::{Amount, Currency, Price},
        record::ActorKind,
        registered,
        route::Route,
        slug::{InvalidSlug, Slug},
        time,
        webhook::WebhookType,
    },
    http::limit_names,
    service::reading::{events::Order, reports::Columns},
    upstream::{address::parse_http_url, provider::parse_base_url},
};

/// Parses a text with the given function.
fn text<'de, T, E: fmt::Display, D: Deserializer<'de>>(
    deserializer: D,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<T, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident($value:ty): $schema:tt, $parse:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub(in crate::http) struct $name(pub(in crate::http) $value);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                text(deserializer, $parse).map(Self)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )+};
}

/// Returns the text if it is valid, else the rule as the error.
fn checked(text: &str, is_valid: bool, rule: &'static str) -> Result<String, &'static str> {
    is_valid.then(|| text.to_owned()).ok_or(rule)
}

fn is_id_word(text: &str, also: &[u8]) -> bool {
    matches!(text.len(), 1..=64) && text.bytes().all(|b| b.is_ascii_alphanumeric() || also.contains(&b))
}

fn whole_number(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    // `parse` would accept a plus sign.
    let number = number.filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    number.ok_or_else(|| format!("must be a whole number from {least} to {most}"))
}

fn json_routes() -> Vec<&'static str> {
    Route::ALL.into_iter().filter(|route| !route.takes_form()).map(Route::path).collect()
}

texts! {
    /// A name for people.
    Name(String): { "type": "string", "maxLength": 255 }, |text| {
        let is_valid = text.chars().count() <= 255 && !text.contains(char::is_control);
        checked(text, is_valid, "must be at most 255 characters, without control characters")
    };

    /// The operator's own name for a customer.
    EntityId(String): { "type": "string", "minLength": 1, "maxLength": 255 }, |text| {
        let is_valid = matches!(text.chars().count(), 1..=255) && !text.contains(char::is_control);
        checked(text, is_valid, "must be 1 to 255 characters, without control characters")
    };

    /// The name by which customers call a model.
    SlugText(Slug): { "type": "string", "maxLength": 255, "pattern": "^[A-Za-z0-9._~-]+/[A-Za-z0-9._~-]+$" },
        |text| -> Result<Slug, InvalidSlug> { Slug::parse(text) };

    /// The base URL of an upstream.
    BaseUrl(String): { "type": "string", "format": "uri", "maxLength": 2048 },
        |text| parse_base_url(text).map(|_| text.to_owned());

    /// A route of the inference API whose body is JSON, by its path.
    JsonRoute(Route): { "type": "string", "enum": json_routes() }, |text| {
        let route = Route::from_path(text).filter(|route| !route.takes_form());
        route.ok_or_else(|| format!("must be one of {}", json_routes().join(", ")))
    };

    /// The URL of a webhook's receiver.
    WebhookUrl(String): { "type": "string", "format": "uri", "maxLength": 2048 }, |text| {
        parse_http_url(text, "must be a URL such as https://billing.example/hook").map(|_| text.to_owned())
    };

    /// A dead letter's id.
    DeadLetterIdText(DeadLetterId): { "type": "string" },
        |text| text.parse::<DeadLetterId>().map_err(|_| "no dead letter has this id");

    /// The name of a model on its upstream.
    TargetModel(String): { "type": "string", "minLength": 1, "maxLength": 255 }, |text| {
        let visible = !text.contains(|c: char| c.is_control() || c.is_whitespace());
        let is_valid = visible && matches!(text.chars().count(), 1..=255);
        checked(text, is_valid, "must be 1 to 255 visible characters")
    };

    /// A name from Baseten, which becomes part of a URL.
    BasetenName(String): { "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" },
        |text| checked(text, is_id_word(text, b"_-"), "must be 1 to 64 letters, digits, '_' or '-'");

    /// The id of a group, which may have been deleted.
    GroupIdText(GroupId): { "type": "string" }, |text| text.parse::<GroupId>().map_err(|_| "must be the id of a group");

    /// The id of a stored credential.
    SecretIdText(SecretId): { "type": "string" },
        |text| text.parse::<SecretId>().map_err(|_| "no secret has this id");

    /// The name of a provider credential.
    SecretName(String): { "type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$" },
        |text| checked(text, is_id_word(text, b"._-"), "must be 1 to 64 letters, digits, '.', '_' or '-'");

    /// The value of a provider credential, which is sent in a header.
    SecretValue(Secret): { "type": "string", "minLength": 1, "maxLength": 4096, "format": "password" }, |text| {
        let is_valid = matches!(text.len(), 1..=4096) && text.bytes().all(|b| b.is_ascii_graphic());
        checked(text, is_valid, "must be 1 to 4096 visible ASCII characters").map(Secret::new)
    };

    /// A whole key, which may be wrong.
    KeyText(Secret): { "type": "string", "format": "password" },
        |text| -> Result<Secret, &'static str> { Ok(Secret::new(text.to_owned())) };

    /// A search text, which may be a whole key.
    SearchText(Secret): { "type": "string", "minLength": 1, "maxLength": 256 }, |text| {
        let is_valid = matches!(text.chars().count(), 1..=256) && !text.trim().is_empty();
        checked(text, is_valid, "must be 1 to 256 characters and not only spaces").map(Secret::new)
    };

    /// A customer's existing key, to be registered.
    RegisteredKey(Secret): {
        "type": "string", "minLength": registered::MIN_CHARS, "maxLength": registered::MAX_CHARS, "format": "password"
    }, |text| registered::check(text).map(|()| Secret::new(text.to_owned()));

    /// An Ed25519 public key.
    PublicKeyText(PublicKey): { "type": "string", "contentEncoding": "base64", "minLength": 44, "maxLength": 44 },
        parse_public_key;

    /// A decimal price.
    PriceText(Price): { "type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,6})?$" }, Price::parse;

    /// The amount of a budget.
    AmountText(Amount): { "type": "string", "pattern": r"^[0-9]{1,12}(\.[0-9]{1,6})?$" }, Amount::parse;

    /// An ISO 4217 code.
    CurrencyCode(Currency): { "type": "string", "pattern": "^[A-Z]{3}$" },
        |text| Currency::parse(text).ok_or("must be three capital letters, such as \"EUR\"");

    /// A time, in Unix milliseconds.
    Moment(u64): { "type": "string", "format": "date-time" },
        |text| time::parse(text).ok_or("must be a time such as \"2026-11-23T10:00:00Z\"");

    /// The kind of a change.
    EventType(&'static str): { "type": "string", "enum": action::ALL }, |text| {
        let known = action::ALL.iter().find(|word| **word == text).copied();
        known.ok_or_else(|| format!("must be one of {}", action::ALL.join(", ")))
    };

    /// The columns of a report.
    GroupBy(Columns): { "type": "string", "examples": ["group,model,day"] }, parse_columns;

    /// The format of an answer.
    FormatName(Format): { "type": "string", "enum": ["json", "csv"] }, Format::parse;

    /// The maximum number of rows of a report.
    ReportTop(usize): { "type": "integer", "minimum": 1, "maximum": 1000 },
        |text| whole_number(text, 1, 1000).map(|rows| rows as usize);

    /// The maximum number of items on a page.
    PageLimit(usize): { "type": "integer", "minimum": 1, "maximum": 1000, "default": 100 },
        |text| whole_number(text, 1, 1000).map(|limit| limit as usize);

    /// A number of tokens in a query.
    TokenCount(u64): { "type": "integer", "minimum": 0, "maximum": 9_007_199_254_740_991_u64, "default": 0 },
        |text| whole_number(text, 0, Threshold::MAX);

    /// A supported provider. For published providers that are not supported, the error says so.
    ProviderName(Provider): { "type": "string", "enum": ProviderWord::words() },
        |text| match (text, ProviderWord::find(text)) {
            ("VERTEX" | "BASETEN_MODEL_API", _) => Err(format!("{text} is not supported")),
            (_, Some(provider)) => Ok(provider),
            (_, None) => Err("must be OPENAI_COMPATIBLE, OPENAI, ANTHROPIC, BASETEN or DEMO".to_owned()),
        };
}

/// Writes `A`, `A or B` or `A, B or C`.
fn any_of(words: &[&str]) -> String {
    match words {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        words => words.concat(),
    }
}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident($value:ty) = $word:path, [$($variant:expr),+];)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub(in crate::http) struct $name(pub(in crate::http) $value);

        impl $name {
            const ALL: &[$value] = &[$($variant),+];

            pub(in crate::http) fn word(self) -> &'static str {
                $word(self.0)
            }

            fn words() -> Vec<&'static str> {
                Self::ALL.iter().map(|value| $word(*value)).collect()
            }

            fn find(word: &str) -> Option<$value> {
                Self::ALL.iter().copied().find(|value| $word(*value) == word)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.word())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let known = |word: &str| Self::find(word).ok_or_else(|| format!("must be {}", any_of(&Self::words())));
                text(deserializer, known).map(Self)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).trim_end_matches("Word").into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "enum": Self::words() })
            }
        }
    )+};
}

words! {
    /// The measure that a limit counts.
    LimitTypeWord(LimitType) = limit_names::limit_type, [LimitType::Token, LimitType::Request];
    /// The length of a rolling window, or CONCURRENT for the requests that run at the same time.
    RateUnitWord(Unit) = limit_names::unit, [Unit::Second, Unit::Minute, Unit::Concurrent];
    /// The length of a calendar window. A week begins on Monday.
    UsageUnitWord(Unit) = limit_names::unit, [Unit::Day, Unit::Week, Unit::Month];
    /// The length of a rolling or calendar window, or CONCURRENT for the requests that run at the same time.
    UnitWord(Unit) = limit_names::unit, [
        Unit::Second, Unit::Minute, Unit::Concurrent, Unit::Day, Unit::Week, Unit::Month
    ];
    /// The time over which a budget counts. A week begins on Monday. TOTAL never resets.
    BudgetUnitWord(BudgetUnit) = limit_names::budget_unit, [
        BudgetUnit::Day, BudgetUnit::Week, BudgetUnit::Month, BudgetUnit::Total
    ];
    /// The kind of a limit.
    LimitKindWord(LimitKind) = limit_names::kind, [LimitKind::Rate, LimitKind::Usage];
    /// How the limits of a tree of groups work together.
    EnforcementWord(Enforcement) = enforcement, [Enforcement::Independent, Enforcement::Cascading];
    /// Where an endpoint's requests may be processed.
    RegionWord(Region) = region, [Region::Unrestricted, Region::Eu];
    /// How a request's target is chosen.
    RoutingWord(Routing) = routing, [Routing::Priority, Routing::Spread];
    /// The provider of a target.
    ProviderWord(Provider) = provider, [
        Provider::OpenAiCompatible, Provider::OpenAi, Provider::Anthropic, Provider::Baseten, Provider::Demo
    ];
    /// The order of a list.
    OrderWord(Order) = order, [Order::Ascending, Order::Descending];
    /// How the actor of a change was authenticated.
    ActorTypeWord(ActorKind) = actor_type, [ActorKind::ApiKey, ActorKind::Session, ActorKind::System];
    /// A type of delivery: billing events, or alerts about the use of limits and budgets.
    WebhookTypeWord(WebhookType) = webhook_type, [WebhookType::ApiBillingUsage, WebhookType::Alert];
    /// The type of an operator key, which decides what it may do.
    OperatorTypeWord(OperatorType) = operator_type, [
        OperatorType::ManageApiKeys, OperatorType::ExportMetrics, OperatorType::ManageAll
    ];
}

fn enforcement(mode: Enforcement) -> &'static str {
    match mode {
        Enforcement::Independent => "INDEPENDENT",
        Enforcement::Cascading => "CASCADING",
    }
}

fn region(region: Region) -> &'static str {
    match region {
        Region::Unrestricted => "UNRESTRICTED",
        Region::Eu => "EU",
    }
}

fn routing(routing: Routing) -> &'static str {
    match routing {
        Routing::Priority => "PRIORITY",
        Routing::Spread => "SPREAD",
    }
}

fn provider(provider: Provider) -> &'static str {
    match provider {
        Provider::OpenAiCompatible => "OPENAI_COMPATIBLE",
        Provider::OpenAi => "OPENAI",
        Provider::Anthropic => "ANTHROPIC",
        Provider::Baseten => "BASETEN",
        Provider::Demo => "DEMO",
    }
}

fn order(order: Order) -> &'static str {
    match order {
        Order::Ascending => "asc",
        Order::Descending => "desc",
    }
}

fn actor_type(kind: ActorKind) -> &'static str {
    match kind {
        ActorKind::ApiKey => "API_KEY",
        ActorKind::Session => "SESSION",
        ActorKind::System => "SYSTEM",
    }
}

fn webhook_type(webhook_type: WebhookType) -> &'static str {
    match webhook_type {
        WebhookType::ApiBillingUsage => "API_BILLING_USAGE",
        WebhookType::Alert => "ALERT",
    }
}

fn operator_type(operator_type: OperatorType) -> &'static str {
    match operator_type {
        OperatorType::ManageApiKeys => "WORKSPACE_MANAGE_API_KEYS",
        OperatorType::ExportMetrics => "WORKSPACE_EXPORT_METRICS",
        OperatorType::ManageAll => "WORKSPACE_MANAGE_ALL",
    }
}

/// A time in a response, from Unix milliseconds.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct Timestamp(pub(in crate::http) u64);

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&time::rfc3339(self.0))
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}
