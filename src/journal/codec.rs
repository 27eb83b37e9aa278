//! Encodes records as journal bodies. The rest of the journal treats bodies as bytes.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};

use super::frame::MAX_BODY;
use crate::domain::{alert::Alert, record::Record, settled::Settled};

/// The most bytes that a record's values take in memory, as bincode counts them: one byte of varint becomes at most a
/// `u128`.
const MAX_DECODED: usize = 16 * MAX_BODY;

/// bincode's varint encoding, frozen with the format of the records. Without the limit, a text in a damaged record
/// could allocate as much memory as its length field says.
const CONFIG: Configuration<LittleEndian, Varint, Limit<MAX_DECODED>> =
    bincode::config::standard().with_limit::<MAX_DECODED>();

/// Appends a record's bytes to `buffer`.
pub fn encode(record: &Record<'_>, buffer: &mut Vec<u8>) -> Result<(), bincode::error::EncodeError> {
    bincode::serde::encode_into_std_write(record, buffer, CONFIG).map(drop)
}

/// Decodes a record. Its texts borrow from `body`.
pub fn decode(body: &[u8]) -> Result<Record<'_>, bincode::error::DecodeError> {
    bincode::serde::borrow_decode_from_slice(body, CONFIG).map(|(record, _)| record)
}

/// Decodes a billed request. For any other kind of record, reads only the first byte and returns `None`.
pub fn decode_settled(body: &[u8]) -> Result<Option<Settled<'_>>, bincode::error::DecodeError> {
    // A record starts with its number, which takes one byte.
    if !body.first().is_some_and(|number| Record::SETTLED.contains(number)) {
        return Ok(None);
    }
    Ok(match decode(body)? {
        Record::Settled(settled) => Some(settled),
        _ => None,
    })
}

