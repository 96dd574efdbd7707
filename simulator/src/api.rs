//! The endpoints: answers a request at a given time, without a socket.

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, DATE, ETAG, IF_NONE_MATCH,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use jiff::Timestamp;

use crate::answer::{self, Answer, Refusal};
use crate::call_id::{CallId, Kind};
use crate::fault::Fault;
use crate::lifecycle::Status;
use crate::lookup::etag;
use crate::time::{self, whole_second};
use crate::{Organisation, Outcome, Simulator, edit};

/// Maximum length of a request body; a longer one gets 413.
pub(crate) const BODY_LIMIT: usize = 64 << 10;

type Reply = Result<Response<Bytes>, Refusal>;

/// The resource identified by a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route<'a> {
    Calls,
    Call(&'a str),
    Approve(&'a str),
    /// The token of the request.
    Token,
}

impl Simulator {
    /// Answers one request at the current time: the whole API without a socket.
    ///
    /// `target` is the request's path and query; only a PATCH reads `body`. Returns the delay of the
    /// answer without waiting for it.
    #[must_use]
    pub fn answer(
        &self,
        method: &Method,
        target: &Uri,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Answer {
        let nth = self.next_request();
        let now = time::moment((self.0.clock)());
        let fault = self.fault(nth);

        let reply = self.reply(method, target, headers, body, now, fault);
        let retry_after = self.0.options.retry_after;
        let mut response = reply.unwrap_or_else(|refusal| refusal.respond(retry_after));

        // From the simulator's clock: a cache with the same clock sees no skew.
        response.headers_mut().insert(DATE, time::date_field(now));

        let kind = named_kind(target);
        let torn = fault == Some(Fault::Torn) || kind == Some(Kind::FaultReset);
        let whole = response.status() == StatusCode::OK && *method == Method::GET;
        let outcome = if torn && whole {
            Outcome::Torn
        } else {
            Outcome::Answered(response.status())
        };
        if *method == Method::HEAD {
            *response.body_mut() = Bytes::new();
        }
        self.count(method, target.path(), outcome);
        Answer {
            response,
            delay: self.delay(nth, kind),
            outcome,
        }
    }

    fn reply(
        &self,
        method: &Method,
        target: &Uri,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
        fault: Option<Fault>,
    ) -> Reply {
        let organisation = self.organisation(headers).ok_or(Refusal::Token)?;
        let route = Route::of(target.path()).ok_or(Refusal::NotFound)?;
        match fault {
            Some(Fault::Broken) => return Err(Refusal::Broken),
            Some(Fault::Throttled) => return Err(Refusal::Throttled),
            Some(Fault::Unavailable) => return Err(Refusal::Unavailable),
            Some(Fault::Torn) | None => {}
        }
        match (route, method.as_str()) {
            (Route::Calls, "GET" | "HEAD") => {
                let page = self.page(organisation, target.query().unwrap_or_default(), now)?;
                let body = Bytes::from(page.to_string());
                let etag = etag(&body);
                Ok(self.representation(headers, tagged(body, etag)))
            }
            (Route::Call(id), "GET" | "HEAD") => {
                if let Some(fixture) = self.0.options.fixtures.of(organisation, id) {
                    return Ok(self.representation(headers, fixture));
                }
                let call = self.find(organisation, id, now)?;
                match call.id.kind {
                    Kind::Fault500 => return Err(Refusal::Broken),
                    Kind::Fault429 => return Err(Refusal::Throttled),
                    _ => {}
                }
                let rendered = self.render(&call, now);
                Ok(self.representation(headers, tagged(rendered.body, rendered.etag)))
            }
            (Route::Call(id), "PATCH") => self.patch(organisation, id, body, now),
            (Route::Approve(id), "POST") => self.approve(organisation, id, now),
            (Route::Token, "DELETE") => {
                self.revoke(token(headers).ok_or(Refusal::Token)?);
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = StatusCode::NO_CONTENT;
                Ok(response)
            }
            (route, _) => Err(Refusal::Method {
                allowed: route.allowed(),
            }),
        }
    }

    /// The organisation of the request's token.
    fn organisation(&self, headers: &HeaderMap) -> Option<&Organisation> {
        let token = token(headers).filter(|token| !self.is_revoked(token))?;
        let mut organisations = self.0.options.organisations.iter();
        organisations.find(|organisation| organisation.admits(token))
    }

    /// This response, or 304 if `If-None-Match` has the tag of a 200; as the options say.
    fn representation(
        &self,
        headers: &HeaderMap,
        mut response: Response<Bytes>,
    ) -> Response<Bytes> {
        let options = &self.0.options;
        if !options.etag {
            response.headers_mut().remove(ETAG);
        }
        let etag = response.headers().get(ETAG);
        let is_match = etag.is_some_and(|etag| matches(headers, etag));
        if is_match && response.status() == StatusCode::OK {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Bytes::new();
            response.headers_mut().remove(CONTENT_LENGTH);
            response.headers_mut().remove(CONTENT_TYPE);
        }
        if let Some(cache_control) = &options.cache_control {
            let field = response.headers_mut().entry(CACHE_CONTROL);
            field.or_insert_with(|| cache_control.clone());
        }
        response
    }

    fn patch(&self, organisation: &Organisation, id: &str, body: &[u8], now: Timestamp) -> Reply {
        let call = self.find(organisation, id, now)?;
        if body.len() > BODY_LIMIT {
            return Err(Refusal::TooLarge);
        }
        let edits = edit::parse(body).map_err(Refusal::Malformed)?;
        let last = call.phase.modified.unwrap_or(call.phase.created);
        self.state().change(&call.id).edit(edits, last, now);
        self.after_change(call.id, now)
    }

    fn approve(&self, organisation: &Organisation, id: &str, now: Timestamp) -> Reply {
        let call = self.find(organisation, id, now)?;
        if call.phase.status != Status::PendingApproval {
            return Err(Refusal::NotPending);
        }
        let mut state = self.state();
        // Of two concurrent approvals, the first one counts.
        let events = &mut state.change(&call.id).events;
        events.approved.get_or_insert(whole_second(now));
        drop(state);
        self.after_change(call.id, now)
    }

    /// The call after a change; a response to an unsafe method has no validators.
    fn after_change(&self, id: CallId, now: Timestamp) -> Reply {
        let call = self.current(id, now).ok_or(Refusal::NotFound)?;
        Ok(answer::whole(StatusCode::OK, self.render(&call, now).body))
    }
}

/// A 200 with this body and this entity tag.
fn tagged(body: Bytes, etag: HeaderValue) -> Response<Bytes> {
    let mut response = answer::whole(StatusCode::OK, body);
    response.headers_mut().insert(ETAG, etag);
    response
}

/// The request's token, if it has exactly one.
fn token(headers: &HeaderMap) -> Option<&str> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let (field, None) = (fields.next()?, fields.next()) else {
        return None;
    };
    let (scheme, token) = field.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

// === impl Route ===

impl<'a> Route<'a> {
    fn of(path: &'a str) -> Option<Self> {
        if path == "/v1/calls" {
            return Some(Self::Calls);
        }
        if path == "/v1/token" {
            return Some(Self::Token);
        }
        let rest = path.strip_prefix("/v1/calls/")?;
        match rest.split_once('/') {
            None if !rest.is_empty() => Some(Self::Call(rest)),
            Some((id, "approve")) if !id.is_empty() => Some(Self::Approve(id)),
            _ => None,
        }
    }

    fn allowed(self) -> &'static str {
        match self {
            Self::Calls => "GET, HEAD",
            Self::Call(_) => "GET, HEAD, PATCH",
            Self::Approve(_) => "POST",
            Self::Token => "DELETE",
        }
    }
}

/// The kind of the requested call.
fn named_kind(target: &Uri) -> Option<Kind> {
    let Some(Route::Call(id)) = Route::of(target.path()) else {
        return None;
    };
    CallId::parse(id).map(|id| id.kind)
}

/// Whether `If-None-Match` names `etag`, by the weak comparison (RFC 9110 §13.1.2).
fn matches(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let own = etag.as_bytes();
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|field| field.to_str().ok())
        // Our own tags have no comma.
        .flat_map(|field| field.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == own)
}

