//! Removes the operator's credential from errors, because some servers repeat it.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};

use super::as_read::{AsRead, BLANK, runs};
use crate::crypto::secret::Secret;

/// Credentials shorter than this are placeholders for servers without keys. Blanking them would blank ordinary words.
const MIN_CREDENTIAL: usize = 4;

/// The marks with which servers mask a part of a credential.
const MASKS: [&str; 5] = ["***", "…", "...", "●●●", "•••"];

/// Returns a server's text without the credential that was sent to it. Finds it in any case, encoded in base64, and
/// partly masked.
pub fn without_credential(text: &str, credential: Option<&Secret>) -> String {
    let Some(credential) = credential.map(Secret::expose).filter(|credential| credential.len() >= MIN_CREDENTIAL)
    else {
        return text.to_owned();
    };
    let read = AsRead::of(text);
    let mut hidden = Vec::new();
    let (lower, wanted) = (read.text.to_ascii_lowercase(), AsRead::of(credential).text.to_ascii_lowercase());
    hidden.extend(lower.match_indices(&wanted).map(|(at, _)| at..at + wanted.len()));
    for encoded in in_base64(credential.as_bytes()) {
        hidden.extend(read.text.match_indices(&encoded).map(|(at, _)| at..at + encoded.len()));
    }
    for at in runs(&read.text, |c| c.is_alphanumeric() || is_mark(c)) {
        if is_masked(&lower[at.clone()], &wanted) {
            hidden.push(at);
        }
    }
    read.replace(hidden, BLANK)
}

/// The forms that these bytes can have within base64, one for each alignment and alphabet. The characters at the edges
/// are left out, since they also depend on the neighboring bytes.
fn in_base64(bytes: &[u8]) -> Vec<String> {
    let mut forms = Vec::new();
    for offset in 0..3 {
        let padded = [&[0; 2][..offset.min(2)], bytes].concat();
        let encoded = STANDARD_NO_PAD.encode(&padded);
        let start = [0, 2, 3][offset];
        let end = encoded.len() - usize::from(padded.len() % 3 != 0);
        if let Some(core) = encoded.get(start..end).filter(|core| core.len() >= MIN_CREDENTIAL) {
            forms.extend([core.to_owned(), core.replace('+', "-").replace('/', "_")]);
        }
    }
    forms
}

/// Whether a word consists of one end of a credential, or both, and marks in place of the rest.
fn is_masked(word: &str, credential: &str) -> bool {
    let Some(first) = MASKS.iter().filter_map(|mask| word.find(mask)).min() else { return false };
    let brackets = ['[', ']'];
    let head = word[..first].trim_end_matches(brackets).rsplit(brackets).next().unwrap_or_default();
    let tail = word[first..].trim_start_matches(is_mark).split(brackets).next().unwrap_or_default();
    let begins = credential.starts_with(head.trim_end_matches(['-', '_']));
    (head.len() >= 3 && begins) || (tail.len() >= 3 && credential.ends_with(tail))
}

fn is_mark(c: char) -> bool {
    matches!(c, '-' | '_' | '.' | '*' | '…' | '●' | '•' | '[' | ']')
}
