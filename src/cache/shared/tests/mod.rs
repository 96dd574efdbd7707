//! Names and seals: what is the same for all replicas with one key file, and for no others.

mod entries;

use std::collections::HashSet;
use std::time::Duration;

use http::HeaderValue;
use http::uri::PathAndQuery;
use proptest::prelude::*;

use super::sealed::{self, FORMAT};
use super::*;
use crate::cache::{Invalidation, Reach};
use crate::config::{Config, OriginUrl, ScopeKey};
use crate::request::{CacheKey, Scope, ScopeId, Spelling};
use crate::telemetry::Unsealed;

/// A configuration with this key of scope digests, and a second one.
pub(super) fn config(key: &ScopeKey, second: Option<&ScopeKey>) -> Config {
    let mut config = Config::default();
    config.scope.key = Some(key.clone());
    config.scope.second_key = second.cloned();
    config
}

pub(super) fn seals(config: &Config) -> Sealer {
    Sealer::new(config).expect("there is a key")
}

pub(super) fn scope(key: &ScopeKey, token: &str) -> Scope {
    let credential = format!("Bearer {token}");
    key.scope(&HeaderValue::try_from(credential).expect("a field value"))
}

fn items(scope: Scope) -> [Invalidation; 5] {
    [
        Invalidation::Paths {
            paths: vec![
                ("/v1/calls/c1".to_owned(), Reach::Here),
                ("/v1/calls/c1".to_owned(), Reach::Below),
            ],
            writer: Some(scope),
            pending: Duration::from_millis(1_500),
        },
        Invalidation::Resource {
            token: scope,
            path: "/v1/calls/c2".to_owned(),
        },
        Invalidation::Scope(scope),
        Invalidation::ScopeId(scope.id()),
        Invalidation::All,
    ]
}

#[test]
fn names_are_equal_only_for_equal_keys_of_the_same_group_and_origin() {
    let (key, other) = (ScopeKey::random(), ScopeKey::random());
    let config = config(&key, None);
    let (a, b) = (scope(&key, "a"), scope(&key, "b"));
    let spelling = Spelling::of(b"bearer a");
    let key_of = |scope, target| CacheKey::new(scope, PathAndQuery::from_static(target));
    let keys = [
        key_of(a, "/x"),
        key_of(a, "/x").with_spelling(spelling),
        key_of(a, "/x?"),
        key_of(a, "/x?y"),
        key_of(a, "/x%3Fy"),
        key_of(a, "/xy"),
        key_of(b, "/x"),
    ];
    let mut elsewhere = config.clone();
    elsewhere.upstream.url = OriginUrl::parse("https://other.example").expect("a URL");
    let mut forwards = config.clone();
    let field = http::HeaderName::from_static("x-tenant");
    forwards.upstream.forward_headers.push(field);
    let mut second = config.clone();
    second.shared.prefix = "stuut2".to_owned();
    let all = [
        Names::new(&key, &config),
        Names::new(&other, &config),
        Names::new(&key, &second),
        Names::new(&key, &elsewhere),
        Names::new(&key, &forwards),
    ];
    let entries = all
        .iter()
        .flat_map(|names| keys.each_ref().map(|key| names.entry(key)));
    let entries: HashSet<_> = entries.collect();
    assert_eq!(entries.len(), all.len() * keys.len());
    for name in &entries {
        let (prefix, rest) = name.split_once(":{").expect("a slot");
        let (digits, kind) = rest.split_once("}:").expect("the end of the slot");
        assert!(prefix == "stuut1" || prefix == "stuut2", "{name}");
        assert!(digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit()));
        assert_eq!(kind, "e");
    }

    let names = Names::new(&key, &config);
    assert_eq!(names.entry(&keys[0]), all[0].entry(&keys[0].clone()));
    assert_eq!(names.group(), "stuut1:{c}:group");
    assert_eq!(names.log(), "stuut1:{c}:log");
    assert!(names.scope(&a).ends_with("}:s"));
    let scopes = [names.scope(&a), names.scope(&b), all[1].scope(&a)];
    assert_eq!(HashSet::from(scopes).len(), 3);
    // It has no part of the digest that logs show.
    assert!(!names.scope(&a).contains(&a.id().to_string()));
}

