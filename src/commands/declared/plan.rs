//! The plan: what differs, and the requests in an order in which each of them is valid.
//!
//! * Secrets come before the endpoints that use them, endpoints before the groups that carry their slugs, and parents
//!   before their children.
//! * Deletions come last: webhooks, groups (children before parents), endpoints, and secrets, which no endpoint uses by
//!   then. Only lowered thresholds of CASCADING trees come after them, since a group that is deleted may exceed them.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::{
    difference::{changed_fields, differences},
    file::{Declared, DeclaredGroup, Resource},
    groups::{Members, between},
    live::{Live, LiveResource},
    resource::Kind,
};
use crate::{commands::document::Wrong, crypto::secret::Secret, http::admin::normal};

/// How a plan is made.
pub(in crate::commands) struct Options<'a> {
    /// Whether to delete what the file does not name.
    pub(in crate::commands) prune: bool,
    /// Whether to write the values of secrets that exist.
    pub(in crate::commands) update_secrets: bool,
    /// Reads an environment variable.
    pub(in crate::commands) environment: &'a dyn Fn(&str) -> Option<String>,
}

/// A change, as a line for people.
pub(in crate::commands) struct Line {
    /// `+`, `~` or `-`.
    pub(super) sign: char,
    pub(super) kind: Kind,
    /// The name, slug, external id or URL.
    pub(super) key: String,
    /// The fields that change.
    pub(super) details: Vec<String>,
}

/// A request.
pub(super) struct Step {
    /// The index of its line. A line may have several requests.
    pub(super) line: usize,
    /// The line of the file, for errors; `None` for deletions.
    pub(super) at: Option<usize>,
    pub(super) request: Request,
}

pub(super) enum Request {
    PutSecret {
        value: Secret,
    },
    /// Creates something. `body` has the names of secrets, `parent` is the external id of a group's parent, and `then`
    /// has fields that can be set only afterwards.
    Create {
        body: Value,
        parent: Option<String>,
        then: Map<String, Value>,
    },
    Change {
        id: String,
        fields: Map<String, Value>,
    },
    Delete {
        id: String,
    },
}

/// The changes to make, in order.
#[derive(Default)]
pub(in crate::commands) struct Plan {
    pub(super) lines: Vec<Line>,
    pub(super) steps: Vec<Step>,
}

impl Line {
    /// The line without its details.
    pub(in crate::commands) fn head(&self) -> String {
        format!("{} {} {}", self.sign, self.kind.word(), self.key)
    }
}

impl Plan {
    /// The plan for people; empty if there is nothing to do.
    pub(in crate::commands) fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            text += &line.head();
            text.push('\n');
            line.details.iter().for_each(|detail| text += &format!("    {detail}\n"));
        }
        text
    }

    /// The numbers of creations, changes and deletions.
    pub(in crate::commands) fn counts(&self) -> [usize; 3] {
        ['+', '~', '-'].map(|sign| self.lines.iter().filter(|line| line.sign == sign).count())
    }

    /// The number of requests.
    pub(in crate::commands) fn requests(&self) -> u64 {
        self.steps.len() as u64
    }

    /// Whether it creates a webhook.
    pub(in crate::commands) fn creates_webhook(&self) -> bool {
        self.lines.iter().any(|line| line.sign == '+' && line.kind == Kind::Webhook)
    }

    fn line(&mut self, sign: char, kind: Kind, key: &str, details: Vec<String>) -> usize {
        self.lines.push(Line { sign, kind, key: key.to_owned(), details });
        self.lines.len() - 1
    }

    fn step(&mut self, line: usize, at: usize, request: Request) {
        self.steps.push(Step { line, at: Some(at), request });
    }

    fn delete(&mut self, kind: Kind, key: &str, id: &str) {
        let line = self.line('-', kind, key, Vec::new());
        self.steps.push(Step { line, at: None, request: Request::Delete { id: id.to_owned() } });
    }
}

