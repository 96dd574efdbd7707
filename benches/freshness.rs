//! Freshness lifetimes by the status of a call, compared with fixed lifetimes; and the cost of
//! `scope.recheck`.
//!
//! `cargo bench --bench freshness` simulates two hours of requests, applies the real policy, and
//! counts requests to the origin, outdated responses, and requests that wait for the origin. It does
//! not sleep, and is deterministic.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{AUTHORIZATION, ETAG};
use http::{HeaderMap, HeaderValue, Method, Uri};
use stuut_cache::clock::Clock;
use stuut_cache::config;
use stuut_cache::policy::{
    self, Exchange, Freshness, Moment, Recheck, RequestDirectives, RouteRule, Verdict, ViewLimits,
    facts,
};
use stuut_cache::view::{self, Pruned, View};
use stuut_simulator::{Options, Simulator, demo};

/// Simulated time and the interval of requests, in seconds.
const HORIZON: u64 = 2 * 60 * 60;
const EVERY: u64 = 3;

/// Number of calls, of every lifecycle.
const CALLS: u32 = 120;

/// The view of a service that tracks the status of calls: without the live parts.
const LIGHT: &str = "approver,classifications,invoices,partner,recording_url,workflow";

/// The callers of the second table: the number of calls that one token requests, and the seconds
/// after which it requests each again.
const CALLERS: [(usize, u64); 5] = [(120, 3), (120, 60), (120, 600), (1, 30), (1, 90)];

/// Values of `scope.recheck`, in seconds.
const RECHECKS: [Option<u64>; 3] = [None, Some(60), Some(300)];

/// The rule for the lifetime of a response.
#[derive(Clone, Copy)]
enum Rules {
    Fixed(u64),
    Ours,
}

#[derive(Default)]
struct Tally {
    responses: u64,
    outdated: u64,
    fetches: u64,
    waited: u64,
}

/// A stored call.
struct Stored {
    freshness: Freshness,
    limits: ViewLimits,
    etag: HeaderValue,
}

fn main() {
    let policies = [1, 5, 12, 15, 60, 300]
        .map(Rules::Fixed)
        .into_iter()
        .chain([Rules::Ours]);
    println!(
        "| lifetime | whole calls: origin requests | outdated | `strip={LIGHT}`: origin requests | outdated |"
    );
    println!("|---|---|---|---|---|");
    for rules in policies {
        let name = match rules {
            Rules::Fixed(seconds) => format!("{seconds} s for everything"),
            Rules::Ours => "by status".to_owned(),
        };
        let whole = simulate(rules, None);
        let light = View::parse(None, Some(LIGHT)).expect("a list of names");
        let light = simulate(rules, light.as_ref());
        println!("| {name} | {} | {} |", whole.row(), light.row());
    }
    println!(
        "\n| one token requests, without live parts | `scope.recheck` | origin requests | requests that wait |"
    );
    println!("|---|---|---|---|");
    for (calls, interval) in CALLERS {
        for seconds in RECHECKS {
            let every = seconds.map(Duration::from_secs);
            let tally = recheck(calls, interval, every);
            let every = seconds.map_or("off".to_owned(), |seconds| format!("{seconds} s"));
            let (fetches, waited) = (tally.share(tally.fetches), tally.share(tally.waited));
            println!(
                "| {calls} calls, each every {interval} s | {every} | {} ({fetches}) | {} ({waited}) |",
                tally.fetches, tally.waited
            );
        }
    }
}

impl Tally {
    fn row(&self) -> String {
        let (fetches, outdated) = (self.share(self.fetches), self.share(self.outdated));
        format!("{} ({fetches}) | {outdated}", self.fetches)
    }

    fn share(&self, part: u64) -> String {
        let per_hundred_thousand = part * 100_000 / self.responses;
        format!(
            "{}.{:03} %",
            per_hundred_thousand / 1_000,
            per_hundred_thousand % 1_000
        )
    }
}

/// The simulated API, and its clock.
fn simulator() -> (Simulator, Clock) {
    let clock = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
    let options = Options {
        calls: CALLS,
        signed_for: Duration::from_hours(30),
        ..Options::default()
    };
    let wall = clock.clone();
    (Simulator::new(options, move || wall.now().wall), clock)
}

