//! Freshness lifetimes by the status of a call, compared with fixed lifetimes.
//!
//! `cargo bench --bench freshness` simulates two hours in which every call is requested every few
//! seconds, applies the real policy, and counts requests to the origin and outdated responses. It
//! does not sleep, and is deterministic.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{AUTHORIZATION, ETAG};
use http::{HeaderMap, HeaderValue, Method, Uri};
use stuut_cache::clock::Clock;
use stuut_cache::config;
use stuut_cache::policy::{
    self, Exchange, Freshness, Moment, RequestDirectives, RouteRule, Verdict, ViewLimits, facts,
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
}

impl Tally {
    fn row(&self) -> String {
        let share = |part: u64| {
            let per_hundred_thousand = part * 100_000 / self.responses;
            format!(
                "{}.{:03} %",
                per_hundred_thousand / 1_000,
                per_hundred_thousand % 1_000
            )
        };
        format!(
            "{} ({}) | {}",
            self.fetches,
            share(self.fetches),
            share(self.outdated)
        )
    }
}

fn simulate(rules: Rules, view: Option<&View>) -> Tally {
    let clock = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
    let options = Options {
        calls: CALLS,
        signed_for: Duration::from_hours(30),
        ..Options::default()
    };
    let simulator = Simulator::new(options, {
        let clock = clock.clone();
        move || clock.now().wall
    });
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
        let exchange = Exchange {
            status: http::StatusCode::OK,
            response: &self.fields,
            requested: now,
            received: now,
        };
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
