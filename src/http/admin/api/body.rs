//! Request bodies: JSON objects of at most 4 MiB, or at most 4 KiB if the request has no key, without a content
//! encoding. A body is parsed in two passes. The first checks that it is JSON, so every error of the second can name the
//! field that is wrong.

use std::{borrow::Cow, future::Future, marker::PhantomData, pin::Pin};

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload, http::header::AUTHORIZATION};
use bytes::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny, Visitor},
    forward_to_deserialize_any,
};
use serde_json::json;

use super::{
    describe::{Describe, Operation, Schemas},
    operator::{CallerPrefix, gateway},
    origin::is_json,
};
use crate::{
    http::{
        admin::error::AdminError,
        body::{self, Declared, IDLE, Unread},
    },
    service::{
        capacity::bodies::{Holder, Room},
        error::Error,
    },
};

const MAX_BODY: u64 = 4 << 20;

/// The largest body of a request without a valid key or session, in bytes. The whole body must arrive within [`IDLE`].
const MAX_KEYLESS_BODY: u64 = 4 << 10;

/// The headers for a body's signature, in base64. If both are present, the first one is used.
pub(in crate::http) const SIGNATURE_HEADERS: [&str; 2] = ["x-tollgate-signature", "x-baseten-signature"];

/// A request's body.
pub(in crate::http) struct Body<T>(pub(in crate::http) T);

impl<T: DeserializeOwned> FromRequest for Body<T> {
    type Error = AdminError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, AdminError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = collect_json(request, payload);
        Box::pin(async move {
            let (body, _room) = body.await?;
            Ok(Self(parse(&body)?))
        })
    }
}

/// A request's body that is parsed only after its signature has been verified.
pub(in crate::http) struct SignedBody<T> {
    bytes: Bytes,
    _room: Room,
    signature: Vec<u8>,
    reads: PhantomData<T>,
}

impl<T: DeserializeOwned> SignedBody<T> {
    /// Parses the body after `check` has accepted its signature. `check` gets the body's bytes and the signature
    /// header.
    pub(in crate::http) fn read(self, check: impl FnOnce(&[u8], &[u8]) -> Result<(), Error>) -> Result<T, Error> {
        check(&self.bytes, &self.signature)?;
        parse(&self.bytes)
    }
}

impl<T> FromRequest for SignedBody<T> {
    type Error = AdminError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, AdminError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let signature = SIGNATURE_HEADERS.iter().find_map(|name| request.headers().get(*name));
        let signature = signature.map(|value| value.as_bytes().to_vec()).unwrap_or_default();
        let body = collect_json(request, payload);
        Box::pin(async move {
            let (bytes, _room) = body.await?;
            Ok(Self { bytes, _room, signature, reads: PhantomData })
        })
    }
}

/// Whether the body may be read as JSON. A browser sends JSON to another origin only after a preflight, but other
/// content types may come from any web page. A request with an Authorization header does not rely on a cookie, so its
/// content type does not matter.
fn may_be_json(request: &HttpRequest) -> bool {
    request.headers().contains_key(AUTHORIZATION) || is_json(request)
}

/// A request's body that may be absent, since all of its fields are optional.
pub(in crate::http) struct OptionalBody<T>(pub(in crate::http) T);

impl<T: DeserializeOwned + Default> FromRequest for OptionalBody<T> {
    type Error = AdminError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, AdminError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = collect_json(request, payload);
        Box::pin(async move {
            let (body, _room) = body.await?;
            Ok(Self(if body.is_empty() { T::default() } else { parse(&body)? }))
        })
    }
}

/// A body without fields.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Nothing {}

/// Reads the bytes of a JSON body. The memory of all bodies together is bounded.
fn collect_json(
    request: &HttpRequest,
    payload: &mut Payload,
) -> impl Future<Output = Result<(Bytes, Room), AdminError>> + use<> {
    let (may_be_json, declared) = (may_be_json(request), Declared::of(request.headers()));
    // A handler's first argument authenticates the caller, so the caller is known here.
    let prefix = request.extensions().get::<CallerPrefix>().map(|prefix| prefix.0.as_str().into());
    let has_key = prefix.is_some();
    let holder = prefix.map_or(Holder::Unauthenticated, Holder::Operator);
    let max = if has_key { MAX_BODY } else { MAX_KEYLESS_BODY };
    let (gateway, mut payload) = (gateway(request).cloned(), payload.take());
    async move {
        if !may_be_json {
            let message = "Content-Type must be application/json unless there is an Authorization header.";
            return Err(Error::invalid("invalid_content_type", message).into());
        }
        let declared = declared.ok().filter(|declared| declared.encoding.is_none());
        let declared = declared.ok_or(AdminError::EncodedBody)?;
        let gateway = gateway?;
        let read = body::read(&gateway.admin_bodies, holder, &mut payload, declared, max);
        let read = match has_key {
            true => read.await,
            false => tokio::time::timeout(IDLE, read).await.unwrap_or(Err(Unread::TooSlow)),
        };
        read.map_err(|unread| match unread {
            Unread::TooLarge => AdminError::BodyTooLarge(max),
            Unread::TooSlow => AdminError::BodyTimeout,
            Unread::Broken => Error::invalid("invalid_body", "The request body ended before it was complete.").into(),
            Unread::Encoding(_) => AdminError::EncodedBody,
            Unread::NoRoom => AdminError::Overloaded,
        })
    }
}

