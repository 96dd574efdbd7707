//! The notes on the state of the process: what the operator should know, the worst first. The first one
//! is the banner of the dashboard. A pure function of the [`Status`].

#[cfg(test)]
mod tests;

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::status::Status;
use crate::cache::shared::GroupState;
use crate::config::CacheMode;
use crate::label::Label as _;
use crate::outcome::{OutcomeLabel, ServedStale};
use crate::telemetry::{MetricsSnapshot, Shed};
use crate::units::{bytes, count, percent, span};
use crate::upstream::BreakerState;

/// A note for the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Its severity.
    pub severity: Severity,
    /// A few words, the same for each occurrence.
    pub title: String,
    /// The numbers, and what to do.
    pub text: String,
    /// The section that says more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
}

/// The severity of a note, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Clients are affected.
    Bad,
    /// Clients may be affected soon.
    Warning,
    /// There is nothing to do now.
    Neutral,
    /// The origin has answered lately, and there is no other note.
    Good,
}

/// The share of the requests to the origin whose failure is bad, and the number that it takes at least.
const BAD_ORIGIN: (u64, u64) = (5, 3);

/// The percentage of client requests whose failure is bad, as in the alert `StuutCacheFailing`.
const BAD_CLIENTS: u64 = 1;

/// The percentage of client requests with a refused token, and their number, above which there is a note.
const REFUSED_TOKENS: (u64, u64) = (5, 3);

/// The percentage of a limit that is near it.
const NEAR: u64 = 90;

/// How long before its end a certificate should have been renewed, as in the alert
/// `StuutCacheCertificateExpires`.
const RENEWAL_SECONDS: i64 = 14 * 24 * 60 * 60;

/// The age of an answer of the origin up to which all is well.
const RECENT_SECONDS: u64 = 5 * 60;

/// A skew of the origin's clock that makes lifetimes wrong.
const SKEW_SECONDS: u64 = 30;

/// A drop of the hit ratio that may be due to a full cache, and the requests in a minute that show it.
const HIT_RATIO_DROP: (f64, u64) = (0.1, 100);

/// The most frequent errors of the origin that are named.
const NAMED_ERRORS: usize = 3;

type Rule = fn(&Status) -> Option<Note>;

/// One for each note, with the alert whose section of the runbook says more; of the same severity, the first
/// comes first.
const RULES: [(Rule, Option<&str>); 18] = [
    (breaker, Some("StuutCacheBreakerOpen")),
    (client_errors, Some("StuutCacheFailing")),
    (origin_errors, Some("StuutCacheOriginErrors")),
    (certificate, Some("StuutCacheCertificateExpires")),
    (engine, Some("StuutCacheAlone")),
    (draining, None),
    (cache_off, Some("StuutCacheOff")),
    (stale, Some("StuutCacheOriginErrors")),
    (shedding, Some("StuutCacheShedding")),
    (held, Some("StuutCacheRateLimited")),
    (refused_tokens, Some("StuutCacheTokensRefused")),
    (refused_reload, Some("StuutCacheReloadRefused")),
    (connections, Some("StuutCacheConnectionsNearLimit")),
    (in_transit, Some("StuutCacheConnectionsForMemory")),
    (lost_lines, Some("StuutCacheLogDropped")),
    (full, Some("StuutCacheTooSmall")),
    (clock_skew, None),
    (pending_keys, None),
];

/// The notes, the worst first; at least one.
pub(super) fn notes(status: &Status) -> Vec<Note> {
    let found = RULES.iter().filter_map(|(rule, alert)| {
        let runbook = alert.map(section);
        Some(Note {
            runbook,
            ..rule(status)?
        })
    });
    let mut notes: Vec<_> = found.collect();
    if notes.iter().all(|note| note.severity > Severity::Warning) {
        notes.push(traffic(status));
    }
    notes.sort_by_key(|note| note.severity);
    notes
}

/// The section of the runbook on an alert.
fn section(alert: &str) -> String {
    format!("docs/runbook.md#{}", alert.to_lowercase())
}

fn note(severity: Severity, title: &str, text: impl Into<String>) -> Note {
    Note {
        severity,
        title: title.to_owned(),
        text: text.into(),
        runbook: None,
    }
}

fn warning(title: &str, text: impl Into<String>) -> Note {
    note(Severity::Warning, title, text)
}

/// Bad if this many percent of the whole are affected, else a warning.
fn by_share(part: u64, whole: u64, percentage: u64) -> Severity {
    if part * 100 >= whole * percentage {
        Severity::Bad
    } else {
        Severity::Warning
    }
}

/// A number of things, e.g. `1 token`, `2 tokens`.
fn many(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", count(number))
}

