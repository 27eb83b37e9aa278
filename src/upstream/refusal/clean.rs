//! Makes a server's words fit to be shown to a customer: no host, no file path, no credential, our slug in the place of
//! its model's name.
//!
//! A host is, by the contract's rule: a URL, an address, the target's own host or a name in its domain, and a dotted name
//! of which a label is one of [`LOCAL`]; besides, a name with a port. What is none of these stays: `messages.0.role`,
//! `torch.cuda`, `12:30`. A text is looked at as it is read: without zero-width characters, and with the dots and letters
//! that full-width ones stand for.

use std::{net::Ipv6Addr, ops::Range};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};

use super::MAX_MESSAGE;
use crate::{crypto::secret::Secret, upstream::target::Target};

/// The mark in the place of hidden text.
pub(super) const BLANK: &str = "[…]";

/// A shorter credential is none, but what a server without keys is given; every other word would have it in it.
const MIN_CREDENTIAL: usize = 4;

/// Labels of names that are known inside of a network only.
const LOCAL: [&str; 9] = ["internal", "local", "localdomain", "lan", "svc", "cluster", "intra", "corp", "arpa"];

/// A dotted name that ends so, and a number behind its colon, is a line of a source file.
const SOURCES: [&str; 10] = ["py", "rs", "c", "cc", "cpp", "cu", "h", "js", "ts", "go"];

/// The names that must not be seen, and the slug that replaces the model's.
pub(super) struct Names<'a> {
    model: &'a str,
    /// In lower case.
    host: String,
    credential: Option<&'a Secret>,
    slug: &'a str,
}

/// A server's text without the credential that it was sent: some servers repeat it.
pub fn without_credential(text: &str, credential: Option<&Secret>) -> String {
    let Some(credential) = credential.map(Secret::expose).filter(|credential| credential.len() >= MIN_CREDENTIAL)
    else {
        return text.to_owned();
    };
    let mut hidden = Vec::new();
    let (lower, wanted) = (text.to_ascii_lowercase(), credential.to_ascii_lowercase());
    hidden.extend(lower.match_indices(&wanted).map(|(at, _)| at..at + wanted.len()));
    for encoded in in_base64(credential.as_bytes()) {
        hidden.extend(text.match_indices(&encoded).map(|(at, _)| at..at + encoded.len()));
    }
    for at in runs(text, |c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '*' | '…')) {
        if is_masked(&lower[at.clone()], &wanted) {
            hidden.push(at);
        }
    }
    blank(text, hidden)
}

/// How a stretch of base64 looks that holds these bytes, wherever it begins: without the characters at its edges, which
/// depend on the neighbours too.
fn in_base64(bytes: &[u8]) -> Vec<String> {
    let mut forms = Vec::new();
    for offset in 0..3 {
        let padded = [&[0; 2][..offset.min(2)], bytes].concat();
        let encoded = STANDARD_NO_PAD.encode(&padded);
        let start = [0, 2, 3][offset];
        let end = encoded.len() - usize::from(padded.len() % 3 != 0);
        if let Some(core) = encoded.get(start..end).filter(|core| core.len() >= MIN_CREDENTIAL) {
            forms.extend([core.to_owned(), core.replace('+', "-").replace('/', "_")]);
        }
    }
    forms
}

/// Whether a word shows one end of a credential, or both, and marks in the place of the rest.
fn is_masked(word: &str, credential: &str) -> bool {
    let Some(first) = ["***", "…", "..."].iter().filter_map(|mark| word.find(mark)).min() else { return false };
    let (head, tail) = (&word[..first], word[first..].trim_start_matches(['*', '.', '…', '-', '_']));
    let is_end = |part: &str, fits: bool| part.len() >= 3 && fits;
    is_end(head, credential.starts_with(head.trim_end_matches(['-', '_']))) || is_end(tail, credential.ends_with(tail))
}

impl<'a> Names<'a> {
    pub(super) fn of(target: &'a Target, slug: &'a str) -> Self {
        let host = target.host().unwrap_or_default().to_ascii_lowercase();
        Self { model: &target.model, host, credential: target.credential(), slug }
    }

    /// Of a target that has neither host nor credential.
    #[cfg(test)]
    pub(super) fn of_model(model: &'a str, slug: &'a str) -> Self {
        Self { model, host: String::new(), credential: None, slug }
    }

    pub(super) fn without_credential(&self, text: &str) -> String {
        without_credential(text, self.credential)
    }

