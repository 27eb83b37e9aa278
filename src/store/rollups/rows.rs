//! The rows of rollups: their keys and values in the table.

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        day::Hour,
        id::GroupId,
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

/// Writes the key of a row: hour, group, slug, zero byte, key. Sorted by time. A slug contains no zero byte.
pub(in crate::store) fn write_key(key: &mut Vec<u8>, at_ms: u64, settled: &Settled<'_>) {
    key.clear();
    key.extend_from_slice(&Hour::from_unix_ms(at_ms).0.to_be_bytes());
    key.extend_from_slice(&settled.group().0.to_be_bytes());
    key.extend_from_slice(settled.model_slug.as_bytes());
    key.push(0);
    key.extend_from_slice(settled.api_key_prefix.as_bytes());
}

pub(super) fn read_row(key: &[u8], value: &[u8]) -> Result<Rollup, StoreError> {
    let (hour, rest) = key.split_first_chunk::<4>().ok_or(DAMAGED)?;
    let (group, names) = rest.split_first_chunk::<16>().ok_or(DAMAGED)?;
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
    })
}
