//! Sealed entries: equal wherever they are opened, older at least by the time that has passed, and
//! closed to every other token, name and group.

mod refused;

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use proptest::prelude::*;

use super::super::record::Record;
use super::{config, scope};
use crate::cache::shared::{Audience, Era, Header, Opened, Position, Sealer, Terms, read_record};
use crate::cache::{Entry, Fence, Representation, Store};
use crate::clock::Clock;
use crate::config::{self, ByteSize, Config, CookieName, ScopeKey};
use crate::in_transit::{Ledger, StoredBody};
use crate::label::Label as _;
use crate::policy::{
    Freshness, Lifetime, Moment, RouteRule, Rule, Selecting, StaleUse, ViewLimits, remaining_life,
};
use crate::request::{CacheKey, Routes, Scope};
use crate::telemetry::{Holder, Metrics, Unsealed};

static KEY: LazyLock<ScopeKey> = LazyLock::new(ScopeKey::random);
static LEDGER: LazyLock<Arc<Ledger>> = LazyLock::new(Ledger::unbounded);
static RULES: LazyLock<Arc<config::Freshness>> = LazyLock::new(Arc::default);
static COOKIES: LazyLock<Vec<CookieName>> = LazyLock::new(|| {
    ["AWSALB", "TS01*"]
        .map(|name| CookieName::parse(name).expect("a name"))
        .into()
});

const POSITION: Position = Position {
    era: Era([3; 16]),
    id: 41,
};

/// A token that cannot occur by chance.
const TOKEN: &str = "s3cr3t-t0ken-s3cr3t-t0ken";

/// The monotonic time of the first lookup, and the wall clock then.
const START: Duration = Duration::from_hours(24 * 365);
const WALL: Duration = Duration::from_mins(29_405_920);

fn credential() -> HeaderValue {
    HeaderValue::try_from(format!("Bearer {TOKEN}")).expect("a field value")
}

static STORE: LazyLock<Store> = LazyLock::new(|| {
    let config = Config::default();
    let routes = Routes::new(&config.cache.routes);
    Store::new(&config, Arc::new(Metrics::new(&routes)))
});

fn fence(scope: Scope) -> Fence {
    let key = CacheKey::new(scope, "/v1/calls/c1".parse().expect("a target"));
    STORE.fence(&key, &scope, START)
}

fn entry(body: &[u8], headers: HeaderMap, freshness: Freshness, limits: ViewLimits) -> Entry {
    let scope = scope(&KEY, TOKEN);
    let body = StoredBody::new(Bytes::copy_from_slice(body), &LEDGER);
    let whole = Representation::new(StatusCode::OK, headers, body, limits);
    let mut entry = Entry::new(
        whole,
        freshness,
        Selecting::default(),
        scope,
        &fence(scope),
        false,
    );
    entry.rules = Some(Arc::clone(&RULES));
    entry
}

/// Received a second after the first lookup, fresh for a minute.
fn freshness() -> Freshness {
    Freshness {
        received: Moment {
            mono: START + Duration::from_secs(1),
            wall: SystemTime::UNIX_EPOCH + WALL + Duration::from_secs(1),
        },
        body_sent: SystemTime::UNIX_EPOCH + WALL,
        initial_age: Duration::from_millis(20),
        lifetime: Lifetime {
            length: Duration::from_mins(1),
            rule: Rule::Status,
        },
        stale_use: StaleUse::Forbidden,
        hard_limit: Duration::from_hours(24),
        status: None,
        is_unknown: false,
    }
}

fn plain(body: &[u8]) -> Entry {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::ETAG,
        HeaderValue::from_static("\"tag-of-the-body\""),
    );
    entry(body, headers, freshness(), ViewLimits::default())
}

