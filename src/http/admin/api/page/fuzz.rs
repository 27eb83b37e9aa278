//! Forged cursors.

use serde::{Serialize, de::DeserializeOwned};

use super::{decode, encode};

const LIST: &str = "list";

/// If a cursor is accepted, encoding its position gives a cursor for the same position.
pub(crate) fn cursor(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    walk::<String>(text);
    walk::<u128>(text);
    walk::<(u64, Option<u64>, Option<String>)>(text);
}

fn walk<P: Serialize + DeserializeOwned + PartialEq>(text: &str) {
    let Ok(position) = decode::<P>(LIST, text) else { return };
    let again = encode(LIST, &position).and_then(|cursor| decode::<P>(LIST, &cursor));
    assert!(again.is_ok_and(|again| again == position));
}
