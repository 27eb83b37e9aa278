use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::*;

/// 2030-01-01T00:00:00Z, in Unix ms.
const NOW: u64 = 1_893_456_000_000;

struct Files {
    directory: TempDir,
    cert: PathBuf,
    key: PathBuf,
}

impl Files {
    fn write(cert: &[u8], key: &[u8]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let [cert_path, key_path] = ["cert.pem", "key.pem"].map(|name| directory.path().join(name));
        fs::write(&cert_path, cert).unwrap();
        fs::write(&key_path, key).unwrap();
        fs::set_permissions(&key_path, fs::Permissions::from_mode(0o600)).unwrap();
        Self { directory, cert: cert_path, key: key_path }
    }

    fn read(&self) -> Result<Certificate, Unusable> {
        Pem::read(&self.cert, &self.key)?.certificate(NOW)
    }

    fn fault(&self) -> Unusable {
        self.read().err().unwrap()
    }
}

/// A certificate that is valid in these years, and its key.
fn made(from: i32, until: i32) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["gateway.example".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn fault_of(cert: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Unusable {
    Files::write(cert.as_ref(), key.as_ref()).fault()
}

#[test]
fn a_valid_certificate_is_read_with_its_names_and_dates() {
    let (cert, key) = made(2029, 2031);
    let certificate = Files::write(cert.as_bytes(), key.as_bytes()).read().unwrap();
    assert_eq!((certificate.not_before_ms, certificate.not_after_ms), (1_861_920_000_000, 1_924_992_000_000));
    assert!(certificate.subject.contains("CN=") && certificate.subject == certificate.issuer);
    assert_eq!(certificate.certified.cert.len(), 1);
}

#[test]
fn one_file_may_have_the_key_and_the_whole_chain() {
    let ((cert, key), (other, _)) = (made(2029, 2031), made(2029, 2031));
    let both = format!("some text\n{key}\n{cert}{other}");
    let certificate = Files::write(both.as_bytes(), both.as_bytes()).read().unwrap();
    assert_eq!(certificate.certified.cert.len(), 2);
}

#[test]
fn each_fault_names_the_file_that_has_it() {
    let ((cert, key), (_, other)) = (made(2029, 2031), made(2029, 2031));
    let broken = |text: &str| text.replacen("-----END", "-----FIN", 1);
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let old = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END EC PRIVATE KEY-----\n";
    let unsupported = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let not_a_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (cert, key, file, fault) in [
        ("", &*key, Part::Certificate, Fault::NotPem),
        (&*cert, "\u{0}garbage", Part::Key, Fault::NotPem),
        (&*key, &*key, Part::Certificate, Fault::NoCertificate),
        (&*cert, &*cert, Part::Key, Fault::NoKey),
        (&*broken(&cert), &*key, Part::Certificate, Fault::BrokenPem),
        (&*cert, &*broken(&key), Part::Key, Fault::BrokenPem),
        (&*cert, &*encrypted, Part::Key, Fault::EncryptedKey),
        (&*cert, old, Part::Key, Fault::EncryptedKey),
        (&*cert, unsupported, Part::Key, Fault::UnsupportedKey),
        (&*cert, &*other, Part::Key, Fault::KeyMismatch),
    ] {
        assert_eq!(fault_of(cert, key), fault.of(file));
    }
    assert!(matches!(fault_of(not_a_certificate, &key).fault, Fault::InvalidCertificate(_)));
    assert!(matches!(fault_of(vec![b'-'; 2 << 20], &key).fault, Fault::NotAFile));
}

#[test]
fn a_certificate_is_refused_outside_its_validity_with_the_date() {
    for (from, until, words) in [
        (2027, 2029, "has expired: it was valid until 2029-01-01T00:00:00.000Z"),
        (2031, 2033, "is not valid yet: it is valid from 2031-01-01T00:00:00.000Z"),
    ] {
        let (cert, key) = made(from, until);
        let unusable = fault_of(cert, key);
        assert_eq!((unusable.file, unusable.fault.to_string().as_str()), (Part::Certificate, words));
    }
}

#[test]
fn a_file_that_is_missing_or_a_directory_is_named() {
    let (cert, key) = made(2029, 2031);
    let mut files = Files::write(cert.as_bytes(), key.as_bytes());
    fs::remove_file(&files.key).unwrap();
    let unusable = files.fault();
    assert_eq!(unusable.file, Part::Key);
    assert!(unusable.fault.to_string().starts_with("cannot be read: No such file"), "{}", unusable.fault);
    files.cert = files.directory.path().to_owned();
    assert_eq!(files.fault(), Fault::NotAFile.of(Part::Certificate));
}

#[test]
fn a_key_that_all_users_may_read_is_noticed() {
    let (cert, key) = made(2029, 2031);
    let files = Files::write(cert.as_bytes(), key.as_bytes());
    for (mode, exposed) in [(0o600, None), (0o640, None), (0o644, Some(0o644)), (0o602, Some(0o602))] {
        fs::set_permissions(&files.key, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(Pem::read(&files.cert, &files.key).unwrap().exposed_mode(), exposed);
    }
}
