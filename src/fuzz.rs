//! Fuzz targets: functions that take untrusted input and panic if our code handles it wrongly.
//!
//! Each target is in a `fuzz` module beside the code that it tests. Its corpus, a set of real inputs, is in
//! `tests/fuzz/corpus/TARGET`. Unit tests run each target on its corpus and on a fixed number of mutations of it.
//! `tests/fuzz/run` continues the search with libFuzzer, guided by coverage.

#[cfg(test)]
mod mutate;
pub(crate) mod pieces;

/// A fuzz target. It panics if the input is handled wrongly.
pub type Target = fn(&[u8]);

/// The target with this name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}

/// Declares the targets and a unit test of each. A debug build runs `$rounds` mutations in about half a second.
macro_rules! targets {
    ($($name:ident = $target:path, $rounds:literal;)+) => {
        const TARGETS: &[(&str, Target)] = &[$((stringify!($name), $target)),+];

        #[cfg(test)]
        mod tests {
            $(#[test]
            fn $name() {
                super::mutate::run(stringify!($name), $target, $rounds);
            })+
        }
    };
}

targets! {
    request = crate::upstream::request::fuzz::request, 3000;
    form = crate::upstream::request::form::fuzz::form, 15000;
    answer = crate::upstream::observe::fuzz::answer, 400;
    stream = crate::upstream::observe::fuzz::stream, 60;
    frames = crate::upstream::sse::fuzz::frames, 800;
    usage = crate::upstream::usage::fuzz::usage, 40000;
    refusal = crate::upstream::refusal::fuzz::refusal, 700;
    encoded = crate::decode::fuzz::encoded, 1500;
    upstream = crate::upstream::client::fuzz::upstream, 10000;
    framing = crate::http::connection::framing::fuzz::framing, 10000;
    credential = crate::http::credential::fuzz::credential, 20000;
    cursor = crate::http::admin::api::page::fuzz::cursor, 20000;
    segment = crate::journal::fuzz::segment, 500;
    record = crate::journal::fuzz::record, 10000;
    config = crate::config::fuzz::config, 400;
}
