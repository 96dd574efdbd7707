//! Freshness by the call's own status, compared with fixed lifetimes.
//!
//! `cargo bench --bench freshness` simulates two hours of calls, in which every call is read every
//! few seconds through the real policy, and counts requests to the origin and answers that were
//! out of date. Nothing sleeps; nothing is random.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{AUTHORIZATION, ETAG};
use http::{HeaderMap, HeaderValue, Method, Uri};
use stuut_cache::clock::Clock;
use stuut_cache::config;
use stuut_cache::policy::{
    self, Exchange, Freshness, Moment, RequestDirectives, Verdict, ViewLimits, facts,
};
use stuut_cache::view::{self, Pruned, View};
use stuut_simulator::{Options, Simulator, demo};

/// How long calls are watched, and how often each is read.
const HORIZON: u64 = 2 * 60 * 60;
const EVERY: u64 = 3;

/// Calls of one organisation: of every lifecycle.
const CALLS: u32 = 120;

/// The view of a service that follows calls: without the live parts.
const LIGHT: &str = "approver,classifications,invoices,partner,recording_url,workflow";

/// The rule for the lifetime of an answer.
#[derive(Clone, Copy)]
enum Rules {
    Fixed(u64),
    Ours,
}

#[derive(Default)]
struct Tally {
    answers: u64,
    outdated: u64,
    asked: u64,
}

/// A cache's entry for one call.
struct Held {
    freshness: Freshness,
    cap: ViewLimits,
    etag: HeaderValue,
}

fn main() {
    let policies = [1, 5, 12, 15, 60, 300]
        .map(Rules::Fixed)
        .into_iter()
        .chain([Rules::Ours]);
    println!(
        "| lifetime | whole calls: asked of the origin | out of date | `strip={LIGHT}`: asked | out of date |"
    );
    println!("|---|---|---|---|---|");
    for rules in policies {
        let name = match rules {
            Rules::Fixed(seconds) => format!("{seconds} s for everything"),
            Rules::Ours => "by status".to_owned(),
        };
        let whole = watch(rules, None);
        let light = View::parse(None, Some(LIGHT)).expect("a list of names");
        let light = watch(rules, light.as_ref());
        println!("| {name} | {} | {} |", whole.row(), light.row());
    }
}

impl Tally {
    fn row(&self) -> String {
        let share = |part: u64| {
            let per_hundred_thousand = part * 100_000 / self.answers;
            format!(
                "{}.{:03} %",
                per_hundred_thousand / 1_000,
                per_hundred_thousand % 1_000
            )
        };
        format!(
            "{} ({}) | {}",
            self.asked,
            share(self.asked),
            share(self.outdated)
        )
    }
}

fn watch(rules: Rules, view: Option<&View>) -> Tally {
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
    let mut held: HashMap<String, Held> = HashMap::new();
    let mut tally = Tally::default();
    let calls: Vec<String> = simulator.call_ids("acme").collect();
    for _ in 0..HORIZON / EVERY {
        clock.advance(Duration::from_secs(EVERY));
        let now = clock.now();
        for call in &calls {
            let Some(current) = ask(&simulator, call) else {
                continue;
            };
            tally.answers += 1;
            let verdict = held.get(call).map(|held| held.verdict(rules, now));
            match verdict {
                Some(Verdict::Fresh { .. }) => {}
                Some(Verdict::Usable { .. }) => {
                    tally.outdated += u64::from(held[call].etag != current.etag);
                    tally.asked += 1;
                    held.insert(call.clone(), current.hold(view, &settings, now));
                    continue;
                }
                _ => {
                    tally.asked += 1;
                    held.insert(call.clone(), current.hold(view, &settings, now));
                }
            }
            tally.outdated += u64::from(held[call].etag != current.etag);
        }
    }
    tally
}

/// The call as the origin has it now.
struct Current {
    etag: HeaderValue,
    fields: HeaderMap,
    body: Bytes,
}

fn ask(simulator: &Simulator, call: &str) -> Option<Current> {
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
    fn hold(&self, view: Option<&View>, settings: &config::Freshness, now: Moment) -> Held {
        let whole =
            facts::read(&self.body, &settings.live).expect("the simulator answers with JSON");
        let shown = match view.map(|view| view::prune(&self.body, view)) {
            Some(Pruned::Part(part)) => {
                facts::read(&part, &settings.live).expect("a part of JSON is JSON")
            }
            _ => whole,
        };
        let exchange = Exchange {
            status: http::StatusCode::OK,
            response: &self.fields,
            requested: now,
            received: now,
        };
        Held {
            freshness: policy::assess(&exchange, &whole, settings, None),
            cap: ViewLimits::of(&shown, settings),
            etag: self.etag.clone(),
        }
    }
}

impl Held {
    fn verdict(&self, rules: Rules, now: Moment) -> Verdict {
        match rules {
            Rules::Ours => policy::verdict(
                &self.freshness,
                self.cap,
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
