//! What a handler's signature says of its route: who may call it, its parameters, its body and its answer. `/v1/spec` is
//! made of this alone, so it says what the code does.

use actix_web::{
    CustomizeResponder,
    web::{Data, Json},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    body::{Body, OptionalBody, SIGNATURE_HEADERS, SignedBody},
    operator::{Anyone, Operator, Scope},
    path::{Parameter, Path},
    query::Query,
};
use crate::{
    http::error::{AdminError, ErrorBody},
    service::Gateway,
};

/// The schemas that operations refer to.
pub(super) struct Schemas {
    read: SchemaGenerator,
    written: SchemaGenerator,
}

impl Schemas {
    pub(super) fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        Self { read: settings.clone().into_generator(), written: settings.for_serialize().into_generator() }
    }

    /// What an answer is, or carries.
    pub(super) fn of_answer<T: JsonSchema>(&mut self) -> Schema {
        self.written.subschema_for::<T>()
    }

    /// What every failure answers with.
    pub(super) fn error(&mut self) -> Schema {
        self.of_answer::<ErrorBody>()
    }

    /// All of them, by name. What is both read and written has one schema.
    pub(super) fn into_definitions(mut self) -> Map<String, Value> {
        let mut all = self.read.take_definitions(true);
        for (name, schema) in self.written.take_definitions(true) {
            debug_assert!(all.get(&name).is_none_or(|known| *known == schema), "two schemas are called {name}");
            all.insert(name, schema);
        }
        all
    }
}

/// One operation, as far as it has been described.
#[derive(Default)]
pub(super) struct Operation {
    /// The types of key that may call it; `None` if it needs no key.
    pub(super) types: Option<Vec<&'static str>>,
    /// OpenAPI's parameter objects.
    pub(super) parameters: Vec<Value>,
    /// The body that it reads.
    pub(super) body: Option<Schema>,
    /// Whether the body may be left out.
    pub(super) is_body_optional: bool,
    /// What it answers with.
    pub(super) answer: Option<Schema>,
}

/// The type of a handler's argument or answer.
pub(super) trait Describe {
    /// Adds what it means for the operation.
    fn describe(operation: &mut Operation, schemas: &mut Schemas);
}

/// The first argument of a handler: it says who may call.
pub(super) trait Caller: Describe {}

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

impl Describe for Data<Gateway> {
    fn describe(_: &mut Operation, _: &mut Schemas) {}
}

impl Describe for actix_web::HttpRequest {
    fn describe(_: &mut Operation, _: &mut Schemas) {}
}

impl<P: Parameter> Describe for Path<P> {
    fn describe(operation: &mut Operation, _: &mut Schemas) {
        let schema = json!({ "type": "string" });
        operation.parameters.push(json!({ "name": P::NAME, "in": "path", "required": true, "schema": schema }));
    }
}

impl<T: JsonSchema> Describe for Query<T> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        let mut object = T::json_schema(&mut schemas.read).to_value();
        let required = object["required"].take();
        let is_required = |name: &str| required.as_array().is_some_and(|names| names.iter().any(|one| one == name));
        let Some(properties) = object["properties"].as_object_mut() else { return };
        for (name, schema) in std::mem::take(properties) {
            let mut parameter = json!({ "name": name, "in": "query", "required": is_required(&name) });
            let mut schema = schema;
            if let Some(description) = schema.as_object_mut().and_then(|schema| schema.remove("description")) {
                parameter["description"] = description;
            }
            // A parameter that is left out is not null, it is not there.
            if let Some(types) = schema.get_mut("type").and_then(Value::as_array_mut) {
                types.retain(|one| one != "null");
            }
            parameter["schema"] = schema;
            operation.parameters.push(parameter);
        }
    }
}

impl<T: JsonSchema> Describe for Body<T> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        operation.body = Some(schemas.read.subschema_for::<T>());
    }
}

impl<T: JsonSchema> Describe for OptionalBody<T> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        Body::<T>::describe(operation, schemas);
        operation.is_body_optional = true;
    }
}

impl<T: JsonSchema> Describe for SignedBody<T> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        Body::<T>::describe(operation, schemas);
        let description = "Ed25519 over the exact bytes of the body, in base64. One of the two is needed.";
        let schema = json!({ "type": "string" });
        operation.parameters.extend(SIGNATURE_HEADERS.map(|name| {
            json!({ "name": name, "in": "header", "required": false, "description": description, "schema": schema })
        }));
    }
}

impl<T: JsonSchema> Describe for Json<T> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        operation.answer = Some(schemas.of_answer::<T>());
    }
}

impl<R: Describe> Describe for CustomizeResponder<R> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        R::describe(operation, schemas);
    }
}

impl<R: Describe> Describe for Result<R, AdminError> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        R::describe(operation, schemas);
    }
}

/// All arguments of a handler.
pub(super) trait Arguments {
    /// Adds what they mean for the operation.
    fn describe(operation: &mut Operation, schemas: &mut Schemas);
}

macro_rules! arguments {
    ($($argument:ident)*) => {
        impl<C: Caller, $($argument: Describe),*> Arguments for (C, $($argument,)*) {
            fn describe(operation: &mut Operation, schemas: &mut Schemas) {
                C::describe(operation, schemas);
                $($argument::describe(operation, schemas);)*
            }
        }
    };
}

arguments! {}
arguments! { A }
arguments! { A B }
arguments! { A B D }
arguments! { A B D E }
