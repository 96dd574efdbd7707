//! A model of the facts on `serde_json::Value`, slow and simple, to compare the real ones with.

use std::time::UNIX_EPOCH;

use proptest::prelude::*;
use serde_json::Value;

use super::super::*;
use crate::config::Freshness;

/// Names with a meaning, and others of the same length.
const NAMES: [&str; 12] = [
    "status",
    "end_time",
    "modified_at",
    "transcript",
    "summary",
    "sentiment",
    "partner",
    "invoices",
    "presigned_url",
    "presigned_url_expires_at",
    "resigned_url_",
    "presigned_url_expires_to",
];

const TEXTS: [&str; 12] = [
    "",
    "h",
    "completed",
    "busy",
    "2023-11-07T05:31:56Z",
    "2023-11-07T06:00:00",
    "https://b.example/k",
    "https://b.example/k?X-Amz-Date=20231107T053156Z&X-Amz-Expires=60&X-Amz-Signature=a",
    "HTTP://b.example/k?a=1&amp;Expires=1699335000&amp;Signature=a#?",
    "https://b.example/k?se=2023-11-07T05%3A31%3A56Z&sig=a",
    "https://b.example/k?Policy=a&Signature=b",
    "hello \"there\"\n, longer than one block of a scanner",
];

fn model(body: &Value, live: &[(String, Duration)]) -> Facts {
    let mut facts = Facts::default();
    let mut expiries = Expiries::after(UNIX_EPOCH);
    collect(body, &mut expiries, &mut facts.url_without_expiry);
    facts.signed_until = expiries.first;
    facts.unreadable_expiry = expiries.unreadable > 0;
    let Value::Object(call) = body else {
        return facts;
    };
    let text = |name: &str| call.get(name).and_then(Value::as_str);
    let present = |name: &&str| call.get(*name).is_some_and(|value| !value.is_null());
    facts.status = CallStatus::ALL
        .iter()
        .find(|known| Some(known.as_str()) == text("status"))
        .copied();
    facts.end_time = text("end_time").and_then(time);
    facts.modified_at = text("modified_at").and_then(time);
    facts.unfinished = facts.status == Some(CallStatus::Completed)
        && !["transcript", "summary", "sentiment"].iter().all(present);
    for (index, (name, _)) in live.iter().enumerate() {
        if present(&name.as_str()) {
            facts.live.insert(index);
        }
    }
    facts
}

/// Collects the expiries of the pre-signed URLs in a value, and whether a URL is without one beside
/// it.
fn collect(value: &Value, expiries: &mut Expiries, without_expiry: &mut bool) {
    match value {
        Value::String(text) => expiries.scan(text.as_bytes()),
        Value::Array(elements) => {
            for element in elements {
                collect(element, expiries, without_expiry);
            }
        }
        Value::Object(members) => {
            for member in members.values() {
                collect(member, expiries, without_expiry);
            }
            let text = |name: &str| members.get(name).and_then(Value::as_str);
            let is_link = |(name, url): &(&String, &str)| {
                is_url(url) || *name == "presigned_url" && !url.is_empty()
            };
            let texts = members
                .iter()
                .filter_map(|(name, text)| Some((name, text.as_str()?)));
            let links: Vec<_> = texts.filter(is_link).collect();
            let has_url = !links.is_empty();
            let expires_at = text("presigned_url_expires_at").and_then(time);
            if let Some(expiry) = expires_at.filter(|_| has_url) {
                expiries.record(expiry);
            }
            for (name, url) in links {
                let mut own = Expiries::after(UNIX_EPOCH);
                own.scan(url.as_bytes());
                if expires_at.is_some() {
                    expiries.unreadable -= own.unreadable;
                } else if name == "presigned_url" && own.first.is_none() && own.unreadable == 0 {
                    expiries.unreadable += 1;
                }
            }
            *without_expiry |= has_url && expires_at.is_none();
        }
        _ => {}
    }
}

fn bodies() -> impl Strategy<Value = Value> {
    let text = proptest::sample::select(TEXTS.as_slice()).prop_map(Value::from);
    let scalar = prop_oneof![4 => text, 1 => Just(Value::Null), 1 => Just(Value::from(-1.5))];
    scalar.prop_recursive(4, 40, 8, |inner| {
        let name = proptest::sample::select(NAMES.as_slice()).prop_map(str::to_owned);
        let member = (name, inner.clone());
        prop_oneof![
            1 => proptest::collection::vec(inner, 0..4).prop_map(Value::from),
            3 => proptest::collection::vec(member, 0..8).prop_map(|all| all.into_iter().collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn facts_are_equal_to_those_of_the_model(
        body in bodies(),
        pretty in any::<bool>(),
        escaped in proptest::option::of(proptest::sample::select(&['e', 'h', 's', '/'][..])),
    ) {
        let live = Freshness::default().live;
        let mut written = if pretty { format!("{body:#}") } else { body.to_string() };
        if let Some(letter) = escaped {
            // None of these letters is in a number or in `null`.
            written = written.replace(letter, &format!("\\u{:04x}", u32::from(letter)));
        }
        let facts = read(written.as_bytes(), &live, UNIX_EPOCH);
        prop_assert_eq!(facts, model(&body, &live), "{}", written);
    }
}
