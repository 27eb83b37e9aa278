//! The middleware around all routes: the Host check, security headers, and one log line per request.

use std::{rc::Rc, time::Instant};

use actix_http::ConnectionType;
use actix_web::{
    Error, HttpMessage, HttpRequest, HttpResponse, ResponseError,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header::{self, HeaderName, HeaderValue},
    middleware::Next,
};
use bytes::Bytes;
use tracing::info;
use url::Url;

use super::{
    operator::{CallerPrefix, gateway},
    origin,
};
use crate::{
    config::Config,
    http::{
        admin::error::{self, AdminError},
        connection::{Activity, Fault},
    },
};

const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

const HEADERS: [(HeaderName, &str); 3] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
];

const NO_STORE: &str = "no-store";

/// A year, the usual time.
const ALWAYS_HTTPS: &str = "max-age=31536000";

/// The middleware around all routes.
pub(in crate::http) async fn envelope(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    let is_site = gateway(request.request()).is_ok_and(|gateway| is_https_site(&gateway.core.config));
    let mut answer = match check(request.request()) {
        Ok(()) => next.call(request).await?.map_into_boxed_body(),
        Err(error) => request.into_response(error.error_response()),
    };
    if let Some(fault) = fault(&answer) {
        // The handler saw only that the body ended early. Respond with the fault that ended it.
        let mut refusal = AdminError::Malformed(fault).error_response();
        refusal.head_mut().set_connection_type(ConnectionType::Close);
        answer = answer.into_response(refusal);
    }
    add_headers(answer.response_mut(), is_site);
    let request = answer.request();
    if is_probe(request) {
        // Probes are frequent; they would flood the log.
        return Ok(answer);
    }
    info!(
        method = %request.method(),
        path = request.uri().path(),
        status = answer.status().as_u16(),
        operator = request.extensions().get::<CallerPrefix>().map(|prefix| prefix.0.as_str()),
        duration_ms = started.elapsed().as_millis() as u64,
        "admin request"
    );
    Ok(answer)
}

fn check(request: &HttpRequest) -> Result<(), AdminError> {
    if is_probe(request) {
        // Probes may use any host name, and their responses reveal nothing.
        return Ok(());
    }
    origin::check_host(request.headers(), gateway(request)?.core.config.admin_url.as_ref())
}

fn is_probe(request: &HttpRequest) -> bool {
    matches!(request.path(), "/healthz" | "/readyz")
}

/// The fault because of which a refused request could not be read completely.
fn fault(answer: &ServiceResponse) -> Option<Fault> {
    let connection = answer.request().conn_data::<Rc<Activity>>()?;
    connection.fault().filter(|_| answer.status().is_client_error())
}

/// The complete response to a request whose head is malformed.
pub(in crate::http) fn refuse(fault: Fault) -> Bytes {
    let mut headers = vec![(header::CACHE_CONTROL.as_str(), NO_STORE)];
    headers.extend(HEADERS.iter().map(|(name, value)| (name.as_str(), *value)));
    error::refuse(fault, &headers)
}

/// Whether this listener is the HTTPS site of its host. Browsers apply `Strict-Transport-Security` to every port of a
/// host. So it is sent only if `admin_url` has the default port and the inference listener does not need plain HTTP on
/// the same host: otherwise it could make other services of the host unreachable.
fn is_https_site(config: &Config) -> bool {
    let is_site = |url: &&Url| url.scheme() == "https" && url.port().is_none();
    let Some(site) = config.admin_url.as_ref().filter(is_site) else { return false };
    let is_elsewhere = |url: &Url| url.scheme() == "https" || url.host() != site.host();
    let is_harmless = config.tls.is_on() || config.public_url.as_ref().is_some_and(is_elsewhere);
    config.admin_tls.is_on() && is_harmless
}

fn add_headers(answer: &mut HttpResponse, is_https_site: bool) {
    let headers = answer.headers_mut();
    if is_https_site {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(ALWAYS_HTTPS));
    }
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Responses must not be cached, except the files of the web UI, which set their own header.
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(NO_STORE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_told_to_use_https_only_if_no_listener_of_the_host_needs_http() {
        let tls = |is_on: bool| {
            let files =
                if is_on { serde_json::json!({"cert": "a.pem", "key": "b.pem"}) } else { serde_json::json!({}) };
            serde_json::from_value(files).unwrap()
        };
        let url = |url: &str| (!url.is_empty()).then(|| url.parse().unwrap());
        for (admin_tls, inference_tls, admin_url, public_url, expected) in [
            (true, true, "https://box.example", "", true),
            (true, false, "https://box.example", "https://box.example:8443", true),
            (true, false, "https://box.example", "http://models.example", true),
            (true, false, "https://box.example", "http://box.example:8080", false),
            (true, false, "https://box.example", "", false),
            (true, true, "https://box.example:8443", "", false),
            (true, true, "", "", false),
            (false, true, "https://box.example", "", false),
        ] {
            let (admin_tls, tls) = (tls(admin_tls), tls(inference_tls));
            let config =
                Config { admin_tls, tls, admin_url: url(admin_url), public_url: url(public_url), ..Config::default() };
            assert_eq!(is_https_site(&config), expected, "{admin_url}, {public_url}, {inference_tls}");
        }
    }
}
