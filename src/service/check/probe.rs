//! The calls to a target: a list of its models, a streamed chat of a few words and, if it refuses the chat, an
//! embedding.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, timeout_at};
use url::Url;

use super::{
    called::{Called, Models, NoAnswer, ProbeRefusal},
    finding::Checks,
    words,
};
use crate::{
    crypto::secret::Secret,
    domain::{endpoint, route::Route},
    upstream::{
        self, Body,
        body_form::{BodyForm, is_event_stream},
        client::{self, Client, Template},
        observe::Observer,
        provider,
        refusal::{self, UpstreamRefusal},
        request::{self, Changes, OutputCap},
        target::{MODELS_PATH, Target, Templates, Transport, list_of_models},
    },
};

/// The longest wait for the list of models. It leaves time for the other calls.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// The most bytes read of a list of models, and of an answer. Anything larger is neither.
const MAX_LIST: usize = 4 << 20;
const MAX_ANSWER: usize = 1 << 20;

/// The output maximum of the calls: enough for the answer, and the minimum that the strictest servers accept.
const OUTPUT_TOKENS: u64 = 16;

/// One target to check.
pub(super) struct Probe {
    client: Client,
    target: Target,
    list: Result<Template, &'static str>,
    base: Option<Url>,
    slug: Arc<str>,
    deadline: Instant,
}

impl Probe {
    pub(super) fn new(
        client: Client,
        target: &endpoint::Target,
        slug: Arc<str>,
        secret: Option<Secret>,
        deadline: Instant,
    ) -> Self {
        let open = |_| secret.clone();
        let (list, base) = (list_of_models(target, open), provider::base_url(target));
        Self { client, list, base, target: Target::compile(target, &slug, open), slug, deadline }
    }

    /// Makes all calls.
    pub(super) async fn run(self) -> Checks {
        let (list, routes) = match (&self.list, &self.target.reach) {
            (_, Transport::Demo) => return words::of_demo(),
            (_, Transport::Broken(why)) | (Err(why), Transport::Http(_)) => return words::of_broken(why),
            (Ok(list), Transport::Http(routes)) => (list, routes),
        };
        let list_by = self.deadline.min(Instant::now() + LIST_TIMEOUT);
        let answered = self.send(list, &[("accept", b"application/json")], Vec::new(), list_by).await;
        let response = match answered {
            Ok(response) => response,
            Err(why) => return words::of_unreachable(&list.origin().to_string(), &why),
        };
        let reached = words::reached(list.origin(), response.status);
        if let Some(to) = self.redirect(&response, MODELS_PATH) {
            return words::of_redirect(reached, response.status, &to);
        }
        let models = self.models(response, list_by).await;
        let called = self.call(routes, Route::ChatCompletions).await;
        let embedded = match &called {
            Called::Refused(refusal) if words::may_embed(refusal.status) => {
                Some(self.call(routes, Route::Embeddings).await)
            }
            _ => None,
        };
        words::of_answers(reached, &self.target.model, &models, &called, embedded.as_ref())
    }

    /// Sends one request and waits for the head of its answer.
    async fn send(
        &self,
        template: &Template,
        headers: &[(&str, &[u8])],
        body: Vec<Bytes>,
        deadline: Instant,
    ) -> Result<client::Response, NoAnswer> {
        // This cannot fail: the headers are our own, and the template has accepted them before.
        let request = template.request(headers, body).map_err(|_| NoAnswer::Late)?;
        match timeout_at(deadline, self.client.send(request)).await {
            Ok(sent) => sent.map_err(NoAnswer::Failed),
            Err(_) => Err(NoAnswer::Late),
        }
    }

    /// The base URL that a redirect of `path` leads to, without its secret parts; empty if the answer does not give it.
    /// `None` if the answer is not a redirect.
    fn redirect(&self, response: &client::Response, path: &str) -> Option<String> {
        if !(300..400).contains(&response.status) {
            return None;
        }
        let location = response.headers.get("location").and_then(|value| std::str::from_utf8(value).ok());
        let to = self.base.as_ref().zip(location).and_then(|(base, location)| base.join(location).ok());
        let shown = to.map(|mut to| {
            // The other parts may contain credentials.
            let _ = to.set_username("").and_then(|()| to.set_password(None));
            to.set_query(None);
            to.set_fragment(None);
            to.to_string()
        });
        let shown = shown.unwrap_or_default();
        let base = shown.trim_end_matches('/');
        Some(self.without_secret(base.strip_suffix(path).unwrap_or(base)))
    }

    async fn models(&self, response: client::Response, deadline: Instant) -> Models {
        #[derive(Default, Deserialize)]
        struct List {
            data: Vec<Listed>,
            /// Whether further names are on another page.
            #[serde(default)]
            has_more: bool,
        }
        #[derive(Deserialize)]
        struct Listed {
            id: String,
        }
        let status = response.status;
        let mut body = upstream::Response::from_http(response).body;
        let mut read = Vec::new();
        if status == 200 {
            while let Ok(Some(Ok(piece))) = timeout_at(deadline, body.chunk()).await
                && read.len() + piece.len() <= MAX_LIST
            {
                read.extend_from_slice(&piece);
            }
        }
        let List { data, has_more } = serde_json::from_slice(&read).unwrap_or_default();
        if data.is_empty() {
            return Models::Unlisted(status);
        }
        let has_ours = data.iter().any(|listed| *listed.id == *self.target.model);
        let is_complete = !has_more && provider::lists_aliases(self.target.provider());
        let names = data.iter().map(|listed| self.without_secret(&listed.id)).collect();
        Models::Listed { has_ours, is_complete, names }
    }

