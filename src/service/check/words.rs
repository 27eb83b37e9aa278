//! The findings about a target, as sentences for people who are not experts in model servers.

use super::{
    called::{Called, Models, NoAnswer, ProbeRefusal},
    finding::{Checks, Finding},
};
use crate::{
    domain::usage::Usage,
    service::one_line::one_line,
    upstream::{
        BodyError,
        client::{Origin, SendErrorKind},
    },
};

/// The most models of a server that are named.
const NAMED: usize = 5;

/// The longest name or message that is shown, in characters.
const MAX_SHOWN: usize = 300;

pub(super) const ENCODED: &str = "It sends an encoded body although it was asked not to, and requests to it will \
                                  fail: switch off compression on the server or on the proxy in front of it.";

pub(super) const ANOTHER_ANSWER: &str = "Its answer is not a completion: base_url seems to lead to another server, or \
                                         to a path other than that of its OpenAI routes.";

pub(super) const NO_ROUTE: &str = "Tollgate cannot call this route of the server.";

const NOT_ASKED: &str = "Not checked, since the server was not reached.";

/// The findings about the demo upstream, which is not called.
pub(super) fn of_demo() -> Checks {
    Checks {
        reachable: Finding::good("The demo upstream is built in and needs no network."),
        model: Finding::good("The demo upstream accepts every model name."),
        stream: Finding::good("The demo upstream streams."),
        usage: Finding::good("The demo upstream reports exact usage."),
    }
}

/// The findings about a target that cannot be used as configured.
pub(super) fn of_broken(why: &str) -> Checks {
    not_reached(Finding::bad(format!("It cannot be called: {why}.")))
}

/// The findings about a server that gave no HTTP answer.
pub(super) fn of_unreachable(origin: &str, why: &NoAnswer) -> Checks {
    not_reached(Finding::bad(match why {
        NoAnswer::Failed(_) => no_answer(why),
        NoAnswer::Late => format!("{origin}: {}", no_answer(why)),
    }))
}

fn not_reached(reachable: Finding) -> Checks {
    let open = || Finding::open(NOT_ASKED);
    Checks { reachable, model: open(), stream: open(), usage: open() }
}

pub(super) fn reached(origin: &Origin, status: u16) -> Finding {
    Finding::good(format!("{origin} answers (status {status})."))
}

/// The findings about a server that redirects every call.
pub(super) fn of_redirect(reachable: Finding, status: u16, to: &str) -> Checks {
    let open = || Finding::open("Not checked, since redirects are not followed.");
    Checks { reachable, model: open(), stream: Finding::bad(redirect(status, to)), usage: open() }
}

/// The sentence about a redirect. `to` is the base URL that it leads to; empty if unknown.
pub(super) fn redirect(status: u16, to: &str) -> String {
    let redirected = format!("It answers with a redirect (status {status}). Tollgate follows no redirects: give");
    match to {
        "" => format!("{redirected} the address that it leads to as base_url."),
        to => format!("{redirected} {} as base_url, if that is the right server.", shown(to)),
    }
}

/// The sentences about a missing answer, with advice.
pub(super) fn no_answer(why: &NoAnswer) -> String {
    let NoAnswer::Failed(error) = why else {
        return "There was no answer in time. The server may still be loading its model, or be busy: check its log, and \
                try again."
            .to_owned();
    };
    let advice = match error.kind {
        SendErrorKind::Resolve => "Is the host in base_url spelled correctly, and can this machine's DNS resolve it?",
        SendErrorKind::Forbidden => {
            "Tollgate does not call link-local addresses or its own addresses: give the address of the model server."
        }
        SendErrorKind::Connect => {
            "Is the server running, and are host and port in base_url correct? In a container, 127.0.0.1 is the \
             container itself."
        }
        SendErrorKind::NoFiles => "Raise this process's limit on open files (ulimit -n).",
        SendErrorKind::ConnectTimeout => {
            "Are host and port in base_url correct? Does a firewall block the connection? If base_url begins with \
             https://, does the server speak TLS?"
        }
        SendErrorKind::Tls => {
            "If the server speaks plain HTTP, base_url must begin with http://. If your own certificate authority \
             issued its certificate, set SSL_CERT_FILE to that authority's certificate and restart Tollgate."
        }
        SendErrorKind::FirstByteTimeout => {
            "The server accepts connections but does not answer. It may still be loading its model, or be busy: check \
             its log, and try again."
        }
        SendErrorKind::Closed => "If the server speaks TLS, base_url must begin with https://.",
        SendErrorKind::Protocol => "Is the port in base_url the model server's port?",
    };
    format!("{error}. {advice}")
}

pub(super) fn failed(status: u16, message: &str) -> String {
    format!("It failed (status {status}): {} Check its log for the cause.", sentence(message))
}

pub(super) fn broken_off(error: &BodyError) -> String {
    format!("It broke off in the middle of its answer: {error}. Check its log for the cause.")
}

pub(super) fn error_within(message: &str) -> String {
    format!("It reported an error in the middle of its answer: {}", sentence(message))
}

/// The sentence about an answer without content.
pub(super) fn no_piece(content_type: Option<&str>) -> String {
    let content_type = content_type.map(shown);
    match content_type.filter(|content_type| !content_type.starts_with("text/event-stream")) {
        Some(content_type) => format!(
            "It answered with {content_type} when a stream was requested: base_url seems to lead to another server, or \
             to a path other than that of its OpenAI routes."
        ),
        None => "It began a stream, but no piece of an answer arrived in time.".to_owned(),
    }
}

/// Whether a server that refuses a chat with this status may be an embeddings server.
pub(super) fn may_embed(status: u16) -> bool {
    !is_credential(status) && status != 429
}

