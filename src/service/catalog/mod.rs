//! The catalog: all configuration that operators have written, in memory, as one snapshot.
//!
//! * A change replaces the snapshot by one pointer swap, so readers see either all of it or none of it. The maps share
//!   structure with the previous snapshot, so a change copies a few nodes instead of the whole catalog. Changes within
//!   a group are swapped in its node (`node`), those of an endpoint's targets in its dispatcher (`model`).
//! * `apply` is the only way to change a catalog. New changes, rows loaded from the store and replayed records all use
//!   it. It does not validate rows: the rules were checked before the record was written.
//! * Lookups that a request needs are precomputed: a key points to its group's node, a slug to its compiled targets.

mod find;
mod model;
mod node;

use std::{
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use imbl::{HashMap, OrdMap, OrdSet};

pub use self::{
    model::Model,
    node::{GroupNode, Tree},
};
use crate::{
    crypto::{hash::Fingerprint, seal::Sealer, secret::Secret},
    domain::{
        endpoint::Endpoint,
        group::Group,
        id::{EndpointId, GroupId, SecretId, SlugId, WebhookId},
        key::{ApiKey, OperatorKey, PublicKey, StoredSecret},
        ledger::Moment,
        record::Row,
        webhook::Webhook,
    },
    service::{clock::Clock, dispatch::Dispatcher},
};

/// A customer's key and its group.
pub struct KeyEntry {
    /// The key as stored.
    pub key: ApiKey,
    /// The group that the key belongs to.
    pub group: Arc<GroupNode>,
    /// The time of the key's last event, shared by all versions of the entry.
    pub last_used_ms: Arc<LastUsed>,
}

/// The time when something was last used: Unix ms, 0 for never.
#[derive(Default)]
pub struct LastUsed(AtomicU64);

impl LastUsed {
    /// Records a use at `at_ms`. Earlier times than the stored one are ignored.
    pub fn touch(&self, at_ms: u64) {
        self.0.fetch_max(at_ms, Ordering::Relaxed);
    }

    /// The time of the last use in Unix ms; `None` for never.
    pub fn get(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&at_ms| at_ms > 0)
    }
}

/// An operator key.
pub struct OperatorEntry {
    /// The key as stored.
    pub key: OperatorKey,
    /// The time of the key's last request, shared by all versions of the entry.
    pub last_used_ms: Arc<LastUsed>,
}

/// One snapshot of all configuration that operators have written.
#[derive(Clone)]
pub struct Catalog {
    sealer: Arc<Sealer>,
    clock: Arc<Clock>,
    next_slug: u64,
    slug_names: HashMap<SlugId, Arc<str>>,
    slug_ids: HashMap<Arc<str>, SlugId>,
    models: HashMap<Arc<str>, Arc<Model>>,
    endpoints: OrdMap<EndpointId, Arc<Endpoint>>,
    dispatchers: OrdMap<EndpointId, Arc<Dispatcher>>,
    groups: OrdMap<GroupId, Arc<GroupNode>>,
    groups_by_entity: OrdMap<Arc<str>, GroupId>,
    /// Pairs of parent and child.
    children: OrdSet<(GroupId, GroupId)>,
    keys: HashMap<Fingerprint, Arc<KeyEntry>>,
    keys_by_prefix: HashMap<Arc<str>, Arc<KeyEntry>>,
    /// The keys by group and prefix.
    keys_of: OrdMap<(GroupId, Arc<str>), Arc<KeyEntry>>,
    operators: OrdMap<String, Arc<OperatorEntry>>,
    operators_by_hash: HashMap<Fingerprint, Arc<OperatorEntry>>,
    secrets: OrdMap<SecretId, Arc<StoredSecret>>,
    webhooks: OrdMap<WebhookId, Arc<Webhook>>,
    signing_key: Option<PublicKey>,
}

impl Catalog {
    /// An empty catalog.
    pub fn new(sealer: Arc<Sealer>, clock: Arc<Clock>) -> Self {
        Self {
            sealer,
            clock,
            next_slug: 1,
            slug_names: HashMap::new(),
            slug_ids: HashMap::new(),
            models: HashMap::new(),
            endpoints: OrdMap::new(),
            dispatchers: OrdMap::new(),
            groups: OrdMap::new(),
            groups_by_entity: OrdMap::new(),
            children: OrdSet::new(),
            keys: HashMap::new(),
            keys_by_prefix: HashMap::new(),
            keys_of: OrdMap::new(),
            operators: OrdMap::new(),
            operators_by_hash: HashMap::new(),
            secrets: OrdMap::new(),
            webhooks: OrdMap::new(),
            signing_key: None,
        }
    }

