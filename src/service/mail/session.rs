//! One attempt to send a mail: a connection to the mail server, TLS, the login and the transfer.
//!
//! * Nothing but the greeting goes over an unencrypted connection that is to be encrypted.
//! * A recipient that the server refuses for good is left out, so that one wrong address does not keep the others from
//!   their mails. One that is not accepted yet delays the mail, unless `accepts_fewer`.
//! * Once the server has asked for the content, it may have taken the mail also if its answer is lost.
//! * Texts about failures never hold the password, also if the server repeats it.

use std::{error::Error as _, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use lettre::{
    Message,
    transport::smtp::{
        Error,
        authentication::DEFAULT_MECHANISMS,
        client::{AsyncSmtpConnection, TlsParameters},
        commands::{Data, Mail, Rcpt},
        extension::ClientId,
    },
};
use tokio::time::timeout;

use crate::{
    config::{MailCredentials, MailSecurity, MailServer, Smtp},
    domain::mail_schedule::Failure,
    service::one_line::one_line,
};

/// How long an attempt may take until the server asks for the content.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the server may take for the content (RFC 5321, section 4.5.3.2.6). It may scan it before it answers, and
/// would deliver the mail although we had hung up.
const CONTENT_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// How long a connection to one address of the server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// How long the server may take to say goodbye.
const QUIT_TIMEOUT: Duration = Duration::from_secs(1);

/// The most characters of a server's answer that are shown.
const LONGEST_ANSWER: usize = 300;

/// A failed attempt.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) failure: Failure,
    /// A clause for the operator that begins with the server's name.
    pub(super) why: String,
}

/// Sends a mail. Returns a clause about each recipient that the server has refused while it took the mail for others.
pub(super) async fn send(smtp: &Smtp, mail: &Message, accepts_fewer: bool) -> Result<Vec<String>, Failed> {
    let server = &smtp.server;
    let begun = timeout(BEGIN_TIMEOUT, begin(smtp, accepts_fewer)).await;
    let begun = begun.unwrap_or_else(|_| Err(Failed::silent(server, Failure::Temporary, BEGIN_TIMEOUT)));
    let (mut session, refused) = begun?;
    match timeout(CONTENT_TIMEOUT, session.message(&mail.formatted())).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) if error.status().is_some() => return Err(Failed::new(server, &error)),
        Ok(Err(error)) => return Err(Failed { failure: Failure::Unknown, ..Failed::new(server, &error) }),
        Err(_) => return Err(Failed::silent(server, Failure::Unknown, CONTENT_TIMEOUT)),
    }
    // The mail is sent, whatever the server says now.
    let _ = timeout(QUIT_TIMEOUT, session.quit()).await;
    Ok(refused)
}

/// Opens a session and names the sender and the recipients. Returns the session, in which the server expects the
/// content, and a clause about each refused recipient.
async fn begin(smtp: &Smtp, accepts_fewer: bool) -> Result<(AsyncSmtpConnection, Vec<String>), Failed> {
    let Smtp { server, from, to } = smtp;
    let failed = |error: Error| Failed::new(server, &error);
    let mut session = connect(server).await.map_err(failed)?;
    session.command(Mail::new(Some(from.email.clone()), Vec::new())).await.map_err(failed)?;
    let (mut refused, mut accepted) = (Vec::new(), 0);
    for recipient in to {
        let Err(error) = session.command(Rcpt::new(recipient.email.clone(), Vec::new())).await else {
            accepted += 1;
            continue;
        };
        let mut failed = Failed::new(server, &error);
        if error.is_transient() {
            failed.failure = Failure::Recipient;
        }
        if !(error.is_permanent() || error.is_transient() && accepts_fewer) {
            return Err(failed);
        }
        refused.push((&recipient.email, failed));
    }
    let clauses = refused.iter().map(|(address, Failed { why, .. })| format!("{address}: {why}")).collect();
    if accepted == 0 {
        let failed = refused.pop().map(|(_, failed)| failed);
        return Err(failed.unwrap_or_else(|| Failed { failure: Failure::Refused, why: server.name() }));
    }
    session.command(Data).await.map_err(failed)?;
    Ok((session, clauses))
}

