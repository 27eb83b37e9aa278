//! The store's format has a number from its first day; a step from each older format to the next will be listed here.

use super::StoreError;

/// The format that this version writes.
pub(super) const FORMAT: u32 = 1;

/// Brings a store of the format `found` to [`FORMAT`].
pub(super) fn migrate(found: u32) -> Result<(), StoreError> {
    if found > FORMAT { Err(StoreError::Newer { found }) } else { Err(StoreError::Damaged("its format has no number")) }
}
