//! Lists, page by page. A page is the items after a position; positions are unique and ordered, so a walk meets every
//! item that was there throughout exactly once, whatever is written meanwhile.

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
pub(super) struct PageQuery {
    /// Items on a page; 100 when left out.
    pub(super) limit: Option<PageLimit>,
    /// `pagination.cursor` of the page before.
    pub(super) cursor: Option<String>,
}

/// How many items a page has when nobody says.
const DEFAULT_LIMIT: usize = 100;

/// The page's size that was asked for.
pub(super) fn size(limit: Option<PageLimit>) -> usize {
    limit.map_or(DEFAULT_LIMIT, |limit| limit.0)
}

/// A page of a list.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "{T}Page")]
pub(super) struct Page<T> {
    items: Vec<T>,
    pagination: Pagination,
}

/// Whether there is more, and where.
#[derive(Serialize, JsonSchema)]
struct Pagination {
    has_more: bool,
    cursor: Option<String>,
}

impl<T> Page<T> {
    /// A page that goes on at `next`, if there is more.
    pub(super) fn new<P: Serialize>(list: &str, items: Vec<T>, next: Option<P>) -> Result<Self, Error> {
        let cursor = next.map(|position| encode(list, &position)).transpose()?;
        Ok(Self { items, pagination: Pagination { has_more: cursor.is_some(), cursor } })
    }

    /// The first `size` of `rest`, which is everything after the page before, shown by `view`.
    pub(super) fn of<I: Clone, P: Serialize>(
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

/// A cursor: opaque to clients, and good for one list only.
fn encode<P: Serialize>(list: &str, position: &P) -> Result<String, Error> {
    let text = serde_json::to_vec(&(list, position)).map_err(Error::internal)?;
    Ok(URL_SAFE_NO_PAD.encode(text))
}

/// The position that a cursor of this list holds.
pub(super) fn decode<P: DeserializeOwned>(list: &str, cursor: &str) -> Result<P, Error> {
    let text = URL_SAFE_NO_PAD.decode(cursor).ok();
    let decoded = text.and_then(|text| serde_json::from_slice::<(String, P)>(&text).ok());
    let position = decoded.filter(|(found, _)| found == list).map(|(_, position)| position);
    position.ok_or_else(|| Error::invalid("invalid_cursor", "cursor: must be a cursor that this list gave"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_sees_everything_once_and_ends() {
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
    fn a_cursor_is_good_for_its_own_list_only() {
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
