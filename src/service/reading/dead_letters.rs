//! Lists a webhook's dead letters.

use std::sync::Arc;

use super::{alerts::Alert, event::Event};
use crate::{
    domain::{
        id::{DeadLetterId, WebhookId},
        webhook::Contents,
    },
    service::{error::Error, storage::Storage},
    store::DeadLetterRow,
};

/// The bytes of events and alerts after which a page of dead letters ends.
const MAX_PAGE: usize = 4 << 20;

/// A dead letter with its events or alerts.
pub struct DeadLetterView {
    /// Its id.
    pub id: DeadLetterId,
    /// The failure.
    pub row: DeadLetterRow,
    /// Whether it is queued for redelivery.
    pub is_queued: bool,
    /// The undelivered events.
    pub events: Vec<Event>,
    /// The undelivered alerts.
    pub alerts: Vec<Alert>,
}

/// A page of a webhook's dead letters, in the order in which they were given up.
pub struct DeadLetterPage {
    /// The dead letters.
    pub letters: Vec<DeadLetterView>,
    /// The last dead letter on the page, after which the next page starts; `None` on the last page.
    pub next: Option<DeadLetterId>,
}

impl Storage {
    /// Reads a page of a webhook's dead letters with their events and alerts, in the order in which they were given up.
    pub async fn dead_letters(
        self: &Arc<Self>,
        webhook: WebhookId,
        after: Option<DeadLetterId>,
        limit: usize,
    ) -> Result<DeadLetterPage, Error> {
        self.core.catalog.load().find_webhook(webhook)?;
        self.folded_by_now().await?;
        let storage = self.clone();
        let read = move || storage.read_dead_letters(webhook, after.unwrap_or(DeadLetterId(0)), limit);
        tokio::task::spawn_blocking(read).await.map_err(Error::internal)?
    }

    fn read_dead_letters(
        &self,
        webhook: WebhookId,
        after: DeadLetterId,
        limit: usize,
    ) -> Result<DeadLetterPage, Error> {
        let rows = self.store.dead_letters(webhook, after, limit + 1).map_err(Error::internal)?;
        let (mut letters, mut last, mut bytes) = (Vec::new(), after, 0);
        for (passed, (id, row, is_queued)) in rows.into_iter().enumerate() {
            if passed == limit || bytes > MAX_PAGE {
                return Ok(DeadLetterPage { letters, next: Some(last) });
            }
            last = id;
            // A dead letter that has just been delivered has no contents any more.
            let Some(stored) = self.store.dead_contents(webhook, id).map_err(Error::internal)? else { continue };
            bytes += stored.size();
            let (mut events, mut alerts) = (Vec::new(), Vec::new());
            match stored.read().map_err(Error::internal)? {
                Contents::Events(of) => events.extend(of.iter().map(|it| Event::new(it.at_ms, &it.settled))),
                Contents::Alerts(of) => alerts.extend(of.iter().map(|it| Alert::new(it.at_ms, &it.alert))),
            }
            letters.push(DeadLetterView { id, row, is_queued, events, alerts });
        }
        Ok(DeadLetterPage { letters, next: None })
    }
}
