//! Cleans a server's message for customers: hides hosts ([`hosts`](super::hosts)), file paths and credentials, and
//! replaces the model's name by the slug. Everything else stays as it is, character by character.

use std::{iter, ops::Range};

use super::{
    as_read::{AsRead, BLANK, runs},
    credential::without_credential,
    hosts::hosts,
};
use crate::{crypto::secret::Secret, upstream::target::Target};

/// Longest message that is passed on, in characters.
pub(super) const MAX_MESSAGE: usize = 2000;

/// Shortest model name, in bytes, that is matched in any case. A shorter one in another case is likely to be a word.
const MIN_MODEL: usize = 4;

/// Longest name, in bytes. A longer word is not treated as a name.
const MAX_WORD: usize = 256;

/// The names that customers must not see, and the slug that replaces the model's name.
pub(super) struct Names<'a> {
    model: &'a str,
    /// In lower case.
    host: String,
    credential: Option<&'a Secret>,
    slug: &'a str,
}

impl<'a> Names<'a> {
    pub(super) fn of(target: &'a Target, slug: &'a str) -> Self {
        let host = target.host().unwrap_or_default().to_ascii_lowercase();
        Self { model: &target.model, host, credential: target.credential(), slug }
    }

    /// The names of a target without host and credential.
    #[cfg(test)]
    pub(super) fn of_model(model: &'a str, slug: &'a str) -> Self {
        Self { model, host: String::new(), credential: None, slug }
    }

    pub(super) fn without_credential(&self, text: &str) -> String {
        without_credential(text, self.credential)
    }

    /// Returns the text as customers may see it, at most [`MAX_MESSAGE`] characters.
    pub(super) fn clean(&self, text: &str) -> String {
        // Remove the credential first and cut the text last. Otherwise a part of the credential or of a name could be
        // left.
        let text = self.without_credential(head(text));
        let text = self.replace_model(&text);
        let read = AsRead::of(&text);
        let mut hidden = Vec::new();
        hosts(&read.text, &self.host, &mut hidden);
        paths(&read.text, &mut hidden);
        let is_key = |at: &Range<usize>| read.text[at.clone()].starts_with("sk-");
        hidden.extend(runs(&read.text, |c| c.is_alphanumeric() || matches!(c, '-' | '_' | '*')).filter(is_key));
        read.replace(hidden, BLANK).chars().take(MAX_MESSAGE).collect()
    }

    /// Replaces the model's name by the slug where it is a whole word, also with an encoded slash or as the name of its
    /// directory in Hugging Face's cache.
    fn replace_model(&self, text: &str) -> String {
        if self.model.is_empty() || self.model == self.slug {
            return text.to_owned();
        }
        let read = AsRead::of(text);
        let fold = |text: &str| if self.model.len() < MIN_MODEL { text.to_owned() } else { text.to_ascii_lowercase() };
        let searched = fold(&read.text);
        let mut found = Vec::new();
        let with = |slash: &str| self.model.replace('/', slash);
        for (name, is_step) in [(with("/"), false), (with("%2F"), false), (format!("models--{}", with("--")), true)] {
            let name = fold(&name);
            let is_border = |c: char| !c.is_alphanumeric() && !matches!(c, '-' | '_') && (is_step || c != '/');
            found.extend(searched.match_indices(&name).map(|(at, _)| at..at + name.len()).filter(|at| {
                searched[..at.start].chars().next_back().is_none_or(is_border)
                    && searched[at.end..].chars().next().is_none_or(is_border)
            }));
        }
        read.replace(found, self.slug)
    }
}

/// Returns the beginning of a text, long enough for a message. A longer text is cut before a word, not within one,
/// because a name may only be recognizable as a whole.
pub(super) fn head(text: &str) -> &str {
    let Some((end, _)) = text.char_indices().nth(4 * MAX_MESSAGE) else { return text };
    let is_part = |c: char| c.is_alphanumeric() || !c.is_ascii() || matches!(c, '-' | '.' | '_' | '*' | '[' | ']');
    let head = text[..end].trim_end_matches(is_part);
    if end - head.len() > MAX_WORD { &text[..end] } else { head }
}

