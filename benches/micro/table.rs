//! A table of GB/s and ratios. The workloads take turns in one loop, so that other load on the
//! machine affects all of them alike.

use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use stuut_cache::config::Freshness;
use stuut_cache::policy::facts;
use stuut_cache::view::prune;

use crate::call;
use crate::work::{SIZES, VIEWS, hostile, strip_by_value, view_of};

/// One row: a name, the work, and the duration of each turn.
type Row<'a> = (String, Box<dyn Fn() + 'a>, Vec<Duration>);

/// Prints the table.
pub(crate) fn table() {
    println!("| body | work | GB/s | times `serde_json::Value` |");
    println!("|---|---|---:|---:|");
    let live = Freshness::default().live;
    for (size, bytes) in SIZES {
        let body = Bytes::from(call::call(bytes));
        let mut rows: Vec<Row<'_>> = Vec::new();
        let serde = || drop(black_box(strip_by_value(&body)));
        rows.push(("`serde_json::Value`".to_owned(), Box::new(serde), vec![]));
        let hostile = hostile();
        let views = VIEWS.into_iter();
        let worst = hostile.iter().map(|(name, query)| (*name, query.as_str()));
        for (name, query) in views.chain(worst) {
            let view = view_of(query);
            let body = &body;
            let work = move || drop(black_box(prune(black_box(body), &view)));
            rows.push((name.to_owned(), Box::new(work), vec![]));
        }
        let facts = || {
            black_box(facts::read(black_box(&body), &live, SystemTime::UNIX_EPOCH));
        };
        rows.push(("facts".to_owned(), Box::new(facts), vec![]));
        let turns = (30_000_000 / bytes).clamp(7, 1_500);
        for _ in 0..turns {
            for (_, work, took) in &mut rows {
                let began = Instant::now();
                work();
                took.push(began.elapsed());
            }
        }
        // The median ignores disturbances of single turns.
        let medians: Vec<_> = rows
            .iter_mut()
            .map(|(name, _, took)| {
                took.sort_unstable();
                (&*name, took[took.len() / 2].as_secs_f64())
            })
            .collect();
        for (name, seconds) in &medians {
            #[expect(clippy::cast_precision_loss, reason = "a body has a few megabytes")]
            let rate = body.len() as f64 / seconds / 1e9;
            let ratio = medians[0].1 / seconds;
            println!("| {size} | {name} | {rate:.2} | {ratio:.1} |");
        }
    }
}
