//! Microbenchmarks of the modules that a request passes through.
//!
//! `cargo bench --bench micro` measures all; figures are comparable only within one run.
//! `cargo bench --bench micro -- --table` prints a table: the cost of deriving a view and of reading
//! the facts of a body, compared with deriving the view by `serde_json::Value`.
//!
//! | module | work |
//! |---|---|
//! | `request` | a request's head: parsing, the token's digest, the cache key |
//! | `store` | a stored response: lookup and verdict |
//! | `respond` | the head of a response: prepared at a fill, completed at a hit |
//! | `view` | parsing a query, deriving a view, reading the facts of a body |

#![expect(clippy::disallowed_methods, reason = "measures real time")]

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
