//! The cryptography for secrets: random numbers, key hashing, sealing, signatures. It is built on ring and blake3,
//! without primitives of its own.

pub mod ed25519;
pub mod hash;
pub mod hmac;
pub mod mint;
pub mod random;
pub mod seal;
pub mod secret;
