//! Heads of responses: prepared once at a fill, completed at every hit.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::Criterion;
use http::{HeaderValue, Version, header};
use stuut_cache::cache::Store;
use stuut_cache::clock::Clock;
use stuut_cache::config::Config;
use stuut_cache::outcome::{Level, Outcome};
use stuut_cache::policy::ViewLimits;
use stuut_cache::proxy::respond;
use stuut_cache::request::Routes;
use stuut_cache::telemetry::Metrics;
use stuut_cache::telemetry::RequestId;

use crate::{request, store};

/// Building heads: at a fill, at a hit, and at a hit whose lifetime is capped by a live part.
pub(crate) fn heads(c: &mut Criterion) {
    let (config, now) = (Config::default(), Clock::system().now());
    let metrics = Metrics::new(&Routes::new(&config.cache.routes));
    let cache = Store::new(&config, Arc::new(metrics));
    let key = store::key(&request::parser(), 1);
    let mut fields = store::response();
    let date = httpdate::fmt_http_date(now.wall);
    let date = HeaderValue::try_from(date).expect("a date is a field value");
    fields.insert(header::DATE, date);
    let prepare = || respond::prepare(fields.clone(), Version::HTTP_11, 40_000);

    let mut group = c.benchmark_group("respond");
    group.bench_function("prepare", |b| b.iter(|| black_box(prepare())));
    let capped = ViewLimits {
        live: Some(Duration::from_mins(1)),
        signed_until: None,
    };
    for (name, limits) in [("hit", ViewLimits::default()), ("hit, capped", capped)] {
        let whole = store::representation(prepare(), limits);
        let fence = cache.fence(&key, key.scope(), now.mono);
        let entry = store::entry_of(whole, &key, &fence, now);
        let hit = Outcome::Hit {
            ttl: 37,
            level: Level::Memory,
        };
        group.bench_function(name, |b| {
            b.iter(|| {
                respond::head(
                    black_box(&entry),
                    &entry.whole,
                    hit,
                    &RequestId::Made(1),
                    black_box(now),
                )
            });
        });
    }
    group.finish();
}
