//! The files of the web UI, compiled into the binary: `/` is `index.html`, all others are below `/assets/`.
//!
//! Code is served without indentation and without most comments, and compressed if the client accepts gzip. Each file is
//! prepared on its first request.

use std::{borrow::Cow, sync::OnceLock};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method,
        header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY},
    },
    web,
};
use bytes::Bytes;
use flate2::Compression;

use super::api::{
    gzip::{accepts_gzip, gzip},
    route::only,
};

struct Asset {
    /// The path below `assets/`.
    path: &'static str,
    source: &'static str,
    served: OnceLock<Served>,
}

macro_rules! assets {
    ($($path:literal,)+) => {
        static ASSETS: [Asset; [$($path),+].len()] =
            [$(Asset {
                path: $path,
                source: include_str!(concat!("../../../assets/", $path)),
                served: OnceLock::new(),
            }),+];
    };
}

assets! {
    "css/base.css",
    "css/controls.css",
    "css/data.css",
    "css/groups.css",
    "css/models.css",
    "css/reports.css",
    "css/shell.css",
    "css/surfaces.css",
    "css/tokens.css",
    "icon.svg",
    "icons.svg",
    "index.html",
    "js/api.js",
    "js/api_types.js",
    "js/audit/diff.js",
    "js/audit/entry.js",
    "js/audit/words.js",
    "js/decimal.js",
    "js/dom.js",
    "js/events/dialog.js",
    "js/events/ulid.js",
    "js/filters/bar.js",
    "js/filters/groups.js",
    "js/filters/lists.js",
    "js/filters/range.js",
    "js/format.js",
    "js/groups/actions.js",
    "js/groups/family.js",
    "js/groups/fresh_key.js",
    "js/groups/key_dialogs.js",
    "js/groups/keys_tab.js",
    "js/groups/known_names.js",
    "js/groups/limit_bars.js",
    "js/groups/limit_card.js",
    "js/groups/limits.js",
    "js/groups/limits_editor.js",
    "js/groups/limits_tab.js",
    "js/groups/names.js",
    "js/groups/nearly_used.js",
    "js/groups/overview_tab.js",
    "js/groups/parent_picker.js",
    "js/groups/register.js",
    "js/groups/rule_rows.js",
    "js/groups/shares.js",
    "js/groups/snippets.js",
    "js/groups/tab.js",
    "js/groups/tokens_field.js",
    "js/groups/tree.js",
    "js/groups/treegrid.js",
    "js/groups/typed_rules.js",
    "js/groups/unsaved.js",
    "js/groups/why.js",
    "js/groups/why_tab.js",
    "js/live.js",
    "js/main.js",
    "js/models/carriers.js",
    "js/models/check_view.js",
    "js/models/endpoint_body.js",
    "js/models/endpoint_fields.js",
    "js/models/health.js",
    "js/models/price_fields.js",
    "js/models/prices.js",
    "js/models/problems.js",
    "js/models/providers.js",
    "js/models/routing_fields.js",
    "js/models/secret_dialog.js",
    "js/models/server_check.js",
    "js/models/target_card.js",
    "js/models/target_fields.js",
    "js/models/target_list.js",
    "js/models/whole_number.js",
    "js/pages/audit.js",
    "js/pages/endpoint.js",
    "js/pages/endpoints.js",
    "js/pages/events.js",
    "js/pages/group.js",
    "js/pages/group_new.js",
    "js/pages/groups.js",
    "js/pages/overview.js",
    "js/pages/playground.js",
    "js/pages/secrets.js",
    "js/pages/settings.js",
    "js/pages/usage.js",
    "js/pages/webhook.js",
    "js/pages/webhooks.js",
    "js/playground/conversation.js",
    "js/playground/fields.js",
    "js/playground/group_picker.js",
    "js/playground/growing_text.js",
    "js/playground/made_event.js",
    "js/playground/outcome.js",
    "js/playground/pieces.js",
    "js/playground/sse.js",
    "js/playground/transcript.js",
    "js/playground/try_body.js",
    "js/playground/try_call.js",
    "js/router.js",
    "js/routes.js",
    "js/search.js",
    "js/session.js",
    "js/settings/api_part.js",
    "js/settings/backup.js",
    "js/settings/operators.js",
    "js/settings/registration.js",
    "js/settings/status.js",
    "js/shell.js",
    "js/sign_in.js",
    "js/stored.js",
    "js/theme.js",
    "js/timers.js",
    "js/ui/badge.js",
    "js/ui/button.js",
    "js/ui/chart.js",
    "js/ui/copy.js",
    "js/ui/cost.js",
    "js/ui/dialog.js",
    "js/ui/form.js",
    "js/ui/icon.js",
    "js/ui/meter.js",
    "js/ui/notice.js",
    "js/ui/page.js",
    "js/ui/table.js",
    "js/ui/tabs.js",
    "js/ui/toast.js",
    "js/ui/when.js",
    "js/usage/report.js",
    "js/usage/view.js",
    "js/webhooks/dead_letters.js",
    "js/webhooks/dialogs.js",
    "js/webhooks/verify_sample.js",
    "js/webhooks/words.js",
}

