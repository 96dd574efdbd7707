//! Views: selects the requested part of a stored response, memoised or derived on demand.
//!
//! The pruning itself is in `crate::view`; here it is offloaded, memoised and counted.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::sync::Semaphore;

use super::offload::{self, Offload};
use crate::cache::{Encodings, Entry, Representation, Store};
use crate::clock::Clock;
use crate::coding;
use crate::config;
use crate::json::JsonFault;
use crate::policy::{self, ViewLimits, facts};
use crate::request::CacheKey;
use crate::telemetry::{Metrics, ViewResult};
use crate::view::{self, Pruned, View};

/// Set where a view was requested but the whole is served, with the reason.
const VIEW: HeaderName = HeaderName::from_static("stuut-cache-view");

/// The selected representation of a stored response (RFC 9110 §3.2).
#[derive(Debug)]
pub(super) struct Selected {
    pub(super) entry: Arc<Entry>,
    pub(super) representation: Arc<Representation>,
}

/// Derives and compresses views.
#[derive(Clone, Debug)]
pub(super) struct Views {
    freshness: Arc<config::Freshness>,
    pub(super) store: Arc<Store>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
    offload: Offload,
    /// A permit per compressing thread: one for every two cores.
    pub(super) compressing: Arc<Semaphore>,
}

impl Views {
    pub(super) fn new(
        freshness: &Arc<config::Freshness>,
        store: &Arc<Store>,
        metrics: &Arc<Metrics>,
        clock: &Clock,
    ) -> Self {
        Self {
            freshness: Arc::clone(freshness),
            store: Arc::clone(store),
            metrics: Arc::clone(metrics),
            clock: clock.clone(),
            offload: Offload::default(),
            compressing: Arc::new(Semaphore::new(offload::cores().div_ceil(2))),
        }
    }

    pub(super) fn reloaded(&self, freshness: &Arc<config::Freshness>) -> Self {
        Self {
            freshness: Arc::clone(freshness),
            ..self.clone()
        }
    }

    /// The entry in this view; `Err` with the entry if the view is not memoised.
    pub(super) fn memoised(
        &self,
        entry: Arc<Entry>,
        view: Option<&View>,
    ) -> Result<Selected, Arc<Entry>> {
        let representation = match view {
            None => Arc::clone(&entry.whole),
            Some(view) => {
                let Some(representation) = entry.view(view) else {
                    return Err(entry);
                };
                self.count(ViewResult::Memoised, &entry, &representation);
                representation
            }
        };
        Ok(Selected {
            entry,
            representation,
        })
    }

    /// The entry in this view, derived if necessary: once for all concurrent requests.
    pub(super) async fn select(
        &self,
        key: &CacheKey,
        entry: Arc<Entry>,
        view: Option<&View>,
    ) -> Selected {
        let (entry, view) = match (self.memoised(entry, view), view) {
            (Err(entry), Some(view)) => (entry, view),
            (Ok(selected), _) => return selected,
            (Err(_), None) => unreachable!("the whole is not derived"),
        };
        let slot = entry.slot(view);
        let mut result = ViewResult::Memoised;
        let representation = slot.get_or_init(|| async {
            let began = self.clock.mono();
            let (representation, derived) = self.derive(&entry, view).await;
            let took = self.clock.mono().saturating_sub(began);
            self.metrics.prune_duration.observe(took.as_secs_f64());
            result = derived;
            representation
        });
        let representation = Arc::clone(representation.await);
        self.count(result, &entry, &representation);
        if result != ViewResult::Memoised {
            self.store.reweigh(key, &entry);
        }
        Selected {
            entry,
            representation,
        }
    }

    async fn derive(&self, entry: &Arc<Entry>, view: &View) -> (Arc<Representation>, ViewResult) {
        let whole = &entry.whole;
        if let Some(reason) = unsupported(whole) {
            return (skipped(whole, reason), ViewResult::NotACall);
        }
        if !is_json(&whole.headers) {
            return (skipped(whole, "not-declared-json"), ViewResult::NotDeclared);
        }
        let (whole, settings) = (Arc::clone(whole), Arc::clone(&self.freshness));
        let view = view.clone();
        let size = whole.body.len();
        let derive = move || derived(&whole, &view, &settings);
        self.offload.run(size, derive).await
    }

    fn count(&self, result: ViewResult, entry: &Entry, representation: &Representation) {
        self.metrics.view.of(result).inc();
        let removed = entry.whole.body.len() - representation.body.len();
        self.metrics.view_removed_bytes.inc_by(removed as u64);
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
            // Without a live call or a signed URL in the whole, no part has one.
            let limits = if whole.limits == ViewLimits::default() {
                whole.limits
            } else {
                let facts = facts::read(&body, &settings.live).unwrap_or_default();
                let limits = ViewLimits::of(&facts, settings);
                // The expiry of a URL counts, even if it is in a member that the view removes.
                let removed = whole.limits.signed_until;
                let removed = removed.filter(|_| facts.url_without_expiry);
                ViewLimits {
                    signed_until: [limits.signed_until, removed].into_iter().flatten().min(),
                    ..limits
                }
            };
            (Arc::new(part(whole, body, limits)), ViewResult::Derived)
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

/// Why no view applies to this response; `None` if views apply.
fn unsupported(whole: &Representation) -> Option<&'static str> {
    if whole.status != StatusCode::OK {
        return Some("status");
    }
    if whole.headers.contains_key(CONTENT_ENCODING) {
        return Some("encoded");
    }
    coding::forbids_transforming(&whole.headers).then_some("no-transform")
}

/// Whether the body is declared as `application/json` or a `+json` type (RFC 6839).
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

/// The representation of a part: with its own entity tag, without the digests of the whole.
fn part(whole: &Representation, body: Bytes, limits: ViewLimits) -> Representation {
    let mut headers = whole.headers.clone();
    policy::strip_digests(&mut headers);
    headers.insert(ETAG, etag_of(&body));
    Representation {
        status: whole.status,
        headers,
        body,
        limits,
        encodings: Encodings::default(),
    }
}

/// A strong entity tag: a hash of the bytes.
fn etag_of(body: &[u8]) -> HeaderValue {
    let digest = blake3::hash(body).to_hex();
    HeaderValue::try_from(format!("\"{}\"", &digest[..32]))
        .expect("hex digits in quotes are a field value")
}

/// Sets `Stuut-Cache-View` to the reason why the view was not applied.
pub(super) fn set_skipped(headers: &mut HeaderMap, reason: &str) {
    let text = format!("skipped; reason={reason}");
    headers.insert(
        VIEW,
        HeaderValue::try_from(text).expect("our reasons are tokens"),
    );
}

/// The whole, with the reason why the view was not applied.
fn skipped(whole: &Representation, reason: &str) -> Arc<Representation> {
    let mut headers = whole.headers.clone();
    set_skipped(&mut headers, reason);
    Arc::new(Representation {
        status: whole.status,
        headers,
        body: whole.body.clone(),
        limits: whole.limits,
        encodings: Encodings::default(),
    })
}
