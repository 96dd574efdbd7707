//! Dates as the API writes them, and pre-signed URLs.

use std::time::{Duration, SystemTime};

use http::HeaderValue;
use jiff::Timestamp;

pub(crate) const DAY: Duration = Duration::from_hours(24);

/// A clock's time as a timestamp, which has the years -9999 to 9999.
pub(crate) fn moment(wall: SystemTime) -> Timestamp {
    Timestamp::try_from(wall).expect("the clock is within a timestamp's range")
}

/// The `Date` field of a response at `moment` (RFC 9110 §5.6.7).
pub(crate) fn date_field(moment: Timestamp) -> HeaderValue {
    HeaderValue::try_from(moment.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
        .expect("a date is made of visible ASCII characters")
}

/// `moment` without its fraction of a second.
pub(crate) fn whole_second(moment: Timestamp) -> Timestamp {
    Timestamp::from_second(moment.as_second()).expect("a timestamp's own second is in range")
}

/// A date and time of the API: `2026-03-01T09:30:00Z`.
pub(crate) fn written(moment: Timestamp) -> String {
    moment.to_string()
}

/// A date of the API: `2026-03-01`.
pub(crate) fn date(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%d").to_string()
}

/// The time `days` days and `second` seconds before `moment`.
pub(crate) fn days_before(moment: Timestamp, days: u32, second: u32) -> Timestamp {
    moment - DAY * days - Duration::from_secs(u64::from(second))
}

/// The time `days` days after `moment`.
pub(crate) fn days_after(moment: Timestamp, days: u32) -> Timestamp {
    moment + DAY * days
}

/// The time and the lifetime of the signature of URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    pub(crate) signed_at: Timestamp,
    pub(crate) valid_for: Duration,
}

// === impl Signature ===

impl Signature {
    /// The signature in force at `now`.
    ///
    /// URLs are signed again three times per lifetime, counted from `started`: the bytes do not
    /// change within such a window, and a URL is valid for at least two thirds of its lifetime when
    /// it is sent.
    pub(crate) fn at(now: Timestamp, started: Timestamp, valid_for: Duration) -> Self {
        let window = i64::try_from(valid_for.as_secs() / 3)
            .unwrap_or(i64::MAX)
            .max(1);
        let since = now.as_second() - started.as_second();
        let signed_at = now.as_second() - since.rem_euclid(window);
        Self {
            signed_at: Timestamp::from_second(signed_at)
                .expect("a window before now is in a timestamp's range"),
            valid_for,
        }
    }

    /// The expiry of the URLs.
    pub(crate) fn expires_at(&self) -> Timestamp {
        self.signed_at + self.valid_for
    }

    /// The pre-signed URL of `object` in the organisation's bucket.
    ///
    /// The signature is not valid; it only changes whenever a real one would.
    pub(crate) fn sign(&self, organisation: &str, object: &str) -> String {
        let signed = self.signed_at.strftime("%Y%m%dT%H%M%SZ").to_string();
        let day = &signed[..8];
        let seconds = self.valid_for.as_secs();
        let proof = blake3::hash(format!("{organisation}/{object}/{signed}/{seconds}").as_bytes());
        format!(
            "https://{organisation}-files.storage.example/{object}\
             ?X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential=SIMULATED%2F{day}%2Fus-east-1%2Fs3%2Faws4_request\
             &X-Amz-Date={signed}&X-Amz-Expires={seconds}&X-Amz-SignedHeaders=host\
             &X-Amz-Signature={}",
            proof.to_hex()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a test's second is in range")
    }

    #[test]
    fn a_signature_does_not_change_within_its_window() {
        let valid_for = Duration::from_mins(15);
        let first = Signature::at(at(1_000), at(1_000), valid_for);
        assert_eq!(first, Signature::at(at(1_299), at(1_000), valid_for));
        let next = Signature::at(at(1_300), at(1_000), valid_for);
        assert_eq!(next.signed_at, at(1_300));
        assert_eq!(next.expires_at(), at(2_200));
    }

    #[test]
    fn a_signed_url_has_its_expiry() {
        let signature = Signature::at(at(0), at(0), Duration::from_mins(15));
        let url = signature.sign("acme", "files/a.pdf");
        assert!(url.contains("X-Amz-Date=19700101T000000Z&X-Amz-Expires=900&"));
    }
}
