//! Signatures of webhook deliveries: HMAC-SHA256 with the characters of a secret as the key.

use std::fmt::Write;

use ring::hmac;

use super::secret::Secret;

/// The signature of `body` with the secret's characters as the key, in hexadecimal.
pub fn sign(secret: &Secret, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    hmac::sign(&key, body).as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_matches_rfc_4231() {
        let signed = sign(&Secret::new("Jefe".to_owned()), b"what do ya want for nothing?");
        assert_eq!(signed, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
