//! `Via` (RFC 9110 §7.6.3): the pseudonym of this process, and the detection of loops.

use std::hash::BuildHasher as _;
use std::sync::LazyLock;

use http::HeaderValue;

/// The name of this cache in `Cache-Status` and `Proxy-Status`, and of its kind in `Via`.
pub const CACHE_NAME: &str = "stuut-cache";

/// Maximum proxies of this kind that a request may have passed: in a loop through replicas, it may
/// never meet the same one twice.
const MAX_FAMILY: usize = 7;

/// Random per process, so that a chain of proxies is not a loop.
static PSEUDONYM: LazyLock<String> = LazyLock::new(|| {
    let random = std::hash::RandomState::new().hash_one(CACHE_NAME);
    format!("{CACHE_NAME}-{:08x}", random & 0xffff_ffff)
});

/// The name of this process in `Via`: `stuut-cache-` and eight hex digits.
#[must_use]
pub fn pseudonym() -> &'static str {
    &PSEUDONYM
}

/// Whether a request with these lines of `Via` has passed this process before, or too many of its
/// kind.
pub(super) fn is_loop<'a>(lines: impl Iterator<Item = &'a HeaderValue>) -> bool {
    let members = lines.flat_map(|line| line.as_bytes().split(|&b| b == b','));
    let names = members.filter_map(|member| {
        let mut parts = member
            .split(u8::is_ascii_whitespace)
            .filter(|part| !part.is_empty());
        parts.nth(1)
    });
    let mut family = names.filter(|name| name.starts_with(CACHE_NAME.as_bytes()));
    let is_own = |name: &[u8]| name == pseudonym().as_bytes();
    let mut count = 0;
    family.any(|name| {
        count += 1;
        is_own(name) || count > MAX_FAMILY
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_has_our_name_or_too_many_of_the_family() {
        let own = format!("1.1 before, 1.1 {} (x)", pseudonym());
        let family = |count| vec!["1.1 stuut-cache-00000000"; count].join(", ");
        for (lines, expected) in [
            (&[][..], false),
            (&["1.1 before, 2 stuut-cache-00000000"], false),
            (&[&own], true),
            (&["1.1 a", &own.replace("1.1", "HTTP/2")], true),
            (&[&family(7)], false),
            (&[&family(4), &family(4)], true),
            // The name is the second part.
            (&[&format!("{} x", pseudonym())], false),
        ] {
            let lines: Vec<_> = lines
                .iter()
                .map(|line| HeaderValue::try_from(*line).expect("a value"))
                .collect();
            assert_eq!(is_loop(lines.iter()), expected, "{lines:?}");
        }
    }
}
