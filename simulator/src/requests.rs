//! Counts of requests and their outcomes, for tests and the demo.

use std::collections::BTreeMap;
use std::fmt;

use http::{Method, StatusCode};

/// Limit of counted paths; further ones are counted together, so that memory is bounded.
const MAX_PATHS: usize = 10_000;

/// The path of all further requests.
const OTHER: &str = "(other)";

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// A complete response of this status.
    Answered(StatusCode),
    /// A 200 whose connection was closed in the middle of the body.
    Torn,
}

/// Counts of the requests to a simulator, by method, path and outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    counts: BTreeMap<(String, String), BTreeMap<Outcome, u64>>,
}

// === impl Requests ===

impl Requests {
    /// Number of requests.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.iter().map(|(.., count)| count).sum()
    }

    /// Number of requests for this path, of any method and outcome.
    #[must_use]
    pub fn to(&self, path: &str) -> u64 {
        self.iter()
            .filter(|(_, counted, ..)| *counted == path)
            .map(|(.., count)| count)
            .sum()
    }

    /// Number of requests of this outcome, for any path.
    #[must_use]
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.iter()
            .filter(|(_, _, counted, _)| *counted == outcome)
            .map(|(.., count)| count)
            .sum()
    }

    /// Method, path (without its query), outcome and count, in this order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, Outcome, u64)> {
        self.counts.iter().flat_map(|((path, method), outcomes)| {
            outcomes
                .iter()
                .map(move |(outcome, count)| (method.as_str(), path.as_str(), *outcome, *count))
        })
    }

    pub(crate) fn count(&mut self, method: &Method, path: &str, outcome: Outcome) {
        let mut key = (path.to_owned(), method.as_str().to_owned());
        if self.counts.len() >= MAX_PATHS && !self.counts.contains_key(&key) {
            // A client may invent methods, too.
            key = (OTHER.to_owned(), String::new());
        }
        let outcomes = self.counts.entry(key).or_default();
        *outcomes.entry(outcome).or_default() += 1;
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(status) => status.as_str().fmt(f),
            Self::Torn => "torn".fmt(f),
        }
    }
}

/// One line per method, path and outcome: `GET /v1/calls/call_acme_0001 200 3`.
impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (method, path, outcome, count) in self.iter() {
            writeln!(f, "{method} {path} {outcome} {count}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: Outcome = Outcome::Answered(StatusCode::OK);

    #[test]
    fn requests_are_counted_by_path_and_by_outcome() {
        let mut requests = Requests::default();
        requests.count(&Method::GET, "/a", OK);
        requests.count(&Method::HEAD, "/a", OK);
        requests.count(&Method::GET, "/b", Outcome::Torn);
        assert_eq!(
            (requests.total(), requests.to("/a"), requests.of(OK)),
            (3, 2, 2)
        );
        assert_eq!(
            requests.to_string(),
            "GET /a 200 1\nHEAD /a 200 1\nGET /b torn 1\n"
        );
    }

    #[test]
    fn the_number_of_counted_paths_is_bounded() {
        let mut requests = Requests::default();
        for path in 0..MAX_PATHS + 5 {
            requests.count(&Method::GET, &format!("/{path}"), OK);
        }
        assert_eq!(requests.to(OTHER), 5);
    }
}