/// Terms with this much time since the first lookup on the clocks of the engine, the wall, and the
/// process.
fn terms(credential: &HeaderValue, [engine, wall, mono]: [Duration; 3]) -> Terms<'_> {
    Terms {
        name: "stuut1:{0123}:e",
        audience: Audience::Token(scope(&KEY, TOKEN), credential),
        engine_time: u64::try_from((WALL + engine).as_micros()).expect("this century"),
        own_time: Moment {
            mono: START + mono,
            wall: SystemTime::UNIX_EPOCH + WALL + wall,
        },
        rules: &RULES,
        route: RouteRule::default(),
        ignored_cookies: &COOKIES,
    }
}

fn open(seals: &Sealer, sealed: &Bytes, terms: &Terms<'_>) -> Result<Opened, Unsealed> {
    let fence = fence(terms.audience.scope());
    seals.open_entry(sealed.clone(), terms, &fence, &LEDGER, Holder::Accepted)
}

fn lengths() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        (0..200_000_u64).prop_map(Duration::from_secs),
        any::<u64>().prop_map(Duration::from_nanos),
        Just(Duration::MAX),
    ]
}

fn times() -> impl Strategy<Value = SystemTime> {
    (0..u64::MAX / 4).prop_map(|nanos| SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos))
}

prop_compose! {
    fn freshnesses()(
        (received, body_sent) in (times(), times()),
        initial_age in (0..3_600_u64).prop_map(Duration::from_secs),
        length in lengths(),
        rule in proptest::sample::select(Rule::ALL),
        stale in proptest::option::of((lengths(), lengths())),
        hard_limit in prop_oneof![Just(Duration::from_hours(24 * 400)), Just(Duration::MAX)],
        is_unknown in any::<bool>(),
    ) -> Freshness {
        let mono = START + Duration::from_secs(1);
        Freshness {
            received: Moment { mono, wall: received },
            body_sent,
            initial_age,
            lifetime: Lifetime { length, rule },
            stale_use: stale.map_or(StaleUse::Forbidden, |(while_revalidate, if_error)| {
                StaleUse::Allowed { while_revalidate, if_error }
            }),
            hard_limit,
status: None,
            is_unknown,
        }
    }
}

prop_compose! {
    fn heads()(
        fields in proptest::collection::vec(
            (
                "(x-[a-c]|vary|content-type)",
                proptest::collection::vec((0x20..=0xff_u8).prop_filter("no DEL", |b| *b != 0x7f), 0..20),
                any::<bool>(),
            ),
            0..12,
        ),
    ) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value, is_sensitive) in fields {
            let mut value = HeaderValue::from_bytes(&value).expect("a value");
            value.set_sensitive(is_sensitive);
            headers.append(HeaderName::try_from(name).expect("a name"), value);
        }
        headers
    }
}

prop_compose! {
    fn entries()(
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..2_000),
            "(\\{\"status\":\"completed\"\\},){0,400}".prop_map(String::into_bytes),
        ],
        headers in heads(),
        sent in heads(),
        status in 200..600_u16,
        freshness in freshnesses(),
        live in proptest::option::of(lengths()),
        signed_until in proptest::option::of(times()),
        came_with_age in any::<bool>(),
        has_cookies in any::<bool>(),
        accepted in proptest::option::of(0..100_u64),
    ) -> Entry {
        let mut vary = headers.clone();
        vary.insert(header::VARY, HeaderValue::from_static("x-a, x-b, accept-language"));
        let limits = ViewLimits { live, signed_until };
        let mut entry = entry(&body, headers, freshness, limits);
        Arc::get_mut(&mut entry.whole).expect("not shared").status =
            StatusCode::from_u16(status).expect("a status");
        entry.vary = Selecting::capture(&vary, &sent, &[]).expect("no asterisk");
        entry.came_with_age = came_with_age;
        entry.ignored_cookies = has_cookies.then(|| Arc::new(COOKIES.clone()));
        match accepted {
            Some(before) => {
                let sent = START + Duration::from_millis(1_000 - before);
                let record = STORE.acceptance(&entry.scope, sent);
                entry.with_acceptance(record)
            }
            None => entry,
        }
    }
}

