//! Describes a route from its handler's signature: who may call it, its parameters, its body and its response.
//! `/v1/spec` is made from these descriptions and the table of routes.

use actix_web::{
    CustomizeResponder,
    web::{Data, Json},
};
use schemars::{
    JsonSchema, Schema, SchemaGenerator,
    generate::SchemaSettings,
    transform::{RecursiveTransform, Transform},
};
use serde_json::{Map, Value};

use crate::{
    http::admin::error::{AdminError, ErrorBody},
    service::Gateway,
};

/// The media type of bodies, errors and most responses.
pub(in crate::http) const JSON: &str = "application/json";

/// The media type of server-sent events.
pub(in crate::http) const EVENT_STREAM: &str = "text/event-stream";

/// The schemas that operations refer to.
pub(in crate::http) struct Schemas {
    read: SchemaGenerator,
    written: SchemaGenerator,
}

impl Schemas {
    pub(in crate::http) fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        let settings = settings.with_transform(RecursiveTransform(plain));
        Self { read: settings.clone().into_generator(), written: settings.for_serialize().into_generator() }
    }

    /// The schema of a type that is part of a response.
    pub(in crate::http) fn of_answer<T: JsonSchema>(&mut self) -> Schema {
        self.written.subschema_for::<T>()
    }

    /// The schema of a request body.
    pub(in crate::http) fn of_body<T: JsonSchema>(&mut self) -> Schema {
        self.read.subschema_for::<T>()
    }

    /// The schema of a type whose fields are the query parameters.
    pub(in crate::http) fn of_query<T: JsonSchema>(&mut self) -> Value {
        let mut object = T::json_schema(&mut self.read);
        RecursiveTransform(plain).transform(&mut object);
        object.to_value()
    }

    /// The schema of the admin API's errors.
    pub(in crate::http) fn error(&mut self) -> Schema {
        self.of_answer::<ErrorBody>()
    }

    /// All schemas, by name. A type that is used in both requests and responses has one schema.
    pub(in crate::http) fn into_definitions(mut self) -> Map<String, Value> {
        let mut all = self.read.take_definitions(true);
        for (name, schema) in self.written.take_definitions(true) {
            debug_assert!(all.get(&name).is_none_or(|known| *known == schema), "two schemas have the name {name}");
            all.insert(name, schema);
        }
        all
    }
}

/// The description of one operation, while it is being built.
#[derive(Default)]
pub(in crate::http) struct Operation {
    /// The types of operator key that may call it; `None` if it needs no key.
    pub(in crate::http) types: Option<Vec<&'static str>>,
    /// OpenAPI's parameter objects.
    pub(in crate::http) parameters: Vec<Value>,
    /// The schema of the request body.
    pub(in crate::http) body: Option<Schema>,
    /// Whether the body may be absent.
    pub(in crate::http) is_body_optional: bool,
    /// The schemas of successful responses, by media type.
    pub(in crate::http) answers: Vec<(&'static str, Schema)>,
    /// The schema of error responses, if they are not always the admin API's own errors.
    pub(in crate::http) failure: Option<Schema>,
}

/// Rewrites a schema for client generators. For an enum with documented values, schemars writes a `oneOf` of `const`,
/// which generators treat as a union of types. It becomes an `enum`, and the values' docs move into the description.
/// Unsigned integers get a format that OpenAPI defines.
fn plain(schema: &mut Schema) {
    if schema.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
        schema.insert("format".to_owned(), "int64".into());
    }
    let Some(variants) = schema.get("oneOf").and_then(Value::as_array) else { return };
    let (mut words, mut lines) = (Vec::new(), Vec::new());
    lines.extend(schema.get("description").and_then(Value::as_str).map(|docs| format!("{docs}\n")));
    for variant in variants {
        match (variant["const"].as_str(), variant["enum"].as_array()) {
            (Some(word), _) => {
                words.push(word.into());
                lines.extend(variant["description"].as_str().map(|docs| format!("* `{word}`: {docs}")));
            }
            (None, Some(undocumented)) => words.extend(undocumented.iter().cloned()),
            (None, None) => return,
        }
    }
    schema.remove("oneOf");
    schema.insert("type".to_owned(), "string".into());
    schema.insert("enum".to_owned(), words.into());
    schema.insert("description".to_owned(), lines.join("\n").into());
}

/// A handler's argument or response that can describe itself.
pub(in crate::http) trait Describe {
    /// Adds this type's part to the operation.
    fn describe(operation: &mut Operation, schemas: &mut Schemas);
}

/// The first argument of a handler, which states who may call it.
pub(in crate::http) trait Caller: Describe {}

impl Describe for Data<Gateway> {
    fn describe(_: &mut Operation, _: &mut Schemas) {}
}

impl Describe for actix_web::HttpRequest {
    fn describe(_: &mut Operation, _: &mut Schemas) {}
}

impl<T: JsonSchema> Describe for Json<T> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        operation.answers.push((JSON, schemas.of_answer::<T>()));
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
pub(in crate::http) trait Arguments {
    /// Adds all arguments to the operation.
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn plainly(schema: Value) -> Value {
        let mut schema = Schema::try_from(schema).unwrap();
        RecursiveTransform(plain).transform(&mut schema);
        schema.to_value()
    }

    #[test]
    fn an_enum_with_documented_values_becomes_a_plain_enum() {
        let word = |word: &str| json!({ "type": "string", "const": word, "description": format!("It is {word}.") });
        let listed = json!({
            "description": "How it is.",
            "oneOf": [{ "type": "string", "enum": ["a", "b"] }, word("c"), word("d")],
        });
        let plain = json!({
            "description": "How it is.\n\n* `c`: It is c.\n* `d`: It is d.",
            "type": "string",
            "enum": ["a", "b", "c", "d"],
        });
        assert_eq!(plainly(listed.clone()), plain);
        assert_eq!(plainly(json!({ "properties": { "x": listed } })), json!({ "properties": { "x": plain } }));
        let union = json!({ "oneOf": [{ "type": "string" }, { "type": "null" }] });
        assert_eq!(plainly(union.clone()), union);
    }
}
