//! A request's head: parsing, the token's digest, the cache key.

use std::hint::black_box;

use criterion::Criterion;
use http::Request;
use http::request::Parts;
use stuut_cache::config::Config;
use stuut_cache::request::{Call, Parsed, Parser};

/// A parser with the default settings.
pub(crate) fn parser() -> Parser {
    Parser::new(&Config::default()).expect("the defaults are valid")
}

/// The head of a typical request of a service.
pub(crate) fn head(target: &str) -> Parts {
    let request = Request::get(target)
        .header("host", "stuut-cache.internal:8080")
        .header(
            "authorization",
            "Bearer sk_live_51H8xQ2eZvKYlo2C9vD7wR4tN6mB3pL",
        )
        .header("accept", "application/json")
        .header("accept-encoding", "gzip, deflate, zstd")
        .header("user-agent", "billing-service/4.2 (reqwest 0.12)")
        .header("x-request-id", "21758d0042265da8")
        .header(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        )
        .body(())
        .expect("a valid request");
    request.into_parts().0
}

/// The call of a head.
pub(crate) fn call(parser: &Parser, head: &Parts) -> Call {
    match parser.parse(head, false) {
        Ok(Parsed::Call(call)) => call,
        other => panic!("not a call: {other:?}"),
    }
}

/// Parsing heads, from the fields to the key.
pub(crate) fn parsing(c: &mut Criterion) {
    let parser = parser();
    let mut group = c.benchmark_group("request");
    for (name, target) in [
        ("call", "/v1/calls/call_7f3a1b2c9d8e4f60"),
        (
            "call with a view",
            "/v1/calls/call_7f3a1b2c9d8e4f60?strip=invoices,**.linked_integration",
        ),
        ("bypass", "/v1/invoices?page=2&limit=50"),
    ] {
        let head = head(target);
        group.bench_function(name, |b| b.iter(|| parser.parse(black_box(&head), false)));
    }
    let (head, token) = (
        head("/v1/calls/call_7f3a1b2c9d8e4f60"),
        call(&parser, &head("/v1/calls/call_1")).token,
    );
    group.bench_function("scope", |b| {
        b.iter(|| parser.scope(black_box(&head.headers)));
    });
    group.bench_function("key", |b| {
        let target = head.uri.path_and_query().expect("a target");
        b.iter(|| stuut_cache::request::CacheKey::new(token, black_box(target).clone()));
    });
    group.finish();
}
