//! What the rooms cost that a request travels through, one by one.
//!
//! `cargo bench --bench rooms` measures each; such figures mean something only beside each other
//! in one run. `cargo bench --bench rooms -- --table` prints what it costs to derive a view and to
//! read a body's facts, beside deriving the view with `serde_json::Value`, as a table.
//!
//! | room | work |
//! |---|---|
//! | `request` | a request's head: parsed, its token digested, its key made |
//! | `store` | a stored response: found, and judged |
//! | `respond` | the head of a response: prepared at a fill, made at a hit |
//! | `view` | a query read, a view derived, a body's facts read |

#[path = "../call/mod.rs"]
mod call;
mod request;
mod respond;
mod store;
mod table;
mod view;
mod work;

use std::time::Duration;

use criterion::{Criterion, criterion_group};

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = request::parsing, store::finding, store::judging, respond::heads, view::queries, view::pruning
}

fn main() {
    if std::env::args().any(|argument| argument == "--table") {
        table::table();
    } else {
        benches();
        Criterion::default().configure_from_args().final_summary();
    }
}
