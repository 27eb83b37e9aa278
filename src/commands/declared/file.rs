//! The file that declares resources, validated by every rule that does not need the live state.

use std::collections::HashMap;

use serde_json::Value;

use super::resource::{Group, tidy};
use crate::{
    commands::document::{Content, Node, Wrong},
    domain::id::SecretId,
    http::admin::normal,
};

const SECTIONS: [&str; 4] = ["secrets", "endpoints", "groups", "webhooks"];

/// Everything that a file declares.
pub(in crate::commands) struct Declared {
    pub(super) secrets: Vec<Secret>,
    pub(super) endpoints: Vec<Resource>,
    /// Parents before their children, as far as both are in the file.
    pub(super) groups: Vec<DeclaredGroup>,
    pub(super) webhooks: Vec<Resource>,
}

/// A place in the file.
pub(super) struct Place {
    /// The path of the item, such as `groups[3]`.
    path: String,
    node: Node,
}

/// A declared provider credential.
pub(super) struct Secret {
    pub(super) name: String,
    /// The environment variable that has the value.
    pub(super) value_env: String,
    pub(super) place: Place,
}

/// A declared endpoint or webhook.
pub(super) struct Resource {
    /// The slug or URL.
    pub(super) key: String,
    /// The normal form, with the names of secrets.
    pub(super) normal: Value,
    /// The body as it is written in the file.
    pub(super) body: Value,
    pub(super) place: Place,
}

/// A declared group.
pub(super) struct DeclaredGroup {
    /// The external id.
    pub(super) key: String,
    pub(super) group: Group,
    /// The body as it is written in the file, without `parent` and `disabled`.
    pub(super) body: Value,
    pub(super) place: Place,
}

impl Place {
    /// An error about the item, or about the field whose path the message begins with.
    pub(super) fn wrong(&self, message: &str) -> Wrong {
        let message = message.trim_end_matches('.');
        let has_path = message.split_once(": ").is_some_and(|(path, _)| !path.contains([' ', '`', '"']));
        let line = self.node.line_of(message);
        match has_path {
            true => Wrong::new(line, format!("{}.{message}", self.path)),
            false => {
                let (first, rest) = message.split_at_checked(1).unwrap_or_default();
                Wrong::new(line, format!("{}: {}{rest}", self.path, first.to_ascii_lowercase()))
            }
        }
    }

    /// The item's line.
    pub(super) fn line(&self) -> usize {
        self.node.line
    }
}

impl Declared {
    /// Reads a file.
    pub(in crate::commands) fn read(text: &str) -> Result<Self, Wrong> {
        let root = Node::read(text)?;
        match root.content {
            Content::Map(_) => {}
            Content::Null => return Err(Wrong::new(1, format!("the file is empty; it may have {}", sections()))),
            _ => return Err(Wrong::new(root.line, format!("the file must be a map with {}", sections()))),
        }
        if let Some((key, _)) = root.entries().iter().find(|(key, _)| !SECTIONS.contains(&key.name.as_str())) {
            return Err(Wrong::new(key.line, format!("unknown field `{}`, expected {}", key.name, sections())));
        }
        let declared = Self {
            secrets: items(&root, "secrets", secret)?,
            endpoints: items(&root, "endpoints", endpoint)?,
            groups: parents_first(items(&root, "groups", group)?)?,
            webhooks: items(&root, "webhooks", webhook)?,
        };
        distinct(declared.secrets.iter().map(|secret| ("name", &secret.name, &secret.place)))?;
        distinct(declared.endpoints.iter().map(|endpoint| ("slug", &endpoint.key, &endpoint.place)))?;
        distinct(declared.webhooks.iter().map(|webhook| ("url", &webhook.key, &webhook.place)))?;
        Ok(declared)
    }
}

fn sections() -> String {
    format!("`{}`", SECTIONS.join("`, `"))
}

/// Reads the items of a section.
fn items<T>(root: &Node, section: &str, read: impl Fn(Place) -> Result<T, Wrong>) -> Result<Vec<T>, Wrong> {
    let Some(list) = root.get(section).filter(|list| !list.is_null()) else { return Ok(Vec::new()) };
    if !matches!(list.content, Content::List(_)) {
        return Err(Wrong::new(list.line, format!("{section}: must be a list")));
    }
    let read = |(index, node): (usize, &Node)| {
        let place = Place { path: format!("{section}[{index}]"), node: node.clone() };
        match node.content {
            Content::Map(_) => read(place),
            _ => Err(place.wrong("must be an object")),
        }
    };
    list.items().iter().enumerate().map(read).collect()
}

