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

mod answer;
mod binary;
mod by_hand;
mod origin;
mod proxy;
mod tls;

pub use answer::Answer;
pub use binary::Binary;
pub use by_hand::{ByHand, Wire};
pub use origin::{Origin, Reply, Seen};
pub use proxy::Proxy;
pub use tls::{Authority, TlsOrigin};
