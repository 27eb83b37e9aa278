//! The state of a gateway, read through its admin API.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::resource::{Group, Kind, tidy};
use crate::{
    commands::{client::Client, failed::Failed},
    http::admin::normal::{self, ENDPOINT_FIELDS, GROUP_FIELDS, WEBHOOK_FIELDS},
};

/// Everything that a file can declare, as it is in the gateway.
#[derive(Default)]
pub(in crate::commands) struct Live {
    /// The id of each secret, by name.
    pub(in crate::commands) secrets: BTreeMap<String, String>,
    /// By slug.
    pub(in crate::commands) endpoints: BTreeMap<String, LiveResource>,
    /// By external id.
    pub(super) groups: BTreeMap<String, LiveGroup>,
    /// By URL, which several webhooks may have.
    pub(in crate::commands) webhooks: BTreeMap<String, Vec<LiveResource>>,
}

/// An endpoint or webhook.
pub(in crate::commands) struct LiveResource {
    pub(super) id: String,
    /// The normal form, with the names of secrets.
    pub(in crate::commands) normal: Value,
}

/// A group.
pub(super) struct LiveGroup {
    pub(super) id: String,
    pub(super) group: Group,
}

impl Live {
    /// Reads all of it.
    pub(in crate::commands) fn read(client: &Client) -> Result<Self, Failed> {
        let mut live = Self::default();
        let secrets = client.get(Kind::Secret.path())?;
        for secret in secrets["secrets"].as_array().into_iter().flatten() {
            live.secrets.insert(text(secret, "name")?, text(secret, "id")?);
        }
        let names: HashMap<_, _> = live.secrets.iter().map(|(name, id)| (id.clone(), name.clone())).collect();
        client.list(Kind::Endpoint.path(), |endpoint| {
            let (id, slug) = (text(&endpoint, "id")?, text(&endpoint, "slug")?);
            let mut normal = tidy(normal::only(endpoint, ENDPOINT_FIELDS));
            for target in normal["targets"].as_array_mut().into_iter().flatten() {
                name_secret(target, &names);
            }
            live.endpoints.insert(slug, LiveResource { id, normal });
            Ok(())
        })?;
        live.groups = groups(client)?;
        client.list(Kind::Webhook.path(), |webhook| {
            let (id, url) = (text(&webhook, "id")?, text(&webhook, "url")?);
            let normal = tidy(normal::only(webhook, WEBHOOK_FIELDS));
            live.webhooks.entry(url).or_default().push(LiveResource { id, normal });
            Ok(())
        })?;
        Ok(live)
    }

    /// The groups for a file, in normal form, each after its parent: the trees in order of their roots' external ids,
    /// and children in order of theirs.
    pub(in crate::commands) fn groups_for_file(&self) -> Vec<Value> {
        let mut children: BTreeMap<Option<&str>, Vec<&str>> = BTreeMap::new();
        for (key, live) in &self.groups {
            children.entry(live.group.parent.as_deref()).or_default().push(key);
        }
        let mut rest: Vec<&str> = children.get(&None).into_iter().flatten().rev().copied().collect();
        let mut found = Vec::new();
        while let Some(key) = rest.pop() {
            let Some(LiveGroup { group, .. }) = self.groups.get(key) else { continue };
            let mut json = group.normal.clone();
            match (&group.parent, group.mode) {
                (Some(parent), _) => json["parent"] = parent.as_str().into(),
                (None, Some(mode)) => {
                    json["hierarchy"] = serde_json::json!({ "limit_enforcement": normal::enforcement_word(mode) });
                }
                (None, None) => {}
            }
            found.push(json);
            rest.extend(children.get(&Some(key)).into_iter().flatten().rev());
        }
        found
    }
}

fn groups(client: &Client) -> Result<BTreeMap<String, LiveGroup>, Failed> {
    let mut read = Vec::new();
    let mut keys = HashMap::new();
    client.list(Kind::Group.path(), |mut group| {
        let (id, key) = (text(&group, "id")?, text(&group["metadata"], "external_entity_id")?);
        let parent = group["hierarchy"]["parent_group_id"].take();
        let disabled = group["disabled"] == Value::Bool(true);
        let mut body = normal::only(group, GROUP_FIELDS);
        // The body that creates a group does not have this field.
        body.as_object_mut().and_then(|fields| fields.remove("disabled"));
        let normal = normal::group(&body).map_err(|why| Failed(format!("group {key} of the gateway: {why}")))?;
        keys.insert(id.clone(), key.clone());
        read.push((key, id, parent, disabled, normal));
        Ok(())
    })?;
    let group = |(key, id, parent, disabled, normal): (String, String, Value, bool, _)| {
        let parent = parent.as_str().and_then(|parent| keys.get(parent)).cloned();
        (key, LiveGroup { id, group: Group::new(parent, disabled, normal) })
    };
    Ok(read.into_iter().map(group).collect())
}

/// Replaces the id of a target's secret by its name.
fn name_secret(target: &mut Value, names: &HashMap<String, String>) {
    let Some(fields) = target.as_object_mut() else { return };
    if let Some(Value::String(id)) = fields.remove("secret_id") {
        let name = names.get(&id).cloned().unwrap_or(id);
        fields.insert("secret".to_owned(), name.into());
    }
}

fn text(object: &Value, field: &str) -> Result<String, Failed> {
    let found = object[field].as_str().map(str::to_owned);
    found.ok_or_else(|| Failed(format!("an answer of the gateway has no field {field}")))
}
