//! `GET /v1/spec`: OpenAPI 3.1 of the admin API, made from the table of routes.

use actix_web::{HttpRequest, HttpResponse, Responder, body::BoxBody, http::header, web::Data};
use schemars::json_schema;
use serde_json::{Map, Value, json};

use super::{
    describe::{Describe, Operation, Schemas},
    operator::{AnyOperator, Operator},
    table::Entry,
};

/// The specification, written once at the start.
#[derive(Clone)]
pub(super) struct Spec(String);

impl Spec {
    pub(super) fn of(table: &[Entry]) -> Self {
        let mut schemas = Schemas::new();
        let mut paths = Map::new();
        let failure = json!({
            "description": "Nothing was changed; the body says what is wrong.",
            "content": { "application/json": { "schema": schemas.error() } },
        });
        for entry in table {
            let method = entry.method.as_str().to_ascii_lowercase();
            let path = paths.entry(entry.path).or_insert_with(|| json!({}));
            path[method] = operation(entry, &mut schemas, &failure);
        }
        let document = json!({
            "openapi": "3.1.0",
            "info": { "title": "Tollgate admin API", "version": env!("CARGO_PKG_VERSION") },
            "paths": paths,
            "components": {
                "schemas": schemas.into_definitions(),
                "securitySchemes": { "operatorKey": { "type": "http", "scheme": "bearer" } },
            },
        });
        Self(document.to_string())
    }
}

fn operation(entry: &Entry, schemas: &mut Schemas, failure: &Value) -> Value {
    let mut said = Operation::default();
    (entry.describe)(&mut said, schemas);
    let mut operation = json!({
        "summary": entry.summary,
        "parameters": said.parameters,
        "responses": {
            "200": { "description": "Done.", "content": { "application/json": { "schema": said.answer } } },
            "default": failure,
        },
        "security": [],
    });
    if let Some(types) = said.types {
        operation["description"] = format!("For operator keys of type {}.", types.join(" or ")).into();
        operation["security"] = json!([{ "operatorKey": [] }]);
    }
    if let Some(schema) = said.body {
        let content = json!({ "application/json": { "schema": schema } });
        operation["requestBody"] = json!({ "required": !said.is_body_optional, "content": content });
    }
    operation
}

impl Describe for Spec {
    fn describe(operation: &mut Operation, _: &mut Schemas) {
        operation.answer = Some(json_schema!({ "type": "object" }));
    }
}

impl Describe for Data<Spec> {
    fn describe(_: &mut Operation, _: &mut Schemas) {}
}

impl Responder for Spec {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        HttpResponse::Ok().content_type(header::ContentType::json()).body(self.0)
    }
}

pub(super) async fn get(_: Operator<AnyOperator>, spec: Data<Spec>) -> Spec {
    Spec::clone(&spec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::admin::table::table;

    #[test]
    fn every_reference_in_the_specification_leads_somewhere() {
        let Spec(text) = Spec::of(&table());
        let document: Value = serde_json::from_str(&text).unwrap();
        let mut references = text.split("\"$ref\":\"").skip(1).map(|rest| rest.split('"').next().unwrap()).peekable();
        assert!(references.peek().is_some());
        for reference in references {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}
