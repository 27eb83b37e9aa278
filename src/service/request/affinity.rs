//! The affinity of a request. In SPREAD, requests with the same affinity go to the same target, whose prompt cache then
//! has their beginning.

use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hash, Hasher},
};

use crate::{domain::id::GroupId, upstream::request::Request};

/// The affinity of a request: a hash of its session's name and of the key's group, so that equal names of two customers
/// are two sessions. The name is the header `x-session-affinity`, else the `prompt_cache_key` of the body. `None` if
/// both are absent or empty.
pub(super) fn affinity(group: GroupId, header: Option<&[u8]>, request: &Request, body: &[u8]) -> Option<u64> {
    let header = header.filter(|name| !name.is_empty()).map(Cow::Borrowed);
    let name = header.or_else(|| request.prompt_cache_key(body))?;
    // The same in every process of this build, so sessions stay on their targets over a restart.
    let mut hasher = DefaultHasher::new();
    (group, &*name).hash(&mut hasher);
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::route::Route, upstream::request::scan};

    fn of(group: u128, header: Option<&str>, member: &str) -> Option<u64> {
        let body = format!(r#"{{"model":"m"{member}}}"#);
        let request = scan(body.as_bytes(), Route::ChatCompletions).unwrap();
        affinity(GroupId(group), header.map(str::as_bytes), &request, body.as_bytes())
    }

    #[test]
    fn the_header_comes_before_the_prompt_cache_key_and_names_the_same_session() {
        let body = r#","prompt_cache_key":"a""#;
        let session = of(1, Some("a"), "");
        assert!(session.is_some());
        assert_eq!(of(1, None, body), session);
        assert_eq!(of(1, None, r#","prompt_cache_key":"\u0061""#), session);
        assert_eq!(of(1, Some(""), body), session);
        assert_ne!(of(1, Some("b"), body), session);
        assert_eq!(of(1, Some("b"), body), of(1, Some("b"), ""));
        assert_ne!(of(2, None, body), session, "another group");
    }

    #[test]
    fn a_request_without_a_session_has_no_affinity() {
        for member in ["", r#","prompt_cache_key":null"#, r#","prompt_cache_key":"""#] {
            assert_eq!(of(1, None, member), None, "{member}");
            assert_eq!(of(1, Some(""), member), None, "{member}");
        }
    }
}
