//! Any body can be pruned; the result is JSON, and pruning it again changes nothing.
//!
//! The input is a query, a line break and a body.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use stuut_cache::config::Views;
use stuut_cache::json;
use stuut_cache::view::{self, Options, Pruned, prune};

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |byte| *byte == b'\n');
    let (Some(query), Some(body)) = (parts.next(), parts.next()) else {
        return;
    };
    let options = Options::new(&Views::default()).expect("the defaults are valid");
    let Ok(query) = std::str::from_utf8(query) else {
        return;
    };
    let Ok(parsed) = view::read_query(Some(query), &options) else {
        return;
    };
    let Some(view) = parsed.view else {
        return;
    };
    let body = Bytes::copy_from_slice(body);
    let valid = json::check(&body).is_ok();
    if serde_json::from_slice::<serde_json::Value>(&body).is_ok() {
        assert!(valid, "serde_json accepts it");
    }
    match prune(&body, &view) {
        Pruned::Skipped(_) => assert!(!valid),
        Pruned::Whole(whole) => {
            assert!(valid);
            assert_eq!(whole, body);
        }
        Pruned::Part(part) => {
            assert!(valid && part.len() < body.len());
            assert_eq!(json::check(&part), Ok(()));
            assert_eq!(prune(&part, &view), Pruned::Whole(part.clone()));
        }
    }
});
