//! Any query can be parsed, and the canonical text of a view parses as the same view.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stuut_cache::config::Views;
use stuut_cache::view::{self, Options, View};

fuzz_target!(|query: &str| {
    let options = Options::new(&Views::default()).expect("the defaults are valid");
    match view::read_query(Some(query), &options) {
        Err(fault) => assert!(fault.position >= 1 && !fault.to_string().is_empty()),
        Ok(parsed) => {
            let again = view::read_query(parsed.remaining.as_deref(), &options);
            let again = again.expect("the rest of the query has no view options");
            assert_eq!(again.remaining, parsed.remaining);
            assert_eq!(again.view, None);
            if let Some(view) = parsed.view {
                let mut lists = view.as_str().split(' ');
                // A space in a name is escaped by a backslash.
                if !view.as_str().contains("\\ ") {
                    let fields = lists.clone().find_map(|list| list.strip_prefix("fields="));
                    let strip = lists.find_map(|list| list.strip_prefix("strip="));
                    let read = View::parse(fields, strip);
                    assert_eq!(read, Ok(Some(view)));
                }
            }
        }
    }
});
