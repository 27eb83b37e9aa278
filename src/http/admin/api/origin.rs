//! Protection against web pages of other sites, which can make an operator's browser send requests here, even under a
//! host name that they have pointed at this listener (DNS rebinding). So every request's Host header is checked, and
//! also the Origin header of requests that are authenticated only by a cookie.

use std::net::IpAddr;

use actix_web::{
    HttpRequest,
    http::{
        Method,
        header::{CONTENT_TYPE, HOST, HeaderMap, ORIGIN},
        uri::Authority,
    },
};
use url::Url;

use crate::{config::Config, http::admin::error::AdminError};

const CSRF_HEADER: &str = "x-tollgate-csrf";

/// Checks that the Host header is an IP address, `localhost` or the host of `admin_url`.
pub(in crate::http) fn check_host(headers: &HeaderMap, admin_url: Option<&Url>) -> Result<(), AdminError> {
    let authority = single(headers, HOST.as_str()).and_then(|host| host.parse::<Authority>().ok());
    let known = authority.is_some_and(|authority| {
        let host = authority.host();
        let is_address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        let is_ours = admin_url.and_then(Url::host_str).is_some_and(|ours| ours.eq_ignore_ascii_case(host));
        !authority.as_str().contains('@') && (is_address || is_ours || host.eq_ignore_ascii_case("localhost"))
    });
    if known { Ok(()) } else { Err(AdminError::ForeignHost) }
}

/// Checks that a request with a session cookie comes from Tollgate's own pages, unless it only reads (GET, HEAD).
pub(in crate::http) fn check_session_use(request: &HttpRequest, config: &Config) -> Result<(), AdminError> {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(());
    }
    if !is_json(request) {
        return Err(AdminError::ForeignOrigin("With a session cookie, Content-Type must be application/json."));
    }
    if single(request.headers(), CSRF_HEADER) != Some("1") {
        return Err(AdminError::ForeignOrigin("With a session cookie, the header X-Tollgate-CSRF must be 1."));
    }
    check_origin(request, config)
}

/// Checks that there is an Origin header and that it is the admin origin.
pub(in crate::http) fn check_origin(request: &HttpRequest, config: &Config) -> Result<(), AdminError> {
    let headers = request.headers();
    let scheme = if config.is_admin_https() { "https" } else { "http" };
    let expected = match &config.admin_url {
        Some(url) => Some(url.origin().ascii_serialization()),
        None => single(headers, HOST.as_str()).map(|host| format!("{scheme}://{host}")),
    };
    let origin = single(headers, ORIGIN.as_str());
    if expected.zip(origin).is_some_and(|(expected, origin)| expected.eq_ignore_ascii_case(origin)) {
        return Ok(());
    }
    Err(AdminError::ForeignOrigin("The Origin header must be the origin of this admin UI."))
}

/// The value of a header; `None` if it is missing or given more than once.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name);
    let value = values.next()?;
    values.next().is_none().then(|| value.to_str().ok()).flatten()
}

/// Whether the request's content type is JSON.
pub(in crate::http) fn is_json(request: &HttpRequest) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn only_hosts_of_this_listener_are_accepted() {
        let admin_url = Url::parse("https://Tollgate.example:8443/").unwrap();
        let passes = |host: &str| {
            let request = TestRequest::get().insert_header((HOST, host)).to_http_request();
            check_host(request.headers(), Some(&admin_url)).is_ok()
        };
        for host in [
            "127.0.0.1",
            "10.1.2.3:8081",
            "[::1]:8081",
            "[::1]",
            "LOCALHOST:1",
            "tollgate.example",
            "tollgate.example:8443",
        ] {
            assert!(passes(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "a@127.0.0.1",
            "x tollgate.example",
        ] {
            assert!(!passes(host), "{host}");
        }
        let twice = TestRequest::get().append_header((HOST, "localhost")).append_header((HOST, "evil.example"));
        assert!(check_host(twice.to_http_request().headers(), None).is_err());
        assert!(check_host(TestRequest::get().to_http_request().headers(), None).is_err());
    }

    #[test]
    fn a_session_can_make_changes_only_from_our_own_pages() {
        let good = [
            ("content-type", "application/json; charset=utf-8"),
            ("x-tollgate-csrf", "1"),
            ("origin", "http://localhost:8081"),
        ];
        let check_with = |method: Method, headers: &[(&str, &str)], config: &Config| {
            let request = TestRequest::default().method(method).insert_header((HOST, "localhost:8081"));
            let request = headers.iter().fold(request, |request, header| request.append_header(*header));
            check_session_use(&request.to_http_request(), config).is_ok()
        };
        let check = |method: Method, headers: &[(&str, &str)], admin_url: Option<&str>| {
            let admin_url = admin_url.map(|url| url.parse().unwrap());
            check_with(method, headers, &Config { admin_url, ..Config::default() })
        };
        assert!(check(Method::GET, &[], None) && check(Method::HEAD, &[], None));
        assert!(check(Method::POST, &good, None) && check(Method::DELETE, &good, None));
        for missing in 0..good.len() {
            let rest: Vec<_> =
                good.iter().enumerate().filter(|(at, _)| *at != missing).map(|(_, header)| *header).collect();
            assert!(!check(Method::POST, &rest, None), "without {:?}", good[missing]);
        }
        let twice = [good[0], good[1], good[2], ("origin", "http://evil.example")];
        assert!(!check(Method::POST, &twice, None));
        assert!(!check(Method::POST, &good, Some("https://tollgate.example")));
        let proxied = [good[0], good[1], ("origin", "https://tollgate.example")];
        assert!(check(Method::POST, &proxied, Some("https://tollgate.example/ui/")));
        assert!(!check(Method::POST, &proxied, None));
        let file = |name: &str| name.starts_with("TOLLGATE_ADMIN_TLS_").then(|| "a.pem".to_owned());
        let tls = Config::load(None, file, &[]).unwrap();
        let secure = [good[0], good[1], ("origin", "https://localhost:8081")];
        assert!(check_with(Method::POST, &secure, &tls) && !check_with(Method::POST, &good, &tls));
    }
}