fn assert_equal(one: &Entry, other: &Entry) {
    let fields = |entry: &Entry| {
        let field = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.clone(), value.clone(), value.is_sensitive())
        };
        entry.whole.headers.iter().map(field).collect::<Vec<_>>()
    };
    assert_eq!(one.whole.status, other.whole.status);
    assert_eq!(fields(one), fields(other));
    assert_eq!(*one.whole.body, *other.whole.body);
    assert_eq!(one.whole.limits, other.whole.limits);
    assert!(one.vary == other.vary);
    assert_eq!(one.scope, other.scope);
    assert_eq!(one.came_with_age, other.came_with_age);
    assert_eq!(one.ignored_cookies, other.ignored_cookies);
    assert!(other.is_assessed_by(&RULES));
    let mut freshness = other.freshness;
    freshness.received.mono = one.freshness.received.mono;
    assert_eq!(one.freshness, freshness);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The fetch begins at zero; the response arrives after a second; `later` is the second lookup, at
    /// another replica, whose process may have started after that. Either clock may be set meanwhile,
    /// but not both back.
    #[test]
    fn an_entry_opens_as_it_was_sealed_and_is_at_least_as_old(
        entry in entries(),
        later in 1_000..30_000_000_000_u64,
        uptime in 0..1_000_000_000_u64,
        step in -100_000_000_000_i64..100_000_000_000,
        steps_engine in any::<bool>(),
    ) {
        let (seals, credential) = (super::seals(&config(&KEY, None)), credential());
        let at = Duration::from_micros;
        let writer = terms(&credential, [Duration::ZERO; 3]);
        let sealed = seals.seal_entry(&entry, &writer, POSITION).expect("small");

        let later = later + 1_000_000;
        let stepped = at(later.saturating_add_signed(step));
        let clocks = if steps_engine { [stepped, at(later)] } else { [at(later), stepped] };
        let mut reader = terms(&credential, [clocks[0], clocks[1], at(uptime)]);
        let opened = open(&seals, &sealed, &reader).expect("it opens");

        assert_equal(&entry, &opened.entry);
        prop_assert_eq!(opened.header.position, POSITION);
        prop_assert_eq!(opened.header.began, writer.engine_time);
        let passed = at(later - 1_000_000);
        let age = opened.entry.freshness.age(reader.own_time);
        prop_assert!(age >= entry.freshness.initial_age + passed);
        if step <= 0 {
            prop_assert_eq!(age, entry.freshness.initial_age + passed);
        }
        let since = |last: Duration| reader.own_time.mono.saturating_sub(last);
        let accepted = entry.acceptance().map(|one| {
            passed + (START + Duration::from_secs(1)).saturating_sub(one.last())
        });
        prop_assert_eq!(opened.accepted.is_some(), accepted.is_some());
        prop_assert!(opened.accepted.map(since) >= accepted);

        // Sealed again there, it is as old at a third replica.
        let again = seals.seal_entry(&opened.entry, &reader, POSITION).expect("small");
        reader.own_time.mono += at(7);
        reader.own_time.wall += at(7);
        reader.engine_time += 7;
        let again = open(&seals, &again, &reader).expect("it opens");
        prop_assert_eq!(again.entry.freshness.age(reader.own_time), age + at(7));
    }

    #[test]
    fn a_changed_record_is_refused_or_reads_as_a_valid_one(
        entry in entries(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let record = Record::of(&entry, &terms(&credential(), [Duration::ZERO; 3]));
        let mut content = postcard::to_allocvec(&record).expect("it has a serial form");
        for (at, byte) in changes {
            *at.get_mut(&mut content) = byte;
        }
        if let Ok((record, rest)) = read_record(&content) {
            prop_assert!(content.ends_with(rest));
            let written = postcard::to_allocvec(&record).expect("it was read");
            let (again, _) = read_record(&written).expect("it was written");
            prop_assert_eq!(format!("{record:?}"), format!("{again:?}"));
        }
    }

    #[test]
    fn no_body_byte_and_no_token_is_in_clear(
        body in "[a-z0-9]{24,1000}",
        repeats in 1..20_usize,
    ) {
        let body = body.repeat(repeats);
        let (seals, credential) = (super::seals(&config(&KEY, None)), credential());
        let terms = terms(&credential, [Duration::ZERO; 3]);
        let entry = plain(body.as_bytes());
        let sealed = seals.seal_entry(&entry, &terms, POSITION).expect("small");
        let digest = scope(&KEY, TOKEN);
        let written: HashSet<_> = sealed.windows(8).collect();
        for secret in [body.as_bytes(), TOKEN.as_bytes(), digest.bytes(), b"tag-of-the-body"] {
            for part in secret.windows(8) {
                prop_assert!(!written.contains(part), "{part:?}");
            }
        }
    }
}