#[test]
fn an_item_opens_as_it_was_sealed_and_never_twice_the_same() {
    let key = ScopeKey::random();
    let seals = self::seals(&config(&key, None));
    for item in items(scope(&key, "a")) {
        let sealed = [seals.seal_item(&item), seals.seal_item(&item)];
        assert_ne!(sealed[0], sealed[1]);
        for sealed in sealed {
            assert_eq!(seals.open_item(&sealed), Ok(item.clone()));
            let digest = scope(&key, "a");
            for part in [&b"calls"[..], &digest.bytes()[..8]] {
                assert!(!sealed.windows(part.len()).any(|window| window == part));
            }
        }
    }
}

#[test]
fn a_changed_item_does_not_open() {
    let key = ScopeKey::random();
    let seals = self::seals(&config(&key, None));
    let sealed = seals.seal_item(&items(scope(&key, "a"))[0]);
    for at in 0..sealed.len() {
        for bit in 0..8 {
            let mut changed = sealed.to_vec();
            changed[at] ^= 1 << bit;
            let then = if at == 0 {
                Unsealed::Format
            } else {
                Unsealed::Tag
            };
            assert_eq!(seals.open_item(&changed), Err(then), "byte {at}");
        }
        assert!(seals.open_item(&sealed[..at]).is_err(), "{at} bytes");
    }
    let longer = [&sealed[..], &[0]].concat();
    assert_eq!(seals.open_item(&longer), Err(Unsealed::Tag));
    let huge = vec![FORMAT; MAX_ITEM + 1];
    assert_eq!(seals.open_item(&huge), Err(Unsealed::Size));
}

#[test]
fn an_item_opens_only_in_its_group() {
    let (key, other) = (ScopeKey::random(), ScopeKey::random());
    let sealed = seals(&config(&key, None)).seal_item(&Invalidation::All);
    let mut elsewhere = config(&key, None);
    elsewhere.shared.prefix = "stuut2".to_owned();
    for foreign in [
        seals(&config(&other, None)),
        seals(&config(&other, Some(&ScopeKey::random()))),
        seals(&elsewhere),
    ] {
        assert_eq!(foreign.open_item(&sealed), Err(Unsealed::Tag));
    }
}

/// While keys are changed, the digests in an item of the other key mean nothing here.
#[test]
fn an_item_under_the_second_key_concerns_no_less_than_it_did() {
    let (old, new) = (ScopeKey::random(), ScopeKey::random());
    let writer = seals(&config(&new, Some(&old)));
    for (one, other) in [(&old, Some(&new)), (&new, Some(&old))] {
        let reader = seals(&config(one, other));
        for item in items(scope(&new, "a")) {
            let opened = reader
                .open_item(&writer.seal_item(&item))
                .expect("it opens");
            let then = match (&item, one == &new) {
                (_, true) => item,
                (Invalidation::Paths { paths, pending, .. }, _) => Invalidation::Paths {
                    paths: paths.clone(),
                    writer: None,
                    pending: *pending,
                },
                _ => Invalidation::All,
            };
            assert_eq!(opened, then);
        }
    }
}

#[test]
fn an_invalidation_too_large_for_the_log_becomes_one_of_everything() {
    let key = ScopeKey::random();
    let seals = seals(&config(&key, None));
    let of = |paths: Vec<String>| Invalidation::Paths {
        paths: paths.into_iter().map(|path| (path, Reach::Here)).collect(),
        writer: None,
        pending: Duration::ZERO,
    };
    // The ancestors of the longest path repeat it: that is no reason to invalidate everything.
    let long = format!("/v1/calls/{}", "y".repeat(8 << 10));
    let ancestors = (0..17).map(|n| format!("{long}{}", "/z".repeat(n)));
    let repeated = of(ancestors.collect());
    // Digests do not compress to less than half.
    let digest = |n: usize| blake3::hash(&n.to_be_bytes()).to_hex().to_string();
    let distinct = of((0..MAX_ITEM / 32).map(digest).collect());
    for (item, opened) in [(repeated.clone(), repeated), (distinct, Invalidation::All)] {
        let sealed = seals.seal_item(&item);
        assert!(sealed.len() <= MAX_ITEM);
        assert_eq!(seals.open_item(&sealed), Ok(opened));
    }
}