    /// At most [`MAX_MESSAGE`] characters that can be shown.
    pub(super) fn clean(&self, text: &str) -> String {
        // Before anything is cut or renamed: a part of a credential would be left.
        let text = self.without_credential(&as_read(text));
        let text: String = text.chars().take(MAX_MESSAGE).collect();
        let text = self.name_slug(&text);
        let mut hidden = Vec::new();
        urls(&text, &mut hidden);
        paths(&text, &mut hidden);
        let is_key = |at: &Range<usize>| text[at.clone()].starts_with("sk-");
        hidden.extend(runs(&text, |c| c.is_alphanumeric() || matches!(c, '-' | '_' | '*')).filter(is_key));
        hidden.extend(
            runs(&text, |c| c.is_ascii_hexdigit() || matches!(c, ':' | '.')).filter(|at| is_ipv6(&text[at.clone()])),
        );
        for at in runs(&text, |c| c.is_alphanumeric() || matches!(c, '-' | '.')) {
            let port = port(&text[at.end..]);
            if self.is_host(&text[at.clone()].to_lowercase(), port.is_some()) {
                hidden.push(at.start..at.end + port.unwrap_or(0));
            }
        }
        blank(&text, hidden)
    }

    /// Whether a name in lower case, without what surrounds it, is one of a host.
    fn is_host(&self, name: &str, has_port: bool) -> bool {
        let name = name.trim_matches(['.', '-']);
        let labels: Vec<&str> = name.split('.').collect();
        let is_named = |label: &str| label.contains(|c: char| c == '-' || c.is_ascii_digit());
        let has_letter = name.contains(|c: char| c.is_alphabetic());
        if name.is_empty() {
            return false;
        }
        if let [label] = labels[..] {
            let first = self.host.split('.').next().unwrap_or_default();
            return label == "localhost"
                || (label.len() > 2 && label == self.host)
                || (is_named(label) && label == first)
                || (has_port && has_letter && is_named(label));
        }
        holds_ipv4(&labels)
            || labels.iter().any(|label| LOCAL.contains(label))
            || (has_port && has_letter && !labels.last().is_some_and(|last| SOURCES.contains(last)))
            || self.domain().is_some_and(|domain| name == domain || name.ends_with(&format!(".{domain}")))
    }

    /// The part of the target's host that its neighbours share: its last two labels, or three where the last ones are as
    /// short as in `co.uk`. An address has none.
    fn domain(&self) -> Option<&str> {
        let dots: Vec<usize> = self.host.rmatch_indices('.').map(|(at, _)| at).collect();
        let last = self.host.rsplit('.').next()?;
        if dots.is_empty() || last.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let is_short = dots.len() > 1 && last.len() == 2 && dots[0] - dots[1] <= 4;
        let before = dots.get(if is_short { 2 } else { 1 });
        Some(before.map_or(&self.host, |at| &self.host[at + 1..]))
    }

    /// The model's name becomes the slug where it stands by itself, and not within another word.
    fn name_slug(&self, text: &str) -> String {
        let is_border = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '-' | '_' | '/'));
        let mut named = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(self.model).filter(|_| !self.model.is_empty() && self.model != self.slug) {
            let (before, after) = (&rest[..at], &rest[at + self.model.len()..]);
            let stands_alone =
                is_border(before.chars().next_back().or(named.chars().next_back())) && is_border(after.chars().next());
            named.push_str(before);
            named.push_str(if stands_alone { self.slug } else { self.model });
            rest = after;
        }
        named + rest
    }
}

/// The text as a person reads it: full-width characters as the ones that they stand for, nothing without a width.
fn as_read(text: &str) -> String {
    let read = |c: char| match c {
        '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}' => None,
        '\u{3002}' | '\u{ff61}' | '\u{2024}' => Some('.'),
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0),
        c => Some(c),
    };
    text.chars().filter_map(read).collect()
}

/// The longest stretches of characters that `is_part`.
fn runs(text: &str, is_part: impl Fn(char) -> bool) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + text[at..].find(&is_part)?;
        at = text[start..].find(|c| !is_part(c)).map_or(text.len(), |len| start + len);
        Some(start..at)
    })
}

/// From the scheme to the end of the word.
fn urls(text: &str, hidden: &mut Vec<Range<usize>>) {
    for (at, mark) in text.match_indices("://") {
        let before = text[..at].bytes().rev().take_while(|b| b.is_ascii_alphanumeric() || b"+.-".contains(b)).count();
        let is_end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | '(' | ')' | ',' | ';');
        let rest = &text[at + mark.len()..];
        let len = rest.find(is_end).unwrap_or(rest.len());
        hidden.push(at - before..at + mark.len() + rest[..len].trim_end_matches(['.', ':', '!', '?']).len());
    }
}

