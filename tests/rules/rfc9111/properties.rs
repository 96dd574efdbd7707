//! Properties that hold for all heads, settings and moments.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use proptest::prelude::*;
use stuut_cache::config::{self, CallStatus, ClientDirectives, OriginUrl};
use stuut_cache::label::Label as _;
use stuut_cache::policy::{
    self, DeltaSeconds, EntityTag, Exchange, Facts, Freshness, Lifetime, Moment, RequestDirectives,
    ResponseDirectives, RouteRule, Rule, Selecting, StaleUse, Verdict, ViewLimits, assess,
    canonical_path, condition, http_date, storable, ttl_seconds, verdict, written_paths,
};

use super::support::after;

/// Valid field values, often similar to those that the parsers expect.
fn value() -> impl Strategy<Value = HeaderValue> {
    let near = r#"((max-age|s-maxage|no-store|no-cache|private|public|W/|bytes|https?:|Sun, 06 Nov|\*)?[=,;" \\/%0-9.:a-z-]{0,6}){0,5}"#;
    prop_oneof![
        near.prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..40),
    ]
    .prop_filter_map("bytes of a field value", |bytes| {
        HeaderValue::from_bytes(&bytes).ok()
    })
}

fn response() -> impl Strategy<Value = HeaderMap> {
    let name = prop::sample::select(vec![
        header::CACHE_CONTROL,
        header::CDN_CACHE_CONTROL,
        header::EXPIRES,
        header::DATE,
        header::AGE,
        header::LAST_MODIFIED,
        header::ETAG,
        header::VARY,
        header::LOCATION,
        header::CONNECTION,
        header::PRAGMA,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
    ]);
    prop::collection::vec((name, value()), 0..6).prop_map(|fields| {
        let mut head = HeaderMap::new();
        for (name, value) in fields {
            head.append(name, value);
        }
        head
    })
}

fn seconds(most: u64) -> impl Strategy<Value = Duration> {
    (0..most * 2).prop_map(|halves| Duration::from_millis(halves * 500))
}

fn freshness() -> impl Strategy<Value = Freshness> {
    let stale_use = prop_oneof![
        Just(StaleUse::Forbidden),
        (seconds(60), seconds(60)).prop_map(|(while_revalidate, if_error)| StaleUse::Allowed {
            while_revalidate,
            if_error,
        }),
    ];
    (seconds(60), seconds(100), stale_use, seconds(300)).prop_map(
        |(initial_age, length, stale_use, hard_limit)| Freshness {
            received: after(0),
            body_sent: after(0).wall,
            initial_age,
            lifetime: Lifetime {
                length: length.min(hard_limit),
                rule: Rule::MaxAge,
            },
            stale_use,
            hard_limit,
            status: None,
            is_unknown: false,
        },
    )
}

fn limits() -> impl Strategy<Value = ViewLimits> {
    let signed = prop::option::of(seconds(200).prop_map(|later| after(0).wall + later));
    (prop::option::of(seconds(60)), signed)
        .prop_map(|(live, signed_until)| ViewLimits { live, signed_until })
}

fn request() -> impl Strategy<Value = RequestDirectives> {
    let length = || prop::option::of(seconds(60));
    (prop::bool::weighted(0.1), length(), length(), length()).prop_map(
        |(no_cache, max_age, min_fresh, max_stale)| RequestDirectives {
            no_cache,
            max_age,
            min_fresh,
            max_stale,
            ..RequestDirectives::default()
        },
    )
}

fn facts() -> impl Strategy<Value = Facts> {
    let status = prop::option::of(prop::sample::select(CallStatus::ALL.to_vec()));
    let time = || prop::option::of(seconds(2_000).prop_map(|ago| after(0).wall - ago));
    let live = prop::sample::select(vec![
        "{}",
        r#"{"invoices":[]}"#,
        r#"{"partner":{},"workflow":{}}"#,
    ])
    .prop_map(|body| {
        let live = config::Freshness::default().live;
        policy::facts::read(body.as_bytes(), &live, after(0).wall).live
    });
    (status, time(), time(), any::<bool>(), live, time()).prop_map(
        |(status, end_time, modified_at, unfinished, live, signed_until)| Facts {
            status,
            end_time,
            modified_at,
            unfinished,
            live,
            signed_until,
            ..Facts::default()
        },
    )
}

/// Ranks verdicts, the best for the client highest.
fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Fresh { .. } => 4,
        Verdict::Usable { .. } => 3,
        Verdict::Stale {
            on_error_until: Some(_),
        } => 2,
        Verdict::Stale {
            on_error_until: None,
        } => 1,
        Verdict::Unusable => 0,
    }
}

fn render(directives: &ResponseDirectives) -> String {
    let flags = [
        (directives.no_store, "no-store"),
        (directives.no_cache, "no-cache"),
        (directives.private, "private"),
        (directives.public, "public"),
        (directives.must_revalidate, "must-revalidate"),
        (directives.proxy_revalidate, "proxy-revalidate"),
        (directives.must_understand, "must-understand"),
    ];
    let numbers = [
        (directives.max_age, "max-age"),
        (directives.s_maxage, "s-maxage"),
        (directives.stale_while_revalidate, "stale-while-revalidate"),
        (directives.stale_if_error, "stale-if-error"),
    ];
    let flags = flags
        .into_iter()
        .filter(|(set, _)| *set)
        .map(|(_, name)| name.to_owned());
    let numbers = numbers
        .into_iter()
        .filter_map(|(delta, name)| match delta? {
            DeltaSeconds::Seconds(seconds) => Some(format!("{name}={seconds}")),
            DeltaSeconds::Invalid => Some(format!("{name}=-1")),
        });
    flags.chain(numbers).collect::<Vec<_>>().join(", ")
}

