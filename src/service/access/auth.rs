//! Authentication: customers' keys, operators' keys and sessions of the web UI.
//!
//! A key is looked up by its fingerprint, so an existing key and an unknown key both cost one hash and one lookup. A
//! session stores its key's fingerprint and looks the key up on each use, so it ends with the key.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::Mutex;

use super::refused::RefusedKeys;
use crate::{
    crypto::{
        hash::{Fingerprint, KeyHasher},
        random,
        secret::Secret,
    },
    domain::{
        id::GroupId,
        key::{ApiKey, KeyHash, PLAYGROUND},
    },
    service::{
        catalog::{Catalog, KeyEntry, OperatorEntry},
        core::Core,
        error::Error,
    },
};

/// How long a session lasts.
pub const SESSION: Duration = Duration::from_secs(12 * 60 * 60);

/// The most sessions of one key. A further session ends the oldest one of the same key.
const MAX_SESSIONS: usize = 100;

/// The keys and sessions of callers.
pub struct Access {
    core: Arc<Core>,
    hasher: KeyHasher,
    env_operator: Option<Arc<OperatorEntry>>,
    sessions: Mutex<BTreeMap<u64, Session>>,
    /// The refused keys, by address.
    pub refused: RefusedKeys,
}

#[derive(Clone)]
struct Session {
    token: blake3::Hash,
    key: Fingerprint,
    expires_at_ms: u64,
}

/// A new session.
pub struct NewSession {
    /// The value of the cookie.
    pub token: Secret,
    /// The end of the session, in Unix ms.
    pub expires_at_ms: u64,
}

/// A valid session.
pub struct OpenSession {
    /// The operator key that the session belongs to.
    pub operator: Arc<OperatorEntry>,
    /// The end of the session, in Unix ms.
    pub expires_at_ms: u64,
}

/// The owner of a key.
pub enum KeyOwner {
    /// An operator.
    Operator(Arc<OperatorEntry>),
    /// A customer. Their keys are not accepted by the admin API.
    Customer,
    /// No one: the key is unknown.
    Unknown,
}

impl Access {
    pub(in crate::service) fn new(
        core: Arc<Core>,
        hasher: KeyHasher,
        env_operator: Option<Arc<OperatorEntry>>,
    ) -> Self {
        let (sessions, refused) = (Mutex::default(), RefusedKeys::default());
        Self { core, hasher, env_operator, sessions, refused }
    }

    /// The fingerprint of a key.
    pub(in crate::service) fn fingerprint(&self, key: &str) -> Fingerprint {
        self.hasher.fingerprint(key)
    }

    /// The entry of a customer's key, unless the key is unknown, disabled or expired.
    pub fn customer(&self, key: &str) -> Option<Arc<KeyEntry>> {
        self.customer_with(&self.fingerprint(key))
    }

    /// The current entry of the same key, if it is still valid.
    pub fn revalidate_customer(&self, entry: &KeyEntry) -> Option<Arc<KeyEntry>> {
        self.customer_with(&Fingerprint::from_stored(entry.key.hash))
    }

    fn customer_with(&self, fingerprint: &Fingerprint) -> Option<Arc<KeyEntry>> {
        let entry = self.core.catalog.load().key(fingerprint).cloned()?;
        let expired = entry.key.expires_at_ms.is_some_and(|at_ms| at_ms <= self.core.now_ms());
        (!entry.key.disabled && !expired).then_some(entry)
    }

    /// Whether this key exists, as a customer's or an operator's.
    pub(in crate::service) fn key_exists(&self, catalog: &Catalog, fingerprint: &Fingerprint) -> bool {
        let is_env_key = |entry: &Arc<OperatorEntry>| Fingerprint::from_stored(entry.key.hash) == *fingerprint;
        catalog.key(fingerprint).is_some()
            || catalog.operator(fingerprint).is_some()
            || self.env_operator.as_ref().is_some_and(is_env_key)
    }

    /// The owner of a key that was presented to the admin API.
    pub fn key_owner(&self, key: &str) -> KeyOwner {
        let fingerprint = self.fingerprint(key);
        match self.operator_with(&fingerprint) {
            Some(operator) => KeyOwner::Operator(operator),
            None if self.core.catalog.load().key(&fingerprint).is_some() => KeyOwner::Customer,
            None => KeyOwner::Unknown,
        }
    }

