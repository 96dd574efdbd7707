//! Views: selects the requested part of a stored response, memoised or derived on demand.
//!
//! The pruning itself is in `crate::view`; here it is offloaded, memoised and counted. Large views
//! need one of the `places`.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_ENCODING, ETAG, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::sync::{OwnedMutexGuard, Semaphore};

use super::offload::cores;
use super::places::Places;
use super::request::ClientRequest;
use crate::cache::{Entry, Representation, Store, ViewSlot};
use crate::clock::Clock;
use crate::coding;
use crate::config;
use crate::in_transit::{Held, Ledger, StoredBody};
use crate::json::JsonFault;
use crate::policy::{self, ViewLimits, facts};
use crate::request::CacheKey;
use crate::telemetry::{Metrics, ViewResult};
use crate::view::{self, Pruned, View};

/// The longest wait for a place; the client then gets the whole response.
const MAX_WAIT: Duration = Duration::from_millis(250);

/// Set where a view was requested: what it removed, or why the whole is served.
const VIEW: HeaderName = HeaderName::from_static("stuut-cache-view");

/// The selected representation of a stored response (RFC 9110 §3.2).
#[derive(Clone, Debug)]
pub(super) struct Selected {
    pub(super) entry: Arc<Entry>,
    pub(super) representation: Arc<Representation>,
}

impl Selected {
    /// The entry in this view; `Err` with the entry if the view is not memoised. The caller counts it.
    pub(super) fn memoised(entry: Arc<Entry>, view: Option<&View>) -> Result<Self, Arc<Entry>> {
        let representation = match view {
            None => Arc::clone(&entry.whole),
            Some(view) => {
                let Some(representation) = entry.view(view) else {
                    return Err(entry);
                };
                representation
            }
        };
        Ok(Self {
            entry,
            representation,
        })
    }
}

/// Derives and compresses views.
#[derive(Clone, Debug)]
pub(super) struct Views {
    freshness: Arc<config::Freshness>,
    pub(super) store: Arc<Store>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
    pub(super) ledger: Arc<Ledger>,
    places: Places,
    /// A permit per compressing thread: one for every two cores.
    pub(super) compressing: Arc<Semaphore>,
}

impl Views {
    pub(super) fn new(
        freshness: &Arc<config::Freshness>,
        store: &Arc<Store>,
        metrics: &Arc<Metrics>,
        clock: &Clock,
        ledger: &Arc<Ledger>,
    ) -> Self {
        Self {
            freshness: Arc::clone(freshness),
            store: Arc::clone(store),
            metrics: Arc::clone(metrics),
            clock: clock.clone(),
            ledger: Arc::clone(ledger),
            places: Places::new(metrics.views_deriving.clone()),
            compressing: Arc::new(Semaphore::new(cores().div_ceil(2))),
        }
    }

    pub(super) fn reloaded(&self, freshness: &Arc<config::Freshness>) -> Self {
        Self {
            freshness: Arc::clone(freshness),
            ..self.clone()
        }
    }

    /// The entry in the requested view, derived if necessary: once for all concurrent requests.
    pub(super) async fn select(&self, request: &ClientRequest<'_>, entry: Arc<Entry>) -> Selected {
        let view = request.view();
        let (entry, view) = match (Selected::memoised(entry, view), view) {
            (Err(entry), Some(view)) => (entry, view),
            (Ok(selected), _) => {
                self.count_memoised(&selected, request);
                return selected;
            }
            (Err(_), None) => unreachable!("the whole is not derived"),
        };
        let _held = Held::new(request.account, request.size());
        let (representation, result) = Box::pin(self.derive(request, &entry, view)).await;
        self.count(result, &entry, &representation);
        Selected {
            entry,
            representation,
        }
    }

