//! Sealing of stored credentials and webhook secrets: AES-256-GCM with a fresh random nonce, stored before the
//! ciphertext. The owner's id is authenticated too, so that a sealed value cannot be moved to another owner.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::{
    random::{self, NoRandom},
    secret::Secret,
};

/// Seals and opens credentials with the installation's sealing key.
pub struct Sealer(LessSafeKey);

/// The sealed value cannot be opened: it was damaged, or sealed with another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CannotOpen;

impl std::fmt::Display for CannotOpen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a stored secret cannot be opened with this installation's sealing key")
    }
}

impl std::error::Error for CannotOpen {}

impl Sealer {
    /// Uses the installation's sealing key.
    pub fn new(key: [u8; 32]) -> Result<Self, CannotOpen> {
        UnboundKey::new(&AES_256_GCM, &key).map(|key| Self(LessSafeKey::new(key))).map_err(|_| CannotOpen)
    }

    /// Seals a value for storage. `owner` is the id of the object that it belongs to.
    pub fn seal(&self, owner: u128, value: &Secret) -> Result<Vec<u8>, NoRandom> {
        let mut nonce = [0; NONCE_LEN];
        random::fill(&mut nonce)?;
        let mut text = value.expose().as_bytes().to_vec();
        let aad = Aad::from(owner.to_le_bytes());
        self.0.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut text).map_err(|_| NoRandom)?;
        Ok([nonce.as_slice(), &text].concat())
    }

    /// Opens a stored value.
    pub fn open(&self, owner: u128, sealed: &[u8]) -> Result<Secret, CannotOpen> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or(CannotOpen)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| CannotOpen)?;
        let mut text = text.to_vec();
        let opened = self.0.open_in_place(nonce, Aad::from(owner.to_le_bytes()), &mut text).map_err(|_| CannotOpen)?;
        String::from_utf8(opened.to_vec()).map(Secret::new).map_err(|_| CannotOpen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_only_with_its_own_id_and_key() {
        let sealer = Sealer::new([7; 32]).unwrap();
        let value = Secret::new("sk-upstream".to_owned());
        let sealed = sealer.seal(1, &value).unwrap();
        assert!(!sealed.windows(4).any(|window| window == b"sk-u"));
        assert_ne!(sealed, sealer.seal(1, &value).unwrap());
        assert_eq!(sealer.open(1, &sealed).unwrap().expose(), "sk-upstream");
        assert!(sealer.open(2, &sealed).is_err());
        assert!(Sealer::new([8; 32]).unwrap().open(1, &sealed).is_err());
        for cut in 0..sealed.len() {
            assert!(sealer.open(1, &sealed[..cut]).is_err());
        }
    }
}
