//! Which invalidations concern a generation.

use http::HeaderValue;

use super::*;
use crate::config::RoutePattern;
use crate::request::ScopeKey;

fn generations(patterns: &[&str]) -> Generations {
    let route = |pattern: &&str| Route {
        path: RoutePattern::parse(pattern).expect("a pattern"),
        ttl: None,
    };
    Generations::new(&patterns.iter().map(route).collect::<Vec<_>>())
}

/// Returns whether there was anything to invalidate.
fn invalidate(generations: &Generations, what: &Invalidation) -> bool {
    let now = Duration::ZERO;
    generations.invalidate(what, Duration::ZERO, now).any
}

fn path(path: &str, reach: Reach) -> Invalidation {
    Invalidation::Paths {
        paths: vec![(path.to_owned(), reach)],
        writer: None,
        pending: Duration::ZERO,
    }
}

fn resource(path: &str, token: &Scope) -> Invalidation {
    let (token, path) = (*token, path.to_owned());
    Invalidation::Resource { token, path }
}

fn key(path: &str) -> CacheKey {
    let scope = ScopeKey::random().scope(&HeaderValue::from_static("Bearer a"));
    CacheKey::new(scope, format!("{path}?x=1").parse().expect("a target"))
}

#[test]
fn only_its_path_its_scope_or_a_full_purge_invalidates_a_generation() {
    let generations = generations(&["/v1/calls/{id}"]);
    let key = key("/v1/calls/c1");
    let fence = || generations.fence(&key, key.scope(), true, Duration::ZERO);

    let before = fence();
    for n in 2..50_000 {
        let other = path(&format!("/v1/calls/c{n}"), Reach::Here);
        assert!(!invalidate(&generations, &other));
    }
    let scope = *key.scope();
    let other = ScopeKey::random().scope(&HeaderValue::from_static("Bearer a"));
    for unrelated in [
        path("/v1/calls", Reach::Here),
        path("/v1", Reach::Here),
        path("/v1", Reach::Below),
        path("/", Reach::Here),
        path("/", Reach::Below),
        Invalidation::Scope(other),
        Invalidation::ScopeId(other.id()),
        resource(key.path(), &other),
        resource("/v1/calls/c2", &scope),
    ] {
        assert!(!invalidate(&generations, &unrelated), "{unrelated:?}");
    }
    assert!(generations.is_current(&before.generation));

    for (at, related) in [
        path("/v1/calls/%63%31", Reach::Here),
        path("/v1/calls", Reach::Below),
        Invalidation::Scope(scope),
        resource("/v1/calls/%63%31", &scope),
        Invalidation::ScopeId(scope.id()),
        Invalidation::All,
    ]
    .iter()
    .enumerate()
    {
        let (fence, at) = (fence(), at as u64);
        assert!(generations.is_current(&fence.generation));
        assert!(invalidate(&generations, related), "{related:?}");
        assert!(!generations.is_current(&fence.generation));
        // The same of the journal.
        assert!(!generations.changed_since(&key, &scope, at));
        generations.record(at + 1, related);
        assert!(generations.changed_since(&key, &scope, at), "{related:?}");
    }
}

#[test]
fn paths_below_a_resource_are_invalidated_with_it() {
    let patterns = ["/v1/calls/{*rest}", "/v2/{org}/calls/{id}/transcript"];
    for (path, ancestor, invalidates) in [
        ("/v1/calls/c1/transcript", "/v1/calls/c1", true),
        ("/v1/calls/c1/a/b", "/v1/calls/c1", true),
        ("/v1/calls/c1/a/b", "/v1/calls/c1/a", true),
        ("/v1/calls/c1/transcript", "/v1/calls", true),
        ("/v1/calls/c1:transcript", "/v1/calls/c1", true),
        ("/v1/calls/c1/transcript", "/v1", false),
        ("/v1/calls/c1/transcript", "/v1/calls/c", false),
        (
            "/v1/calls/1/2/3/4/5/6/7/8/9/10",
            "/v1/calls/1/2/3/4/5/6/7/8",
            true,
        ),
        (
            "/v1/calls/1/2/3/4/5/6/7/8/9/10",
            "/v1/calls/1/2/3/4/5/6/7/9",
            true,
        ),
        (
            "/v1/calls/1/2/3/4/5/6/7/8/9/10",
            "/v1/calls/1/2/3/4/5/6/8",
            false,
        ),
        ("/v1/calls/%2e%2e/me/a", "/v1/me", true),
        ("/v1/calls/%2e%2e/me/a", "/v1", true),
        ("/v1/calls/%2e%2e/me/a", "/v1/calls", false),
        ("/v2/o/calls/c1/transcript", "/v2/o/calls/c1", true),
        ("/v2/o/calls/c1/transcript", "/v2/o/calls", true),
        ("/v2/o/calls/c1/transcript", "/v2/o", true),
        ("/v2/o/calls/c1/transcript", "/v2/p", false),
        ("/v2/o/calls/c1/transcript", "/", false),
    ] {
        let generations = generations(&patterns);
        let fence = {
            let key = key(path);
            generations.fence(&key, key.scope(), true, Duration::ZERO)
        };
        let case = format!("{path} {ancestor}");
        invalidate(&generations, &self::path(ancestor, Reach::Here));
        assert!(generations.is_current(&fence.generation), "{case}");
        invalidate(&generations, &self::path(ancestor, Reach::Below));
        let is_current = generations.is_current(&fence.generation);
        assert_eq!(!is_current, invalidates, "{case}");
    }
}

#[test]
fn a_fetch_that_began_during_a_pending_write_is_never_stored() {
    let generations = generations(&["/v1/calls/{id}"]);
    let key = key("/v1/calls/c1");
    let second = Duration::from_secs(1);
    let written = |pending| Invalidation::Paths {
        paths: vec![(key.path().to_owned(), Reach::Here)],
        writer: Some(*key.scope()),
        pending,
    };
    let (age, now) = (second * 4, Duration::ZERO);
    generations.invalidate(&written(second * 5), age, now);
    let during = generations.fence(&key, key.scope(), true, Duration::ZERO);
    let after = generations.fence(&key, key.scope(), true, second);
    assert!(!generations.may_store(&during));
    assert!(generations.may_store(&after));
    assert!(
        generations.is_current(&during.generation) && !during.generation.is_same(&after.generation)
    );
}