/// Absolute paths of files, of two steps or more. Those of our own routes stay.
fn paths(text: &str, hidden: &mut Vec<Range<usize>>) {
    let is_part =
        |c: char| c.is_alphanumeric() || matches!(c, '/' | '\\' | '.' | '-' | '_' | '+' | '@' | '~' | '%' | ':');
    for at in runs(text, is_part) {
        let path = &text[at.clone()];
        let is_drive = |path: &str| {
            let behind = path.strip_prefix(|c: char| c.is_ascii_alphabetic());
            behind.is_some_and(|behind| behind.len() > 2 && behind.starts_with(":\\"))
        };
        let is_absolute = path.starts_with('/') || path.starts_with("~/") || is_drive(path);
        let steps = path.matches(['/', '\\']).count();
        if is_absolute && (steps > 1 || path.starts_with('~') || is_drive(path)) && !path.starts_with("/v1/") {
            hidden.push(at.start..at.start + path.trim_end_matches(['.', ':']).len());
        }
    }
}

/// An IPv6 address among these hexadecimal digits, colons and dots. `::bad` may be a part of a program.
fn is_ipv6(text: &str) -> bool {
    let text = text.trim_end_matches('.').strip_suffix(':').unwrap_or(text.trim_end_matches('.'));
    text.parse::<Ipv6Addr>().is_ok() && text.bytes().any(|byte| byte.is_ascii_digit())
}

/// Whether four labels in a row are an IPv4 address, whatever stands right before and behind it.
fn holds_ipv4(labels: &[&str]) -> bool {
    labels.windows(4).any(|window| {
        let [first, second, third, fourth] = window else { return false };
        let first = first.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        let fourth = fourth.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        [first, second, third, fourth].iter().all(|part| part.parse::<u8>().is_ok())
    })
}

/// The length of the port that a text begins with, its colon included.
fn port(text: &str) -> Option<usize> {
    let digits = text.strip_prefix(':')?.bytes().take_while(u8::is_ascii_digit).count();
    (2..=5).contains(&digits).then_some(1 + digits)
}

