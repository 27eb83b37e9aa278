//! The section `[smtp]`: the mail server that alerts are sent through, the sender and the recipients.
//!
//! The URL is a secret: it holds a password. No error repeats any part of it, and `Debug` shows no credentials.

use std::{fmt, net::IpAddr};

use lettre::{Address, message::Mailbox, transport::smtp::authentication::Credentials};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Deserializer, de::Error as _};
use url::{Host, Url};

/// The most recipients. Every mail server takes at least this many for one mail (RFC 5321, section 4.5.3.1.8).
const MAX_RECIPIENTS: usize = 100;

/// The settings of mails. They are complete and valid.
#[derive(Debug, Clone)]
pub struct Smtp {
    /// The mail server.
    pub server: MailServer,
    /// The sender.
    pub from: Mailbox,
    /// The recipients, at least one.
    pub to: Vec<Mailbox>,
}

/// A mail server and how to talk to it.
#[derive(Debug, Clone)]
pub struct MailServer {
    /// How the connection is encrypted.
    pub security: MailSecurity,
    /// The host's name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The user and the password; `None` to send without a login.
    pub credentials: Option<MailCredentials>,
}

/// How a connection to a mail server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailSecurity {
    /// Not at all (`smtp`).
    None,
    /// The session is upgraded with STARTTLS before anything is sent (`smtp+starttls`). It never goes on without.
    StartTls,
    /// With TLS from the first byte (`smtps`).
    Tls,
}

/// A user and a password. Its `Debug` is masked.
#[derive(Clone, PartialEq, Eq)]
pub struct MailCredentials {
    user: String,
    password: String,
}

impl MailCredentials {
    /// The form for the login. Review each use of this.
    pub fn expose(&self) -> Credentials {
        Credentials::new(self.user.clone(), self.password.clone())
    }

    /// The password. Review each use of this.
    pub fn expose_password(&self) -> &str {
        &self.password
    }

    /// The user. Review each use of this.
    pub fn expose_user(&self) -> &str {
        &self.user
    }
}

impl fmt::Debug for MailCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl MailServer {
    /// Host and port, for messages.
    pub fn name(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// The section as it was read. Each value is valid by itself, but one that needs another may lack it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmtpSection {
    #[serde(deserialize_with = "server")]
    url: Option<MailServer>,
    #[serde(deserialize_with = "sender")]
    from: Option<Mailbox>,
    #[serde(deserialize_with = "recipients")]
    to: Vec<Mailbox>,
}

impl SmtpSection {
    /// The settings; `None` without a URL, which turns mails off. The error begins with the field that is missing.
    pub(super) fn complete(self) -> Result<Option<Smtp>, &'static str> {
        let Self { url: Some(server), from, to } = self else { return Ok(None) };
        let from = from.ok_or("smtp.from: must be set if smtp.url is")?;
        if to.is_empty() {
            return Err("smtp.to: must be set if smtp.url is");
        }
        Ok(Some(Smtp { server, from, to }))
    }
}

fn server<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<MailServer>, D::Error> {
    const FORM: &str = "must be a text such as \"smtps://user:password@mail.example.com\"";
    // The error of the format could repeat the value.
    let text = String::deserialize(deserializer).map_err(|_| D::Error::custom(FORM))?;
    if text.is_empty() {
        return Ok(None);
    }
    parse_server(&text).map(Some).map_err(D::Error::custom)
}

fn parse_server(text: &str) -> Result<MailServer, &'static str> {
    const FORM: &str = "must be smtp://, smtps:// or smtp+starttls:// with a host, such as \
                        \"smtps://user:password@mail.example.com\"; in the user and the password, every character \
                        except letters and digits must be percent-encoded";
    let url = Url::parse(text).map_err(|_| FORM)?;
    let (security, default_port) = match url.scheme() {
        "smtp" => (MailSecurity::None, 25),
        "smtp+starttls" => (MailSecurity::StartTls, 587),
        "smtps" => (MailSecurity::Tls, 465),
        _ => return Err(FORM),
    };
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(FORM)?;
    let host = match Host::parse(host).map_err(|_| "must have a valid host")? {
        Host::Domain(name) => name,
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    };
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err("must end with the host or the port; in the user and the password, /, ? and # must be \
                    percent-encoded");
    }
    let port = url.port().unwrap_or(default_port);
    if port == 0 {
        return Err("must not have the port 0");
    }
    let credentials = credentials(url.username(), url.password())?;
    if security == MailSecurity::None && credentials.is_some() && !is_this_machine(&host) {
        return Err("must be smtps:// or smtp+starttls:// to send a password to another machine: smtp:// would send \
                    it unencrypted");
    }
    Ok(MailServer { security, host, port, credentials })
}

