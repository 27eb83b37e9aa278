//! The rows of rollups: their keys and values in the table.

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        day::Hour,
        id::{GroupId, SlugId},
        rollup::{Rollup, Sums},
        settled::Settled,
    },
    store::{
        error::StoreError,
        table::{DAMAGED, decode},
    },
};

/// The value of a row.
#[derive(Serialize, Deserialize)]
pub(in crate::store) struct Stored {
    pub(in crate::store) external_entity_id: String,
    pub(in crate::store) sums: Sums,
}

/// Writes the key of a row: hour, group, slug, zero byte, key, the slug's id. Sorted by time. A slug contains no zero
/// byte.
pub(in crate::store) fn write_key(key: &mut Vec<u8>, at_ms: u64, settled: &Settled<'_>) {
    key.clear();
    key.extend_from_slice(&Hour::from_unix_ms(at_ms).0.to_be_bytes());
    key.extend_from_slice(&settled.group().0.to_be_bytes());
    key.extend_from_slice(settled.model_slug.as_bytes());
    key.push(0);
    key.extend_from_slice(settled.api_key_prefix.as_bytes());
    key.extend_from_slice(&settled.slug.0.to_be_bytes());
}

/// The key of a row that was stored without the slug's id. 0 stands for an unknown id.
pub(in crate::store) fn key_with_id(
    key: &[u8],
    id_of: impl FnOnce(&str, Hour) -> Option<SlugId>,
) -> Result<Vec<u8>, StoreError> {
    let hour = key.first_chunk::<4>().map(|hour| Hour(u32::from_be_bytes(*hour))).ok_or(DAMAGED)?;
    let names = key.get(20..).and_then(|names| std::str::from_utf8(names).ok()).ok_or(DAMAGED)?;
    let (model_slug, _) = names.split_once('\0').ok_or(DAMAGED)?;
    Ok([key, &id_of(model_slug, hour).map_or(0, |id| id.0).to_be_bytes()].concat())
}

pub(super) fn read_row(key: &[u8], value: &[u8]) -> Result<Rollup, StoreError> {
    let (hour, rest) = key.split_first_chunk::<4>().ok_or(DAMAGED)?;
    let (group, names) = rest.split_first_chunk::<16>().ok_or(DAMAGED)?;
    let (names, slug) = names.split_last_chunk::<8>().ok_or(DAMAGED)?;
    let names = std::str::from_utf8(names).map_err(|_| DAMAGED)?;
    let (model_slug, api_key_prefix) = names.split_once('\0').ok_or(DAMAGED)?;
    let Stored { external_entity_id, sums } = decode(value)?;
    Ok(Rollup {
        hour: Hour(u32::from_be_bytes(*hour)),
        group: GroupId(u128::from_be_bytes(*group)),
        external_entity_id,
        model_slug: model_slug.to_owned(),
        api_key_prefix: api_key_prefix.to_owned(),
        sums,
        slug: Some(SlugId(u64::from_be_bytes(*slug))).filter(|slug| slug.0 > 0),
    })
}