/// Decodes an alert. For any other kind of record, reads only the first byte and returns `None`.
pub fn decode_alert(body: &[u8]) -> Result<Option<Alert>, bincode::error::DecodeError> {
    if body.first() != Some(&Record::ALERTED) {
        return Ok(None);
    }
    Ok(match decode(body)? {
        Record::Alerted(alert) => Some(alert),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        alert::Declaration,
        budget::{Budget, BudgetUnit, Budgets},
        endpoint::{Endpoint, Routing, Target},
        group::{Group, GroupModel, GroupModels},
        id::{DeadLetterId, EndpointId, GroupId, SecretId, SlugId, WebhookId},
        key::{ApiKey, KeyHash, OperatorKey, OperatorType, PublicKey, StoredSecret},
        limit::{Limit, LimitType, Threshold, Unit},
        money::{Amount, Cost, Currency, Price},
        pricing::{LongPrices, Pricing},
        record::{Actor, Changed, Row},
        route::Route,
        settled::Settled,
        testing::{
            ENDPOINT_V1, ENDPOINT_V2, GROUP_V1, SETTLED_V1, WEBHOOK_V1, alert, endpoint_of_v1, endpoint_of_v2,
            group_of_v1, webhook_of_v1,
        },
        units::Units,
        usage::{Usage, UsageSource},
        webhook::{DatedAlert, DeadAlerts, DeliveryFailure, Passed, Webhook, WebhookType, WebhookTypes},
    };

    #[test]
    fn a_text_length_above_that_of_any_record_is_an_error() {
        let changed = Changed { actor: Actor::system(), action: "a.b".to_owned(), before: None, rows: Vec::new() };
        let mut bytes = Vec::new();
        encode(&Record::Changed(changed), &mut bytes).unwrap();
        let at = bytes.windows(4).position(|bytes| bytes == b"\x03a.b").unwrap();
        let length = [&[253][..], &(1_u64 << 40).to_le_bytes()].concat();
        bytes.splice(at..=at, length);
        assert!(decode(&bytes).is_err());
    }

    #[test]
    fn a_record_is_decoded_as_it_was_encoded() {
        let settled = Settled {
            key_random: u128::MAX,
            request_id: 7,
            metadata: Some(r#"{"a":1}"#),
            model_slug: "acme/chat",
            slug: SlugId(1),
            external_entity_id: "cust_42",
            counted_for: vec![GroupId(3), GroupId(u128::MAX)],
            api_key_prefix: "sk_abc",
            usage: Usage { input: 1, output: u64::MAX, cached: 0, cache_write: 1 },
            usage_source: UsageSource::Counted,
            route: Route::Embeddings,
            streamed: true,
            status: 200,
            duration_ms: 12,
            ttft_ms: None,
            choices: 1,
            prompt_bytes: 5,
            cost: None,
            target: Some(15),
            queue_ms: 1,
            units: Some(Units::Images(2)),
        };
        let rows = vec![Row::Slug(SlugId(1), "acme/chat".to_owned()), Row::GroupGone(GroupId(1))];
        let before = Some(vec![Row::Slug(SlugId(1), "acme/old".to_owned())]);
        let changed = Changed { actor: Actor::system(), action: "a.b".to_owned(), before, rows };
        let currency = Currency::parse("EUR").unwrap();
        let budget = Budget { unit: BudgetUnit::Total, currency, amount: Amount::parse("500").unwrap() };
        let about_budget = Alert {
            declaration: Declaration::Budget(budget),
            model_slug: None,
            used: u128::MAX,
            reset_at_ms: None,
            ..alert()
        };
        let failure = DeliveryFailure { attempts: 5, last_status: None, last_error: "no".to_owned() };
        let (webhook, id, through) = (WebhookId(1), DeadLetterId(2), 40);
        let dated = [alert(), about_budget.clone()].map(|alert| DatedAlert { at_ms: 9, alert });
        let letter = DeadAlerts { webhook, id, through, failure, alerts: dated.into() };
        let alerts = [alert(), about_budget].map(Record::Alerted);
        let passed = Record::Passed(Passed { webhook, through });
        let alerts = alerts.into_iter().chain([Record::AlertsDeadLettered(letter), passed]);
        for record in [Record::Settled(settled), Record::Changed(changed)].into_iter().chain(alerts) {
            let mut bytes = Vec::new();
            encode(&record, &mut bytes).unwrap();
            assert_eq!(format!("{:?}", decode(&bytes).unwrap()), format!("{record:?}"));
            assert_eq!(decode_settled(&bytes).unwrap().is_some(), matches!(record, Record::Settled(_)));
            assert_eq!(decode_alert(&bytes).unwrap().is_some(), matches!(record, Record::Alerted(_)));
            for cut in 0..bytes.len() {
                assert!(decode(&bytes[..cut]).is_err());
            }
        }
    }

    fn assert_is_that_request(settled: &Settled<'_>) {
        let expected = Settled {
            key_random: 300,
            request_id: 7,
            metadata: Some(r#"{"a":1}"#),
            model_slug: "acme/chat",
            slug: SlugId(1),
            external_entity_id: "cust_42",
            counted_for: vec![GroupId(3), GroupId(4)],
            api_key_prefix: "sk_abc",
            usage: Usage { input: 1000, output: 57, cached: 20, cache_write: 0 },
            usage_source: UsageSource::Counted,
            route: Route::Embeddings,
            streamed: true,
            status: 200,
            duration_ms: 812,
            ttft_ms: Some(95),
            choices: 1,
            prompt_bytes: 5,
            cost: Currency::parse("EUR").map(|currency| Cost { currency, amount: 70_000 }),
            target: None,
            queue_ms: 0,
            units: None,
        };
        assert_eq!(format!("{settled:?}"), format!("{expected:?}"));
    }

    #[test]
    fn a_billed_request_of_an_earlier_version_has_defaults_for_later_members() {
        let body = [&b"\0"[..], SETTLED_V1].concat();
        assert_is_that_request(&decode_settled(&body).unwrap().unwrap());
        let mut again = Vec::new();
        encode(&decode(&body).unwrap(), &mut again).unwrap();
        assert_is_that_request(&decode_settled(&again).unwrap().unwrap());
        for cut in 0..body.len() {
            assert!(decode(&body[..cut]).is_err());
        }
    }

    #[test]
    fn a_dead_letter_of_an_earlier_version_keeps_its_events() {
        let body =
            [&b"\x04\x01\x02\x28\x05\x01\xfb\xf4\x01\x02no\x02\x09"[..], SETTLED_V1, b"\x0a", SETTLED_V1].concat();
        assert!(decode_settled(&body).unwrap().is_none());
        let Record::DeadLettered(letter) = decode(&body).unwrap() else { panic!("a dead letter") };
        assert_eq!((letter.webhook, letter.id, letter.through), (WebhookId(1), DeadLetterId(2), 40));
        assert_eq!((letter.failure.attempts, letter.failure.last_status), (5, Some(500)));
        assert_eq!(letter.events.iter().map(|event| event.at_ms).collect::<Vec<_>>(), [9, 10]);
        letter.events.iter().for_each(|event| assert_is_that_request(&event.settled));
    }
    fn changed(before: Option<Vec<Row>>, rows: Vec<Row>) -> Vec<u8> {
        let changed = Changed { actor: Actor::system(), action: "a.b".to_owned(), before, rows };
        let mut bytes = Vec::new();
        encode(&Record::Changed(changed), &mut bytes).unwrap();
        bytes
    }

    fn rows(body: &[u8]) -> (Option<Vec<Row>>, Vec<Row>) {
        let Record::Changed(changed) = decode(body).unwrap() else { panic!("a change") };
        (changed.before, changed.rows)
    }

    const UNITS: [Unit; 6] = [Unit::Second, Unit::Minute, Unit::Day, Unit::Week, Unit::Month, Unit::Concurrent];

    const BUDGET_UNITS: [BudgetUnit; 4] = [BudgetUnit::Day, BudgetUnit::Week, BudgetUnit::Month, BudgetUnit::Total];

    fn row_of_every_kind() -> Vec<Row> {
        let (hash, name) = (KeyHash([7; 32]), Some("first".to_owned()));
        let pricing = endpoint_of_v1().pricing.unwrap();
        let long = LongPrices { above: 200_000, tokens: pricing.tokens };
        let target = Target { weight: 100, max_concurrent: Some(100_000), ..endpoint_of_v1().targets[0].clone() };
        let targets = vec![target; 16];
        let pricing = Some(Pricing { request: Price::parse("0.01").ok(), long: Some(long), ..pricing });
        let limits = UNITS.map(|unit| Limit {
            limit_type: LimitType::Request,
            unit,
            threshold: Threshold::new(Threshold::MAX).unwrap(),
        });
        let models = GroupModels::new(vec![GroupModel { slug: SlugId(1), limits: limits[1..].to_vec() }]).unwrap();
        let currency = Currency::parse("EUR").unwrap();
        let amount = Amount::parse("999999999999.999999").unwrap();
        let budgets = BUDGET_UNITS.map(|unit| Budget { unit, currency, amount });
        vec![
            Row::Slug(SlugId(1), "acme/chat".to_owned()),
            Row::SlugGone(SlugId(2)),
            Row::Endpoint(Endpoint {
                targets,
                pricing,
                routing: Routing::Spread,
                queue_timeout_s: 600,
                ..endpoint_of_v1()
            }),
            Row::EndpointGone(EndpointId(3)),
            Row::Group(Group { models, budgets: Budgets::new(budgets.to_vec()).unwrap(), ..group_of_v1() }),
            Row::GroupGone(GroupId(7)),
            Row::ApiKey(ApiKey {
                prefix: "sk_abc".to_owned(),
                name: name.clone(),
                group: GroupId(8),
                hash,
                created_at_ms: 9,
                expires_at_ms: Some(10),
                disabled: true,
            }),
            Row::ApiKeyGone("sk_abc".to_owned()),
            Row::Operator(OperatorKey {
                prefix: "op_abc".to_owned(),
                name,
                operator_type: OperatorType::ManageAll,
                hash,
                created_at_ms: 11,
            }),
            Row::OperatorGone("op_abc".to_owned()),
            Row::Secret(StoredSecret {
                id: SecretId(12),
                name: "openai".to_owned(),
                sealed: vec![13],
                created_at_ms: 14,
            }),
            Row::SecretGone(SecretId(15)),
            Row::Webhook(Webhook { types: WebhookTypes::new([WebhookType::Alert]).unwrap(), ..webhook_of_v1() }),
            Row::WebhookGone(WebhookId(21)),
            Row::Redeliver(WebhookId(22), DeadLetterId(23)),
            Row::SigningKey(Some(PublicKey([24; 32]))),
        ]
    }

    #[test]
    fn a_row_of_every_kind_is_decoded_as_it_was_encoded() {
        let all = row_of_every_kind();
        let (before, after) = rows(&changed(Some(all.clone()), all.clone()));
        for decoded in [before.unwrap(), after] {
            assert_eq!(format!("{decoded:?}"), format!("{all:?}"));
        }
    }

    #[test]
    fn a_row_of_an_earlier_version_has_defaults_for_later_members() {
        let empty = changed(Some(Vec::new()), Vec::new());
        let head = empty.strip_suffix(b"\0\0").unwrap();
        for (number, encoded, expected) in [
            (b"\x02", ENDPOINT_V1, Row::Endpoint(endpoint_of_v1())),
            (b"\x10", ENDPOINT_V2, Row::Endpoint(endpoint_of_v2())),
            (b"\x04", GROUP_V1, Row::Group(group_of_v1())),
            (b"\x0c", WEBHOOK_V1, Row::Webhook(webhook_of_v1())),
        ] {
            // The number of rows before and after the change, and each row with its number.
            let body = [head, b"\x01", number, encoded, b"\x02", number, encoded, b"\x03\x05"].concat();
            let (before, after) = rows(&body);
            for row in [&before.unwrap()[0], &after[0]] {
                assert_eq!(format!("{row:?}"), format!("{expected:?}"));
            }
            assert!(matches!(after[..], [_, Row::EndpointGone(EndpointId(5))]));
            let (_, again) = rows(&changed(None, after.clone()));
            assert_eq!(format!("{again:?}"), format!("{after:?}"));
        }
    }

    #[test]
    fn units_and_types_in_rows_keep_their_numbers() {
        fn number(of: impl serde::Serialize) -> u8 {
            let bytes = bincode::serde::encode_to_vec(of, CONFIG).unwrap();
            let [number] = bytes[..] else { panic!("one byte") };
            number
        }
        assert_eq!(UNITS.map(number), [0, 1, 2, 3, 4, 5]);
        assert_eq!(BUDGET_UNITS.map(number), [0, 1, 2, 3]);
        assert_eq!([LimitType::Token, LimitType::Request].map(number), [0, 1]);
        assert_eq!([WebhookType::ApiBillingUsage, WebhookType::Alert].map(number), [0, 1]);
    }
}
