//! `/metrics`: all metrics as text, for Prometheus.

use actix_web::{
    HttpRequest, HttpResponse, Responder,
    body::BoxBody,
    http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, VARY},
    web::Data,
};
use flate2::Compression;
use schemars::json_schema;

use crate::{
    http::admin::{
        api::{
            describe::{Describe, Operation, Schemas},
            gzip::{accepts_gzip, gzip},
            operator::{ExportMetrics, Operator},
        },
        error::AdminError,
    },
    service::{
        Gateway,
        error::Error,
        metrics::{Format, scrape},
    },
};

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics as text.
pub(in crate::http) struct Exposition {
    format: Format,
    is_compressed: bool,
    content: Vec<u8>,
}

impl Responder for Exposition {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        let content_type = match self.format {
            Format::Prometheus => PROMETHEUS,
            Format::OpenMetrics => OPEN_METRICS,
        };
        let mut response = HttpResponse::Ok();
        response.insert_header((CONTENT_TYPE, content_type)).insert_header((VARY, "accept, accept-encoding"));
        if self.is_compressed {
            response.insert_header((CONTENT_ENCODING, "gzip"));
        }
        response.body(self.content)
    }
}

impl Describe for Exposition {
    fn describe(operation: &mut Operation, _: &mut Schemas) {
        let schema = |name| json_schema!({ "type": "string", "description": format!("The metrics as {name}.") });
        operation.answers.push(("text/plain", schema("Prometheus text 0.0.4")));
        operation.answers.push(("application/openmetrics-text", schema("OpenMetrics 1.0")));
    }
}

pub(in crate::http) async fn get(
    _: Operator<ExportMetrics>,
    request: HttpRequest,
    gateway: Data<Gateway>,
) -> Result<Exposition, AdminError> {
    let accepts = request.headers().get_all(ACCEPT).filter_map(|value| value.to_str().ok());
    let format = format(&accepts.collect::<Vec<_>>().join(","));
    let is_compressed = accepts_gzip(&request);
    // Thousands of series take some milliseconds, and others use this thread.
    let read = tokio::task::spawn_blocking(move || {
        let content = scrape(&gateway, format).into_bytes();
        if is_compressed { gzip(&content, Compression::fast()) } else { Ok(content) }
    });
    let content = read.await.map_err(Error::internal)?.map_err(Error::internal)?;
    Ok(Exposition { format, is_compressed, content })
}

/// The format that an `Accept` header prefers. Text, unless OpenMetrics of a known version is preferred to it.
fn format(accept: &str) -> Format {
    let (mut open_metrics, mut text, mut any) = (0.0, None, None);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let (mut quality, mut version) = (1.0, None);
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            match key.trim().to_ascii_lowercase().as_str() {
                "q" => quality = value.trim().parse().unwrap_or(0.0),
                "version" => version = Some(value.trim().trim_matches('"').to_owned()),
                _ => {}
            }
        }
        match name.as_str() {
            "application/openmetrics-text" if version.as_deref().is_none_or(is_known) => {
                open_metrics = f32::max(open_metrics, quality);
            }
            "text/plain" => text = Some(f32::max(text.unwrap_or(0.0), quality)),
            "text/*" | "*/*" => any = Some(f32::max(any.unwrap_or(0.0), quality)),
            _ => {}
        }
    }
    let text = text.or(any).unwrap_or(0.0);
    if open_metrics > 0.0 && open_metrics >= text { Format::OpenMetrics } else { Format::Prometheus }
}

/// Whether the form of OpenMetrics that this server writes is of this version too.
fn is_known(version: &str) -> bool {
    matches!(version, "1.0.0" | "0.0.1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_written_if_it_is_preferred_to_text() {
        const PROMETHEUS_SERVER: &str = "application/openmetrics-text;version=1.0.0,\
            application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for accept in [PROMETHEUS_SERVER, "application/openmetrics-text", "Application/OpenMetrics-Text; q=0.1"] {
            assert_eq!(format(accept), Format::OpenMetrics, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/plain",
            "text/html,*/*;q=0.8",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=x",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=0.2,text/plain;q=0.3",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
        ] {
            assert_eq!(format(accept), Format::Prometheus, "{accept}");
        }
    }
}
