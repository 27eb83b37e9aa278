//! Untrusted keys.

use actix_http::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use super::{X_API_KEY, credential as credential_of};
use crate::domain::registered;

/// Takes the value of a header. A key found in it is a part of it, and every key that may be registered can also be
/// sent.
pub(crate) fn credential(input: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(input) else { return };
    for name in [AUTHORIZATION, X_API_KEY] {
        let mut headers = HeaderMap::new();
        headers.insert(name.clone(), value.clone());
        let Some(key) = credential_of(&headers) else { continue };
        assert_eq!(key, key.trim());
        assert!(input.ends_with(key.as_bytes()) || input.trim_ascii_end().ends_with(key.as_bytes()));
        if registered::check(key).is_err() {
            continue;
        }
        assert!((32..=128).contains(&key.len()) && registered::prefix(key).len() == registered::PREFIX_CHARS);
        for (name, value) in [(X_API_KEY, key.to_owned()), (AUTHORIZATION, format!("Bearer {key}"))] {
            let mut headers = HeaderMap::new();
            assert!(HeaderValue::from_str(&value).is_ok_and(|value| headers.insert(name, value).next().is_none()));
            assert_eq!(credential_of(&headers), Some(key), "a registered key cannot be sent");
        }
    }
}