    /// Applies one row.
    pub fn apply(&mut self, row: Row, moment: Moment) {
        match row {
            Row::Slug(id, name) => self.name_slug(id, name.into()),
            Row::SlugGone(id) => {
                self.next_slug = self.next_slug.max(id.0.saturating_add(1));
                if let Some(name) = self.slug_names.remove(&id) {
                    self.slug_ids.remove(&name);
                }
            }
            Row::Endpoint(endpoint) => self.put_endpoint(endpoint),
            Row::EndpointGone(id) => {
                self.dispatchers.remove(&id);
                if let Some(name) = self.endpoints.remove(&id).and_then(|gone| self.slug_names.get(&gone.slug)) {
                    self.models.remove(name);
                }
            }
            Row::Group(group) => self.put_group(group),
            Row::GroupGone(id) => self.remove_group(id, moment),
            Row::ApiKey(key) => self.put_key(key),
            Row::ApiKeyGone(prefix) => self.remove_key(&prefix),
            Row::Operator(key) => {
                let known = self.operators.get(&key.prefix).map(|entry| entry.last_used_ms.clone());
                let entry = Arc::new(OperatorEntry { last_used_ms: known.unwrap_or_default(), key });
                self.operators_by_hash.insert(Fingerprint::from_stored(entry.key.hash), entry.clone());
                self.operators.insert(entry.key.prefix.clone(), entry);
            }
            Row::OperatorGone(prefix) => {
                if let Some(entry) = self.operators.remove(&prefix) {
                    self.operators_by_hash.remove(&Fingerprint::from_stored(entry.key.hash));
                }
            }
            Row::Secret(secret) => {
                let id = secret.id;
                self.secrets.insert(id, Arc::new(secret));
                let users: Vec<_> = self.endpoints_using(id).cloned().collect();
                users.iter().for_each(|endpoint| self.compile(endpoint));
            }
            Row::SecretGone(id) => {
                self.secrets.remove(&id);
            }
            Row::Webhook(webhook) => drop(self.webhooks.insert(webhook.id, Arc::new(webhook))),
            Row::WebhookGone(id) => drop(self.webhooks.remove(&id)),
            // Dead letters are in the store, not in the catalog.
            Row::Redeliver(..) => {}
            Row::SigningKey(key) => self.signing_key = key,
        }
    }

    /// The current version of the row that `row` is about to replace or remove.
    pub fn before(&self, row: &Row) -> Option<Row> {
        let endpoint = |id| self.endpoints.get(id).map(|endpoint| Row::Endpoint(Endpoint::clone(endpoint)));
        let group = |id| self.groups.get(id).map(|node| Row::Group(Group::clone(&node.group())));
        let key = |prefix: &str| self.keys_by_prefix.get(prefix).map(|entry| Row::ApiKey(entry.key.clone()));
        let operator = |prefix: &String| self.operators.get(prefix).map(|entry| Row::Operator(entry.key.clone()));
        let secret = |id| self.secrets.get(id).map(|secret| Row::Secret(StoredSecret::clone(secret)));
        let webhook = |id| self.webhooks.get(id).map(|webhook| Row::Webhook(Webhook::clone(webhook)));
        match row {
            Row::Slug(id, _) | Row::SlugGone(id) => {
                self.slug_names.get(id).map(|name| Row::Slug(*id, name.to_string()))
            }
            Row::Endpoint(Endpoint { id, .. }) | Row::EndpointGone(id) => endpoint(id),
            Row::Group(Group { id, .. }) | Row::GroupGone(id) => group(id),
            Row::ApiKey(ApiKey { prefix, .. }) | Row::ApiKeyGone(prefix) => key(prefix),
            Row::Operator(OperatorKey { prefix, .. }) | Row::OperatorGone(prefix) => operator(prefix),
            Row::Secret(StoredSecret { id, .. }) | Row::SecretGone(id) => secret(id),
            Row::Webhook(Webhook { id, .. }) | Row::WebhookGone(id) => webhook(id),
            Row::Redeliver(..) => None,
            Row::SigningKey(_) => self.signing_key.map(|key| Row::SigningKey(Some(key))),
        }
    }

    fn name_slug(&mut self, id: SlugId, name: Arc<str>) {
        self.next_slug = self.next_slug.max(id.0.saturating_add(1));
        let before = self.slug_names.insert(id, name.clone());
        if let Some(before) = before.filter(|before| *before != name) {
            self.slug_ids.remove(&before);
            self.models.remove(&before);
        }
        self.slug_ids.insert(name, id);
        let renamed = self.endpoint_of(id).cloned();
        if let Some(endpoint) = renamed {
            self.compile(&endpoint);
        }
    }