/// The form of items between replicas of two versions: if this fails, increase `FORMAT`.
#[test]
fn the_content_of_an_item_has_this_form() {
    let id = ScopeId::parse("00000102").expect("an id");
    for (content, then) in [
        (
            &b"\x00\x01\x02/a\x01\x00\x01\x80\x02"[..],
            Invalidation::Paths {
                paths: vec![("/a".to_owned(), Reach::Below)],
                writer: None,
                pending: Duration::new(1, 256),
            },
        ),
        (b"\x03\x82\x02", Invalidation::ScopeId(id)),
        (b"\x04", Invalidation::All),
    ] {
        assert_eq!(read_item(content), Ok(then));
    }
    assert_eq!(read_item(b"\x04\x00"), Err(Unsealed::Codec));
    assert_eq!(read_item(b"\x05"), Err(Unsealed::Codec));
    assert_eq!(read_item(b""), Err(Unsealed::Codec));
}

#[test]
fn the_clear_header_has_the_numbers_that_the_engine_compares() {
    let position = Position {
        era: Era([7; 16]),
        id: 258,
    };
    for (began, digits) in [
        (0, b"0000000000000000"),
        (1_764_355_200_000_001, b"1764355200000001"),
        (u64::MAX, b"9999999999999999"),
    ] {
        let header = Header {
            position,
            began,
            salt: [9; 16],
        };
        let bytes = header.bytes();
        assert_eq!(bytes.len(), Header::LENGTH);
        assert_eq!(bytes[0], FORMAT);
        assert_eq!(bytes[1..17], [7; 16]);
        assert_eq!(bytes[17..25], [0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(bytes[25..41], *digits);
        assert_eq!(bytes[41..], [9; 16]);
        let began = began.min(9_999_999_999_999_999);
        assert_eq!(Header::read(&bytes), Ok(Header { began, ..header }));
        for length in 0..Header::LENGTH {
            assert_eq!(Header::read(&bytes[..length]), Err(Unsealed::Format));
        }
    }
    let mut signed = [FORMAT; Header::LENGTH];
    signed[25..41].copy_from_slice(b"+000000000000001");
    assert_eq!(Header::read(&signed), Err(Unsealed::Format));
}

#[test]
fn nothing_that_is_printed_shows_a_key_or_a_token() {
    let key = ScopeKey::random();
    let seals = self::seals(&config(&key, Some(&ScopeKey::random())));
    let credential = HeaderValue::from_static("Bearer s3cr3t");
    let scope = key.scope(&credential);
    let printed = format!(
        "{seals:?} {:?} {:?}",
        Audience::Token(scope, &credential),
        Audience::Named(scope)
    );
    assert!(!printed.contains("s3cr3t"));
    assert!(!printed.contains(&scope.id().to_string()));
    let shown = printed.matches("***").count();
    assert_eq!(shown, 7, "{printed}");
    // Numbers only in the bounds: no list of bytes.
    assert!(!printed.contains('['), "{printed}");
}

proptest! {
    #[test]
    fn content_that_no_replica_wrote_is_refused_without_a_panic(
        content in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        if let Ok(item) = read_item(&content) {
            let key = ScopeKey::random();
            let seals = self::seals(&config(&key, None));
            prop_assert_eq!(seals.open_item(&seals.seal_item(&item)), Ok(item));
        }
        let _ = Header::read(&content);
        let key = sealed::salt();
        let digest = blake3::Hasher::new_keyed(&[key[0]; 32]);
        prop_assert!(sealed::open(&digest, "name", 17, &mut content.clone()).is_err());
    }
}
