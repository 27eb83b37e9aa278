//! `/v1/session`: exchanges an operator key for a session cookie, so that a browser does not have to keep the key.

use actix_web::{
    CustomizeResponder, HttpRequest, Responder,
    cookie::{Cookie, SameSite, time::Duration},
    http::header::{ORIGIN, SET_COOKIE},
    web::{Data, Json},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    config::Config,
    http::admin::{
        api::{
            body::Body,
            field::{KeyText, OperatorTypeWord, Timestamp},
            operator::{AnyOperator, Anyone, Operator, SESSION_COOKIE, with_key},
            origin::{self, is_json},
        },
        error::AdminError,
    },
    service::{Gateway, access::auth::SESSION, error::Error},
};

/// A request for a session.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct NewSession {
    /// An operator key.
    key: KeyText,
}

/// A new session.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct Session {
    prefix: String,
    #[serde(rename = "type")]
    operator_type: OperatorTypeWord,
    expires_at: Timestamp,
}

/// The session of a request's cookie.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct CurrentSession {
    /// The session; null without a valid session cookie.
    session: Option<SessionView>,
    /// Facts about the gateway. Absent without a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<GatewayView>,
}

/// A valid session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CurrentSessionDetails")]
struct SessionView {
    /// The prefix of the operator key.
    prefix: String,
    /// The name of the operator key.
    name: Option<String>,
    #[serde(rename = "type")]
    operator_type: OperatorTypeWord,
    expires_at: Timestamp,
}

/// The facts about the gateway that the web UI needs first.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CurrentSessionGateway")]
struct GatewayView {
    version: &'static str,
    /// The address that customers call, without `/v1`.
    inference_url: String,
}

/// A session that has ended.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct EndedSession {
    ok: bool,
}

type WithCookie<T> = CustomizeResponder<Json<T>>;

/// Begins a session. A page of another site cannot sign a browser in: it cannot send JSON without a preflight, and its
/// Origin header is refused.
pub(in crate::http) async fn begin(
    _: Anyone,
    gateway: Data<Gateway>,
    request: HttpRequest,
    Body(body): Body<NewSession>,
) -> Result<WithCookie<Session>, AdminError> {
    if !is_json(&request) {
        return Err(Error::invalid("invalid_content_type", "Content-Type must be application/json").into());
    }
    if request.headers().contains_key(ORIGIN) {
        origin::check_origin(&request, &gateway.core.config)?;
    }
    let operator = with_key(&gateway, &request, body.key.0.expose().as_bytes())?;
    let session = gateway.access.begin_session(&operator)?;
    let answer = Session {
        prefix: operator.key.prefix.clone(),
        operator_type: OperatorTypeWord(operator.key.operator_type),
        expires_at: Timestamp(session.expires_at_ms),
    };
    let max_age = Duration::seconds(SESSION.as_secs().cast_signed());
    Ok(with_cookie(answer, cookie(&gateway.core.config, session.token.expose(), max_age)))
}

/// Reports whether the browser has a session, since a page cannot read its own HttpOnly cookie. Without a valid cookie,
/// the response has no other information.
pub(in crate::http) async fn current(_: Anyone, gateway: Data<Gateway>, request: HttpRequest) -> Json<CurrentSession> {
    let session = request.cookie(SESSION_COOKIE).and_then(|cookie| gateway.access.session(cookie.value()));
    let version = env!("CARGO_PKG_VERSION");
    let about = session.is_some().then(|| GatewayView { version, inference_url: gateway.core.inference_url() });
    let session = session.map(|session| SessionView {
        prefix: session.operator.key.prefix.clone(),
        name: session.operator.key.name.clone(),
        operator_type: OperatorTypeWord(session.operator.key.operator_type),
        expires_at: Timestamp(session.expires_at_ms),
    });
    Json(CurrentSession { session, gateway: about })
}

pub(in crate::http) async fn end(
    _: Operator<AnyOperator>,
    gateway: Data<Gateway>,
    request: HttpRequest,
) -> WithCookie<EndedSession> {
    if let Some(cookie) = request.cookie(SESSION_COOKIE) {
        gateway.access.end_session(cookie.value());
    }
    with_cookie(EndedSession { ok: true }, cookie(&gateway.core.config, "", Duration::ZERO))
}

fn with_cookie<T: Serialize>(answer: T, cookie: Cookie<'_>) -> WithCookie<T> {
    Json(answer).customize().insert_header((SET_COOKIE, cookie.to_string()))
}

fn cookie<'a>(config: &Config, token: &'a str, max_age: Duration) -> Cookie<'a> {
    Cookie::build(SESSION_COOKIE, token)
        .path("/")
        .max_age(max_age)
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(config.is_admin_https())
        .finish()
}