    fn put_endpoint(&mut self, endpoint: Endpoint) {
        let endpoint = Arc::new(endpoint);
        self.compile(&endpoint);
        self.endpoints.insert(endpoint.id, endpoint);
    }

    /// Makes the model of an endpoint under its slug's name, and gives the compiled targets to the endpoint's
    /// dispatcher. Called again after its slug, targets or secrets have changed.
    fn compile(&mut self, endpoint: &Arc<Endpoint>) {
        let Some(slug) = self.slug_names.get(&endpoint.slug).cloned() else { return };
        let known = self.dispatchers.get(&endpoint.id).cloned();
        let before = known.as_ref().map(|dispatcher| dispatcher.plan());
        let plan = model::plan(&slug, endpoint, |id| self.open_secret(id), before.as_deref());
        let dispatcher = match known {
            Some(dispatcher) => {
                dispatcher.replace(plan);
                dispatcher
            }
            None => Arc::new(Dispatcher::new(self.clock.clone(), plan)),
        };
        self.dispatchers.insert(endpoint.id, dispatcher.clone());
        self.models.insert(slug.clone(), Arc::new(Model::new(slug, endpoint, dispatcher)));
    }

    fn put_group(&mut self, group: Group) {
        if let Some(node) = self.groups.get(&group.id) {
            node.replace(group);
            return;
        }
        let parent = group.parent.and_then(|parent| self.groups.get(&parent).cloned());
        if let Some(parent) = &parent {
            self.children.insert((parent.id, group.id));
        }
        self.groups_by_entity.insert(group.external_entity_id.as_str().into(), group.id);
        self.groups.insert(group.id, Arc::new(GroupNode::new(group, parent)));
    }

    fn remove_group(&mut self, id: GroupId, moment: Moment) {
        let Some(node) = self.groups.remove(&id) else { return };
        self.groups_by_entity.remove(node.group().external_entity_id.as_str());
        if let Some(parent) = &node.parent {
            self.children.remove(&(parent.id, id));
        }
        let keys: Vec<_> = self.keys_of(id, None).map(|entry| entry.key.prefix.clone()).collect();
        keys.iter().for_each(|prefix| self.remove_key(prefix));
        node.tree.ledger.lock().remove_group(moment, id);
    }

    fn put_key(&mut self, key: ApiKey) {
        let Some(group) = self.groups.get(&key.group).cloned() else { return };
        let prefix: Arc<str> = key.prefix.as_str().into();
        let known = self.keys_by_prefix.get(&prefix).map(|entry| entry.last_used_ms.clone());
        let entry = Arc::new(KeyEntry { group, last_used_ms: known.unwrap_or_default(), key });
        self.keys_of.insert((entry.group.id, prefix.clone()), entry.clone());
        self.keys.insert(Fingerprint::from_stored(entry.key.hash), entry.clone());
        self.keys_by_prefix.insert(prefix, entry);
    }

    fn remove_key(&mut self, prefix: &str) {
        let Some((prefix, entry)) = self.keys_by_prefix.remove_with_key(prefix) else { return };
        self.keys.remove(&Fingerprint::from_stored(entry.key.hash));
        self.keys_of.remove(&(entry.group.id, prefix));
    }

    /// The customer's key with this fingerprint.
    pub fn key(&self, fingerprint: &Fingerprint) -> Option<&Arc<KeyEntry>> {
        self.keys.get(fingerprint)
    }

    /// The customer's key with this prefix.
    pub fn key_by_prefix(&self, prefix: &str) -> Option<&Arc<KeyEntry>> {
        self.keys_by_prefix.get(prefix)
    }

    /// A group's keys with a prefix greater than `after`, in order of prefix.
    pub fn keys_of(&self, group: GroupId, after: Option<&str>) -> impl Iterator<Item = &Arc<KeyEntry>> {
        let first = match after {
            Some(after) => Bound::Excluded((group, Arc::from(after))),
            None => Bound::Included((group, Arc::from(""))),
        };
        let beyond = self.keys_of.range((first, Bound::Unbounded)).take_while(move |((of, _), _)| *of == group);
        beyond.map(|(_, entry)| entry)
    }

