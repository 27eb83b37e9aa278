//! Finds a customer's key in `Authorization: Bearer`, `Authorization: Api-Key` or `x-api-key`. If there is an
//! Authorization header, even a malformed one, `x-api-key` is ignored: a header that the client did not mean must not
//! authenticate it.

use actix_http::header::{AUTHORIZATION, HeaderMap, HeaderName};

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The key of a request, if it has one.
pub(super) fn credential(headers: &HeaderMap) -> Option<&str> {
    match headers.get(AUTHORIZATION) {
        Some(value) => {
            let (scheme, key) = value.to_str().ok()?.trim().split_once(' ')?;
            let known = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("api-key");
            known.then(|| key.trim())
        }
        None => headers.get(X_API_KEY)?.to_str().ok().map(str::trim),
    }
}

#[cfg(test)]
mod tests {
    use actix_http::header::HeaderValue;

    use super::*;

    #[test]
    fn a_key_is_read_from_either_header_and_authorization_wins() {
        let read = |pairs: &[(HeaderName, &'static str)]| {
            let mut headers = HeaderMap::new();
            pairs.iter().for_each(|(name, value)| drop(headers.insert(name.clone(), HeaderValue::from_static(value))));
            credential(&headers).map(str::to_owned)
        };
        assert_eq!(read(&[(AUTHORIZATION, "Bearer a.b")]).as_deref(), Some("a.b"));
        assert_eq!(read(&[(AUTHORIZATION, "api-KEY a.b")]).as_deref(), Some("a.b"));
        assert_eq!(read(&[(X_API_KEY, "a.b")]).as_deref(), Some("a.b"));
        assert_eq!(read(&[(AUTHORIZATION, "Bearer a"), (X_API_KEY, "b")]).as_deref(), Some("a"));
        assert_eq!(read(&[(AUTHORIZATION, "Basic a"), (X_API_KEY, "b")]), None);
        assert_eq!(read(&[(AUTHORIZATION, "a.b")]), None);
        assert_eq!(read(&[]), None);
    }
}
