//! The files of the web UI, compiled in: `/` is `index.html`, every other one is below `/assets/`.

use std::io::{self, Write};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method,
        header::{
            ACCEPT_ENCODING, AcceptEncoding, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, Encoding, Header,
            IF_NONE_MATCH, VARY,
        },
    },
    web,
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

use super::table::only;

struct Asset {
    /// Below `assets/`.
    path: &'static str,
    content: &'static str,
}

macro_rules! assets {
    ($($path:literal,)+) => {
        static ASSETS: &[Asset] =
            &[$(Asset { path: $path, content: include_str!(concat!("../../../assets/", $path)) }),+];
    };
}

assets! {
    "index.html",
    "style.css",
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

    fn compressed(&self) -> io::Result<Bytes> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(self.content.as_bytes())?;
        encoder.finish().map(Bytes::from)
    }
}

/// A file in one of its encodings, and what names exactly that.
#[derive(Clone)]
struct Form {
    content: Bytes,
    etag: String,
}

/// A file as it is served.
#[derive(Clone)]
struct Served {
    content_type: &'static str,
    plain: Form,
    /// Absent if that makes it no smaller.
    gzip: Option<Form>,
}

impl Served {
    fn new(asset: &Asset) -> Self {
        let plain = Bytes::from_static(asset.content.as_bytes());
        let hash = blake3::hash(&plain).to_hex();
        let gzip = asset.compressed().ok().filter(|gzip| gzip.len() < plain.len());
        Self {
            content_type: asset.content_type(),
            gzip: gzip.map(|content| Form { content, etag: format!("\"{hash}-gzip\"") }),
            plain: Form { content: plain, etag: format!("\"{hash}\"") },
        }
    }

    /// Browsers keep a file, and ask each time whether it is still the same.
    fn answer(&self, request: &HttpRequest) -> HttpResponse {
        let gzip = self.gzip.as_ref().filter(|_| takes_gzip(request));
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

fn takes_gzip(request: &HttpRequest) -> bool {
    let forms = [Encoding::gzip(), Encoding::identity()];
    let accepted = AcceptEncoding::parse(request).ok();
    accepted.and_then(|accepted| accepted.negotiate(forms.iter())) == Some(Encoding::gzip())
}

/// Mounts the files, for GET and HEAD.
pub(super) fn mount(services: &mut web::ServiceConfig) {
    for asset in ASSETS {
        let served = Served::new(asset);
        let serve = move |request: HttpRequest| std::future::ready(served.answer(&request));
        let resource = web::resource(asset.url()).get(serve.clone()).head(serve);
        services.service(resource.default_service(only(vec![Method::GET])));
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use actix_web::test::TestRequest;

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
    fn browsers_know_every_type() {
        for asset in ASSETS {
            assert_ne!(asset.content_type(), "application/octet-stream", "{}", asset.path);
        }
    }

    #[test]
    fn the_whole_ui_is_small() {
        let bytes: usize = ASSETS.iter().map(|asset| asset.compressed().unwrap().len()).sum();
        assert!(bytes < 150 << 10, "{bytes} bytes");
    }

    #[test]
    fn who_takes_gzip_gets_gzip() {
        let takes = |accepted: &str| {
            takes_gzip(&TestRequest::get().insert_header((ACCEPT_ENCODING, accepted)).to_http_request())
        };
        for accepted in ["gzip", "gzip, deflate, br, zstd", "br;q=1.0, gzip;q=0.5", "identity;q=0.5, gzip;q=0.8"] {
            assert!(takes(accepted), "{accepted}");
        }
        for accepted in ["", "br", "gzip;q=0", "gzip;q=0.0, br", "identity, gzip;q=0", "*;q=0", "nonsense;;"] {
            assert!(!takes(accepted), "{accepted}");
        }
        assert!(!takes_gzip(&TestRequest::get().to_http_request()));
    }
}
