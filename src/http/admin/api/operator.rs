//! The caller of a route, which is the first argument of every handler: `Operator<Scope>` for operators whose key has
//! the scope, `Anyone` for the few routes that need no key. A handler without either cannot be put into the table of
//! routes.

use std::{
    future::{Ready, ready},
    marker::PhantomData,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload, web::Data};

use super::{
    describe::{Caller, Describe, Operation, Schemas},
    field::OperatorTypeWord,
    origin,
};
use crate::{
    crypto::secret::Secret,
    domain::{
        key::OperatorType,
        record::{Actor, ActorKind},
    },
    http::{admin::error::AdminError, credential},
    service::{Gateway, access::auth::KeyOwner, catalog::OperatorEntry, error::Error},
};

/// The name of the session cookie.
pub(in crate::http) const SESSION_COOKIE: &str = "tollgate_session";

/// A set of permitted actions. Keys of type `WORKSPACE_MANAGE_ALL` have every scope.
pub(in crate::http) trait Scope: 'static {
    /// The other types of key that have this scope.
    const ALSO: &'static [OperatorType];

    /// Whether keys of this type have this scope.
    fn includes(held: OperatorType) -> bool {
        held == OperatorType::ManageAll || Self::ALSO.contains(&held)
    }

    /// All types of key that have this scope.
    fn types() -> Vec<&'static str> {
        Self::ALSO.iter().chain(&[OperatorType::ManageAll]).map(|one| OperatorTypeWord(*one).word()).collect()
    }
}

macro_rules! scopes {
    ($($(#[$doc:meta])* $name:ident = [$($also:ident),*];)+) => {$(
        $(#[$doc])*
        pub(in crate::http) struct $name;

        impl Scope for $name {
            const ALSO: &'static [OperatorType] = &[$(OperatorType::$also),*];
        }
    )+};
}

scopes! {
    /// Everything that is not named below.
    ManageAll = [];
    /// Reading and finding groups; minting, registering, rotating, reading, changing and revoking customers' keys.
    ManageApiKeys = [ManageApiKeys];
    /// Reading events, reports and status.
    ExportMetrics = [ExportMetrics];
    /// Reading groups' usage and limits, and the specification: permitted for every operator.
    AnyOperator = [ManageApiKeys, ExportMetrics];
}

/// An operator whose key has the scope `S`.
pub(in crate::http) struct Operator<S> {
    caller: Authenticated,
    scope: PhantomData<S>,
}

impl<S: Scope> Operator<S> {
    /// Whether the operator's key also has the scope `T`.
    pub(in crate::http) fn has_scope<T: Scope>(&self) -> bool {
        T::includes(self.caller.operator.key.operator_type)
    }

    /// The operator as the actor of a recorded change.
    pub(in crate::http) fn actor(&self) -> Actor {
        let Authenticated { operator, credential } = &self.caller;
        let kind = match credential {
            Credential::Key => ActorKind::ApiKey,
            Credential::Session(_) => ActorKind::Session,
        };
        Actor { kind, api_key_prefix: operator.key.prefix.clone(), api_key_name: operator.key.name.clone() }
    }

    /// Whether the key or session of the request is still valid.
    pub(in crate::http) fn is_still_valid(&self, gateway: &Gateway) -> bool {
        match &self.caller.credential {
            Credential::Key => gateway.access.is_operator_valid(&self.caller.operator),
            Credential::Session(token) => gateway.access.is_session_valid(token.expose()),
        }
    }
}

impl<S: Scope> FromRequest for Operator<S> {
    type Error = AdminError;
    type Future = Ready<Result<Self, AdminError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(authenticate(request).and_then(|caller| {
            if S::includes(caller.operator.key.operator_type) {
                Ok(Self { caller, scope: PhantomData })
            } else {
                Err(AdminError::WrongType(S::types()))
            }
        }))
    }
}

/// Any caller, with or without a key.
pub(in crate::http) struct Anyone;

impl FromRequest for Anyone {
    type Error = AdminError;
    type Future = Ready<Result<Self, AdminError>>;

    fn from_request(_: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self))
    }
}

/// The prefix of the operator key of an authenticated request, also for a session. Absent if it is not authenticated.
pub(in crate::http) struct CallerPrefix(pub(in crate::http) String);

/// An authenticated operator.
struct Authenticated {
    operator: Arc<OperatorEntry>,
    credential: Credential,
}

/// The credential that authenticated an operator.
enum Credential {
    Key,
    /// A session, by its token.
    Session(Secret),
}

/// Authenticates a request by the key in the Authorization header, else by the session cookie. Other schemes in that
/// header are ignored: they may be meant for a proxy in front of this listener.
fn authenticate(request: &HttpRequest) -> Result<Authenticated, AdminError> {
    let gateway = gateway(request)?;
    let caller = match (credential::key(request.headers(), None), request.cookie(SESSION_COOKIE)) {
        (Some(key), _) => Authenticated { operator: with_key(gateway, request, key)?, credential: Credential::Key },
        (None, Some(cookie)) => {
            let operator = gateway.access.session(cookie.value()).ok_or(AdminError::NoKey)?.operator;
            origin::check_session_use(request, &gateway.core.config)?;
            Authenticated { operator, credential: Credential::Session(Secret::new(cookie.value().to_owned())) }
        }
        (None, None) => return Err(AdminError::NoKey),
    };
    request.extensions_mut().insert(CallerPrefix(caller.operator.key.prefix.clone()));
    Ok(caller)
}

/// The gateway that a request is for.
pub(in crate::http) fn gateway(request: &HttpRequest) -> Result<&Arc<Gateway>, AdminError> {
    let gateway = request.app_data::<Data<Gateway>>().map(|data| &**data);
    gateway.ok_or_else(|| Error::internal("the admin routes have no gateway").into())
}

/// The operator with this key. Wrong keys are counted per client address. If there are too many, only wrong keys get
/// the "too many" error, so nobody can lock an operator out.
pub(in crate::http) fn with_key(
    gateway: &Gateway,
    request: &HttpRequest,
    key: &[u8],
) -> Result<Arc<OperatorEntry>, AdminError> {
    let owner = std::str::from_utf8(key).map_or(KeyOwner::Unknown, |key| gateway.access.key_owner(key));
    match owner {
        KeyOwner::Operator(operator) => Ok(operator),
        KeyOwner::Customer => Err(AdminError::CustomerKey),
        KeyOwner::Unknown => {
            // The address of the socket: a header such as X-Forwarded-For can be forged.
            let address = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
            let may_guess = gateway.access.refused.allows_another(address, gateway.core.now_ms());
            Err(if may_guess { AdminError::WrongKey } else { AdminError::TooManyWrongKeys })
        }
    }
}

impl<S: Scope> Caller for Operator<S> {}

impl Caller for Anyone {}

impl<S: Scope> Describe for Operator<S> {
    fn describe(operation: &mut Operation, _: &mut Schemas) {
        operation.types = Some(S::types());
    }
}

impl Describe for Anyone {
    fn describe(_: &mut Operation, _: &mut Schemas) {}
}