/// `text` with each of `hidden` blanked; what overlaps is blanked once.
fn blank(text: &str, mut hidden: Vec<Range<usize>>) -> String {
    hidden.sort_unstable_by_key(|at| (at.start, at.end));
    let mut shown = String::with_capacity(text.len());
    let mut passed = 0;
    for at in hidden {
        if at.start >= passed && !at.is_empty() {
            shown.push_str(&text[passed..at.start]);
            shown.push_str(BLANK);
        }
        passed = passed.max(at.end);
    }
    shown + &text[passed..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<'a>(host: &str, credential: Option<&'a Secret>, model: &'a str) -> Names<'a> {
        Names { model, host: host.to_owned(), credential, slug: "acme/chat" }
    }

    fn clean(text: &str) -> String {
        names("vllm-0.svc.cluster.local", None, "meta/llama-70b").clean(text)
    }

    #[test]
    fn no_host_credential_or_model_name_is_shown() {
        let shown = clean(
            "meta/llama-70b at http://10.0.0.7:8000/v1 (gpu-box:8000, vllm-0.svc.cluster.local, 10.0.0.7, [::1]:80, \
             localhost) refused key 'sk-secret123' at 12:30.",
        );
        let expected = "acme/chat at […] ([…], […], […], [[…]]:80, […]) refused key '[…]' at 12:30.";
        assert_eq!(shown, expected);
    }

    #[test]
    fn words_of_any_language_stay_as_they_are() {
        for text in ["Échec de la requête", "参数错误：模型 不存在", "ошибка /v1/chat", "ǭ:\\x"] {
            assert_eq!(clean(text), as_read(text));
        }
        assert_eq!(clean("é C:\\models\\llama"), "é […]");
    }

    #[test]
    fn a_host_is_found_in_every_disguise() {
        for (text, expected) in [
            ("gpu-box-7.corp.example.internal failed", "[…] failed"),
            ("GPU-BOX.INTERNAL", "[…]"),
            ("see gpu-box-7.internal/docs", "see […]/docs"),
            ("vllm-0.models.svc.cluster.local", "[…]"),
            ("host=gpu-box-7.lan;port=1", "host=[…];port=1"),
            ("peer=(gpu.local)", "peer=([…])"),
            ("ip=10.1.2.3,", "ip=[…],"),
            ("x10.1.2.3", "[…]"),
            ("10.1.2.3:8000.", "[…]."),
            ("admin@gpu.corp", "admin@[…]"),
            ("gpu\u{ff0e}corp gpu\u{3002}lan g\u{200b}pu.corp", "[…] […] […]"),
            ("\u{ff47}\u{ff50}\u{ff55}.lan", "[…]"),
            ("gpu_box.lan", "gpu_[…]"),
            ("vllm-0 is down", "[…] is down"),
            ("fe80::1%eth0 and 2001:db8::7", "[…]%eth0 and […]"),
            ("(https://gpu/x?y=1) wss://a.b", "([…]) […]"),
            ("node1:8000 and models.example.com:443", "[…] and […]"),
            ("7.0.168.192.in-addr.arpa", "[…]"),
        ] {
            assert_eq!(clean(text), expected, "{text}");
        }
    }

    #[test]
    fn a_name_in_the_targets_domain_is_one_of_its_hosts() {
        let of = |host: &str, text: &str| names(host, None, "m").clean(text);
        assert_eq!(
            of("api.openai.com", "see platform.OpenAI.com/docs, not openai.org"),
            "see […]/docs, not openai.org"
        );
        assert_eq!(of("llm.acme.co.uk", "gw.acme.co.uk is not bbc.co.uk"), "[…] is not bbc.co.uk");
        assert_eq!(of("acme.com", "acme.com and x.acme.com"), "[…] and […]");
        assert_eq!(of("gpu7", "GPU7 is hot, gpu77 is not"), "[…] is hot, gpu77 is not");
        assert_eq!(of("10.0.0.7", "0.7 and 1.0.7"), "0.7 and 1.0.7");
        assert_eq!(of("api", "an api key"), "an […] key");
    }

    #[test]
    fn what_is_no_host_stays() {
        for text in [
            "messages.0.role: Field required",
            "torch.cuda.OutOfMemoryError: 2.00 GiB of 23.65 GiB",
            "at 12:30:45, temperature 0.5, top_p:10, max_tokens:8192, status:500",
            "version 1.2.3 of vllm.entrypoints, e.g. this one. And and/or tokens/s",
            "std::bad_alloc in model.py:123",
            "no local file on this cluster, internal error",
            "POST /v1/chat/completions is not /chat",
            "https is not spoken; a:b, 10:20",
            "",
        ] {
            assert_eq!(clean(text), text);
        }
    }

    #[test]
    fn absolute_paths_of_files_are_not_shown() {
        assert_eq!(clean("no file '/home/vllm/models/llama'."), "no file '[…]'.");
        assert_eq!(clean("path=/mnt/m.gguf: ~/models C:\\llm\\m //gpu/x"), "path=[…]: […] […] […]");
    }

    #[test]
    fn a_models_name_is_replaced_only_where_it_stands_by_itself() {
        let of = |text: &str| names("h", None, "a").clean(text);
        let shown = of("a: max_tokens is too large for 'a' (a-b, ba).");
        assert_eq!(shown, "acme/chat: max_tokens is too large for 'acme/chat' (a-b, ba).");
        let path = names("h", None, "/models/llama").clean("no '/models/llama' here");
        assert_eq!(path, "no 'acme/chat' here");
    }

    #[test]
    fn the_targets_own_credential_is_shown_nowhere_whatever_it_looks_like() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let (hush, key, short) = (secret("hush+gpt/0123"), secret("hunter2-secret-XYZ"), secret("x"));
        let of = |credential, text: &str| names("h", Some(credential), "gpt").clean(text);
        assert_eq!(of(&hush, "Bad key=hush+gpt/0123, told gpt."), "Bad key=[…], told acme/chat.");
        let cut = of(&hush, &format!("{}hush+gpt/0123", "a ".repeat(MAX_MESSAGE / 2 - 1)));
        assert!(cut.ends_with("a […"), "{cut}");
        assert_eq!(of(&hush, "HUSH+GPT/0123"), "[…]");
        assert_eq!(
            of(&key, "key hunter2-****-XYZ, hunter2..., …XYZ, **bold** and so on..."),
            "key […], […], […], **bold** and so on..."
        );
        for before in ["", "a", "ab", "Bearer ", "user:x:"] {
            let encoded = STANDARD_NO_PAD.encode(format!("{before}hunter2-secret-XYZ"));
            let shown = of(&key, &encoded);
            assert!(shown.contains(BLANK) && shown.chars().count() < before.len() * 2 + 8, "{shown}");
        }
        assert_eq!(of(&short, "max_tokens"), "max_tokens", "it stands for none");
    }
}
