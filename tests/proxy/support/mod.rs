//! The vocabulary of the integration tests.
//!
//! ```ignore
//! let origin = Origin::start().await;
//! let proxy = Proxy::start(&origin).await;
//!
//! proxy.get("/v1/calls/c1").bearer("a").await.assert_miss();
//! proxy.get("/v1/calls/c1").bearer("a").await.assert_hit();
//! origin.assert_requests(1);
//! ```

mod browser;
mod command;
#[cfg(feature = "shared")]
mod engine;
#[cfg(feature = "shared")]
mod engines;
mod faulty_origin;
mod forward_proxy;
pub mod h2;
mod origin;
mod program;
mod proxy;
mod raw_connection;
#[cfg(feature = "shared")]
mod relay;
#[cfg(feature = "shared")]
mod replicas;
mod reply;
mod request;
mod response;
mod tls;

use std::time::Duration;

pub use browser::Page;
#[cfg(feature = "shared")]
pub use command::CommandOutput;
pub use command::{installed, run, run_with};
#[cfg(feature = "shared")]
pub use engine::{Engine, Program as EngineProgram, free_port};
#[cfg(feature = "shared")]
pub use engines::{Cluster, Sentinels};
pub use faulty_origin::{FaultyOrigin, Received, Step};
pub use forward_proxy::{Answer, ForwardProxy};
pub use origin::{Gate, Origin, OriginRequest};
pub use program::Program;
pub use proxy::Proxy;
pub use raw_connection::{RawConnection, RawOrigin};
#[cfg(feature = "shared")]
pub use relay::{Fault, Relay};
#[cfg(feature = "shared")]
pub use replicas::{Endpoint, Replicas, engine_urls, in_step};
pub use reply::Reply;
pub use request::{Clients, Pending, Request};
pub use response::Response;
pub use tls::{Authority, FRAGILE, TlsOrigin};

/// Yields until a condition holds. The timeout only turns a hanging test into a failure with a
/// message.
pub async fn wait_until(what: &str, condition: impl AsyncFn() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    let timeout = Duration::from_secs(30);
    let is_met = tokio::time::timeout(timeout, waiting).await.is_ok();
    assert!(is_met, "timed out waiting for {what}");
}