fn is_credential(status: u16) -> bool {
    matches!(status, 401..=403)
}

/// The findings from the answers to all calls.
pub(super) fn of_answers(
    reachable: Finding,
    model: &str,
    models: &Models,
    called: &Called,
    embedded: Option<&Called>,
) -> Checks {
    let embeds = match embedded {
        Some(Called::Whole(usage)) => Some(*usage),
        _ => None,
    };
    let has_answered = embeds.is_some() || matches!(called, Called::Streamed { .. } | Called::Whole(_));
    let refusal = match called {
        Called::Refused(refusal) if embeds.is_none() => Some(refusal),
        _ => None,
    };
    let missing = refusal.filter(|refusal| is_about_model(refusal, model));
    Checks {
        reachable,
        model: of_model(model, models, has_answered, missing),
        stream: match embeds {
            Some(_) => Finding::open("This model makes embeddings, which are not streamed."),
            None => of_stream(called, missing.is_some()),
        },
        usage: match (embeds, called) {
            (Some(usage), _) => of_usage(usage),
            (None, Called::Whole(usage)) => of_usage(*usage),
            (None, Called::Streamed { usage: None, is_whole: false, .. }) => {
                Finding::open("Not checked, since the stream did not end in time.")
            }
            (None, Called::Streamed { usage, .. }) => of_usage(*usage),
            (None, _) => Finding::open("Not checked, since there was no answer."),
        },
    }
}

/// Whether a 404 is about the model rather than the route.
fn is_about_model(refusal: &ProbeRefusal, model: &str) -> bool {
    let names = |text: &Option<String>| text.as_deref().is_some_and(|text| text.contains("model"));
    refusal.status == 404
        && (names(&refusal.code)
            || names(&refusal.param)
            || refusal.message.contains(model)
            || refusal.message.to_ascii_lowercase().contains("model"))
}

fn of_model(model: &str, models: &Models, has_answered: bool, missing: Option<&ProbeRefusal>) -> Finding {
    let model = shown(model);
    match (models, missing) {
        (Models::Listed { has_ours: true, .. }, _) => Finding::good(format!("The server lists {model}.")),
        (Models::Listed { is_complete: false, .. }, None) if has_answered => {
            Finding::good(format!("The server does not list {model}, but it answers under that name."))
        }
        (Models::Listed { is_complete: false, .. }, None) => {
            Finding::open(format!("The server does not list {model}, but it need not list all of its names."))
        }
        (Models::Listed { names, .. }, _) => {
            let named: Vec<_> = names.iter().take(NAMED).map(|name| shown(name)).collect();
            let more = names.len().saturating_sub(NAMED);
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            let answered =
                if has_answered { " It answered under that name anyway, maybe with another model." } else { "" };
            Finding::bad(format!(
                "The server does not list {model}; it has {}{more}. Set target_model to the right one.{answered}",
                named.join(", ")
            ))
        }
        (Models::Unlisted(_), Some(refusal)) => Finding::bad(format!(
            "The server says that it does not have {model}: {} Set target_model to the model's name on the server.",
            sentence(&refusal.message)
        )),
        (Models::Unlisted(status), None) if is_credential(*status) => {
            Finding::open("Not checked, since the server refuses the credential.")
        }
        (Models::Unlisted(status), None) => {
            let answered =
                if has_answered { format!(" It does answer under the name {model}.") } else { String::new() };
            Finding::open(format!("The server gives no list of its models (status {status}).{answered}"))
        }
    }
}

fn of_stream(called: &Called, model_is_missing: bool) -> Finding {
    match called {
        Called::Streamed { first_after, .. } => {
            Finding::good(format!("It streams; the first piece arrived after {} ms.", first_after.as_millis()))
        }
        Called::Whole(_) => Finding::bad(
            "It answers in one piece although a stream is requested, and customers who request a stream will get the \
             same: switch on streaming in the server, or use one that streams.",
        ),
        Called::Refused(_) if model_is_missing => {
            Finding::open("Not checked, since the server does not have the model.")
        }
        Called::Refused(refusal) if is_credential(refusal.status) => Finding::bad(format!(
            "The server refuses the credential (status {}): check the secret that secret_id names, or set secret_id if \
             it is not set.",
            refusal.status
        )),
        Called::Refused(refusal) if refusal.status == 429 => Finding::open(format!(
            "Not checked, since the server is at its own limit (status 429): {} Try again later.",
            sentence(&refusal.message)
        )),
        Called::Refused(ProbeRefusal { status, message, .. }) => {
            let advice = match status {
                404 | 405 => " If its routes are under another path, give that path in base_url.",
                _ => "",
            };
            Finding::bad(format!("It refuses a chat (status {status}): {}{advice}", sentence(message)))
        }
        Called::Failed(why) => Finding::bad(why.clone()),
    }
}

fn of_usage(usage: Option<Usage>) -> Finding {
    match usage {
        Some(Usage { input, output, .. }) => {
            Finding::good(format!("It reports usage: {input} prompt and {output} output tokens."))
        }
        None => Finding::bad(
            "It reports no usage, so tokens will be counted from the text, at four bytes per token (usageSource \
             \"counted\"). Switch on usage reports in the server if it has them.",
        ),
    }
}

/// A server's message as a sentence.
fn sentence(message: &str) -> String {
    let message = shown(message);
    if message.is_empty() {
        return "It gave no reason.".to_owned();
    }
    if message.ends_with(['.', '!', '?']) { message } else { format!("{message}.") }
}

/// The text in one line of bounded length.
fn shown(text: &str) -> String {
    one_line(text).chars().take(MAX_SHOWN).collect()
}