fn directives() -> impl Strategy<Value = ResponseDirectives> {
    let delta = || {
        prop::option::of(prop_oneof![
            (0..=1_u32 << 31).prop_map(DeltaSeconds::Seconds),
            Just(DeltaSeconds::Invalid),
        ])
    };
    (any::<[bool; 7]>(), delta(), delta(), delta(), delta()).prop_map(
        |(flags, max_age, s_maxage, stale_while_revalidate, stale_if_error)| ResponseDirectives {
            no_store: flags[0],
            no_cache: flags[1],
            private: flags[2],
            public: flags[3],
            must_revalidate: flags[4],
            proxy_revalidate: flags[5],
            must_understand: flags[6],
            max_age,
            s_maxage,
            stale_while_revalidate,
            stale_if_error,
            malformed: false,
            targeted: false,
        },
    )
}

proptest! {
    #[test]
    fn no_field_makes_a_parser_panic(head in response(), value in value(), now in seconds(1 << 40)) {
        let now = SystemTime::UNIX_EPOCH + now;
        let _ = ResponseDirectives::read(&head);
        let _ = RequestDirectives::read(&head, ClientDirectives::Obey);
        let _ = EntityTag::parse(value.as_bytes());
        let _ = http_date(value.as_bytes(), now);
        let _ = condition(&head, StatusCode::OK, Some(&value), &head, now);
        let _ = Selecting::capture(&head, &head, &[]).map(|selecting| selecting.matches(&head, &head));
        let _ = storable(&head, after(0).wall);
        let origin = OriginUrl::parse("https://api.stuut.ai").expect("an origin");
        let _ = written_paths(&Method::POST, "/a/b", StatusCode::OK, &head, &origin);
    }

    #[test]
    fn rendered_directives_parse_to_themselves(directives in directives()) {
        let mut head = HeaderMap::new();
        let line = render(&directives);
        head.insert(header::CACHE_CONTROL, HeaderValue::from_str(&line).expect("visible text"));
        prop_assert_eq!(ResponseDirectives::read(&head), directives.clone(), "{}", &line);
        if !line.is_empty() {
            head.insert(header::CDN_CACHE_CONTROL, HeaderValue::from_str(&line).expect("visible text"));
            let directives = ResponseDirectives { targeted: true, ..directives };
            prop_assert_eq!(ResponseDirectives::read(&head), directives, "{}", &line);
        }
    }

    #[test]
    fn a_request_matches_its_own_selecting_fields(head in response()) {
        if let Some(selecting) = Selecting::capture(&head, &head, &[]) {
            prop_assert!(selecting.matches(&head, &head));
        }
    }

    #[test]
    fn a_verdict_never_improves_with_time(
        entry in freshness(),
        limits in limits(),
        request in request(),
        (first, more) in (seconds(400), seconds(100)),
    ) {
        let at = |later: Duration| Moment {
            mono: after(0).mono + later,
            wall: after(0).wall + later,
        };
        let (then, later) = (at(first), at(first + more));
        let (before, after) = (verdict(&entry, limits, &request, then), verdict(&entry, limits, &request, later));
        prop_assert!(rank(after) <= rank(before), "{before:?} then {after:?}");
        prop_assert!(ttl_seconds(&entry, limits, later) <= ttl_seconds(&entry, limits, then));
        if let Verdict::Fresh { ttl } = before {
            prop_assert_eq!(ttl_seconds(&entry, limits, then), i64::try_from(ttl.as_secs())?);
        }
        if let Verdict::Stale { on_error_until: Some(until) } = before {
            prop_assert!(until > then.mono);
        }
    }

    #[test]
    fn view_limits_never_improve_a_verdict(entry in freshness(), limits in limits(), request in request(), later in seconds(400)) {
        let now = Moment { mono: after(0).mono + later, wall: after(0).wall + later };
        let whole = verdict(&entry, ViewLimits::default(), &request, now);
        prop_assert!(rank(verdict(&entry, limits, &request, now)) <= rank(whole));
    }

    #[test]
    fn no_lifetime_exceeds_the_hard_limit(
        head in response(),
        facts in facts(),
        status in 200_u16..600,
        hard_limit in seconds(100),
        ttl in prop::option::of(seconds(1_000)),
        is_call in any::<bool>(),
    ) {
        let route = RouteRule { ttl, is_call };
        let settings = config::Freshness { hard_limit, ..config::Freshness::default() };
        let exchange = Exchange::new(StatusCode::from_u16(status)?, &head, after(0), after(1));
        let freshness = assess(&exchange, &facts, &settings, route);
        prop_assert!(freshness.lifetime.length <= hard_limit);
        prop_assert!(freshness.initial_age >= Duration::from_secs(1));
        let past = Moment { mono: after(1).mono + hard_limit, wall: after(1).wall + hard_limit };
        let limits = ViewLimits::of(&facts, &settings, freshness.is_unknown);
        let request = RequestDirectives { max_stale: Some(Duration::MAX), ..RequestDirectives::default() };
        prop_assert_eq!(verdict(&freshness, limits, &request, past), Verdict::Unusable);
    }

    #[test]
    fn canonical_path_is_idempotent(path in "/([a-c./]|%[0-9a-fA-F]{2}|%){0,20}") {
        let once = canonical_path(&path).into_owned();
        prop_assert_eq!(canonical_path(&once), once.as_str());
    }
}
