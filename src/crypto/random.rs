//! Random numbers from the operating system.
//!
//! A request needs several ids, so each thread takes them from a small buffer that one system call fills. Secrets come
//! directly from the system and are never buffered.

use std::cell::RefCell;

use ring::rand::{SecureRandom, SystemRandom};
use uuid::Uuid;

/// The operating system gave no random numbers. The only remedy is to refuse the operation.
#[derive(Debug, Clone, Copy)]
pub struct NoRandom;

impl std::fmt::Display for NoRandom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the operating system gave no random numbers")
    }
}

impl std::error::Error for NoRandom {}

/// Fills `bytes` from the system.
pub fn fill(bytes: &mut [u8]) -> Result<(), NoRandom> {
    SystemRandom::new().fill(bytes).map_err(|_| NoRandom)
}

const BUFFERED: usize = 4096;

struct Buffer {
    bytes: [u8; BUFFERED],
    used: usize,
}

thread_local! {
    static BUFFER: RefCell<Buffer> = const { RefCell::new(Buffer { bytes: [0; BUFFERED], used: BUFFERED }) };
}

/// 128 random bits for an id.
pub fn id() -> Result<u128, NoRandom> {
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.used + 16 > BUFFERED {
            fill(&mut buffer.bytes)?;
            buffer.used = 0;
        }
        let mut id = [0; 16];
        id.copy_from_slice(&buffer.bytes[buffer.used..buffer.used + 16]);
        buffer.used += 16;
        Ok(u128::from_le_bytes(id))
    })
}

/// A random UUID (version 4).
pub fn uuid() -> Result<Uuid, NoRandom> {
    Ok(uuid::Builder::from_random_bytes(id()?.to_le_bytes()).into_uuid())
}

/// A ULID for something created at `now_ms`.
pub fn ulid(now_ms: u64) -> Result<u128, NoRandom> {
    Ok(ulid::Ulid::from_parts(now_ms, id()?).0)
}
