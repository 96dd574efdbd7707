//! Microbenchmarks of the modules that a request passes through.
//!
//! `cargo bench --bench micro` measures each; figures are comparable within one run only.
//! `cargo bench --bench micro -- --table` prints a table: the cost of deriving a view and of reading
//! a body's facts, compared with deriving the view by `serde_json::Value`.
//!
//! | module | work |
//! |---|---|
//! | `request` | a request's head: parsed, its token digested, its key made |
//! | `store` | a stored response: look-up, and verdict |
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
