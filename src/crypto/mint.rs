//! New secrets. A key is `BRAND_` and 12 base62 characters that identify it, a dot, and 43 base62 characters (256 bits)
//! that are secret.

use super::{
    random::{self, NoRandom},
    secret::Secret,
};

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const PREFIX_CHARS: usize = 12;
/// 43 × log2(62) = 256.03 bits.
const SECRET_CHARS: usize = 43;

/// A new key.
pub struct Minted {
    /// The public part.
    pub prefix: String,
    /// The whole key, to be shown once.
    pub key: Secret,
}

/// Makes a key whose prefix starts with `brand` and an underscore.
pub fn mint(brand: &str) -> Result<Minted, NoRandom> {
    let prefix = format!("{brand}_{}", base62(PREFIX_CHARS)?);
    let key = Secret::new(format!("{prefix}.{}", base62(SECRET_CHARS)?));
    Ok(Minted { prefix, key })
}

/// Makes a secret of 256 bits that starts with `brand` and an underscore.
pub fn secret(brand: &str) -> Result<Secret, NoRandom> {
    Ok(Secret::new(format!("{brand}_{}", base62(SECRET_CHARS)?)))
}

/// Uniformly random characters. Bytes from 248, the last multiple of 62, upwards are discarded, because they would make
/// the first characters more likely.
fn base62(length: usize) -> Result<String, NoRandom> {
    let mut text = String::with_capacity(length);
    let mut bytes = [0; 64];
    while text.len() < length {
        random::fill(&mut bytes)?;
        let uniform = bytes.iter().filter(|&&byte| byte < 248).map(|&byte| char::from(BASE62[usize::from(byte) % 62]));
        text.extend(uniform.take(length - text.len()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_prefix_and_a_secret_of_256_bits() {
        let one = mint("sk").unwrap();
        let (prefix, secret) = one.key.expose().split_once('.').unwrap();
        assert_eq!(prefix, one.prefix);
        assert!(prefix.starts_with("sk_") && prefix.len() == 15 && secret.len() == 43);
        assert!(secret.bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_ne!(mint("sk").unwrap().prefix, one.prefix);
        assert_eq!(format!("{:?}", one.key), "***");
    }
}
