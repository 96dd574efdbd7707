//! The stored responses, for operators.

use std::sync::Arc;

use super::{Entry, Store};
use crate::policy::canonical_path;
use crate::request::{CacheKey, ScopeId};

/// A stored response, for operators.
#[derive(Debug)]
pub struct Inspection {
    /// Its cache key.
    pub key: Arc<CacheKey>,
    /// The response.
    pub entry: Arc<Entry>,
    /// Whether nothing has invalidated it.
    pub is_valid: bool,
}

impl Store {
    /// The responses stored for this path, in any spelling, in all scopes or in one. Iterates over all
    /// entries.
    pub fn inspect(&self, path: &str, scope: Option<ScopeId>) -> Vec<Inspection> {
        let path = canonical_path(path);
        let of_path = |key: &CacheKey| {
            canonical_path(key.path()) == path
                && scope.is_none_or(|scope| key.scope().id() == scope)
        };
        let mut inspections = Vec::new();
        for (key, variants) in self.cache.iter().filter(|(key, _)| of_path(key)) {
            inspections.extend(variants.iter().map(|entry| Inspection {
                key: Arc::clone(&key),
                entry: Arc::clone(entry),
                is_valid: self.is_valid(&key, entry),
            }));
        }
        inspections
    }
}
