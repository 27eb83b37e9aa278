//! Everything that a secret passes through: random numbers, key hashing, sealing, signatures. Built on ring and blake3;
//! nothing here invents cryptography.

pub mod ed25519;
pub mod hash;
pub mod hmac;
pub mod mint;
pub mod random;
pub mod seal;
pub mod secret;
