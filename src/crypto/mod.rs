//! The cryptography for secrets: random numbers, key hashing, sealing, signatures, certificates. It is built on ring,
//! rustls and blake3, without primitives of its own.

pub mod certificate;
pub mod ed25519;
pub mod hash;
pub mod hmac;
pub mod mint;
pub mod random;
pub mod seal;
pub mod secret;
