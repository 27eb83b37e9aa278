//! Ed25519 signatures (RFC 8032): checks that a body was signed with the private key of the operator's key system.

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::signature::{ED25519, UnparsedPublicKey};

use crate::domain::key::PublicKey;

const KEY_BYTES: usize = 32;

/// The length of the DER form that openssl writes. The key is at its end.
const DER_BYTES: usize = 44;

/// The points of small order: every encoding of y, with the sign bit of x cleared. These are 0, 1, −1, the two of order
/// 8, and 0 and 1 with the field's prime added. If one of them is the key, anyone can forge signatures, and ring does
/// not reject the key. RFC 7748, section 7, is about these points. The tests forge a signature for each.
const SMALL_ORDER: [[u8; KEY_BYTES]; 7] = [
    little_endian(0, 0, 0),
    little_endian(1, 0, 0),
    little_endian(0xec, 0xff, 0x7f),
    little_endian(0xed, 0xff, 0x7f),
    little_endian(0xee, 0xff, 0x7f),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

const fn little_endian(first: u8, middle: u8, last: u8) -> [u8; KEY_BYTES] {
    let mut bytes = [middle; KEY_BYTES];
    bytes[0] = first;
    bytes[KEY_BYTES - 1] = last;
    bytes
}

/// Reads a public key from base64. An error says what is expected.
pub fn parse_public_key(text: &str) -> Result<PublicKey, String> {
    let bytes = STANDARD.decode(text).map_err(|_| "must be the 32 bytes of an Ed25519 public key in base64")?;
    let key = PublicKey(bytes.as_slice().try_into().map_err(|_| match bytes.len() {
        DER_BYTES => {
            "must be 32 bytes in base64, but has 44: it is in DER form, and its last 32 bytes are the key".to_owned()
        }
        many => format!("must be 32 bytes in base64, but has {many}"),
    })?);
    if is_of_small_order(&key) {
        return Err("must not be a key of small order: anyone can forge signatures for it".to_owned());
    }
    Ok(key)
}

/// The text of a public key, in the form that [`parse_public_key`] reads.
pub fn public_key_text(key: &PublicKey) -> String {
    STANDARD.encode(key.0)
}

fn is_of_small_order(key: &PublicKey) -> bool {
    let mut y = key.0;
    y[KEY_BYTES - 1] &= 0x7f;
    SMALL_ORDER.contains(&y)
}

/// Whether `signature`, in base64, is a signature of exactly these bytes by this key.
pub fn is_signed(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    let signature = STANDARD.decode(signature).unwrap_or_default();
    UnparsedPublicKey::new(&ED25519, &key.0).verify(message, &signature).is_ok()
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    fn pair() -> (Ed25519KeyPair, PublicKey) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let public = PublicKey(pair.public_key().as_ref().try_into().unwrap());
        (pair, public)
    }

    #[test]
    fn a_signature_is_valid_only_for_its_own_bytes_and_key() {
        let (pair, public) = pair();
        let signature = pair.sign(br#"{"key": 1}"#);
        let text = STANDARD.encode(signature.as_ref());
        assert!(is_signed(&public, br#"{"key": 1}"#, text.as_bytes()));
        assert!(!is_signed(&public, br#"{"key":1}"#, text.as_bytes()));
        assert!(!is_signed(&PublicKey([7; 32]), br#"{"key": 1}"#, text.as_bytes()));
        for bad in ["", "=", "AAAA", &text[..86], &text[4..], &format!("{text} "), &format!("{text}AAAA"), "é"] {
            assert!(!is_signed(&public, br#"{"key": 1}"#, bad.as_bytes()), "{bad}");
        }
        for byte in 0..64 {
            let mut bent = signature.as_ref().to_vec();
            bent[byte] ^= 1;
            assert!(!is_signed(&public, br#"{"key": 1}"#, STANDARD.encode(bent).as_bytes()), "{byte}");
        }
    }

    #[test]
    fn the_first_vector_of_rfc_8032_verifies() {
        let key = parse_public_key("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=").unwrap();
        let signature = "5VZDAMNgrHKQhuLMgG6CioSHfx645dl02HPgZSJJAVVfuIIVkKM7rMYeOXAc+bRr0lv18FlbviRlUUFDjnoQCw==";
        assert!(is_signed(&key, b"", signature.as_bytes()));
        assert_eq!(public_key_text(&key), "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
    }

    #[test]
    fn an_invalid_key_is_rejected_with_its_length() {
        for (bytes, says) in [(0, "but has 0"), (31, "has 31"), (33, "has 33"), (44, "its last 32"), (64, "has 64")] {
            assert!(parse_public_key(&STANDARD.encode(vec![9; bytes])).unwrap_err().contains(says), "{bytes}");
        }
        for text in ["!", "AAA", "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo", "-----BEGIN PUBLIC KEY-----"] {
            assert!(parse_public_key(text).unwrap_err().contains("in base64"), "{text}");
        }
    }

    #[test]
    fn a_key_of_small_order_is_rejected() {
        // R is the neutral element and S is zero. This verifies if the hash times the key is neutral too.
        let forged = STANDARD.encode([&little_endian(1, 0, 0)[..], &[0; 32]].concat());
        for small in SMALL_ORDER {
            let forges = |key| (0_u8..200).any(|message| is_signed(key, &[message], forged.as_bytes()));
            assert!(forges(&PublicKey(small)), "{small:x?} is not of small order");
            for sign in [0, 0x80] {
                let mut encoded = small;
                encoded[31] |= sign;
                assert!(parse_public_key(&STANDARD.encode(encoded)).unwrap_err().contains("anyone"));
            }
        }
        let (_, public) = pair();
        assert!(!is_of_small_order(&public));
    }
}
