//! The wait options of a query: `wait=status:completed,failed` or `wait=change`, and `wait_timeout=30s`.
//!
//! They are no part of the cache key, and the origin never gets them.

use std::borrow::Cow;
use std::time::Duration;

use http::HeaderMap;

use super::refusal::{Refusal, Refused};
use crate::config::{self, CallStatus};
use crate::label::Label as _;
use crate::policy;
use crate::view::{decode, option_value};

/// The time-out of a request that sets none.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// A request that waits for a state of its call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The state.
    pub until: Until,
    /// The longest time to wait.
    pub timeout: Duration,
    /// Whether `Prefer` has set the time-out (RFC 7240).
    pub is_preferred: bool,
}

/// The state of a call that ends a wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Until {
    /// Another body than that at the beginning.
    Change,
    /// One of these statuses.
    Status(Box<[CallStatus]>),
}

/// The names of the options, and the longest time-out.
#[derive(Clone, Debug)]
pub(super) struct WaitOptions {
    wait: Box<str>,
    timeout: Box<str>,
    longest: Duration,
}

/// A query: the rest of it, and its wait.
type Read<'q> = (Option<Cow<'q, str>>, Option<Box<Wait>>);

/// The character of a value at which it is invalid, and the reason.
type FaultAt = (usize, String);

impl WaitOptions {
    pub(super) fn new(views: &config::Views, limits: &config::Limits) -> Self {
        Self {
            wait: views.wait_option.as_str().into(),
            timeout: views.wait_timeout_option.as_str().into(),
            longest: limits.wait_timeout,
        }
    }

    /// Removes the options from a query; the rest stays as sent. Each may be given once.
    pub(super) fn read<'q>(
        &self,
        query: Option<&'q str>,
        fields: &HeaderMap,
    ) -> Result<Read<'q>, Refused> {
        let Some(query) = query else {
            return Ok((None, None));
        };
        let is_option = |piece: &str| {
            [&self.wait, &self.timeout]
                .iter()
                .any(|name| option_value(piece, name).is_some())
        };
        if !query.split('&').any(is_option) {
            return Ok((Some(Cow::Borrowed(query)), None));
        }
        let until = one(query, &self.wait, read_until)?;
        let timeout = one(query, &self.timeout, read_timeout)?;
        let Some(until) = until else {
            let sentence = format!("write what to wait for, too, e.g. {}=change", self.wait);
            return Err(refused(&self.timeout, (1, sentence)));
        };
        let preferred = policy::preferred_wait(fields).filter(|_| timeout.is_none());
        let wanted = timeout.or(preferred).unwrap_or(DEFAULT_TIMEOUT);
        let rest: Vec<_> = query.split('&').filter(|piece| !is_option(piece)).collect();
        let rest = (!rest.is_empty()).then(|| Cow::Owned(rest.join("&")));
        let wait = Wait {
            until,
            timeout: wanted.min(self.longest),
            is_preferred: preferred.is_some(),
        };
        Ok((rest, Some(Box::new(wait))))
    }
}

/// The value of an option, if the query has it.
fn one<T>(
    query: &str,
    name: &str,
    read: impl Fn(&str) -> Result<T, FaultAt>,
) -> Result<Option<T>, Refused> {
    let mut values = query
        .split('&')
        .filter_map(|piece| option_value(piece, name));
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(refused(name, (1, "write it once".to_owned())));
    }
    let decoded = decode(value).map_err(|(at, kind)| refused(name, (at, kind.to_string())))?;
    let value = read(&decoded).map_err(|fault| refused(name, fault))?;
    Ok(Some(value))
}

fn read_until(value: &str) -> Result<Until, FaultAt> {
    const STATUS: &str = "status:";
    if value.trim() == "change" {
        return Ok(Until::Change);
    }
    let Some(names) = value.strip_prefix(STATUS) else {
        let sentence = "write change, or status: and the statuses, e.g. status:completed,failed";
        return Err((1, sentence.to_owned()));
    };
    let (mut statuses, mut at) = (Vec::new(), STATUS.len() + 1);
    for name in names.split(',') {
        match name.trim() {
            // Each of the statuses in which a call has ended.
            "ended" => statuses.extend(CallStatus::ALL.iter().filter(|one| one.is_terminal())),
            name => match CallStatus::ALL.iter().find(|one| one.as_str() == name) {
                Some(status) => statuses.push(*status),
                None => return Err((at, format!("no status has this name; known: {}", known()))),
            },
        }
        at += name.chars().count() + 1;
    }
    Ok(Until::Status(statuses.into()))
}