    /// All customers' keys, in order of group and prefix.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<KeyEntry>> {
        self.keys_of.values()
    }

    /// The operator key with this fingerprint.
    pub fn operator(&self, fingerprint: &Fingerprint) -> Option<&Arc<OperatorEntry>> {
        self.operators_by_hash.get(fingerprint)
    }

    /// The stored operator keys, by prefix.
    pub fn operators(&self) -> &OrdMap<String, Arc<OperatorEntry>> {
        &self.operators
    }

    /// The prefix of each operator key that has been used, with the time of its last use in Unix ms.
    pub fn operators_used(&self) -> Vec<(String, u64)> {
        let used = |entry: &Arc<OperatorEntry>| Some((entry.key.prefix.clone(), entry.last_used_ms.get()?));
        self.operators.values().filter_map(used).collect()
    }

    /// The model that can be called under a slug.
    pub fn model(&self, slug: &str) -> Option<&Arc<Model>> {
        self.models.get(slug)
    }

    /// The model of a slug's id, under the slug's current name.
    pub fn model_of(&self, id: SlugId) -> Option<&Arc<Model>> {
        self.slug_names.get(&id).and_then(|name| self.models.get(name))
    }

    /// All models that can be called.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.values()
    }

    /// The id of a slug, to which its counters belong. The slug may no longer have an endpoint.
    pub fn slug_id(&self, slug: &str) -> Option<SlugId> {
        self.slug_ids.get(slug).copied()
    }

    /// The name of a slug, or an empty string if the id is unknown.
    pub fn slug_name(&self, id: SlugId) -> &str {
        self.slug_names.get(&id).map_or("", |name| name)
    }

    /// The id for the next new slug.
    pub fn next_slug_id(&self) -> SlugId {
        SlugId(self.next_slug)
    }

    /// The endpoints, by id.
    pub fn endpoints(&self) -> &OrdMap<EndpointId, Arc<Endpoint>> {
        &self.endpoints
    }

    /// The endpoint of a slug.
    pub fn endpoint_of(&self, slug: SlugId) -> Option<&Arc<Endpoint>> {
        self.endpoints.values().find(|endpoint| endpoint.slug == slug)
    }

    /// The endpoints with a target that uses this secret.
    pub fn endpoints_using(&self, secret: SecretId) -> impl Iterator<Item = &Arc<Endpoint>> {
        let uses = move |endpoint: &Endpoint| endpoint.targets.iter().any(|target| target.secret == Some(secret));
        self.endpoints.values().filter(move |endpoint| uses(endpoint))
    }

    /// The groups, by id. Ids ascend in order of creation, unless the clock was set back.
    pub fn groups(&self) -> &OrdMap<GroupId, Arc<GroupNode>> {
        &self.groups
    }

    /// The group with this external entity id.
    pub fn group_by_entity(&self, external_entity_id: &str) -> Option<&Arc<GroupNode>> {
        self.groups_by_entity.get(external_entity_id).and_then(|id| self.groups.get(id))
    }

    /// A group and all its descendants, the group itself first.
    pub fn subtree(&self, root: GroupId) -> Vec<Arc<GroupNode>> {
        let mut nodes: Vec<_> = self.groups.get(&root).cloned().into_iter().collect();
        let mut seen = 0;
        while let Some(id) = nodes.get(seen).map(|node| node.id) {
            nodes.extend(self.children(id, None).filter_map(|child| self.groups.get(child).cloned()));
            seen += 1;
        }
        nodes
    }

    /// The ids of a group's children that are greater than `after`.
    pub fn children(&self, id: GroupId, after: Option<GroupId>) -> impl Iterator<Item = &GroupId> {
        let first = after.map_or(Bound::Included((id, GroupId(0))), |after| Bound::Excluded((id, after)));
        let beyond = self.children.range((first, Bound::Unbounded)).take_while(move |(parent, _)| *parent == id);
        beyond.map(|(_, child)| child)
    }

    /// The value of a credential; `None` if it does not exist or cannot be opened with this installation's key.
    pub fn open_secret(&self, id: SecretId) -> Option<Secret> {
        self.secrets.get(&id).and_then(|stored| self.sealer.open(id.0, &stored.sealed).ok())
    }

    /// The credentials, by id.
    pub fn secrets(&self) -> &OrdMap<SecretId, Arc<StoredSecret>> {
        &self.secrets
    }

    /// The webhooks, by id.
    pub fn webhooks(&self) -> &OrdMap<WebhookId, Arc<Webhook>> {
        &self.webhooks
    }

    /// The public key that verifies signed registrations of customers' keys.
    pub fn signing_key(&self) -> Option<PublicKey> {
        self.signing_key
    }

    /// The credential with this name.
    pub fn secret_by_name(&self, name: &str) -> Option<&Arc<StoredSecret>> {
        self.secrets.values().find(|secret| secret.name == name)
    }
}