/// Compares a file with the live state. The error is the first part of the file that cannot be done.
pub(in crate::commands) fn plan(declared: &Declared, live: &Live, options: &Options<'_>) -> Result<Plan, Wrong> {
    let mut plan = Plan::default();
    secrets(&mut plan, declared, live, options)?;
    for endpoint in &declared.endpoints {
        known_secrets(endpoint, declared, live)?;
        let found = live.endpoints.get(&endpoint.key);
        if let Some(found) = found.filter(|found| found.normal["region"] != endpoint.normal["region"]) {
            let is = found.normal["region"].as_str().unwrap_or_default();
            let why = format!("region: is {is} in the gateway, and the region of an endpoint cannot be changed");
            return Err(endpoint.place.wrong(&why));
        }
        resource(&mut plan, Kind::Endpoint, endpoint, found);
    }
    let members = Members::check(declared, live, options.prune)?;
    let lowered = groups(&mut plan, declared, live, options, &members)?;
    for webhook in &declared.webhooks {
        let found = live.webhooks.get(&webhook.key).map(Vec::as_slice).unwrap_or_default();
        if found.len() > 1 {
            let why = "url: the gateway has several webhooks with this URL; delete all but one of them first";
            return Err(webhook.place.wrong(why));
        }
        resource(&mut plan, Kind::Webhook, webhook, found.first());
    }
    if options.prune {
        prune(&mut plan, declared, live);
    }
    plan.steps.extend(lowered);
    Ok(plan)
}

fn secrets(plan: &mut Plan, declared: &Declared, live: &Live, options: &Options<'_>) -> Result<(), Wrong> {
    for secret in &declared.secrets {
        let exists = live.secrets.contains_key(&secret.name);
        if exists && !options.update_secrets {
            continue;
        }
        let variable = &secret.value_env;
        let value = (options.environment)(variable).filter(|value| !value.is_empty());
        let unset = || secret.place.wrong(&format!("value_env: the environment variable {variable} is not set"));
        let value = value.ok_or_else(unset)?;
        let body = json!({ "name": secret.name, "value": value });
        normal::check_secret(&body).map_err(|why| {
            let why = why.strip_prefix("value: ").unwrap_or(&why);
            secret.place.wrong(&format!("value_env: the value of {variable} {why}"))
        })?;
        let sign = if exists { '~' } else { '+' };
        let line = plan.line(sign, Kind::Secret, &secret.name, vec![format!("value: from {variable}")]);
        plan.step(line, secret.place.line(), Request::PutSecret { value: Secret::new(value) });
    }
    Ok(())
}

/// The secrets of an endpoint's targets.
fn secrets_of(normal: &Value) -> impl Iterator<Item = (usize, &str)> {
    let targets = normal["targets"].as_array().into_iter().flatten().enumerate();
    targets.filter_map(|(index, target)| Some((index, target["secret"].as_str()?)))
}

fn known_secrets(endpoint: &Resource, declared: &Declared, live: &Live) -> Result<(), Wrong> {
    for (index, name) in secrets_of(&endpoint.normal) {
        let is_declared = declared.secrets.iter().any(|secret| secret.name == name);
        if !is_declared && !live.secrets.contains_key(name) {
            let why = format!("targets[{index}].secret: {name:?} is neither in `secrets` nor in the gateway");
            return Err(endpoint.place.wrong(&why));
        }
    }
    Ok(())
}

/// Plans an endpoint or webhook.
fn resource(plan: &mut Plan, kind: Kind, wanted: &Resource, live: Option<&LiveResource>) {
    let at = wanted.place.line();
    let Some(live) = live else {
        let line = plan.line('+', kind, &wanted.key, Vec::new());
        let request = Request::Create { body: wanted.body.clone(), parent: None, then: Map::new() };
        return plan.step(line, at, request);
    };
    if live.normal != wanted.normal {
        let line = plan.line('~', kind, &wanted.key, differences(&live.normal, &wanted.normal));
        let fields = changed_fields(&live.normal, &wanted.normal, &wanted.body);
        plan.step(line, at, Request::Change { id: live.id.clone(), fields });
    }
}

