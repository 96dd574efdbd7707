//! Fields and bodies of any origin and client can be parsed, with the same result each time; a body
//! that has facts is JSON.
//!
//! The input is a head, an empty line and a body; the caching fields of the head are parsed.

#![no_main]

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use stuut_cache::config::{ClientDirectives, Config};
use stuut_cache::json;
use stuut_cache::policy::{RequestDirectives, ResponseDirectives, facts, storable};

fuzz_target!(|input: &[u8]| {
    let end = input.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = match end {
        Some(end) => (&input[..end], &input[end + 2..]),
        None => (input, &[][..]),
    };
    let mut fields = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
            continue;
        };
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name),
            HeaderValue::from_bytes(value.trim_ascii()),
        ) {
            fields.append(name, value);
        }
    }
    let config = Config::default();
    let directives = ResponseDirectives::read(&fields);
    assert_eq!(
        format!("{directives:?}"),
        format!("{:?}", ResponseDirectives::read(&fields))
    );
    let _ = RequestDirectives::read(&fields, ClientDirectives::Obey);
    let stored = storable(&fields, SystemTime::UNIX_EPOCH);
    // A missing Date is added.
    assert!(stored.len() <= fields.len() + 1);
    let facts = facts::read(body, &config.freshness.live, SystemTime::UNIX_EPOCH);
    assert!(facts.status.is_none() || body.starts_with(b"\xef\xbb\xbf") || json::check(body).is_ok());
});
