//! The notices for operators: sentences about problems that need attention.

use super::targets::TargetView;
use crate::{
    domain::{
        id::{EndpointId, GroupId, WebhookId},
        time::rfc3339,
    },
    journal::Damage,
    service::{
        access::refused::{MANY, Network},
        request::inflight::LastStop,
        webhooks::{Phase, WebhookView},
    },
    upstream::health::TargetFailure,
};

/// The most damaged places, and the most addresses, that get a sentence each. The status lists all of them.
const DESCRIBED: usize = 5;

/// Something that needs an operator's attention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The part of the gateway that it concerns.
    pub about: About,
    /// The notice, as a sentence.
    pub message: String,
}

/// The part of the gateway that a notice concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The log of everything billed and changed.
    Journal,
    /// The tables computed from the journal.
    Store,
    /// The requests that were in flight when the previous run ended, or the tracking of those in flight now.
    LastStop,
    /// Operator keys.
    Keys,
    /// The limits of this process.
    Process,
    /// The mails about alerts.
    Mail,
    /// The certificates of the listeners.
    Tls,
    /// A webhook.
    Webhook(WebhookId),
    /// A target of this endpoint.
    Endpoint(EndpointId),
    /// A group.
    Group(GroupId),
    /// Several groups.
    Groups,
}

impl About {
    /// Makes a notice about it.
    pub(in crate::service) fn notice(self, message: String) -> Notice {
        Notice { about: self, message }
    }
}

/// The requests that were in flight when the previous run ended; `None` if there were none.
pub(in crate::service) fn of_last_stop(last_stop: &LastStop) -> Option<String> {
    if let Some(why) = &last_stop.unknown {
        return Some(format!("It is not known which requests were running when Tollgate last stopped: {why}."));
    }
    match last_stop.count? {
        0 => None,
        1 => Some(
            "1 request was running when Tollgate was last killed; it has no event. Its id is in the status.".into(),
        ),
        count => Some(format!(
            "{count} requests were running when Tollgate was last killed; they have no event. Their ids are in \
             the status."
        )),
    }
}

/// The unreadable records. `not_in_totals` are those that totals do not include.
pub(super) fn of_damage(unreadable: &[Damage], not_in_totals: &[Damage]) -> Vec<String> {
    let describe = |damage: &Damage| {
        let (first, last) = (damage.missing.start(), damage.missing.end());
        let records = if first == last { format!("record {first}") } else { format!("records {first} to {last}") };
        let place = match damage.file.as_os_str().is_empty() {
            true => String::new(),
            false => format!(" ({}, byte {})", damage.file.display(), damage.offset),
        };
        let counted = !not_in_totals.iter().any(|missing| missing.overlaps(damage));
        let totals = if counted { "Totals include them" } else { "Totals of that time are incomplete" };
        format!("The journal is damaged: {records}{place} cannot be read. {totals}.")
    };
    let more = unreadable.len().saturating_sub(DESCRIBED);
    let more = (more > 0).then(|| format!("The journal is damaged in {more} more places; the status lists them."));
    unreadable.iter().take(DESCRIBED).map(describe).chain(more).collect()
}

/// The addresses that have recently sent many wrong operator keys, the latest first.
pub(super) fn of_guessers(guessers: &[Network]) -> Vec<String> {
    let describe =
        |from: &Network| format!("{MANY} or more wrong operator keys came from {from} within the last hour.");
    let more = guessers.len().saturating_sub(DESCRIBED);
    let more = (more > 0).then(|| format!("{MANY} or more came from each of {more} more addresses."));
    guessers.iter().take(DESCRIBED).map(describe).chain(more).collect()
}

/// The failure of a target that is left out, or that did not serve its last calls.
pub(super) fn of_target(view: &TargetView) -> Option<Notice> {
    let TargetView { endpoint, slug, index, standing, .. } = view;
    let failure = standing.last_failure.as_ref().filter(|failure| failure.count > 0);
    let sentence = match (&standing.outage, failure) {
        (Some(outage), _) => {
            let (since, reason) = (rfc3339(outage.since_ms), outage.reason.trim_end_matches('.'));
            format!("Target {index} of {slug} is left out since {since}: {reason}.")
        }
        (None, Some(TargetFailure { reason, count, .. })) => {
            let calls = if *count == 1 { "last call".to_owned() } else { format!("last {count} calls") };
            format!("Target {index} of {slug} did not serve the {calls}: {}.", reason.trim_end_matches('.'))
        }
        (None, None) => return None,
    };
    Some(About::Endpoint(*endpoint).notice(sentence))
}

/// The problems of a webhook.
pub(in crate::service) fn of_webhook(view: &WebhookView) -> Vec<Notice> {
    let about = About::Webhook(view.webhook.id);
    sentences_of_webhook(view).into_iter().map(|sentence| about.notice(sentence)).collect()
}

fn sentences_of_webhook(view: &WebhookView) -> Vec<String> {
    let WebhookView { webhook, standing, .. } = view;
    let name = format!("{} ({})", webhook.id, webhook.description.as_deref().unwrap_or_else(|| webhook.origin()));
    let mut sentences = Vec::new();
    if let Some(why) = &standing.problem {
        sentences.push(format!("Deliveries of the webhook {name} are paused: {why}."));
    }
    if standing.phase == Phase::Failing && webhook.enabled {
        let since = standing.last_success_ms.map_or_else(String::new, |at| format!(" since {}", rfc3339(at)));
        let why = standing.last_error.as_ref().map_or_else(String::new, |error| format!(": {}", error.message));
        sentences.push(format!("The webhook {name} has accepted no delivery{since}{why}."));
    }
    if standing.dead_letters > 0 {
        let (letters, them) = if standing.dead_letters == 1 { ("delivery", "it") } else { ("deliveries", "them") };
        let count = standing.dead_letters;
        sentences.push(format!("The webhook {name} has {count} {letters} given up (dead letters); redeliver {them}."));
    }
    if let Some((first, last)) = standing.unreadable {
        sentences.push(format!(
            "Events in records {first} to {last} were not delivered to the webhook {name}: the records cannot be read."
        ));
    }
    if let Some(last) = standing.skipped_to {
        sentences.push(format!(
            "Events up to record {last} were not delivered to the webhook {name}: they were past their retention."
        ));
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::access::refused::RefusedKeys;

    #[test]
    fn addresses_beyond_the_first_five_share_a_sentence() {
        let refused = RefusedKeys::default();
        for address in 10..20 {
            for _ in 0..MANY {
                refused.allows_another([0, 0, 0, address].into(), 1);
            }
        }
        let sentences = of_guessers(&refused.guessers(1));
        let last = "10 or more came from each of 5 more addresses.";
        assert_eq!((sentences.len(), sentences[DESCRIBED].as_str()), (DESCRIBED + 1, last));
        assert_eq!(sentences[0], "10 or more wrong operator keys came from 0.0.0.19 within the last hour.");
    }
}
