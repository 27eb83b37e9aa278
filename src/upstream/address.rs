//! Validates the URLs that operators configure: those of model servers and of webhook receivers.

use url::Url;

/// Longest URL, in characters.
pub const MAX_URL: usize = 2048;

/// Parses an `http` or `https` URL without credentials and fragment. The error says what is wrong with the text; for
/// one that is not a URL, it is `form`, which describes the expected form.
pub fn parse_http_url(text: &str, form: &'static str) -> Result<Url, &'static str> {
    if text.chars().nth(MAX_URL).is_some() {
        return Err("must be at most 2048 characters");
    }
    // The parser would silently remove white space.
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("must not contain white space or control characters");
    }
    let url = Url::parse(text).map_err(|_| form)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must begin with http:// or https://");
    }
    // The parser would drop a third slash, so that the first part of the path became the host, and would read a
    // backslash as a slash.
    let Some((_, rest)) = text.split_once("://").filter(|(_, rest)| !rest.starts_with('/') && !rest.contains('\\'))
    else {
        return Err(form);
    };
    if rest.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@')) {
        return Err("must not contain credentials");
    }
    if url.fragment().is_some() {
        return Err("must not contain a fragment");
    }
    if url.host_str().is_none_or(str::is_empty) || url.port() == Some(0) {
        return Err(form);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_plain_http_url() {
        let parse = |text: &str| parse_http_url(text, "form").map(|url| url.to_string());
        assert_eq!(parse("https://hooks.example:8443/a?b=c").as_deref(), Ok("https://hooks.example:8443/a?b=c"));
        for (bad, why) in [
            ("", "form"),
            ("hooks.example", "form"),
            ("ftp://hooks.example", "must begin with http:// or https://"),
            ("javascript:alert(1)", "must begin with http:// or https://"),
            ("http:hooks.example", "form"),
            ("http:///hooks.example", "form"),
            ("http://", "form"),
            ("http://hooks.example:0/", "form"),
            ("http://hooks.example:70000/", "form"),
            ("http://user@hooks.example/", "must not contain credentials"),
            ("http://@hooks.example/", "must not contain credentials"),
            ("http://hooks.example\\@other.example/", "form"),
            ("http://:word@hooks.example/", "must not contain credentials"),
            ("http://hooks.example/#a", "must not contain a fragment"),
            ("http://hooks.example/a b", "must not contain white space or control characters"),
            ("http://hooks.example/\n", "must not contain white space or control characters"),
        ] {
            assert_eq!(parse(bad), Err(why), "{bad:?}");
        }
        assert!(parse(&format!("http://hooks.example/{}", "a".repeat(MAX_URL))).is_err());
    }
}
