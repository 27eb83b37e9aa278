//! `GET /v1/spec`: the OpenAPI 3.1 specification of the admin API, made from the table of routes.

use actix_web::{HttpRequest, HttpResponse, Responder, body::BoxBody, http::header, web::Data};
use schemars::{Schema, json_schema};
use serde_json::{Map, Value, json};

use super::{
    describe::{Describe, JSON, Operation, Schemas},
    operator::{AnyOperator, Operator},
    route::{Entry, Section},
};

/// The specification, generated once at the start.
#[derive(Clone)]
pub(in crate::http) struct Spec(String);

impl Spec {
    pub(in crate::http) fn of(table: &[Section]) -> Self {
        let mut schemas = Schemas::new();
        let mut paths = Map::new();
        let failure = failure(
            "The request failed. The body has the reason. Nothing was changed, unless the code is `change_pending`: \
             that change is queued and takes effect when the journal can be written again.",
            schemas.error(),
        );
        for section in table {
            for entry in &section.entries {
                let method = entry.method.as_str().to_ascii_lowercase();
                let path = paths.entry(entry.path).or_insert_with(|| json!({}));
                path[method] = operation(section, entry, &mut schemas);
            }
        }
        let tag = |section: &Section| json!({ "name": section.name, "description": section.about });
        let document = json!({
            "openapi": "3.1.0",
            "info": { "title": "Tollgate admin API", "version": env!("CARGO_PKG_VERSION") },
            "tags": table.iter().map(tag).collect::<Vec<_>>(),
            "paths": paths,
            "components": {
                "schemas": schemas.into_definitions(),
                "responses": { "Failure": failure },
                "securitySchemes": { "operatorKey": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An operator key. `Authorization: Api-Key KEY` is accepted as well.",
                } },
            },
        });
        Self(document.to_string())
    }
}

fn operation(section: &Section, entry: &Entry, schemas: &mut Schemas) -> Value {
    let mut described = Operation::default();
    (entry.describe)(&mut described, schemas);
    let answers = described.answers.into_iter().map(|(media_type, schema)| (media_type.to_owned(), content(schema)));
    let failed = match described.failure {
        None => json!({ "$ref": "#/components/responses/Failure" }),
        Some(schema) => failure("The request failed. The body has the reason.", schema),
    };
    let mut operation = json!({
        "operationId": entry.operation_id,
        "tags": [section.name],
        "summary": entry.summary,
        "parameters": described.parameters,
        "responses": {
            "200": { "description": "Success.", "content": answers.collect::<Map<_, _>>() },
            // Not `default`: client generators also use that for successes with an unknown media type.
            "4XX": failed,
            "5XX": failed,
        },
        "security": [],
    });
    if let Some(types) = described.types {
        operation["description"] = format!("Requires an operator key of type {}.", types.join(" or ")).into();
        operation["security"] = json!([{ "operatorKey": [] }]);
    }
    if let Some(schema) = described.body {
        let is_required = !described.is_body_optional;
        operation["requestBody"] = json!({ "required": is_required, "content": { JSON: content(schema) } });
    }
    operation
}

fn failure(description: &str, schema: Schema) -> Value {
    json!({ "description": description, "content": { JSON: content(schema) } })
}

fn content(schema: Schema) -> Value {
    json!({ "schema": schema })
}

impl Describe for Spec {
    fn describe(operation: &mut Operation, _: &mut Schemas) {
        operation.answers.push((JSON, json_schema!({ "type": "object", "additionalProperties": true })));
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

pub(in crate::http) async fn get(_: Operator<AnyOperator>, spec: Data<Spec>) -> Spec {
    Spec::clone(&spec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::admin::table::table;

    #[test]
    fn every_reference_in_the_specification_has_a_target() {
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
