//! The paths of the inference listener, except those of the metered routes (`domain::route`).

use crate::domain::route::Route;

/// The paths that accept GET and HEAD, in addition to [`ONE_MODEL`].
pub(super) const PATHS: [&str; 4] = ["/v1/models", "/v1/usage", "/healthz", "/readyz"];

/// The path of one model, without its slug.
const ONE_MODEL: &str = "/v1/models/";

/// The path for the log. It never contains text that a customer sent.
pub(super) fn route_name(path: &str) -> &'static str {
    match path {
        "/v1/models" => "/v1/models",
        "/v1/usage" => "/v1/usage",
        "/healthz" => "/healthz",
        "/readyz" => "/readyz",
        path if slug(path).is_some() => "/v1/models/{slug}",
        path => Route::from_path(path).map_or("unknown", Route::path),
    }
}

/// Whether a path is that of a health probe. Probes are frequent, so they are neither logged nor counted.
pub(super) fn is_probe(name: &str) -> bool {
    matches!(name, "/healthz" | "/readyz")
}

/// The slug in a path `/v1/models/{slug}`.
pub(super) fn slug(path: &str) -> Option<&str> {
    path.strip_prefix(ONE_MODEL).filter(|slug| !slug.is_empty())
}