#[test]
fn the_body_of_an_opened_entry_is_in_transit_until_it_is_stored() {
    let (seals, credential) = (super::seals(&config(&KEY, None)), credential());
    let terms = terms(&credential, [Duration::ZERO; 3]);
    let sealed = seals
        .seal_entry(&plain(&[b'a'; 5_000]), &terms, POSITION)
        .expect("small");
    let metrics = Arc::new(Metrics::new(&Routes::new(&[])));
    let in_transit = || metrics.in_transit.of(Holder::Accepted).get();
    let fence = fence(terms.audience.scope());
    let open = |bound| {
        let ledger = Ledger::new(ByteSize(bound), &metrics, Clock::system());
        seals.open_entry(sealed.clone(), &terms, &fence, &ledger, Holder::Accepted)
    };
    assert_eq!(open(5_000).expect_err("no room"), Unsealed::InTransit);
    assert_eq!(in_transit(), 0);
    let opened = open(1 << 20).expect("room");
    assert_eq!(in_transit(), 5_000);
    opened.entry.whole.body.stored();
    assert_eq!(in_transit(), 0);
    drop(open(1 << 20).expect("room"));
    assert_eq!(in_transit(), 0);
}

/// The form of entries between replicas of two versions: if this fails, increase `FORMAT`.
#[test]
fn the_content_of_an_entry_has_this_form() {
    let credential = credential();
    let mut entry = plain(b"{}");
    entry.rules = None;
    entry.ignored_cookies = Some(Arc::new(COOKIES.clone()));
    let mut request = HeaderMap::new();
    request.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static("nl"));
    let mut response = HeaderMap::new();
    response.insert(header::VARY, HeaderValue::from_static("x-a"));
    entry.vary = Selecting::capture(&response, &request, &[]).expect("no asterisk");
    let record = Record::of(&entry, &terms(&credential, [Duration::ZERO; 3]));
    let bytes = postcard::to_allocvec(&record).expect("it has a serial form");
    assert_eq!(bytes.len(), 96);
    assert_eq!(blake3::hash(&bytes).to_hex()[..16], *"1e69a97897ac5334");
}

#[test]
fn an_entry_lives_in_the_engine_as_long_as_it_can_be_served() {
    let now = |seconds: u64| Moment {
        mono: START + Duration::from_secs(1 + seconds),
        wall: SystemTime::UNIX_EPOCH,
    };
    let stale = |while_revalidate, if_error| StaleUse::Allowed {
        while_revalidate: Duration::from_secs(while_revalidate),
        if_error: Duration::from_secs(if_error),
    };
    for (stale_use, hard_limit, seconds, left) in [
        (StaleUse::Forbidden, 3_600, 0, 60),
        (StaleUse::Forbidden, 3_600, 59, 1),
        (StaleUse::Forbidden, 3_600, 61, 0),
        (stale(5, 300), 3_600, 0, 360),
        (stale(400, 300), 3_600, 0, 460),
        (stale(5, 300), 100, 10, 90),
        (stale(5, 300), 100, 101, 0),
    ] {
        let freshness = Freshness {
            initial_age: Duration::ZERO,
            stale_use,
            hard_limit: Duration::from_secs(hard_limit),
            ..freshness()
        };
        let left = Duration::from_secs(left);
        assert_eq!(remaining_life(&freshness, now(seconds)), left);
    }
}
