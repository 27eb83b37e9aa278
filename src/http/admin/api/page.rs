//! Pagination of lists. A page has the items after a position. Positions are unique and ordered, so a walk through the
//! pages returns every item that exists throughout the walk exactly once, even during concurrent writes.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::field::PageLimit;
use crate::service::error::Error;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

/// The parameters of a list without filters.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct PageQuery {
    /// The maximum number of items on a page. Default: 100.
    pub(in crate::http) limit: Option<PageLimit>,
    /// The `pagination.cursor` of the previous page.
    pub(in crate::http) cursor: Option<String>,
}

/// The default number of items on a page.
const DEFAULT_LIMIT: usize = 100;

/// The requested page size, or the default.
pub(in crate::http) fn size(limit: Option<PageLimit>) -> usize {
    limit.map_or(DEFAULT_LIMIT, |limit| limit.0)
}

/// A page of a list.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "{T}Page")]
pub(in crate::http) struct Page<T> {
    items: Vec<T>,
    pagination: Pagination,
}

/// Whether more items follow, and the cursor of the next page.
#[derive(Serialize, JsonSchema)]
struct Pagination {
    has_more: bool,
    cursor: Option<String>,
}

impl<T> Page<T> {
    /// Makes a page. `next` is the position after which the next page starts, if more items follow.
    pub(in crate::http) fn new<P: Serialize>(list: &str, items: Vec<T>, next: Option<P>) -> Result<Self, Error> {
        let cursor = next.map(|position| encode(list, &position)).transpose()?;
        Ok(Self { items, pagination: Pagination { has_more: cursor.is_some(), cursor } })
    }

    /// Makes a page of the first `size` items of `rest`, which has all items after the previous page. `view` makes the
    /// shown item.
    pub(in crate::http) fn of<I: Clone, P: Serialize>(
        list: &str,
        rest: impl Iterator<Item = I>,
        size: usize,
        position: impl Fn(&I) -> P,
        view: impl Fn(I) -> T,
    ) -> Result<Self, Error> {
        let mut found: Vec<I> = rest.take(size.saturating_add(1)).collect();
        let has_more = found.len() > size;
        found.truncate(size);
        let next = found.last().filter(|_| has_more).map(position);
        Self::new(list, found.into_iter().map(view).collect(), next)
    }
}

/// Encodes a cursor. It is opaque to clients and valid for one list only.
fn encode<P: Serialize>(list: &str, position: &P) -> Result<String, Error> {
    let text = serde_json::to_vec(&(list, position)).map_err(Error::internal)?;
    Ok(URL_SAFE_NO_PAD.encode(text))
}

/// Decodes the position in a cursor of this list.
pub(in crate::http) fn decode<P: DeserializeOwned>(list: &str, cursor: &str) -> Result<P, Error> {
    let text = URL_SAFE_NO_PAD.decode(cursor).ok();
    let decoded = text.and_then(|text| serde_json::from_slice::<(String, P)>(&text).ok());
    let position = decoded.filter(|(found, _)| found == list).map(|(_, position)| position);
    position.ok_or_else(|| Error::invalid("invalid_cursor", "cursor: must be a cursor from a page of this list"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_returns_every_item_once_and_ends() {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let rest = (0..10_u64).filter(|item| after.is_none_or(|after| *item > after));
            let page = Page::of("numbers", rest, 5, |item| *item, |item| item).unwrap();
            seen.extend(page.items);
            assert_eq!(page.pagination.has_more, page.pagination.cursor.is_some());
            let Some(cursor) = page.pagination.cursor else { break };
            after = Some(decode::<u64>("numbers", &cursor).unwrap());
        }
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn a_cursor_is_valid_for_its_own_list_only() {
        let cursor = encode("numbers", &7_u64).unwrap();
        assert_eq!(decode::<u64>("numbers", &cursor).unwrap(), 7);
        assert!(decode::<u64>("letters", &cursor).is_err());
        for bad in ["", "nonsense", "AAAA", "é", &cursor[1..]] {
            assert!(decode::<u64>("numbers", bad).is_err(), "{bad}");
        }
        let other = encode("numbers", &"text").unwrap();
        assert!(decode::<u64>("numbers", &other).is_err());
    }
}
