use std::{fs, path::PathBuf};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::{listener::PATIENCE_NS, *};
use crate::service::status::notice::Notice;

/// 2030-01-01T00:00:00Z, in Unix ms.
const START: u64 = 1_893_456_000_000;
const DAY: u64 = 86_400_000;

fn at(unix_ms: u64, monotonic_ns: u64) -> Now {
    Now { unix_ms, monotonic_ns, behind_ms: 0 }
}

/// The files of a certificate in a directory, and the certificates loaded from them.
struct Site {
    cert: PathBuf,
    key: PathBuf,
    certificates: Certificates,
    _directory: TempDir,
}

/// A certificate that is valid until the beginning of this year, and its key.
fn made(until: i32) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["gateway.example".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2029, 1, 1), date_time_ymd(until, 1, 1));
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

impl Site {
    fn load(until: i32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let [cert, key] = ["cert.pem", "key.pem"].map(|name| directory.path().join(name));
        let made = made(until);
        fs::write(&cert, made.0).unwrap();
        fs::write(&key, made.1).unwrap();
        let certificate = ListenerCertificate::load("inference", "tls", &cert, &key, at(START, 0)).unwrap();
        let certificates = Certificates { inference: Some(Arc::new(certificate)), admin: None };
        Self { cert, key, certificates, _directory: directory }
    }

    fn write(&self, (cert, key): &(String, String)) {
        fs::write(&self.cert, cert).unwrap();
        fs::write(&self.key, key).unwrap();
    }

    fn not_after_ms(&self) -> u64 {
        self.certificates.views()[0].not_after_ms
    }

    fn messages(&self, now_ms: u64) -> Vec<String> {
        self.certificates.notices(now_ms).into_iter().map(|Notice { message, .. }| message).collect()
    }
}

#[test]
fn changed_files_are_taken_over_and_a_session_gets_its_own_tickets() {
    let site = Site::load(2032);
    let listener = site.certificates.inference.clone().unwrap();
    let before = listener.session();
    site.certificates.reload(at(START + 1, 1), false);
    assert!(Arc::ptr_eq(&before, &listener.session()), "nothing has changed");
    let first = site.not_after_ms();
    site.write(&made(2033));
    site.certificates.reload(at(START + 2, 2), false);
    assert!(site.not_after_ms() > first);
    assert_eq!(site.certificates.views()[0].loaded_at_ms, START + 2);
    let after = listener.session();
    assert!(!Arc::ptr_eq(&before.ticketer, &after.ticketer));
}

#[test]
fn files_that_do_not_match_for_a_moment_are_not_reported() {
    let site = Site::load(2032);
    let (old, new) = (site.not_after_ms(), made(2033));
    fs::write(&site.cert, &new.0).unwrap();
    site.certificates.reload(at(START, 1), false);
    site.certificates.reload(at(START, PATIENCE_NS), false);
    assert_eq!((site.not_after_ms(), site.messages(START)), (old, vec![]));
    fs::write(&site.key, &new.1).unwrap();
    site.certificates.reload(at(START, PATIENCE_NS + 2), false);
    assert!(site.not_after_ms() > old && site.messages(START).is_empty());
}

#[test]
fn a_lasting_fault_is_reported_until_the_files_can_be_used() {
    let site = Site::load(2032);
    let (old, good) = (site.not_after_ms(), fs::read_to_string(&site.key).unwrap());
    fs::write(&site.key, "not PEM").unwrap();
    site.certificates.reload(at(START, 1), false);
    site.certificates.reload(at(START, PATIENCE_NS + 1), false);
    let [message] = &*site.messages(START) else { panic!("one notice") };
    let (file, fault) = (site.key.display().to_string(), site.certificates.views()[0].fault.clone().unwrap());
    assert!(message.contains(&file) && message.contains("is not PEM") && message.contains("inference"), "{message}");
    assert!(fault.contains(&file) && site.not_after_ms() == old);
    fs::write(&site.key, good).unwrap();
    site.certificates.reload(at(START, PATIENCE_NS + 2), false);
    assert_eq!((site.messages(START), site.certificates.views()[0].fault.clone()), (vec![], None));
}

#[test]
fn a_fault_is_reported_at_once_if_an_operator_asked_for_the_reload() {
    let site = Site::load(2032);
    fs::remove_file(&site.cert).unwrap();
    site.certificates.reload(at(START, 1), true);
    assert!(site.messages(START)[0].contains("cannot be read"));
}

#[test]
fn an_expired_certificate_does_not_replace_one_in_force() {
    let site = Site::load(2032);
    let old = site.not_after_ms();
    site.write(&made(2030));
    site.certificates.reload(at(START + 1, 1), true);
    assert_eq!(site.not_after_ms(), old);
    assert!(site.messages(START)[0].contains("has expired"));
}

#[test]
fn an_expiring_certificate_has_a_notice_and_an_expired_one_a_stronger_one() {
    let site = Site::load(2031);
    let end = site.not_after_ms();
    assert_eq!(site.messages(end - 15 * DAY), Vec::<String>::new());
    assert!(site.messages(end - 13 * DAY)[0].ends_with("expires at 2031-01-01T00:00:00.000Z."));
    assert!(site.messages(end + 1)[0].ends_with("expired at 2031-01-01T00:00:00.000Z: clients refuse to connect."));
}

#[test]
fn files_that_take_long_to_read_are_reported_until_they_have_been_read() {
    let site = Site::load(2032);
    site.certificates.note_hanging(at(START, 1));
    let [message] = &site.messages(START)[..] else { panic!("{:?}", site.messages(START)) };
    assert!(message.ends_with("the files of tls cannot be used: reading them takes too long."), "{message}");
    site.certificates.reload(at(START, 2), false);
    assert!(site.messages(START).is_empty());
}