/// Plans the groups. Returns the steps that lower thresholds in CASCADING trees, children before parents.
fn groups(
    plan: &mut Plan,
    declared: &Declared,
    live: &Live,
    options: &Options<'_>,
    members: &Members<'_>,
) -> Result<Vec<Step>, Wrong> {
    let mut slugs: HashSet<&str> = declared.endpoints.iter().map(|endpoint| endpoint.key.as_str()).collect();
    if !options.prune {
        slugs.extend(live.endpoints.keys().map(String::as_str));
    }
    let some_slug = slugs.iter().min().copied();
    let parents = members.cascading_parents(live);
    let mut lowered = Vec::new();
    for wanted in members.by_level(declared) {
        let DeclaredGroup { key, group, body, place } = wanted;
        let live = live.groups.get(key);
        for (index, model) in group.models.iter().enumerate() {
            let is_carried = live.is_some_and(|live| live.group.models.iter().any(|one| one.slug == model.slug));
            if !slugs.contains(&*model.slug) && !is_carried {
                let place_in_body = index_of(body, &model.slug).unwrap_or(index);
                let why = format!("models[{place_in_body}].slug: no endpoint has the slug {:?}", &*model.slug);
                return Err(place.wrong(&why));
            }
        }
        let Some(live) = live else {
            let (body, then) = creation(wanted, some_slug)?;
            let line =
                plan.line('+', Kind::Group, key, group.parent.iter().map(|of| format!("parent: {of}")).collect());
            plan.step(line, place.line(), Request::Create { body, parent: group.parent.clone(), then });
            continue;
        };
        let (old, new) = (&live.group.normal, &group.normal);
        if old == new {
            continue;
        }
        let line = plan.line('~', Kind::Group, key, differences(old, new));
        let step =
            |fields| Step { line, at: Some(place.line()), request: Request::Change { id: live.id.clone(), fields } };
        let fields = group_fields(old, new, body);
        let bounds = |group: &Value| json!({ "models": group["models"], "budgets": group["budgets"] });
        let between = parents.get(key.as_str()).map(|below| between(old, new, below));
        let Some(between) = between.filter(|between| *between != bounds(new)) else {
            plan.steps.push(step(fields));
            continue;
        };
        if between != bounds(old) {
            plan.steps.push(step(between.as_object().cloned().unwrap_or_default()));
        }
        lowered.push(step(fields));
    }
    lowered.reverse();
    Ok(lowered)
}

/// The index of a model in a group's body, whose models have the order of the file.
fn index_of(body: &Value, slug: &str) -> Option<usize> {
    body["models"].as_array()?.iter().position(|model| model["slug"] == slug)
}

/// The body that creates a group, and the fields that are set afterwards. A group without models is created with one,
/// which is removed afterwards.
fn creation(wanted: &DeclaredGroup, some_slug: Option<&str>) -> Result<(Value, Map<String, Value>), Wrong> {
    let (mut body, mut then) = (wanted.body.clone(), Map::new());
    if wanted.group.models.is_empty() {
        let why = "models: a new group needs a model, and there is no endpoint";
        let slug = some_slug.ok_or_else(|| wanted.place.wrong(why))?;
        body["models"] = json!([{ "slug": slug }]);
        then.insert("models".to_owned(), json!([]));
    }
    if wanted.group.normal["disabled"] == Value::Bool(true) {
        then.insert("disabled".to_owned(), true.into());
    }
    Ok((body, then))
}

/// The fields of a PATCH of a group.
fn group_fields(old: &Value, new: &Value, body: &Value) -> Map<String, Value> {
    let mut fields = changed_fields(old, new, body);
    if let Some(metadata) = fields.get_mut("metadata") {
        // The external id cannot be changed, and it is equal.
        *metadata = json!({ "name": new["metadata"]["name"] });
    }
    fields
}

/// Plans the deletion of everything that the file does not name.
fn prune(plan: &mut Plan, declared: &Declared, live: &Live) {
    let named = |keys: &[&String], key: &String| keys.contains(&key);
    let urls: Vec<_> = declared.webhooks.iter().map(|webhook| &webhook.key).collect();
    for (url, webhooks) in live.webhooks.iter().filter(|(url, _)| !named(&urls, url)) {
        webhooks.iter().for_each(|webhook| plan.delete(Kind::Webhook, url, &webhook.id));
    }
    let keys: HashSet<_> = declared.groups.iter().map(|group| &group.key).collect();
    let depth = |key: &String| {
        let parent = |key: &String| live.groups.get(key).and_then(|live| live.group.parent.clone());
        std::iter::successors(parent(key), parent).count()
    };
    let mut gone: Vec<_> = live.groups.iter().filter(|(key, _)| !keys.contains(key)).collect();
    gone.sort_by_cached_key(|(key, _)| std::cmp::Reverse(depth(key)));
    gone.into_iter().for_each(|(key, group)| plan.delete(Kind::Group, key, &group.id));
    let slugs: Vec<_> = declared.endpoints.iter().map(|endpoint| &endpoint.key).collect();
    for (slug, endpoint) in live.endpoints.iter().filter(|(slug, _)| !named(&slugs, slug)) {
        plan.delete(Kind::Endpoint, slug, &endpoint.id);
    }
    let used = declared.endpoints.iter().flat_map(|endpoint| secrets_of(&endpoint.normal)).map(|(_, name)| name);
    let kept: HashSet<_> = declared.secrets.iter().map(|secret| secret.name.as_str()).chain(used).collect();
    for name in live.secrets.keys().filter(|name| !kept.contains(name.as_str())) {
        plan.delete(Kind::Secret, name, name);
    }
}