impl Asset {
    fn url(&self) -> String {
        match self.path {
            "index.html" => "/".to_owned(),
            path => format!("/assets/{path}"),
        }
    }

    fn content_type(&self) -> &'static str {
        match self.path.rsplit_once('.') {
            Some((_, "html")) => "text/html; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "js")) => "text/javascript; charset=utf-8",
            Some((_, "svg")) => "image/svg+xml; charset=utf-8",
            _ => "application/octet-stream",
        }
    }

    fn content(&self) -> Cow<'static, str> {
        match self.path.rsplit_once('.') {
            Some((_, "css" | "js")) => Cow::Owned(condensed(self.source)),
            _ => Cow::Borrowed(self.source),
        }
    }

    fn served(&self) -> &Served {
        self.served.get_or_init(|| Served::new(self.content_type(), &self.content()))
    }
}

/// Removes lines that contain only a comment, types within lines, and indentation: about a fourth of the code. Removed
/// lines leave empty ones, so line numbers in errors match the source. Text between backticks is not changed.
fn condensed(source: &str) -> String {
    let (mut is_comment, mut is_text) = (false, false);
    let mut code = String::with_capacity(source.len());
    for line in source.lines() {
        let trimmed = line.trim();
        let begins = !is_text && !is_comment && trimmed.starts_with("/*");
        if is_comment || (begins && trimmed.find("*/").is_none_or(|end| end + 2 == trimmed.len())) {
            is_comment = !trimmed.ends_with("*/");
        } else if is_text || !trimmed.starts_with("//") {
            match line.contains('`') {
                _ if is_text => code.push_str(line),
                true => code.push_str(trimmed),
                false => push_without_types(&mut code, trimmed),
            }
            is_text ^= backticks(line) % 2 == 1;
        }
        code.push('\n');
    }
    code
}

/// Number of backticks without those that are escaped.
fn backticks(code: &str) -> usize {
    code.replace(r"\\", "").replace(r"\`", "").matches('`').count()
}

/// Appends a line without its comments of the form `/** … */`, which have types for the type checker. A space stays
/// where the code on both sides could become one token.
fn push_without_types(code: &mut String, line: &str) {
    let mut rest = line;
    while let Some((before, (_, after))) =
        rest.split_once("/**").and_then(|(before, comment)| Some((before, comment.split_once("*/")?)))
    {
        code.push_str(before);
        rest = after.strip_prefix(' ').unwrap_or(after);
        if !code.ends_with([' ', '\n', '(', '[', ',']) {
            code.push(' ');
        }
    }
    code.push_str(rest);
}

/// A file in one encoding, and the ETag of exactly that form.
struct Form {
    content: Bytes,
    etag: String,
}

/// A file, ready to be served.
struct Served {
    content_type: &'static str,
    plain: Form,
    /// The compressed form, if it is smaller.
    gzip: Option<Form>,
}