    async fn derive(
        &self,
        request: &ClientRequest<'_>,
        entry: &Arc<Entry>,
        view: &View,
    ) -> (Arc<Representation>, ViewResult) {
        // Counted from here, so that the requests for one view do not wait for a place in turn.
        let deadline = self.clock.deadline(MAX_WAIT);
        let slot = entry.slot(view);
        let turn = slot.turn().await;
        if let Some(memoised) = slot.get() {
            return (Arc::clone(memoised), ViewResult::Memoised);
        }
        let derivation = Derivation {
            views: self.clone(),
            key: request.call.key.clone(),
            entry: Arc::clone(entry),
            view: view.clone(),
            slot,
            _turn: turn,
        };
        let is_parsed = unsupported(&entry.whole).is_none();
        let size = if is_parsed { entry.whole.body.len() } else { 0 };
        let (token, clock) = (&request.call.token, &self.clock);
        let derive = move || derivation.run();
        let derived = self.places.run(size, token, clock, deadline, derive).await;
        derived.unwrap_or_else(|| (skipped(&entry.whole, "busy"), ViewResult::Busy))
    }

    /// Counts a memoised view that is served, if one was requested.
    pub(super) fn count_memoised(&self, selected: &Selected, request: &ClientRequest<'_>) {
        if request.call.view.is_some() {
            self.count(
                ViewResult::Memoised,
                &selected.entry,
                &selected.representation,
            );
        }
    }

    fn count(&self, result: ViewResult, entry: &Entry, representation: &Representation) {
        self.metrics.view.of(result).inc();
        let removed = entry.whole.body.len() - representation.body.len();
        self.metrics.view_removed_bytes.inc_by(removed as u64);
    }
}

/// The derivation of a view, by the request that has the turn.
struct Derivation {
    views: Views,
    key: CacheKey,
    entry: Arc<Entry>,
    view: View,
    slot: Arc<ViewSlot>,
    _turn: OwnedMutexGuard<()>,
}

impl Derivation {
    /// Derives the view, memoises it, and weighs the entry again.
    fn run(self) -> (Arc<Representation>, ViewResult) {
        let views = &self.views;
        let began = views.clock.mono();
        let (representation, result) = derived(&self.entry, &self.view, views);
        let took = views.clock.mono().saturating_sub(began);
        views.metrics.prune_duration.observe(took.as_secs_f64());
        self.entry.memoise(&self.slot, Arc::clone(&representation));
        views.store.reweigh(&self.key, &self.entry);
        (representation, result)
    }
}