#[cfg(test)]
mod tests {
    use http::header::RETRY_AFTER;

    use super::*;
    use crate::{Options, demo};

    fn simulator(options: Options) -> Simulator {
        let began = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_790_000_000);
        Simulator::new(options, move || began)
    }

    fn send(simulator: &Simulator, method: &Method, target: &str, token: &str) -> Answer {
        let target = target.parse().expect("a test's target is well formed");
        let mut headers = HeaderMap::new();
        let credential = HeaderValue::try_from(format!("Bearer {token}"));
        headers.insert(AUTHORIZATION, credential.expect("a test's token is ASCII"));
        simulator.answer(method, &target, &headers, b"")
    }

    #[test]
    fn a_foreign_call_and_an_unknown_call_get_the_same_404() {
        let simulator = simulator(Options::default());
        let get = |id: &str| {
            let target = format!("/v1/calls/{id}");
            send(&simulator, &Method::GET, &target, demo::FOREIGN_TOKEN).response
        };
        let foreign = get(demo::CALL);
        let unknown = get("call_globex_9999");
        assert_eq!(foreign.status(), 404);
        assert_eq!(foreign.headers(), unknown.headers());
        assert_eq!(foreign.body(), unknown.body());
    }

    #[test]
    fn an_unsupported_method_gets_405_with_allow() {
        let simulator = simulator(Options::default());
        for (target, allowed) in [
            ("/v1/calls", "GET, HEAD"),
            ("/v1/calls/call_acme_0001", "GET, HEAD, PATCH"),
            ("/v1/calls/call_acme_0001/approve", "POST"),
        ] {
            let answer = send(&simulator, &Method::DELETE, target, demo::TOKEN);
            assert_eq!(answer.response.status(), 405);
            assert_eq!(answer.response.headers()["allow"], allowed);
        }
        let unknown = send(&simulator, &Method::GET, "/v1/calls/", demo::TOKEN);
        assert_eq!(unknown.response.status(), 404);
    }

    #[test]
    fn a_revoked_token_is_refused_until_it_is_restored() {
        let simulator = simulator(Options::default());
        let status = || {
            send(&simulator, &Method::GET, "/v1/calls", demo::TOKEN)
                .response
                .status()
        };
        assert_eq!(status(), 200);
        simulator.revoke(demo::TOKEN);
        assert_eq!(status(), 401);
        simulator.restore(demo::TOKEN);
        assert_eq!(status(), 200);
    }

    #[test]
    fn a_temporary_token_is_revoked_alone() {
        let simulator = simulator(Options::default());
        let temporary = format!("{}~1", demo::TOKEN);
        let send = |method, target, token: &str| {
            let answer = send(&simulator, &method, target, token);
            answer.response.status().as_u16()
        };
        assert_eq!(send(Method::GET, "/v1/calls", &temporary), 200);
        assert_eq!(send(Method::DELETE, "/v1/token", &temporary), 204);
        assert_eq!(send(Method::GET, "/v1/calls", &temporary), 401);
        assert_eq!(send(Method::DELETE, "/v1/token", &temporary), 401);
        assert_eq!(send(Method::GET, "/v1/calls", demo::TOKEN), 200);
        assert_eq!(send(Method::GET, "/v1/calls", "unknown~1"), 401);
    }

    #[test]
    fn cache_control_and_etag_are_as_the_options_say() {
        let target = format!("/v1/calls/{}", demo::CALL);
        let plain = send(
            &simulator(Options::default()),
            &Method::GET,
            &target,
            demo::TOKEN,
        );
        assert!(!plain.response.headers().contains_key(CACHE_CONTROL));
        let options = Options {
            cache_control: Some(HeaderValue::from_static("max-age=10")),
            etag: false,
            ..Options::default()
        };
        let changed = send(&simulator(options), &Method::GET, &target, demo::TOKEN);
        assert_eq!(changed.response.headers()[CACHE_CONTROL], "max-age=10");
        assert!(!changed.response.headers().contains_key(ETAG));
    }

    #[test]
    fn faults_occur_at_their_rate_and_are_deterministic() {
        let statuses = |rate: f64| -> Vec<Outcome> {
            let simulator = simulator(Options {
                fault_rate: rate,
                ..Options::default()
            });
            (0..400)
                .map(|_| send(&simulator, &Method::GET, "/v1/calls", demo::TOKEN).outcome)
                .collect()
        };
        let faults = |outcomes: &[Outcome]| {
            let good = Outcome::Answered(StatusCode::OK);
            outcomes.iter().filter(|outcome| **outcome != good).count()
        };
        let quarter = statuses(0.25);
        assert!(
            (70..=130).contains(&faults(&quarter)),
            "{}",
            faults(&quarter)
        );
        assert!(quarter.contains(&Outcome::Torn));
        assert_eq!(quarter, statuses(0.25));
        assert_eq!(faults(&statuses(0.0)), 0);
        assert_eq!(faults(&statuses(1.0)), 400);
    }

    #[test]
    fn the_delay_is_the_sum_of_latency_jitter_and_slow() {
        use std::time::Duration;
        let simulator = simulator(Options {
            latency: Duration::from_millis(80),
            jitter: Duration::from_millis(20),
            slow: Duration::from_secs(3),
            ..Options::default()
        });
        let plain = send(&simulator, &Method::GET, "/v1/calls", demo::TOKEN).delay;
        assert!((80..=100).contains(&plain.as_millis()), "{plain:?}");
        let target = format!("/v1/calls/{}", demo::SLOW_CALL);
        let slow = send(&simulator, &Method::GET, &target, demo::TOKEN).delay;
        assert!((3_080..=3_100).contains(&slow.as_millis()), "{slow:?}");
    }

    #[test]
    fn a_429_has_retry_after() {
        let answer = send(
            &simulator(Options::default()),
            &Method::GET,
            "/v1/calls/call_fault_429_acme_0001",
            demo::TOKEN,
        );
        assert_eq!(answer.response.status(), 429);
        assert_eq!(answer.response.headers()[RETRY_AFTER], "1");
    }
}
