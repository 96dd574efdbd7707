//! Any query can be read, and a view's own text reads as the same view.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stuut_cache::config::Views;
use stuut_cache::view::{self, Options, View};

fuzz_target!(|query: &str| {
    let options = Options::new(&Views::default()).expect("the defaults are valid");
    match view::read_query(Some(query), &options) {
        Err(fault) => assert!(fault.position >= 1 && !fault.to_string().is_empty()),
        Ok(asked) => {
            let again = view::read_query(asked.remaining.as_deref(), &options);
            let again = again.expect("what remains asks for nothing");
            assert_eq!(again.remaining, asked.remaining);
            assert_eq!(again.view, None);
            if let Some(view) = asked.view {
                let mut lists = view.as_str().split(' ');
                // A blank in a name has a backslash before it.
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
