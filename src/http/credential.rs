//! Finds the key in the headers of a request, on both listeners.

use actix_http::header::{AUTHORIZATION, HeaderMap, HeaderName};

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

/// The key in `Authorization: Bearer KEY` or `Authorization: Api-Key KEY`, or in the header `alternative`. If there is
/// an Authorization header, even a malformed one, `alternative` is not read: a header that the client did not mean must
/// not authenticate it. The key may have any bytes.
pub(super) fn key<'a>(headers: &'a HeaderMap, alternative: Option<&HeaderName>) -> Option<&'a [u8]> {
    match headers.get(AUTHORIZATION) {
        Some(value) => after_scheme(value.as_bytes().trim_ascii()),
        None => headers.get(alternative?).map(|value| value.as_bytes().trim_ascii()),
    }
}

fn after_scheme(value: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = value.split_at(value.iter().position(|byte| *byte == b' ')?);
    let is_known = scheme.eq_ignore_ascii_case(b"bearer") || scheme.eq_ignore_ascii_case(b"api-key");
    is_known.then(|| key.trim_ascii())
}

#[cfg(test)]
mod tests {
    use actix_http::header::HeaderValue;

    use super::*;

    const ALTERNATIVE: HeaderName = HeaderName::from_static("x-api-key");

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn a_key_is_read_after_a_known_scheme_in_any_case() {
        for (value, read) in [
            ("Bearer k", Some("k")),
            ("bearer a.b", Some("a.b")),
            ("API-KEY k", Some("k")),
            ("Api-Key   k", Some("k")),
            ("Bearer é", Some("é")),
            ("Basic k", None),
            ("Bearer", None),
            ("Bearer ", None),
            ("k", None),
            ("", None),
        ] {
            for alternative in [None, Some(&ALTERNATIVE)] {
                let headers = headers(&[(AUTHORIZATION, value)]);
                assert_eq!(key(&headers, alternative), read.map(str::as_bytes), "{value}");
            }
        }
    }

    #[test]
    fn an_alternative_header_is_read_only_without_an_authorization_header() {
        for (pairs, read) in [
            (&[(ALTERNATIVE, "b")][..], Some("b")),
            (&[(AUTHORIZATION, "Bearer a"), (ALTERNATIVE, "b")], Some("a")),
            (&[(AUTHORIZATION, "Basic a"), (ALTERNATIVE, "b")], None),
            (&[], None),
        ] {
            let headers = headers(pairs);
            assert_eq!(key(&headers, Some(&ALTERNATIVE)), read.map(str::as_bytes), "{pairs:?}");
        }
        assert_eq!(key(&headers(&[(ALTERNATIVE, "b")]), None), None);
    }
}