fn derived(entry: &Entry, view: &View, views: &Views) -> (Arc<Representation>, ViewResult) {
    let whole = &entry.whole;
    if let Some((reason, result)) = unsupported(whole) {
        return (skipped(whole, reason), result);
    }
    let (pruned, unmatched) = view::prune_and_match(&whole.body, view);
    match pruned {
        Pruned::Whole(_) => {
            let report = described("whole", None, &unmatched);
            (whole_with(whole, report), ViewResult::Whole)
        }
        Pruned::Part(body) => {
            let removed = whole.body.len() - body.len();
            let limits = limits_of(entry, &body, &views.freshness);
            let body = StoredBody::new(body, &views.ledger);
            let mut part = part(whole, view, body, limits);
            let report = described("applied", Some(removed), &unmatched);
            part.headers.insert(VIEW, report);
            (Arc::new(part), ViewResult::Derived)
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

/// The limits of a part on its use.
fn limits_of(entry: &Entry, body: &[u8], settings: &config::Freshness) -> ViewLimits {
    let Entry {
        whole, freshness, ..
    } = entry;
    // Without a live call or a signed URL in the whole, no part has one.
    if whole.limits == ViewLimits::default() {
        return whole.limits;
    }
    let sent = freshness.body_sent;
    let facts = facts::read(body, &settings.live, sent).with_fields(&whole.headers, sent);
    let limits = ViewLimits::of(&facts, settings, freshness.is_unknown);
    // The expiry of a URL counts, even if it is in a member that the view removes.
    let removed = whole.limits.signed_until;
    let removed = removed.filter(|_| facts.url_without_expiry);
    ViewLimits {
        signed_until: [limits.signed_until, removed].into_iter().flatten().min(),
        ..limits
    }
}

/// Why no view applies to this response; `None` if views apply.
fn unsupported(whole: &Representation) -> Option<(&'static str, ViewResult)> {
    if whole.status != StatusCode::OK {
        Some(("status", ViewResult::NotACall))
    } else if whole.headers.contains_key(CONTENT_ENCODING) {
        Some(("encoded", ViewResult::NotACall))
    } else if coding::forbids_transforming(&whole.headers) {
        Some(("no-transform", ViewResult::NotACall))
    } else if !coding::is_json(&whole.headers) {
        Some(("not-declared-json", ViewResult::NotDeclared))
    } else {
        None
    }
}

/// The representation of a part: with its own entity tag, without the digests of the whole.
fn part(
    whole: &Representation,
    view: &View,
    body: StoredBody,
    limits: ViewLimits,
) -> Representation {
    let mut headers = whole.headers.clone();
    policy::strip_digests_of_whole(&mut headers);
    let tag = policy::view_tag(&headers, &view.hash_digits()[..policy::VIEW_HASH]);
    headers.insert(ETAG, tag.unwrap_or_else(|| etag_of(&body)));
    Representation::new(whole.status, headers, body, limits)
}

/// A strong entity tag: a hash of the bytes.
fn etag_of(body: &[u8]) -> HeaderValue {
    let digest = blake3::hash(body).to_hex();
    HeaderValue::try_from(format!("\"{}\"", &digest[..32]))
        .expect("hex digits in quotes are a field value")
}

/// The longest list of unmatched paths in `Stuut-Cache-View`; a longer one ends with `...`.
const MAX_UNMATCHED: usize = 256;

/// The value of `Stuut-Cache-View` for a view that was derived (RFC 9651): `applied; removed=27934`,
/// `whole; unmatched="Invoices"`.
fn described(result: &str, removed: Option<usize>, unmatched: &[String]) -> HeaderValue {
    let removed = removed.map(|removed| format!("removed={removed}"));
    let unmatched = (!unmatched.is_empty()).then(|| {
        let mut list = unmatched.join(",");
        if list.len() > MAX_UNMATCHED {
            let end = list[..list.floor_char_boundary(MAX_UNMATCHED)].rfind(',');
            list.truncate(end.unwrap_or(0));
            list.push_str("...");
        }
        let value = match sfv::StringRef::from_str(&list) {
            Ok(ascii) => sfv::RefBareItem::String(ascii),
            Err(_) => sfv::RefBareItem::DisplayString(&list),
        };
        let value = sfv::ItemSerializer::new().bare_item(value).finish();
        format!("unmatched={value}")
    });
    let parts = [Some(result.to_owned()), removed, unmatched];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    HeaderValue::try_from(parts.join("; ")).expect("a structured field is a field value")
}

/// Sets `Stuut-Cache-View` to the reason why the view was not applied.
pub(super) fn set_skipped(headers: &mut HeaderMap, reason: &str) {
    headers.insert(VIEW, skip(reason));
}

fn skip(reason: &str) -> HeaderValue {
    let text = format!("skipped; reason={reason}");
    HeaderValue::try_from(text).expect("our reasons are tokens")
}

/// The whole, with the reason why the view was not applied.
fn skipped(whole: &Representation, reason: &str) -> Arc<Representation> {
    whole_with(whole, skip(reason))
}

/// The whole, with what the view did.
fn whole_with(whole: &Representation, report: HeaderValue) -> Arc<Representation> {
    let mut headers = whole.headers.clone();
    headers.insert(VIEW, report);
    let (body, limits) = (whole.body.clone(), whole.limits);
    Arc::new(Representation::new(whole.status, headers, body, limits))
}
