//! The preference `wait` of a request (RFC 7240 §4.3).

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use super::directive::{DeltaSeconds, Directive};
use super::list::{self, Quotes};

/// The field that has the preferences of a request.
pub const PREFER: HeaderName = HeaderName::from_static("prefer");

/// The first `wait` (§2: later ones are ignored), without its parameters; `None` if it is not a number.
pub fn preferred_wait(fields: &HeaderMap) -> Option<Duration> {
    let wait = list::elements(fields, &PREFER, Quotes::Escaped).find_map(|element| {
        let end = list::unquoted(element, b';', Quotes::Escaped);
        let preference = Directive::read(element[..end].trim_ascii());
        preference
            .name
            .eq_ignore_ascii_case(b"wait")
            .then_some(preference)
    })?;
    match DeltaSeconds::read(&wait.argument) {
        DeltaSeconds::Invalid => None,
        seconds @ DeltaSeconds::Seconds(_) => Some(seconds.length()),
    }
}
