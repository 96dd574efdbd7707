//! Compression (content coding): a hit is served compressed if that is memoised; if not, it is
//! compressed in the background, from the second request on. The encoders are in `crate::coding`.
//!
//! A hit never waits for compression.

use std::sync::Arc;

use http::header::{CONTENT_ENCODING, ETAG};

use super::request::ClientRequest;
use super::respond;
use super::view::{Selected, Views};
use crate::cache::{Encodings, Entry, Representation};
use crate::coding::{self, Coding};
use crate::label::Label as _;
use crate::policy;
use crate::request::CacheKey;
use crate::telemetry::SentCoding;

impl Views {
    /// The representation in the content coding that the client accepts, if it is memoised.
    pub(super) fn compressed(&self, request: &ClientRequest<'_>, selected: Selected) -> Selected {
        let wanted = request
            .call
            .coding
            .filter(|_| !forbids_transforming(request));
        let sends_body = !request.call.head_only && !respond::is_not_modified(request, &selected);
        let whole = &selected.representation;
        let encoded = wanted.and_then(|coding| {
            let encoded = whole.encodings.get(coding);
            if encoded.is_none() && sends_body && coding::is_worth(&whole.headers, whole.body.len())
            {
                self.compress(&request.call.key, &selected, coding);
            }
            encoded.map(|encoded| (coding, Arc::clone(encoded)))
        });
        let Some((coding, encoded)) = encoded else {
            self.metrics.content_coding.of(SentCoding::Identity).inc();
            return selected;
        };
        self.metrics.content_coding.of(coding.into()).inc();
        if sends_body {
            let saved = whole.body.len() - encoded.body.len();
            self.metrics.coding_saved_bytes.inc_by(saved as u64);
        }
        Selected {
            representation: encoded,
            ..selected
        }
    }

    /// Compresses once, on a blocking thread. Without a free permit, a later hit tries again.
    fn compress(&self, key: &CacheKey, selected: &Selected, coding: Coding) {
        let encodings = &selected.representation.encodings;
        if !encodings.claim(coding) {
            return;
        }
        let Ok(permit) = Arc::clone(&self.compressing).try_acquire_owned() else {
            encodings.release(coding);
            self.metrics.coding_deferred.inc();
            return;
        };
        let (views, key) = (self.clone(), key.clone());
        let (entry, whole) = (
            Arc::clone(&selected.entry),
            Arc::clone(&selected.representation),
        );
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            views.compress_now(&key, &entry, &whole, coding);
        });
    }

    fn compress_now(
        &self,
        key: &CacheKey,
        entry: &Arc<Entry>,
        whole: &Representation,
        coding: Coding,
    ) {
        let began = self.clock.mono();
        let encoded = coding::encode(coding, &whole.body);
        let took = self.clock.mono().saturating_sub(began);
        self.metrics.coding_duration.observe(took.as_secs_f64());
        // The claim of a body that does not shrink is not released: it is not tried again.
        let Some(body) = encoded else { return };
        let mut headers = whole.headers.clone();
        policy::strip_digests(&mut headers);
        headers.insert(CONTENT_ENCODING, coding.to_header());
        if let Some(etag) = headers.get_mut(ETAG) {
            *etag = policy::coded_tag(etag, coding.as_str());
        }
        let encoded = Representation {
            status: whole.status,
            headers,
            body,
            cap: whole.cap,
            encodings: Encodings::default(),
        };
        whole.encodings.set(coding, encoded);
        self.store.weigh(key, entry);
    }
}

/// Whether the request has `no-transform` (RFC 9110 §7.7): not about caching, so it is obeyed even if
/// the cache directives of clients are not.
///
/// A departure: the origin's gzip was decoded when the response was stored.
fn forbids_transforming(request: &ClientRequest<'_>) -> bool {
    request.call.has_directives && coding::forbids_transforming(&request.head.headers)
}