/// Hides absolute file paths of two steps or more, also after a scheme. Paths of our own routes (`/v1/`) stay, unless
/// they contain `/../`.
fn paths(text: &str, hidden: &mut Vec<Range<usize>>) {
    let is_part =
        |c: char| c.is_alphanumeric() || matches!(c, '/' | '\\' | '.' | '-' | '_' | '+' | '@' | '~' | '%' | ':');
    for at in runs(text, is_part) {
        let run = &text[at.clone()];
        let mut starts = iter::once(0).chain(run.match_indices(':').map(|(colon, _)| colon + 1));
        let Some(start) = starts.find(|start| is_absolute(&run[*start..])) else { continue };
        let path = run[start..].trim_end_matches(['.', ':']);
        if !path.starts_with("/v1/") || path.contains("/../") {
            hidden.push(at.start + start..at.start + start + path.len());
        }
    }
}

fn is_absolute(path: &str) -> bool {
    let is_drive = || {
        let rest = path.strip_prefix(|c: char| c.is_ascii_alphabetic());
        rest.is_some_and(|rest| rest.len() > 2 && rest.starts_with(":\\"))
    };
    let is_unix = || path.starts_with('/') && path.matches(['/', '\\']).count() > 1;
    path.starts_with("~/")
        || is_drive()
        || is_share(path, "\\\\", "\\")
        || is_share(path, "\\\\\\\\", "\\\\")
        || is_unix()
}

