//! Verifies a webhook delivery: `verify_webhook SECRET SIGNATURE < body` exits with 0 if it is genuine, with 1 if not.

use std::{
    env,
    io::{self, Read},
    process::ExitCode,
};

// ---- the code for a receiver

use ring::hmac;

fn verify(body: &[u8], signature: &str, secret: &str) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mut tags = signature.split(',').filter_map(|part| from_hex(part.trim().strip_prefix("v1=")?));
    tags.any(|tag| hmac::verify(&key, body, &tag).is_ok())
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()).collect()
}

// ---- a command that runs it

fn main() -> io::Result<ExitCode> {
    let mut arguments = env::args().skip(1);
    let (secret, signature) = (arguments.next().unwrap_or_default(), arguments.next().unwrap_or_default());
    let mut body = Vec::new();
    io::stdin().read_to_end(&mut body)?;
    Ok(if verify(&body, &signature, &secret) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
