//! The store: tables computed from the journal, so that a start does not have to read the whole journal, and data that
//! is kept longer than the journal's records.
//!
//! * The store folds the log in order and keeps its own sums. Each write is one atomic batch of absolute values with
//!   `applied`, the last sequence number that they include, so nothing is counted twice.
//! * It takes durable records only. A store that includes records beyond the end of the log does not belong to that log
//!   and is discarded.
//! * It is disposable. If anything is wrong with it, it is moved aside and rebuilt from a snapshot and the log, and
//!   that is reported. This also holds at run time: after a sled error, the store is neither read nor written any more.
//! * Records that totals do not include because the log has lost them are listed in the store.

mod alerts;
mod apply;
mod audit;
mod catalog_rows;
mod checked;
mod compare;
mod database;
mod error;
mod fold;
mod handle;
mod migrate;
mod open;
mod progress;
mod rollups;
pub mod snapshot;
mod sum_rows;
mod table;
#[cfg(test)]
mod tests;
mod webhooks;
mod windows;

pub use self::{
    alerts::StoredAlert,
    audit::IndexedChange,
    catalog_rows::Rows,
    checked::FileError,
    compare::{load_copy, open_copy, scratch, unreadable_rollups},
    error::StoreError,
    fold::{FoldError, Folder},
    handle::Store,
    open::{Opened, open},
    progress::{Cursor, WebhookProgress},
    rollups::file::Grain,
    webhooks::{DeadLetterRow, StoredContents},
    windows::{SpentRow, UsedRow},
};
