//! Content codings: what is at hand is sent, what is not is made aside, for the next who asks.
//!
//! A hit never waits for a coding, and what only one hit has asked for is not put into one.

use std::sync::Arc;

use http::header::{CONTENT_ENCODING, ETAG};

use super::respond::{self, Ask};
use super::{Proxy, Shown};
use crate::cache::{Encodings, Entry, Representation};
use crate::coding::{self, Coding};
use crate::label::Label as _;
use crate::policy;
use crate::request::CacheKey;
use crate::telemetry::{SentCoding, seconds};

impl Proxy {
    /// The same in the coding that the client accepts, if it is at hand.
    pub(super) fn coded(self: &Arc<Self>, ask: &Ask<'_>, shown: Shown) -> Shown {
        let wanted = ask.call.coding.filter(|_| !forbids_it(ask));
        let sends_body = !ask.call.head_only && !respond::is_not_modified(ask, &shown);
        let part = wanted.and_then(|coding| {
            let part = &shown.part;
            let coded = part.encodings.get(coding);
            if coded.is_none() && sends_body && coding::is_worth(&part.headers, part.body.len()) {
                self.make(&ask.call.key, &shown, coding);
            }
            coded.map(|coded| (coding, Arc::clone(coded)))
        });
        let Some((coding, part)) = part else {
            self.metrics.content_coding.of(SentCoding::Identity).inc();
            return shown;
        };
        self.metrics.content_coding.of(coding.into()).inc();
        if sends_body {
            let saved = shown.part.body.len() - part.body.len();
            self.metrics.coding_saved_bytes.inc_by(saved as u64);
        }
        Shown { part, ..shown }
    }

    /// Makes the coding on a thread for blocking work, once. Where all places are taken it is left
    /// to a later hit: nobody waits for it.
    fn make(self: &Arc<Self>, key: &CacheKey, shown: &Shown, coding: Coding) {
        if !shown.part.encodings.claim(coding) {
            return;
        }
        let Ok(place) = Arc::clone(&self.codings).try_acquire_owned() else {
            shown.part.encodings.give_up(coding);
            self.metrics.coding_deferred.inc();
            return;
        };
        let proxy = Arc::clone(self);
        let (key, entry, part) = (
            key.clone(),
            Arc::clone(&shown.entry),
            Arc::clone(&shown.part),
        );
        tokio::task::spawn_blocking(move || {
            let _place = place;
            proxy.make_now(&key, &entry, &part, coding);
        });
    }

    fn make_now(&self, key: &CacheKey, entry: &Arc<Entry>, part: &Representation, coding: Coding) {
        let began = self.clock.now();
        let made = coding::encode(coding, &part.body);
        let took = self.clock.now().mono.saturating_sub(began.mono);
        self.metrics.coding_duration.observe(seconds(took));
        // What does not shrink keeps its claim: it is not tried again.
        if let Some(body) = made {
            let mut headers = part.headers.clone();
            policy::strip_digests(&mut headers);
            headers.insert(CONTENT_ENCODING, coding.to_header());
            if let Some(etag) = headers.get_mut(ETAG) {
                *etag = policy::coded_tag(etag, coding.as_str());
            }
            part.encodings.keep(
                coding,
                Representation {
                    status: part.status,
                    headers,
                    body,
                    cap: part.cap,
                    encodings: Encodings::default(),
                },
            );
            self.store.weigh(key, entry);
        }
    }
}

/// RFC 9110 §7.7: not a matter of caching, so heeded where clients' cache directives are not.
///
/// A departure: what the origin has put into gzip was undone already when it was stored.
fn forbids_it(ask: &Ask<'_>) -> bool {
    ask.call.directed && coding::forbids_transforming(&ask.head.headers)
}