/// Refuses a key that two items have.
fn distinct<'a>(items: impl Iterator<Item = (&'static str, &'a String, &'a Place)>) -> Result<(), Wrong> {
    let mut lines = HashMap::new();
    for (field, key, place) in items {
        if let Some(first) = lines.insert(key, place.line()) {
            return Err(place.wrong(&format!("{field}: {key:?} is declared twice; the first time on line {first}")));
        }
    }
    Ok(())
}

fn secret(place: Place) -> Result<Secret, Wrong> {
    if let Some((key, _)) =
        place.node.entries().iter().find(|(key, _)| !["name", "value_env"].contains(&key.name.as_str()))
    {
        let why = "expected `name` or `value_env`, the environment variable that has the value";
        return Err(place.wrong(&format!("unknown field `{}`, {why}", key.name)));
    }
    let text = |field: &str| match place.node.get(field).filter(|node| !node.is_null()) {
        None => Err(place.wrong(&format!("missing field `{field}`"))),
        Some(node) => node.text().map(str::to_owned).ok_or_else(|| place.wrong(&format!("{field}: must be a string"))),
    };
    let (name, value_env) = (text("name")?, text("value_env")?);
    normal::check_secret(&serde_json::json!({ "name": name, "value": "-" })).map_err(|why| place.wrong(&why))?;
    if !is_variable(&value_env) {
        return Err(place.wrong("value_env: must be the name of an environment variable, such as OPENAI_API_KEY"));
    }
    Ok(Secret { name, value_env, place })
}

/// Whether a text can be in `value_env`.
pub(in crate::commands) fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// An error of the admin API about a part of the file. Texts that YAML reads as numbers need quotes.
fn of_api(place: &Place, message: &str) -> Wrong {
    let hint = if message.ends_with("must be a string") { "; put it in quotes if it is a number" } else { "" };
    place.wrong(&format!("{message}{hint}"))
}

fn endpoint(place: Place) -> Result<Resource, Wrong> {
    let body = place.node.to_json();
    // The API validates targets with the id of a secret, which a new secret does not have yet.
    let mut with_ids = body.clone();
    let mut names = Vec::new();
    let targets = with_ids.get_mut("targets").and_then(Value::as_array_mut);
    for (index, target) in targets.into_iter().flatten().enumerate() {
        let Some(fields) = target.as_object_mut() else { continue };
        if fields.contains_key("secret_id") {
            return Err(place.wrong(&format!("targets[{index}].secret_id: use `secret` with the name of a secret")));
        }
        let name = match fields.remove("secret") {
            None | Some(Value::Null) => continue,
            Some(Value::String(name)) => name,
            Some(_) => return Err(place.wrong(&format!("targets[{index}].secret: must be the name of a secret"))),
        };
        fields.insert("secret_id".to_owned(), SecretId(1).to_string().into());
        names.push((index, name));
    }
    let normal = normal::endpoint(&with_ids).map_err(|why| of_api(&place, &why.replace("secret_id", "secret")))?;
    let mut normal = tidy(normal);
    for (index, name) in names {
        if let Some(target) = normal["targets"][index].as_object_mut() {
            target.remove("secret_id");
            target.insert("secret".to_owned(), name.into());
        }
    }
    Ok(Resource { key: text_of(&normal, "slug"), normal, body, place })
}

fn group(place: Place) -> Result<DeclaredGroup, Wrong> {
    let mut body = place.node.to_json();
    let mut take = |field: &str| body.as_object_mut().and_then(|fields| fields.remove(field));
    let parent = match take("parent") {
        None | Some(Value::Null) => None,
        Some(Value::String(parent)) => Some(parent),
        Some(_) => return Err(of_api(&place, "parent: must be a string")),
    };
    let disabled = match take("disabled") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(disabled)) => disabled,
        Some(_) => return Err(place.wrong("disabled: must be true or false")),
    };
    if body.pointer("/hierarchy/parent_group_id").is_some() {
        return Err(place.wrong("hierarchy.parent_group_id: use `parent` with the external id of the parent"));
    }
    let read = normal::group(&body).map_err(|why| {
        let known = "expected one of `parent`, `disabled`, `metadata`";
        of_api(&place, &why.replacen("expected one of `metadata`", known, 1))
    })?;
    let key = text_of(&read.json["metadata"], "external_entity_id");
    Ok(DeclaredGroup { key, group: Group::new(parent, disabled, read), body, place })
}

