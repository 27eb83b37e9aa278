//! Untrusted keys.

use actix_http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use super::key;
use crate::domain::registered;

const ALTERNATIVE: HeaderName = HeaderName::from_static("x-api-key");

/// Takes the value of a header. A key found in it is a part of it, and every key that may be registered can also be
/// sent.
pub(crate) fn credential(input: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(input) else { return };
    for name in [AUTHORIZATION, ALTERNATIVE] {
        let headers = HeaderMap::from_iter([(name.clone(), value.clone())]);
        let of_admin = key(&headers, None);
        let of_inference = key(&headers, Some(&ALTERNATIVE));
        assert_eq!(of_admin, of_inference.filter(|_| name == AUTHORIZATION));
        let Some(key_bytes) = of_inference else { continue };
        assert_eq!(key_bytes, key_bytes.trim_ascii());
        assert!(input.trim_ascii_end().ends_with(key_bytes));
        let Ok(text) = std::str::from_utf8(key_bytes) else { continue };
        if registered::check(text).is_err() {
            continue;
        }
        assert!((32..=128).contains(&text.len()) && registered::prefix(text).len() == registered::PREFIX_CHARS);
        for (name, value) in [(ALTERNATIVE, text.to_owned()), (AUTHORIZATION, format!("Bearer {text}"))] {
            assert_eq!(found(name, &value), Some(text.as_bytes().to_vec()), "a registered key cannot be sent");
        }
    }
}

fn found(name: HeaderName, value: &str) -> Option<Vec<u8>> {
    let headers = HeaderMap::from_iter([(name, HeaderValue::from_str(value).ok()?)]);
    key(&headers, Some(&ALTERNATIVE)).map(<[u8]>::to_vec)
}
