//! Who asks, as the first argument of every handler: `Operator<Scope>` for those whose key's type may do it, `Anyone`
//! for the few routes that need no key. A handler without either does not fit the table of routes.

use std::{
    future::{Ready, ready},
    marker::PhantomData,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload, http::header::AUTHORIZATION, web::Data};

use super::{field::OperatorTypeWord, origin};
use crate::{
    crypto::secret::Secret,
    domain::{
        key::OperatorType,
        record::{Actor, ActorKind},
    },
    http::error::AdminError,
    service::{Gateway, auth::KeyOwner, catalog::OperatorEntry, error::Error},
};

/// The cookie that a session is kept in.
pub(super) const SESSION_COOKIE: &str = "tollgate_session";

/// What may be done by whom. `WORKSPACE_MANAGE_ALL` may do everything.
pub(super) trait Scope: 'static {
    /// The types of key that may do it besides.
    const ALSO: &'static [OperatorType];

    /// Whether a key of this type may do it.
    fn includes(held: OperatorType) -> bool {
        held == OperatorType::ManageAll || Self::ALSO.contains(&held)
    }

    /// Every type of key that may do it.
    fn types() -> Vec<&'static str> {
        Self::ALSO.iter().chain(&[OperatorType::ManageAll]).map(|one| OperatorTypeWord(*one).word()).collect()
    }
}

macro_rules! scopes {
    ($($(#[$doc:meta])* $name:ident = [$($also:ident),*];)+) => {$(
        $(#[$doc])*
        pub(super) struct $name;

        impl Scope for $name {
            const ALSO: &'static [OperatorType] = &[$(OperatorType::$also),*];
        }
    )+};
}

scopes! {
    /// Everything that is not named below.
    ManageAll = [];
    /// Reading and finding groups; minting, registering, reading, changing and revoking customers' keys.
    ManageApiKeys = [ManageApiKeys];
    /// Reading events, reports and status.
    ExportMetrics = [ExportMetrics];
    /// For every operator: groups' usage and limits, and the specification.
    AnyOperator = [ManageApiKeys, ExportMetrics];
}

/// An operator who may do what `S` says.
pub(super) struct Operator<S> {
    asking: Asking,
    scope: PhantomData<S>,
}

impl<S: Scope> Operator<S> {
    /// Whether he may also do what `T` says.
    pub(super) fn may<T: Scope>(&self) -> bool {
        T::includes(self.asking.operator.key.operator_type)
    }

    /// As changes are recorded under.
    pub(super) fn actor(&self) -> Actor {
        let Asking { operator, shown } = &self.asking;
        let kind = match shown {
            Shown::Key => ActorKind::ApiKey,
            Shown::Session(_) => ActorKind::Session,
        };
        Actor { kind, api_key_prefix: operator.key.prefix.clone(), api_key_name: operator.key.name.clone() }
    }

    /// Whether what was shown is still good.
    pub(super) fn is_still(&self, gateway: &Gateway) -> bool {
        match &self.asking.shown {
            Shown::Key => gateway.is_operator_still(&self.asking.operator),
            Shown::Session(token) => gateway.is_session_still(token.expose()),
        }
    }
}

impl<S: Scope> FromRequest for Operator<S> {
    type Error = AdminError;
    type Future = Ready<Result<Self, AdminError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(authenticate(request).and_then(|asking| {
            if S::includes(asking.operator.key.operator_type) {
                Ok(Self { asking, scope: PhantomData })
            } else {
                Err(AdminError::WrongType(S::types()))
            }
        }))
    }
}

/// Anyone at all.
pub(super) struct Anyone;

impl FromRequest for Anyone {
    type Error = AdminError;
    type Future = Ready<Result<Self, AdminError>>;

    fn from_request(_: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self))
    }
}

/// The prefix of the key that a request came with, for its log line.
pub(super) struct SeenPrefix(pub(super) String);

struct Asking {
    operator: Arc<OperatorEntry>,
    shown: Shown,
}

/// What shows who asks.
enum Shown {
    Key,
    /// Its token.
    Session(Secret),
}

/// A key in the Authorization header, else a session's cookie.
fn authenticate(request: &HttpRequest) -> Result<Asking, AdminError> {
    let gateway = gateway(request)?;
    let asking = match (key(request), request.cookie(SESSION_COOKIE)) {
        (Some(key), _) => Asking { operator: with_key(gateway, request, key)?, shown: Shown::Key },
        (None, Some(cookie)) => {
            let operator = gateway.session(cookie.value()).ok_or(AdminError::NoKey)?.operator;
            origin::check_session_use(request, gateway.config.admin_url.as_ref())?;
            Asking { operator, shown: Shown::Session(Secret::new(cookie.value().to_owned())) }
        }
        (None, None) => return Err(AdminError::NoKey),
    };
    request.extensions_mut().insert(SeenPrefix(asking.operator.key.prefix.clone()));
    Ok(asking)
}

/// The gateway that a request is for.
pub(super) fn gateway(request: &HttpRequest) -> Result<&Arc<Gateway>, AdminError> {
    let gateway = request.app_data::<Data<Gateway>>().map(|data| &**data);
    gateway.ok_or_else(|| Error::internal("the admin routes have no gateway").into())
}

/// `Authorization: Bearer KEY` or `Api-Key KEY`. Another scheme is for somebody else, such as a proxy in front of us.
fn key(request: &HttpRequest) -> Option<&[u8]> {
    let value = request.headers().get(AUTHORIZATION)?.as_bytes();
    let (scheme, key) = value.split_at(value.iter().position(|byte| *byte == b' ')?);
    let is_ours = scheme.eq_ignore_ascii_case(b"bearer") || scheme.eq_ignore_ascii_case(b"api-key");
    is_ours.then(|| key.trim_ascii())
}

/// The operator whose key this is. Wrong keys are counted by the address that they come from, and only they are refused
/// when there were too many: nobody can lock an operator out.
pub(super) fn with_key(gateway: &Gateway, request: &HttpRequest, key: &[u8]) -> Result<Arc<OperatorEntry>, AdminError> {
    let owner = std::str::from_utf8(key).map_or(KeyOwner::Nobody, |key| gateway.key_owner(key));
    match owner {
        KeyOwner::Operator(operator) => Ok(operator),
        KeyOwner::Customer => Err(AdminError::CustomerKey),
        KeyOwner::Nobody => {
            // The socket's address: whatever a header says of it, anybody can write.
            let address = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
            let may_guess = gateway.may_guess_again(address);
            Err(if may_guess { AdminError::WrongKey } else { AdminError::TooManyWrongKeys })
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_key_stands_behind_a_scheme_of_ours_in_any_case() {
        let found = |value: &str| {
            let request = TestRequest::get().insert_header((AUTHORIZATION, value)).to_http_request();
            key(&request).map(|key| String::from_utf8_lossy(key).into_owned())
        };
        for value in ["Bearer k", "bearer k", "API-KEY k", "Api-Key   k"] {
            assert_eq!(found(value).as_deref(), Some("k"), "{value}");
        }
        for value in ["Basic k", "Bearer", "k", ""] {
            assert_eq!(found(value), None, "{value}");
        }
    }
}