/// Whether a path is one of a Windows share, with these separators before and after its host. They are doubled in a
/// quoted text.
fn is_share(path: &str, before: &str, after: &str) -> bool {
    let Some(host) = path.strip_prefix(before) else { return false };
    let len = host.find(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))).unwrap_or(host.len());
    let share = host[len..].strip_prefix(after);
    len > 0 && share.is_some_and(|share| share.starts_with(char::is_alphanumeric))
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};

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
    fn text_in_any_language_stays_as_it_is() {
        for text in ["Échec de la requête", "参数错误：模型 不存在", "ошибка /v1/chat", "ǭ:\\x", "½ ﬁ ❤\u{fe0f} ➀…"]
        {
            assert_eq!(clean(text), text);
        }
        assert_eq!(clean("é C:\\models\\llama"), "é […]");
    }

    #[test]
    fn a_host_is_hidden_in_every_spelling() {
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
            ("gpu_box.lan", "[…]"),
            ("prod_vllm_llama_1.lan is down", "[…] is down"),
            ("prod_vllm_1:8000 gpu_box_7.internal:8000", "[…] […]"),
            ("gpu.lan_1 _gpu.lan_ vllm-0_worker", "[…]_1 […] […]_worker"),
            ("gpu-seven.inter\u{2062}nal \u{202e}gpu.lan", "[…] \u{202e}[…]"),
            ("gpu\u{fe52}lan 𝗀𝗉𝗎.ⓛⓐⓝ １０.1.2.3 gpu[.]lan", "[…] […] […] […]"),
            ("addr:fd00::7: peer=fd00::7. fd00:1:2:3:4:5:6:7:8000", "addr:[…]: peer=[…]. […]:8000"),
            ("ip-10-1-2-3 refused by ip-10-1-2-4.ec2", "[…] refused by […]"),
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
    fn a_name_in_the_targets_domain_is_a_host() {
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
    fn text_that_is_not_a_host_stays() {
        for text in [
            "messages.0.role: Field required",
            "torch.cuda.OutOfMemoryError: 2.00 GiB of 23.65 GiB",
            "at 12:30:45, temperature 0.5, top_p:10, max_tokens:8192, status:500",
            "version 1.2.3 of vllm.entrypoints, e.g. this one. And and/or tokens/s",
            "std::bad_alloc in model.py:123",
            "no local file on this cluster, internal error",
            "POST /v1/chat/completions is not /chat",
            "https is not spoken; a:b, 10:20",
            "ip-10-1-2 and ip-300-1-2-3, top_p:10, 127.1, a[.]b, std::bad",
            "",
        ] {
            assert_eq!(clean(text), text);
        }
    }

    #[test]
    fn absolute_paths_of_files_are_not_shown() {
        assert_eq!(clean("no file '/home/vllm/models/llama'."), "no file '[…]'.");
        assert_eq!(clean("path=/mnt/m.gguf: ~/models C:\\llm\\m //gpu/x"), "path=[…]: […] […] […]");
        for (text, expected) in [
            ("file:/srv/models/x.bin", "file:[…]"),
            ("bind unix:/run/vllm/sock.1: in use", "bind unix:[…]: in use"),
            ("/v1/../srv/models/x.bin", "[…]"),
            ("path=/v1/models/../../home/u/x", "path=[…]"),
            (r"\\nas\models\x or '\\\\nas\\models'", "[…] or '[…]'"),
            ("POST:/v1/chat/completions, /v1/models/...", "POST:/v1/chat/completions, /v1/models/..."),
            (r"a \n\\nb \\d+\\w \\n\\nnew :/ ratio:/s", r"a \n\\nb \\d+\\w \\n\\nnew :/ ratio:/s"),
        ] {
            assert_eq!(clean(text), expected, "{text}");
        }
    }

    #[test]
    fn the_models_name_is_replaced_only_as_a_whole_word() {
        let of = |text: &str| names("h", None, "a").clean(text);
        let shown = of("a: max_tokens is too large for 'a' (a-b, ba).");
        assert_eq!(shown, "acme/chat: max_tokens is too large for 'acme/chat' (a-b, ba).");
        let path = names("h", None, "/models/llama").clean("no '/models/llama' here");
        assert_eq!(path, "no 'acme/chat' here");
        let of = |text: &str| names("h", None, "Meta/Llama-70b").clean(text);
        assert_eq!(of("META/LLAMA-70B, meta%2Fllama-70b"), "acme/chat, acme/chat");
        assert_eq!(of("in hub/models--meta--llama-70b/blobs"), "in hub/acme/chat/blobs");
        assert_eq!(of("meta/llama-70bx or xmeta/llama-70b"), "meta/llama-70bx or xmeta/llama-70b");
        assert_eq!(of("models--meta--llama-70bx"), "models--meta--llama-70bx");
        assert_eq!(names("h", None, "gpt").clean("GPT gpt"), "GPT acme/chat");
    }

    #[test]
    fn the_targets_own_credential_is_hidden_in_every_form() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let (hush, key, short) = (secret("hush+gpt/0123"), secret("hunter2-secret-XYZ"), secret("x"));
        let of = |credential, text: &str| names("h", Some(credential), "gpt").clean(text);
        assert_eq!(of(&hush, "Bad key=hush+gpt/0123, told gpt."), "Bad key=[…], told acme/chat.");
        let cut = of(&hush, &format!("{}hush+gpt/0123", "a ".repeat(MAX_MESSAGE / 2 - 1)));
        assert!(cut.ends_with("a […"), "{cut}");
        let long = of(&hush, &format!("{}x gpu.lan", "gpu.lan ".repeat(MAX_MESSAGE / 2)));
        assert_eq!(long, "[…] ".repeat(MAX_MESSAGE / 2).trim_end().chars().take(MAX_MESSAGE).collect::<String>());
        assert_eq!(of(&hush, "HUSH+GPT/0123"), "[…]");
        assert_eq!(
            of(&key, "key hunter2-****-XYZ, hunter2..., …XYZ, **bold** and so on..."),
            "key […], […], […], **bold** and so on..."
        );
        assert_eq!(of(&key, "hunt●●●●XYZ hunter2[...]XYZ [hunter2...] a[...]b"), "[…] […] […] a[...]b");
        assert_eq!(of(&key, "h\u{2062}unter2-secret-ＸＹＺ"), "[…]");
        for before in ["", "a", "ab", "Bearer ", "user:x:"] {
            let encoded = STANDARD_NO_PAD.encode(format!("{before}hunter2-secret-XYZ"));
            let shown = of(&key, &encoded);
            assert!(shown.contains(BLANK) && shown.chars().count() < before.len() * 2 + 8, "{shown}");
        }
        assert_eq!(of(&short, "max_tokens"), "max_tokens", "a placeholder is not a credential");
    }
}
