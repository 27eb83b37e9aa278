//! The certificate and the private key of a listener, read from PEM files and checked.
//!
//! A [`Certificate`] can be served: its key belongs to it, and it was valid when it was read. Every fault names the file
//! that has to be changed. No fault contains a part of a file.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
};

use memchr::memmem;
use rustls::{
    Error, InconsistentKeys,
    crypto::ring::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use x509_cert::der::Decode;

use crate::domain::time::rfc3339;

#[cfg(test)]
mod tests;

/// The largest file that is read, in bytes. A chain of certificates has a few KiB.
const MAX_FILE: u64 = 1 << 20;

/// The permissions of users who are neither the owner of a file nor in its group.
const OTHERS: u32 = 0o007;

/// The marks of an encrypted key: PKCS #8, and the older form of OpenSSL.
const ENCRYPTED: [&[u8]; 2] = [b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED"];

/// The contents of a certificate's two files.
pub struct Pem {
    certificate: Vec<u8>,
    key: Vec<u8>,
    key_mode: u32,
}

/// A certificate with its key.
pub struct Certificate {
    /// The chain and the key, for TLS.
    pub certified: Arc<CertifiedKey>,
    /// The distinguished name of the certificate's subject, in the form of RFC 4514. It may be empty.
    pub subject: String,
    /// The distinguished name of its issuer.
    pub issuer: String,
    /// The beginning of its validity, in Unix ms.
    pub not_before_ms: u64,
    /// The end of its validity, in Unix ms.
    pub not_after_ms: u64,
}

/// The reason why a certificate cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub struct Unusable {
    /// The file that has to be changed.
    pub file: Part,
    /// The fault of that file.
    pub fault: Fault,
}

/// One of a certificate's two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The file of the certificate and its intermediate certificates.
    Certificate,
    /// The file of the private key.
    Key,
}

/// The fault of a file, as a predicate for a sentence about that file.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// It cannot be read; the error.
    Unreadable(String),
    /// It is larger than [`MAX_FILE`], or not a regular file.
    NotAFile,
    /// It has no PEM section.
    NotPem,
    /// One of its PEM sections is cut off or is not base64.
    BrokenPem,
    /// It has PEM sections, but none of them is a certificate.
    NoCertificate,
    /// It has PEM sections, but none of them is a private key.
    NoKey,
    /// Its key is encrypted.
    EncryptedKey,
    /// Its key is of a kind that is not supported.
    UnsupportedKey,
    /// Its first certificate cannot be parsed; the error.
    InvalidCertificate(String),
    /// Its key is not that of the certificate.
    KeyMismatch,
    /// Its first certificate expired at this time, in Unix ms.
    Expired(u64),
    /// Its first certificate is valid from this time on, in Unix ms.
    NotYetValid(u64),
}

impl Fault {
    fn of(self, file: Part) -> Unusable {
        Unusable { file, fault: self }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "cannot be read: {error}"),
            Self::NotAFile => f.write_str("is not a regular file of at most 1 MiB"),
            Self::NotPem => f.write_str("is not PEM: it has no line -----BEGIN …-----"),
            Self::BrokenPem => f.write_str("is not valid PEM: a section has no END line, or its base64 is damaged"),
            Self::NoCertificate => f.write_str("has no certificate (-----BEGIN CERTIFICATE-----)"),
            Self::NoKey => f.write_str("has no private key (-----BEGIN PRIVATE KEY-----)"),
            Self::EncryptedKey => {
                f.write_str("is encrypted, and Tollgate cannot ask for the passphrase: decrypt it with openssl pkey")
            }
            Self::UnsupportedKey => f.write_str(
                "has a key that is not supported: use RSA of 2048 to 8192 bits, ECDSA P-256 or P-384, or Ed25519",
            ),
            Self::InvalidCertificate(error) => write!(f, "has a certificate that cannot be parsed: {error}"),
            Self::KeyMismatch => f.write_str("does not match the first certificate of the certificate's file"),
            Self::Expired(at_ms) => write!(f, "has expired: it was valid until {}", rfc3339(*at_ms)),
            Self::NotYetValid(at_ms) => write!(f, "is not valid yet: it is valid from {}", rfc3339(*at_ms)),
        }
    }
}

