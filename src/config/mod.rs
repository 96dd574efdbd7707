//! The settings: typed values that are valid by construction.
//!
//! Two steps: the values as written (`raw`, `environment`), then their meaning (`settings`).
//! The file overrides the defaults, variables override the file, flags override variables; all
//! problems are reported together.
//!
//! ```
//! use stuut_cache::config::{self, Document};
//!
//! let file = Document { name: "proxy.toml", text: "[cache]\ncapacity = \"64 megs\"\n" };
//! let variables = [("STUUT_CACHE__CACHE__MAX_ENTRY".to_owned(), "1MiB".to_owned())];
//! let flags = [("--listen", "server.listen", "8080")];
//!
//! let problems = config::read(Some(file), &variables, &flags).finish().expect_err("two faults");
//! assert_eq!(
//!     problems.to_string(),
//!     "proxy.toml:2:12: cache.capacity: \"64 megs\" is not a size; write a number with B, KiB, \
//!      MiB or GiB, e.g. \"64MiB\"\n\
//!      --listen: server.listen: \"8080\" is not an address; write an IP address and a port, e.g. \
//!      \"127.0.0.1:8080\", or \":8080\" for every IPv4 interface"
//! );
//! ```

mod address_range;
mod collections;
mod cross_checks;
mod engine;
mod environment;
mod findings;
mod forward_proxy;
mod load;
mod raw;
mod reload;
pub mod render;
mod scalar;
mod setting;
mod settings;
#[cfg(test)]
mod tests;
mod values;
mod wording;

pub use address_range::AddressRange;
pub use collections::{CallerName, NamedScope, NamedView, Route};
pub use engine::EngineUrl;
pub use environment::{Flag, environment};
pub use findings::{Problems, Sources};
pub use forward_proxy::ForwardProxy;
pub use load::{Document, Draft, Loaded, draft, read, token_of};
pub use reload::Reloaded;
pub use scalar::{
    Alone, CacheMode, CallStatus, ClientDirectives, Interval, LogFormat, LogLevel, OriginRule,
    PrivateRule, ScopeMode, TokenFor, parse_address,
};
pub use settings::{
    Admin, Cache, Config, Freshness, Limits, Log, Scope, Server, Shared, StatusLifetimes, Tls,
    Upstream, Views,
};
pub use values::{
    ByteSize, CookieName, OriginUrl, RoutePattern, ScopeKey, Secret, TokenDigest, is_b64token,
};
pub(crate) use wording::nearest;