/// If nothing needs attention: whether the origin is known to respond.
fn traffic(Status { origin, .. }: &Status) -> Note {
    let ago = |seconds| format!("{} ago", span(seconds));
    match (origin.good_seconds_ago, origin.failed_seconds_ago) {
        (good, Some(failed)) if good.is_none_or(|good| failed < good) => warning(
            "The origin failed last",
            format!("{}; no request has been sent to it since.", ago(failed)),
        ),
        (Some(good), _) if good <= RECENT_SECONDS => note(
            Severity::Good,
            "All is well",
            format!("The origin answered {}.", ago(good)),
        ),
        (Some(good), _) => note(
            Severity::Neutral,
            "No request to the origin lately",
            format!("It answered the last one {}.", ago(good)),
        ),
        (None, _) => note(
            Severity::Neutral,
            "No response of the origin yet",
            "No request to it has been completed since the start.",
        ),
    }
}

/// One title for both states: a probe changes the state for moments only.
fn breaker(Status { origin, minute, .. }: &Status) -> Option<Note> {
    let failing = span(origin.failing_seconds?);
    let breaker = match (origin.breaker, origin.probe_seconds.unwrap_or(0)) {
        (BreakerState::HalfOpen, _) => "half-open, one request probes".to_owned(),
        (_, 0) => "open, the next request probes".to_owned(),
        (_, left) => format!("open, next probe in {}", span(left)),
    };
    let text = match &*results(minute) {
        "" => String::new(),
        results => format!(" In the last minute: {results}."),
    };
    let text = format!(
        "Connections have failed for {failing}; circuit breaker {breaker}. Others get a stale response, or 503.{text}"
    );
    Some(note(Severity::Bad, "The origin cannot be reached", text))
}

/// The most frequent failures at the origin.
fn results(minute: &MetricsSnapshot) -> String {
    let mut results: Vec<_> = minute.origin_results.failures().collect();
    results.sort_by_key(|(_, count)| Reverse(*count));
    let results = results.iter().take(NAMED_ERRORS);
    let results = results.map(|(result, times)| format!("{result} ({})", count(*times)));
    results.collect::<Vec<_>>().join(", ")
}

fn client_errors(Status { minute, .. }: &Status) -> Option<Note> {
    let failed = minute.requests.of(OutcomeLabel::Failed);
    let all = minute.requests.sum(OutcomeLabel::ALL);
    let text = || {
        let (failed, all) = (count(failed), count(all));
        format!("{failed} of {all} in the last minute: no stored response could be served instead.")
    };
    let severity = by_share(failed, all, BAD_CLIENTS);
    (failed > 0).then(|| note(severity, "Clients get errors", text()))
}

fn origin_errors(Status { origin, minute, .. }: &Status) -> Option<Note> {
    let (errors, all) = (minute.origin_errors, minute.origin_requests);
    // With the breaker open, its note has the results.
    if errors == 0 || origin.failing_seconds.is_some() {
        return None;
    }
    let (percentage, least) = BAD_ORIGIN;
    let (severity, title) = match by_share(errors, all, percentage) {
        Severity::Bad if errors >= least => (Severity::Bad, "The origin is failing"),
        _ => (Severity::Warning, "Some requests to the origin failed"),
    };
    let (failed, all, results) = (count(errors), count(all), results(minute));
    let text = format!("{failed} of {all} in the last minute: {results}.");
    Some(note(severity, title, text))
}

fn certificate(status: &Status) -> Option<Note> {
    let left = status.certificate_seconds_left?;
    let time = span(left.unsigned_abs());
    if left <= 0 {
        let text = format!("{time} ago: clients refuse new connections.");
        return Some(note(Severity::Bad, "The TLS certificate has expired", text));
    }
    (left < RENEWAL_SECONDS).then(|| {
        let text = format!(
            "In {time}: renew server.tls.cert, or see in the log why a renewal was refused."
        );
        warning("The TLS certificate expires soon", text)
    })
}

fn engine(status: &Status) -> Option<Note> {
    let (title, text) = match status.shared.as_ref()?.state {
        GroupState::InStep => return None,
        GroupState::CatchingUp => (
            "Catching up with the other replicas",
            "Stored responses are used once the log is read to its end.",
        ),
        GroupState::Alone => (
            "The engine of the shared level does not answer",
            "What was stored before is not used; purges and writes wait for a lease.",
        ),
    };
    Some(warning(title, text))
}

fn draining(status: &Status) -> Option<Note> {
    let text = || {
        let requests = many(status.in_flight, "request");
        format!("The process exits when all requests have ended; {requests} in flight.")
    };
    (!status.ready).then(|| warning("Draining", text()))
}

fn cache_off(status: &Status) -> Option<Note> {
    let text = "cache.mode is \"off\": every request is forwarded to the origin.";
    (status.cache.mode == CacheMode::Off).then(|| warning("Caching is off", text))
}

/// Only stale responses that stand in for a failure: to refresh in the background is planned.
fn stale(Status { minute, .. }: &Status) -> Option<Note> {
    let stale = minute.stale.of(ServedStale::OnError);
    let unchecked = minute.stale.of(ServedStale::RecheckFailed);
    let text = || {
        let responses = many(stale + unchecked, "response");
        format!(
            "{responses} in the last minute, because the origin failed (stale-if-error, recheck-failed)."
        )
    };
    (stale + unchecked > 0).then(|| warning("Stale responses replace errors", text()))
}

