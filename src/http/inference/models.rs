//! The models that a key may call, in one shape that both OpenAI's and Anthropic's SDKs can read.

use std::sync::Arc;

use serde::Serialize;

use super::{error::Problem, reply::Reply};
use crate::{
    domain::{slug::Slug, time},
    service::{
        Gateway,
        catalog::{KeyEntry, Model},
        request::callable,
    },
};

#[derive(Serialize)]
struct ModelView<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    display_name: &'a str,
    created_at: String,
}

#[derive(Serialize)]
struct ListView<'a> {
    object: &'static str,
    data: Vec<ModelView<'a>>,
    has_more: bool,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
}

fn view(model: &Model) -> ModelView<'_> {
    ModelView {
        id: &model.slug,
        object: "model",
        created: model.created_at_ms / 1000,
        owned_by: Slug::org(&model.slug),
        kind: "model",
        display_name: &model.slug,
        created_at: time::rfc3339(model.created_at_ms),
    }
}

/// `GET /v1/models`
pub(super) fn list(gateway: &Gateway, key: &KeyEntry) -> Reply {
    let catalog = gateway.core.catalog.load();
    let group = key.group.group();
    let carried = group.models.iter().map(|model| catalog.slug_name(model.slug));
    let models: Vec<&Arc<Model>> = carried.filter_map(|slug| catalog.model(slug)).collect();
    let id = |model: Option<&&Arc<Model>>| model.map(|model| model.slug.clone());
    let (first, last) = (id(models.first()), id(models.last()));
    Reply::json(&ListView {
        object: "list",
        data: models.iter().map(|model| view(model)).collect(),
        has_more: false,
        first_id: first.as_deref(),
        last_id: last.as_deref(),
    })
}

/// `GET /v1/models/{slug}`. The slug's slash may be written as `%2F`.
pub(super) fn one(gateway: &Gateway, key: &KeyEntry, path: &str) -> Result<Reply, Problem> {
    let slug = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    let model = callable(&gateway.core.catalog.load(), key, &slug).ok_or_else(|| Problem::model_not_found(&slug))?;
    Ok(Reply::json(&view(&model)))
}