impl Pem {
    /// Reads both files.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, Unusable> {
        let (certificate, _) = read(certificate).map_err(|fault| fault.of(Part::Certificate))?;
        let (key, key_mode) = read(key).map_err(|fault| fault.of(Part::Key))?;
        Ok(Self { certificate, key, key_mode })
    }

    /// A hash of both contents, which shows whether they have changed.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.certificate.len().to_le_bytes()).update(&self.certificate).update(&self.key);
        hasher.finalize().into()
    }

    /// The permissions of the key's file, if every user of the machine may read or change it.
    pub fn exposed_mode(&self) -> Option<u32> {
        (self.key_mode & OTHERS != 0).then_some(self.key_mode)
    }

    /// Parses and checks the certificate and its key.
    pub fn certificate(&self, now_ms: u64) -> Result<Certificate, Unusable> {
        let chain = self.chain().map_err(|fault| fault.of(Part::Certificate))?;
        let invalid = |error: String| Fault::InvalidCertificate(error).of(Part::Certificate);
        let first = chain.first().ok_or(Fault::NoCertificate.of(Part::Certificate))?;
        let parsed = x509_cert::Certificate::from_der(first).map_err(|error| invalid(error.to_string()))?;
        let parsed = parsed.tbs_certificate();

        let key = self.private_key().map_err(|fault| fault.of(Part::Key))?;
        let key = any_supported_type(&key).map_err(|_| Fault::UnsupportedKey.of(Part::Key))?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => return Err(Fault::KeyMismatch.of(Part::Key)),
            Err(error) => return Err(invalid(error.to_string())),
        }

        let unix_ms = |time: x509_cert::time::Time| time.to_unix_duration().as_secs().saturating_mul(1000);
        let not_before_ms = unix_ms(parsed.validity().not_before);
        let not_after_ms = unix_ms(parsed.validity().not_after);
        if now_ms > not_after_ms {
            return Err(Fault::Expired(not_after_ms).of(Part::Certificate));
        }
        if now_ms < not_before_ms {
            return Err(Fault::NotYetValid(not_before_ms).of(Part::Certificate));
        }
        Ok(Certificate {
            certified: Arc::new(certified),
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
            not_before_ms,
            not_after_ms,
        })
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, Fault> {
        check_is_pem(&self.certificate)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        chain.map_err(|_| Fault::BrokenPem)
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, Fault> {
        check_is_pem(&self.key)?;
        if ENCRYPTED.iter().any(|mark| memmem::find(&self.key, mark).is_some()) {
            return Err(Fault::EncryptedKey);
        }
        match PrivateKeyDer::pem_slice_iter(&self.key).next() {
            Some(key) => key.map_err(|_| Fault::BrokenPem),
            None => Err(Fault::NoKey),
        }
    }
}

fn check_is_pem(contents: &[u8]) -> Result<(), Fault> {
    memmem::find(contents, b"-----BEGIN ").map(drop).ok_or(Fault::NotPem)
}

/// Reads a file. Returns its contents and its permissions.
fn read(path: &Path) -> Result<(Vec<u8>, u32), Fault> {
    let unreadable = |error: io::Error| Fault::Unreadable(error.to_string());
    // Opening a named pipe would wait for its writer.
    if !path.metadata().map_err(unreadable)?.is_file() {
        return Err(Fault::NotAFile);
    }
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    let mut contents = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut contents).map_err(unreadable)?;
    if contents.len() as u64 > MAX_FILE { Err(Fault::NotAFile) } else { Ok((contents, mode)) }
}
