//! Content of the engine can be anything: what is read of an entry or an item is valid, and is written
//! and read again as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stuut_cache::cache::shared::{Header, MAX_ITEM, Sealer, read_item, read_record};
use stuut_cache::config::{Config, ScopeKey};

fuzz_target!(|input: &[u8]| {
    let _ = Header::read(input);
    if let Ok((record, body)) = read_record(input) {
        assert!(input.ends_with(body));
        let written = postcard::to_allocvec(&record).expect("it was read");
        let (again, rest) = read_record(&written).expect("it was written");
        assert_eq!(format!("{record:?}"), format!("{again:?}"));
        assert!(rest.is_empty());
    }
    if let Ok(item) = read_item(input)
        && input.len() < MAX_ITEM / 2
    {
        let mut config = Config::default();
        config.scope.key = Some(ScopeKey::random());
        let sealer = Sealer::new(&config).expect("there is a key");
        assert_eq!(sealer.open_item(&sealer.seal_item(&item)), Ok(item));
    }
});
