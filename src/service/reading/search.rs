//! Searches for groups, keys and endpoints by part of a name, slug or key prefix, or by a whole key.
//!
//! A search scans the whole catalog, which is in memory. So it needs no index.

use std::sync::Arc;

use memchr::memmem::Finder;

use crate::{
    crypto::secret::Secret,
    domain::{id::EndpointId, registered},
    service::{
        catalog::{Catalog, GroupNode, KeyEntry},
        error::Error,
    },
};

/// The most results.
const MAX_FOUND: usize = 20;

/// A result.
pub enum Found {
    /// An endpoint with its slug, found by the slug.
    Endpoint(EndpointId, String),
    /// A group, found by its name, its external entity id or its id.
    Group(Arc<GroupNode>),
    /// A key, found by its prefix or its name.
    ApiKey(Arc<KeyEntry>),
}

/// The results of a search.
pub struct SearchResult {
    /// The results, best first: those that equal the text, that begin with it, that contain it in a name, that contain
    /// it in an id.
    pub found: Vec<Found>,
    /// Whether there are more results.
    pub more: bool,
}

/// Searches groups and keys, and endpoints if `with_endpoints`. The text may be a whole key, so it is neither stored
/// nor logged.
pub async fn search(catalog: Arc<Catalog>, text: Secret, with_endpoints: bool) -> Result<SearchResult, Error> {
    // With many groups, a search would block a worker thread and its other requests for too long.
    let search = move || search_catalog(&catalog, text.expose(), with_endpoints);
    tokio::task::spawn_blocking(search).await.map_err(Error::internal)
}

fn search_catalog(catalog: &Catalog, text: &str, with_endpoints: bool) -> SearchResult {
    let text = text.trim();
    let mut search = Search::new(text);
    let whole_key = key_of(catalog, text);
    // Endpoints come first. There are few of them, and they would be hard to find among thousands of customers.
    for endpoint in catalog.endpoints().values().filter(|_| with_endpoints) {
        let slug = catalog.slug_name(endpoint.slug);
        let rank = search.rank([Some(slug)], None);
        search.take(rank, || Found::Endpoint(endpoint.id, slug.to_owned()));
    }
    for node in catalog.groups().values() {
        if search.is_over() {
            break;
        }
        let group = node.group();
        let id = group.id.to_string();
        let rank = search.rank([group.name.as_deref(), Some(&group.external_entity_id)], Some(&id));
        search.take(rank, || Found::Group(node.clone()));
    }
    for entry in catalog.keys() {
        if search.is_over() {
            break;
        }
        let is_whole = whole_key.as_ref().is_some_and(|whole| Arc::ptr_eq(whole, entry));
        let rank = search.rank([entry.key.name.as_deref()], Some(&entry.key.prefix));
        search.take(if is_whole { Some(0) } else { rank }, || Found::ApiKey(entry.clone()));
    }
    search.result()
}

/// Returns the key that the text is, by its prefix: the part before the dot of a minted key, or the first characters of
/// a registered key. The rest of the text is not checked.
fn key_of(catalog: &Catalog, text: &str) -> Option<Arc<KeyEntry>> {
    let minted = text.split_once('.').map(|(prefix, _)| prefix);
    let registered = text.get(..registered::PREFIX_CHARS).filter(|_| text.len() >= registered::MIN_CHARS);
    minted.into_iter().chain(registered).find_map(|prefix| catalog.key_by_prefix(prefix)).cloned()
}

/// A search in progress. Ranks: 0 for an equal text, 1 for one that begins with the search text, 2 for a name that
/// contains it, 3 for an id that contains it. The last is the worst, since an id may contain a short text by chance.
struct Search<'a> {
    finder: Finder<'a>,
    length: usize,
    /// The text that is being compared, in lower case.
    lower: String,
    found: [Vec<Found>; 4],
    more: bool,
}

impl Search<'_> {
    fn new(text: &str) -> Self {
        let text = text.to_lowercase();
        Self {
            finder: Finder::new(&text).into_owned(),
            length: text.len(),
            lower: String::new(),
            found: [const { Vec::new() }; 4],
            more: false,
        }
    }

    /// The best rank of these texts; `None` if no text matches.
    fn rank<const N: usize>(&mut self, names: [Option<&str>; N], id: Option<&str>) -> Option<usize> {
        let by_name = names.into_iter().flatten().filter_map(|name| self.rank_of(name)).min();
        let by_id = id.and_then(|id| self.rank_of(id)).map(|rank| if rank == 2 { 3 } else { rank });
        by_name.into_iter().chain(by_id).min()
    }

    fn rank_of(&mut self, text: &str) -> Option<usize> {
        self.lower.clear();
        if text.is_ascii() {
            self.lower.push_str(text);
            self.lower.make_ascii_lowercase();
        } else {
            self.lower.push_str(&text.to_lowercase());
        }
        let at = self.finder.find(self.lower.as_bytes())?;
        Some(if self.lower.len() == self.length {
            0
        } else if at == 0 {
            1
        } else {
            2
        })
    }

    fn take(&mut self, rank: Option<usize>, found: impl FnOnce() -> Found) {
        let Some(of_rank) = rank.and_then(|rank| self.found.get_mut(rank)) else { return };
        if of_rank.len() < MAX_FOUND {
            of_rank.push(found());
        } else {
            self.more = true;
        }
    }

    /// Whether further matches cannot change the results.
    fn is_over(&self) -> bool {
        self.more && self.found[0].len() == MAX_FOUND
    }

    fn result(self) -> SearchResult {
        let mut found: Vec<_> = self.found.into_iter().flatten().collect();
        let more = self.more || found.len() > MAX_FOUND;
        found.truncate(MAX_FOUND);
        SearchResult { found, more }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(text: &str, names: [Option<&str>; 2], id: Option<&str>) -> Option<usize> {
        Search::new(text).rank(names, id)
    }

    #[test]
    fn matches_rank_by_whole_then_beginning_then_part_of_a_name_then_part_of_an_id() {
        let names = [Some("Acme Prod"), Some("cust_acme")];
        for (text, expected) in [
            ("acme prod", Some(0)),
            ("CUST_ACME", Some(0)),
            ("01j9x7", Some(0)),
            ("Acme", Some(1)),
            ("01j", Some(1)),
            ("prod", Some(2)),
            ("9x", Some(3)),
            ("acme product", None),
        ] {
            assert_eq!(rank(text, names, Some("01J9X7")), expected, "{text}");
        }
    }

    #[test]
    fn case_is_ignored_in_every_script() {
        for (text, name) in [("STRASSE", "Hauptstrasse"), ("ÉTÉ", "L'été"), ("ёлк", "ЁЛКА"), ("大学", "東京大学")]
        {
            assert!(rank(text, [None, Some(name)], None).is_some(), "{text} in {name}");
        }
    }
}