    /// Calls a route as a customer's request would.
    async fn call(&self, templates: &Templates, route: Route) -> Called {
        let asked = match route {
            Route::Embeddings => json!({ "model": &*self.slug, "input": "OK" }),
            _ => json!({
                "model": &*self.slug, "messages": [{ "role": "user", "content": "Say OK." }], "stream": true,
            }),
        };
        let asked = Bytes::from(asked.to_string());
        let (Some(template), Ok(request)) = (templates.get(route, false), request::scan(&asked, route)) else {
            return Called::Failed(words::NO_ROUTE.to_owned());
        };
        let parameter = self.target.output_parameter(route);
        let cap = parameter.map(|parameter| OutputCap { parameter, tokens: OUTPUT_TOKENS });
        let body = request.rewrite(&asked, &Changes { cap, ..Changes::to(&self.target.model) });
        let began = Instant::now();
        let sent = self.send(template, &[("content-type", b"application/json")], body, self.deadline).await;
        let response = match sent {
            Ok(response) => response,
            Err(why) => return Called::Failed(words::no_answer(&why)),
        };
        if let Some(to) = self.redirect(&response, route.upstream_path()) {
            return Called::Failed(words::redirect(response.status, &to));
        }
        let response = upstream::Response::from_http(response);
        match response.status {
            200..=299 if response.is_encoded => Called::Failed(words::ENCODED.to_owned()),
            200..=299 => self.read(route, request.stream, began, response).await,
            400..=499 | 501 => Called::Refused(self.refusal(response).await),
            status => Called::Failed(words::failed(status, &self.refusal(response).await.message)),
        }
    }

    async fn refusal(&self, response: upstream::Response) -> ProbeRefusal {
        let status = response.status;
        match timeout_at(self.deadline, refusal::read(response, &self.target, &self.target.model)).await {
            Ok(refusal) => {
                let UpstreamRefusal { message, code, param, .. } = refusal.into_refusal();
                ProbeRefusal { status, message, code, param }
            }
            Err(_) => ProbeRefusal { status, message: String::new(), code: None, param: None },
        }
    }

    async fn read(&self, route: Route, asked_stream: bool, began: Instant, response: upstream::Response) -> Called {
        let upstream::Response { content_type, mut body, .. } = response;
        let mut observer = Observer::new(route, &self.slug, false);
        let no_piece = || {
            let content_type = content_type.as_deref().map(String::from_utf8_lossy);
            let content_type = content_type.map(|text| self.without_secret(&text));
            Called::Failed(words::no_piece(content_type.as_deref()))
        };
        let is_event_stream = is_event_stream(content_type.as_deref());
        let mut start = BytesMut::new();
        let begins = loop {
            if let Some(begins) = BodyForm::with(&start, is_event_stream) {
                break begins;
            }
            match timeout_at(self.deadline, body.chunk()).await {
                Ok(Some(Ok(piece))) if start.len() < MAX_ANSWER => start.extend_from_slice(&piece),
                Ok(Some(Err(error))) => return Called::Failed(words::broken_off(&error)),
                _ => break BodyForm::Other,
            }
        };
        match begins {
            BodyForm::Json => return self.read_whole(route, observer, start.into(), &mut body).await,
            BodyForm::List | BodyForm::Other if asked_stream => return no_piece(),
            BodyForm::List | BodyForm::Other => return Called::Failed(words::ANOTHER_ANSWER.to_owned()),
            BodyForm::Events => {}
        }
        let (mut first, mut read, mut is_whole) = (None, 0, false);
        while !observer.has_terminal() && read < MAX_ANSWER {
            let begun = (!start.is_empty()).then(|| std::mem::take(&mut start).freeze());
            let next = match begun {
                Some(begun) => Ok(Some(Ok(begun))),
                None => timeout_at(self.deadline, body.chunk()).await,
            };
            let piece = match next {
                Ok(Some(Ok(piece))) => piece,
                Ok(Some(Err(error))) => return Called::Failed(words::broken_off(&error)),
                Ok(None) => {
                    observer.finish();
                    is_whole = true;
                    break;
                }
                Err(_) => break,
            };
            read += piece.len();
            let Ok(fed) = observer.feed(piece) else { break };
            if let Some(error) = fed.error {
                let reported = refusal::read_error(&error, &self.target, &self.target.model);
                return Called::Failed(words::error_within(&reported.message));
            }
            first = first.or_else(|| observer.has_content().then(|| began.elapsed()));
        }
        let usage = observer.report().usage(route);
        match first {
            Some(first_after) => Called::Streamed { first_after, usage, is_whole: is_whole || observer.has_terminal() },
            None => no_piece(),
        }
    }

    async fn read_whole(&self, route: Route, mut observer: Observer, mut read: Vec<u8>, body: &mut Body) -> Called {
        loop {
            match timeout_at(self.deadline, body.chunk()).await {
                Ok(Some(Ok(piece))) if read.len() + piece.len() <= MAX_ANSWER => read.extend_from_slice(&piece),
                Ok(Some(Err(error))) => return Called::Failed(words::broken_off(&error)),
                Ok(None) => break,
                Ok(Some(Ok(_))) => return Called::Failed(words::ANOTHER_ANSWER.to_owned()),
                Err(_) => return Called::Failed(words::no_answer(&NoAnswer::Late)),
            }
        }
        let answer: Value = serde_json::from_slice(&read).unwrap_or_default();
        let holds = if route.generates() { "choices" } else { "data" };
        if !answer[holds].is_array() {
            return Called::Failed(words::ANOTHER_ANSWER.to_owned());
        }
        observer.whole(read.into());
        Called::Whole(observer.report().usage(route))
    }

    /// Masks our credential, since some servers echo the request.
    fn without_secret(&self, text: &str) -> String {
        refusal::without_credential(text, self.target.credential())
    }
}
