//! Entries that do not open, or are not shared.

use super::*;

#[test]
fn a_changed_entry_does_not_open() {
    let (seals, credential) = (super::super::seals(&config(&KEY, None)), credential());
    let terms = terms(&credential, [Duration::ZERO; 3]);
    let sealed = seals
        .seal_entry(&plain(b"{}"), &terms, POSITION)
        .expect("small");
    assert!(open(&seals, &sealed, &terms).is_ok());
    for at in 0..sealed.len() {
        for bit in 0..8 {
            let mut changed = sealed.to_vec();
            changed[at] ^= 1 << bit;
            let opened = open(&seals, &changed.into(), &terms);
            let reason = opened.expect_err("it was changed");
            let in_header = matches!(reason, Unsealed::Format) && at < Header::LENGTH;
            assert!(reason == Unsealed::Tag || in_header, "byte {at}");
        }
        assert!(
            open(&seals, &sealed.slice(..at), &terms).is_err(),
            "{at} bytes"
        );
    }
    let longer = Bytes::from([&sealed[..], b"0"].concat());
    assert_eq!(
        open(&seals, &longer, &terms).expect_err("longer"),
        Unsealed::Tag
    );
}

#[test]
fn an_entry_opens_only_for_its_token_under_its_name_in_its_group() {
    let (seals, credential) = (super::super::seals(&config(&KEY, None)), credential());
    let own = terms(&credential, [Duration::ZERO; 3]);
    let other = HeaderValue::from_static("Bearer other");
    let spelled = HeaderValue::try_from(format!("bearer {TOKEN}")).expect("a field value");
    let named = scope(&KEY, "named");
    let shared = Terms {
        audience: Audience::Named(named),
        ..own
    };
    let changed = [
        Terms {
            audience: Audience::Token(own.audience.scope(), &other),
            ..own
        },
        Terms {
            audience: Audience::Token(own.audience.scope(), &spelled),
            ..own
        },
        Terms {
            audience: Audience::Named(own.audience.scope()),
            ..own
        },
        Terms {
            audience: Audience::Named(scope(&KEY, "other")),
            ..own
        },
        Terms {
            name: "stuut1:{4567}:e",
            ..own
        },
        Terms {
            name: "stuut1:{0123}:l",
            ..own
        },
        Terms { name: "", ..own },
    ];
    for terms in [&own, &shared] {
        let sealed = seals
            .seal_entry(&plain(b"{}"), terms, POSITION)
            .expect("small");
        let opened = open(&seals, &sealed, terms).expect("it opens");
        assert_eq!(opened.entry.scope, terms.audience.scope());
        for changed in &changed {
            let opened = open(&seals, &sealed, changed);
            assert_eq!(opened.expect_err("other terms"), Unsealed::Tag);
        }
        let second = ScopeKey::random();
        for foreign in [config(&second, None), config(&second, Some(&KEY))] {
            let opened = open(&super::super::seals(&foreign), &sealed, terms);
            assert_eq!(opened.expect_err("another key"), Unsealed::Tag);
        }
        let item = seals.open_item(&sealed);
        assert_eq!(item, Err(Unsealed::Tag), "an entry is no item");
    }
}

#[test]
fn other_settings_here_lead_to_another_assessment() {
    let (seals, credential) = (super::super::seals(&config(&KEY, None)), credential());
    let own = terms(&credential, [Duration::ZERO; 3]);
    let mut entry = plain(b"{}");
    entry.ignored_cookies = Some(Arc::new(COOKIES[..1].to_vec()));
    let sealed = seals.seal_entry(&entry, &own, POSITION).expect("small");
    let rules = |terms: &Terms<'_>| {
        let opened = open(&seals, &sealed, terms).expect("it opens");
        assert_eq!(opened.entry.ignored_cookies, entry.ignored_cookies);
        opened.entry.rules
    };
    let equal = Arc::new(config::Freshness::default());
    let read = rules(&Terms {
        rules: &equal,
        ..own
    })
    .expect("the same settings");
    assert!(Arc::ptr_eq(&read, &equal));

    let other = Arc::new(config::Freshness {
        default: Duration::from_secs(61),
        ..config::Freshness::default()
    });
    assert_eq!(
        rules(&Terms {
            rules: &other,
            ..own
        }),
        None
    );
    let route = RouteRule {
        is_call: true,
        ..RouteRule::default()
    };
    assert_eq!(rules(&Terms { route, ..own }), None);
    let [one, two] = [&COOKIES[..1], &COOKIES[1..]];
    assert!(
        rules(&Terms {
            ignored_cookies: one,
            ..own
        })
        .is_some()
    );
    assert_eq!(
        rules(&Terms {
            ignored_cookies: two,
            ..own
        }),
        None
    );

    entry.rules = None;
    let sealed = seals.seal_entry(&entry, &own, POSITION).expect("small");
    assert_eq!(
        open(&seals, &sealed, &own).expect("it opens").entry.rules,
        None
    );
}

#[test]
fn what_is_too_large_too_old_or_dated_before_1970_is_not_shared() {
    let credential = credential();
    let own = terms(&credential, [Duration::ZERO; 3]);
    let mut noise = vec![0; 8 << 10];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let (small, large) = (config(&KEY, None), {
        let mut config = config(&KEY, None);
        config.cache.max_entry = ByteSize(2 << 20);
        config
    });
    // By its sealed size.
    let mut tight = small.clone();
    tight.shared.max_entry = ByteSize(8 << 10);
    let tight = super::super::seals(&tight);
    assert_eq!(tight.seal_entry(&plain(&noise), &own, POSITION), None);
    let sealed = super::super::seals(&small)
        .seal_entry(&plain(&noise), &own, POSITION)
        .expect("small");
    assert_eq!(
        open(&tight, &sealed, &own).expect_err("large"),
        Unsealed::Size
    );
    // By its size in memory: zeros are easy to compress.
    let zeros = plain(&vec![0; 1 << 20]);
    let sealed = super::super::seals(&large)
        .seal_entry(&zeros, &own, POSITION)
        .expect("compressed");
    let mut short = small.clone();
    short.cache.max_entry = ByteSize(64 << 10);
    assert_eq!(
        open(&super::super::seals(&short), &sealed, &own).expect_err("large"),
        Unsealed::Size
    );
    assert_eq!(
        super::super::seals(&short).seal_entry(&zeros, &own, POSITION),
        None
    );

    let mut old = plain(b"{}");
    old.freshness.body_sent = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    assert_eq!(
        super::super::seals(&small).seal_entry(&old, &own, POSITION),
        None
    );

    // At its hard limit, or older than this process can express.
    let mut entry = plain(b"{}");
    let hours = Duration::from_hours;
    for (hard_limit, passed, opens) in [
        (hours(1), Duration::from_millis(3_599_979), true),
        (hours(1), Duration::from_millis(3_599_980), false),
        (Duration::MAX, START, true),
        (Duration::MAX, START + Duration::from_micros(1), false),
    ] {
        entry.freshness.hard_limit = hard_limit;
        let sealed = super::super::seals(&small)
            .seal_entry(&entry, &own, POSITION)
            .expect("small");
        let later = passed + Duration::from_secs(1);
        let later = terms(&credential, [later, Duration::ZERO, Duration::ZERO]);
        let opened = open(&super::super::seals(&small), &sealed, &later).map(|_| ());
        assert_eq!(
            opened,
            if opens {
                Ok(())
            } else {
                Err(Unsealed::Expired)
            },
            "{passed:?}"
        );
    }
}