fn credentials(user: &str, password: Option<&str>) -> Result<Option<MailCredentials>, &'static str> {
    let password = password.unwrap_or_default();
    match (user.is_empty(), password.is_empty()) {
        (true, true) => Ok(None),
        (false, false) => Ok(Some(MailCredentials { user: decode(user)?, password: decode(password)? })),
        _ => Err("must have both a user and a password, or neither"),
    }
}

/// Decodes a user or a password.
fn decode(text: &str) -> Result<String, &'static str> {
    const FORM: &str = "must have a user and a password in percent-encoded UTF-8, without control characters";
    let is_hex = |digits: &[u8]| digits.len() == 2 && digits.iter().all(u8::is_ascii_hexdigit);
    let mut escapes = text.split('%').skip(1).map(|rest| rest.as_bytes().get(..2).unwrap_or_default());
    if !escapes.all(is_hex) {
        return Err(FORM);
    }
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| FORM)?;
    if decoded.chars().any(char::is_control) { Err(FORM) } else { Ok(decoded.into_owned()) }
}

/// Whether a host is surely this machine.
fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The form of an address, for error messages.
const ADDRESS: &str = "a mail address such as \"ops@example.com\" or \"Tollgate <ops@example.com>\"";

fn sender<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Mailbox>, D::Error> {
    let invalid = || D::Error::custom(format!("must be {ADDRESS}"));
    let text = String::deserialize(deserializer).map_err(|_| invalid())?;
    if text.is_empty() {
        return Ok(None);
    }
    mailbox(&text).map(Some).ok_or_else(invalid)
}

/// Reads a list of addresses, or one text with commas between them (for the environment).
fn recipients<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Mailbox>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum List {
        Text(String),
        Items(Vec<String>),
    }
    let items = match List::deserialize(deserializer) {
        Ok(List::Items(items)) => items,
        Ok(List::Text(text)) if text.trim().is_empty() => Vec::new(),
        Ok(List::Text(text)) => text.split(',').map(str::to_owned).collect(),
        Err(_) => return Err(D::Error::custom(format!("must be a list of mail addresses, each {ADDRESS}"))),
    };
    if items.len() > MAX_RECIPIENTS {
        return Err(D::Error::custom(format!("must be at most {MAX_RECIPIENTS} mail addresses")));
    }
    let read = |item: &String| {
        mailbox(item).ok_or_else(|| D::Error::custom(format!("must be mail addresses: {item:?} is not {ADDRESS}")))
    };
    items.iter().map(read).collect()
}

