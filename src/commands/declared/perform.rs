//! Performs a plan, request by request.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{
    live::Live,
    plan::{Line, Plan, Request, Step},
    resource::Kind,
};
use crate::{
    commands::{client::Client, failed::Failed},
    crypto::secret::Secret,
};

/// The first error. Nothing has been done after it.
pub(in crate::commands) struct Stopped<'a> {
    /// The lines that were done before it.
    pub(in crate::commands) done: Vec<&'a Line>,
    /// The lines of which some requests were done.
    pub(in crate::commands) in_part: Vec<&'a Line>,
    /// The line that failed.
    pub(in crate::commands) failed: &'a Line,
    /// The line of the file.
    pub(in crate::commands) at: Option<usize>,
    /// The reason.
    pub(in crate::commands) why: Failed,
}

/// The ids of everything that requests refer to by id.
struct Ids {
    secrets: HashMap<String, String>,
    groups: HashMap<String, String>,
}

/// Performs a plan. `progress` gets the number of requests done. `on_webhook` gets the URL and the signing secret of
/// each new webhook.
pub(in crate::commands) fn perform<'a>(
    plan: &'a Plan,
    live: &Live,
    client: &Client,
    progress: impl Fn(u64),
    mut on_webhook: impl FnMut(&str, Secret) -> Result<(), Failed>,
) -> Result<(), Stopped<'a>> {
    let mut ids = Ids {
        secrets: live.secrets.clone().into_iter().collect(),
        groups: live.groups.iter().map(|(key, group)| (key.clone(), group.id.clone())).collect(),
    };
    for (index, step) in plan.steps.iter().enumerate() {
        let Some(line) = plan.lines.get(step.line) else { continue };
        let mut is_created = false;
        if let Err(why) = request(line, step, client, &mut ids, &mut is_created, &mut on_webhook) {
            let (before, rest) = plan.steps.split_at(index);
            let rest: HashSet<_> = rest.iter().map(|step| step.line).collect();
            let begun: HashSet<_> = before.iter().chain(is_created.then_some(step)).map(|step| step.line).collect();
            let lines = plan.lines.iter().enumerate().filter(|(index, _)| begun.contains(index));
            let (in_part, done): (Vec<_>, Vec<_>) = lines.partition(|(index, _)| rest.contains(index));
            let [done, in_part] = [done, in_part].map(|lines| lines.into_iter().map(|(_, line)| line).collect());
            return Err(Stopped { done, in_part, failed: line, at: step.at, why });
        }
        progress(index as u64 + 1);
    }
    Ok(())
}

/// Performs a step. Sets `is_created` once something has been created, although more of the step may follow.
fn request(
    line: &Line,
    step: &Step,
    client: &Client,
    ids: &mut Ids,
    is_created: &mut bool,
    on_webhook: &mut impl FnMut(&str, Secret) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let path = line.kind.path();
    match &step.request {
        Request::PutSecret { value } => {
            let body = serde_json::json!({ "name": line.key, "value": value.expose() });
            let stored = client.post(path, &body)?;
            ids.secrets.insert(line.key.clone(), id_of(&stored)?);
        }
        Request::Create { body, parent, then } => {
            let mut body = body.clone();
            with_ids(&mut body, ids);
            if let Some(parent) = parent {
                let id = ids.groups.get(parent).ok_or_else(|| Failed(format!("the group {parent} was not created")))?;
                body["hierarchy"]["parent_group_id"] = id.as_str().into();
            }
            let mut created = client.post(path, &body)?;
            *is_created = true;
            let id = id_of(&created)?;
            if !then.is_empty() {
                client.patch(&format!("{path}/{id}"), then.clone())?;
            }
            match line.kind {
                Kind::Group => drop(ids.groups.insert(line.key.clone(), id)),
                Kind::Webhook => {
                    if let Value::String(secret) = created["secret"].take() {
                        on_webhook(&line.key, Secret::new(secret))?;
                    }
                }
                Kind::Secret | Kind::Endpoint => {}
            }
        }
        Request::Change { id, fields } => {
            let mut fields = Value::Object(fields.clone());
            with_ids(&mut fields, ids);
            let Value::Object(fields) = fields else { return Ok(()) };
            client.patch(&format!("{path}/{id}"), fields)?;
        }
        Request::Delete { id } => drop(client.delete(&format!("{path}/{id}"))?),
    }
    Ok(())
}

fn id_of(answer: &Value) -> Result<String, Failed> {
    answer["id"]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| Failed("an answer of the gateway has no field id".to_owned()))
}

/// Replaces the names of secrets in targets by their ids.
fn with_ids(body: &mut Value, ids: &Ids) {
    let targets = body.get_mut("targets").and_then(Value::as_array_mut);
    for fields in targets.into_iter().flatten().filter_map(Value::as_object_mut) {
        replace_name(fields, ids);
    }
}

fn replace_name(target: &mut Map<String, Value>, ids: &Ids) {
    if let Some(id) = target.remove("secret").as_ref().and_then(Value::as_str).and_then(|name| ids.secrets.get(name)) {
        target.insert("secret_id".to_owned(), id.as_str().into());
    }
}
