//! `/v1/gateway/backup`: all durable data as one file, made while the gateway serves.

use std::io::{self, BufWriter, Write};

use actix_web::{
    HttpRequest, HttpResponse, Responder,
    body::{BoxBody, SizedStream},
    http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE},
    web::Data,
};
use bytes::Bytes;
use schemars::json_schema;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::{
    domain::action,
    http::admin::{
        api::{
            body::{Nothing, OptionalBody},
            describe::{Describe, Operation, Schemas},
            operator::{ManageAll, Operator},
            received::Received,
        },
        error::AdminError,
    },
    service::{Gateway, backup::Backup, error::Error},
};

const TAR: &str = "application/x-tar";

/// The size of a piece of the file, in bytes, and the maximum number of pieces that wait to be sent.
const PIECE: usize = 256 << 10;
const PIECES: usize = 4;

/// The response: the backup file, read while it is sent.
pub(in crate::http) struct BackupFile {
    backup: Backup,
    name: String,
}

impl Responder for BackupFile {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        let Self { backup, name } = self;
        let bytes = backup.bytes();
        let (pieces, read) = mpsc::channel(PIECES);
        // If the client hangs up, sending fails and the thread ends.
        tokio::task::spawn_blocking(move || {
            match backup.write(BufWriter::with_capacity(PIECE, Pieces(pieces.clone())), |_| {}) {
                Ok(()) => info!(bytes, "a backup was sent"),
                Err(error) => {
                    warn!(%error, "a backup was not sent completely");
                    // The error closes the connection, so the client does not treat the file as complete.
                    let _ = pieces.blocking_send(Err(error));
                }
            }
        });
        HttpResponse::Ok()
            .insert_header((CONTENT_TYPE, TAR))
            .insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")))
            .insert_header((CACHE_CONTROL, "no-store"))
            .body(SizedStream::new(bytes, Received(read)))
    }
}

impl Describe for BackupFile {
    fn describe(operation: &mut Operation, _: &mut Schemas) {
        operation.answers.push((TAR, json_schema!({ "type": "string", "format": "binary" })));
    }
}

/// A writer that sends its bytes to the client.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::ConnectionAborted.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(in crate::http) async fn create(
    operator: Operator<ManageAll>,
    gateway: Data<Gateway>,
    _: OptionalBody<Nothing>,
) -> Result<BackupFile, AdminError> {
    // This audit record is committed first, so it is in the backup too.
    gateway.changes.begin().await?.commit(operator.actor(), action::BACKUP_CREATED, Vec::new()).await?;
    let data_dir = gateway.core.config.data_dir.clone();
    let opened = tokio::task::spawn_blocking(move || Backup::open(&data_dir)).await.map_err(Error::internal)?;
    let backup = opened.map_err(Error::internal)?;
    let moment = crate::domain::time::rfc3339(gateway.core.now_ms()).replace([':', '.'], "-");
    Ok(BackupFile { backup, name: format!("tollgate-{moment}.tar") })
}
