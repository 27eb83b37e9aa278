//! The page for people at `/`, compiled in.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method,
        header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
    },
    web,
};

use super::table::only;

struct Asset {
    path: &'static str,
    content_type: &'static str,
    content: &'static str,
}

static ASSETS: [Asset; 2] = [
    Asset { path: "/", content_type: "text/html; charset=utf-8", content: include_str!("../../../assets/index.html") },
    Asset {
        path: "/assets/style.css",
        content_type: "text/css; charset=utf-8",
        content: include_str!("../../../assets/style.css"),
    },
];

/// Mounts the files, for GET and HEAD.
pub(super) fn mount(services: &mut web::ServiceConfig) {
    for asset in &ASSETS {
        let etag = format!("\"{}\"", blake3::hash(asset.content.as_bytes()).to_hex());
        let serve = move |request: HttpRequest| std::future::ready(serve(asset, &etag, &request));
        let resource = web::resource(asset.path).get(serve.clone()).head(serve);
        services.service(resource.default_service(only(vec![Method::GET])));
    }
}

/// Browsers keep a file, and ask each time whether it is still the same.
fn serve(asset: &Asset, etag: &str, request: &HttpRequest) -> HttpResponse {
    let known = request.headers().get(IF_NONE_MATCH).and_then(|known| known.to_str().ok()).unwrap_or_default();
    let mut answer = match known.contains(etag) {
        true => HttpResponse::NotModified(),
        false => HttpResponse::Ok(),
    };
    answer.insert_header((ETAG, etag)).insert_header((CACHE_CONTROL, "no-cache"));
    match known.contains(etag) {
        true => answer.finish(),
        false => answer.insert_header((CONTENT_TYPE, asset.content_type)).body(asset.content),
    }
}
