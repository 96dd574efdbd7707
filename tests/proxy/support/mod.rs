//! The small language of the stories.
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
mod faulty_origin;
pub mod h2;
mod origin;
mod program;
mod proxy;
mod raw_connection;
mod reply;
mod request;
mod response;
mod tls;

use std::time::Duration;

pub use browser::Page;
pub use command::{run, run_with};
pub use faulty_origin::{FaultyOrigin, Received, Step};
pub use origin::{Gate, Origin, OriginRequest};
pub use program::Program;
pub use proxy::Proxy;
pub use raw_connection::{RawConnection, RawOrigin};
pub use reply::Reply;
pub use request::{Clients, Pending, Request};
pub use response::Response;
pub use tls::{Authority, FRAGILE, TlsOrigin};

/// Gives way until something has happened elsewhere. The deadline is there so that a story in
/// which it never does ends with a sentence; nothing depends on its length.
pub async fn wait_until(what: &str, happened: impl AsyncFn() -> bool) {
    let waiting = async {
        while !happened().await {
            tokio::task::yield_now().await;
        }
    };
    let patience = Duration::from_secs(30);
    let came = tokio::time::timeout(patience, waiting).await.is_ok();
    assert!(came, "it never came to {what}");
}