fn webhook(place: Place) -> Result<Resource, Wrong> {
    let body = place.node.to_json();
    let normal = tidy(normal::webhook(&body).map_err(|why| of_api(&place, &why))?);
    Ok(Resource { key: text_of(&normal, "url"), normal, body, place })
}

fn text_of(object: &Value, field: &str) -> String {
    object[field].as_str().unwrap_or_default().to_owned()
}

/// Sorts groups by their depth in the file. Refuses groups that are their own ancestors.
fn parents_first(groups: Vec<DeclaredGroup>) -> Result<Vec<DeclaredGroup>, Wrong> {
    distinct(groups.iter().map(|group| ("metadata.external_entity_id", &group.key, &group.place)))?;
    let parents: HashMap<&str, Option<&str>> =
        groups.iter().map(|group| (group.key.as_str(), group.group.parent.as_deref())).collect();
    let mut depths = Vec::with_capacity(groups.len());
    for group in &groups {
        let mut path = vec![group.key.as_str()];
        while let Some(parent) = path.last().and_then(|last| parents.get(last)).copied().flatten() {
            if path.contains(&parent) {
                path.push(parent);
                let circle = path.join(" -> ");
                return Err(group.place.wrong(&format!("parent: a group cannot be its own ancestor: {circle}")));
            }
            path.push(parent);
            // Deeper trees are refused later. This only bounds the walk.
            if path.len() > 1000 {
                return Err(group.place.wrong("parent: a tree has at most five levels"));
            }
        }
        depths.push(path.len());
    }
    let mut sorted: Vec<_> = depths.into_iter().zip(groups).collect();
    sorted.sort_by_key(|(depth, _)| *depth);
    Ok(sorted.into_iter().map(|(_, group)| group).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        Declared::read(text).err().unwrap().to_string()
    }

    #[test]
    fn one_error_names_the_line_and_the_field() {
        for (text, message) in [
            ("", "line 1: the file is empty"),
            ("- a\n", "line 1: the file must be a map"),
            ("secrets:\nusers: []\n", "line 2: unknown field `users`"),
            ("groups: {}\n", "line 1: groups: must be a list"),
            ("webhooks:\n- x\n", "line 2: webhooks[0]: must be an object"),
            ("secrets:\n- name: a\n  value: b\n", "line 3: secrets[0]: unknown field `value`, expected `name`"),
            ("secrets:\n- name: a b\n  value_env: B\n", "line 2: secrets[0].name: must be 1 to 64"),
            ("secrets:\n- name: a\n  value_env: 1B\n", "line 3: secrets[0].value_env: must be the name"),
            (
                "secrets:\n- {name: a, value_env: B}\n- {name: a, value_env: C}\n",
                "line 3: secrets[1].name: \"a\" is declared twice; the first time on line 2",
            ),
            (
                "endpoints:\n- slug: a/b\n  targets:\n  - provider: OPENAI\n",
                "line 4: endpoints[0].targets[0].secret: is required for OPENAI",
            ),
            (
                "endpoints:\n- slug: a/b\n  targets:\n  - provider: OPENAI\n    secret_id: X\n",
                "line 5: endpoints[0].targets[0].secret_id: use `secret`",
            ),
            (
                "groups:\n- metadata:\n    external_entity_id: 42\n  models: []\n",
                "line 3: groups[0].metadata.external_entity_id: must be a string; put it in quotes",
            ),
            (
                "groups:\n- metadata: {external_entity_id: a}\n  models: []\n  color: red\n",
                "line 4: groups[0]: unknown field `color`, expected one of `parent`, `disabled`, `metadata`",
            ),
            (
                "groups:\n- metadata: {external_entity_id: a}\n  models: []\n  parent: b\n- metadata: \
                 {external_entity_id: b}\n  models: []\n  parent: a\n",
                "line 4: groups[0].parent: a group cannot be its own ancestor: a -> b -> a",
            ),
            ("webhooks:\n- url: nowhere\n", "line 2: webhooks[0].url: must be a URL"),
        ] {
            let found = wrong(text);
            assert!(found.starts_with(message), "{text}\n{found}");
        }
    }

    #[test]
    fn groups_come_after_their_parents() {
        let text = "groups:\n- {metadata: {external_entity_id: c}, models: [], parent: b}\n- {metadata: \
                    {external_entity_id: b}, models: [], parent: a}\n- {metadata: {external_entity_id: a}, models: \
                    []}\n";
        let declared = Declared::read(text).ok().unwrap();
        let keys: Vec<_> = declared.groups.iter().map(|group| group.key.as_str()).collect();
        assert_eq!(keys, ["a", "b", "c"]);
    }
}