/// The requests of one token for calls without live parts, under this `scope.recheck`.
fn recheck(calls: usize, interval: u64, every: Option<Duration>) -> Tally {
    let (simulator, clock) = simulator();
    let settings = config::Freshness::default();
    let light = View::parse(None, Some(LIGHT)).expect("a list of names");
    let (mut stored, mut tally) = (HashMap::new(), Tally::default());
    let mut last = Duration::ZERO;
    // In the order of the API: the latest calls, of which some have not ended, are the first.
    let calls: Vec<String> = simulator.call_ids("acme").take(calls).collect();
    for second in 0..HORIZON {
        clock.advance(Duration::from_secs(1));
        let now = clock.now();
        // Spread over the interval.
        let offset = |n: usize| n as u64 * interval / calls.len() as u64;
        let is_due = |n: usize| (second + offset(n)).is_multiple_of(interval);
        for (_, call) in calls.iter().enumerate().filter(|(n, _)| is_due(*n)) {
            let Some(current) = fetch(&simulator, call) else {
                continue;
            };
            tally.responses += 1;
            let verdict = stored
                .get(call)
                .map(|entry: &Stored| entry.verdict(Rules::Ours, now));
            let due = policy::recheck(last, every, settings.stale_if_error, now.mono);
            let is_overdue = matches!(due, Recheck::Overdue { .. });
            let is_fresh = matches!(verdict, Some(Verdict::Fresh { .. }));
            if is_fresh && due == Recheck::NotDue {
                continue;
            }
            let waits = is_overdue || !is_fresh && !matches!(verdict, Some(Verdict::Usable { .. }));
            tally.waited += u64::from(waits);
            tally.fetches += 1;
            last = now.mono;
            stored.insert(call, current.store(light.as_ref(), &settings, now));
        }
    }
    tally
}

fn simulate(rules: Rules, view: Option<&View>) -> Tally {
    let (simulator, clock) = simulator();
    let settings = config::Freshness::default();
    let mut stored: HashMap<String, Stored> = HashMap::new();
    let mut tally = Tally::default();
    let calls: Vec<String> = simulator.call_ids("acme").collect();
    for _ in 0..HORIZON / EVERY {
        clock.advance(Duration::from_secs(EVERY));
        let now = clock.now();
        for call in &calls {
            let Some(current) = fetch(&simulator, call) else {
                continue;
            };
            tally.responses += 1;
            let verdict = stored.get(call).map(|entry| entry.verdict(rules, now));
            match verdict {
                Some(Verdict::Fresh { .. }) => {}
                Some(Verdict::Usable { .. }) => {
                    tally.outdated += u64::from(stored[call].etag != current.etag);
                    tally.fetches += 1;
                    stored.insert(call.clone(), current.store(view, &settings, now));
                    continue;
                }
                _ => {
                    tally.fetches += 1;
                    stored.insert(call.clone(), current.store(view, &settings, now));
                }
            }
            tally.outdated += u64::from(stored[call].etag != current.etag);
        }
    }
    tally
}

/// The origin's current response for a call.
struct Current {
    etag: HeaderValue,
    fields: HeaderMap,
    body: Bytes,
}

fn fetch(simulator: &Simulator, call: &str) -> Option<Current> {
    let mut fields = HeaderMap::new();
    let credential = format!("Bearer {}", demo::TOKEN);
    fields.insert(
        AUTHORIZATION,
        HeaderValue::try_from(credential).expect("a token is a field value"),
    );
    let target: Uri = format!("/v1/calls/{call}")
        .parse()
        .expect("an id is a path segment");
    let (head, body) = simulator
        .answer(&Method::GET, &target, &fields, b"")
        .response
        .into_parts();
    let etag = head
        .headers
        .get(ETAG)
        .filter(|_| head.status == 200)?
        .clone();
    Some(Current {
        etag,
        fields: head.headers,
        body,
    })
}

impl Current {
    fn store(&self, view: Option<&View>, settings: &config::Freshness, now: Moment) -> Stored {
        let whole = facts::read(&self.body, &settings.live, now.wall);
        let viewed = match view.map(|view| view::prune(&self.body, view)) {
            Some(Pruned::Part(part)) => facts::read(&part, &settings.live, now.wall),
            _ => whole,
        };
        let exchange = Exchange::new(http::StatusCode::OK, &self.fields, now, now);
        let call = RouteRule {
            is_call: true,
            ..RouteRule::default()
        };
        let freshness = policy::assess(&exchange, &whole, settings, call);
        Stored {
            limits: ViewLimits::of(&viewed, settings, freshness.is_unknown),
            freshness,
            etag: self.etag.clone(),
        }
    }
}

impl Stored {
    fn verdict(&self, rules: Rules, now: Moment) -> Verdict {
        match rules {
            Rules::Ours => policy::verdict(
                &self.freshness,
                self.limits,
                &RequestDirectives::default(),
                now,
            ),
            Rules::Fixed(seconds) => {
                let age = now.mono.saturating_sub(self.freshness.received.mono);
                match Duration::from_secs(seconds)
                    .checked_sub(age)
                    .filter(|left| !left.is_zero())
                {
                    Some(ttl) => Verdict::Fresh { ttl },
                    None => Verdict::Stale {
                        on_error_until: None,
                    },
                }
            }
        }
    }
}