/// Opens a session in which mails may be sent.
async fn connect(server: &MailServer) -> Result<AsyncSmtpConnection, Error> {
    let us = ClientId::default();
    let address = (server.host.as_str(), server.port);
    // Trusts the certificates of this machine, or those of `SSL_CERT_FILE`, as upstreams do.
    let tls = || TlsParameters::new_rustls(server.host.clone());
    let from_the_start = if server.security == MailSecurity::Tls { Some(tls()?) } else { None };
    let mut session =
        AsyncSmtpConnection::connect_tokio1(address, Some(CONNECT_TIMEOUT), &us, from_the_start, None).await?;
    if server.security == MailSecurity::StartTls {
        session.starttls(tls()?, &us).await?;
    }
    if let Some(credentials) = &server.credentials {
        session.auth(DEFAULT_MECHANISMS, &credentials.expose()).await?;
    }
    Ok(session)
}

impl Failed {
    fn new(server: &MailServer, error: &Error) -> Self {
        // The library's own text begins with the kind of the error; its source is the server's or the system's text.
        let text = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        let text = shown(&text, server.credentials.as_ref());
        let name = server.name();
        let (failure, why) = match error.status() {
            Some(code) if error.is_transient() => (Failure::Temporary, format!("{name} answered {code} {text}")),
            Some(code) => (Failure::Refused, format!("{name} answered {code} {text}")),
            // The server offers no STARTTLS or no login that we know, so an operator has to change something.
            None if error.is_client() || error.is_tls() => (Failure::Refused, format!("{name}: {text}")),
            None => (Failure::Temporary, format!("{name}: {text}")),
        };
        Self { failure, why }
    }

    fn silent(server: &MailServer, failure: Failure, timeout: Duration) -> Self {
        Self { failure, why: format!("{} did not answer within {} s", server.name(), timeout.as_secs()) }
    }
}

/// A text of the server in one line, without the password in the forms in which it was sent.
fn shown(text: &str, credentials: Option<&MailCredentials>) -> String {
    let mut text = text.to_owned();
    if let Some(credentials) = credentials {
        let (user, password) = (credentials.expose_user(), credentials.expose_password());
        let plain = BASE64_STANDARD.encode(format!("\0{user}\0{password}"));
        for secret in [&plain, &BASE64_STANDARD.encode(password), password] {
            text = text.replace(secret, "***");
        }
    }
    let line = one_line(&text);
    match line.char_indices().nth(LONGEST_ANSWER) {
        Some((end, _)) => format!("{}\u{2026}", &line[..end]),
        None => line.trim_end_matches('.').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime;

    use super::*;
    use crate::service::mail::testing::serve;

    #[test]
    fn only_a_lost_answer_to_the_content_leaves_open_whether_the_mail_was_taken() {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let send_to = |recipient, content| {
            let (smtp, server) = serve(vec![(recipient, content)]);
            let mail = Message::builder().from(smtp.from.clone()).to(smtp.to[0].clone());
            let mail = mail.body("hello".to_owned()).unwrap();
            let sent = runtime.block_on(send(&smtp, &mail, false));
            server.join().unwrap();
            sent
        };
        for (recipient, content, failure) in [
            ("250 ok", "451 4.3.0 later", Failure::Temporary),
            ("250 ok", "554 5.7.1 spam", Failure::Refused),
            ("250 ok", "", Failure::Unknown),
            ("250 ok", "x", Failure::Unknown),
            ("450 4.7.1 later", "250 taken", Failure::Recipient),
            ("550 5.1.1 nobody", "250 taken", Failure::Refused),
            ("", "250 taken", Failure::Temporary),
        ] {
            let failed = send_to(recipient, content).unwrap_err();
            assert_eq!(failed.failure, failure, "{recipient}, {content}: {}", failed.why);
        }
        assert_eq!(send_to("250 ok", "250 taken").unwrap(), Vec::<String>::new());
    }
}