impl Served {
    fn new(content_type: &'static str, content: &str) -> Self {
        let plain = Bytes::copy_from_slice(content.as_bytes());
        let hash = blake3::hash(&plain).to_hex();
        let gzip = gzip(&plain, Compression::best()).ok().map(Bytes::from).filter(|gzip| gzip.len() < plain.len());
        Self {
            content_type,
            gzip: gzip.map(|content| Form { content, etag: format!("\"{hash}-gzip\"") }),
            plain: Form { content: plain, etag: format!("\"{hash}\"") },
        }
    }

    /// The response to a request. Browsers cache the file and revalidate it each time.
    fn answer(&self, request: &HttpRequest) -> HttpResponse {
        let gzip = self.gzip.as_ref().filter(|_| accepts_gzip(request));
        let Form { content, etag } = gzip.unwrap_or(&self.plain);
        let known = request.headers().get(IF_NONE_MATCH).and_then(|known| known.to_str().ok());
        let is_known = known.is_some_and(|known| known.contains(etag));
        let mut answer = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
        answer.insert_header((ETAG, etag.as_str())).insert_header((CACHE_CONTROL, "no-cache"));
        answer.insert_header((VARY, ACCEPT_ENCODING.as_str()));
        if is_known {
            return answer.finish();
        }
        if gzip.is_some() {
            answer.insert_header((CONTENT_ENCODING, "gzip"));
        }
        answer.insert_header((CONTENT_TYPE, self.content_type)).body(content.clone())
    }
}

/// Mounts the files, for GET and HEAD.
pub(super) fn mount(services: &mut web::ServiceConfig) {
    for asset in &ASSETS {
        let serve = move |request: HttpRequest| std::future::ready(asset.served().answer(&request));
        let resource = web::resource(asset.url()).get(serve).head(serve);
        services.service(resource.default_service(only(vec![Method::GET])));
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    fn walk(directory: &Path, below: &str, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let name = format!("{below}{}", entry.file_name().into_string().unwrap());
            match entry.file_type().unwrap().is_dir() {
                true => walk(&entry.path(), &format!("{name}/"), found),
                false => assert!(found.insert(name)),
            }
        }
    }

    #[test]
    fn every_file_of_the_ui_is_in_the_list_once() {
        let mut files = BTreeSet::new();
        walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("assets"), "", &mut files);
        assert_eq!(ASSETS.iter().map(|asset| asset.path.to_owned()).collect::<BTreeSet<_>>(), files);
        assert_eq!(ASSETS.len(), files.len());
    }

    #[test]
    fn every_file_has_a_known_content_type() {
        for asset in &ASSETS {
            assert_ne!(asset.content_type(), "application/octet-stream", "{}", asset.path);
        }
    }

    #[test]
    fn the_whole_ui_is_small() {
        let sent = |asset: &Asset| asset.served().gzip.as_ref().map_or(asset.source.len(), |gzip| gzip.content.len());
        let bytes: usize = ASSETS.iter().map(sent).sum();
        assert!(bytes < 150_000, "{bytes} bytes");
    }

    #[test]
    fn comments_and_indentation_are_removed_and_the_rest_is_not_changed() {
        let source = r#"
// Says what it is.
import { h } from "./dom.js"; // stays

/** Says why. */
const address =
  "https://host//path";
  /*
   * Says much.
   */
/** @type {number} */ const typed = 1;
return/** @type {number} */typed;
const end = `\\`;
  const text = `
  // text ${`inner`}
/* text */ \`
`;
  .rule { color: red; } /* stays */
"#;
        let sent = r#"

import { h } from "./dom.js"; // stays


const address =
"https://host//path";



const typed = 1;
return typed;
const end = `\\`;
const text = `
  // text ${`inner`}
/* text */ \`
`;
.rule { color: red; } /* stays */
"#;
        assert_eq!(condensed(source), sent);
        for asset in &ASSETS {
            let lines = (asset.source.lines().count(), asset.content().lines().count());
            assert_eq!(lines.0, lines.1, "{}", asset.path);
            assert_eq!(backticks(&asset.content()) % 2, 0, "{}: text without an end", asset.path);
            let is_in_text =
                |line: &str| line.split("/**").next().is_some_and(|before| before.matches('"').count() % 2 == 1);
            assert!(!asset.source.lines().any(|line| line.contains("/**") && is_in_text(line)), "{}", asset.path);
        }
    }
}
