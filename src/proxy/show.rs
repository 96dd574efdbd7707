//! The part of a stored response that a client wants: remembered, or derived now.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::sync::Semaphore;

use super::Proxy;
use crate::cache::{Encodings, Entry, Representation};
use crate::coding;
use crate::config;
use crate::json::JsonFault;
use crate::policy::{self, ViewLimits, facts};
use crate::request::CacheKey;
use crate::telemetry::{ViewResult, seconds};
use crate::view::{self, Pruned, View};

/// A larger body is read and pruned on a thread for blocking work, so that other requests of this worker
/// do not wait: at 1 GB/s this many bytes take a quarter of a millisecond.
const OFF_PATH: usize = 256 << 10;

/// Tells that this is the whole, where a part was asked for.
const VIEW: HeaderName = HeaderName::from_static("stuut-cache-view");

impl Proxy {
    /// The representation that this view shows, if nothing needs to be derived for it.
    pub(super) fn remembered(
        &self,
        entry: &Entry,
        view: Option<&View>,
    ) -> Option<Arc<Representation>> {
        let Some(view) = view else {
            return Some(Arc::clone(&entry.whole));
        };
        let part = entry.view(view)?;
        self.metrics.view.of(ViewResult::Memoised).inc();
        self.count_removed(entry, &part);
        Some(part)
    }

    /// The representation that this view shows.
    pub(super) async fn show(
        &self,
        key: &CacheKey,
        entry: &Arc<Entry>,
        view: Option<&View>,
    ) -> Arc<Representation> {
        if let Some(part) = self.remembered(entry, view) {
            return part;
        }
        let view = view.expect("the whole needs no deriving");
        let place = entry.slot(view);
        let mut result = ViewResult::Memoised;
        let part = place
            .get_or_init(|| async {
                let began = self.clock.now();
                let (part, derived) = self.derive(entry, view).await;
                let took = self.clock.now().mono.saturating_sub(began.mono);
                self.metrics.prune_duration.observe(seconds(took));
                result = derived;
                part
            })
            .await;
        self.metrics.view.of(result).inc();
        self.count_removed(entry, part);
        if result != ViewResult::Memoised {
            self.store.weigh(key, entry);
        }
        Arc::clone(part)
    }

    async fn derive(&self, entry: &Arc<Entry>, view: &View) -> (Arc<Representation>, ViewResult) {
        let whole = &entry.whole;
        if let Some(reason) = not_a_call(whole) {
            return (skipped(whole, reason), ViewResult::NotACall);
        }
        if !is_json(&whole.headers) {
            return (skipped(whole, "not-declared-json"), ViewResult::NotDeclared);
        }
        let (whole, settings) = (Arc::clone(whole), Arc::clone(&self.freshness));
        let view = view.clone();
        let size = whole.body.len();
        off_path(&self.views, size, move || derived(&whole, &view, &settings)).await
    }

    fn count_removed(&self, entry: &Entry, part: &Representation) {
        let removed = entry.whole.body.len() - part.body.len();
        self.metrics.view_removed_bytes.inc_by(removed as u64);
    }
}

/// Does work on a body of this size: at once, or on a thread for blocking work, of which
/// there are no more at it than `places`.
pub(super) async fn off_path<T: Send + 'static>(
    places: &Arc<Semaphore>,
    size: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    if size <= OFF_PATH {
        return work();
    }
    let place = Arc::clone(places).acquire_owned().await;
    let working = tokio::task::spawn_blocking(move || {
        // Held by the work, not by the client who may hang up meanwhile.
        let _place = place;
        work()
    });
    match working.await {
        Ok(done) => done,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going away, and this request with it.
            Err(_) => std::future::pending().await,
        },
    }
}

fn derived(
    whole: &Arc<Representation>,
    view: &View,
    settings: &config::Freshness,
) -> (Arc<Representation>, ViewResult) {
    match view::prune(&whole.body, view) {
        Pruned::Whole(_) => (Arc::clone(whole), ViewResult::Whole),
        Pruned::Part(body) => {
            // What shows neither a live part nor a signed address has no part that does.
            let cap = if whole.cap == ViewLimits::default() {
                whole.cap
            } else {
                let facts = facts::read(&body, &settings.live).unwrap_or_default();
                let cap = ViewLimits::of(&facts, settings);
                // What stood beside the address is not shown, and counts.
                let beside = whole.cap.signed_until.filter(|_| facts.alone);
                ViewLimits {
                    signed_until: [cap.signed_until, beside].into_iter().flatten().min(),
                    ..cap
                }
            };
            (Arc::new(part(whole, body, cap)), ViewResult::Derived)
        }
        Pruned::Skipped(reason) => {
            let (name, result) = match reason {
                JsonFault::NotJson => ("not-json", ViewResult::NotJson),
                JsonFault::TooDeep => ("too-deep", ViewResult::TooDeep),
            };
            (skipped(whole, name), result)
        }
    }
}

/// Why this response is not one that views apply to.
fn not_a_call(whole: &Representation) -> Option<&'static str> {
    if whole.status != StatusCode::OK {
        return Some("status");
    }
    if whole.headers.contains_key(CONTENT_ENCODING) {
        return Some("encoded");
    }
    coding::forbids_transforming(&whole.headers).then_some("no-transform")
}

/// `application/json`, or a type with the `+json` suffix (RFC 6839).
fn is_json(headers: &HeaderMap) -> bool {
    let declared = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = declared
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}

/// A representation of its own: its own bytes, its own entity tag, no digest of the whole.
fn part(whole: &Representation, body: Bytes, cap: ViewLimits) -> Representation {
    let mut headers = whole.headers.clone();
    policy::strip_digests(&mut headers);
    headers.insert(ETAG, etag_of(&body));
    Representation {
        status: whole.status,
        headers,
        body,
        cap,
        encodings: Encodings::default(),
    }
}

/// A strong entity tag from the bytes themselves.
fn etag_of(body: &[u8]) -> HeaderValue {
    let digest = blake3::hash(body).to_hex();
    HeaderValue::try_from(format!("\"{}\"", &digest[..32]))
        .expect("hex digits in quotes are a field value")
}

/// Says why a view was not applied.
pub(super) fn tell_skipped(headers: &mut HeaderMap, reason: &str) {
    let text = format!("skipped; reason={reason}");
    headers.insert(
        VIEW,
        HeaderValue::try_from(text).expect("our reasons are tokens"),
    );
}

/// The whole, and why it is not a part.
fn skipped(whole: &Representation, reason: &str) -> Arc<Representation> {
    let mut headers = whole.headers.clone();
    tell_skipped(&mut headers, reason);
    Arc::new(Representation {
        status: whole.status,
        headers,
        body: whole.body.clone(),
        cap: whole.cap,
        encodings: Encodings::default(),
    })
}