/// Parses a body.
pub(in crate::http) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    if body.is_empty() {
        return Err(Error::invalid("invalid_json", "The body is empty; it must be a JSON object"));
    }
    let not_json = |error: serde_json::Error| Error::invalid("invalid_json", format!("The body is not JSON: {error}"));
    serde_json::from_slice::<IgnoredAny>(body).map_err(not_json)?;
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(MapsOnly(&mut deserializer)).map_err(|error| {
        let path = error.path().to_string();
        let why = error.into_inner().to_string();
        // The field is named, so its line and column are not needed.
        let why = why.rsplit_once(" at line ").map_or(why.as_str(), |(why, _)| why);
        invalid_field("invalid_field", &path, why)
    })
}

/// Makes the error for a field or query parameter. `path` is serde's path; "." is the whole body or query.
pub(in crate::http) fn invalid_field(code: &'static str, path: &str, why: &str) -> Error {
    // serde names an unknown field both in its message and in the path.
    let parent = || path.rsplit_once('.').map_or(".", |(parent, _)| parent);
    let path = if why.starts_with("unknown ") { parent() } else { path };
    let why = plain(why);
    if path != "." {
        return Error::invalid(code, format!("{path}: {why}"));
    }
    if why.starts_with("must ") {
        return Error::invalid(code, format!("The body {why}"));
    }
    let (first, rest) = why.split_at_checked(1).unwrap_or_default();
    Error::invalid(code, format!("{}{rest}", first.to_ascii_uppercase()))
}

/// Rewrites serde's message about a wrong type or value without the names of Rust types.
fn plain(why: &str) -> Cow<'_, str> {
    let wrong = why.strip_prefix("invalid type: ").or_else(|| why.strip_prefix("invalid value: "));
    match wrong.and_then(|wrong| wrong.rsplit_once(", expected ")) {
        None => why.into(),
        Some((_, "a sequence")) => "must be a list".into(),
        Some((_, "a boolean")) => "must be true or false".into(),
        Some((_, expected)) if expected.starts_with("struct ") => "must be an object".into(),
        Some((_, expected)) => format!("must be {expected}").into(),
    }
}

/// A JSON object inside a body. serde alone would also accept a list of the field values for a struct.
#[derive(Debug)]
pub(in crate::http) struct Object<T>(pub(in crate::http) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(MapsOnly(deserializer)).map(Self)
    }
}

impl<T: JsonSchema> JsonSchema for Object<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A deserializer that reads structs from maps only.
struct MapsOnly<D>(D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for MapsOnly<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// Deserializes an optional field of a PATCH that `null` clears: `None` if it is absent, `Some(None)` if it is `null`.
pub(in crate::http) fn clearable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl<T: JsonSchema> Describe for Body<T> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        operation.body = Some(schemas.of_body::<T>());
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
        let description =
            "The base64 Ed25519 signature of the exact bytes of the body. One of the two headers is required.";
        let schema = json!({ "type": "string" });
        operation.parameters.extend(SIGNATURE_HEADERS.map(|name| {
            json!({ "name": name, "in": "header", "required": false, "description": description, "schema": schema })
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::admin::api::field::Name;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code, reason = "it is only read")]
        word: Name,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        items: Option<Vec<Object<Inner>>>,
        #[serde(default, deserialize_with = "clearable")]
        name: Option<Option<Name>>,
    }

    fn read(body: &str) -> Result<Outer, String> {
        parse(body.as_bytes()).map_err(|error| match error {
            Error::Invalid { message, .. } => message,
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn an_error_names_the_field_by_its_path() {
        for (body, message) in [
            (r#"{"items": [{"word": "a"}, {"word": 5}]}"#, "items[1].word: must be a string"),
            (r#"{"items": [{}]}"#, "items[0]: missing field `word`"),
            (r#"{"items": [{"word": "a", "x": 1}]}"#, "items[0]: unknown field `x`, expected `word`"),
            (r#"{"x": 1}"#, "Unknown field `x`, expected `items` or `name`"),
            (r#"{"name": "a", "name": "b"}"#, "Duplicate field `name`"),
            (r#"{"name": "a\u0000b"}"#, "name: must be at most 255 characters, without control characters"),
        ] {
            assert_eq!(read(body).unwrap_err(), message);
        }
    }

    #[test]
    fn a_list_is_not_accepted_as_an_object_at_any_depth() {
        assert_eq!(read("[]").unwrap_err(), "The body must be an object");
        assert_eq!(read(r#"{"items": [["a"]]}"#).unwrap_err(), "items[0]: must be an object");
        assert_eq!(read(r#"{"items": {}}"#).unwrap_err(), "items: must be a list");
    }

    #[test]
    fn invalid_json_and_invalid_fields_have_different_errors() {
        let deep = "[".repeat(100_000);
        assert!(read("").unwrap_err().starts_with("The body is empty"));
        for body in ["{", "{}{}", "\u{feff}{}", "{\"name\": tru}", &deep] {
            assert!(read(body).unwrap_err().starts_with("The body is not JSON"), "{body:.20}");
        }
        let nested = format!("{{\"name\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(read(&nested).unwrap_err(), "name: must be a string");
    }

    #[test]
    fn null_clears_a_clearable_field_and_equals_absence_for_others() {
        let cleared = read(r#"{"name": null, "items": null}"#).unwrap();
        assert!(matches!(cleared.name, Some(None)) && cleared.items.is_none());
        assert!(read("{}").unwrap().name.is_none());
        assert!(matches!(read(r#"{"name": "a"}"#).unwrap().name, Some(Some(_))));
    }
}