fn shedding(Status { minute, .. }: &Status) -> Option<Note> {
    // Others have notes of their own.
    let reasons = [Shed::InFlight, Shed::Streams, Shed::Uploads, Shed::Share];
    let shed = reasons.map(|reason| (reason.as_str(), minute.shed.of(reason)));
    let shed = shed.iter().filter(|(_, times)| *times > 0);
    let shed: Vec<_> = shed
        .map(|(reason, times)| format!("{} ({reason})", count(*times)))
        .collect();
    let text = || {
        let shed = shed.join(", ");
        format!("Not sent to the origin in the last minute: {shed}. Its slots are used up.")
    };
    (!shed.is_empty()).then(|| warning("Requests are shed", text()))
}

fn held(Status { origin, minute, .. }: &Status) -> Option<Note> {
    let shed = minute.shed.of(Shed::RetryAfter);
    let (tokens, calls) = (origin.held_tokens, origin.held_calls);
    let text = || {
        let (tokens, calls) = (many(tokens, "token"), many(calls, "call"));
        let wait = span(origin.held_seconds);
        let shed = many(shed, "request");
        format!(
            "{tokens} and {calls} wait for up to {wait} (Retry-After); {shed} not sent in the last minute."
        )
    };
    (tokens + calls + shed > 0).then(|| warning("The origin limits the rate", text()))
}

fn refused_tokens(Status { minute, .. }: &Status) -> Option<Note> {
    let refused = minute.tokens_refused;
    let (percentage, least) = REFUSED_TOKENS;
    let share = by_share(refused, minute.requests.sum(OutcomeLabel::ALL), percentage);
    let text = || {
        let requests = many(refused, "request");
        format!("{requests} in the last minute got 401 or 403: is a token revoked or mistyped?")
    };
    let applies = refused >= least && share == Severity::Bad;
    applies.then(|| warning("The origin refuses tokens", text()))
}

fn refused_reload(status: &Status) -> Option<Note> {
    let reload = status.last_reload.as_ref()?;
    let first = reload.faults.first()?;
    let text = format!(
        "{} ago, with {}; the old configuration stays in use. {first}",
        span(reload.seconds_ago),
        many(reload.faults.len() as u64, "fault"),
    );
    Some(warning("The last reload was refused", text))
}

fn pending_keys(status: &Status) -> Option<Note> {
    let reload = status.last_reload.as_ref()?;
    let text = || format!("{}.", reload.pending.join(", "));
    let applies = !reload.pending.is_empty();
    applies.then(|| note(Severity::Neutral, "Changed keys need a restart", text()))
}

fn is_near(used: u64, limit: u64) -> bool {
    used * 100 >= limit * NEAR
}

fn connections(status: &Status) -> Option<Note> {
    let (used, limit) = (status.connections, status.limits.connections);
    let text = || {
        let (used, limit) = (count(used), count(limit));
        format!("{used} of {limit} (server.max_connections); at the limit, new ones wait.")
    };
    is_near(used, limit).then(|| warning("Connections are near their limit", text()))
}

fn in_transit(Status { in_transit, .. }: &Status) -> Option<Note> {
    let (used, limit) = (
        in_transit.accepted_bytes + in_transit.other_bytes,
        in_transit.limit_bytes,
    );
    let text = || {
        let (used, limit) = (bytes(used), bytes(limit));
        format!(
            "{used} of {limit} (limits.in_transit); at the limit, the slowest clients are disconnected."
        )
    };
    is_near(used, limit).then(|| warning("Bytes in transit are near their limit", text()))
}

fn lost_lines(Status { minute, .. }: &Status) -> Option<Note> {
    let lost = minute.log_dropped;
    let text = || {
        let lines = many(lost, "line");
        format!("{lines} in the last minute: standard output is too slow, or closed.")
    };
    (lost > 0).then(|| warning("Log lines are lost", text()))
}

/// A full cache is normal, unless it is too small.
fn full(
    Status {
        minute,
        total,
        cache,
        ..
    }: &Status,
) -> Option<Note> {
    let (now, before) = (minute.requests.hit_ratio()?, total.requests.hit_ratio()?);
    let (drop, least) = HIT_RATIO_DROP;
    let is_full = cache.weight_bytes * 100 >= cache.capacity_bytes * 95;
    let has_dropped = now + drop < before && minute.requests.sum(OutcomeLabel::ALL) >= least;
    let text = || {
        let (now, before) = (percent(Some(now)), percent(Some(before)));
        format!("The hit ratio is {now}, and {before} since the start: raise cache.capacity.")
    };
    (is_full && has_dropped).then(|| warning("The cache is too small", text()))
}

fn clock_skew(Status { origin, .. }: &Status) -> Option<Note> {
    let skew = origin.clock_skew_seconds;
    let text = || {
        let (time, side) = (
            span(skew.unsigned_abs()),
            if skew > 0 { "ahead" } else { "behind" },
        );
        format!(
            "The origin's is {time} {side}: lifetimes by Expires and of pre-signed URLs are wrong."
        )
    };
    (skew.unsigned_abs() >= SKEW_SECONDS).then(|| warning("The clocks differ", text()))
}