    fn operator_with(&self, fingerprint: &Fingerprint) -> Option<Arc<OperatorEntry>> {
        self.find_operator(fingerprint).inspect(|operator| operator.last_used_ms.touch(self.core.now_ms()))
    }

    fn find_operator(&self, fingerprint: &Fingerprint) -> Option<Arc<OperatorEntry>> {
        let of_environment = self.env_operator.as_ref();
        let of_environment = of_environment.filter(|entry| Fingerprint::from_stored(entry.key.hash) == *fingerprint);
        of_environment.cloned().or_else(|| self.core.catalog.load().operator(fingerprint).cloned())
    }

    /// Whether the operator's key is still valid. Does not count as a use of the key.
    pub fn is_operator_valid(&self, operator: &OperatorEntry) -> bool {
        self.find_operator(&Fingerprint::from_stored(operator.key.hash)).is_some()
    }

    /// The operator key in `TOLLGATE_ADMIN_KEY`.
    pub fn env_operator(&self) -> Option<&Arc<OperatorEntry>> {
        self.env_operator.as_ref()
    }

    /// Begins a session for an operator key.
    pub fn begin_session(&self, operator: &OperatorEntry) -> Result<NewSession, Error> {
        let mut token = [0; 32];
        random::fill(&mut token).map_err(Error::internal)?;
        let token = URL_SAFE_NO_PAD.encode(token);
        let now_ms = self.core.now_ms();
        let expires_at_ms = now_ms + SESSION.as_millis() as u64;
        let key = Fingerprint::from_stored(operator.key.hash);
        let mut sessions = self.sessions.lock();
        sessions.retain(|_, session| session.expires_at_ms > now_ms);
        let mut of_key = sessions.iter().filter(|(_, session)| session.key == key).map(|(at, _)| *at);
        if let Some(oldest) = of_key.next()
            && of_key.count() + 1 >= MAX_SESSIONS
        {
            sessions.remove(&oldest);
        }
        let next = sessions.last_key_value().map_or(0, |(last, _)| last + 1);
        sessions.insert(next, Session { token: blake3::hash(token.as_bytes()), key, expires_at_ms });
        Ok(NewSession { token: Secret::new(token), expires_at_ms })
    }

    /// The session with this token, if the session and its key are still valid.
    pub fn session(&self, token: &str) -> Option<OpenSession> {
        let Session { key, expires_at_ms, .. } = self.find_session(token)?;
        let operator = self.operator_with(&key)?;
        Some(OpenSession { operator, expires_at_ms })
    }

    /// Whether the session with this token and its key are still valid. Does not count as a use of them.
    pub fn is_session_valid(&self, token: &str) -> bool {
        self.find_session(token).is_some_and(|session| self.find_operator(&session.key).is_some())
    }

    fn find_session(&self, token: &str) -> Option<Session> {
        let token = blake3::hash(token.as_bytes());
        let sessions = self.sessions.lock();
        // Hashes are compared in constant time, and a hash reveals nothing about the token.
        let session = sessions.values().find(|session| session.token == token);
        session.filter(|session| session.expires_at_ms > self.core.now_ms()).cloned()
    }

    /// Ends a session.
    pub fn end_session(&self, token: &str) {
        let token = blake3::hash(token.as_bytes());
        self.sessions.lock().retain(|_, session| session.token != token);
    }

    /// A temporary key for one call that an operator makes in the group's name. It is never stored, and no client can
    /// present it.
    pub fn playground_key(&self, group: GroupId) -> Result<Arc<KeyEntry>, Error> {
        let group_node = self.core.catalog.load().find_group(group)?;
        let key = ApiKey {
            prefix: PLAYGROUND.to_owned(),
            name: None,
            group,
            hash: KeyHash([0; 32]),
            created_at_ms: self.core.now_ms(),
            expires_at_ms: None,
            disabled: false,
        };
        Ok(Arc::new(KeyEntry { group: group_node, key, last_used_ms: Arc::default() }))
    }
}
