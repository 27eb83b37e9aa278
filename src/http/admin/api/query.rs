//! Query parameters. Unknown ones are refused, and so are repeated ones, except for lists. All values are texts.

use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpRequest, dev::Payload};
use schemars::JsonSchema;
use serde::{
    Deserializer,
    de::{DeserializeOwned, IntoDeserializer, Visitor, value},
    forward_to_deserialize_any,
};
use serde_json::{Value, json};

use super::{
    body::invalid_field,
    describe::{Describe, Operation, Schemas},
};
use crate::{http::admin::error::AdminError, service::error::Error};

/// The number of parameter names after which parsing stops. No route has this many parameters, so at least one of these
/// names is unknown and the query is refused. Without this bound, a long query of short names could block the worker,
/// even without a key.
const MAX_NAMES: usize = 64;

/// A request's query parameters.
pub(in crate::http) struct Query<T>(pub(in crate::http) T);

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Error = AdminError;
    type Future = Ready<Result<Self, AdminError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(parse(request.query_string()).map(Self).map_err(AdminError::from))
    }
}

fn parse<T: DeserializeOwned>(query: &str) -> Result<T, Error> {
    let mut parameters: Vec<(String, Values)> = Vec::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let is_full = parameters.len() == MAX_NAMES;
        match parameters.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.0.push(value.into_owned()),
            None if is_full => break,
            None => parameters.push((name.into_owned(), Values(vec![value.into_owned()]))),
        }
    }
    let parameters = value::MapDeserializer::<_, value::Error>::new(parameters.into_iter());
    serde_path_to_error::deserialize(parameters).map_err(|error| {
        let path = error.path().to_string();
        invalid_field("invalid_parameter", &path, &error.into_inner().to_string().replacen("field", "parameter", 1))
    })
}

/// The values of one parameter, in order.
struct Values(Vec<String>);

impl Values {
    fn only<E: serde::de::Error>(self) -> Result<String, E> {
        let [value] = <[String; 1]>::try_from(self.0).map_err(|_| E::custom("may be given only once"))?;
        Ok(value)
    }
}

impl IntoDeserializer<'_, value::Error> for Values {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Values {
    type Error = value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, value::Error> {
        visitor.visit_string(self.only()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, value::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, value::Error> {
        visitor.visit_seq(value::SeqDeserializer::new(self.0.into_iter()))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<T: JsonSchema> Describe for Query<T> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        let mut object = schemas.of_query::<T>();
        let required = object["required"].take();
        let is_required = |name: &str| required.as_array().is_some_and(|names| names.iter().any(|one| one == name));
        let Some(properties) = object["properties"].as_object_mut() else { return };
        for (name, schema) in std::mem::take(properties) {
            let mut parameter = json!({ "name": name, "in": "query", "required": is_required(&name) });
            let mut schema = schema;
            if let Some(description) = schema.as_object_mut().and_then(|schema| schema.remove("description")) {
                parameter["description"] = description;
            }
            parameter["schema"] = without_null(schema);
            operation.parameters.push(parameter);
        }
    }
}

/// Removes `null` from the schema of an optional parameter: a query parameter can be absent, but never null.
fn without_null(mut schema: Value) -> Value {
    if let Some(types) = schema.get_mut("type").and_then(Value::as_array_mut) {
        types.retain(|one| one != "null");
        if let [only] = &mut types[..] {
            schema["type"] = only.take();
        }
    }
    if let Some(words) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        words.retain(|word| !word.is_null());
    }
    if let Some(either) = schema.get_mut("anyOf").and_then(Value::as_array_mut) {
        either.retain(|one| one["type"] != "null");
        if let [only] = &mut either[..] {
            return only.take();
        }
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::admin::api::field::PageLimit;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wanted {
        limit: Option<PageLimit>,
        #[serde(default)]
        keys: Vec<String>,
        slug: String,
    }

    fn read(query: &str) -> Result<Wanted, String> {
        parse(query).map_err(|error| match error {
            Error::Invalid { message, .. } => message,
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn a_parameter_is_read_once_unless_it_is_a_list() {
        let wanted = read("slug=a%2Fb&keys=x&limit=7&keys=y").unwrap();
        assert_eq!((wanted.slug.as_str(), wanted.limit.unwrap().0), ("a/b", 7));
        assert_eq!(wanted.keys, ["x", "y"]);
        assert!(read("slug=").unwrap().keys.is_empty());
    }

    #[test]
    fn parsing_stops_after_the_maximum_number_of_names() {
        let query: String = (0..2 * MAX_NAMES).map(|name| format!("keys=a&n{name}&")).collect();
        assert_eq!(read(&query).unwrap_err(), "Unknown parameter `n0`, expected one of `limit`, `keys`, `slug`");
    }

    #[test]
    fn an_error_names_the_wrong_parameter() {
        for (query, message) in [
            ("", "Missing parameter `slug`"),
            ("slug=a&slug=b", "slug: may be given only once"),
            ("slug=a&limit=0", "limit: must be a whole number from 1 to 1000"),
            ("slug=a&limit=%2B5", "limit: must be a whole number from 1 to 1000"),
            ("slug=a&x=1", "Unknown parameter `x`, expected one of `limit`, `keys`, `slug`"),
        ] {
            assert_eq!(read(query).unwrap_err(), message);
        }
    }

    #[test]
    fn an_optional_parameter_is_never_null() {
        for (optional, parameter) in [
            (json!({ "type": ["string", "null"] }), json!({ "type": "string" })),
            (json!({ "type": ["string", "null"], "enum": ["a", null] }), json!({ "type": "string", "enum": ["a"] })),
            (json!({ "anyOf": [{ "$ref": "#/a" }, { "type": "null" }] }), json!({ "$ref": "#/a" })),
            (json!({ "type": "integer", "minimum": 1 }), json!({ "type": "integer", "minimum": 1 })),
        ] {
            assert_eq!(without_null(optional), parameter);
        }
    }
}
