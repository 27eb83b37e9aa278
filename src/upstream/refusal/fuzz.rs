//! Fuzzes the cleaning of errors from untrusted servers, which can repeat the host, the model's name and the operator's
//! credential.

use std::sync::LazyLock;

use super::{
    MAX_OPERATOR_MESSAGE, UpstreamError,
    as_read::AsRead,
    clean::{MAX_MESSAGE, Names},
};
use crate::{
    crypto::secret::Secret,
    domain::{
        endpoint::{self, Provider},
        id::SecretId,
    },
    upstream::target::Target,
};

const HOST: &str = "gpu-box-7.example.net";
const CREDENTIAL: &str = "Hunter2-qW8rTz5-XYZ";
const BODY: &[u8] = br#"{"model":"acme/chat","messages":[{"role":"user","content":"tell me a tale of two cities"}]}"#;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let target = endpoint::Target {
        provider: Provider::OpenAiCompatible,
        base_url: Some(format!("http://{HOST}:8000")),
        target_model: Some("meta/llama-70b".to_owned()),
        secret: Some(SecretId(1)),
        model_id: None,
        environment_name: None,
        weight: 1,
        max_concurrent: None,
    };
    Target::compile(&target, &"acme/chat".into(), |_| Some(Secret::new(CREDENTIAL.to_owned())))
});

/// Checks that customers see neither the credential nor the host, and that operators do not see the credential.
pub(crate) fn refusal(input: &[u8]) {
    let names = Names::of(&TARGET, "acme/chat");
    for status in [200, 302, 400, 404, 429, 500] {
        let error = UpstreamError::read(status, None, input, &names);
        let _ = (error.meaning(), error.refuses_parameter("stream_options", BODY));
        let message = error.for_operator("refused", BODY);
        let is_short = message.chars().count() <= MAX_OPERATOR_MESSAGE + 32;
        assert!(is_short && !has_credential(&message), "operators see {message:?}");
        let failure = error.failure_message();
        let refusal = error.into_refusal();
        assert!((400..=499).contains(&refusal.status) || status < 400 || status == 500);
        assert!(refusal.message.chars().count() <= 2 * MAX_MESSAGE && !refusal.message.is_empty());
        for shown in [&failure, &refusal.message].into_iter().chain(&refusal.param).chain(&refusal.code) {
            assert!(!has_credential(shown) && !has_host(shown), "customers see {shown:?}");
        }
    }
}

fn has_credential(text: &str) -> bool {
    AsRead::of(text).text.to_ascii_lowercase().contains(&CREDENTIAL.to_ascii_lowercase())
}

fn has_host(text: &str) -> bool {
    let lower = AsRead::of(text).text.to_lowercase();
    let mut words = lower.split(|c: char| !(c.is_alphanumeric() || matches!(c, '.' | '-')));
    words.any(|word| word.trim_matches(['.', '-']) == HOST)
}
