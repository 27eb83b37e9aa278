//! Passes libFuzzer's inputs to the fuzz target named by `TOLLGATE_FUZZ_TARGET`.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tollgate::fuzz::Target;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("TOLLGATE_FUZZ_TARGET").expect("TOLLGATE_FUZZ_TARGET is not set");
    tollgate::fuzz::target(&name).unwrap_or_else(|| panic!("there is no fuzz target {name}"))
});

fuzz_target!(|input: &[u8]| (*TARGET)(input));
