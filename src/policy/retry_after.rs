//! `Retry-After` of a 429 or 503 (RFC 9110 §10.2.3).

use std::time::{Duration, SystemTime};

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};

use super::dates::http_date;
use super::directive;

/// The delay that a 429 or 503 of the origin requires, in seconds or as a date.
///
/// `None` unless the field is present exactly once, valid and in the future.
pub fn retry_after(status: StatusCode, response: &HeaderMap, now: SystemTime) -> Option<Duration> {
    if !matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    ) {
        return None;
    }
    let mut lines = response.get_all(RETRY_AFTER).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return None;
    };
    let text = line.as_bytes().trim_ascii();
    let wait = match directive::seconds(text) {
        Some(seconds) => Duration::from_secs(seconds.into()),
        None => http_date(text, now)?.duration_since(now).ok()?,
    };
    (!wait.is_zero()).then_some(wait)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn wait(status: u16, values: &[&str]) -> Option<u64> {
        let mut response = HeaderMap::new();
        for value in values {
            let value = HeaderValue::from_str(value).expect("a field value");
            response.append(RETRY_AFTER, value);
        }
        // 1994-11-06 08:49:37
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let status = StatusCode::from_u16(status).expect("a status");
        retry_after(status, &response, now).map(|wait| wait.as_secs())
    }

    #[test]
    fn retry_after_counts_on_a_429_or_503_only() {
        for (status, values, expected) in [
            (429, &["7"][..], Some(7)),
            (503, &[" 120 "], Some(120)),
            (503, &["Sun, 06 Nov 1994 08:50:37 GMT"], Some(60)),
            (503, &["Sun, 06 Nov 1994 08:49:37 GMT"], None),
            (503, &["99999999999999999999999"], Some(1 << 31)),
            (503, &["0"], None),
            (503, &[], None),
            (503, &["soon"], None),
            (503, &["-1"], None),
            (503, &["1.5"], None),
            (429, &["7", "8"], None),
            (500, &["7"], None),
            (200, &["7"], None),
            (302, &["7"], None),
        ] {
            assert_eq!(wait(status, values), expected, "{status} {values:?}");
        }
    }
}
