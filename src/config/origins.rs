//! The setting `cors_origins`: the origins whose web pages may call the inference listener.

use serde::{Deserialize, Deserializer, de::Error as _};

/// A set of origins, written as browsers send them: `https://app.example.com`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Origins {
    /// No page of another origin.
    #[default]
    None,
    /// Every page: `["*"]`.
    Any,
    /// The pages of these origins.
    Listed(Vec<String>),
}

impl Origins {
    /// Whether pages of this origin may call.
    pub fn allow(&self, origin: &[u8]) -> bool {
        match self {
            Self::None => false,
            Self::Any => true,
            Self::Listed(origins) => origins.iter().any(|known| known.as_bytes() == origin),
        }
    }
}

/// A list, or one text with commas between the items (for the environment).
#[derive(Deserialize)]
#[serde(untagged)]
enum List {
    Text(String),
    Items(Vec<String>),
}

impl<'de> Deserialize<'de> for Origins {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const FORM: &str = "must be a list of origins such as [\"https://app.example.com\"], or [\"*\"]";
        let items = match List::deserialize(deserializer) {
            Ok(List::Items(items)) => items,
            Ok(List::Text(text)) if text.trim().is_empty() => Vec::new(),
            Ok(List::Text(text)) => text.split(',').map(|item| item.trim().to_owned()).collect(),
            Err(_) => return Err(D::Error::custom(FORM)),
        };
        match &*items {
            [] => Ok(Self::None),
            [any] if any == "*" => Ok(Self::Any),
            _ if items.iter().any(|item| item == "*") => {
                Err(D::Error::custom(format!("{FORM}: \"*\" must be the only item")))
            }
            _ => {
                let origin = |item: &String| {
                    origin(item).ok_or_else(|| {
                        D::Error::custom(format!(
                            "{FORM}: {item:?} is not an origin (scheme, host and port, without a path)"
                        ))
                    })
                };
                items.iter().map(origin).collect::<Result<_, _>>().map(Self::Listed)
            }
        }
    }
}

/// Normalizes an origin as browsers send it: in lower case, without the scheme's default port. `None` if the text is
/// not exactly an origin.
fn origin(text: &str) -> Option<String> {
    let (scheme, authority) = text.split_once("://")?;
    if authority.is_empty() || authority.contains(['/', '\\', '?', '#', '@', '*']) || text.contains(char::is_whitespace)
    {
        return None;
    }
    let url = url::Url::parse(text).ok().filter(url::Url::has_host)?;
    match url.origin() {
        origin @ url::Origin::Tuple(..) => Some(origin.ascii_serialization()),
        // Apps with their own scheme, such as `tauri://localhost`: the URL standard leaves the form of these to
        // browsers.
        url::Origin::Opaque(_) => {
            Some(format!("{scheme}://{authority}").to_ascii_lowercase()).filter(|text| text.is_ascii())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(toml: &str) -> Result<Origins, String> {
        let table: toml::Table = format!("origins = {toml}").parse().unwrap();
        table["origins"].clone().try_into().map_err(|error: toml::de::Error| error.message().to_owned())
    }

    fn listed(origins: &[&str]) -> Origins {
        Origins::Listed(origins.iter().map(|origin| (*origin).to_owned()).collect())
    }

    #[test]
    fn origins_are_read_from_a_list_or_a_text_with_commas_and_normalized_as_browsers_send_them() {
        for (toml, origins) in [
            ("[]", Origins::None),
            ("''", Origins::None),
            ("['*']", Origins::Any),
            ("'*'", Origins::Any),
            ("['https://App.Example.com:443']", listed(&["https://app.example.com"])),
            ("'https://a.example, http://localhost:5173'", listed(&["https://a.example", "http://localhost:5173"])),
            (
                "['http://[::1]:80', 'https://b\u{fc}cher.example']",
                listed(&["http://[::1]", "https://xn--bcher-kva.example"]),
            ),
            ("['tauri://localhost', 'app://obsidian.md']", listed(&["tauri://localhost", "app://obsidian.md"])),
        ] {
            assert_eq!(read(toml), Ok(origins), "{toml}");
        }
    }

    #[test]
    fn an_error_names_the_item_that_is_not_an_origin() {
        for bad in [
            "",
            "null",
            "app.example.com",
            "https://",
            "https:///",
            "https://a.example/",
            "https://a.example/path",
            "https://a.example?x",
            "https://a.example#x",
            "https://me@a.example",
            "https://*.example",
            "https://a.example:99999",
            "https://a b",
            "://a.example",
            "file://",
        ] {
            let error = read(&format!("['https://good.example', {bad:?}]")).unwrap_err();
            assert!(error.contains("must be") && error.contains(&format!("{bad:?}")), "{bad}: {error}");
        }
        for bad in ["['*', 'https://a.example']", "3", "[1]", "true", "'https://a.example,'"] {
            assert!(read(bad).unwrap_err().contains("must be"), "{bad}");
        }
    }

    #[test]
    fn an_origin_is_allowed_only_if_it_matches_exactly() {
        let origins = listed(&["https://a.example"]);
        assert!(origins.allow(b"https://a.example") && Origins::Any.allow(b"null"));
        for other in [&b"http://a.example"[..], b"https://a.example.evil", b"https://A.example", b"null", b""] {
            assert!(!origins.allow(other) && !Origins::None.allow(other));
        }
    }
}