fn known() -> String {
    let names: Vec<_> = CallStatus::ALL.iter().map(|one| one.as_str()).collect();
    format!("{}, or ended for the last five", names.join(", "))
}

fn read_timeout(value: &str) -> Result<Duration, FaultAt> {
    let sentence = "write a duration with ms, s or m, e.g. 30s";
    humantime::parse_duration(value.trim()).map_err(|_| (1, sentence.to_owned()))
}

fn refused(option: &str, (position, sentence): FaultAt) -> Refused {
    Refused {
        why: Refusal::Wait,
        sentence: format!("{option}: character {position}: {sentence}"),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::config::Config;

    fn read(query: &str, prefer: &'static str) -> Result<(Option<String>, Option<Wait>), String> {
        let config = Config::default();
        let options = WaitOptions::new(&config.views, &config.limits);
        let prefer = HeaderValue::from_static(prefer);
        let fields = HeaderMap::from_iter([(policy::PREFER, prefer)]);
        let (rest, wait) = options
            .read(Some(query), &fields)
            .map_err(|refused| refused.sentence)?;
        Ok((rest.map(Cow::into_owned), wait.map(|wait| *wait)))
    }

    #[test]
    fn the_options_are_removed_and_the_rest_stays_as_sent() {
        for (query, rest) in [
            ("wait=change", None),
            ("wait=change&", Some("")),
            (
                "a=%20&wait=change&&wait_timeout=1s&strip=b",
                Some("a=%20&&strip=b"),
            ),
            (
                "waits=change&Wait=x&w%61it=y",
                Some("waits=change&Wait=x&w%61it=y"),
            ),
        ] {
            let (left, wait) = read(query, "").expect(query);
            assert_eq!(left.as_deref(), rest, "{query}");
            assert_eq!(wait.is_some(), query.contains("wait=change"), "{query}");
        }
    }

    #[test]
    fn a_wait_is_for_a_change_or_for_statuses() {
        use CallStatus::{Completed, Failed};
        let until = |query: &str| read(query, "").expect(query).1.expect(query).until;
        assert_eq!(until("wait=change"), Until::Change);
        let both = Until::Status(Box::new([Completed, Failed]));
        for query in [
            "wait=status:completed,failed",
            "wait=status%3Acompleted%2C+failed",
        ] {
            assert_eq!(until(query), both, "{query}");
        }
        let Until::Status(ended) = until("wait=status:ended") else {
            panic!("it waits for statuses");
        };
        assert!(ended.iter().all(|one| one.is_terminal()) && ended.len() == 5);
    }

    #[test]
    fn the_option_sets_the_timeout_before_prefer_and_both_are_shortened() {
        for (query, prefer, seconds, is_preferred) in [
            ("wait=change", "", 30, false),
            ("wait=change&wait_timeout=45s", "", 45, false),
            ("wait=change&wait_timeout=0s", "", 0, false),
            ("wait=change&wait_timeout=1h", "wait=5", 60, false),
            (
                "wait=change",
                "return=minimal, WAIT=\"5\"; x=1, wait=7",
                5,
                true,
            ),
            ("wait=change", "wait=600", 60, true),
            ("wait=change", "wait=soon", 30, false),
        ] {
            let wait = read(query, prefer).expect(query).1.expect(query);
            let expected = (Duration::from_secs(seconds), is_preferred);
            assert_eq!(
                (wait.timeout, wait.is_preferred),
                expected,
                "{query} {prefer}"
            );
        }
        assert_eq!(read("a=b", "wait=5").expect("no option").1, None);
    }

    #[test]
    fn a_fault_has_its_option_its_position_and_a_sentence() {
        for (query, message) in [
            ("wait", "wait: character 1: write change, or status:"),
            ("wait=Change", "wait: character 1: write change, or status:"),
            (
                "wait=status:",
                "wait: character 8: no status has this name; known: pending_approval",
            ),
            (
                "wait=status:failed,%20done",
                "wait: character 15: no status has this name",
            ),
            ("wait=chang%", "wait: character 6: % is followed by two"),
            (
                "wait=change&wait=change",
                "wait: character 1: write it once",
            ),
            (
                "wait=change&wait_timeout=30",
                "wait_timeout: character 1: write a duration",
            ),
            (
                "wait_timeout=3s",
                "wait_timeout: character 1: write what to wait for, too, e.g. wait=change",
            ),
        ] {
            let fault = read(query, "").expect_err(query);
            assert!(fault.starts_with(message), "{query}: {fault}");
        }
    }
}
