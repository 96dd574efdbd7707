//! Compression (content coding): a hit is served compressed if the compressed form is memoised; if
//! not, it is compressed in the background, from the second request on. Encoders: `crate::coding`.
//!
//! A hit never waits for compression.

use std::sync::Arc;

use http::header::{CONTENT_ENCODING, ETAG};

use super::request::ClientRequest;
use super::respond;
use super::view::{Selected, Views};
use crate::cache::{Entry, Representation};
use crate::coding::{self, Coding};
use crate::in_transit::StoredBody;
use crate::label::Label as _;
use crate::policy;
use crate::request::CacheKey;
use crate::telemetry::SentCoding;

impl Views {
    /// `selected` in the content coding that the client accepts, if memoised; else unchanged.
    pub(super) fn compressed(&self, request: &ClientRequest<'_>, selected: Selected) -> Selected {
        let wanted = request
            .call
            .coding
            .filter(|_| !forbids_transforming(request));
        let sends_body = !request.call.head_only && !respond::is_not_modified(request, &selected);
        let identity = &selected.representation;
        let encoded = wanted.and_then(|coding| {
            let encoded = identity.encodings.get(coding);
            if encoded.is_none()
                && sends_body
                && coding::is_worth(&identity.headers, identity.body.len())
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
            let saved = identity.body.len() - encoded.body.len();
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
        let (entry, identity) = (
            Arc::clone(&selected.entry),
            Arc::clone(&selected.representation),
        );
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            views.compress_now(&key, &entry, &identity, coding);
        });
    }

    fn compress_now(
        &self,
        key: &CacheKey,
        entry: &Arc<Entry>,
        identity: &Representation,
        coding: Coding,
    ) {
        let began = self.clock.mono();
        let encoded = coding::encode(coding, &identity.body);
        let took = self.clock.mono().saturating_sub(began);
        self.metrics.coding_duration.observe(took.as_secs_f64());
        // A body that does not shrink keeps its claim, so that it is not compressed again.
        let Some(body) = encoded else { return };
        let mut headers = identity.headers.clone();
        policy::strip_digests(&mut headers);
        headers.insert(CONTENT_ENCODING, coding.to_header());
        if let Some(etag) = headers.get_mut(ETAG) {
            *etag = policy::coded_tag(etag, coding.as_str());
        }
        let body = StoredBody::new(body, &self.ledger);
        let encoded = Representation::new(identity.status, headers, body, identity.limits);
        identity.encodings.set(coding, encoded);
        self.store.reweigh(key, entry);
    }
}

/// Whether the request has `no-transform` (RFC 9110 §7.7). It does not concern caching, so it is
/// obeyed even if clients' cache directives are ignored.
///
/// A departure from the RFC: the origin's gzip was decoded when the response was stored.
fn forbids_transforming(request: &ClientRequest<'_>) -> bool {
    request.call.has_directives && coding::forbids_transforming(&request.head.headers)
}
