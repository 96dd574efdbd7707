//! The version of this program, for people and for metrics.

use std::sync::LazyLock;

/// The version of the package.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that the program was built from, where `build.rs` knows it.
pub(crate) const COMMIT: &str = match option_env!("STUUT_CACHE_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// The features that it was built with.
pub(crate) static FEATURES: LazyLock<String> = LazyLock::new(|| {
    let features = [
        ("otlp", cfg!(feature = "otlp")),
        ("shared", cfg!(feature = "shared")),
        ("top", cfg!(feature = "top")),
    ];
    let built = features.iter().filter(|(_, is_built)| *is_built);
    built.map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
});

/// All three, as `--version` prints them.
pub(crate) static TEXT: LazyLock<String> = LazyLock::new(|| {
    let features = if FEATURES.is_empty() {
        "none"
    } else {
        &**FEATURES
    };
    format!("{VERSION} (commit {COMMIT}; features: {features})")
});
