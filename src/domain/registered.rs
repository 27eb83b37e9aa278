//! The checks for a customer's existing key when it is registered. Tollgate did not make the key, so its strength is
//! unknown.

use std::fmt;

/// The number of leading characters that become a registered key's prefix.
pub const PREFIX_CHARS: usize = 16;

/// The shortest registered key, in characters.
pub const MIN_CHARS: usize = 32;
/// The longest registered key, in characters.
pub const MAX_CHARS: usize = 128;

/// The least entropy, in bits per character.
const MIN_ENTROPY: f64 = 3.0;

/// Why a key cannot be registered. The message does not reveal the key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum InvalidKey {
    /// Its length, in characters, is out of range.
    Length(usize),
    /// It has a character that cannot be sent in a header or that looks like another one.
    Character,
    /// It is too easy to guess. The value is its entropy in bits per character.
    Entropy(f64),
}

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(found) => {
                write!(f, "must be {MIN_CHARS} to {MAX_CHARS} characters long; this one has {found}")
            }
            Self::Character => f.write_str("must be visible ASCII characters only, without spaces"),
            // Truncated, so that 2.99 is not shown as 3.0.
            Self::Entropy(found) => write!(
                f,
                "must have at least {MIN_ENTROPY:.1} bits of entropy per character; this one has {:.1}",
                (found * 10.0).floor() / 10.0
            ),
        }
    }
}

impl std::error::Error for InvalidKey {}

/// Checks that a key may be registered.
pub fn check(key: &str) -> Result<(), InvalidKey> {
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(InvalidKey::Character);
    }
    if !(MIN_CHARS..=MAX_CHARS).contains(&key.len()) {
        return Err(InvalidKey::Length(key.len()));
    }
    let entropy = entropy(key.as_bytes());
    if entropy < MIN_ENTROPY { Err(InvalidKey::Entropy(entropy)) } else { Ok(()) }
}

/// The prefix of a key that passed [`check`].
pub fn prefix(key: &str) -> &str {
    key.get(..PREFIX_CHARS).unwrap_or(key)
}

/// The entropy in bits per character, from character frequencies (Shannon, "A Mathematical Theory of Communication",
/// 1948, section 6).
fn entropy(text: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    text.iter().for_each(|&byte| counts[usize::from(byte)] += 1);
    let all = text.len() as f64;
    let of_one = |count: u32| f64::from(count) / all * (all / f64::from(count)).log2();
    counts.into_iter().filter(|&count| count > 0).map(of_one).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "live_0123456789abcdefghijklmnopqrstuv";

    #[test]
    fn entropy_is_shannon_entropy() {
        assert_eq!(entropy(b"aaaa"), 0.0);
        assert_eq!(entropy(b"abab"), 1.0);
        assert_eq!(entropy(b"abcdabcd"), 2.0);
        assert_eq!(entropy(b"abcdefgh"), 3.0);
        assert!((entropy(b"aab") - 0.918_295_834).abs() < 1e-9);
    }

    #[test]
    fn a_key_is_32_to_128_characters() {
        let of_length = |length: usize| check(&GOOD.repeat(4)[..length]);
        for good in [32, 33, 127, 128] {
            assert_eq!(of_length(good), Ok(()));
        }
        for bad in [0, 1, 31, 129] {
            assert_eq!(of_length(bad), Err(InvalidKey::Length(bad)));
        }
    }

    #[test]
    fn a_key_is_visible_ascii() {
        for bad in [' ', '\t', '\n', '\0', '\u{7f}', 'é', '🔑', '\u{a0}'] {
            assert_eq!(check(&format!("{GOOD}{bad}")), Err(InvalidKey::Character), "{bad:?}");
        }
        for good in ['.', '/', '%', '+', '?', '#', '"', '\\', '!', '~'] {
            assert_eq!(check(&format!("{GOOD}{good}")), Ok(()), "{good}");
        }
    }

    #[test]
    fn a_key_needs_three_bits_of_entropy_per_character() {
        assert_eq!(check(&"abcdefgh".repeat(4)), Ok(()), "exactly three bits");
        assert_eq!(check(&"a".repeat(32)), Err(InvalidKey::Entropy(0.0)));
        let nearly = check(&format!("{}a", "abcdefgh".repeat(4))).unwrap_err();
        assert!(nearly.to_string().ends_with("this one has 2.9"), "{nearly}");
    }

    #[test]
    fn the_prefix_is_the_first_sixteen_characters() {
        assert_eq!(prefix(GOOD), "live_0123456789a");
    }
}
