//! Everything that a secret passes through: random numbers, key hashing, sealing. Built on ring and blake3; nothing
//! here invents cryptography.

pub mod hash;
pub mod hmac;
pub mod mint;
pub mod random;
pub mod seal;
pub mod secret;
