//! Billing events as CSV. They are read page by page as the client receives them, so a file of any length needs the
//! memory of only a few pages. If events are missing, either the response's header says so or the connection is cut.

use std::{io, sync::Arc};

use actix_web::body::{BodyStream, MessageBody};
use bytes::Bytes;
use tokio::sync::mpsc;
use tracing::warn;

use crate::{
    domain::time::rfc3339,
    http::admin::api::{format::CsvFile, received::Received},
    service::{
        Gateway,
        error::Error,
        reading::events::{Event, EventPage, EventsQuery},
    },
};

/// The number of events on a page.
const PAGE: usize = 250;

/// Makes the file with the events of `query`, at most `limit` of them.
pub(in crate::http) async fn file(
    gateway: Arc<Gateway>,
    query: EventsQuery,
    limit: Option<usize>,
) -> Result<CsvFile, Error> {
    let name = format!("events-{}.csv", rfc3339(gateway.core.now_ms()).get(..10).unwrap_or_default());
    let mut rows = Rows { gateway, query: Arc::new(query), left: limit.unwrap_or(usize::MAX), is_gap_reported: false };
    // The first page is read before the response begins, so that a refused query gets an error status.
    let first = rows.read().await?;
    rows.is_gap_reported = rows.has_gap(&first);
    let is_complete = !rows.is_gap_reported;
    let (pieces, received) = mpsc::channel(1);
    tokio::spawn(async move {
        if let Err(error) = rows.send(first, &pieces).await {
            warn!(?error, "a CSV file of events was cut off");
            let _ = pieces.send(Err(io::ErrorKind::Other.into())).await;
        }
    });
    Ok(CsvFile { name, content: BodyStream::new(Received(received)).boxed(), is_complete })
}

/// The rows that have not been sent yet.
struct Rows {
    gateway: Arc<Gateway>,
    query: Arc<EventsQuery>,
    /// The number of rows that may still be sent.
    left: usize,
    /// Whether the response's header says that events are missing.
    is_gap_reported: bool,
}

impl Rows {
    async fn read(&mut self) -> Result<EventPage, Error> {
        Arc::make_mut(&mut self.query).limit = self.left.min(PAGE);
        self.gateway.storage.read_events(self.query.clone()).await
    }

    /// Whether events of the window are known to be unreadable. Damage may also be found later, while they are read.
    fn has_gap(&self, first: &EventPage) -> bool {
        let Some((_, end_ms)) = first.next else { return !first.missing.is_empty() };
        let start_ms = self.query.start_ms.unwrap_or(0);
        self.gateway.storage.unreadable().iter().any(|damage| damage.to_ms >= start_ms && damage.from_ms < end_ms)
    }

    /// Sends the header line and all pages, or until the client hangs up. Fails if a page cannot be read completely and
    /// the header does not say so.
    async fn send(&mut self, first: EventPage, pieces: &mpsc::Sender<io::Result<Bytes>>) -> Result<(), Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(Event::COLUMNS).map_err(Error::internal)?;
        let mut page = first;
        loop {
            for event in &page.events {
                writer.write_record(event.values()).map_err(Error::internal)?;
            }
            let piece = std::mem::replace(&mut writer, csv::Writer::from_writer(Vec::new())).into_inner();
            let piece = piece.map_err(|error| Error::internal(error.into_error()))?;
            // An empty piece would end the body.
            let is_gone =
                if piece.is_empty() { pieces.is_closed() } else { pieces.send(Ok(piece.into())).await.is_err() };
            self.left -= page.events.len();
            if is_gone || self.left == 0 || page.next.is_none() {
                return Ok(());
            }
            Arc::make_mut(&mut self.query).after = page.next;
            page = self.read().await?;
            if !page.missing.is_empty() && !self.is_gap_reported {
                return Err(Error::internal("events of the window can no longer be read"));
            }
        }
    }
}
