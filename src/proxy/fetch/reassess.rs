//! Stored responses after a reload: assessed again by the new settings when they are looked up.

use std::sync::Arc;

use bytes::Bytes;

use super::Fetcher;
use crate::cache::{Entry, Representation};
use crate::policy::{self, Exchange, RequestDirectives, Sharing, ViewLimits};
use crate::request::{CacheKey, RouteId};

impl Fetcher {
    /// The entry, assessed by the settings in effect; `None` if they forbid to store it.
    ///
    /// Views are derived again, and the tokens of a named scope are admitted again: their limits
    /// were set by the old settings.
    pub(in super::super) async fn reassessed(
        &self,
        key: &CacheKey,
        route: RouteId,
        entry: &Arc<Entry>,
    ) -> Option<Arc<Entry>> {
        let (stored, settings) = (&entry.freshness, &self.freshness);
        let (body, sent) = (Bytes::clone(&entry.whole.body), stored.body_sent);
        let facts = self.parsed(key.scope(), body, sent, None).await;
        let facts = facts.with_fields(&entry.whole.headers, sent);
        let (whole, received) = (&entry.whole, stored.received);
        let exchange = Exchange::new(whole.status, &whole.headers, received, received);
        let route = self.routes.rule(route);
        let freshness = policy::reassess(stored, &exchange, &facts, settings, route);
        let sharing = match entry.acceptance() {
            Some(_) => Sharing::OneToken,
            None => Sharing::Admitted,
        };
        let request = RequestDirectives::default();
        let are_ignored = |cookies: &Arc<Vec<_>>| {
            let mut cookies = cookies.iter();
            cookies.all(|cookie| self.ignored_cookies.contains(cookie))
        };
        if !entry.ignored_cookies.as_ref().is_none_or(are_ignored)
            || policy::may_store(&exchange, &request, &freshness, sharing, settings.private)
                .is_err()
        {
            self.store.replace(key, entry, None);
            return None;
        }
        let limits = ViewLimits::of(&facts, settings, freshness.is_unknown);
        let (headers, body) = (entry.whole.headers.clone(), entry.whole.body.clone());
        let whole = Representation::new(entry.whole.status, headers, body, limits);
        let mut reassessed = entry.reassessed(whole, freshness);
        reassessed.rules = Some(Arc::clone(settings));
        let reassessed = Arc::new(reassessed);
        self.store.replace(key, entry, Some(&reassessed));
        Some(reassessed)
    }
}
