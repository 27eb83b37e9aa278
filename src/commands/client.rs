//! A client of the admin API. It follows no redirect and uses no proxy, so the operator key goes to the gateway only.

use std::{sync::Arc, time::Duration};

use rustls::crypto::ring;
use serde_json::{Map, Value};
use ureq::{
    Agent,
    http::{Method, Request, Response, StatusCode, header},
    tls::{Certificate, RootCerts, TlsConfig},
};

use super::failed::Failed;
use crate::crypto::secret::Secret;

/// The longest time for a request. Changes wait for the gateway's disk.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The largest answer, in bytes. A page of a thousand groups may have a thousand models each.
const MAX_ANSWER: u64 = 1 << 30;

/// The number of items of a page.
const PAGE: usize = 1000;

/// A client of the admin API.
pub(super) struct Client {
    agent: Agent,
    url: String,
    authorization: Secret,
}

/// The certificates that an agent accepts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// Those that the machine's root certificates, or those of `SSL_CERT_FILE`, vouch for.
    Roots,
    /// Every one. Only for requests that send and learn no secret.
    Any,
}

/// Makes an agent for a URL.
pub(super) fn agent(url: &str, trust: Trust, timeout: Duration) -> Agent {
    let has_roots = trust == Trust::Roots && url.starts_with("https:");
    let roots = if has_roots { rustls_native_certs::load_native_certs().certs } else { Vec::new() };
    let roots = roots.iter().map(|root| Certificate::from_der(root).to_owned());
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots.collect())))
        .disable_verification(trust == Trust::Any)
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_global(Some(timeout))
        .timeout_connect(Some(timeout.min(Duration::from_secs(10))))
        .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")))
        .build();
    config.new_agent()
}

impl Client {
    /// A client for the gateway at `url`, with the operator key from `TOLLGATE_ADMIN_KEY`.
    pub(super) fn new(url: &str, key: Option<Secret>) -> Result<Self, Failed> {
        let key = key.filter(|key| !key.expose().is_empty()).ok_or_else(|| {
            Failed("TOLLGATE_ADMIN_KEY: is not set; it must be an operator key of type WORKSPACE_MANAGE_ALL".to_owned())
        })?;
        let parsed = url::Url::parse(url).ok().filter(|parsed| {
            matches!(parsed.scheme(), "http" | "https") && parsed.username().is_empty() && parsed.password().is_none()
        });
        if parsed.is_none() {
            return Err(Failed(
                "--admin-url: must be a URL such as http://127.0.0.1:8081, without a key in it".to_owned(),
            ));
        }
        if !key.expose().bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Failed("TOLLGATE_ADMIN_KEY: must be visible ASCII characters".to_owned()));
        }
        let authorization = Secret::new(format!("Bearer {}", key.expose()));
        Ok(Self { agent: agent(url, Trust::Roots, TIMEOUT), url: url.trim_end_matches('/').to_owned(), authorization })
    }

    /// Reads an object.
    pub(super) fn get(&self, path: &str) -> Result<Value, Failed> {
        self.request(Method::GET, path, None)
    }

    /// Reads all items of a list.
    pub(super) fn list(&self, path: &str, mut each: impl FnMut(Value) -> Result<(), Failed>) -> Result<(), Failed> {
        let mut cursor = String::new();
        loop {
            let mut page = self.get(&format!("{path}?limit={PAGE}{cursor}"))?;
            let items = page["items"].take();
            let Value::Array(items) = items else { return Err(self.strange("a page has no items")) };
            items.into_iter().try_for_each(&mut each)?;
            match page["pagination"]["cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(()),
            }
        }
    }

    /// Creates something and returns it.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, Failed> {
        self.request(Method::POST, path, Some(body))
    }

    /// Changes something and returns it.
    pub(super) fn patch(&self, path: &str, fields: Map<String, Value>) -> Result<Value, Failed> {
        self.request(Method::PATCH, path, Some(&Value::Object(fields)))
    }

    /// Deletes something.
    pub(super) fn delete(&self, path: &str) -> Result<Value, Failed> {
        self.request(Method::DELETE, path, None)
    }

    fn request(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failed> {
        let url = format!("{}{path}", self.url);
        let request = Request::builder()
            .method(method)
            .uri(&url)
            .header(header::AUTHORIZATION, self.authorization.expose())
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.map(Value::to_string).unwrap_or_default())
            .map_err(|error| Failed(format!("{}: {error}", self.url)))?;
        let unreachable = |error: ureq::Error| Failed(format!("{}: {}", self.url, in_words(&error)));
        let mut answer = match body {
            Some(_) => self.agent.run(request),
            None => self.agent.run(request.map(|_| ())),
        }
        .map_err(unreachable)?;
        let text = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_string().map_err(unreachable)?;
        self.read(&answer, &text)
    }

    fn read(&self, answer: &Response<ureq::Body>, text: &str) -> Result<Value, Failed> {
        let json = serde_json::from_str::<Value>(text).ok();
        let why = json.as_ref().and_then(|json| json["error"].as_str());
        let url = &self.url;
        match (answer.status(), json.as_ref(), why) {
            (StatusCode::OK, Some(_), None) => json.ok_or_else(|| self.strange("it is not JSON")),
            (StatusCode::UNAUTHORIZED, _, Some(_)) => {
                Err(Failed(format!("{url}: the gateway does not know the key in TOLLGATE_ADMIN_KEY (401)")))
            }
            (StatusCode::FORBIDDEN, _, Some(why)) => {
                Err(Failed(format!("{url}: the gateway refuses the request (403): {why}")))
            }
            (StatusCode::BAD_REQUEST, _, Some(why)) => Err(Failed(why.to_owned())),
            (status, _, Some(why)) => Err(Failed(format!("{why} ({})", status.as_u16()))),
            (status, ..) => {
                Err(self.strange(&format!("it answered with status {}, which is not the admin API's", status.as_u16())))
            }
        }
    }

    fn strange(&self, why: &str) -> Failed {
        Failed(format!("{}: this is not the admin API of Tollgate: {why}", self.url))
    }
}

/// The reason why a gateway cannot be reached.
pub(super) fn in_words(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            "the connection was refused; is the gateway running, and is this its address?".to_owned()
        }
        ureq::Error::HostNotFound => "there is no host of this name".to_owned(),
        ureq::Error::Timeout(_) => "there was no answer in time".to_owned(),
        other => other.to_string(),
    }
}