/// Parses an address with or without a name before it. Addresses are ASCII: not every mail server takes others.
fn mailbox(text: &str) -> Option<Mailbox> {
    let text = text.trim();
    if text.chars().any(char::is_control) {
        return None;
    }
    let (name, address) = match text.strip_suffix('>') {
        Some(named) => {
            let (name, address) = named.rsplit_once('<')?;
            let name = name.trim();
            let unquoted = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name);
            (Some(unquoted.to_owned()).filter(|name| !name.is_empty()), address)
        }
        None => (None, text),
    };
    let address: Address = address.parse().ok().filter(|address: &Address| address.to_string().is_ascii())?;
    Some(Mailbox::new(name, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(toml: &str) -> Result<Option<Smtp>, String> {
        let table: toml::Table = toml.parse().unwrap();
        let section: SmtpSection = table.try_into().map_err(|error: toml::de::Error| error.message().to_owned())?;
        section.complete().map_err(str::to_owned)
    }

    fn url(url: &str) -> Result<MailServer, &'static str> {
        parse_server(url)
    }

    #[test]
    fn a_url_says_the_server_the_encryption_and_the_login() {
        for (text, security, name) in [
            ("smtp://mail.example", MailSecurity::None, "mail.example:25"),
            ("smtp+starttls://mail.example/", MailSecurity::StartTls, "mail.example:587"),
            ("SMTPS://Mail.Example:4650", MailSecurity::Tls, "mail.example:4650"),
            ("smtp://127.0.0.1:2525", MailSecurity::None, "127.0.0.1:2525"),
            ("smtps://[::1]", MailSecurity::Tls, "[::1]:465"),
            ("smtps://b\u{fc}ro.example", MailSecurity::Tls, "xn--bro-hoa.example:465"),
        ] {
            let server = url(text).unwrap();
            assert_eq!((server.security, server.name().as_str()), (security, name), "{text}");
            assert!(server.credentials.is_none());
        }
        let server = url("smtps://me%40example.com:p%40ss%2F%C3%BC@mail.example").unwrap();
        let credentials = server.credentials.as_ref().unwrap();
        assert_eq!((credentials.expose_user(), credentials.expose_password()), ("me@example.com", "p@ss/\u{fc}"));
        assert!(!format!("{server:?}").contains("p@ss") && !format!("{server:?}").contains("me@"));
    }

    #[test]
    fn a_wrong_url_is_refused_without_repeating_it() {
        for bad in [
            "secret",
            "http://secret@mail.example",
            "smtp:secret",
            "smtp://",
            "smtps://user:secret@",
            "smtps://user:secret@mail example",
            "smtps://user:secret@a^b",
            "smtps://user:secret@mail.example:99999",
            "smtps://user:secret@mail.example:0",
            "smtps://user:secret@mail.example/path",
            "smtps://user:secret@mail.example?tls=required",
            "smtps://user:se#cret@mail.example",
            "smtps://user:%zzsecret@mail.example",
            "smtps://user:secret%4@mail.example",
            "smtps://user:secret%ff@mail.example",
            "smtps://user:secret%00@mail.example",
            "smtps://secret@mail.example",
            "smtps://:secret@mail.example",
            "smtp://user:secret@mail.example",
            "smtp://user:secret@192.0.2.1",
        ] {
            let error = section(&format!("url = {bad:?}\nfrom = 'a@a.example'\nto = ['b@b.example']")).unwrap_err();
            assert!(error.contains("must ") && !error.contains("secret"), "{bad}: {error}");
        }
        for toml in ["url = 4242", "url = ['4242']", "url = {}"] {
            let error = section(toml).unwrap_err();
            assert!(error.contains("must be a text") && !error.contains("4242"), "{error}");
        }
        for loopback in ["localhost", "127.0.0.1", "[::1]", "127.1.2.3:2525"] {
            assert!(url(&format!("smtp://user:secret@{loopback}")).unwrap().credentials.is_some());
        }
    }

    #[test]
    fn addresses_may_have_names_and_are_read_from_a_list_or_a_text_with_commas() {
        let both = "url = 'smtp://localhost'\nfrom = 'T\u{fc}r, \"x\" <a@a.example>'\n";
        for to in ["['b@b.example', 'C <c@c.example>']", "'b@b.example, \"C\" <c@c.example>'"] {
            let smtp = section(&format!("{both}to = {to}")).unwrap().unwrap();
            assert_eq!(smtp.from.name.as_deref(), Some("T\u{fc}r, \"x\""));
            let to: Vec<_> = smtp.to.iter().map(|to| (to.name.as_deref(), to.email.to_string())).collect();
            assert_eq!(to, [(None, "b@b.example".to_owned()), (Some("C"), "c@c.example".to_owned())]);
        }
        for bad in [
            "x",
            "@b.example",
            "b@",
            "b@b.example x",
            "b@b.example\\r\\nBcc: c@c.example",
            "<b@b.example",
            "b@b\u{fc}.example, c",
        ] {
            assert!(section(&format!("from = \"{bad}\"")).unwrap_err().contains("must be a mail address"), "{bad}");
            assert!(section(&format!("to = [\"{bad}\"]")).unwrap_err().contains("must be mail addresses"), "{bad}");
        }
        for bad in ["5", "[5]", "'a@a.example,'", "{}"] {
            assert!(section(&format!("to = {bad}")).unwrap_err().contains("must be"), "{bad}");
        }
        assert!(section(&format!("to = {:?}", vec!["a@a.example"; 101])).unwrap_err().contains("at most 100"));
    }

    #[test]
    fn mails_are_off_without_a_url_and_need_a_sender_and_recipients_with_one() {
        assert!(section("").unwrap().is_none());
        assert!(section("url = ''\nfrom = ''\nto = []").unwrap().is_none());
        assert!(section("from = 'a@a.example'\nto = 'b@b.example'").unwrap().is_none());
        let error = section("url = 'smtp://a'\nto = 'b@b.example'").unwrap_err();
        assert!(error.starts_with("smtp.from: must "), "{error}");
        let error = section("url = 'smtp://a'\nfrom = 'a@a.example'").unwrap_err();
        assert!(error.starts_with("smtp.to: must "), "{error}");
    }
}
